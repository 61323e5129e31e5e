//! One turn of a ring: submissions in, completions out, and how long to wait for them.

use super::completion::Completion;
use super::op::{Op, UNWATCHED};
use super::ring::Ring;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, squeue, types};
use std::io;
use std::time::{Duration, Instant};

/// Calls of one turn that fetch what the first has left.
const FETCHES_MAX: usize = 32;

/// How long a turn may wait for something to happen.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    Never,
    /// Look for `spin`, then sleep: until something happens, at most for `at_most`.
    SpinThenPark {
        spin: Duration,
        at_most: Option<Duration>,
    },
}

/// A completion as the kernel wrote it.
pub(super) struct Reaped {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Ring {
    /// One turn: submits all that was asked for and adds what has completed to `out`.
    ///
    /// `has_mail` is asked after this thread has announced that it sleeps, and before it
    /// does: whoever puts mail down first and rings second is never overlooked. An error
    /// is one of the ring itself and final.
    pub fn turn(
        &mut self,
        wait: Wait,
        mut has_mail: impl FnMut() -> bool,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        out.append(&mut self.ready);
        self.rearm_starved();
        self.buffers.publish();
        let Wait::SpinThenPark { spin, mut at_most } = wait else { return self.poll(out) };
        if !out.is_empty() || has_mail() {
            return self.poll(out);
        }
        if !spin.is_zero() {
            let started = Instant::now();
            loop {
                self.poll(out)?;
                if !out.is_empty() || has_mail() {
                    return Ok(());
                }
                let elapsed = started.elapsed();
                if at_most.is_some_and(|at_most| elapsed >= at_most) {
                    return Ok(());
                }
                if elapsed >= spin {
                    at_most = at_most.map(|at_most| at_most - elapsed);
                    break;
                }
                for _ in 0..16 {
                    std::hint::spin_loop();
                }
            }
        }
        self.park(at_most, has_mail, out)
    }

    /// Submits and fetches without waiting, and without a call if there is no reason for one.
    fn poll(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        self.flush_backlog()?;
        if self.has_work_for_the_kernel() {
            self.enter(0, None)?;
        }
        self.reap(out);
        self.fetch_rest(out)
    }

    /// The kernel runs about twenty pieces of deferred work per call; a turn wants what
    /// all connections have sent, or half of the receive buffers.
    fn fetch_rest(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        for _ in 0..FETCHES_MAX {
            let submissions = self.uring.submission();
            let waiting = submissions.taskrun() || submissions.cq_overflow();
            drop(submissions);
            if !waiting || self.buffers.offered() <= self.buffers.count() / 2 {
                break;
            }
            self.enter(0, None)?;
            self.reap(out);
        }
        Ok(())
    }

    fn has_work_for_the_kernel(&mut self) -> bool {
        let submissions = self.uring.submission();
        !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow()
    }

    fn park(
        &mut self,
        at_most: Option<Duration>,
        mut has_mail: impl FnMut() -> bool,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.flush_backlog()?;
        self.watch.announce_park();
        if has_mail() {
            self.watch.awake();
            return self.poll(out);
        }
        self.counters.parks += 1;
        let entered = self.enter(1, at_most);
        self.watch.awake();
        self.reap(out);
        entered?;
        self.fetch_rest(out)
    }

    /// Enters the kernel, submits, runs deferred work, and waits for `want` completions.
    pub(super) fn enter(&mut self, want: u32, at_most: Option<Duration>) -> io::Result<()> {
        const GET_EVENTS: u32 = io_uring::EnterFlags::GETEVENTS.bits();
        const EXT_ARG: u32 = io_uring::EnterFlags::EXT_ARG.bits();
        self.counters.enters += 1;
        let to_submit = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        let entered = match at_most {
            None => {
                // SAFETY: no argument is passed, and everything submitted is held in `in_flight`.
                unsafe { submitter.enter::<()>(to_submit, want, GET_EVENTS, None) }
            }
            Some(at_most) => {
                let timeout = Timespec::from(at_most);
                let args = SubmitArgs::new().timespec(&timeout);
                // SAFETY: `args` and the time it points to outlive the call.
                unsafe { submitter.enter(to_submit, want, GET_EVENTS | EXT_ARG, Some(&args)) }
            }
        };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // The time is up, a signal came, or completions must be taken before more go in.
            Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Handles what is in the completion queue now.
    pub(super) fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.uring.completion().map(|entry| Reaped {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.counters.completions += reaped.len() as u64;
        for completion in reaped.drain(..) {
            self.on_completion(&completion, out);
        }
        self.reaped = reaped;
    }

    fn on_completion(&mut self, done: &Reaped, out: &mut Vec<Completion>) {
        let Reaped { user_data, result, flags } = *done;
        if user_data == UNWATCHED {
            return;
        }
        let more = cqueue::more(flags);
        let op = self.in_flight.get(user_data).expect("a completion belongs to an operation");
        match op {
            Op::Accept { .. } => self.on_accept(user_data, result, more, out),
            Op::Receive { .. } => self.on_receive(user_data, result, flags, out),
            Op::Send { .. } => self.on_send(user_data, result, flags, out),
            Op::Write(_) => self.on_write(user_data, result, out),
            Op::Read { .. } => self.on_read(user_data, result, out),
            Op::Sync { .. } => self.on_sync(user_data, result, out),
            Op::Check { .. } => self.on_check(user_data, result, out),
            Op::Doorbell => {
                out.push(Completion::Rung);
                if !more {
                    self.in_flight.remove(user_data);
                    if !self.draining {
                        self.watch_doorbell();
                    }
                }
            }
        }
    }

    /// The poll reports each ring of the bell once and needs no read to go on.
    pub(super) fn watch_doorbell(&mut self) {
        let user_data = self.in_flight.insert(Op::Doorbell);
        let fd = types::Fd(self.watch.fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        self.submit(entry.user_data(user_data));
    }

    /// Queues a submission whose memory is held by the operation of its user data.
    pub(super) fn submit(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        // Makes room now, so that the backlog stays short; what is refused waits in it.
        let _ = self.flush_backlog();
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry points to belongs to its operation until the last completion.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    pub(super) fn flush_backlog(&mut self) -> io::Result<()> {
        while let Some(entry) = self.backlog.front().cloned() {
            if !self.try_push(&entry) {
                let before = self.uring.submission().len();
                self.enter(0, None)?;
                if self.uring.submission().len() == before {
                    // Completions must be taken first; the next turn tries again.
                    return Ok(());
                }
                continue;
            }
            self.backlog.pop_front();
        }
        Ok(())
    }

    /// Asks the kernel to end an operation. Its last completion still comes.
    pub(super) fn submit_cancel(&mut self, user_data: u64) {
        self.submit(opcode::AsyncCancel::new(user_data).build().user_data(UNWATCHED));
    }
}
