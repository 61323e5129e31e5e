//! Ports that nobody listens on.

use std::io;
use std::net::TcpListener;

/// Ports tried before giving up.
const TRIES: usize = 100;

/// A port `p` such that every `p + offset` is free at this moment.
pub fn free_ports(offsets: &[i32]) -> io::Result<u16> {
    for _ in 0..TRIES {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let is_free = |offset: &i32| {
            u16::try_from(i32::from(port) + offset)
                .is_ok_and(|port| TcpListener::bind(("0.0.0.0", port)).is_ok())
        };
        if offsets.iter().all(is_free) {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free ports found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ports_of_a_group_can_be_bound() {
        let port = free_ports(&[0, 1, -2]).unwrap();
        let bound: Vec<_> = [port, port + 1, port - 2]
            .into_iter()
            .map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap())
            .collect();
        assert_eq!(bound.len(), 3);
    }
}
