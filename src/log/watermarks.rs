//! How far the log has come. The order of the three is asserted here and nowhere else.

use crate::base::LogOffset;

use super::policy::AckLevel;

/// *appended ≥ written ≥ flushed*. Each is the end of a contiguous prefix of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    appended: LogOffset,
    written: LogOffset,
    flushed: LogOffset,
    /// From here on what is written does not survive the kernel before it is flushed:
    /// the segment's extents were only reserved.
    unsettled: LogOffset,
}

impl Watermarks {
    /// A log that begins or goes on at `at`: all before is durable.
    pub fn at(at: LogOffset) -> Self {
        Self { appended: at, written: at, flushed: at, unsettled: LogOffset(u64::MAX) }
    }

    /// Survives this process.
    pub fn appended(&self) -> LogOffset {
        self.appended
    }

    /// Is in its segment, so that the ring need not keep it. It survives the kernel
    /// wherever extents were written before: `of(AckLevel::Written)`.
    pub fn written(&self) -> LogOffset {
        self.written
    }

    /// Survives a power cut.
    pub fn flushed(&self) -> LogOffset {
        self.flushed
    }

    /// The edge below which records of topics with this ack level are acknowledged and
    /// visible.
    pub fn of(&self, level: AckLevel) -> LogOffset {
        match level {
            AckLevel::Appended => self.appended,
            AckLevel::Written => self.written.min(self.unsettled.max(self.flushed)),
            AckLevel::Flushed => self.flushed,
        }
    }

    /// Whether the newest records survive the kernel once they are written.
    pub(super) fn is_settled(&self) -> bool {
        self.appended <= self.unsettled
    }

    /// What is written from `to` on waits for its flush.
    pub(super) fn settle_to(&mut self, to: LogOffset) {
        let before = self.of(AckLevel::Written);
        self.unsettled = to;
        assert!(self.of(AckLevel::Written) >= before, "an acknowledgement is not taken back");
    }

    pub(super) fn advance_appended(&mut self, to: LogOffset) {
        self.change(Self { appended: to, ..*self });
    }

    pub(super) fn advance_written(&mut self, to: LogOffset) {
        self.change(Self { written: to, ..*self });
    }

    pub(super) fn advance_flushed(&mut self, to: LogOffset) {
        self.change(Self { flushed: to, ..*self });
    }

    fn change(&mut self, to: Self) {
        assert!(
            self.appended <= to.appended
                && self.written <= to.written
                && self.flushed <= to.flushed,
            "a watermark never goes back: {self:?} to {to:?}"
        );
        assert!(
            to.appended >= to.written && to.written >= to.flushed,
            "appended, written and flushed keep their order: {to:?}"
        );
        *self = to;
    }
}
