use std::cmp::Ordering;

use super::Logit;
use super::reserve::reserve;
use crate::{Error, ErrorKind, Result};

/// Ordinary sampling parameters, applied in the order temperature, top-k, top-p, min-p, and before any layer unless the profile's policy
/// puts boosts first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy decoding, which carries no mark unless the profile's policy sees to it.
    pub temperature: f32,
    /// Keep the `top_k` most likely tokens.
    pub top_k: Option<usize>,
    /// Keep the fewest most likely tokens whose probabilities sum to at least `top_p`.
    pub top_p: Option<f64>,
    /// Keep tokens with at least `min_p` times the probability of the most likely one.
    pub min_p: Option<f64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, min_p: None }
    }
}

/// The tokens that remain after truncation: ids ascending, logits divided by the temperature.
#[derive(Default)]
pub(super) struct Support {
    pub(super) ids: Vec<u32>,
    pub(super) logits: Vec<f32>,
    order: Vec<u32>,
}

impl Sampling {
    /// The distribution that a token is drawn from without any layer: natural logarithms of probabilities by id, ascending, after temperature
    /// and truncation. Shape: `logits` [vocab_size]; -inf is a token that cannot be drawn.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`]; [`ErrorKind::InvalidLogits`] for NaN or no finite entry.
    pub fn law(&self, logits: &[f32]) -> Result<Vec<(u32, f64)>> {
        self.validate()?;
        let mut support = Support::default();
        support.load(logits)?;
        self.truncate(None, &mut support);
        let Support { ids, logits, .. } = support;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit - max))).sum();
        let ln_p = |logit: f32| f64::from(logit - max) - libm::log(total);
        Ok(ids.into_iter().zip(logits.into_iter().map(ln_p)).collect())
    }

    pub(super) fn validate(&self) -> Result<()> {
        let share = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value <= 1.0) => Err(format!("{name} is {value}; it must be in (0, 1]")),
            _ => Ok(()),
        };
        let checked = if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            Err(format!("temperature is {}; it must be finite and not negative", self.temperature))
        } else if self.top_k == Some(0) {
            Err("top_k is 0; it must be at least 1".to_owned())
        } else {
            share("top_p", self.top_p).and(share("min_p", self.min_p))
        };
        checked.map_err(|message| Error::new(ErrorKind::InvalidParameter, message))
    }

    pub(super) fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Divides the logits by the temperature and truncates the distribution, which has a token. Where there is a floor for top-p, which
    /// the top-p itself is not below, neither top-k nor min-p leaves fewer tokens than it does.
    pub(super) fn truncate(&self, min_top_p: Option<f64>, support: &mut Support) {
        if self.is_greedy() {
            let best = support.most_likely();
            support.keep_sorted(&[best]);
            return;
        }
        for logit in &mut support.logits {
            // A tiny temperature may overflow: clamped, the most likely tokens stay ahead of all others.
            *logit = (*logit / self.temperature).clamp(f32::MIN, f32::MAX);
        }
        self.keep_most_likely(min_top_p, support);
    }

    fn keep_most_likely(&self, min_top_p: Option<f64>, support: &mut Support) {
        let Self { top_k, top_p, min_p, .. } = *self;
        let n = support.ids.len();
        // Top-p alone keeps enough, since it is not below the floor.
        let at_least = match min_top_p {
            Some(floor) if top_k.is_some() || min_p.is_some() => support.nucleus(floor),
            _ => 1,
        };
        if let Some(k) = top_k.map(|k| k.max(at_least)).filter(|&k| k < n) {
            support.partition(k);
            support.keep_first(k);
        }
        if let Some(top_p) = top_p.filter(|&p| p < 1.0) {
            let keep = support.nucleus(top_p);
            if keep < at_least {
                support.partition(at_least);
            }
            support.keep_first(keep.max(at_least));
        }
        if let Some(min_p) = min_p {
            let best = f64::from(support.logits[support.most_likely() as usize]);
            let floor = best + libm::log(min_p);
            let mut kept = std::mem::take(&mut support.order);
            kept.clear();
            kept.extend((0u32..).zip(&support.logits).filter(|&(_, &l)| f64::from(l) >= floor).map(|(i, _)| i));
            if kept.len() < at_least {
                support.order = kept;
                support.partition(at_least);
                support.keep_first(at_least);
                return;
            }
            support.keep_sorted(&kept);
            support.order = kept;
        }
    }
}

