use hashbrown::HashSet;

use super::{LayerDetector, Pair, PairSet, Resampling, Tally, Verdict};
use crate::scheme::{NullLaw, TWO_32};
use crate::{Error, ErrorKind, Result};

/// A stretch of a record that depends on the key.
///
/// The test, at a family-wise level over all windows of the record, concerns `window`. `tokens` only estimates where
/// the mark begins and ends: it is the stretch around the window whose likelihood ratio is largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Estimated first token, and one past the last.
    pub tokens: (usize, usize),
    /// First token of the significant window, and one past its last.
    pub window: (usize, usize),
    /// Distinct pairs in the window.
    pub n_scored: u64,
    /// log10 p of the window alone: exact, before adjustment.
    pub log10_p: f64,
    /// log10 of p times the number of windows, at most 0 (Bonferroni).
    pub log10_p_adjusted: f64,
}

impl Span {
    /// `detected`, because only significant windows become spans, unless fresh keys on the window's pairs contradict
    /// its p-value.
    #[must_use]
    pub fn verdict(&self, resampling: &Resampling) -> Verdict {
        if resampling.contradicts(self.log10_p) { Verdict::Inconclusive } else { Verdict::Detected }
    }
}

/// The scored pairs of a record in order.
struct Sequence {
    /// Position of each in the record.
    places: Vec<usize>,
    scores: Vec<u64>,
    /// [pairs + 1]: the sum of the scores before each pair, and of all of them.
    sums: Vec<u128>,
}

/// Shortest window, in scored pairs.
const SHORTEST: usize = 32;
/// Windows of a length start a quarter of it apart. So any stretch of at least 40 pairs holds a window of 2/5 of its length:
/// the largest dyadic length whose five quarters fit. (Aligned dyadic blocks, 2410.03600, guarantee one quarter.)
const OVERLAP: usize = 4;

impl LayerDetector {
    /// How many windows [`Self::locate`] tests in a record, for the size of a family over several records.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for a set of another context rule.
    pub fn count_windows(&self, exclude: &PairSet, prompt: &[u32], tokens: &[u32]) -> Result<u64> {
        Ok(windows(self.first_occurrences(exclude, prompt, tokens)?.0.len()).len() as u64)
    }

    /// The pairs of a span's window as a tally of their own: to be scored under fresh keys.
    ///
    /// # Errors
    /// As [`Self::locate`].
    pub fn window_tally(&self, exclude: &PairSet, prompt: &[u32], tokens: &[u32], span: &Span) -> Result<Tally> {
        let (places, pairs) = self.first_occurrences(exclude, prompt, tokens)?;
        let (from, to) = span.window;
        let inside = places.iter().zip(pairs).filter(|&(&at, _)| (from..to).contains(&at));
        let mut tally = self.tally();
        inside.for_each(|(_, pair)| tally.add_pair(pair, 1));
        Ok(tally)
    }

    /// Positions of pairs that occur for the first time in the record and are not excluded, and the pairs.
    fn first_occurrences(&self, exclude: &PairSet, prompt: &[u32], tokens: &[u32]) -> Result<(Vec<usize>, Vec<Pair>)> {
        let mut tally = self.tally();
        let (mut places, mut pairs) = (Vec::new(), Vec::new());
        self.add_excluding(&mut tally, exclude, prompt, tokens, |at, pair| {
            places.push(at);
            pairs.push(pair);
        })?;
        if let Some(inputs) = self.draw_inputs(&pairs) {
            let mut seen = HashSet::new();
            let kept: Vec<bool> = inputs.into_iter().map(|input| seen.insert(input)).collect();
            let (mut a, mut b) = (kept.iter(), kept.iter());
            places.retain(|_| a.next() == Some(&true));
            pairs.retain(|_| b.next() == Some(&true));
        }
        Ok((places, pairs))
    }

    /// Finds the marked stretches of one record, at family-wise level `alpha` over `family_size` windows: the windows
    /// of this record and of all other records of the same question.
    ///
    /// Pairs count at their first occurrence in the record, outside `exclude`. Windows of 32, 64, 128, … pairs overlap
    /// by three quarters; each has its exact tail, adjusted by Bonferroni. Null hypothesis of a window: its tokens
    /// are independent of the key. Spans are disjoint and in order.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for scores whose windows have no exact tail: the
    /// weighted tournament's and an engine's tournament.
    pub fn locate(
        &self,
        exclude: &PairSet,
        prompt: &[u32],
        tokens: &[u32],
        family_size: u64,
        alpha: f64,
    ) -> Result<Vec<Span>> {
        let sequence = self.sequence(exclude, prompt, tokens)?;
        let Sequence { places, scores, .. } = &sequence;
        let mut tested = self.window_log10_p(&sequence)?;
        let penalty = libm::log10(family_size.max(tested.len() as u64).max(1) as f64);
        tested.retain(|&(log10_p, ..)| log10_p + penalty <= libm::log10(alpha));
        tested.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut found: Vec<(usize, usize, Span)> = Vec::new();
        for (log10_p, from, to) in tested {
            // A window that touches a stretch that was already found adds no stretch of its own.
            if found.iter().any(|&(start, end, _)| from < end && start < to) {
                continue;
            }
            let low = found.iter().map(|&(_, end, _)| end).filter(|&end| end <= from).max().unwrap_or(0);
            let high =
                found.iter().map(|&(start, ..)| start).filter(|&start| start >= to).min().unwrap_or(scores.len());
            let (start, end) = self.refine(&sequence, (low, high), (from, to));
            let range = |from: usize, to: usize| (places[from], places[to - 1] + 1);
            let span = Span {
                tokens: range(start, end),
                window: range(from, to),
                n_scored: (to - from) as u64,
                log10_p,
                log10_p_adjusted: (log10_p + penalty).min(0.0),
            };
            found.push((start.min(from), end.max(to), span));
        }
        found.sort_by_key(|&(start, ..)| start);
        Ok(found.into_iter().map(|(.., span)| span).collect())
    }

