//! Pieces of files: each way of sending them brings the same bytes, in order, to whoever
//! reads, however slowly.

#[path = "reactor_common/mod.rs"]
mod common;

use common::*;
use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::base::transfer::{Fallback, FileWay, Transfer};
use ringmq::reactor::{Completion, FilePart, PagedFile, Ring, RingConfig, Socket, Wait};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::thread::JoinHandle;

const FILE_BYTES: usize = 8 << 20;
const WAYS: [FileWay; 3] = [FileWay::Map, FileWay::Sendfile, FileWay::Splice];

/// A file in the page cache, and its content.
fn paged_file() -> (Rc<PagedFile>, Vec<u8>) {
    let content = pattern(FILE_BYTES, 11);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    (Rc::new(PagedFile::new(file)), content)
}

fn files(file: &Rc<PagedFile>) -> impl Fn(LogOffset) -> FilePart {
    |at| FilePart { file: Rc::clone(file), position: at.0 }
}

/// Heads of our own between pieces of the file, and what arrives of it all.
fn replies(content: &[u8], by: FileWay, count: usize, len: usize) -> (Outgoing, Vec<u8>) {
    let (mut outgoing, mut expected) = (Outgoing::default(), Vec::new());
    for index in 0..count {
        let head = pattern(50 + index, index as u64);
        outgoing.write(|out| out.extend(&head));
        let at = index * 4099 % (FILE_BYTES - len);
        outgoing.pieces.push(Piece::File { at: LogOffset(at as u64), len: len as u32, by });
        expected.extend(&head);
        expected.extend(&content[at..at + len]);
    }
    outgoing.write(|out| out.extend(b"end"));
    expected.extend(b"end");
    outgoing.transfer = Some(by.transfer());
    (outgoing, expected)
}

fn read_on_thread(mut client: TcpStream, len: usize) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = vec![0; len];
        client.read_exact(&mut bytes).unwrap();
        bytes
    })
}

fn sent(completion: Completion) -> Option<(Outgoing, std::io::Result<()>)> {
    match completion {
        Completion::Sent { token: 9, outgoing, result } => Some((outgoing, result)),
        _ => None,
    }
}

fn send(ring: &mut Ring, socket: &Socket, outgoing: Outgoing, file: &Rc<PagedFile>) {
    let (_arena, id) = add_arena(ring, 0);
    ring.send_with_files(socket, id, outgoing, files(file), 9);
}

#[test]
fn every_way_brings_the_files_bytes_between_those_of_the_reply() {
    let (file, content) = paged_file();
    for by in WAYS {
        for (count, len) in [(1, 1), (40, 300), (5, 1 << 20)] {
            let mut ring = Ring::new(RingConfig::default()).unwrap();
            let (socket, client) = connect(&mut ring);
            let (outgoing, expected) = replies(&content, by, count, len);
            let reading = read_on_thread(client, expected.len());
            send(&mut ring, &socket, outgoing, &file);
            next(&mut ring, sent).1.unwrap();
            assert!(reading.join().unwrap() == expected, "{by:?} {count} x {len}");
            assert!(ring.counters().transfers.of(by.transfer()).calls > 0, "{by:?}");
        }
    }
}

#[test]
fn a_reader_who_starts_late_gets_everything_and_nobody_waits_for_it() {
    let (file, content) = paged_file();
    for by in WAYS {
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        let (socket, client) = connect(&mut ring);
        let (outgoing, expected) = replies(&content, by, 20, 1 << 20);
        send(&mut ring, &socket, outgoing, &file);
        let mut out = Vec::new();
        ring.turn(Wait::Never, || false, &mut out).unwrap();
        assert!(out.is_empty(), "20 MiB do not fit into socket buffers: {out:?}");
        let reading = read_on_thread(client, expected.len());
        next(&mut ring, sent).1.unwrap();
        assert!(reading.join().unwrap() == expected, "{by:?}");
        // Once everything is read nothing is left in the kernel's hands.
        turn_until(&mut ring, |_, _| !socket.has_unsent());
    }
}

