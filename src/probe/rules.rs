//! From figures to what `auto` does.

use super::cell::Heat;
use super::profile::{Profile, TransferFigure};
use super::writes::WriteKind;
use crate::base::limits::BLOCK_BYTES;
use crate::base::transfer::{FileWay, SIZE_CLASSES, TailWay, Through, Transfer, TransferRules};

const CLASSES: usize = SIZE_CLASSES.len() + 1;
/// What is this close to the fastest is as fast, in percent: then CPU decides.
const EQUAL_PERCENT: u64 = 5;
/// Direct reads must be so much faster to be worth it: what lies in the page cache serves
/// the next group from memory.
const DIRECT_AHEAD: f64 = 1.10;

/// What a profile says, and of which figures it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub rules: TransferRules,
    /// By size class; none where nothing was measured and the built-in rule stays.
    pub tail: [Option<Pick>; CLASSES],
    pub hot: [Option<Pick>; CLASSES],
    pub cold: Vec<ColdComparison>,
    pub flush: Option<FlushDecision>,
}

/// The strategy of one size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub figure: TransferFigure,
    /// The fastest, if it is another one that takes more CPU.
    pub instead_of: Option<TransferFigure>,
}

/// Cold pieces of one size: the page cache, as the hot rules send from it, against direct
/// reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdComparison {
    pub page_cache: TransferFigure,
    pub direct: TransferFigure,
}

/// Single durable writes of a block, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushDecision {
    pub dsync_ns: u64,
    pub fdatasync_ns: u64,
}

impl FlushDecision {
    pub fn is_dsync_faster(&self) -> bool {
        self.dsync_ns <= self.fdatasync_ns
    }
}

impl Profile {
    pub fn decide(&self) -> Decision {
        let mut rules = TransferRules::default();
        let (mut tail, mut hot) = ([None; CLASSES], [None; CLASSES]);
        for class in 0..CLASSES {
            let of_class = |figure: &&TransferFigure| {
                figure.heat == Heat::Hot && class_of(figure.bytes) == class
            };
            let figures = || self.transfers.iter().filter(of_class);
            tail[class] = pick(figures().filter(|figure| tail_way(figure.strategy).is_some()));
            hot[class] = pick(figures().filter(|figure| figure.strategy.is_from_page_cache()));
            if let Some(way) = tail[class].and_then(|pick| tail_way(pick.figure.strategy)) {
                rules.tail[class] = way;
            }
            if let Some(way) = hot[class].and_then(|pick| FileWay::of(pick.figure.strategy)) {
                rules.hot[class] = way;
            }
        }
        let cold = self.compare_cold(&rules);
        if is_direct_ahead(&cold) {
            rules.cold = Through::Direct;
        }
        Decision { rules, tail, hot, cold, flush: self.compare_flushes() }
    }

    fn compare_cold(&self, rules: &TransferRules) -> Vec<ColdComparison> {
        let cold = || self.transfers.iter().filter(|figure| figure.heat == Heat::Cold);
        let of = |strategy: Transfer, bytes: u32| {
            cold().find(|figure| figure.strategy == strategy && figure.bytes == bytes).copied()
        };
        let direct = cold().filter(|figure| figure.strategy == Transfer::Direct);
        let compared = direct.filter_map(|direct| {
            let way = rules.hot[class_of(direct.bytes)].transfer();
            let page_cache = of(way, direct.bytes)?;
            Some(ColdComparison { page_cache, direct: *direct })
        });
        compared.collect()
    }

    fn compare_flushes(&self) -> Option<FlushDecision> {
        let typical = |kind: WriteKind| {
            let of = self.writes.iter().find(|figure| {
                figure.kind == kind && figure.depth == 1 && u64::from(figure.bytes) == BLOCK_BYTES
            });
            of.map(|figure| figure.typical_ns)
        };
        let dsync_ns = typical(WriteKind::DirectDsync)?;
        Some(FlushDecision { dsync_ns, fdatasync_ns: typical(WriteKind::DirectFdatasync)? })
    }
}

/// The class of a piece's size.
pub fn class_of(bytes: u32) -> usize {
    SIZE_CLASSES.partition_point(|bound| *bound <= bytes)
}

/// What sends out of the arena.
fn tail_way(transfer: Transfer) -> Option<TailWay> {
    match transfer {
        Transfer::Gather => Some(TailWay::Gather),
        Transfer::SendZc => Some(TailWay::ZeroCopy),
        _ => None,
    }
}

/// The fastest, or of those as fast the one that takes least CPU.
fn pick<'a>(figures: impl Iterator<Item = &'a TransferFigure>) -> Option<Pick> {
    let figures: Vec<_> = figures.collect();
    let fastest = **figures.iter().max_by_key(|figure| figure.bytes_per_second)?;
    let floor = u128::from(fastest.bytes_per_second) * u128::from(100 - EQUAL_PERCENT);
    let as_fast =
        figures.iter().filter(|figure| u128::from(figure.bytes_per_second) * 100 >= floor);
    let figure = **as_fast.min_by_key(|figure| figure.cpu_ps_per_byte)?;
    let is_another = figure.strategy != fastest.strategy;
    Some(Pick { figure, instead_of: is_another.then_some(fastest) })
}

/// Over all sizes that were measured: the product of the ratios says it.
fn is_direct_ahead(cold: &[ColdComparison]) -> bool {
    let ratio = |of: &ColdComparison| {
        of.direct.bytes_per_second as f64 / of.page_cache.bytes_per_second.max(1) as f64
    };
    let product: f64 = cold.iter().map(ratio).product();
    !cold.is_empty() && product.powf(1.0 / cold.len() as f64) > DIRECT_AHEAD
}
