//! Every cell that a probe measures moves the very bytes of its source, whole and in
//! order. How fast is no matter here.

use std::time::Duration;

use ringmq::base::transfer::Transfer;
use ringmq::probe::{
    Cell, Cores, Heat, Measured, Receiving, Scratch, Sizes, Tools, WriteCell, WriteKind,
};

const SIZES: Sizes =
    Sizes { file: 8 << 20, hot: 2 << 20, span: 2 << 20, slots: 32, slot_bytes: 64 << 10 };
const HOW_LONG: Duration = Duration::from_millis(5);

/// In a directory on a disk: a page cache that is the file itself cannot be dropped.
fn tools(direct: bool) -> (tempfile::TempDir, Tools) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut tools = Tools::new(directory.path(), SIZES, direct, Cores::default()).unwrap();
    tools.checks = true;
    (directory, tools)
}

fn cell(transfer: Transfer, heat: Heat, bytes: u32, connections: usize) -> Cell {
    Cell { transfer, bytes, pieces: 1, heat, connections, receiving: Receiving::Copies }
}

/// The checksum of what a connection must have brought: its range from where it begins, in
/// whole pieces, over and over where it is hot.
fn expected_crc(tools: &Tools, cell: &Cell, connection: usize, bytes: u64) -> u32 {
    let [start, mut at, end] = tools.range(cell, connection);
    let mut hasher = crc32fast::Hasher::new();
    let mut left = bytes;
    while left > 0 {
        if at + u64::from(cell.bytes) > end {
            at = start;
        }
        let len = left.min(cell.bytes.into());
        hasher.update(&tools.content(at, len as usize).unwrap());
        (at, left) = (at + len, left - len);
    }
    hasher.finalize()
}

fn check(tools: &Tools, cell: &Cell, measured: &Measured) {
    assert_eq!(measured.sums.len(), cell.connections, "{cell}");
    assert_eq!(measured.bytes, measured.sums.iter().map(|sum| sum.bytes).sum::<u64>(), "{cell}");
    assert!(measured.bytes > 0 && measured.time > Duration::ZERO, "{cell}: {measured:?}");
    assert!(measured.calls > 0, "{cell}: {measured:?}");
    for (connection, sum) in measured.sums.iter().enumerate() {
        let [start, _, end] = tools.range(cell, connection);
        if cell.heat == Heat::Cold {
            assert!(sum.bytes <= end - start, "{cell}: read once, {sum:?}");
        }
        if cell.transfer != Transfer::Direct {
            assert_eq!(sum.bytes % u64::from(cell.bytes), 0, "{cell}: whole pieces, {sum:?}");
        }
        if cell.receiving == Receiving::Copies {
            let crc = expected_crc(tools, cell, connection, sum.bytes);
            assert_eq!(sum.crc, crc, "{cell}: connection {connection}, {} bytes", sum.bytes);
        }
    }
}

#[test]
fn every_strategy_brings_what_lies_in_memory() {
    let (_directory, mut tools) = tools(true);
    for transfer in Transfer::ALL.into_iter().filter(|one| *one != Transfer::Direct) {
        for (bytes, connections) in [(4 << 10, 1), (100_000, 1), (1 << 20, 1), (16 << 10, 5)] {
            let cell = cell(transfer, Heat::Hot, bytes, connections);
            let measured = tools.measure(&cell, HOW_LONG).unwrap();
            match measured {
                Some(measured) => check(&tools, &cell, &measured),
                None => assert_eq!(transfer, Transfer::SendZc, "{cell}: only this may be missing"),
            }
        }
    }
}

#[test]
fn every_strategy_brings_what_lies_on_the_disk_alone() {
    let (_directory, mut tools) = tools(true);
    for transfer in Transfer::ALL {
        for (bytes, connections) in [(4 << 10, 1), (100_000, 1), (1 << 20, 1), (16 << 10, 5)] {
            let cell = cell(transfer, Heat::Cold, bytes, connections);
            let measured = tools.measure(&cell, Duration::from_secs(10)).unwrap();
            let Some(measured) = measured else {
                assert!(!cell.makes_sense(), "{cell}");
                continue;
            };
            check(&tools, &cell, &measured);
            if connections == 1 {
                let whole = SIZES.file / u64::from(bytes) * u64::from(bytes);
                assert_eq!(measured.bytes, whole, "{cell}: it ends with its range");
            }
        }
    }
}

