//! Operations of files: direct writes from an arena, direct reads into its pool, flushes.

use super::arena::ArenaPool;
use super::cached_file::CachedFile;
use super::completion::{Completion, DiskError};
use super::file::DirectFile;
use super::op::{Op, Source, Write};
use super::paged_file::PagedFile;
use super::ring::{ArenaId, Ring};
use crate::base::LogOffset;
use crate::base::WriteMode;
use crate::base::memory::SlotId;
use io_uring::{opcode, squeue, types};
use std::os::fd::RawFd;
use std::rc::Rc;

/// Bytes of one registered buffer: the kernel takes no more.
pub(super) const FIXED_BUFFER_BYTES: usize = 1 << 30;

/// Sealed bytes of an arena's log, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct DiskWrite {
    pub arena: ArenaId,
    pub at: LogOffset,
    pub len: usize,
    pub file_offset: u64,
    /// Complete only when the bytes are on stable media (RWF_DSYNC).
    pub durable: bool,
}

/// A part of a pool's slot, and where its bytes come from.
#[derive(Clone, Copy, Debug)]
pub struct DiskRead {
    pub slot: SlotId,
    pub start: usize,
    pub len: usize,
    pub file_offset: u64,
}

impl Ring {
    /// Writes bytes of an arena's log to a file; `Wrote` follows.
    pub fn write(&mut self, file: &DirectFile, write: DiskWrite, token: u64) {
        let counters = self.counters.of_writes(WriteMode::Direct);
        (counters.calls, counters.bytes) = (counters.calls + 1, counters.bytes + write.len as u64);
        let flags = if write.durable { libc::RWF_DSYNC } else { 0 };
        self.write_parts(file, write, flags, None, token);
    }

    /// `checked`: the file whose write-out follows before the write counts as done.
    pub(super) fn write_parts(
        &mut self,
        file: &DirectFile,
        write: DiskWrite,
        flags: i32,
        checked: Option<&CachedFile>,
        token: u64,
    ) {
        let DiskWrite { at, len, mut file_offset, .. } = write;
        assert!(len > 0, "a write of nothing");
        let arena = &self.arenas[write.arena.0 as usize];
        let (memory, fixed) = (arena.memory.clone(), arena.fixed);
        memory.lend_log(at, len);
        let mut offset = memory.layout.log_at(at.0);
        let (front, file_len) = (memory.layout.front, memory.layout.file_len());
        let op = Write {
            token,
            arena: memory.clone(),
            at,
            len,
            parts: 0,
            done: 0,
            failed: 0,
            _file: file.clone(),
            checked: checked.map(|checked| (checked.clone(), file_offset, write.durable)),
        };
        let user_data = self.in_flight.insert(Op::Write(op));
        let fd = types::Fd(file.fd());
        let mut parts = 0;
        let mut left = len;
        while left > 0 {
            let part = part_len(offset, left, file_len, fixed.is_some());
            let address = memory.at(offset, part);
            let entry = match fixed {
                Some(first) => {
                    let buffer = first + (offset / FIXED_BUFFER_BYTES) as u16;
                    opcode::WriteFixed::new(fd, address, part as u32, buffer)
                        .offset(file_offset)
                        .rw_flags(flags)
                        .build()
                }
                None => opcode::Write::new(fd, address, part as u32)
                    .offset(file_offset)
                    .rw_flags(flags)
                    .build(),
            };
            self.submit(entry.user_data(user_data));
            (left, file_offset, parts) = (left - part, file_offset + part as u64, parts + 1);
            offset = if offset + part == file_len { front } else { offset + part };
        }
        if let Some(Op::Write(op)) = self.in_flight.get(user_data) {
            op.parts = parts;
        }
    }

    pub(super) fn on_write(&mut self, user_data: u64, result: i32, out: &mut Vec<Completion>) {
        let Some(Op::Write(write)) = self.in_flight.get(user_data) else { unreachable!("a write") };
        write.parts -= 1;
        match usize::try_from(result) {
            Ok(done) => write.done += done,
            Err(_) if write.failed == 0 => write.failed = result,
            Err(_) => {}
        }
        if write.parts > 0 {
            return;
        }
        let Op::Write(write) = self.in_flight.remove(user_data) else { unreachable!("a write") };
        write.arena.return_log(write.at, write.len);
        let result = if write.failed < 0 {
            DiskError::check(write.failed, write.len)
        } else if write.done < write.len {
            Err(DiskError::Short { done: write.done, asked: write.len })
        } else {
            Ok(())
        };
        match write.checked {
            Some((file, start, durable)) if result.is_ok() => {
                self.check_write(&file, start, write.len, durable, write.token);
            }
            _ => out.push(Completion::Wrote { token: write.token, result }),
        }
    }

