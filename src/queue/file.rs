//! What all index files share: how they are read, named and begun.

use std::io;

use super::IndexError;
use crate::base::checksum::chained_crc;

/// A file as helpers read it. The engine gives real ones, the simulator its own.
pub trait ReadAt {
    /// Fills `buf` from `position`; fewer bytes are an error.
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()>;
    /// The file's length.
    fn file_bytes(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let bytes = usize::try_from(position).ok().and_then(|position| self.get(position..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// The name of the table of bases, beside the runs.
pub fn bases_file_name() -> &'static str {
    "bases"
}

/// Positions of logs and queues are Java longs.
pub(super) const POSITION_MAX: u64 = i64::MAX as u64;

pub(super) fn check_magic(bytes: &[u8], magic: [u8; 8], version: u32) -> Result<(), IndexError> {
    if bytes[..8] != magic {
        return Err(IndexError::NotOurs);
    }
    match u32_at(bytes, 8) {
        found if found == version => Ok(()),
        found => Err(IndexError::Version(found)),
    }
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    chained_crc(0, bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
