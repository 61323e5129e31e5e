//! What a broker registers with a name server: 103.
//!
//! Plain, the body is JSON. Brokers of 4.x and 5.x may send it compressed, a zlib
//! stream of
//!
//! ```text
//! i32 length, DataVersion JSON
//! i32 topics, then for each: i32 length, "name reads writes perm filter {attributes}"
//! i32 length, filter server list JSON
//! i32 mappings, then for each: i32 length, mapping JSON       (version 413 and later)
//! ```

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::topic::{FilterType, TopicConfig, TopicConfigTable};
use super::{BodyError, from_bytes};
use crate::base::limits::{FRAME_BYTES_MAX, REGISTRATION_BYTES_MAX};

/// Brokers from this version (V5_0_0) on end the compressed form with mappings.
const MAPPINGS_FROM: i32 = 413;

/// The body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Registration {
    #[serde(deserialize_with = "or_default")]
    pub filter_server_list: Vec<String>,
    #[serde(rename = "topicConfigSerializeWrapper", deserialize_with = "or_default")]
    pub topics: TopicConfigTable,
}

impl Registration {
    /// Reads a body as its header announces it; `version` is the broker's.
    pub fn decode(body: &[u8], compressed: bool, version: i32) -> Result<Self, BodyError> {
        match compressed {
            true => Self::inflate(body, version, REGISTRATION_BYTES_MAX),
            false => from_bytes(body),
        }
    }

    fn inflate(body: &[u8], version: i32, bytes_max: u64) -> Result<Self, BodyError> {
        let mut stream = Inflated { stream: ZlibDecoder::new(body).take(bytes_max) };
        let mut registration = Self::default();
        registration.topics.data_version = from_bytes(&stream.part()?)?;
        for _ in 0..stream.count()? {
            let topic = parse_topic(&stream.part()?)?;
            registration.topics.topic_config_table.insert(topic.name.clone(), topic);
        }
        registration.filter_server_list = from_bytes(&stream.part()?)?;
        if version >= MAPPINGS_FROM {
            for _ in 0..stream.count()? {
                let mapping: serde_json::Value = from_bytes(&stream.part()?)?;
                if let Some(topic) = mapping.get("topic").and_then(|topic| topic.as_str()) {
                    let topic = topic.to_owned();
                    registration.topics.topic_queue_mapping_info_map.insert(topic, mapping);
                }
            }
        }
        Ok(registration)
    }
}

/// `name reads writes perm filter`, and since 5.0 `{attributes}`.
fn parse_topic(text: &[u8]) -> Result<TopicConfig, BodyError> {
    let wrong = || BodyError::new(format!("topic {:?}", String::from_utf8_lossy(text)));
    let parts = str::from_utf8(text).map_err(|_| wrong())?.splitn(6, ' ').collect::<Vec<_>>();
    let [name, reads, writes, perm, filter, ref attributes @ ..] = parts[..] else {
        return Err(wrong());
    };
    let number = |text: &str| text.parse().map_err(|_| wrong());
    // Empty where a broker has none; what does not parse is passed over, as in Java.
    let attributes = attributes.first().and_then(|json| from_bytes(json.as_bytes()).ok());
    Ok(TopicConfig {
        name: name.to_owned(),
        read_queues: number(reads)?,
        write_queues: number(writes)?,
        perm: number(perm)?,
        filter_type: FilterType::from_name(filter).ok_or_else(wrong)?,
        attributes: attributes.unwrap_or_default(),
        ..TopicConfig::default()
    })
}

/// A stream that ends early where it would inflate without bound.
struct Inflated<'a> {
    stream: io::Take<ZlibDecoder<&'a [u8]>>,
}

