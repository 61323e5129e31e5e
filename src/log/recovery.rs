//! How a shard's log starts: a table from what is found to what is done.
//!
//! After the decision:
//!
//! * `CleanStart` goes on at the mark's end, once [`super::scan::ends_with`] agrees;
//!   otherwise [`Decision::after_wrong_clean_end`].
//! * `Replay` scans, then checks and writes what the arena holds beyond the scan's end
//!   ([`super::replay`]). If that is refused, [`Decision::after_refused_replay`] says
//!   what `--accept-loss` may still do.
//! * `Scan` scans; what it finds is the log.
//!
//! After `Replay` and `Scan`, and before anything is served: fdatasync every segment
//! from the one that holds the scan's flushed edge to the one that holds the log's end,
//! since the last life may not have; then the new run mark, its life one above both the
//! mark's and the last footer's; then unlink the old arena.

use std::fmt;

use super::run_mark::{ArenaId, BootId, RunMark};

/// What a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    pub mark: MarkState,
    pub boot: Boot,
    pub arena: Arena,
    /// The operator has said `--accept-loss`.
    pub accept_loss: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkState {
    /// No run mark and no segment: a new shard.
    NothingYet,
    /// Segments, but no run mark.
    Lost,
    Clean,
    Unclean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The kernel that ran the last life still runs: all its writes are there.
    Same,
    Other,
}

/// The arena of the last life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// It is the one that the run mark names, of that life.
    Ours,
    /// The mark names one, and none is there.
    Missing,
    /// One is there, but not the one that the mark names.
    Foreign,
    /// The one that the mark names, used by another life since.
    OtherLife,
    /// Its header cannot be read.
    Damaged,
    /// The mark names none: nothing was acknowledged before it was written.
    NeverShared,
}

/// What the engine found at the arena's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaFound {
    Nothing,
    Damaged,
    Header { id: ArenaId, life: u64 },
}

/// What the start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A new log at offset 0.
    Fresh,
    /// Go on at the clean end. Nothing to scan, nothing lost.
    CleanStart,
    /// Scan, then replay the arena up to its published edge. Nothing is lost.
    Replay,
    /// Scan; its end is the log's end. `gave_up`: acknowledged bytes may be gone, so each
    /// queue's first append skips 2^20 offsets.
    Scan {
        gave_up: bool,
    },
    Refuse(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    MarkLost,
    ArenaMissing,
    ArenaForeign,
    ArenaOfOtherLife,
    ArenaDamaged,
    /// The arena does not continue the log, or holds a damaged record.
    ReplayRefused,
    /// The log does not end where it was cleanly stopped.
    CleanEndDiffers,
}

/// A column that may stand for any value.
type Any<T> = Option<T>;

/// One row: the first that fits decides, and exactly one fits.
type Row = (MarkState, Any<Boot>, &'static [Arena], Any<bool>, Decision);

const ANY: &[Arena] = &[
    Arena::Ours,
    Arena::Missing,
    Arena::Foreign,
    Arena::OtherLife,
    Arena::Damaged,
    Arena::NeverShared,
];
const GONE: &[Arena] = &[Arena::Missing, Arena::Foreign, Arena::OtherLife, Arena::Damaged];
const LOSS: Decision = Decision::Scan { gave_up: true };
const NO_LOSS: Decision = Decision::Scan { gave_up: false };

use Boot::{Other, Same};
use Decision::{CleanStart, Fresh, Refuse, Replay};
use MarkState::{Clean, Lost, NothingYet, Unclean};
use Refusal::{ArenaDamaged, ArenaForeign, ArenaMissing, ArenaOfOtherLife, MarkLost};

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // mark     boot         arena                    accept loss  decision
    (NothingYet, None,        ANY,                     None,        Fresh),
    (Lost,       None,        ANY,                     Some(false), Refuse(MarkLost)),
    (Lost,       None,        ANY,                     Some(true),  LOSS),
    (Clean,      None,        ANY,                     None,        CleanStart),
    // A power cut, or a reboot: what was only appended is gone, and nobody can say
    // whether there was any. The promise of the ack levels, so no refusal.
    (Unclean,    Some(Other), ANY,                     None,        LOSS),
    (Unclean,    Some(Same),  &[Arena::Ours],          None,        Replay),
    (Unclean,    Some(Same),  &[Arena::NeverShared],   None,        NO_LOSS),
    // The process died and its arena with it: more than any level promises to lose.
    (Unclean,    Some(Same),  &[Arena::Missing],       Some(false), Refuse(ArenaMissing)),
    (Unclean,    Some(Same),  &[Arena::Foreign],       Some(false), Refuse(ArenaForeign)),
    (Unclean,    Some(Same),  &[Arena::OtherLife],     Some(false), Refuse(ArenaOfOtherLife)),
    (Unclean,    Some(Same),  &[Arena::Damaged],       Some(false), Refuse(ArenaDamaged)),
    (Unclean,    Some(Same),  GONE,                    Some(true),  LOSS),
];