/// What splice had taken out of a file's last piece was lost when the socket was full then.
#[test]
fn a_reply_that_ends_in_a_file_is_whole_wherever_the_socket_is_full() {
    let (file, content) = paged_file();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    for by in WAYS {
        for len in (1..FILE_BYTES / 200_000).map(|step| step * 200_000) {
            let (socket, client) = connect(&mut ring);
            let mut outgoing = Outgoing { transfer: Some(by.transfer()), ..Outgoing::default() };
            outgoing.pieces.push(Piece::File { at: LogOffset(0), len: len as u32, by });
            send(&mut ring, &socket, outgoing, &file);
            let mut out = Vec::new();
            ring.turn(Wait::Never, || false, &mut out).unwrap();
            let reading = read_on_thread(client, len);
            if !out.into_iter().any(|completion| sent(completion).is_some()) {
                next(&mut ring, sent).1.unwrap();
            }
            assert!(reading.join().unwrap() == content[..len], "{by:?} {len}");
        }
    }
}

#[test]
fn a_send_from_a_file_goes_on_from_a_copy_when_the_log_needs_its_room() {
    let (file, content) = paged_file();
    for by in WAYS {
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        let (mut arena, id) = add_arena(&mut ring, 0);
        let log = pattern(1 << 20, 3);
        let at = append(&mut arena, &log);
        let (mut outgoing, mut expected) = replies(&content, by, 20, 1 << 20);
        outgoing.pieces.push(Piece::Log { at, len: log.len() as u32 });
        expected.extend(&log);
        let (socket, client) = connect(&mut ring);
        ring.send_with_files(&socket, id, outgoing, files(&file), 9);
        ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
        ring.copy_send(&socket);
        next(&mut ring, |completion| match completion {
            Completion::Copied { token: 9, .. } => Some(()),
            other => panic!("the reader has not read: {other:?}"),
        });
        assert_eq!(arena.log.lowest_lent(), None);
        arena.log.reclaim(arena.log.sealed());
        append(&mut arena, &vec![0xee; 1 << 20]);
        let reading = read_on_thread(client, expected.len());
        next(&mut ring, sent).1.unwrap();
        assert!(reading.join().unwrap() == expected, "{by:?}");
    }
}

#[test]
fn a_peer_who_leaves_ends_the_send_and_the_next_one_finds_clean_pipes() {
    let (file, content) = paged_file();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    for by in WAYS {
        let (socket, client) = connect(&mut ring);
        let (outgoing, _) = replies(&content, by, 20, 1 << 20);
        send(&mut ring, &socket, outgoing, &file);
        ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
        drop(client);
        assert!(next(&mut ring, sent).1.is_err(), "{by:?}");

        let (socket, client) = connect(&mut ring);
        let (outgoing, expected) = replies(&content, by, 3, 70_000);
        let reading = read_on_thread(client, expected.len());
        send(&mut ring, &socket, outgoing, &file);
        next(&mut ring, sent).1.unwrap();
        assert!(reading.join().unwrap() == expected, "{by:?}");
    }
}

#[test]
fn a_file_that_was_cut_short_ends_the_connection_and_not_the_process() {
    for by in WAYS {
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        let (socket, _client) = connect(&mut ring);
        let (file, content) = {
            let content = pattern(1 << 20, 1);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            (file, content)
        };
        let cached = Rc::new(PagedFile::new(file.try_clone().unwrap()));
        file.set_len(4096).unwrap();
        let mut outgoing = own(b"head".to_vec());
        outgoing.pieces.push(Piece::File { at: LogOffset(0), len: content.len() as u32, by });
        send(&mut ring, &socket, outgoing, &cached);
        assert!(next(&mut ring, sent).1.is_err(), "{by:?}");
    }
}

#[test]
fn splices_beyond_the_pool_of_pipes_go_by_sendfile_and_are_counted() {
    let (file, content) = paged_file();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let connections: Vec<_> = (0..40).map(|_| connect(&mut ring)).collect();
    let (_arena, id) = add_arena(&mut ring, 0);
    let mut expected = Vec::new();
    for (socket, _) in &connections {
        let (outgoing, all) = replies(&content, FileWay::Splice, 10, 1 << 20);
        ring.send_with_files(socket, id, outgoing, files(&file), 9);
        expected = all;
    }
    assert!(ring.counters().transfers.fallbacks(Fallback::NoPipe) > 0);
    let reading: Vec<_> = (connections.iter())
        .map(|(_, client)| read_on_thread(client.try_clone().unwrap(), expected.len()))
        .collect();
    let mut left = connections.len();
    turn_until(&mut ring, |_, out| {
        left -= out.into_iter().filter_map(sent).count();
        left == 0
    });
    for reading in reading {
        assert!(reading.join().unwrap() == expected);
    }
}

