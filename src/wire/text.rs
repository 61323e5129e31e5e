//! JSON string contents: finding their special bytes, unescaping, escaping.
//!
//! Properties travel as a JSON string with an escape on either side of each value,
//! so this runs for every message sent by a JSON client.

/// A byte in every lane of a word.
const fn lanes(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Sets the high bit of lanes that hold a quote, a backslash or a control character.
/// The lowest lane set is exact; lanes above it may be set by a borrow.
fn specials(word: u64) -> u64 {
    let quote = word ^ lanes(b'"');
    let backslash = word ^ lanes(b'\\');
    let quotes = quote.wrapping_sub(lanes(1)) & !quote;
    let backslashes = backslash.wrapping_sub(lanes(1)) & !backslash;
    let controls = word.wrapping_sub(lanes(0x20)) & !word;
    (quotes | backslashes | controls) & lanes(0x80)
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Where the first quote, backslash or control character of `bytes` lies, or their end.
#[inline]
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let found = specials(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|byte| is_special(*byte));
    rest.map_or(bytes.len(), |found| at + found)
}

/// Gives the decoded pieces of `raw`, the inside of a JSON string whose escapes the
/// scanner has found valid. A surrogate without its partner becomes `?`, as Java
/// encodes it.
pub(super) fn unescape(raw: &[u8], mut emit: impl FnMut(&[u8])) {
    let mut rest = raw;
    loop {
        let plain = plain_prefix(rest);
        emit(&rest[..plain]);
        let Some((_backslash, escape)) = rest[plain..].split_first() else { return };
        rest = unescape_one(escape, &mut emit);
    }
}

/// Appends the text of `raw`, the inside of a JSON string.
pub(super) fn unescape_into(out: &mut Vec<u8>, raw: &[u8]) {
    let start = out.len();
    // Escapes are never shorter than what they stand for; a word may reach beyond the end.
    out.resize(start + raw.len() + 8, 0);
    let (mut to, mut from) = (start, 0);
    loop {
        while let Some(chunk) = raw[from..].first_chunk::<8>() {
            out[to..to + 8].copy_from_slice(chunk);
            let found = specials(u64::from_le_bytes(*chunk));
            let plain = if found == 0 { 8 } else { found.trailing_zeros() as usize / 8 };
            (to, from) = (to + plain, from + plain);
            if plain < 8 {
                break;
            }
        }
        let plain = plain_prefix(&raw[from..]);
        out[to..to + plain].copy_from_slice(&raw[from..from + plain]);
        (to, from) = (to + plain, from + plain);
        let Some((_backslash, escape)) = raw[from..].split_first() else { break };
        let rest = unescape_one(escape, &mut |piece: &[u8]| {
            out[to..to + piece.len()].copy_from_slice(piece);
            to += piece.len();
        });
        from = raw.len() - rest.len();
    }
    out.truncate(to);
}

/// Decodes the escape behind a backslash and returns what follows it.
fn unescape_one<'a>(escape: &'a [u8], emit: &mut impl FnMut(&[u8])) -> &'a [u8] {
    let Some((kind, rest)) = escape.split_first() else { return &[] };
    let byte = match kind {
        b'u' => return unescape_unit(rest, emit),
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        other => *other,
    };
    emit(&[byte]);
    rest
}

/// Decodes the digits behind `\u`, and those of a surrogate's partner.
fn unescape_unit<'a>(digits: &'a [u8], emit: &mut impl FnMut(&[u8])) -> &'a [u8] {
    let Some((unit, rest)) = code_unit(digits) else { return &[] };
    if unit < 0x80 {
        emit(&[unit as u8]);
        return rest;
    }
    let mut rest = rest;
    let mut decoded = char::from_u32(u32::from(unit));
    if (0xd800..0xdc00).contains(&unit)
        && let Some((low, behind)) = rest.strip_prefix(b"\\u").and_then(code_unit)
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x10000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        decoded = char::from_u32(code);
        rest = behind;
    }
    emit(decoded.unwrap_or('?').encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// Four hex digits and what follows them.
#[inline]
pub(super) fn code_unit(digits: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = digits.split_first_chunk::<4>()?;
    // Nearly all are the ends of a property's key and value.
    match digits {
        b"0001" => return Some((1, rest)),
        b"0002" => return Some((2, rest)),
        _ => {}
    }
    let mut unit = 0;
    for digit in digits {
        unit = unit << 4 | char::from(*digit).to_digit(16)? as u16;
    }
    Some((unit, rest))
}

/// Appends `text`, which is UTF-8, as the inside of a JSON string.
pub(super) fn escape_into(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some((special, behind)) = rest[plain..].split_first() else { return };
        escape_one(out, *special);
        rest = behind;
    }
}