/// Each reply has a header and its pieces in pairs, the second of each first.
#[test]
fn replies_of_several_pieces_bring_each_in_its_place() {
    const HEADER: [u8; 200] = [0; 200];
    let (_directory, mut tools) = tools(true);
    for transfer in Transfer::ALL.into_iter().filter(|one| *one != Transfer::Direct) {
        let cell = Cell { pieces: 4, ..cell(transfer, Heat::Hot, 30_000, 1) };
        let Some(measured) = tools.measure(&cell, HOW_LONG).unwrap() else { continue };
        let [start, mut at, end] = tools.range(&cell, 0);
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
        while bytes < measured.bytes {
            if at + 120_000 > end {
                at = start;
            }
            hasher.update(&HEADER);
            for piece in [1, 0, 3, 2] {
                hasher.update(&tools.content(at + piece * 30_000, 30_000).unwrap());
            }
            (at, bytes) = (at + 120_000, bytes + 120_200);
        }
        assert_eq!(bytes, measured.bytes, "{cell}: whole replies");
        assert_eq!(measured.sums[0].crc, hasher.finalize(), "{cell}");
    }
}

#[test]
fn a_receiver_that_discards_counts_the_same_bytes() {
    let (_directory, mut tools) = tools(true);
    for connections in [1, 4] {
        let cell = Cell {
            receiving: Receiving::Discards,
            ..cell(Transfer::Mmap, Heat::Hot, 64 << 10, connections)
        };
        let measured = tools.measure(&cell, HOW_LONG).unwrap().unwrap();
        check(&tools, &cell, &measured);
    }
}

#[test]
fn pieces_larger_than_a_connections_slots_leave_in_parts() {
    let (_directory, mut tools) = tools(true);
    let cell = cell(Transfer::Direct, Heat::Cold, 1 << 20, 8);
    let measured = tools.measure(&cell, Duration::from_secs(10)).unwrap().unwrap();
    check(&tools, &cell, &measured);
}

#[test]
fn what_is_not_to_be_had_is_no_error() {
    let (_directory, mut tools) = tools(false);
    let asked = [
        cell(Transfer::Direct, Heat::Cold, 64 << 10, 1),
        cell(Transfer::Gather, Heat::Cold, 64 << 10, 1),
        cell(Transfer::Mmap, Heat::Hot, 4 << 20, 1),
        cell(Transfer::Copy, Heat::Cold, 1 << 20, 16),
    ];
    for cell in asked {
        assert!(tools.measure(&cell, HOW_LONG).unwrap().is_none(), "{cell}");
    }
}

#[test]
fn every_kind_of_write_ends_as_often_as_it_begins() {
    let (directory, mut tools) = tools(true);
    let scratch = Scratch::make(directory.path(), 1 << 20, true).unwrap();
    let plain = Scratch::make(directory.path(), 1 << 20, false).unwrap();
    for kind in WriteKind::ALL {
        for (bytes, depth) in [(4 << 10, 1), (64 << 10, 4)] {
            let cell = WriteCell { kind, bytes, depth };
            let written = tools.measure_writes(&scratch, &cell, HOW_LONG).unwrap().unwrap();
            assert!(written.writes >= u64::from(depth), "{cell:?}: {written:?}");
            assert!(written.typical > Duration::ZERO && written.typical <= written.time);
            let flushes = matches!(kind, WriteKind::DirectFdatasync | WriteKind::Buffered);
            assert!(written.worker_waits > 0 || !flushes, "{cell:?}: {written:?}");
            let without = tools.measure_writes(&plain, &cell, HOW_LONG).unwrap();
            assert_eq!(without.is_some(), kind == WriteKind::Buffered, "{cell:?}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "its files have no names");
}
