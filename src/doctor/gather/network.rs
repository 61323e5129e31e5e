//! Limits of sockets, and the interface that clients come by.

use super::super::facts::{Fact, NetworkFacts, Offloads, SocketFacts, Unknown};
use super::cpu::Device;
use super::tree::Tree;

/// Bits of virtio-net that tell what the device does for the driver.
const VIRTIO_CHECKSUM: usize = 0;
const VIRTIO_SEGMENTATION: usize = 11;

pub fn sockets(tree: &Tree) -> SocketFacts {
    SocketFacts {
        backlog_max: tree.number("proc/sys/net/core/somaxconn"),
        receive_max: largest(tree, "proc/sys/net/ipv4/tcp_rmem"),
        send_max: largest(tree, "proc/sys/net/ipv4/tcp_wmem"),
    }
}

/// The last of `least default most`.
fn largest(tree: &Tree, path: &str) -> Fact<u64> {
    let text = tree.text(path)?;
    let last = text.split_whitespace().last().and_then(|word| word.parse().ok());
    last.ok_or_else(|| tree.odd(path))
}

pub fn gather(tree: &Tree, interface: Option<Fact<String>>) -> Option<Fact<NetworkFacts>> {
    let of = |interface: String| {
        let path = format!("sys/class/net/{interface}");
        let queues = tree.names(format!("{path}/queues"))?;
        let receive_queues = queues.iter().filter(|name| name.starts_with("rx-")).count();
        let offloads = offloads(tree, &interface);
        Ok(NetworkFacts { interface, receive_queues, offloads })
    };
    interface.map(|interface| interface.and_then(of))
}

/// No file tells what drivers offload, except that of virtio.
fn offloads(tree: &Tree, interface: &str) -> Fact<Offloads> {
    let device = format!("sys/class/net/{interface}/device");
    let driver = tree.resolved(format!("{device}/driver"));
    if driver.is_none_or(|driver| !driver.ends_with("virtio_net")) {
        return Err(Unknown(format!(
            "no file tells what the driver of {interface} offloads: see `ethtool -k {interface}`"
        )));
    }
    let features = tree.text(format!("{device}/features"))?;
    let has = |bit: usize| features.as_bytes().get(bit) == Some(&b'1');
    Ok(Offloads { checksum: has(VIRTIO_CHECKSUM), segmentation: has(VIRTIO_SEGMENTATION) })
}

/// The device whose interrupts tell of packets.
pub fn device(tree: &Tree, interface: Option<&Fact<String>>) -> Option<Device> {
    let name = interface?.as_ref().ok()?;
    let path = tree.resolved(format!("sys/class/net/{name}/device"))?;
    Some(Device { name: name.clone(), path })
}