    /// The smallest p of [`Self::locate`]'s windows times their number, as log10 and at most 0: what calibration looks at.
    ///
    /// # Errors
    /// As [`Self::locate`].
    pub fn smallest_window_log10_p(&self, tokens: &[u32]) -> Result<f64> {
        let tested = self.window_log10_p(&self.sequence(&self.pair_set(), &[], tokens)?)?;
        let smallest = tested.iter().fold(0.0, |low: f64, &(log10_p, ..)| low.min(log10_p));
        Ok((smallest + libm::log10(tested.len().max(1) as f64)).min(0.0) + 0.0)
    }

    fn sequence(&self, exclude: &PairSet, prompt: &[u32], tokens: &[u32]) -> Result<Sequence> {
        let (places, pairs) = self.first_occurrences(exclude, prompt, tokens)?;
        let scores = self.pair_scores(&pairs)?;
        let mut sums = vec![0u128];
        for &score in &scores {
            sums.push(sums[sums.len() - 1] + u128::from(score));
        }
        Ok(Sequence { places, scores, sums })
    }

    /// log10 p, start and end of every window.
    fn window_log10_p(&self, sequence: &Sequence) -> Result<Vec<(f64, usize, usize)>> {
        let impossible = |why: &str| Err(Error::new(ErrorKind::InvalidParameter, why));
        let draws_per_pair: u64 = match self.scheme().null_law() {
            NullLaw::Bits { trials, .. } if trials > 1 && self.engine().is_some() => {
                return impossible("an engine's tournament is detected as a whole; its windows share draws");
            }
            NullLaw::WeightedBits(_) => {
                return impossible("the weighted tournament score is not located; use the unweighted one");
            }
            NullLaw::Bits { trials, .. } => trials.into(),
            _ => 1,
        };
        let tested = windows(sequence.scores.len()).into_iter().map(|(from, to)| {
            let n = (to - from) as u64;
            let sum = sequence.sums[to] - sequence.sums[from];
            Ok((self.log10_p(sum, n * draws_per_pair)?, from, to))
        });
        tested.collect()
    }

    /// The stretch inside `bounds` and around the window where the log-likelihood ratio is largest, with the marked law
    /// estimated from the window: exponential scores of its mean, or ones of its share.
    fn refine(&self, sequence: &Sequence, bounds: (usize, usize), window: (usize, usize)) -> (usize, usize) {
        let Sequence { scores, sums, .. } = sequence;
        let n = (window.1 - window.0) as f64;
        let sum = (sums[window.1] - sums[window.0]) as f64;
        let gain: Box<dyn Fn(u64) -> f64> = match self.scheme().null_law() {
            NullLaw::Bits { gamma, trials } => bit_gain(gamma, trials, sum / n),
            NullLaw::BitsWithoutReplacement { gamma } => bit_gain(gamma, 1, sum / n),
            _ => {
                let mean = (sum / n / TWO_32).max(1.0 + 1e-9);
                Box::new(move |score| score as f64 / TWO_32 * (1.0 - 1.0 / mean) - libm::log(mean))
            }
        };
        let middle = usize::midpoint(window.0, window.1);
        // Best end to either side of the window's middle: sums from there outwards.
        let best = |positions: &mut dyn Iterator<Item = usize>| {
            let (mut total, mut best, mut length, mut steps) = (0.0, 0.0, 0, 0);
            for at in positions {
                total += gain(scores[at]);
                steps += 1;
                if total > best {
                    (best, length) = (total, steps);
                }
            }
            length
        };
        let right = best(&mut (middle..bounds.1));
        let left = best(&mut (bounds.0..middle).rev());
        let (start, end) = (middle - left, middle + right);
        if start < end { (start, end) } else { window }
    }
}

/// Log-likelihood ratio of a score of `trials` bits whose mean in the window is `mean`, against bits of share `gamma`.
fn bit_gain(gamma: f64, trials: u32, mean: f64) -> Box<dyn Fn(u64) -> f64> {
    let trials = f64::from(trials);
    let share = (mean / trials).clamp(gamma, 1.0 - 1e-3);
    let (one, zero) = (libm::log(share / gamma), libm::log((1.0 - share) / (1.0 - gamma)));
    Box::new(move |ones| ones as f64 * one + (trials - ones as f64) * zero)
}

/// Overlapping windows over `n` pairs: lengths 32, 64, …, the last start of each length at the very end.
fn windows(n: usize) -> Vec<(usize, usize)> {
    let mut windows = Vec::new();
    let mut length = SHORTEST;
    while length <= n {
        let step = length / OVERLAP;
        let last = n - length;
        windows.extend((0..=last).step_by(step).map(|from| (from, from + length)));
        if !last.is_multiple_of(step) {
            windows.push((last, n));
        }
        length *= 2;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_and_overlap() {
        assert_eq!(windows(31), []);
        assert_eq!(windows(32), [(0, 32)]);
        assert_eq!(windows(45), [(0, 32), (8, 40), (13, 45)]);
        let all = windows(4000);
        assert!(all.len() < 1100, "{}", all.len());
        // any stretch holds a window of at least 2/5 of it
        for stretch in (40..1000).step_by(7) {
            for start in (0..4000 - stretch).step_by(3) {
                let inside = all.iter().filter(|&&(from, to)| from >= start && to <= start + stretch);
                let longest = inside.map(|(from, to)| to - from).max().unwrap_or(0);
                assert!(5 * longest >= 2 * stretch, "{start} {stretch}: {longest}");
            }
        }
    }
}
