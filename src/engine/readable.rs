//! Segments that are open for reading: past the page cache and through it.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::helper::OpenedSegment;
use crate::base::LogOffset;
use crate::base::limits::{READABLE_SEGMENTS_MAX, SEGMENT_RECEIVERS_MAX};
use crate::base::memory::{LogFiles, SlotId};
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::transfer::{FileWay, Through};
use crate::log::Geometry;
use crate::reactor::{DirectFile, FilePart, PagedFile};

/// The open segments of one shard.
pub struct Readable {
    geometry: Geometry,
    open: HashMap<LogOffset, Open>,
    /// Reads that wait for their segment to be opened.
    waiting: Vec<(LogOffset, PendingRead)>,
    /// Who was sent pages of a segment's file, by the segment.
    receivers: HashMap<LogOffset, Receivers>,
    /// Files that nothing new is read from. Unmapping takes time: the helper drops them.
    leaving: Vec<Rc<PagedFile>>,
}

pub struct Open {
    pub direct: DirectFile,
    pub paged: Rc<PagedFile>,
    /// Reads under way.
    pub reads: u32,
    /// Replies that will send bytes of it, or are doing so.
    pins: Cell<u32>,
    /// Its segment has expired.
    dropped: bool,
}

#[derive(Clone, Copy)]
pub struct PendingRead {
    pub slot: SlotId,
    pub at: LogOffset,
    pub len: u32,
    pub through: Through,
}

/// Connections whose sockets may hold pages of a file: sendfile and splice do not copy.
#[derive(Default)]
pub struct Receivers {
    sockets: Vec<usize>,
    /// More than are told apart, or one that has closed with bytes unsent: the file's
    /// pages must never be written again.
    unknown: bool,
}

impl Receivers {
    /// Whether all that they were sent has left, as `has_unsent` tells of a socket.
    pub fn have_all(&self, has_unsent: impl Fn(usize) -> bool) -> bool {
        !self.unknown && !self.sockets.iter().any(|socket| has_unsent(*socket))
    }
}

impl Readable {
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            open: HashMap::new(),
            waiting: Vec::new(),
            receivers: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    /// The open segment, for a read.
    pub fn get_mut(&mut self, base: LogOffset) -> Option<&mut Open> {
        self.open.get_mut(&base).filter(|open| !open.dropped)
    }

    /// Keeps a read until its segment is open. True if that must be asked for.
    pub fn wait(&mut self, base: LogOffset, read: PendingRead) -> bool {
        let is_asked = self.waiting.iter().any(|(other, _)| *other == base);
        self.waiting.push((base, read));
        !is_asked
    }

    pub fn take_waiting(&mut self, base: LogOffset) -> Vec<PendingRead> {
        let ready = self.waiting.extract_if(.., |(other, _)| *other == base);
        ready.map(|(_, read)| read).collect()
    }

    /// A segment was opened. Of those that nobody uses one makes room for it.
    pub fn add(&mut self, segment: OpenedSegment) {
        if self.open.len() >= READABLE_SEGMENTS_MAX {
            let idle = self.open.iter().find(|(_, open)| open.is_idle());
            if let Some(base) = idle.map(|(base, _)| *base) {
                self.close(base);
            }
        }
        let OpenedSegment { direct, paged } = segment;
        let base = direct.start();
        assert!(!self.open.contains_key(&base), "a segment is opened once");
        let open = Open {
            direct: direct.into_file().into(),
            paged: Rc::new(paged),
            reads: 0,
            pins: Cell::new(0),
            dropped: false,
        };
        self.open.insert(base, open);
    }

    /// A read of the segment has ended.
    pub fn on_read(&mut self, base: LogOffset) {
        if let Some(open) = self.open.get_mut(&base) {
            open.reads -= 1;
        }
    }

    /// The segment has expired. Returns who may hold pages of it, unless it is in use.
    pub fn expire(&mut self, base: LogOffset) -> Option<Receivers> {
        let receivers = self.receivers.remove(&base).unwrap_or_default();
        match self.open.get_mut(&base) {
            Some(open) if !open.is_idle() => {
                open.dropped = true;
                None
            }
            _ => {
                self.close(base);
                Some(receivers)
            }
        }
    }

    /// Pages of its files go to a socket.
    pub fn note_receiver(&mut self, outgoing: &Outgoing, socket: usize) {
        for piece in &outgoing.pieces {
            let Piece::File { at, by, .. } = *piece else { continue };
            let base = self.geometry.base(at);
            // What cannot be sent from a mapping is sent by sendfile.
            let open = &self.open[&base];
            if open.dropped || by == FileWay::Map && open.paged.is_mapped() {
                continue;
            }
            let receivers = self.receivers.entry(base).or_default();
            if receivers.sockets.contains(&socket) {
                continue;
            }
            match receivers.sockets.len() < SEGMENT_RECEIVERS_MAX {
                true => receivers.sockets.push(socket),
                false => receivers.unknown = true,
            }
        }
    }

    /// A socket closes; `has_unsent`: the kernel goes on sending.
    pub fn forget_receiver(&mut self, socket: usize, has_unsent: bool) {
        for receivers in self.receivers.values_mut() {
            if let Some(at) = receivers.sockets.iter().position(|other| *other == socket) {
                receivers.sockets.swap_remove(at);
                receivers.unknown |= has_unsent;
            }
        }
    }

    /// Where a pinned piece lies.
    pub fn part(&self, at: LogOffset) -> FilePart {
        let base = self.geometry.base(at);
        let open = self.open.get(&base).expect("a pinned segment is open");
        FilePart { file: Rc::clone(&open.paged), position: self.geometry.position(at) }
    }

    /// Files that nothing holds any more, to be dropped where that may take time.
    pub fn take_leaving(&mut self) -> Vec<PagedFile> {
        let dropped: Vec<LogOffset> = (self.open.iter())
            .filter(|(_, open)| open.dropped && open.is_idle())
            .map(|(base, _)| *base)
            .collect();
        dropped.into_iter().for_each(|base| self.close(base));
        let alone = self.leaving.extract_if(.., |file| Rc::strong_count(file) == 1);
        alone.filter_map(Rc::into_inner).collect()
    }

    fn close(&mut self, base: LogOffset) {
        self.leaving.extend(self.open.remove(&base).map(|open| open.paged));
    }
}

impl Open {
    fn is_idle(&self) -> bool {
        self.reads == 0 && self.pins.get() == 0
    }
}

impl LogFiles for Readable {
    fn is_resident(&self, at: LogOffset, len: u32) -> bool {
        let open = self.open.get(&self.geometry.base(at)).filter(|open| !open.dropped);
        let position = self.geometry.position(at);
        open.is_some_and(|open| open.paged.is_resident(position, u64::from(len)))
    }

    fn read_now(&self, at: LogOffset, len: u32, out: &mut Vec<u8>) -> bool {
        let FilePart { file, position } = self.part(at);
        file.read_now(position, len as usize, out)
    }

    fn look(&self, at: LogOffset, len: u32, look: &mut dyn FnMut(&[u8])) -> bool {
        let FilePart { file, position } = self.part(at);
        let bytes = file.bytes(position, len as usize);
        bytes.map(look).is_some()
    }

    fn pin(&self, at: LogOffset) {
        let open = &self.open[&self.geometry.base(at)];
        open.pins.set(open.pins.get() + 1);
    }

    fn unpin(&self, at: LogOffset) {
        let open = &self.open[&self.geometry.base(at)];
        open.pins.set(open.pins.get().checked_sub(1).expect("was pinned"));
    }
}
