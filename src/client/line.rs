//! A message as one line of text.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::base::limits::TAIL_BODY_BYTES_MAX;
use crate::base::properties;
use crate::wire::StoredMessage;
use crate::wire::message::sys_flag;

/// `<broker>/<queue>@<offset> [tag] <body>`. A body that is no text is shown as `0x` and
/// hex digits. Control characters are escaped, so that it stays one line and says
/// nothing to the terminal.
pub fn line_of(broker: &str, message: &StoredMessage<'_>) -> String {
    let mut line = String::new();
    let (queue, offset) = (message.queue_id, message.queue_offset.0);
    _ = write!(line, "{broker}/{queue}@{offset} [");
    let tag = properties::get(message.properties, b"TAGS").unwrap_or_default();
    push_text(&mut line, &String::from_utf8_lossy(tag));
    line.push_str("] ");
    match inflated(message) {
        Ok(body) => push_body(&mut line, &body),
        Err(why) => {
            _ = write!(line, "({why}) ");
            push_hex(&mut line, message.body);
        }
    }
    line
}

/// The body as it was before it was compressed, or why it cannot be had.
fn inflated<'a>(message: &StoredMessage<'a>) -> Result<Cow<'a, [u8]>, String> {
    if message.sys_flag & sys_flag::COMPRESSED == 0 {
        return Ok(Cow::Borrowed(message.body));
    }
    match message.sys_flag & sys_flag::COMPRESSION {
        0 | 0x300 => inflate(message.body).map(Cow::Owned),
        0x100 => Err("compressed with lz4".to_owned()),
        0x200 => Err("compressed with zstd".to_owned()),
        other => Err(format!("compressed by an unknown method, {other:#x}")),
    }
}

fn inflate(zlib: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut bounded = ZlibDecoder::new(zlib).take(TAIL_BODY_BYTES_MAX as u64 + 1);
    bounded.read_to_end(&mut body).map_err(|error| format!("broken zlib: {error}"))?;
    match body.len() > TAIL_BODY_BYTES_MAX {
        true => Err(format!("zlib of more than {TAIL_BODY_BYTES_MAX} bytes")),
        false => Ok(body),
    }
}

fn push_body(line: &mut String, body: &[u8]) {
    match str::from_utf8(body) {
        Ok(text) => push_text(line, text),
        Err(_) => push_hex(line, body),
    }
}

fn push_text(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

fn push_hex(line: &mut String, bytes: &[u8]) {
    line.reserve(2 + 2 * bytes.len());
    line.push_str("0x");
    for byte in bytes {
        _ = write!(line, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;
    use crate::base::{LogOffset, QueueOffset};

    fn message<'a>(sys_flag: i32, body: &'a [u8], properties: &'a [u8]) -> StoredMessage<'a> {
        StoredMessage {
            magic: crate::wire::message::MAGIC_V1,
            body_crc: 0,
            queue_id: 3,
            flag: 0,
            queue_offset: QueueOffset(17),
            physical_offset: LogOffset(0),
            sys_flag,
            born_timestamp: 0,
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_timestamp: 0,
            store_host: "127.0.0.1:1".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            topic: b"T",
            properties,
        }
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let line = |body: &[u8]| line_of("b-0", &message(0, body, b"TAGS\x01red\x02"));
        assert_eq!(line("gr\u{fc}n".as_bytes()), "b-0/3@17 [red] gr\u{fc}n");
        assert_eq!(line(b"two\nlines\t\x1b[2J"), "b-0/3@17 [red] two\\nlines\t\\u{1b}[2J");
        assert_eq!(line(b"\xff\x00a"), "b-0/3@17 [red] 0xff0061");
        assert_eq!(line_of("b", &message(0, b"x", b"TAGS\x01a\nb\x02")), "b/3@17 [a\\nb] x");
        assert_eq!(line_of("b", &message(0, b"", b"")), "b/3@17 [] ");
    }

    #[test]
    fn zlib_bodies_are_inflated_and_others_named() {
        let packed = zlib(b"hello");
        for kind in [0, 0x300] {
            let line = line_of("b", &message(sys_flag::COMPRESSED | kind, &packed, b""));
            assert_eq!(line, "b/3@17 [] hello");
        }
        let line = line_of("b", &message(sys_flag::COMPRESSED | 0x100, b"\x04\"", b""));
        assert_eq!(line, "b/3@17 [] (compressed with lz4) 0x0422");
        let line = line_of("b", &message(sys_flag::COMPRESSED, &packed[..6], b""));
        assert!(line.starts_with("b/3@17 [] (broken zlib: "), "{line}");
    }

    #[test]
    fn a_body_that_would_inflate_beyond_the_bound_is_not_inflated() {
        let packed = zlib(&vec![b'a'; TAIL_BODY_BYTES_MAX + 1]);
        let line = line_of("b", &message(sys_flag::COMPRESSED, &packed, b""));
        assert!(
            line.starts_with("b/3@17 [] (zlib of more than 16777216 bytes) 0x78"),
            "{line:.80}"
        );
        let packed = zlib(&vec![b'a'; TAIL_BODY_BYTES_MAX]);
        let line = line_of("b", &message(sys_flag::COMPRESSED, &packed, b""));
        assert_eq!(line.len(), "b/3@17 [] ".len() + TAIL_BODY_BYTES_MAX);
    }
}
