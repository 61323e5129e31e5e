//! The bodies of a registration: JSON, never compressed, for some name servers cannot
//! tell. A table too large for one frame goes in several requests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Registration;
use crate::base::limits::REGISTRATION_TOPICS_MAX;
use crate::base::metadata::DataVersion;
use crate::base::topic::TopicConfig;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    filter_server_list: [(); 0],
    topic_config_serialize_wrapper: Table<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table<'a> {
    data_version: DataVersion,
    mapping_data_version: DataVersion,
    topic_config_table: BTreeMap<&'a str, &'a TopicConfig>,
    topic_queue_mapping_detail_map: Empty,
    topic_queue_mapping_info_map: Empty,
}

#[derive(Serialize)]
struct Empty {}

/// The bodies to send, in order. A name server replaces what it knows only when the
/// version differs from the one before, so all parts but the last bear versions of
/// their own; the last one bears the real version.
pub(super) fn parts(registration: &Registration) -> impl Iterator<Item = Vec<u8>> {
    parts_of(registration, REGISTRATION_TOPICS_MAX)
}

fn parts_of(registration: &Registration, topics_max: usize) -> impl Iterator<Item = Vec<u8>> {
    let topics = &registration.topics[..];
    let count = topics.len().div_ceil(topics_max).max(1);
    // Equal shares: a first part with a single topic would be refused.
    let share = topics.len().div_ceil(count);
    (0..count).map(move |part| {
        let from = (part * share).min(topics.len());
        let to = (from + share).min(topics.len());
        let mut version = registration.data_version;
        version.timestamp -= (count - 1 - part) as i64;
        encode(&topics[from..to], version)
    })
}

fn encode(topics: &[TopicConfig], data_version: DataVersion) -> Vec<u8> {
    let table = Table {
        data_version,
        mapping_data_version: DataVersion::default(),
        topic_config_table: topics.iter().map(|topic| (topic.name.as_str(), topic)).collect(),
        topic_queue_mapping_detail_map: Empty {},
        topic_queue_mapping_info_map: Empty {},
    };
    let body = Body { filter_server_list: [], topic_config_serialize_wrapper: table };
    serde_json::to_vec(&body).expect("plain data into memory")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    fn registration(topics: usize) -> Registration {
        let topics = (0..topics).map(|topic| TopicConfig::new(&format!("t{topic}"), 4, 6));
        Registration {
            cluster: "C".to_owned(),
            broker_name: "b-0".to_owned(),
            broker_addr: "127.0.0.1:1".to_owned(),
            ha_addr: "127.0.0.1:2".to_owned(),
            broker_id: 0,
            data_version: DataVersion { counter: 3, state_version: 0, timestamp: 1000 },
            topics: Arc::new(topics.collect()),
        }
    }

    #[test]
    fn a_small_table_is_one_body() {
        let bodies: Vec<_> = parts_of(&registration(1), 10).collect();
        assert_eq!(
            String::from_utf8(bodies[0].clone()).unwrap(),
            "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\
             \"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":1000},\
             \"mappingDataVersion\":{\"counter\":0,\"stateVersion\":0,\"timestamp\":0},\
             \"topicConfigTable\":{\"t0\":{\"attributes\":{},\"order\":false,\"perm\":6,\
             \"readQueueNums\":4,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"t0\",\
             \"topicSysFlag\":0,\"writeQueueNums\":4}},\
             \"topicQueueMappingDetailMap\":{},\"topicQueueMappingInfoMap\":{}}}"
        );
        assert_eq!(bodies.len(), 1);
        assert_eq!(parts_of(&registration(0), 10).count(), 1);
    }

    #[test]
    fn a_large_table_is_shared_out_and_the_last_part_bears_the_version() {
        for count in [11, 20, 21, 95, 101] {
            let mut names = Vec::new();
            let mut versions = Vec::new();
            for body in parts_of(&registration(count), 10) {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let table = &body["topicConfigSerializeWrapper"];
                let topics = table["topicConfigTable"].as_object().unwrap();
                assert!((2..=10).contains(&topics.len()) || !names.is_empty());
                names.extend(topics.keys().cloned());
                versions.push(table["dataVersion"]["timestamp"].as_i64().unwrap());
            }
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(versions.is_sorted() && versions.last() == Some(&1000));
            assert!(versions.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
