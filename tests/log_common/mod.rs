//! A log ring of plain memory and a disk of plain memory, for the tests of the log.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ringmq::base::memory::LogRing;
use ringmq::base::{LogOffset, Now};

use ringmq::log::scan::{Found, Scan, ScanFrom, Scanned, SegmentSource, scan};
use ringmq::log::{
    Appended, ChainEnd, CommitLog, Extents, FlushMethod, Geometry, LogConfig, LogIntent, LogStart,
    LogStats, NewRecord, OpId,
};

pub const BLOCK: u64 = 4096;

/// A ring in a `Vec` of twice its size, of which both halves are kept the same.
pub struct VecRing {
    bytes: Vec<u8>,
    size: u64,
    reclaimed: LogOffset,
    sealed: LogOffset,
    pub published: LogOffset,
    /// A range that `writable` has handed out and that is not mirrored yet.
    dirty: Option<(usize, usize)>,
}

impl VecRing {
    pub fn new(size: u64, start: LogOffset) -> Self {
        // Filled with what no record begins with, so that nothing relies on zeroes.
        let bytes = vec![0xA5; 2 * size as usize];
        Self { bytes, size, reclaimed: start, sealed: start, published: start, dirty: None }
    }

    /// The ring as a start finds it: sealed up to the published edge.
    pub fn after_crash(mut self) -> Self {
        self.mirror();
        self.sealed = self.published;
        self
    }

    /// Changes a byte behind the log's back.
    pub fn corrupt(&mut self, at: LogOffset) {
        self.mirror();
        let i = (at.0 % self.size) as usize;
        self.bytes[i] ^= 0x40;
        self.bytes[i + self.size as usize] ^= 0x40;
    }

    fn mirror(&mut self) {
        let Some((start, len)) = self.dirty.take() else { return };
        let size = self.size as usize;
        for i in start..start + len {
            let twin = if i < size { i + size } else { i - size };
            self.bytes[twin] = self.bytes[i];
        }
    }
}

impl LogRing for VecRing {
    fn size(&self) -> u64 {
        self.size
    }

    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8] {
        self.mirror();
        assert!(at >= self.sealed && at + len as u64 <= self.reclaimed + self.size);
        let start = (at.0 % self.size) as usize;
        self.dirty = Some((start, len));
        &mut self.bytes[start..start + len]
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        assert!(self.dirty.is_none(), "sealed before it is read");
        assert!(at >= self.reclaimed && at + len as u64 <= self.sealed, "{at} +{len}");
        let start = (at.0 % self.size) as usize;
        &self.bytes[start..start + len]
    }

    fn seal(&mut self, end: LogOffset) {
        self.mirror();
        assert!(end >= self.sealed && end <= self.reclaimed + self.size);
        self.sealed = end;
    }

    fn reclaim(&mut self, end: LogOffset) {
        assert!(end >= self.reclaimed && end <= self.sealed);
        self.reclaimed = end;
    }

    fn reclaimed(&self) -> LogOffset {
        self.reclaimed
    }

    fn sealed(&self) -> LogOffset {
        self.sealed
    }

    fn publish(&mut self, edge: LogOffset) {
        assert!(edge >= self.published && edge <= self.sealed);
        self.published = edge;
    }
}

/// A log, its ring, and a disk that does what it is told at once or later.
pub struct Bench {
    pub log: CommitLog,
    pub ring: VecRing,
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub pending: Vec<LogIntent>,
    pub now: Now,
    pub records: Vec<(Appended, Vec<u8>)>,
}

pub struct Options {
    pub segment: u64,
    pub ring: u64,
    pub method: FlushMethod,
    pub life: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment: 64 * 1024, ring: 256 * 1024, method: FlushMethod::Dsync, life: 1 }
    }
}

impl Bench {
    pub fn new(options: &Options) -> Self {
        Self::at(options, LogStart::default(), BTreeMap::new())
    }

    pub fn at(options: &Options, start: LogStart, segments: BTreeMap<u64, Vec<u8>>) -> Self {
        let geometry = Geometry::new(options.segment);
        let config = LogConfig { geometry, flush_method: options.method, life: options.life };
        let ring = VecRing::new(options.ring, start.chain.at);
        let ready_end = LogOffset(segments.keys().last().map_or(0, |base| base + options.segment));
        let log = CommitLog::new(config, LogStart { ready_end, ..start }, &ring);
        let now = Now { mono_us: 0, unix_ms: 1_700_000_000_000 };
        let mut bench = Self { log, ring, segments, pending: vec![], now, records: vec![] };
        bench.poll();
        bench
    }

    /// Appends one batch with these bodies; the batch must find room.
    pub fn append(&mut self, bodies: &[&[u8]]) -> Vec<Appended> {
        let records: Vec<NewRecord<'_>> = bodies.iter().map(|body| record(body)).collect();
        let total = records.iter().map(|record| record.stored_len() as u64).sum();
        let edge = self.log.reclaim_edge(total).max(self.ring.reclaimed());
        self.ring.reclaim(edge);
        self.log.room_for(total, &self.ring).expect("room");
        self.log.begin_batch(total, self.now, &mut self.ring);
        let placed: Vec<_> =
            records.iter().map(|record| self.log.append(&mut self.ring, record)).collect();
        self.log.end_batch(&mut self.ring);
        self.records.extend(placed.iter().zip(bodies).map(|(at, body)| (*at, body.to_vec())));
        placed
    }

