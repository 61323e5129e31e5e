//! Time as an argument. Only the engine (and the simulator) reads a clock.

/// One reading of both clocks, taken once per turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds of a clock that never goes back; for intervals and deadlines.
    pub mono_us: u64,
    /// Milliseconds since 1970 by the wall clock; for timestamps that clients see.
    pub unix_ms: i64,
}
