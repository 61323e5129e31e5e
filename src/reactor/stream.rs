//! Operations of listeners and connections.

use super::buffers::GROUP;
use super::completion::{Completion, End};
use super::gather::{FilePart, Gather};
use super::op::Op;
use super::ring::{ArenaId, Ring};
use super::send_now::{Now, Tools};
use super::socket::{Listener, Receive, Socket, SocketState};
use crate::base::LogOffset;
use crate::base::memory::BufferId;
use crate::base::outgoing::Outgoing;
use crate::base::transfer::Fallback;
use io_uring::{cqueue, opcode, types};
use std::io;
use std::rc::Rc;

/// IORING_NOTIF_USAGE_ZC_COPIED.
const ZERO_COPY_COPIED: u32 = 1 << 31;

/// Errors that say the kernel cannot, or may not lock the pages for it.
fn lacks_zero_copy(errno: i32) -> bool {
    [libc::EOPNOTSUPP, libc::ENOMEM, libc::ENOBUFS].contains(&errno)
}

impl Ring {
    /// Accepts connections until it fails or is cancelled, then says `AcceptEnded`.
    pub fn accept(&mut self, listener: &Listener, token: u64) {
        assert!(listener.state.accept.get().is_none(), "the listener is accepting already");
        self.submit_accept(Op::Accept { listener: listener.state.clone(), token });
    }

    /// Stops accepting; `AcceptEnded` follows.
    pub fn cancel_accept(&mut self, listener: &Listener) {
        if let Some(user_data) = listener.state.accept.get() {
            self.submit_cancel(user_data);
        }
    }

    fn submit_accept(&mut self, op: Op) {
        let Op::Accept { listener, .. } = &op else { unreachable!("an accept") };
        let listener = listener.clone();
        let user_data = self.in_flight.insert(op);
        listener.accept.set(Some(user_data));
        let entry =
            opcode::AcceptMulti::new(types::Fd(listener.fd())).flags(libc::SOCK_CLOEXEC).build();
        self.submit(entry.user_data(user_data));
    }

    pub(super) fn on_accept(
        &mut self,
        user_data: u64,
        result: i32,
        more: bool,
        out: &mut Vec<Completion>,
    ) {
        let Some(Op::Accept { listener, token }) = self.in_flight.get(user_data) else {
            unreachable!("an accept")
        };
        let (listener, token) = (listener.clone(), *token);
        if result >= 0 {
            let socket = Socket::accepted(result);
            let peer = socket.peer().ok();
            out.push(Completion::Accepted { token, socket, peer });
        }
        if more {
            return;
        }
        let op = self.in_flight.remove(user_data);
        listener.accept.set(None);
        // A connection that went away while it waited is no reason to stop.
        if (result >= 0 || result == -libc::ECONNABORTED) && !self.draining {
            self.submit_accept(op);
        } else {
            let error = io::Error::from_raw_os_error(-result);
            out.push(Completion::AcceptEnded { token, error });
        }
    }

    /// Receives into the ring's buffers until the peer stops, it fails, or it is
    /// cancelled, then says `ReceiveEnded`. Without free buffers it waits its turn.
    pub fn receive(&mut self, socket: &Socket, token: u64) {
        let state = &socket.state;
        match state.receive.get() {
            Receive::Idle => self.submit_receive(state.clone(), token),
            Receive::Cancelling { .. } => state.receive.set(Receive::Cancelling { again: true }),
            Receive::Armed(_) | Receive::Starved => panic!("the socket is receiving already"),
        }
    }

    /// Stops receiving; what has already arrived may still come, then `ReceiveEnded`.
    /// Does nothing for a socket that does not receive.
    pub fn cancel_receive(&mut self, socket: &Socket) {
        let state = &socket.state;
        match state.receive.get() {
            Receive::Idle => {}
            Receive::Armed(user_data) => {
                state.receive.set(Receive::Cancelling { again: false });
                self.submit_cancel(user_data);
            }
            Receive::Cancelling { .. } => state.receive.set(Receive::Cancelling { again: false }),
            Receive::Starved => {
                if let Some(token) = self.leave_starved(state) {
                    let end = End::Cancelled;
                    self.ready.push(Completion::ReceiveEnded { token, end });
                }
            }
        }
    }