    /// A poll; segments are prepared at once, the rest becomes pending.
    pub fn poll(&mut self) {
        let mut out = Vec::new();
        self.log.poll(self.now, &mut self.ring, &mut out);
        for intent in out {
            match intent {
                LogIntent::PrepareSegment { base } => {
                    let size = self.log.geometry().segment_bytes() as usize;
                    self.segments.entry(base.0).or_insert_with(|| vec![0; size]);
                    self.log.on_segment_ready(base, Extents::Written);
                }
                other => self.pending.push(other),
            }
        }
    }

    /// Puts the bytes of a pending write onto the disk, without completing it.
    pub fn land(&mut self, intent: LogIntent) {
        let LogIntent::Write { at, len, .. } = intent else { return };
        let geometry = self.log.geometry();
        let bytes = self.ring.readable(at, len as usize);
        let segment = self.segments.get_mut(&geometry.base(at).0).expect("a prepared segment");
        let position = geometry.position(at) as usize;
        segment[position..position + len as usize].copy_from_slice(bytes);
    }

    /// Lands and completes one pending operation.
    pub fn complete(&mut self, index: usize) -> LogIntent {
        let intent = self.pending.remove(index);
        self.land(intent);
        match intent {
            LogIntent::Write { op, len, .. } => self.log.on_written(op, Ok(len)),
            LogIntent::Sync { op, .. } => self.log.on_synced(op, Ok(())),
            LogIntent::PrepareSegment { .. } | LogIntent::HurrySegment { .. } => {
                unreachable!("done at once")
            }
        };
        intent
    }

    /// Polls and completes until nothing is left to do at this time.
    pub fn settle(&mut self) {
        self.poll();
        while !self.pending.is_empty() {
            self.complete(0);
            if self.pending.is_empty() {
                self.poll();
            }
        }
    }

    pub fn pass(&mut self, us: u64) {
        self.now.mono_us += us;
        self.now.unix_ms += (us / 1000) as i64;
    }

    /// Stops cleanly and gives the disk back.
    pub fn stop(mut self) -> (BTreeMap<u64, Vec<u8>>, ChainEnd) {
        self.log.close();
        for _ in 0..100 {
            self.settle();
            let edge = self.log.reclaim_edge(BLOCK).max(self.ring.reclaimed());
            self.ring.reclaim(edge);
            if self.log.is_closed() {
                return (self.segments, self.log.checkpoint());
            }
        }
        panic!("the log does not stop: {:?}", self.log);
    }

    pub fn stats(&self) -> LogStats {
        self.log.stats()
    }

    pub fn pending_op(&self, index: usize) -> OpId {
        match self.pending[index] {
            LogIntent::Write { op, .. } | LogIntent::Sync { op, .. } => op,
            LogIntent::PrepareSegment { .. } | LogIntent::HurrySegment { .. } => {
                unreachable!("done at once")
            }
        }
    }
}

pub fn record(body: &[u8]) -> NewRecord<'_> {
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911);
    NewRecord {
        topic: b"TopicTest",
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        queue_offset: 7,
        born_ms: 1_699_999_999_999,
        born_host: SocketAddr::V4(host),
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: &[b"TAGS\x01TagA\x02", b"MSG_REGION\x01DefaultRegion\x02"],
    }
}

/// Segments in memory, as a scan reads them.
pub struct Disk {
    segments: BTreeMap<u64, Vec<u8>>,
    bases: Vec<LogOffset>,
    geometry: Geometry,
}

impl Disk {
    pub fn new(segments: &BTreeMap<u64, Vec<u8>>, segment_bytes: u64) -> Self {
        Self {
            segments: segments.clone(),
            bases: segments.keys().copied().map(LogOffset).collect(),
            geometry: Geometry::new(segment_bytes),
        }
    }

    pub fn scan_from(&self, from: ScanFrom) -> Scan {
        Scan { geometry: self.geometry, from, arena_start: None }
    }
}

impl SegmentSource for Disk {
    fn segments(&self) -> &[LogOffset] {
        &self.bases
    }

    fn read(&self, at: LogOffset, buf: &mut [u8]) -> io::Result<()> {
        assert!(at.0.is_multiple_of(BLOCK) && (buf.len() as u64).is_multiple_of(BLOCK));
        let base = self.geometry.base(at);
        let position = (at - base) as usize;
        let segment = self.segments.get(&base.0).ok_or(io::ErrorKind::NotFound)?;
        buf.copy_from_slice(&segment[position..position + buf.len()]);
        Ok(())
    }
}

/// Scans all, and gives offset and body of each record that was visited.
pub fn scan_disk(
    segments: &BTreeMap<u64, Vec<u8>>,
    options: &Options,
) -> (Scanned, Vec<(LogOffset, Vec<u8>)>) {
    let disk = Disk::new(segments, options.segment);
    let mut records = Vec::new();
    let mut visit = |found: Found<'_>| records.push((found.at, found.record.body().to_vec()));
    let scanned = scan(&disk, disk.scan_from(ScanFrom::Oldest), &mut visit).expect("readable");
    (scanned, records)
}
