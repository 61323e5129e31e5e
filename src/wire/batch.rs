//! The body of a batch send: messages one after another, consumed as if sent singly.

use std::fmt;

/// The messages of a batch body, each checked before it is given:
///
/// ```text
/// i32 total | i32 magic | i32 crc | i32 flag | i32 body length, body | i16 properties length, properties
/// ```
///
/// `total` counts itself. Magic and CRC are not looked at, as in Java.
#[derive(Clone, Debug)]
pub struct BatchEntries<'a> {
    rest: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    pub flag: i32,
    /// Where the body begins in the batch.
    pub body_at: usize,
    pub body: &'a [u8],
    /// Property text, UTF-8.
    pub properties: &'a [u8],
}

/// What is wrong with a batch, and with which of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    Cut {
        at: usize,
    },
    /// The parts of the entry that starts at `at` do not add up to its total.
    BadLength {
        at: usize,
    },
    PropertiesNotUtf8 {
        at: usize,
    },
}

/// An entry with empty body and properties.
const ENTRY_BYTES_MIN: usize = 22;
/// What lies before the body.
const ENTRY_HEAD_BYTES: usize = 20;

impl<'a> BatchEntries<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, at: 0 }
    }

    /// Draws the entry that `entry` consists of.
    fn parse(entry: &'a [u8], at: usize) -> Option<BatchEntry<'a>> {
        let (&[_, _, _, _, _, _, _, _, _, _, _, _, f0, f1, f2, f3, b0, b1, b2, b3], rest) =
            entry.split_first_chunk()?;
        let body_len = usize::try_from(i32::from_be_bytes([b0, b1, b2, b3])).ok()?;
        let (body, rest) = rest.split_at_checked(body_len)?;
        let (properties_len, properties) = rest.split_first_chunk()?;
        let properties_len = usize::try_from(i16::from_be_bytes(*properties_len)).ok()?;
        let flag = i32::from_be_bytes([f0, f1, f2, f3]);
        (properties.len() == properties_len).then_some(BatchEntry {
            flag,
            body_at: at + ENTRY_HEAD_BYTES,
            body,
            properties,
        })
    }

    fn next_entry(&mut self) -> Result<BatchEntry<'a>, BatchError> {
        let at = self.at;
        let total = self.rest.first_chunk().ok_or(BatchError::Cut { at })?;
        let total = usize::try_from(i32::from_be_bytes(*total))
            .ok()
            .filter(|total| *total >= ENTRY_BYTES_MIN)
            .ok_or(BatchError::BadLength { at })?;
        let (entry, rest) = self.rest.split_at_checked(total).ok_or(BatchError::Cut { at })?;
        let entry = Self::parse(entry, at).ok_or(BatchError::BadLength { at })?;
        str::from_utf8(entry.properties).map_err(|_| BatchError::PropertiesNotUtf8 { at })?;
        (self.rest, self.at) = (rest, at + total);
        Ok(entry)
    }
}

/// Ends after the first error: what follows it has no known start.
impl<'a> Iterator for BatchEntries<'a> {
    type Item = Result<BatchEntry<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.next_entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

impl BatchEntry<'_> {
    /// Appends the entry to the body of a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let total = ENTRY_BYTES_MIN + self.body.len() + self.properties.len();
        out.extend_from_slice(&(total as u32).to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { at } => write!(f, "batch is cut in the entry at byte {at}"),
            Self::BadLength { at } => write!(f, "batch entry at byte {at} has bad lengths"),
            Self::PropertiesNotUtf8 { at } => {
                write!(f, "batch entry at byte {at} has properties that are not UTF-8")
            }
        }
    }
}

impl std::error::Error for BatchError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> (Vec<u8>, Vec<BatchEntry<'static>>) {
        let entries = vec![
            BatchEntry { flag: 1, body_at: 20, body: b"first", properties: b"UNIQ_KEY\x01a\x02" },
            BatchEntry { flag: -1, body_at: 58, body: b"", properties: b"" },
            BatchEntry { flag: 0, body_at: 80, body: b"third", properties: b"" },
        ];
        let mut body = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut body));
        (body, entries)
    }

    #[test]
    fn a_batch_gives_its_entries() {
        let (body, entries) = batch();
        let read: Result<Vec<_>, _> = BatchEntries::new(&body).collect();
        assert_eq!(read, Ok(entries));
        assert_eq!(BatchEntries::new(b"").count(), 0);
    }

    #[test]
    fn a_batch_cut_inside_an_entry_is_an_error() {
        let (body, entries) = batch();
        let mut ends = vec![0];
        for entry in &entries {
            let len = ENTRY_BYTES_MIN + entry.body.len() + entry.properties.len();
            ends.push(ends.last().unwrap() + len);
        }
        for cut in 0..=body.len() {
            let read: Result<Vec<_>, _> = BatchEntries::new(&body[..cut]).collect();
            match ends.iter().position(|end| *end == cut) {
                Some(count) => assert_eq!(read.unwrap(), entries[..count], "cut at byte {cut}"),
                None => assert!(matches!(read, Err(BatchError::Cut { .. })), "cut at byte {cut}"),
            }
        }
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        let (body, entries) = batch();
        let second = ENTRY_BYTES_MIN + entries[0].body.len() + entries[0].properties.len();
        // Total, body length and properties length of the second entry.
        for (at, value) in [(0, -1_i32), (0, 21), (0, 0), (16, -1), (16, 1), (16, i32::MAX)] {
            let mut wrong = body.clone();
            wrong[second + at..second + at + 4].copy_from_slice(&value.to_be_bytes());
            let read: Result<Vec<_>, _> = BatchEntries::new(&wrong).collect();
            assert_eq!(read, Err(BatchError::BadLength { at: second }), "{value} at {at}");
        }
        let mut wrong = body.clone();
        wrong[second - 1] = 0xff;
        let read: Result<Vec<_>, _> = BatchEntries::new(&wrong).collect();
        assert_eq!(read, Err(BatchError::PropertiesNotUtf8 { at: 0 }));
    }
}
