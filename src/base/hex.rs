//! Bytes as the upper-case hex of message ids.

const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Two digits for each byte.
#[inline]
pub fn hex_pairs<const N: usize>(bytes: [u8; N]) -> [[u8; 2]; N] {
    bytes.map(|byte| PAIRS[usize::from(byte)])
}
