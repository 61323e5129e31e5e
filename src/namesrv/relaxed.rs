//! JSON as Java brokers write it: maps with numeric keys have them without quotes.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Nesting beyond this is left to the parser to refuse; it bounds its own.
const DEPTH_MAX: usize = 128;

/// Parses JSON whose keys may be bare numbers.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&quote_keys(text))
}

/// Puts quotes around bare numeric keys. What is no JSON otherwise stays none.
fn quote_keys(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    // Whether each open bracket is an object's.
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_text(text, at),
            b'{' | b'[' => open.push(*byte == b'{'),
            b'}' | b']' => _ = open.pop(),
            _ => {}
        }
        if open.len() > DEPTH_MAX {
            break;
        }
        let starts_key = *byte == b'{' || (*byte == b',' && open.last() == Some(&true));
        at += 1;
        if !starts_key {
            continue;
        }
        let key = at + text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let is_digit = |byte: &&u8| byte.is_ascii_digit() || **byte == b'-';
        let end = key + text[key..].iter().take_while(is_digit).count();
        if end > key {
            out.extend_from_slice(&text[copied..key]);
            out.push(b'"');
            out.extend_from_slice(&text[key..end]);
            out.push(b'"');
            copied = end;
        }
        at = end;
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// Where the closing quote of the text that starts at `at` lies, or the last byte.
fn end_of_text(text: &[u8], mut at: usize) -> usize {
    loop {
        at += 1;
        match text.get(at) {
            Some(b'\\') => at += 1,
            Some(b'"') => return at,
            Some(_) => {}
            None => return text.len() - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn bare_numeric_keys_are_quoted_and_nothing_else() {
        let cases = [
            (r#"{0:"a", -1:[1,2,{3:4}]}"#, r#"{"0":"a", "-1":[1,2,{"3":4}]}"#),
            (r#"{"k":{1:{},2:"{3:4}"}}"#, r#"{"k":{"1":{},"2":"{3:4}"}}"#),
            (r#"{"a\"{1:":1,2:3}"#, r#"{"a\"{1:":1,"2":3}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&quote_keys(text.as_bytes())), expected);
            parse::<Value>(text.as_bytes()).unwrap();
        }
        let plain = br#"{"a":[1,2,3],"b":"\\","c":-4}"#;
        assert!(matches!(quote_keys(plain), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_no_json_is_refused_wherever_it_is_cut() {
        let text = br#"{"a":{0:"x\"",1:[2,"y"]},"b":{5:6}}"#;
        for cut in 0..text.len() {
            assert!(parse::<Value>(&text[..cut]).is_err(), "cut at byte {cut}");
        }
        let deep = b"{1:".repeat(1 << 20);
        assert!(parse::<Value>(&deep).is_err());
    }
}
