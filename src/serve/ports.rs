//! Ports of a node. Those of a killed process are not free at once: the kernel takes its
//! rings down after the process is gone, and until then they hold its sockets.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};

use tracing::info;

/// Longer than the kernel takes to end what a killed process had under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a port is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// Listens as soon as nobody else does; an error if somebody still does after a while.
pub fn listen(ip: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    listen_within(SocketAddrV4::new(ip, port), PATIENCE)
}

fn listen_within(address: SocketAddrV4, patience: Duration) -> io::Result<TcpListener> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < patience => {}
            result => return result,
        }
        if !told {
            info!(%address, "in use; waiting up to {patience:?} for a killed process to let go");
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> (TcpListener, SocketAddrV4) {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        (holder, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn a_port_is_taken_once_its_holder_lets_go() {
        let (holder, address) = taken();
        let waiting = std::thread::spawn(move || listen_within(address, Duration::from_secs(60)));
        drop(holder);
        assert_eq!(waiting.join().unwrap().unwrap().local_addr().unwrap(), address.into());
    }

    #[test]
    fn a_port_that_stays_in_use_is_an_error_in_the_end() {
        let (_holder, address) = taken();
        let (begin, patience) = (Instant::now(), Duration::from_millis(30));
        let error = listen_within(address, patience).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(begin.elapsed() >= patience);
    }
}
