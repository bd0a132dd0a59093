//! What an answer repeats of itself.

use hashbrown::HashSet;

/// So many tokens in the order in which an answer has had them before say that it repeats itself.
pub const VERBATIM: usize = 8;

/// For each token of one answer, whether the [`VERBATIM`] tokens before it stood in the answer before, in their order. Such positions of a model's
/// answer do not count: an answer that falls into a loop would else weigh as much as thousands that do not, and its few pairs would decide. It
/// follows from the text alone, and from what stands before a position, so that a reference is left out at the same ones.
pub(super) fn repeated(tokens: &[u32]) -> Vec<bool> {
    let mut seen: HashSet<&[u32]> = HashSet::new();
    let before = |at: usize| at.checked_sub(VERBATIM).and_then(|from| tokens.get(from..at));
    (0..tokens.len()).map(|at| before(at).is_some_and(|window| !seen.insert(window))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::detect::{Choice, LayerDetector};
    use crate::key::fresh_keys;
    use crate::model_test::{ModelSample, Round};
    use crate::scheme::{Gumbel, Scheme};

    /// A loop of any period counts once and eight tokens more, in answers and in probabilities along them, and anew in the next answer.
    #[test]
    fn a_loop_counts_once() {
        for (width, period) in [(0, 3), (1, 3), (2, 3), (4, 1), (1, 500)] {
            let key = fresh_keys(b"loops", 1).next().unwrap();
            let layer = LayerDetector::from_prf_key(Scheme::Gumbel(Gumbel), width, &key).unwrap();
            let answer: Vec<u32> = (0..3000).map(|at| at % period).collect();
            let choices: Vec<Vec<Choice>> = answer.iter().map(|&token| vec![Choice::certain(token)]).collect();
            for answers in [1, 2] {
                let mut counts = ModelSample::of_answers(&layer);
                let mut certain = ModelSample::of_probabilities(&layer);
                let round = Round { prompts: vec![], answers: vec![&answer; answers], choices: vec![] };
                counts.add_round(&layer, &round).unwrap();
                certain.add_round(&layer, &Round { choices: vec![&choices; answers], ..round }).unwrap();
                let (tally, certain) = (counts.tally(), certain.tally());
                let counted = tally.n_scored() + tally.n_duplicate();
                assert_eq!(counted, (period as usize + VERBATIM - width) as u64 * answers as u64, "{width} {period}");
                assert_eq!(counted + tally.n_excluded() + tally.n_short_context(), 3000 * answers as u64);
                let scaled = certain.pairs().map(|(pair, count)| (*pair, count >> 16)).collect::<Vec<_>>();
                assert!(scaled.iter().all(|&(pair, count)| tally.count(&pair) == count) && !scaled.is_empty());
            }
        }
        assert_eq!(repeated(&[]), [false; 0]);
        assert!(repeated(&(0..100).collect::<Vec<u32>>()).iter().all(|repeated| !repeated));
    }
}
