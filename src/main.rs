//! Picks a role and plays it.

use std::io::IsTerminal;
use std::process::ExitCode;

use ringmq::client;
use ringmq::config::{self, Machine, NameServerConfig, ParseError, Role};
use ringmq::control::name_server::{AloneOptions, serve_alone};
use ringmq::doctor;
use ringmq::probe;
use ringmq::serve;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let role = match config::parse(std::env::args_os(), &Machine::of_this_process()) {
        Ok(role) => role,
        Err(ParseError::Usage(usage)) => usage.exit(),
        Err(error) => return fail(&error.to_string()),
    };
    let filter = EnvFilter::try_from_env("RINGMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logs = logs.with_ansi(std::io::stderr().is_terminal());
    logs.init();
    let played = match role {
        Role::Doctor(config) => return doctor::run(config),
        Role::Serve(config) => serve::run(&config),
        Role::NameServer(config) => {
            let NameServerConfig { listen, port, data_dir } = config;
            serve_alone(&AloneOptions { listen, port, data_dir })
        }
        Role::Send(config) => client::send(config).map_err(|error| error.to_string()),
        Role::Tail(config) => client::tail(config).map_err(|error| error.to_string()),
        Role::Stats(config) => client::stats(config).map_err(|error| error.to_string()),
        Role::Probe(config) => probe::run(&config),
        Role::Echo(config) => serve::echo(&config),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("ringmq: {why}");
    ExitCode::FAILURE
}
