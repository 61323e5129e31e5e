//! Stored records, footers, names and marks: bytes there and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringmq::base::LogOffset;
use ringmq::log::footer::{FOOTER_BYTES_MIN, FOOTER_TAIL_BYTES, Footer};
use ringmq::log::record::{Fault, Placement, blank_record};
use ringmq::log::run_mark::{ArenaId, BootId, RunMark, RunMarkError};
use ringmq::log::{ChainEnd, NewRecord, RecordView, Stored};

fn encode(record: &NewRecord<'_>, placement: Placement) -> Vec<u8> {
    let mut bytes = vec![0xFF; record.stored_len()];
    record.encode(placement, &mut bytes);
    bytes
}

fn small() -> NewRecord<'static> {
    NewRecord {
        topic: b"T",
        queue_id: 1,
        flag: 2,
        sys_flag: 0,
        queue_offset: 3,
        born_ms: 4,
        born_host: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80)),
        store_host: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 10911),
        reconsume_times: 5,
        prepared_offset: 6,
        body: b"hello",
        properties: &[b"a\x01b\x02", b"c\x01d\x02"],
    }
}

/// Written out by hand from the specification's table.
#[test]
fn a_record_has_the_bytes_of_the_specification() {
    let bytes = encode(&small(), Placement { at: LogOffset(7), store_ms: 8 });
    let crc = crc32fast::hash(b"hello") & 0x7fff_ffff;
    let mut expected = Vec::new();
    expected.extend(105u32.to_be_bytes());
    expected.extend((-626_843_481i32).to_be_bytes());
    expected.extend(crc.to_be_bytes());
    expected.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    expected.extend(3u64.to_be_bytes());
    expected.extend(7u64.to_be_bytes());
    expected.extend([0; 4]);
    expected.extend(4u64.to_be_bytes());
    expected.extend([10, 0, 0, 1, 0, 0, 0, 80]);
    expected.extend(8u64.to_be_bytes());
    expected.extend([10, 0, 0, 2, 0, 0, 0x2A, 0x9F]);
    expected.extend(5u32.to_be_bytes());
    expected.extend(6u64.to_be_bytes());
    expected.extend([0, 0, 0, 5]);
    expected.extend(b"hello\x01T\x00\x08a\x01b\x02c\x01d\x02");
    assert_eq!(bytes, expected);
    assert_eq!(blank_record(4096), [0, 0, 0x10, 0, 0xCB, 0xD4, 0x31, 0x94]);
}

#[test]
fn a_topic_beyond_127_bytes_makes_the_record_v2() {
    for (len, magic) in [(127, -626_843_481i32), (128, -626_843_477), (255, -626_843_477)] {
        let topic = vec![b't'; len];
        let record = NewRecord { topic: &topic, ..small() };
        let bytes = encode(&record, Placement { at: LogOffset(0), store_ms: 0 });
        assert_eq!(bytes[4..8], magic.to_be_bytes());
        assert_eq!(RecordView::at(&bytes, LogOffset(0)).unwrap().topic(), topic);
    }
}

#[test]
fn random_records_come_back_as_they_went_in() {
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..2_000 {
        let mut part = |max: usize| -> Vec<u8> {
            let len = rng.random_range(0..=max);
            (0..len).map(|_| rng.random()).collect()
        };
        let (topic, body) = (part(255), part(3_000));
        let pieces = [part(200), part(200), part(0)];
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        let ip = match rng.random_bool(0.5) {
            true => IpAddr::V4(Ipv4Addr::from(rng.random::<u32>())),
            false => IpAddr::V6(Ipv6Addr::from(rng.random::<u128>())),
        };
        let record = NewRecord {
            topic: &topic,
            queue_id: rng.random(),
            flag: rng.random(),
            sys_flag: rng.random(),
            queue_offset: rng.random(),
            born_ms: rng.random(),
            born_host: SocketAddr::new(ip, rng.random()),
            store_host: SocketAddrV4::new(Ipv4Addr::from(rng.random::<u32>()), rng.random()),
            reconsume_times: rng.random(),
            prepared_offset: rng.random(),
            body: &body,
            properties: &pieces,
        };
        let placement = Placement { at: LogOffset(rng.random()), store_ms: rng.random() };
        let mut bytes = encode(&record, placement);
        let len = bytes.len();
        bytes.extend(b"what follows is another record");
        let view = RecordView::at(&bytes, placement.at).unwrap();
        view.check_body().unwrap();
        assert_eq!((view.stored_len(), view.bytes()), (len, &bytes[..len]));
        assert_eq!((view.topic(), view.body()), (&topic[..], &body[..]));
        assert_eq!(view.properties(), pieces.concat());
        assert_eq!((view.queue_id(), view.flag()), (record.queue_id, record.flag));
        assert_eq!(view.sys_flag() & !0x30, record.sys_flag & !0x30);
        assert_eq!(view.queue_offset(), record.queue_offset);
        assert_eq!((view.born_ms(), view.born_host()), (record.born_ms, record.born_host));
        assert_eq!(view.store_ms(), placement.store_ms);
        assert_eq!(view.store_host(), SocketAddr::V4(record.store_host));
        assert_eq!(view.reconsume_times(), record.reconsume_times);
        assert_eq!(view.prepared_offset(), record.prepared_offset);
        // Cut anywhere, it is no record.
        let cut = rng.random_range(0..len);
        assert!(RecordView::at(&bytes[..cut], placement.at).is_err());
    }
}

