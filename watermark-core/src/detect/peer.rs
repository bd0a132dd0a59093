use hashbrown::HashSet;

use super::LayerDetector;
use crate::engine::{KeyedEngine, Once};
use crate::prf::Pair;

/// A peer's own statistic over what was added, as `f64` like the peer's. It carries no verdict: mid-p values, matched Gamma
/// laws, normal approximations and missing deduplication all understate p somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatistic {
    /// Positions that the peer scores.
    pub n: u64,
    /// Its statistic: score sum, green count or z, mean g-value.
    pub statistic: f64,
    /// Its p-value; `None` where the peer has none.
    pub p_value: Option<f64>,
    /// Which positions count and where p comes from.
    pub rule: &'static str,
}

/// Sums a peer's scores over records; repeats are remembered over the whole input, in the order of the records (a peer
/// itself looks at one text).
#[derive(Clone, Debug)]
pub struct PeerTally {
    engine: std::sync::Arc<dyn KeyedEngine>,
    seen: HashSet<Pair>,
    n: u64,
    sum: f64,
}

impl LayerDetector {
    /// The engine's own detector; `None` for our own schemes.
    #[must_use]
    pub fn peer_tally(&self) -> Option<PeerTally> {
        let engine = self.engine()?.clone();
        Some(PeerTally { engine, seen: HashSet::new(), n: 0, sum: 0.0 })
    }
}

impl PeerTally {
    /// Adds one record's generated tokens, ids below 2^24; contexts reach into the prompt only where the engine's do.
    pub fn add(&mut self, prompt: &[u32], tokens: &[u32]) {
        let once = self.engine.peer_scores_once();
        let mut is_new = |&(context, pair): &(Pair, Pair)| match once {
            Once::EveryPosition => true,
            Once::Context => self.seen.insert(context),
            Once::ContextAndToken => self.seen.insert(pair),
        };
        let positions = self.engine.peer_positions(prompt, tokens).into_iter();
        let pairs: Vec<Pair> = positions.filter(|position| is_new(position)).map(|(_, pair)| pair).collect();
        self.n += pairs.len() as u64;
        self.sum += self.engine.peer_sum(&pairs);
    }

    /// The numbers that the peer's detector would print.
    #[must_use]
    pub fn statistic(&self) -> PeerStatistic {
        let number = self.engine.peer_number(self.n, self.sum);
        PeerStatistic {
            n: self.n,
            statistic: number.statistic + 0.0,
            p_value: number.p_value.map(|p| p + 0.0),
            rule: number.rule,
        }
    }
}