impl Situation {
    /// Judges what was found. `log_exists`: the directory holds a segment.
    pub fn judge(
        mark: Option<&RunMark>,
        log_exists: bool,
        boot: BootId,
        found: ArenaFound,
        accept_loss: bool,
    ) -> Self {
        let Some(mark) = mark else {
            let state = if log_exists { Lost } else { NothingYet };
            let arena = match found {
                ArenaFound::Nothing => Arena::Missing,
                ArenaFound::Damaged => Arena::Damaged,
                ArenaFound::Header { .. } => Arena::Foreign,
            };
            return Self { mark: state, boot: Other, arena, accept_loss };
        };
        let arena = match (mark.arena, found) {
            (None, _) => Arena::NeverShared,
            (Some(_), ArenaFound::Nothing) => Arena::Missing,
            (Some(_), ArenaFound::Damaged) => Arena::Damaged,
            (Some(ours), ArenaFound::Header { id, .. }) if id != ours => Arena::Foreign,
            (Some(_), ArenaFound::Header { life, .. }) if life != mark.life => Arena::OtherLife,
            (Some(_), ArenaFound::Header { .. }) => Arena::Ours,
        };
        Self {
            mark: if mark.clean.is_some() { Clean } else { Unclean },
            boot: if mark.boot == boot { Same } else { Other },
            arena,
            accept_loss,
        }
    }

    pub fn decide(&self) -> Decision {
        let row = TABLE.iter().find(|row| self.fits(row));
        row.expect("the table covers every situation").4
    }

    fn fits(&self, row: &Row) -> bool {
        let (mark, boot, arena, accept_loss, _) = row;
        self.mark == *mark
            && boot.is_none_or(|boot| boot == self.boot)
            && arena.contains(&self.arena)
            && accept_loss.is_none_or(|accept| accept == self.accept_loss)
    }
}

impl Decision {
    /// What is done when the arena was ours and its replay was refused.
    pub fn after_refused_replay(accept_loss: bool) -> Self {
        if accept_loss { LOSS } else { Refuse(Refusal::ReplayRefused) }
    }

