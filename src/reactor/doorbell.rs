//! Waking a parked data thread from another thread.
//!
//! The receiver announces that it parks and then looks at its mailboxes once more;
//! the sender puts its mail down and then looks for the announcement. Both looks come
//! after a full fence, so at least one side sees the other, and no mail is left lying.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The sender's end. Cheap to clone, and to ring while the receiver is awake.
#[derive(Clone)]
pub struct Doorbell(Arc<Shared>);

/// The receiver's end, inside its ring.
pub(super) struct DoorbellWatch(Arc<Shared>);

struct Shared {
    event: OwnedFd,
    parked: AtomicBool,
}

pub(super) fn doorbell() -> io::Result<(Doorbell, DoorbellWatch)> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created and belongs to nobody else.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    let shared = Arc::new(Shared { event, parked: AtomicBool::new(false) });
    Ok((Doorbell(shared.clone()), DoorbellWatch(shared)))
}

impl Doorbell {
    /// Wakes the receiver if it is parked. Call it after the mail has been put down.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // The load first: a receiver that is awake costs its senders no shared write.
        if self.0.parked.load(Ordering::Relaxed) && self.0.parked.swap(false, Ordering::AcqRel) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight bytes are read from a live array of eight bytes.
            let wrote =
                unsafe { libc::write(self.0.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            // The counter would have to hold 2^64 - 1 rings for this write to fail.
            debug_assert_eq!(wrote, 8);
        }
    }
}

impl DoorbellWatch {
    /// From here on senders ring. The caller looks for mail after this, and before it sleeps.
    pub fn announce_park(&self) {
        self.0.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// From here on senders need not ring.
    pub fn awake(&self) {
        self.0.parked.store(false, Ordering::Relaxed);
    }

    pub fn fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}
