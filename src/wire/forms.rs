//! JSON headers that look like one before: read by comparing, not by parsing.
//!
//! A client writes the same header again and again with a few values changed. So a
//! header that was parsed is kept as a *form*: its text, and where its values lie. The
//! next one is compared with it, a word at a time; only a value in which they differ is
//! scanned anew. Where anything but a value differs, the form does not fit, and the
//! header is parsed as any other. What comes out is the same either way.

use super::ext::Span;
use super::frame::Codec;
use super::json::{self, Place, Scanner, Target};
use super::request::{HeaderError, Request};
use crate::base::limits::{EXT_FIELDS_MAX, FORM_HEADER_BYTES_MAX, HEADER_FORMS_MAX};

/// The forms that headers of late had, the most used ones first.
#[derive(Debug)]
pub struct HeaderForms {
    forms: Vec<Form>,
    misses: u32,
}

/// A header that was parsed.
#[derive(Debug)]
struct Form {
    text: Vec<u8>,
    /// Its values that may change, in their order; what lies between them may not.
    places: Vec<Place>,
}

/// One header in this many that fit no form becomes one, so that headers which are all
/// different cost little more than without forms.
const MISSES_PER_FORM: u32 = 8;
/// Values of a header beside its fields: code, flag, opaque, version, language, remark.
const OWN_VALUES_MAX: usize = 8;

impl Default for HeaderForms {
    fn default() -> Self {
        let blank = || Form {
            text: Vec::with_capacity(FORM_HEADER_BYTES_MAX),
            places: Vec::with_capacity(EXT_FIELDS_MAX + OWN_VALUES_MAX),
        };
        Self { forms: (0..HEADER_FORMS_MAX).map(|_| blank()).collect(), misses: 0 }
    }
}

impl HeaderForms {
    /// What `Request::decode` makes of a header, faster for one like those before. A
    /// request is large, so a blank one is filled where it lies.
    pub fn decode<'a>(
        &mut self,
        header: &'a [u8],
        request: &mut Request<'a>,
    ) -> Result<(), HeaderError> {
        if request.codec != Codec::Json || header.len() > FORM_HEADER_BYTES_MAX {
            return request.fill(header);
        }
        for at in 0..self.forms.len() {
            if self.forms[at].fill(header, request).is_some() {
                self.prefer(at);
                return Ok(());
            }
        }
        request.fill(header)?;
        self.learn(header);
        Ok(())
    }

    /// A form that fits moves ahead of the one before it.
    fn prefer(&mut self, at: usize) {
        if at > 0 {
            self.forms.swap(at - 1, at);
        }
    }

    /// Keeps some of the headers that fit no form in place of the least used one.
    #[cold]
    fn learn(&mut self, header: &[u8]) {
        let due = self.misses.is_multiple_of(MISSES_PER_FORM);
        self.misses = self.misses.wrapping_add(1);
        if due && let Some(last) = self.forms.last_mut() {
            last.become_like(header);
        }
    }
}

impl Form {
    fn become_like(&mut self, header: &[u8]) {
        self.places.clear();
        self.text.clear();
        self.text.extend_from_slice(header);
        let mut request = Request::blank(Codec::Json, header, b"");
        let parsed = json::decode_noting(header, &mut request, |place| self.places.push(place));
        let fields = self.places.iter().filter(|place| matches!(place.target, Target::Field(_)));
        // Fields that a second `extFields` took back are not in the request.
        if parsed.is_err() || fields.count() != request.ext.len() {
            self.text.clear();
        }
    }

    /// Reads a header of this form. `None`: it is of another, and `request` is as it was.
    fn fill<'a>(&self, header: &'a [u8], request: &mut Request<'a>) -> Option<()> {
        let filled = self.fill_places(header, request);
        if filled.is_none() {
            *request = Request::blank(request.codec, header, request.body);
        }
        filled
    }

    fn fill_places<'a>(&self, header: &'a [u8], request: &mut Request<'a>) -> Option<()> {
        let mut places = self.places.iter();
        // Up to here header and form were found alike, or a value was scanned anew.
        let (mut at, mut of_form) = (0, 0);
        loop {
            let alike = common_prefix(&header[at..], &self.text[of_form..]);
            let differs = of_form + alike;
            let shift = at.wrapping_sub(of_form);
            // A value may go on where the form's has ended: it is the same only if what
            // follows it is.
            let changed = loop {
                match places.next() {
                    Some(place) if place.end < differs => keep(place, shift, header, request)?,
                    other => break other,
                }
            };
            let Some(place) = changed else {
                let whole = differs == self.text.len() && at + alike == header.len();
                return (whole && differs > 0).then_some(());
            };
            if place.start > differs {
                return None;
            }
            at = renew(place, shift, header, request)?;
            of_form = place.end;
        }
    }
}

/// Takes a value that is the form's own, `shift` bytes further on.
#[inline]
fn keep<'a>(
    place: &Place,
    shift: usize,
    header: &'a [u8],
    request: &mut Request<'a>,
) -> Option<()> {
    match place.target {
        Target::Code(code) => request.code = code,
        Target::Flag(flag) => request.flag = flag,
        Target::Opaque(opaque) => request.opaque = opaque,
        Target::Version(version) => request.version = version,
        Target::Language(language) => request.language = language,
        Target::Remark => return renew(place, shift, header, request).map(drop),
        Target::Field(span) => {
            let key_at = span.key_at.wrapping_add(shift as u32);
            let value_at = span.value_at.wrapping_add(shift as u32);
            request.ext.push(Span { key_at, value_at, ..span }).ok()?;
        }
    }
    Some(())
}

