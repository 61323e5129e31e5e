//! CRC-32 as zlib and RocketMQ compute it.

/// The BODYCRC of a stored record: CRC-32 with its sign bit cleared, as Java brokers store it.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7fff_ffff
}

/// CRC-32 of `bytes` continued from `seed`, the CRC of what came before.
pub fn chained_crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