impl Support {
    /// Makes room for `n` entries.
    pub(super) fn reserve(&mut self, n: usize) {
        reserve(&mut self.ids, n);
        reserve(&mut self.logits, n);
        reserve(&mut self.order, n);
    }

    /// Loads a row of logits [vocab_size]. -inf entries are unavailable tokens.
    pub(super) fn load<L: Logit>(&mut self, row: &[L]) -> Result<()> {
        self.clear();
        (0u32..).zip(row).try_for_each(|(id, logit)| self.push(id, logit.to_f32()))
    }

    /// Loads some tokens with their logits, in any order. Shapes: both [n], aligned.
    pub(super) fn gather<L: Logit>(&mut self, ids: &[u32], logits: &[L], vocab_size: usize) -> Result<()> {
        self.clear();
        if ids.len() != logits.len() {
            let message = format!("{} logits for {} candidates", logits.len(), ids.len());
            return Err(Error::new(ErrorKind::InvalidLogits, message));
        }
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::out_of_vocabulary(id, vocab_size));
        }
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend((0u32..).take(ids.len()));
        if !ids.is_sorted() {
            order.sort_unstable_by_key(|&at| ids[at as usize]);
        }
        let pushed = order.iter().try_for_each(|&at| self.push(ids[at as usize], logits[at as usize].to_f32()));
        let repeated = order.windows(2).map(|two| [ids[two[0] as usize], ids[two[1] as usize]]).find(|[a, b]| a == b);
        self.order = order;
        match repeated {
            Some([id, _]) => Err(Error::new(ErrorKind::InvalidLogits, format!("candidate {id} occurs twice"))),
            None => pushed,
        }
    }

    /// Refuses a row of which every token is forbidden.
    pub(super) fn check_not_empty(&self) -> Result<()> {
        if self.ids.is_empty() {
            return Err(Error::new(ErrorKind::InvalidLogits, "no token has a finite logit"));
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.logits.clear();
    }

    fn push(&mut self, id: u32, logit: f32) -> Result<()> {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(Error::new(ErrorKind::InvalidLogits, format!("the logit of token {id} is {logit}")));
        }
        if logit > f32::NEG_INFINITY {
            self.ids.push(id);
            self.logits.push(logit);
        }
        Ok(())
    }

    /// Position of the largest logit; the lower id wins a tie.
    pub(super) fn most_likely(&self) -> u32 {
        let first = (0u32, f32::NEG_INFINITY);
        (0u32..).zip(&self.logits).fold(first, |best, (i, &l)| if l > best.1 { (i, l) } else { best }).0
    }

    /// Whether the most likely entry has at least the given probability.
    pub(super) fn is_certain(&self, share: f64) -> bool {
        let max = f64::from(self.logits[self.most_likely() as usize]);
        let mut total = 0.0;
        // Stops as soon as the answer is no, so a row with two plausible tokens needs few terms.
        self.logits.iter().all(|&logit| {
            total += libm::exp(f64::from(logit) - max);
            total * share <= 1.0
        })
    }

    /// Fills `order` with all positions, the `k` most likely ones first (in no order); ties go to lower ids.
    fn partition(&mut self, k: usize) {
        self.order.clear();
        self.order.extend((0u32..).take(self.ids.len()));
        if let Some(last) = k.checked_sub(1).filter(|&last| last < self.ids.len()) {
            let logits = &self.logits;
            self.order.select_nth_unstable_by(last, |&a, &b| descending(logits, a, b));
        }
    }

    /// Sorts the most likely positions to the front of `order` until they hold `top_p` of the probability, and says
    /// how many that takes. Sorting in growing portions spares a full sort of the vocabulary.
    fn nucleus(&mut self, top_p: f64) -> usize {
        let max = f64::from(self.logits[self.most_likely() as usize]);
        let weight = |logits: &[f32], i: u32| libm::exp(f64::from(logits[i as usize]) - max);
        let n = self.ids.len();
        let total: f64 = (0u32..).take(n).map(|i| weight(&self.logits, i)).sum();
        let mut portion = 256.min(n);
        loop {
            self.partition(portion);
            let logits = &self.logits;
            self.order[..portion].sort_unstable_by(|&a, &b| descending(logits, a, b));
            let mut mass = 0.0;
            for (kept, &i) in self.order[..portion].iter().enumerate() {
                mass += weight(logits, i);
                if mass >= top_p * total {
                    return kept + 1;
                }
            }
            if portion == n {
                return n;
            }
            portion = (portion * 8).min(n);
        }
    }

    fn keep_first(&mut self, n: usize) {
        let mut order = std::mem::take(&mut self.order);
        order[..n].sort_unstable();
        self.keep_sorted(&order[..n]);
        self.order = order;
    }

    /// Keeps the entries at the given ascending positions.
    fn keep_sorted(&mut self, positions: &[u32]) {
        for (to, &from) in positions.iter().enumerate() {
            self.ids[to] = self.ids[from as usize];
            self.logits[to] = self.logits[from as usize];
        }
        self.ids.truncate(positions.len());
        self.logits.truncate(positions.len());
    }
}

