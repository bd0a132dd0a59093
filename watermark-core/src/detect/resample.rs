use std::ops::Range;

use sha2::{Digest, Sha256};

use super::{LayerDetector, Tally, Weights};
use crate::key::fresh_keys_in;
use crate::{Error, ErrorKind, Result, stats};

/// Where a statistic stands among the same statistic under fresh keys, on the same pairs (Barnard 1963).
///
/// Exact for *any* statistic if text, prompts, filters and stopping do not depend on the key: the true key is then one of
/// `keys + 1` exchangeable ones. It checks the analytic tail and does not replace it: p is at least `1 / (keys + 1)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resampling {
    /// Fresh keys drawn.
    pub keys: u64,
    /// Fresh keys whose log10 p is at most the true key's (ties count).
    pub at_least: u64,
}

/// How many fresh keys an ordinary run draws. With fewer, [`Resampling::contradicts`] is never true.
pub const RESAMPLING_KEYS: u32 = 999;

/// The most fresh keys of one test: more say nothing more.
pub const MAX_RESAMPLING_KEYS: u32 = 1_000_000;

/// Error of the one-sided bound that decides whether two tests disagree.
const LOG10_DISAGREEMENT: f64 = -3.0;

impl Resampling {
    /// Where `log10_p` stands among those of fresh keys. A key that does exactly as well counts, so that ties never speak for
    /// the true key; one whose p is NaN does not.
    #[must_use]
    pub fn among(fresh: impl IntoIterator<Item = f64>, log10_p: f64) -> Self {
        fresh.into_iter().fold(Self::default(), |sum, other| Self {
            keys: sum.keys + 1,
            at_least: sum.at_least + u64::from(other <= log10_p),
        })
    }

    /// Refuses more fresh keys than are ever tried.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] above [`MAX_RESAMPLING_KEYS`].
    pub fn check_keys(keys: u32) -> Result<()> {
        if keys <= MAX_RESAMPLING_KEYS {
            return Ok(());
        }
        let what = format!("{keys} fresh keys are too many; at most {MAX_RESAMPLING_KEYS} are tried");
        Err(Error::new(ErrorKind::InvalidParameter, what))
    }

    /// log10 of `(1 + at_least) / (keys + 1)`; `None` without keys.
    #[must_use]
    pub fn log10_p(&self) -> Option<f64> {
        let p = (self.at_least as f64 + 1.0) / (self.keys as f64 + 1.0);
        (self.keys > 0).then(|| libm::log10(p) + 0.0)
    }

    /// Whether the analytic p lies below the one-sided 99.9 % Clopper-Pearson lower bound of the rate at which fresh
    /// keys do as well. If it does, the analytic tail cannot be right. If no fresh key does as well, every p agrees.
    fn disagrees_with(&self, log10_p: f64) -> bool {
        // The bound is the rate at which this many exceedances have chance 1e-3, so nothing has to be solved for.
        let p = libm::pow(10.0, log10_p).max(f64::MIN_POSITIVE);
        self.at_least > 0 && stats::log10_binomial_sf(self.at_least, self.keys, p) < LOG10_DISAGREEMENT
    }

    /// Whether the fresh keys contradict an analytic p, so that no verdict may rest on it: there are at least
    /// [`RESAMPLING_KEYS`], and the p lies below the one-sided 99.9 % Clopper-Pearson lower bound of the rate at which
    /// fresh keys do as well. Fewer keys are reported and decide nothing. If no key does as well, every p agrees.
    #[must_use]
    pub fn contradicts(&self, log10_p: f64) -> bool {
        self.keys >= u64::from(RESAMPLING_KEYS) && self.disagrees_with(log10_p)
    }

    /// Counts of disjoint ranges of keys add up.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, at_least: self.at_least + other.at_least }
    }

    /// The seed of the fresh keys, `SHA-256(registration || data_root)`, so that nobody can pick a flattering set of
    /// keys. An argument that does not exist is given empty.
    #[must_use]
    pub fn seed(registration: &[u8], data_root: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(registration).chain_update(data_root).finalize().into()
    }
}

impl LayerDetector {
    /// Scores `tally` under fresh keys number `keys` of `seed`. Ranges are independent: run them on as many threads as
    /// there are and [`Resampling::merge`] the results. `log10_p` is the true key's.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] where PRF inputs depend on the key, so that a tally cannot be scored under another,
    /// and as [`LayerDetector::finding_with`].
    pub fn resample(
        &self,
        tally: &Tally,
        weights: Weights,
        log10_p: f64,
        seed: &[u8; 32],
        keys: Range<u32>,
    ) -> Result<Resampling> {
        if self.inputs_depend_on_key() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "{} counts other positions under every key; fresh keys need the text again",
                    self.scheme().name()
                ),
            ));
        }
        let fresh =
            fresh_keys_in(seed, keys).map(|key| Ok(self.with_prf_key(&key)?.finding_with(tally, weights)?.log10_p));
        Ok(Resampling::among(fresh.collect::<Result<Vec<f64>>>()?, log10_p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count() {
        let among = |log10_p| Resampling::among([-3.0, -2.0, -1.0, f64::NAN], log10_p);
        assert_eq!(among(-2.0), Resampling { keys: 4, at_least: 2 });
        assert_eq!(among(-2.5).at_least, 1);
        assert_eq!(Resampling::among([], -2.0), Resampling::default());
    }

    #[test]
    fn more_keys_than_are_tried() {
        assert_eq!(Resampling::check_keys(MAX_RESAMPLING_KEYS), Ok(()));
        let refused = Resampling::check_keys(MAX_RESAMPLING_KEYS + 1).map_err(|error| error.to_string());
        assert_eq!(refused, Err("1000001 fresh keys are too many; at most 1000000 are tried".to_owned()));
    }

    #[test]
    fn p_and_disagreement() {
        let none = Resampling { keys: 999, at_least: 0 };
        assert_eq!(none.log10_p(), Some(-3.0));
        assert!(!none.disagrees_with(-1e9) && !Resampling::default().disagrees_with(-5.0));
        assert_eq!(Resampling::default().log10_p(), None);
        // 10 of 999 at least as good: the lower bound of the rate is .0031 (P(Bin(999, .0031) >= 10) = 1e-3)
        let ten = Resampling { keys: 999, at_least: 10 };
        assert!(ten.disagrees_with(-2.6) && !ten.disagrees_with(-2.4));
        assert!(Resampling { keys: 999, at_least: 1 }.disagrees_with(-400.0));
        let few = Resampling { keys: 998, at_least: 10 };
        assert!(ten.contradicts(-2.6) && !ten.contradicts(-2.4) && few.disagrees_with(-9.0) && !few.contradicts(-9.0));
    }
}
