//! `ringmq echo`: answers whatever arrives with the same bytes, through the reactor alone.
//! What a broker adds to it is measured against this.

use std::io::Write;
use std::net::SocketAddr;

use crate::config::EchoConfig;
use crate::reactor::{Listener, Ring, RingConfig, Wait, echo as reactor_echo};

/// Serves until the process is ended.
pub fn echo(config: &EchoConfig) -> Result<(), String> {
    if let Some(core) = config.cores.first() {
        core_affinity::set_for_current(core_affinity::CoreId { id: *core });
    }
    let mut ring = Ring::new(RingConfig::default()).map_err(|error| error.to_string())?;
    let address = SocketAddr::from((config.listen, config.port));
    let listener = Listener::bind(address)
        .map_err(|error| format!("cannot listen on {address}: {error}; give another --port"))?;
    println!("ready echo={}", listener.address());
    let _ = std::io::stdout().flush();
    let wait = Wait::SpinThenPark { spin: config.spin, at_most: None };
    reactor_echo::serve(&mut ring, &listener, wait, || false).map_err(|error| error.to_string())
}
