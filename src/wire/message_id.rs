//! Offset message ids: where a message is stored, as 32 or 56 hex digits.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use crate::base::LogOffset;
use crate::base::hex::hex_pairs;

/// The id that a broker gives: where a message is stored. Clients connect to the host
/// in it to view the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMessageId {
    pub store_host: SocketAddr,
    pub physical_offset: LogOffset,
}

/// An id's hex digits for an IPv4 host; 24 more for IPv6.
pub const MESSAGE_ID_DIGITS_V4: usize = 32;
pub const MESSAGE_ID_DIGITS_V6: usize = 56;

/// The ids of one host's messages, for whoever writes many: they begin alike.
#[derive(Clone, Copy, Debug)]
pub struct MessageIdHost {
    digits: [[u8; 2]; 8],
}

impl MessageIdHost {
    pub fn new(store_host: SocketAddrV4) -> Self {
        let address = u64::from(u32::from(*store_host.ip())) << 32 | u64::from(store_host.port());
        Self { digits: hex_pairs(address.to_be_bytes()) }
    }

    /// Appends the id of the message at an offset.
    #[inline]
    pub fn push_id(&self, at: LogOffset, out: &mut Vec<u8>) {
        let digits = [self.digits, hex_pairs(at.0.to_be_bytes())];
        out.extend_from_slice(digits.as_flattened().as_flattened());
    }
}

impl OffsetMessageId {
    /// Appends the id: address, i32 port and offset in upper-case hex.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.store_host.ip() {
            IpAddr::V4(ip) => push_hex(out, ip.octets()),
            IpAddr::V6(ip) => push_hex(out, ip.octets()),
        }
        push_hex(out, u32::from(self.store_host.port()).to_be_bytes());
        push_hex(out, self.physical_offset.0.to_be_bytes());
    }

    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; MESSAGE_ID_DIGITS_V6 / 2];
        let bytes = match text.len() {
            MESSAGE_ID_DIGITS_V4 | MESSAGE_ID_DIGITS_V6 => &mut bytes[..text.len() / 2],
            _ => return None,
        };
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = (high? << 4 | low?) as u8;
        }
        let (host, offset) = bytes.split_last_chunk()?;
        let (ip, port) = host.split_last_chunk()?;
        let ip = match <[u8; 4]>::try_from(ip) {
            Ok(v4) => IpAddr::from(v4),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        };
        let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
        let physical_offset = LogOffset(u64::from_be_bytes(*offset));
        Some(Self { store_host: SocketAddr::new(ip, port), physical_offset })
    }
}

fn push_hex<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(hex_pairs(bytes).as_flattened());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_message_ids_are_read_back() {
        let id = OffsetMessageId {
            store_host: "127.0.0.1:10911".parse().unwrap(),
            physical_offset: LogOffset(0xab_cdef),
        };
        let mut text = Vec::new();
        id.append_to(&mut text);
        assert_eq!(text, b"7F00000100002A9F0000000000ABCDEF");
        assert_eq!(OffsetMessageId::parse(&text), Some(id));
        assert_eq!(OffsetMessageId::parse(&text.to_ascii_lowercase()), Some(id));

        let id = OffsetMessageId { store_host: "[2001:db8::7]:5".parse().unwrap(), ..id };
        let mut text = Vec::new();
        id.append_to(&mut text);
        assert_eq!(text.len(), MESSAGE_ID_DIGITS_V6);
        assert_eq!(OffsetMessageId::parse(&text), Some(id));

        for wrong in [&b""[..], b"7F", &[b'G'; 32], &[b'0'; 33], &[0xff; 56]] {
            assert_eq!(OffsetMessageId::parse(wrong), None);
        }
    }
}