    fn submit_receive(&mut self, socket: Rc<SocketState>, token: u64) {
        let fd = types::Fd(socket.fd());
        let user_data = self.in_flight.insert(Op::Receive { socket: socket.clone(), token });
        socket.receive.set(Receive::Armed(user_data));
        socket.in_flight.set(socket.in_flight.get() + 1);
        self.submit(opcode::RecvMulti::new(fd, GROUP).build().user_data(user_data));
    }

    pub(super) fn on_receive(
        &mut self,
        user_data: u64,
        result: i32,
        flags: u32,
        out: &mut Vec<Completion>,
    ) {
        let Some(Op::Receive { socket, token }) = self.in_flight.get(user_data) else {
            unreachable!("a receive")
        };
        let (token, closing) = (*token, socket.is_closing());
        if let Some(buffer) = cqueue::buffer_select(flags).map(BufferId) {
            let len = result.max(0) as usize;
            self.buffers.on_filled(buffer, len);
            if len > 0 && !closing {
                out.push(Completion::Received { token, buffer, len });
            } else {
                self.buffers.give_back(buffer);
            }
        }
        if cqueue::more(flags) {
            return;
        }
        let Op::Receive { socket, token } = self.in_flight.remove(user_data) else {
            unreachable!("a receive")
        };
        let before = socket.receive.replace(Receive::Idle);
        if !closing && !self.draining {
            self.after_receive(&socket, token, before, result, out);
        }
        self.operation_ended(&socket, out);
    }

    /// The kernel has ended a receive: goes on with it, or says why not.
    fn after_receive(
        &mut self,
        socket: &Rc<SocketState>,
        token: u64,
        before: Receive,
        result: i32,
        out: &mut Vec<Completion>,
    ) {
        let end = match (result, before) {
            (0, _) => End::Eof,
            (_, Receive::Cancelling { again: true }) if result == -libc::ECANCELED => {
                return self.submit_receive(socket.clone(), token);
            }
            (_, Receive::Cancelling { again: false })
                if result > 0 || result == -libc::ENOBUFS || result == -libc::ECANCELED =>
            {
                End::Cancelled
            }
            (1.., _) => return self.submit_receive(socket.clone(), token),
            _ if result == -libc::ENOBUFS => {
                self.counters.starved += 1;
                socket.receive.set(Receive::Starved);
                return self.starved.push_back((socket.clone(), token));
            }
            _ => End::Error(io::Error::from_raw_os_error(-result)),
        };
        out.push(Completion::ReceiveEnded { token, end });
    }