fn escape_one(out: &mut Vec<u8>, special: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match special {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        control => {
            let (high, low) = (HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A decimal number as Java's `parseLong` reads it: a sign, digits, nothing else.
#[inline]
pub(super) fn parse_decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() > SAFE_DIGITS {
        return parse_long(negative, digits);
    }
    let (mut value, mut rest) = (0, digits);
    while let Some((eight, behind)) = rest.split_first_chunk() {
        value = value * 100_000_000 + parse_eight(*eight)?;
        rest = behind;
    }
    for digit in rest {
        value = value * 10 + one_digit(*digit)?;
    }
    Some(if negative { -value } else { value })
}

/// So many digits cannot overflow an i64.
const SAFE_DIGITS: usize = 18;

#[cold]
fn parse_long(negative: bool, digits: &[u8]) -> Option<i64> {
    // Counted downwards, since the least number has no positive twin.
    let mut value: i64 = 0;
    for digit in digits {
        value = value.checked_mul(10)?.checked_sub(one_digit(*digit)?)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[inline]
fn one_digit(byte: u8) -> Option<i64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(i64::from(digit))
}

/// Eight digits at once: neighbours are joined to pairs, pairs to fours, these to the number.
#[inline]
fn parse_eight(digits: [u8; 8]) -> Option<i64> {
    let word = u64::from_le_bytes(digits) ^ lanes(b'0');
    // No lane above nine: none has a high nibble, nor gets one with six added.
    if (word | ((word & lanes(0x0f)) + lanes(6))) & lanes(0xf0) != 0 {
        return None;
    }
    let pairs = (word * 10 + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    Some(eight as i64)
}

/// Appends a number in decimal digits, two at a time.
pub(super) fn push_decimal(out: &mut Vec<u8>, value: i64) {
    const PAIRS: &[u8; 200] = &pairs();
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    // One digit is left unless the pairs took them all.
    if rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

const fn pairs() -> [u8; 200] {
    let mut pairs = [0; 200];
    let mut at = 0;
    while at < 100 {
        pairs[at * 2] = b'0' + (at / 10) as u8;
        pairs[at * 2 + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn unescaped(raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        unescape(raw, |piece| out.extend_from_slice(piece));
        out
    }

    #[test]
    fn the_first_special_byte_is_found_wherever_it_lies() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let len = rng.random_range(0..40);
            let bytes: Vec<u8> = (0..len).map(|_| rng.random_range(0x18..=0xff)).collect();
            let expected = bytes.iter().position(|byte| is_special(*byte)).unwrap_or(len);
            assert_eq!(plain_prefix(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn pieces_and_whole_texts_are_decoded_alike() {
        let mut rng = SmallRng::seed_from_u64(6);
        const PARTS: [&str; 8] = [
            "\\u0001",
            "\\u0002",
            "\\n",
            "plain and longer",
            "x",
            "\\ud83d\\ude00",
            "\\ude00",
            "é",
        ];
        for _ in 0..20_000 {
            let parts = rng.random_range(0..9);
            let raw: String = (0..parts).map(|_| PARTS[rng.random_range(0..8)]).collect();
            let mut whole = b"before".to_vec();
            unescape_into(&mut whole, raw.as_bytes());
            assert_eq!(whole.strip_prefix(b"before").unwrap(), unescaped(raw.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn every_escape_is_decoded() {
        let raw = br#"a\u0001b\u0002\n\t\r\b\f\"\\\/\u00e9\u20AC\ud83D\uDE00z"#;
        let expected = "a\u{1}b\u{2}\n\t\r\u{8}\u{c}\"\\/\u{e9}\u{20ac}\u{1f600}z";
        assert_eq!(unescaped(raw), expected.as_bytes());
    }

    #[test]
    fn a_surrogate_without_its_partner_becomes_a_question_mark() {
        for raw in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\n"] {
            assert_eq!(unescaped(raw.as_bytes())[0], b'?', "{raw}");
        }
        assert_eq!(unescaped(br"\ud83d\ud83d\ude00"), "?\u{1f600}".as_bytes());
    }

    #[test]
    fn escaping_is_undone_by_a_foreign_parser() {
        let mut rng = SmallRng::seed_from_u64(2);
        for _ in 0..5_000 {
            let len = rng.random_range(0..30);
            let text: String =
                (0..len).map(|_| char::from_u32(rng.random_range(0..0x300)).unwrap()).collect();
            let mut json = b"\"".to_vec();
            escape_into(&mut json, text.as_bytes());
            json.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_no_numbers() {
        let odd =
            ["", "-", "+", "--1", "1.0", "1e3", " 1", "1 ", "9223372036854775808", "\u{ff11}"];
        for text in odd {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_decimal(b"+7"), Some(7));
        assert_eq!(parse_decimal(b"-0009"), Some(-9));
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_reads_them() {
        let mut rng = SmallRng::seed_from_u64(5);
        for _ in 0..50_000 {
            let len = rng.random_range(0..22);
            let mut text: Vec<u8> = (0..len).map(|_| rng.random_range(b'0'..=b'9')).collect();
            if len > 0 && rng.random_bool(0.5) {
                let at = rng.random_range(0..len);
                text[at] = rng.random_range(0..=0x7f);
            }
            let expected = str::from_utf8(&text).unwrap().parse::<i64>().ok();
            assert_eq!(parse_decimal(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        let mut rng = SmallRng::seed_from_u64(3);
        let edges = [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 10_000, i64::MAX, i64::MIN, -1];
        let random = (0..20_000).map(|_| rng.random::<i64>() >> rng.random_range(0..64));
        for value in edges.into_iter().chain(random) {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(parse_decimal(&out), Some(value));
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