    /// What is done when the log does not end as the clean run mark says: somebody has
    /// changed the files since.
    pub fn after_wrong_clean_end(accept_loss: bool) -> Self {
        if accept_loss { LOSS } else { Refuse(Refusal::CleanEndDiffers) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, then) = match self {
            MarkLost => ("segments are there but the run mark is missing", "restore the file"),
            ArenaMissing => (
                "the broker ended without a clean stop and its arena file is gone",
                "restore it, or check --arena-dir",
            ),
            ArenaForeign => (
                "the broker ended without a clean stop and the arena file is another one",
                "check --arena-dir",
            ),
            ArenaOfOtherLife => (
                "the broker ended without a clean stop and its arena was used by another start",
                "check --arena-dir and --data-dir",
            ),
            ArenaDamaged => (
                "the broker ended without a clean stop and its arena's header is damaged",
                "check --arena-dir",
            ),
            Self::ReplayRefused => {
                ("the arena does not continue the log", "keep both files for inspection")
            }
            Self::CleanEndDiffers => {
                ("the log does not end where it was stopped", "restore its files")
            }
        };
        write!(
            f,
            "{what}: acknowledged messages shortly before the end may be lost. Either {then}, or start with --accept-loss to go on with what is on disk"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_situation() -> impl Iterator<Item = Situation> {
        let marks = [NothingYet, Lost, Clean, Unclean];
        marks.into_iter().flat_map(|mark| {
            [Same, Other].into_iter().flat_map(move |boot| {
                ANY.iter().flat_map(move |arena| {
                    [false, true].map(|accept_loss| Situation {
                        mark,
                        boot,
                        arena: *arena,
                        accept_loss,
                    })
                })
            })
        })
    }

    #[test]
    fn exactly_one_row_fits_each_situation() {
        assert_eq!(every_situation().count(), 4 * 2 * 6 * 2);
        for situation in every_situation() {
            let rows = TABLE.iter().filter(|row| situation.fits(row)).count();
            assert_eq!(rows, 1, "{situation:?}");
        }
    }

    #[test]
    fn each_row_is_reached() {
        for (i, row) in TABLE.iter().enumerate() {
            assert!(every_situation().any(|situation| situation.fits(row)), "row {i}");
        }
    }

    #[test]
    fn decisions_follow_from_what_survives() {
        for situation in every_situation() {
            let Situation { mark, boot, arena, accept_loss } = situation;
            let decision = situation.decide();
            let killed = mark == Unclean && boot == Same;
            let context = format!("{situation:?}: {decision:?}");
            // Memory is trusted only if it is ours and the kernel that kept it runs.
            assert_eq!(decision == Replay, killed && arena == Arena::Ours, "{context}");
            // A loss that no ack level allows is taken only from the operator.
            let unpromised = (killed && GONE.contains(&arena)) || mark == Lost;
            assert_eq!(matches!(decision, Refuse(_)), unpromised && !accept_loss, "{context}");
            // Queues skip ahead exactly where acknowledged bytes may be gone.
            let gave_up = (unpromised && accept_loss) || (mark == Unclean && boot == Other);
            assert_eq!(decision == LOSS, gave_up, "{context}");
            assert_eq!(decision == CleanStart, mark == Clean, "{context}");
            assert_eq!(decision == Fresh, mark == NothingYet, "{context}");
        }
    }

    #[test]
    fn what_is_found_is_judged_by_the_run_mark() {
        let (boot, id) = (BootId([1; 16]), ArenaId([2; 16]));
        let mark = RunMark { life: 5, boot, arena: Some(id), clean: None };
        let judge = |mark: Option<&RunMark>, found| {
            let situation = Situation::judge(mark, true, boot, found, false);
            (situation.mark, situation.boot, situation.arena)
        };
        let header = |id, life| ArenaFound::Header { id, life };
        assert_eq!(judge(Some(&mark), header(id, 5)), (Unclean, Same, Arena::Ours));
        assert_eq!(judge(Some(&mark), header(id, 6)).2, Arena::OtherLife);
        assert_eq!(judge(Some(&mark), header(ArenaId([3; 16]), 5)).2, Arena::Foreign);
        assert_eq!(judge(Some(&mark), ArenaFound::Nothing).2, Arena::Missing);
        assert_eq!(judge(Some(&mark), ArenaFound::Damaged).2, Arena::Damaged);
        assert_eq!(judge(None, header(id, 5)).0, Lost);
        let rebooted = RunMark { boot: BootId([9; 16]), ..mark };
        assert_eq!(judge(Some(&rebooted), header(id, 5)).1, Other);
        let unshared = RunMark { arena: None, ..mark };
        assert_eq!(judge(Some(&unshared), ArenaFound::Nothing).2, Arena::NeverShared);
        let stopped = RunMark { clean: Some(Default::default()), ..mark };
        assert_eq!(judge(Some(&stopped), ArenaFound::Nothing).0, Clean);
    }
}
