//! Message properties as they travel and as they are stored: `key 0x01 value 0x02`, repeated.

/// Separates a key from its value.
pub const KEY_END: u8 = 1;
/// Ends a property.
pub const VALUE_END: u8 = 2;

/// The properties of `text` in their order. Parts without a separator and empty
/// keys or values are passed over, as Java clients do.
pub fn iter(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == VALUE_END).filter_map(|part| {
        let split = part.iter().position(|byte| *byte == KEY_END)?;
        let (key, value) = (&part[..split], &part[split + 1..]);
        (!key.is_empty() && !value.is_empty()).then_some((key, value))
    })
}

/// The value of `key`; of several, the last counts, as in a Java map.
pub fn get<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    iter(text).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
}

/// Where the next `KEY_END` or `VALUE_END` lies from `at` on, or the text's end: eight
/// bytes at a time, since every message that is sent is searched.
#[inline]
pub fn next_mark(text: &[u8], mut at: usize) -> usize {
    const LANES: u64 = u64::from_ne_bytes([1; 8]);
    while let Some(chunk) = text[at.min(text.len())..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        // The lowest lane set is exact: it held a byte below 3.
        let low = word.wrapping_sub(3 * LANES) & !word & (0x80 * LANES);
        let Some(lane) = (low != 0).then(|| low.trailing_zeros() as usize / 8) else {
            at += 8;
            continue;
        };
        at += lane;
        if chunk[lane] != 0 {
            return at;
        }
        at += 1;
    }
    let rest = text.get(at..).unwrap_or_default();
    let found = rest.iter().position(|byte| matches!(*byte, KEY_END | VALUE_END));
    found.map_or(text.len(), |found| at + found)
}

/// Appends one property.
pub fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    out.push(KEY_END);
    out.extend_from_slice(value);
    out.push(VALUE_END);
}

/// The tag code of the index: Java's `String.hashCode`, over UTF-16 units; 0 without a tag.
pub fn tag_code(tag: &[u8]) -> i32 {
    let hash = |code: i32, unit: u16| code.wrapping_mul(31).wrapping_add(i32::from(unit));
    match str::from_utf8(tag) {
        Ok(text) => text.encode_utf16().fold(0, hash),
        Err(_) => String::from_utf8_lossy(tag).encode_utf16().fold(0, hash),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn parts_without_key_or_value_are_passed_over() {
        let text = b"a\x01b\x02noise\x02\x01x\x02k\x01\x02c\x01d\x02";
        let found: Vec<_> = iter(text).collect();
        assert_eq!(found, [(&b"a"[..], &b"b"[..]), (b"c", b"d")]);
        assert_eq!(get(text, b"c"), Some(&b"d"[..]));
    }

    #[test]
    fn the_next_mark_is_found_wherever_it_lies() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let len = rng.random_range(0..30);
            let text: Vec<u8> = (0..len)
                .map(|_| if rng.random_bool(0.1) { rng.random_range(0..4) } else { rng.random() })
                .collect();
            let at = rng.random_range(0..=len);
            let marks = [KEY_END, VALUE_END];
            let expected = (at..len).find(|at| marks.contains(&text[*at])).unwrap_or(len);
            assert_eq!(next_mark(&text, at), expected, "{text:?} from {at}");
        }
    }

    #[test]
    fn tag_codes_are_those_of_java() {
        // Values printed by a JVM.
        assert_eq!(tag_code(b""), 0);
        assert_eq!(tag_code(b"TagA"), 2_598_919);
        assert_eq!(tag_code("\u{1F600}".as_bytes()), 1_772_899);
    }
}
