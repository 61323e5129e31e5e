//! `ringmq send` and `ringmq tail`: a client like any other, which finds brokers through
//! a name server and speaks the remoting protocol with them, ours or Apache's.
//!
//! Decides how a person or a script meets the broker: which queue a message goes to, what
//! a line of output says, what an error tells to do. Sockets are blocking; `tail` has a
//! thread for each broker (`follow`), one for the route, and prints on the caller's.

mod connection;
mod error;
mod follow;
mod line;
mod route;
mod send;
mod session;
mod stats;
mod tail;

use std::io::{self, BufReader, IsTerminal};

pub use error::ClientError;
pub use send::send_to;
pub use stats::stats_to;
pub use tail::tail_to;

use crate::config::{SendConfig, StatsConfig, TailConfig};

/// Sends the body, or each line of standard input, and prints where they went.
pub fn send(config: SendConfig) -> Result<(), ClientError> {
    let input = io::stdin();
    if config.body.is_none() && input.is_terminal() {
        return Err(ClientError::NothingToSend { topic: config.topic });
    }
    quiet_end(send_to(config, BufReader::new(input), io::stdout().lock(), io::stderr()))
}

/// Prints the topic's messages as they come, until `--count` or an interrupt ends it.
pub fn tail(config: TailConfig) -> Result<(), ClientError> {
    quiet_end(tail_to(config, io::stdout().lock(), io::stderr()))
}

/// Prints what each broker has moved, and how.
pub fn stats(config: StatsConfig) -> Result<(), ClientError> {
    quiet_end(stats_to(config, io::stdout().lock()))
}

/// A reader of the output that has seen enough, as `head` does, is no failure.
fn quiet_end(result: Result<(), ClientError>) -> Result<(), ClientError> {
    match result {
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
