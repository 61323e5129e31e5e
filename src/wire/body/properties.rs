//! Configuration as tools send and read it (25, 26, 318, 319): lines `key=value` in
//! the syntax of `java.util.Properties`.

/// Reads the pairs in their order. Nothing is an error: what has no separator is a key
/// with an empty value, as in Java.
pub fn parse(text: &str) -> Vec<(String, String)> {
    logical_lines(text).iter().map(|line| split(line)).collect()
}

/// Writes pairs so that Java and `parse` read them back.
pub fn format<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        escape(&mut text, key, |character| matches!(character, ' ' | '=' | ':' | '#' | '!'));
        text.push('=');
        let start = text.len();
        escape(&mut text, value, |_| false);
        // Java passes over blanks behind the separator.
        if text[start..].starts_with(' ') {
            text.insert(start, '\\');
        }
        text.push('\n');
    }
    text
}

/// Lines without comments and blank ones, joined where a backslash ends them.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut joined = open.take().unwrap_or_default();
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        joined.push_str(&line[..line.len() - backslashes % 2]);
        if backslashes % 2 == 1 {
            open = Some(joined);
        } else {
            lines.push(joined);
        }
    }
    lines.extend(open);
    lines
}

/// Key and value: apart at the first `=`, `:` or blank that has no backslash before it.
fn split(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line.find(|character| {
        let found = !escaped && matches!(character, '=' | ':' | ' ' | '\t' | '\u{c}');
        escaped = !escaped && character == '\\';
        found
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let blanks = [' ', '\t', '\u{c}'];
    let rest = rest.trim_start_matches(blanks);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(blanks);
    (unescape(key), unescape(value))
}

fn unescape(text: &str) -> String {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let character = match character {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits = rest.as_str().get(..4);
                    match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
                        Some(unit) => {
                            units.push(unit);
                            rest = rest.as_str()[4..].chars();
                            continue;
                        }
                        None => 'u',
                    }
                }
                Some(other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

fn escape(out: &mut String, text: &str, special: impl Fn(char) -> bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            other => {
                if special(other) {
                    out.push('\\');
                }
                out.push(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "# comment\n!too\n\n  brokerName = broker-a\r\nnamesrvAddr:10.0.0.1:9876;b\nkey value\nalone\nlong=a,\\\n   b\nescaped\\ key\\==\\u0041\\tz\\\\\npath=C:\\\\dir\nend=x\\";
        let pairs = parse(text);
        let expected = [
            ("brokerName", "broker-a"),
            ("namesrvAddr", "10.0.0.1:9876;b"),
            ("key", "value"),
            ("alone", ""),
            ("long", "a,b"),
            ("escaped key=", "A\tz\\"),
            ("path", "C:\\dir"),
            ("end", "x"),
        ];
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let pairs = [
            ("plain", "value"),
            ("", "no key"),
            ("empty", ""),
            ("odd key:=#!", " two blanks  "),
            ("#hash", "=:#!"),
            ("text", "caf\u{e9} \u{1f600}\n\r\t\u{c}\\ \\u0041"),
        ];
        let read = parse(&format(pairs));
        let read: Vec<_> = read.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        assert_eq!(read, pairs);
        assert_eq!(format([("a", "b")]), "a=b\n");
    }

    #[test]
    fn broken_escapes_are_taken_as_they_stand() {
        assert_eq!(parse("a=\\uD83Dx"), [("a".to_owned(), "\u{fffd}x".to_owned())]);
        assert_eq!(parse("a=\\u12"), [("a".to_owned(), "u12".to_owned())]);
        assert_eq!(parse("a=\\u00\u{e9}9"), [("a".to_owned(), "u00\u{e9}9".to_owned())]);
    }
}