fn descending(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn kept_under(floor: Option<f64>, sampling: Sampling, row: &[f32]) -> Vec<u32> {
        let mut support = Support::default();
        support.load(row).unwrap();
        let top_p = sampling.top_p.map(|top_p| top_p.max(floor.unwrap_or(0.0)));
        Sampling { top_p, ..sampling }.truncate(floor, &mut support);
        support.ids
    }

    fn kept(sampling: Sampling, row: &[f32]) -> Vec<u32> {
        kept_under(None, sampling, row)
    }

    #[test]
    fn truncations() {
        let row = [0.0, 3.0, f32::NEG_INFINITY, 2.0, 3.0, 1.0];
        let base = Sampling::default();
        assert_eq!(kept(base, &row), [0, 1, 3, 4, 5]);
        assert_eq!(kept(Sampling { top_k: Some(1), ..base }, &row), [1]);
        assert_eq!(kept(Sampling { top_k: Some(3), ..base }, &row), [1, 3, 4]);
        assert_eq!(kept(Sampling { temperature: 0.0, ..base }, &row), [1]);
        // weights e^{0,3,2,3,1} / 51.3: the two 3s hold .784, with the 2 .928
        assert_eq!(kept(Sampling { top_p: Some(0.78), ..base }, &row), [1, 4]);
        assert_eq!(kept(Sampling { top_p: Some(0.9), ..base }, &row), [1, 3, 4]);
        assert_eq!(kept(Sampling { min_p: Some(0.3), ..base }, &row), [1, 3, 4]);
        assert_eq!(kept(Sampling { min_p: Some(1.0), ..base }, &row), [1, 4]);
        assert_eq!(kept(Sampling { temperature: 1e-30, top_p: Some(0.9), ..base }, &[1e30, 1e30, 1.0]), [0, 1]);
    }

    #[test]
    fn a_large_nucleus_grows_past_the_first_portion() {
        let row: Vec<f32> = (0..5000).map(|i| -(i as f32) * 1e-6).collect();
        // (1 - e^(-k c)) / (1 - e^(-5000 c)) >= 1/2 with c = 1e-6 gives k = 2496.9
        assert_eq!(kept(Sampling { top_p: Some(0.5), ..Sampling::default() }, &row).len(), 2497);
    }

    /// With a floor for top-p of .9, no truncation leaves fewer tokens than top-p .9 does.
    #[test]
    fn no_truncation_undercuts_the_floor() {
        let row = [0.0, 3.0, f32::NEG_INFINITY, 2.0, 3.0, 1.0];
        let floor = |sampling| kept_under(Some(0.9), sampling, &row);
        let base = Sampling::default();
        assert_eq!(floor(base), [0, 1, 3, 4, 5]);
        for undercutting in [
            Sampling { top_p: Some(0.1), ..base },
            Sampling { top_k: Some(1), ..base },
            Sampling { min_p: Some(1.0), ..base },
            Sampling { top_k: Some(2), top_p: Some(0.1), min_p: Some(1.0), ..base },
        ] {
            assert_eq!(floor(undercutting), [1, 3, 4], "{undercutting:?}");
        }
        assert_eq!(floor(Sampling { top_k: Some(4), ..base }), [1, 3, 4, 5]);
        assert_eq!(floor(Sampling { min_p: Some(0.1), ..base }), [1, 3, 4, 5]);
        // The three most likely hold .928, of which two have .8, and .784 of all.
        assert_eq!(kept_under(Some(0.8), Sampling { top_k: Some(3), top_p: Some(0.8), ..base }, &row), [1, 3, 4]);
        // Greedy decoding is the temperature's affair.
        assert_eq!(floor(Sampling { temperature: 0.0, ..base }), [1]);
    }

    #[test]
    fn bad_rows_are_errors() {
        let mut support = Support::default();
        for row in [&[f32::NAN, 1.0][..], &[1.0, f32::INFINITY], &[f32::NEG_INFINITY; 3], &[]] {
            let error = support.load(row).and_then(|()| support.check_not_empty()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidLogits);
        }
    }
}