#[test]
fn each_fault_has_its_name() {
    let at = LogOffset(64);
    let good = encode(&small(), Placement { at, store_ms: 0 });
    let fault = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        RecordView::at(&bytes, at).and_then(|view| view.check_body()).unwrap_err().fault
    };
    assert_eq!(fault(&|b| b.truncate(6)), Fault::Short { have: 6, need: 8 });
    assert_eq!(fault(&|b| b.truncate(100)), Fault::Short { have: 100, need: 105 });
    assert_eq!(fault(&|b| b[4..8].fill(0)), Fault::Magic(0));
    assert_eq!(fault(&|b| b[..4].copy_from_slice(&[0, 0, 0, 90])), Fault::Size(90));
    assert_eq!(fault(&|b| b[35] = 1), Fault::Misplaced { stored: 1 });
    assert_eq!(fault(&|b| b[87] = 6), Fault::Lengths);
    assert_eq!(fault(&|b| b[84..88].fill(0xFF)), Fault::Lengths);
    assert!(
        matches!(fault(&|b| b[90] ^= 1), Fault::BodyCrc { stored, computed } if stored != computed)
    );
    let blank = blank_record(500);
    assert!(matches!(Stored::parse(&blank, at), Ok(Stored::Blank { len: 500 })));
}

fn footer(records_end: u64) -> Footer {
    let end = LogOffset(records_end + FOOTER_BYTES_MIN as u64).align_up(4096);
    let mut footer = Footer {
        start: LogOffset(8192),
        records_end: LogOffset(records_end),
        end,
        sequence: 77,
        life: 3,
        flushed: LogOffset(4096),
        store_ms: 1_700_000_000_000,
        seed: 0x1234_5678,
        crc: 0,
        last_of_segment: records_end & 1 == 1,
    };
    footer.crc = footer.group_crc(0x9ABC_DEF0);
    footer
}

/// `FORMAT.md` tells these places; a change here is a change of the format.
#[test]
fn a_footers_fields_lie_where_the_format_says() {
    let footer = footer(12_001);
    let mut bytes = vec![0; footer.len()];
    footer.encode(&mut bytes);
    let edge = bytes.len();
    let field = |from_edge: usize, len: usize| &bytes[edge - from_edge..][..len];
    assert_eq!((FOOTER_BYTES_MIN, FOOTER_TAIL_BYTES), (188, 100));
    assert_eq!(field(100, 8), b"RMQGROUP");
    assert_eq!(field(92, 4), [0, 1, 0, 1]);
    assert_eq!(field(88, 4), (12_001u32 - 8_192).to_be_bytes());
    assert_eq!(field(84, 8), 8_192u64.to_be_bytes());
    assert_eq!(field(76, 8), 77u64.to_be_bytes());
    assert_eq!(field(68, 8), 3u64.to_be_bytes());
    assert_eq!(field(60, 8), 4_096u64.to_be_bytes());
    assert_eq!(field(52, 8), 1_700_000_000_000u64.to_be_bytes());
    assert_eq!(field(44, 8), footer.end.0.to_be_bytes());
    assert_eq!(field(36, 4), 0x1234_5678u32.to_be_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(0x9ABC_DEF0);
    crc.update(field(100, 68));
    assert_eq!(field(32, 4), crc.finalize().to_be_bytes());
    assert_eq!(field(28, 4), crc32fast::hash(field(100, 72)).to_be_bytes());
    assert_eq!(field(24, 24), b"\x15rmq_sys_ringmq_footer\0\0");
}

#[test]
fn a_footer_is_found_by_its_blocks_tail_and_as_a_record() {
    for records_end in (8192..8192 + 4096 * 2).step_by(5) {
        let footer = footer(records_end);
        let mut bytes = vec![0xFF; footer.len()];
        footer.encode(&mut bytes);
        assert_eq!(Footer::in_block_tail(&bytes, footer.end), Some(footer));
        assert_eq!(Footer::in_block_tail(&bytes, footer.end + 4096), None, "of another place");
        let view = RecordView::at(&bytes, footer.records_end).unwrap();
        view.check_body().unwrap();
        assert_eq!(view.stored_len(), footer.len());
        assert_eq!(Footer::in_record(&view), Some(footer));
        // So that Apache indexes it nowhere.
        assert_eq!((view.sys_flag() & 0xC, view.queue_offset()), (0xC, 0));
        assert!(!view.is_dispatched());
    }
}

#[test]
fn a_footer_with_any_bit_changed_is_none() {
    let footer = footer(12_000);
    let mut bytes = vec![0; footer.len()];
    footer.encode(&mut bytes);
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1 << (i % 8);
        let record = RecordView::at(&changed, footer.records_end);
        let whole = record.ok().and_then(|view| Footer::in_record(&view));
        assert_eq!(whole, None, "byte {i}");
        if i >= bytes.len() - FOOTER_TAIL_BYTES {
            assert_eq!(Footer::in_block_tail(&changed, footer.end), None, "byte {i}");
        }
    }
}

#[test]
fn a_run_mark_comes_back_unless_a_bit_has_changed() {
    let chain =
        ChainEnd { at: LogOffset(1 << 40), crc: 9, sequence: 8, life: 7, store_ms: 1 << 41 };
    for (arena, clean) in [(None, None), (Some(ArenaId([4; 16])), Some(chain))] {
        let mark = RunMark { life: 12, boot: BootId([3; 16]), arena, clean };
        let bytes = mark.encode();
        assert_eq!(RunMark::decode(&bytes), Ok(mark));
        for i in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[i / 8] ^= 1 << (i % 8);
            assert_eq!(RunMark::decode(&changed), Err(RunMarkError::Damaged));
        }
        assert_eq!(RunMark::decode(&bytes[1..]), Err(RunMarkError::Damaged));
    }
}
