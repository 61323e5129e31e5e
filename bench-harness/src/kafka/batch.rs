//! Record batches as Kafka stores and serves them, one after the other.
//!
//! ```text
//!  0       8     12      16      17    21      23     27      35
//!  | first | len | epoch | magic | crc | flags | last | first | …
//!  | offset|     |       |   2   |     |       | delta| time  |
//!
//!    35     43         51      53         57      61
//!  … | last | producer | epoch | sequence | count | records …
//!    | time |          |       |          |       |
//! ```
//!
//! `len` counts what follows it; the CRC-32C covers all from the flags on.

use super::read::{KafkaError, Read, Reader};
use std::ops::Range;

pub const FLAGS_AT: usize = 21;
pub const CRC_AT: usize = 17;
pub const FIRST_TIME_AT: usize = 27;
pub const LAST_TIME_AT: usize = 35;
const LEN_AT: usize = 8;
const MAGIC_AT: usize = 16;
const RECORDS_AT: usize = 61;
const MAGIC: u8 = 2;
const COMPRESSION: i16 = 7;
const CONTROL: i16 = 32;

/// A whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub first_offset: u64,
    pub last_offset: u64,
    pub count: u32,
    crc: u32,
    flags: i16,
    bytes: &'a [u8],
}

/// Takes the first batch off `bytes`; nothing when it is not wholly there, as the
/// last one of a reply that was cut at its limit.
pub fn take_batch<'a>(bytes: &mut &'a [u8]) -> Read<Option<Batch<'a>>> {
    let Some(len) = bytes.get(LEN_AT..LEN_AT + 4) else {
        return Ok(None);
    };
    let len = i64::from(Reader::new(len).i32()?);
    let whole = match usize::try_from(len) {
        Ok(len) if len >= RECORDS_AT - LEN_AT - 4 => LEN_AT + 4 + len,
        _ => return Err(KafkaError::Length(len)),
    };
    let Some((batch, rest)) = bytes.split_at_checked(whole) else {
        return Ok(None);
    };
    *bytes = rest;
    parse(batch).map(Some)
}

fn parse(bytes: &[u8]) -> Read<Batch<'_>> {
    if bytes[MAGIC_AT] != MAGIC {
        return Err(KafkaError::Nonsense("a record batch of another format"));
    }
    let mut reader = Reader::new(bytes);
    let first = reader.i64()?;
    let mut reader = Reader::new(&bytes[CRC_AT..]);
    let (crc, flags, last_delta) = (reader.i32()? as u32, reader.i16()?, reader.i32()?);
    let count = Reader::new(&bytes[RECORDS_AT - 4..]).i32()?;
    let sane = u64::try_from(first).ok().zip(u32::try_from(count).ok());
    let last = u32::try_from(last_delta).ok().and_then(|delta| first.checked_add(delta.into()));
    match (sane, last) {
        (Some((first_offset, count)), Some(last)) => {
            Ok(Batch { first_offset, last_offset: last as u64, count, crc, flags, bytes })
        }
        _ => Err(KafkaError::Nonsense("a record batch whose offsets make no sense")),
    }
}

/// One record: its offset, and where in the batch its value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: u64,
    pub value: Range<usize>,
}

impl<'a> Batch<'a> {
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn crc_holds(&self) -> bool {
        crc32c::crc32c(&self.bytes[FLAGS_AT..]) == self.crc
    }

    /// Marks of transactions, which are no messages.
    pub fn is_control(&self) -> bool {
        self.flags & CONTROL != 0
    }

    /// Its records until one makes no sense.
    pub fn records(&self) -> impl Iterator<Item = Read<Record>> + use<'a> {
        let batch = *self;
        let mut reader = Reader::new(&batch.bytes[RECORDS_AT..]);
        let mut left = batch.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let record = batch.record(&mut reader);
            if record.is_err() {
                left = 0;
            }
            Some(record)
        })
    }

    fn record(&self, reader: &mut Reader<'a>) -> Read<Record> {
        if self.flags & COMPRESSION != 0 {
            return Err(KafkaError::Nonsense("a compressed record batch"));
        }
        let len = length(reader.varint()?)?;
        let mut fields = Reader::new(reader.bytes(len)?);
        let end = self.bytes.len() - reader.rest().len();
        let _flags = fields.i8()?;
        let _time_delta = fields.varint()?;
        let offset = self.first_offset.wrapping_add_signed(fields.varint()?);
        let key_len = fields.varint()?.max(0);
        fields.bytes(length(key_len)?)?;
        let value_len = length(fields.varint()?.max(0))?;
        let from = end - fields.rest().len();
        fields.bytes(value_len)?;
        Ok(Record { offset, value: from..from + value_len })
    }
}

fn length(stated: i64) -> Read<usize> {
    usize::try_from(stated).map_err(|_| KafkaError::Length(stated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::produce::encode_batch;

    fn sample() -> Vec<u8> {
        let values = [&b"first"[..], b"", &[7; 300]].map(<[u8]>::to_vec);
        encode_batch(values).unwrap()
    }

    fn records(batch: &Batch<'_>) -> Vec<(u64, usize)> {
        batch.records().map(|record| record.unwrap()).map(|r| (r.offset, r.value.len())).collect()
    }

    #[test]
    fn batches_are_read_as_the_crate_writes_them() {
        let mut two = sample();
        two.extend_from_slice(&sample());
        let mut rest = &two[..];
        for _ in 0..2 {
            let batch = take_batch(&mut rest).unwrap().unwrap();
            assert!(batch.crc_holds() && !batch.is_control());
            assert_eq!((batch.first_offset, batch.last_offset, batch.count), (0, 2, 3));
            assert_eq!(records(&batch), [(0, 5), (1, 0), (2, 300)]);
            let first = batch.records().next().unwrap().unwrap();
            assert_eq!(&batch.bytes()[first.value], b"first");
        }
        assert!(take_batch(&mut rest).unwrap().is_none());
    }

    #[test]
    fn a_batch_that_is_cut_is_not_there_yet() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(take_batch(&mut &bytes[..cut]).unwrap().is_none(), "cut at byte {cut}");
        }
    }

    #[test]
    fn any_byte_may_be_anything() {
        let good = sample();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let Ok(Some(batch)) = take_batch(&mut &bytes[..]) else { continue };
                let sound = bytes[..] == good[..] || !batch.crc_holds();
                // Offset, length and epoch are the broker's to set: no CRC covers them.
                assert!(sound || at < CRC_AT, "byte {at}");
                assert!(batch.records().count() <= batch.count as usize);
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for len in [-1, 0, 48, i32::MIN] {
            let mut bytes = sample();
            bytes[LEN_AT..LEN_AT + 4].copy_from_slice(&i32::to_be_bytes(len));
            let refused = take_batch(&mut &bytes[..]).unwrap_err();
            assert_eq!(refused, KafkaError::Length(len.into()));
        }
    }
}