impl Inflated<'_> {
    fn count(&mut self) -> Result<usize, BodyError> {
        let mut word = [0; 4];
        self.stream.read_exact(&mut word).map_err(|error| self.failed(&error))?;
        usize::try_from(i32::from_be_bytes(word))
            .map_err(|_| BodyError::new("a negative length in the compressed registration"))
    }

    /// A length and that many bytes. Memory grows with what arrives, not with what is
    /// announced.
    fn part(&mut self) -> Result<Vec<u8>, BodyError> {
        let len = self.count()?;
        if len > FRAME_BYTES_MAX {
            return Err(BodyError::new(format!("a part of {len} bytes in the registration")));
        }
        let mut part = Vec::new();
        let read = self.stream.by_ref().take(len as u64).read_to_end(&mut part);
        read.map_err(|error| self.failed(&error))?;
        match part.len() == len {
            true => Ok(part),
            false => Err(self.failed(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn failed(&self, error: &io::Error) -> BodyError {
        BodyError::new(match self.stream.limit() {
            0 => "the registration inflates beyond its limit".to_owned(),
            _ => format!("compressed registration: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::super::to_bytes;
    use super::*;

    fn deflate(parts: &[&[u8]]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        parts.iter().for_each(|part| encoder.write_all(part).unwrap());
        encoder.finish().unwrap()
    }

    fn part(text: &str) -> Vec<u8> {
        [&(text.len() as i32).to_be_bytes(), text.as_bytes()].concat()
    }

    fn compressed(mappings: bool) -> Vec<u8> {
        let mut plain = part(r#"{"counter":7,"stateVersion":0,"timestamp":5}"#);
        plain.extend_from_slice(&2_i32.to_be_bytes());
        plain.extend(part(r#"T1 4 8 6 SINGLE_TAG {"+message.type":"NORMAL x"}"#));
        plain.extend(part("T2 1 1 7 MULTI_TAG "));
        plain.extend(part(r#"["f:1"]"#));
        if mappings {
            plain.extend_from_slice(&1_i32.to_be_bytes());
            plain.extend(part(r#"{"topic":"T1","bname":"b","epoch":1}"#));
        }
        plain
    }

    #[test]
    fn both_forms_of_a_registration_are_read() {
        let old = Registration::decode(&deflate(&[&compressed(false)]), true, 397).unwrap();
        assert_eq!(old.topics.data_version.counter, 7);
        let topic = &old.topics.topic_config_table["T1"];
        assert_eq!((topic.read_queues, topic.write_queues, topic.perm), (4, 8, 6));
        assert_eq!(topic.attributes["+message.type"], "NORMAL x");
        assert_eq!(old.topics.topic_config_table["T2"].filter_type, FilterType::MultiTag);
        assert_eq!(old.filter_server_list, ["f:1"]);

        let new = Registration::decode(&deflate(&[&compressed(true)]), true, 479).unwrap();
        assert_eq!(new.topics.topic_queue_mapping_info_map["T1"]["bname"], "b");

        let plain = Registration::decode(&to_bytes(&new), false, 479).unwrap();
        assert_eq!(plain, new);
    }

    #[test]
    fn a_compressed_registration_cut_anywhere_is_an_error() {
        let plain = compressed(true);
        for cut in 0..plain.len() {
            let result = Registration::decode(&deflate(&[&plain[..cut]]), true, 479);
            assert!(result.is_err(), "cut at byte {cut}");
        }
        let whole = deflate(&[&plain]);
        for cut in 0..whole.len() / 2 {
            assert!(Registration::decode(&whole[..cut], true, 479).is_err(), "cut at byte {cut}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let limit = 1 << 20;
        let head = part("{}");
        let count = i32::MAX.to_be_bytes();
        // Topics without end: the same short text, ever again.
        let topics = part("T 1 1 6 SINGLE_TAG").repeat(100_000);
        let bomb = deflate(&[&head, &count, &topics]);
        assert!(topics.len() as u64 > limit && (bomb.len() as u64) < limit / 8);
        let error = Registration::inflate(&bomb, 397, limit).unwrap_err();
        assert!(error.to_string().contains("inflates beyond"), "{error}");
        let huge_part = [&i32::MAX.to_be_bytes()[..], b"x"].concat();
        assert!(Registration::decode(&deflate(&[&huge_part]), true, 397).is_err());
    }
}