#[test]
fn a_file_that_cannot_be_mapped_goes_by_sendfile_and_is_counted() {
    let mut file = tempfile::tempfile().unwrap();
    // Of an empty file there is no mapping.
    let paged = Rc::new(PagedFile::new(file.try_clone().unwrap()));
    let content = pattern(FILE_BYTES, 5);
    file.write_all(&content).unwrap();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, client) = connect(&mut ring);
    let (outgoing, expected) = replies(&content, FileWay::Map, 3, 70_000);
    let reading = read_on_thread(client, expected.len());
    send(&mut ring, &socket, outgoing, &paged);
    next(&mut ring, sent).1.unwrap();
    assert!(reading.join().unwrap() == expected);
    let counters = ring.counters().transfers;
    assert_eq!(counters.fallbacks(Fallback::NoMapping), 1);
    assert!(counters.of(Transfer::Sendfile).calls >= 3);
}

#[test]
fn a_zero_copy_send_gives_its_memory_back_once_the_kernel_is_done_with_it() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let log = pattern(1 << 20, 3);
    let at = append(&mut arena, &log);
    let (socket, client) = connect(&mut ring);
    let mut outgoing = own(b"head".to_vec());
    let mut expected = outgoing.bytes.clone();
    for _ in 0..8 {
        outgoing.pieces.push(Piece::Log { at, len: log.len() as u32 });
        expected.extend(&log);
    }
    outgoing.transfer = Some(Transfer::SendZc);
    ring.send(&socket, id, outgoing, 9);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    assert_eq!(arena.log.lowest_lent(), Some(at));
    let reading = read_on_thread(client, expected.len());
    next(&mut ring, sent).1.unwrap();
    assert_eq!(arena.log.lowest_lent(), None);
    assert!(reading.join().unwrap() == expected);
    assert!(ring.counters().transfers.of(Transfer::SendZc).calls > 0);
}

/// They stayed lent for as long as the peer kept its window closed, and the log stood still.
#[test]
fn a_zero_copy_send_to_a_peer_that_does_not_read_gives_its_pages_back_when_they_are_needed() {
    for closes in [false, true] {
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        let (mut arena, id) = add_arena(&mut ring, 0);
        let log = pattern(1 << 20, 3);
        let at = append(&mut arena, &log);
        let (socket, _client) = connect(&mut ring);
        let mut outgoing = Outgoing { transfer: Some(Transfer::SendZc), ..Outgoing::default() };
        outgoing.pieces = vec![Piece::Log { at, len: log.len() as u32 }; 12];
        ring.send(&socket, id, outgoing, 9);
        ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
        assert_eq!(arena.log.lowest_lent(), Some(at));
        let kept = match closes {
            true => {
                ring.close(socket, 9);
                None
            }
            false => {
                ring.copy_send(&socket);
                Some(socket)
            }
        };
        assert!(next(&mut ring, sent).1.is_err());
        assert_eq!(arena.log.lowest_lent(), None, "closes: {closes}");
        drop(kept);
    }
}

#[test]
fn what_is_resident_is_told_apart_and_what_is_not_is_never_read() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("segment");
    std::fs::write(&path, pattern(FILE_BYTES, 4)).unwrap();
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    let cached = PagedFile::new(File::open(&path).unwrap());
    assert!(cached.is_resident(1, FILE_BYTES as u64 - 1));

    drop_from_cache(&file);
    assert!(!cached.is_resident(0, 4096));
    let mut bytes = b"kept".to_vec();
    assert!(!cached.read_now(0, 4096, &mut bytes));
    assert_eq!(bytes, b"kept");

    // A read brings what it reads, and perhaps what follows.
    use std::os::unix::fs::FileExt;
    let mut block = vec![0; 65536];
    file.read_exact_at(&mut block, 1 << 20).unwrap();
    assert!(cached.is_resident(1 << 20, 65536));
    assert!(!cached.is_resident(0, 65536));
    assert!(!cached.is_resident((1 << 20) - 1, 2));
    assert!(cached.read_now(1 << 20, 100, &mut bytes));
    assert_eq!(bytes[4..], block[..100]);
}

fn drop_from_cache(file: &File) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}