    /// Lets the connections that ran out of buffers go on, oldest first, once there is
    /// something for them: never more of them than buffers.
    pub(super) fn rearm_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let offered = self.buffers.offered();
        // In small steps each of them would soon be back here.
        if offered < (self.buffers.count() / 8).max(1) {
            return;
        }
        self.buffers.publish();
        for _ in 0..offered {
            let Some((socket, token)) = self.starved.pop_front() else { break };
            self.submit_receive(socket, token);
        }
    }

    fn leave_starved(&mut self, socket: &Rc<SocketState>) -> Option<u64> {
        socket.receive.set(Receive::Idle);
        let place = self.starved.iter().position(|(other, _)| Rc::ptr_eq(other, socket))?;
        self.starved.remove(place).map(|(_, token)| token)
    }

    /// Sends all pieces, in as many calls as that takes; `Sent` gives them back. One
    /// send at a time per socket. Lent pieces are of `arena`, and none is of a file.
    pub fn send(&mut self, socket: &Socket, arena: ArenaId, outgoing: Outgoing, token: u64) {
        let files = |_| unreachable!("nothing of a file is sent");
        self.send_with_files(socket, arena, outgoing, files, token);
    }

    /// The same, with file pieces that lie where `files` says.
    pub fn send_with_files(
        &mut self,
        socket: &Socket,
        arena: ArenaId,
        outgoing: Outgoing,
        files: impl Fn(LogOffset) -> FilePart,
        token: u64,
    ) {
        let state = socket.state.clone();
        assert!(state.sending.get().is_none(), "the socket is sending already");
        let bytes = outgoing.len();
        if bytes == 0 {
            return self.ready.push(Completion::Sent { token, outgoing, result: Ok(()) });
        }
        let mut gather = self.gathers.pop().unwrap_or_else(Gather::new);
        gather.begin(outgoing, &self.arenas[arena.0 as usize].memory, files);
        gather.zero_copy &= self.zero_copy;
        if gather.lacks_mapping {
            self.counters.transfers.fall_back(Fallback::NoMapping);
        }
        state.in_flight.set(state.in_flight.get() + 1);
        let user_data = self.in_flight.insert(Op::Send { socket: state.clone(), token, gather });
        state.sending.set(Some(user_data));
        let mut out = std::mem::take(&mut self.ready);
        self.submit_send(user_data, &mut out);
        self.ready = out;
    }

    fn submit_send(&mut self, user_data: u64, out: &mut Vec<Completion>) {
        let Some(Op::Send { socket, gather, .. }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        let fd = socket.fd();
        if !gather.is_by_calls() {
            let entry = gather.next_entry(fd).user_data(user_data);
            self.counters.transfers.called(gather.transfer());
            return self.submit(entry);
        }
        let mut tools = Tools { pipes: &mut self.pipes, counters: &mut self.counters.transfers };
        let result = match gather.send_now(fd, &mut tools) {
            Now::Done => Ok(()),
            Now::Failed(error) => Err(error),
            Now::Blocked => {
                let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build();
                return self.submit(entry.user_data(user_data));
            }
        };
        self.end_send(user_data, result, out);
    }

    pub(super) fn on_send(
        &mut self,
        user_data: u64,
        result: i32,
        flags: u32,
        out: &mut Vec<Completion>,
    ) {
        let draining = self.draining;
        let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        if gather.is_by_calls() {
            return self.on_writable(user_data, result, out);
        }
        if cqueue::notif(flags) {
            let copied = result as u32 & ZERO_COPY_COPIED != 0;
            self.counters.zero_copy_copied += u64::from(copied);
            return self.on_pages_free(user_data, out);
        }
        if gather.zero_copy {
            // Without a notification to come the kernel has taken no pages.
            gather.held -= u32::from(!cqueue::more(flags));
            if result < 0 && lacks_zero_copy(-result) {
                gather.zero_copy = false;
                self.zero_copy &= result != -libc::EOPNOTSUPP;
                self.counters.transfers.fall_back(Fallback::NoZeroCopy);
                return self.submit_send(user_data, out);
            }
        }
        // Cancelled to copy the rest, or interrupted: goes on where it stopped.
        let again = gather.copy_is_wanted() && result == -libc::ECANCELED || result == -libc::EINTR;
        let moved = if again { 0 } else { result };
        if moved < 0 || draining || (moved == 0 && !again) {
            let result = match moved {
                1.. => Ok(()),
                0 => Err(io::ErrorKind::WriteZero.into()),
                _ => Err(io::Error::from_raw_os_error(-moved)),
            };
            return self.end_send(user_data, result, out);
        }
        match gather.advance(moved as usize) {
            true => self.end_send(user_data, Ok(()), out),
            false => self.go_on_sending(user_data, out),
        }
    }

    /// The socket of a send by calls takes more, or the wait for that has ended otherwise.
    fn on_writable(&mut self, user_data: u64, result: i32, out: &mut Vec<Completion>) {
        let draining = self.draining;
        let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        let cancelled = gather.copy_is_wanted() && result == -libc::ECANCELED;
        let error = match result {
            _ if draining => io::ErrorKind::ConnectionAborted.into(),
            ..0 if !cancelled => io::Error::from_raw_os_error(-result),
            _ => return self.go_on_sending(user_data, out),
        };
        self.end_send(user_data, Err(error), out);
    }

    /// The next call of a send that has not all left: from a copy, if that is wanted.
    fn go_on_sending(&mut self, user_data: u64, out: &mut Vec<Completion>) {
        let Some(Op::Send { gather, socket, token }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        let mut ends = socket.is_closing().then_some(io::ErrorKind::ConnectionAborted);
        if ends.is_none() && gather.copy_is_wanted() {
            match gather.copy_rest() {
                Some(outgoing) => out.push(Completion::Copied { token: *token, outgoing }),
                None => ends = Some(io::ErrorKind::ResourceBusy),
            }
        }
        if let Some(why) = ends {
            return self.end_send(user_data, Err(why.into()), out);
        }
        self.counters.short_sends += 1;
        self.submit_send(user_data, out);
    }

    /// The kernel needs the pages of a zero-copy call no more.
    fn on_pages_free(&mut self, user_data: u64, out: &mut Vec<Completion>) {
        let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        gather.held -= 1;
        if gather.held == 0
            && let Some(result) = gather.ended.take()
        {
            self.end_send(user_data, result, out);
        }
    }

    /// All is sent, or nothing more will be. With pages still in the kernel's hands the
    /// end comes when it gives them back.
    fn end_send(&mut self, user_data: u64, result: io::Result<()>, out: &mut Vec<Completion>) {
        if let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data)
            && gather.held > 0
        {
            gather.ended = Some(result);
            return;
        }
        let Op::Send { socket, token, mut gather } = self.in_flight.remove(user_data) else {
            unreachable!("a send")
        };
        if let Some(pipe) = gather.pipe.take() {
            self.pipes.give_back(pipe);
        }
        let outgoing = gather.end();
        self.gathers.push(gather);
        socket.sending.set(None);
        out.push(Completion::Sent { token, outgoing, result });
        self.operation_ended(&socket, out);
    }

    /// Has the unsent rest of a socket's send copied, so that the memory it was lent is
    /// soon free: `Copied` gives it back, and the send goes on. Without a send under way,
    /// or when it ends by itself meanwhile, nothing but its `Sent` comes.
    pub fn copy_send(&mut self, socket: &Socket) {
        let Some(user_data) = socket.state.sending.get() else { return };
        let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data) else {
            unreachable!("a send")
        };
        if gather.held > 0 {
            // No copy brings back pages that wait in the socket for a peer that does not read.
            return socket.state.reset();
        }
        if gather.want_copy() {
            self.counters.copied_sends += 1;
            self.submit_cancel(user_data);
        }
    }

    /// Ends a connection: shuts it down, ends its operations, closes its descriptor.
    /// A send under way comes back as `Sent`; nothing is received any more; the last
    /// word is `Closed`.
    pub fn close(&mut self, socket: Socket, token: u64) {
        let state = &socket.state;
        assert!(state.closing.replace(Some(token)).is_none());
        if state.receive.get() == Receive::Starved {
            self.leave_starved(state);
        }
        if state.in_flight.get() == 0 {
            self.ready.push(Completion::Closed { token });
        }
        if let Some(user_data) = state.sending.get()
            && let Some(Op::Send { gather, .. }) = self.in_flight.get(user_data)
            && gather.held > 0
        {
            // A mere shutdown would go on sending from our pages.
            state.reset();
        }
        // Dropping the socket shuts it down, which ends what is in flight.
    }

    fn operation_ended(&mut self, socket: &Rc<SocketState>, out: &mut Vec<Completion>) {
        let left = socket.in_flight.get() - 1;
        socket.in_flight.set(left);
        if left == 0
            && let Some(token) = socket.closing.get()
        {
            out.push(Completion::Closed { token });
        }
    }
}
