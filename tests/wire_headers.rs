//! Headers against a foreign reader and against themselves: random documents compared
//! with serde_json, random fields through both codecs, frames cut at every byte.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use ringmq::base::limits::{EXT_FIELDS_MAX, FRAME_BYTES_MAX};
use ringmq::wire::{Codec, FrameWriter, HeaderError, Request};
use serde_json::Value as Json;

/// Writes random JSON in the many ways in which the same text can be written.
struct Writer {
    rng: SmallRng,
    out: String,
}

impl Writer {
    fn blank(&mut self) {
        while self.rng.random_ratio(1, 8) {
            self.out.push(*[' ', '\n', '\t', '\r'].choose(&mut self.rng).unwrap());
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let short = "\"\\/\u{8}\u{c}\n\r\t".chars().position(|known| known == character);
            let must = matches!(character, '"' | '\\' | '\0'..'\u{20}');
            match self.rng.random_range(0..6) {
                0 | 1 if short.is_some() => {
                    self.out.push('\\');
                    self.out.push(char::from(b"\"\\/bfnrt"[short.unwrap()]));
                }
                choice if must || choice == 5 => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let hex = format!("\\u{unit:04x}");
                        let upper = self.rng.random::<bool>();
                        self.out.push_str(&if upper { hex.replace('a', "A") } else { hex });
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn text(&mut self) -> String {
        const CHARACTERS: &[char] = &[
            'a',
            'b',
            'Z',
            '0',
            '9',
            ' ',
            '{',
            '}',
            '[',
            ']',
            ':',
            ',',
            '"',
            '\\',
            '/',
            '\u{1}',
            '\u{2}',
            '\n',
            '\t',
            '\u{7f}',
            '\u{e9}',
            '\u{20ac}',
            '\u{1f600}',
        ];
        let len = self.rng.random_range(0..20);
        (0..len).map(|_| *CHARACTERS.choose(&mut self.rng).unwrap()).collect()
    }

    fn number(&mut self) {
        let number = match self.rng.random_range(0..6) {
            0 => format!("{}.{}", self.rng.random_range(-9..9_i32), self.rng.random_range(0..99)),
            1 => format!("{}e{}", self.rng.random_range(1..9), self.rng.random_range(-5..5)),
            2 => self.rng.random::<i64>().to_string(),
            _ => self.rng.random::<i32>().to_string(),
        };
        self.out.push_str(&number);
    }

    fn scalar(&mut self) {
        match self.rng.random_range(0..6) {
            0 => self.out.push_str("null"),
            1 => self.out.push_str("true"),
            2 => self.out.push_str("false"),
            3 => self.number(),
            _ => {
                let text = self.text();
                self.string(&text);
            }
        }
    }

    fn value(&mut self, depth: usize) {
        self.blank();
        let items = self.rng.random_range(0..4);
        match self.rng.random_range(0..5) {
            0 if depth > 0 => {
                let keys: Vec<_> = (0..items).map(|at| format!("{at}{}", self.text())).collect();
                self.object(&keys, |writer, _| writer.value(depth - 1));
            }
            1 if depth > 0 => {
                self.out.push('[');
                for at in 0..items {
                    if at > 0 {
                        self.out.push(',');
                    }
                    self.value(depth - 1);
                }
                self.blank();
                self.out.push(']');
            }
            _ => self.scalar(),
        }
        self.blank();
    }

    fn object(&mut self, keys: &[String], mut value: impl FnMut(&mut Self, &str)) {
        self.blank();
        self.out.push('{');
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.blank();
            self.string(key);
            self.blank();
            self.out.push(':');
            self.blank();
            value(self, key);
            self.blank();
        }
        self.blank();
        self.out.push('}');
        self.blank();
    }

    /// A header: mostly right, sometimes with a wrong type where a type is asked for.
    fn header(&mut self) {
        let known =
            ["code", "flag", "opaque", "version", "remark", "language", "extFields", "x", ""];
        let mut keys: Vec<_> = known.iter().map(|key| (*key).to_owned()).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, self.rng.random_range(0..=at));
        }
        keys.truncate(self.rng.random_range(0..=keys.len()));
        self.object(&keys, |writer, key| match key {
            _ if writer.rng.random_ratio(1, 40) => writer.value(2),
            "code" | "flag" | "opaque" | "version" => {
                let number = writer.rng.random::<i32>();
                writer.out.push_str(&number.to_string());
            }
            "remark" | "language" => writer.scalar(),
            "extFields" => {
                let fields = writer.rng.random_range(0..12);
                let keys: Vec<_> = (0..fields).map(|at| format!("{}{at}", writer.text())).collect();
                writer.object(&keys, |writer, _| match writer.rng.random_ratio(1, 60) {
                    true => writer.value(1),
                    false => writer.scalar(),
                });
            }
            _ => writer.value(5),
        });
    }
}

