//! One request as bytes, in either codec, with the places of its parts known.

use super::{CLIENT_VERSION, Codec, PREFIX_BYTES};

/// A request in the making: extension fields keep the order they were added in.
pub struct Request {
    code: i32,
    ext: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// A whole frame, and where a template patches it.
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Ten digits in JSON, four bytes in binary.
    pub opaque_at: usize,
    pub body_at: usize,
    ext_values: Vec<(&'static str, usize)>,
}

impl Encoded {
    /// Where the value of an extension field begins.
    pub fn ext_value_at(&self, key: &str) -> Option<usize> {
        self.ext_values.iter().find(|(name, _)| *name == key).map(|&(_, at)| at)
    }
}

impl Request {
    pub fn new(code: i32) -> Request {
        Request { code, ext: Vec::new(), body: Vec::new() }
    }

    pub fn code(&self) -> i32 {
        self.code
    }

    pub fn ext(mut self, key: &'static str, value: impl ToString) -> Request {
        self.ext.push((key, value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    pub fn encode(&self, codec: Codec, opaque: u32) -> Encoded {
        let mut bytes = vec![0; PREFIX_BYTES];
        let mut ext_values = Vec::with_capacity(self.ext.len());
        let opaque_at = match codec {
            Codec::Json => self.write_json(&mut bytes, opaque, &mut ext_values),
            Codec::Binary => self.write_binary(&mut bytes, opaque, &mut ext_values),
        };
        let body_at = bytes.len();
        bytes.extend_from_slice(&self.body);
        let header_len = (body_at - PREFIX_BYTES) as u32;
        let frame_len = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&frame_len.to_be_bytes());
        bytes[4..8].copy_from_slice(&header_len.to_be_bytes());
        bytes[4] = codec.byte();
        Encoded { bytes, opaque_at, body_at, ext_values }
    }

    fn write_json(
        &self,
        out: &mut Vec<u8>,
        opaque: u32,
        values: &mut Vec<(&'static str, usize)>,
    ) -> usize {
        out.extend_from_slice(format!("{{\"code\":{},\"extFields\":{{", self.code).as_bytes());
        for (i, (key, value)) in self.ext.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(format!("\"{key}\":\"").as_bytes());
            values.push((key, out.len()));
            write_json_text(out, value);
            out.push(b'"');
        }
        out.extend_from_slice(b"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":");
        let opaque_at = out.len();
        out.extend_from_slice(opaque.to_string().as_bytes());
        out.extend_from_slice(
            format!(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{CLIENT_VERSION}}}")
                .as_bytes(),
        );
        opaque_at
    }

    fn write_binary(
        &self,
        out: &mut Vec<u8>,
        opaque: u32,
        values: &mut Vec<(&'static str, usize)>,
    ) -> usize {
        out.extend_from_slice(&(self.code as i16).to_be_bytes());
        out.push(0); // Language: Java.
        out.extend_from_slice(&CLIENT_VERSION.to_be_bytes());
        let opaque_at = out.len();
        out.extend_from_slice(&opaque.to_be_bytes());
        out.extend_from_slice(&[0; 8]); // No flag, no remark.
        let map_len: usize = self.ext.iter().map(|(k, v)| 2 + k.len() + 4 + v.len()).sum();
        out.extend_from_slice(&(map_len as u32).to_be_bytes());
        for (key, value) in &self.ext {
            out.extend_from_slice(&(key.len() as u16).to_be_bytes());
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            values.push((key, out.len()));
            out.extend_from_slice(value.as_bytes());
        }
        opaque_at
    }
}

/// JSON text as Java clients write it: the separators of properties are escapes.
fn write_json_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, Header, take_frame};
    use super::*;

    #[test]
    fn both_codecs_say_the_same() {
        let request =
            Request::new(310).ext("b", "topic").ext("i", "K\u{1}v\"\\\u{2}").body(*b"body");
        for codec in [Codec::Json, Codec::Binary] {
            let encoded = request.encode(codec, 1_000_000_007);
            let frame = take_frame(&encoded.bytes).unwrap().expect("a whole frame");
            let header = Header::parse(frame.codec, frame.header).unwrap();
            assert_eq!((header.code, header.opaque), (310, 1_000_000_007));
            assert_eq!(header.ext("b"), Some("topic"));
            assert_eq!(header.ext("i"), Some("K\u{1}v\"\\\u{2}"));
            assert_eq!(frame.body, b"body");
            assert_eq!(frame.body, &encoded.bytes[encoded.body_at..]);
            let topic_at = encoded.ext_value_at("b").unwrap();
            assert_eq!(&encoded.bytes[topic_at..topic_at + 5], b"topic");
        }
    }
}
