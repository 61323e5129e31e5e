//! How far the log has come. The order of the three is asserted here and nowhere else.

use crate::base::LogOffset;

use super::policy::AckLevel;

/// *appended ≥ written ≥ flushed*. Each is the end of a contiguous prefix of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    appended: LogOffset,
    written: LogOffset,
    flushed: LogOffset,
}

impl Watermarks {
    /// A log that begins or goes on at `at`: all before is durable.
    pub fn at(at: LogOffset) -> Self {
        Self { appended: at, written: at, flushed: at }
    }

    /// Survives this process.
    pub fn appended(&self) -> LogOffset {
        self.appended
    }

    /// Survives the kernel.
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
            AckLevel::Written => self.written,
            AckLevel::Flushed => self.flushed,
        }
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
