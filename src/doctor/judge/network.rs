//! Sockets and the network interface.

use super::super::facts::Facts;
use super::{Check, Finding, told};

const BACKLOG: u64 = 1024;
const BUFFER_BYTES: u64 = 4 << 20;

pub fn sockets(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "sockets",
        why: "A restart is met by all clients at once, which must fit the backlog; a backlog \
              drain is bounded by buffer / round trip.",
    };
    let sockets = &facts.sockets;
    let minimums = [
        ("net.core.somaxconn", &sockets.backlog_max, BACKLOG, "4096"),
        ("net.ipv4.tcp_rmem", &sockets.receive_max, BUFFER_BYTES, "'4096 131072 16777216'"),
        ("net.ipv4.tcp_wmem", &sockets.send_max, BUFFER_BYTES, "'4096 65536 16777216'"),
    ];
    for (name, value, least, better) in minimums {
        match value {
            Err(unknown) => return CHECK.unknown(unknown.to_string()),
            Ok(value) if *value < least => {
                let found = format!("{name} allows {value}, and {least} are advised");
                return CHECK.untuned(found, format!("sudo sysctl -w {name}={better}"));
            }
            Ok(_) => {}
        }
    }
    let bytes = |fact: &Result<u64, _>| fact.as_ref().map_or(0, |value| *value);
    CHECK.ok(format!(
        "a backlog of {}, buffers up to {} in and {} out",
        bytes(&sockets.backlog_max),
        told(bytes(&sockets.receive_max)),
        told(bytes(&sockets.send_max))
    ))
}

pub fn offloads(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "network-offloads",
        why: "Without segmentation and checksums in the interface, the core that sends does \
              both for each packet.",
    };
    let Some(network) = &facts.network else {
        return CHECK.ok("loopback only: no interface is used");
    };
    CHECK.of(network, |network| {
        let name = &network.interface;
        CHECK.of(&network.offloads, |offloads| {
            let found = |what| format!("{name} {what}, receive queues: {}", network.receive_queues);
            match (offloads.checksum, offloads.segmentation) {
                (true, true) => CHECK.ok(found("does checksums and segmentation")),
                _ => CHECK.untuned(
                    found("leaves work to the CPU"),
                    format!("sudo ethtool -K {name} tx on sg on tso on"),
                ),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::{Offloads, Unknown};
    use super::super::State;
    use super::super::tests::judged;
    use super::*;

    #[test]
    fn each_limit_of_sockets_has_its_own_command() {
        let (state, text) = judged(sockets, |facts| facts.sockets.backlog_max = Ok(128));
        assert_eq!(state, State::Untuned);
        assert!(text.contains("net.core.somaxconn=4096"), "{text}");
        let (_, text) = judged(sockets, |facts| facts.sockets.receive_max = Ok(212_992));
        assert!(text.contains("tcp_rmem='4096"), "{text}");
        let (_, text) = judged(sockets, |facts| facts.sockets.send_max = Ok(212_992));
        assert!(text.contains("tcp_wmem='4096"), "{text}");
        let unseen = |facts: &mut Facts| facts.sockets.send_max = Err(Unknown("x".to_owned()));
        assert_eq!(judged(sockets, unseen).0, State::Unknown);
    }

    #[test]
    fn offloads_matter_beyond_loopback() {
        let at = |checksum, segmentation| {
            judged(offloads, |facts| {
                let network = facts.network.as_mut().unwrap().as_mut().unwrap();
                network.offloads = Ok(Offloads { checksum, segmentation });
            })
        };
        assert_eq!(at(true, true).0, State::Ok);
        assert_eq!(at(true, false).0, State::Untuned);
        assert!(at(false, false).1.contains("ethtool -K eth0"));
        assert_eq!(judged(offloads, |facts| facts.network = None).0, State::Ok);
    }
}