    /// Reads from a file into a slot of a pool; `Read` follows. Nobody sees the slot's
    /// bytes until then.
    pub fn read(&mut self, file: &DirectFile, pool: &mut ArenaPool, read: DiskRead, token: u64) {
        let held = Source::Direct { _file: file.clone() };
        self.submit_read(file.fd(), held, pool, read, token);
    }

    /// The same through the page cache, which holds the bytes from then on.
    pub fn read_paged(
        &mut self,
        file: &Rc<PagedFile>,
        pool: &mut ArenaPool,
        read: DiskRead,
        token: u64,
    ) {
        let held = Source::Paged { _file: file.clone() };
        self.submit_read(file.fd(), held, pool, read, token);
    }

    fn submit_read(
        &mut self,
        fd: RawFd,
        held: Source,
        pool: &mut ArenaPool,
        read: DiskRead,
        token: u64,
    ) {
        let DiskRead { slot, start, len, file_offset } = read;
        assert!(len > 0, "a read of nothing");
        let pool = pool.memory.clone();
        let address = pool.begin_fill(slot, start, len);
        let offset = pool.layout.slot_at(slot.0) + start;
        let entry = self.read_entry(fd, &pool, address, offset, len, file_offset);
        let op = Op::Read { token, slot, len, pool, _file: held };
        let user_data = self.in_flight.insert(op);
        self.submit(entry.user_data(user_data));
    }

    fn read_entry(
        &self,
        fd: RawFd,
        pool: &Rc<super::arena::memory::Memory>,
        address: *mut u8,
        offset: usize,
        len: usize,
        file_offset: u64,
    ) -> squeue::Entry {
        let fd = types::Fd(fd);
        let one_buffer = offset / FIXED_BUFFER_BYTES == (offset + len - 1) / FIXED_BUFFER_BYTES;
        let arena = self.arenas.iter().find(|arena| Rc::ptr_eq(&arena.memory, pool));
        match arena.and_then(|arena| arena.fixed).filter(|_| one_buffer) {
            Some(first) => {
                let buffer = first + (offset / FIXED_BUFFER_BYTES) as u16;
                opcode::ReadFixed::new(fd, address, len as u32, buffer).offset(file_offset).build()
            }
            None => opcode::Read::new(fd, address, len as u32).offset(file_offset).build(),
        }
    }

    pub(super) fn on_read(&mut self, user_data: u64, result: i32, out: &mut Vec<Completion>) {
        let Op::Read { token, slot, len, pool, .. } = self.in_flight.remove(user_data) else {
            unreachable!("a read")
        };
        pool.end_fill(slot);
        out.push(Completion::Read { token, slot, result: DiskError::check(result, len) });
    }

    /// Makes durable what was written to a file before; `Synced` follows.
    pub fn fdatasync(&mut self, file: &DirectFile, token: u64) {
        let entry = opcode::Fsync::new(types::Fd(file.fd()))
            // fdatasync, not fsync: a segment has its full length from birth.
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        let user_data = self.in_flight.insert(Op::Sync { token, _file: file.clone() });
        self.submit(entry.user_data(user_data));
    }

    pub(super) fn on_sync(&mut self, user_data: u64, result: i32, out: &mut Vec<Completion>) {
        let Op::Sync { token, .. } = self.in_flight.remove(user_data) else {
            unreachable!("a flush")
        };
        self.counters.of_writes(WriteMode::Direct).punted += 1;
        out.push(Completion::Synced { token, result: DiskError::check(result, 0) });
    }
}

/// How much of a write the kernel can take in one call. Registered memory ends where
/// the file does, and every gibibyte; plain memory goes on into the mirror.
fn part_len(offset: usize, left: usize, file_len: usize, fixed: bool) -> usize {
    if !fixed {
        return left;
    }
    let buffer_end = (offset / FIXED_BUFFER_BYTES + 1) * FIXED_BUFFER_BYTES;
    left.min(file_len - offset).min(buffer_end - offset)
}