/// Scans a value that differs from the form's; says where it ends.
fn renew<'a>(
    place: &Place,
    shift: usize,
    header: &'a [u8],
    request: &mut Request<'a>,
) -> Option<usize> {
    let start = place.start.wrapping_add(shift);
    let mut scanner = Scanner::at(header, start);
    match place.target {
        Target::Field(span) => {
            let token = scanner.scalar_or_null().ok()??;
            let key_at = span.key_at.wrapping_add(shift as u32);
            request.ext.push(token.as_value_of(Span { key_at, ..span })).ok()?;
        }
        target => drop(scanner.own_value(target, request).ok()?),
    }
    // What lies between values is the form's, and that was found to be UTF-8.
    let value = &header[start..scanner.position()];
    (value.is_ascii() || str::from_utf8(value).is_ok()).then_some(scanner.position())
}

/// How many bytes both begin with.
#[inline]
fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let len = left.len().min(right.len());
    let (left, right) = (&left[..len], &right[..len]);
    let mut at = 0;
    while let (Some(one), Some(other)) = (left[at..].first_chunk(), right[at..].first_chunk()) {
        let differing = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differing != 0 {
            return at + differing.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let alike = left[at..].iter().zip(&right[at..]).take_while(|(one, other)| one == other);
    at + alike.count()
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const HEADERS: [&str; 6] = [
        r#"{"code":310,"extFields":{"a":"group","b":"topic","c":"TBW102","d":"4","e":"2","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001k1\u0002UNIQ_KEY\u00017F0000010A2B\u0002","j":"0","k":"false"},"flag":0,"language":"JAVA","opaque":12,"serializeTypeCurrentRPC":"JSON","version":479}"#,
        r#"{"code":11,"extFields":{"queueId":"3","consumerGroup":"g","queueOffset":"99999"},"flag":0,"language":"JAVA","opaque":13,"version":479}"#,
        r#"{"code":310,"language":"GO","version":317,"opaque":9,"flag":0,"remark":"","extFields":{"a":"g","e":3,"k":true,"n":null}}"#,
        "{ \"code\" : 310, \"extFields\" : {\"AccessKey\":\"\",\"queueId\":-1}, \"flag\":2,\r\n\"language\":\"CPP\",\"opaque\":-2147483648,\"remark\":null,\"version\":333}\n",
        r#"{"extFields":{"a":"1"},"x":{"y":[1,2]},"code":5,"extFields":{"b":"2"},"opaque":1}"#,
        r#"{"opaque":1,"opaque":2,"extFields":{},"extFields":{"z":"é😀"}}"#,
    ];

    fn decode<'a>(forms: &mut HeaderForms, header: &'a [u8]) -> Result<Request<'a>, HeaderError> {
        let mut request = Request::blank(Codec::Json, header, b"body");
        forms.decode(header, &mut request).map(|()| request)
    }

    /// What both ways make of a header, as text.
    fn both(forms: &mut HeaderForms, header: &[u8]) -> (String, String) {
        let by_form = decode(forms, header);
        let parsed = Request::decode(Codec::Json, header, b"body");
        (format!("{by_form:?}"), format!("{parsed:?}"))
    }

    /// Changes a few bytes: digits and letters mostly, at times the punctuation too.
    fn changed(rng: &mut SmallRng, header: &str) -> Vec<u8> {
        const BYTES: &[u8] = b"0123456789abcXYZ\"\\,:{}[] u\xc3\xa9\x01-tn";
        let mut bytes = header.as_bytes().to_vec();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            let known = if rng.random_bool(0.7) { 16 } else { BYTES.len() };
            let byte = BYTES[rng.random_range(0..known)];
            match rng.random_range(0..3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    }

    #[test]
    fn a_header_reads_the_same_by_its_form_as_when_parsed() {
        let mut rng = SmallRng::seed_from_u64(4);
        let mut forms = HeaderForms::default();
        for _ in 0..60_000 {
            let which = rng.random_range(0..HEADERS.len());
            let header = changed(&mut rng, HEADERS[which]);
            let (by_form, parsed) = both(&mut forms, &header);
            assert_eq!(by_form, parsed, "{}", String::from_utf8_lossy(&header));
        }
    }

    #[test]
    fn a_header_with_other_values_has_the_form_of_the_one_before() {
        let mut forms = HeaderForms::default();
        let send = |opaque: u32, key: &str| {
            format!(
                r#"{{"code":310,"extFields":{{"b":"t","i":"K\u0001{key}"}},"opaque":{opaque}}}"#
            )
        };
        let first = send(9, "a");
        decode(&mut forms, first.as_bytes()).unwrap();
        let misses = forms.misses;
        for (opaque, key) in [(10, "bcd"), (99_999, ""), (0, "\\n"), (7, "e")] {
            let header = send(opaque, key);
            let request = decode(&mut forms, header.as_bytes()).unwrap();
            assert_eq!(request.opaque, opaque as i32);
            let parsed = Request::decode(Codec::Json, header.as_bytes(), b"").unwrap();
            assert_eq!(request.ext.get("i"), parsed.ext.get("i"));
        }
        assert_eq!(forms.misses, misses, "all were read by the form");
    }

    #[test]
    fn headers_that_are_wrong_are_refused_in_the_same_words() {
        let mut forms = HeaderForms::default();
        decode(&mut forms, br#"{"code":1,"opaque":2}"#).unwrap();
        for wrong in [
            &br#"{"code":1,"opaque":2"#[..],
            br#"{"code":1,"opaque":2}}"#,
            br#"{"code":1,"opaque":"x"}"#,
            br#"{"code":1x,"opaque":2}"#,
            b"{\"code\":1,\"opaque\":\"\xff\"}",
            b"",
        ] {
            let (by_form, parsed) = both(&mut forms, wrong);
            assert!(parsed.starts_with("Err") && by_form == parsed, "{by_form} {parsed}");
        }
    }
}