/// What serde_json says that a header holds; `None` when it is not acceptable.
struct Model {
    integers: [i32; 4],
    remark: Option<String>,
    fields: BTreeMap<String, String>,
}

fn scalar_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn model(text: &str) -> Option<Model> {
    let Json::Object(header) = serde_json::from_str(text).unwrap() else { return None };
    let mut integers = [0; 4];
    for (integer, key) in integers.iter_mut().zip(["code", "flag", "opaque", "version"]) {
        match header.get(key) {
            None | Some(Json::Null) => {}
            Some(value) => *integer = scalar_text(value)?.parse().ok()?,
        }
    }
    let remark = match header.get("remark") {
        None | Some(Json::Null) => None,
        Some(value) => Some(scalar_text(value)?),
    };
    if matches!(header.get("language"), Some(Json::Array(_) | Json::Object(_))) {
        return None;
    }
    let mut fields = BTreeMap::new();
    match header.get("extFields") {
        None | Some(Json::Null) => {}
        Some(Json::Object(found)) => {
            for (key, value) in found.iter().filter(|(_, value)| !value.is_null()) {
                fields.insert(key.clone(), scalar_text(value)?);
            }
        }
        Some(_) => return None,
    }
    Some(Model { integers, remark, fields })
}

/// serde_json keeps a fraction as a float, we keep its text: equal by value.
fn same_text(ours: &str, theirs: &str) -> bool {
    ours == theirs
        || matches!((ours.parse::<f64>(), theirs.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

#[test]
fn the_header_scanner_agrees_with_serde_json_on_random_documents() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..6_000 {
        let mut writer = Writer { rng: SmallRng::seed_from_u64(seed), out: String::new() };
        writer.header();
        let text = writer.out;
        let ours = Request::decode(Codec::Json, text.as_bytes(), b"");
        let Some(model) = model(&text) else {
            refused += 1;
            assert!(ours.is_err(), "seed {seed}: {text}");
            continue;
        };
        accepted += 1;
        let ours = ours.unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"));
        let integers = [ours.code, ours.flag, ours.opaque, ours.version];
        assert_eq!(integers, model.integers, "seed {seed}: {text}");
        match (&ours.remark, &model.remark) {
            (Some(ours), Some(theirs)) => assert!(same_text(&ours.text(), theirs), "seed {seed}"),
            (ours, theirs) => assert_eq!(ours.is_some(), theirs.is_some(), "seed {seed}: {text}"),
        }
        assert_eq!(ours.ext.len(), model.fields.len(), "seed {seed}: {text}");
        for (key, theirs) in &model.fields {
            let value = ours.ext.get(key).unwrap_or_else(|| panic!("seed {seed}: {key}: {text}"));
            assert!(same_text(&value.text(), theirs), "seed {seed}: {key}: {text}");
            let mut appended = Vec::new();
            value.append_to(&mut appended);
            assert_eq!(appended, value.text().as_bytes(), "seed {seed}: {key}: {text}");
        }
    }
    assert!(accepted > 3_000 && refused > 300, "{accepted} accepted, {refused} refused");
}

fn random_fields(rng: &mut SmallRng) -> Vec<(String, String)> {
    let mut text = |len: std::ops::Range<usize>| -> String {
        let len = rng.random_range(len);
        (0..len).map(|_| char::from_u32(rng.random_range(0..0x800)).unwrap()).collect()
    };
    let texts: Vec<_> =
        (0..EXT_FIELDS_MAX).map(|at| (format!("{at}{}", text(0..8)), text(1..30))).collect();
    let count = rng.random_range(0..=EXT_FIELDS_MAX);
    texts.into_iter().take(count).collect()
}

fn write(codec: Codec, oneway: bool, fields: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::request(&mut out, codec, -3, 105, oneway);
    for (key, value) in fields {
        writer.field(key, value);
    }
    writer.finish_with_body(body);
    out
}

#[test]
fn random_fields_survive_both_codecs_and_being_handed_on() {
    let mut rng = SmallRng::seed_from_u64(11);
    for _ in 0..300 {
        let fields = random_fields(&mut rng);
        let oneway = rng.random();
        for (first, second) in
            [(Codec::Json, Codec::Binary), (Codec::Binary, Codec::Json), (Codec::Json, Codec::Json)]
        {
            let frame = write(first, oneway, &fields, b"body");
            let (request, len) = Request::read(&frame).unwrap().unwrap();
            assert_eq!((len, request.body), (frame.len(), &b"body"[..]));
            assert_eq!(request.is_oneway(), oneway);

            // Handed on as it lies, through the other codec too.
            let mut out = Vec::new();
            let mut writer = FrameWriter::request(&mut out, second, -3, 105, oneway);
            for field in request.ext.iter() {
                writer.field_value(&field.key.text(), field.value);
            }
            writer.finish(0);
            let (again, _) = Request::read(&out).unwrap().unwrap();
            for ext in [&request.ext, &again.ext] {
                let read: Vec<_> = ext
                    .iter()
                    .map(|field| (field.key.text().into_owned(), field.value.text().into_owned()))
                    .collect();
                assert_eq!(read, fields);
            }
        }
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_not_yet_there() {
    let mut rng = SmallRng::seed_from_u64(12);
    for codec in [Codec::Json, Codec::Binary] {
        let frame = write(codec, false, &random_fields(&mut rng)[..], b"some body");
        for cut in 0..frame.len() {
            assert!(matches!(Request::read(&frame[..cut]), Ok(None)), "cut at byte {cut}");
        }
        assert!(matches!(Request::read(&frame), Ok(Some(_))));
    }
}

#[test]
fn a_header_cut_at_any_byte_is_an_error() {
    let fields = [
        ("a".to_owned(), "TAGS\u{1}A\u{2}\u{1f600}".to_owned()),
        ("n".to_owned(), "17".to_owned()),
    ];
    for codec in [Codec::Json, Codec::Binary] {
        let frame = write(codec, false, &fields, b"");
        let header = &frame[8..];
        for cut in 0..header.len() {
            let result = Request::decode(codec, &header[..cut], b"");
            assert!(result.is_err(), "{codec:?} cut at byte {cut}");
        }
        assert!(Request::decode(codec, header, b"").is_ok());
    }
    // The same with values that are no strings, and a nested one to pass over.
    let odd = br#"{"x":[{"y":-1.5e+7},null],"extFields":{"b":true,"n":12},"code":34,"opaque":-1}"#;
    for cut in 0..odd.len() {
        assert!(Request::decode(Codec::Json, &odd[..cut], b"").is_err(), "cut at byte {cut}");
    }
}

#[test]
fn one_field_too_many_is_refused_by_both_codecs() {
    let fields: Vec<_> =
        (0..=EXT_FIELDS_MAX).map(|at| (format!("k{at}"), "v".to_owned())).collect();
    for codec in [Codec::Json, Codec::Binary] {
        let frame = write(codec, false, &fields[..EXT_FIELDS_MAX], b"");
        assert_eq!(Request::read(&frame).unwrap().unwrap().0.ext.len(), EXT_FIELDS_MAX);
        let frame = write(codec, false, &fields, b"");
        let error = Request::decode(codec, &frame[8..], b"").unwrap_err();
        assert_eq!(error, HeaderError::TooManyFields);
    }
}

#[test]
fn a_field_that_grows_beyond_the_frame_when_escaped_is_refused_not_sent() {
    // Arrives in the binary codec, leaves as JSON six times as long.
    let value = "\u{1}".repeat(FRAME_BYTES_MAX / 4);
    let mut out = Vec::new();
    let mut writer = FrameWriter::reply(&mut out, Codec::Json, 1, 0);
    assert!(!writer.field("value", &value).finish(0));
    let (reply, len) = Request::read(&out).unwrap().unwrap();
    assert_eq!((reply.code, len), (1, out.len()));
}
