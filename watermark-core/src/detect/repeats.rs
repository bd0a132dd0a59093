//! How often a context counts in one answer.

use hashbrown::HashMap;

use super::Pair;
use super::rule::Rule;

/// A context counts at so many positions of one answer. An answer that falls into a loop would else weigh as much as thousands that do not,
/// and its few pairs would decide. Most contexts of ordinary answers occur less often than this.
pub const REPEATS: u32 = 16;

/// The occurrences of contexts in one answer so far.
pub(super) struct Repeats {
    /// Whether contexts are counted, and not whole inputs.
    by_context: bool,
    seen: HashMap<Pair, u32>,
}

impl Repeats {
    pub(super) fn new(rule: &Rule) -> Self {
        Self { by_context: rule.keeps_token() && rule.width() > 0, seen: HashMap::new() }
    }

    /// Counts one more position with this PRF input, and says whether it is among the first [`REPEATS`] of its context; where an input does
    /// not keep context and token apart, or all contexts are empty, of the input.
    pub(super) fn count(&mut self, pair: &Pair) -> bool {
        let context = if self.by_context { pair.without_token() } else { *pair };
        let seen = self.seen.entry(context).or_insert(0);
        *seen = seen.saturating_add(1);
        *seen <= REPEATS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::detect::LayerDetector;
    use crate::key::fresh_keys;
    use crate::model_test::{ModelSample, Round};
    use crate::scheme::{Gumbel, Scheme};

    /// A loop of three tokens: each context counts sixteen times, and anew in the next answer.
    #[test]
    fn a_loop_counts_so_often() {
        for (width, context_or_pair) in [(0, 3), (1, 3), (2, 3)] {
            let key = fresh_keys(b"loops", 1).next().unwrap();
            let layer = LayerDetector::from_prf_key(Scheme::Gumbel(Gumbel), width, &key).unwrap();
            let answer: Vec<u32> = (0..3000).map(|at| at % 3).collect();
            for answers in [1, 2] {
                let mut sample = ModelSample::of_answers(&layer);
                let round = Round { prompts: vec![], answers: vec![&answer; answers], choices: vec![] };
                sample.add_round(&layer, &round).unwrap();
                let counts: Vec<u64> = sample.tally().pairs().map(|(_, count)| count).collect();
                assert_eq!(counts, vec![u64::from(REPEATS) * answers as u64; context_or_pair], "width {width}");
                let tally = sample.tally();
                let all = tally.n_scored() + tally.n_duplicate() + tally.n_excluded() + tally.n_short_context();
                assert_eq!(all, 3000 * answers as u64);
            }
        }
    }
}
