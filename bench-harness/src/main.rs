//! `ringmq-bench`: reads the command line and hands over.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use ringmq_bench::{
    baselines, compare, disk, matrix, pull, rebuild, send, sink, table, tail, transfer,
};
use std::io;
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send messages, as fast as they are answered or at a rate
    Send(send::SendArgs),
    /// Send the same bytes to an echo server and measure the same figures
    Echo(send::EchoArgs),
    /// Read every queue to its end and verify what was sent
    Drain(pull::DrainArgs),
    /// Send, and receive at once: latency from end to end
    Tail(tail::TailArgs),
    /// Time durable 4 KiB writes, direct and over written extents
    Disk(disk::DiskArgs),
    /// Real Apache RocketMQ and Apache Kafka to compare with
    #[command(subcommand)]
    Baselines(baselines::BaselinesCommand),
    /// ringmq, Apache RocketMQ and Apache Kafka side by side, into a folder with plots
    Compare(compare::CompareArgs),
    /// The raw ways from disk and memory to sockets, without a broker, into a folder with plots
    Transfer(transfer::TransferArgs),
    /// Every way of moving bytes through our broker, in every cell, into a folder with plots
    Matrix(matrix::MatrixArgs),
    /// Make summary, plots and index again from raw results
    Report(rebuild::ReportArgs),
    /// Every row of the comparison with Apache RocketMQ, in one run
    Table3(table::TableArgs),
    /// Answer everything with success, without doing anything
    #[command(hide = true)]
    Sink(sink::SinkArgs),
}

/// Whether the run found what it should.
fn run(command: Command) -> io::Result<bool> {
    match command {
        Command::Send(args) => args.run(),
        Command::Echo(args) => args.run(),
        Command::Drain(args) => args.run(),
        Command::Tail(args) => args.run(),
        Command::Disk(args) => args.run().map(|()| true),
        Command::Baselines(command) => command.run().map(|()| true),
        Command::Compare(args) => args.run().map(|()| true),
        Command::Transfer(args) => args.run().map(|()| true),
        Command::Matrix(args) => args.run().map(|()| true),
        Command::Report(args) => args.run().map(|()| true),
        Command::Table3(args) => args.run().map(|()| true),
        Command::Sink(args) => args.run().map(|()| true),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("ringmq-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
