use crate::profile::AnyScheme;
use crate::scheme::NullLaw;
use crate::stats::{self, SignedClass};
use crate::{Error, ErrorKind, Result};

/// The numbers of a test beside references that follow from its classes: pairs that share a weight, which is negative where a suspect chose
/// less often than was expected. No key is needed, because the classes hold the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualTails {
    /// Sum of weight times score.
    pub statistic: i128,
    /// Sum of the weights.
    pub weight: i128,
    /// log10 of a rigorous bound of the tail of `statistic`.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
}

impl ResidualTails {
    /// Computes the numbers from classes whose weights rise and are none of them 0.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for classes in another order, weights or sums larger than any test has, and a scheme that has no such
    /// test.
    pub fn of_classes(scheme: AnyScheme, classes: &[SignedClass]) -> Result<Self> {
        let law = law_of(scheme)?;
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidParameter, format!("residual classes: {why}")));
        if !classes.is_sorted_by(|a, b| a.weight < b.weight) {
            return refused("their weights do not rise");
        }
        if classes.iter().any(|class| class.weight == 0 || class.weight.unsigned_abs() > stats::MAX_RESIDUAL) {
            return refused("a weight is 0, or larger than any");
        }
        let pairs = classes.iter().try_fold(0_u64, |sum, class| sum.checked_add(class.pairs));
        let score = classes.iter().try_fold(0_u128, |sum, class| sum.checked_add(class.score));
        if pairs.is_none() || score.is_none_or(|sum| sum >= 1 << 80) {
            return refused("their sums are too large");
        }
        let sum = |of: fn(&SignedClass) -> i128| classes.iter().map(|class| i128::from(class.weight) * of(class)).sum();
        Ok(Self {
            statistic: sum(|class| class.score as i128),
            weight: sum(|class| class.pairs.into()),
            log10_p: log10_p(law, classes),
            ln_e: match law {
                NullLaw::Bits { gamma, .. } => stats::ln_e_signed_green(classes, gamma),
                _ => stats::ln_e_signed_exponential(classes),
            },
        })
    }
}

/// The bound of classes that a test made.
pub(super) fn log10_p(law: NullLaw, classes: &[SignedClass]) -> f64 {
    match law {
        NullLaw::Bits { gamma, .. } => stats::log10_signed_green_bound(classes, gamma),
        _ => stats::log10_signed_exponential_bound(classes),
    }
}

/// The null law of a scheme that has a test beside references.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for an engine's mark, and a scheme whose pair is neither one bit nor one exponential score.
pub(super) fn law_of(scheme: AnyScheme) -> Result<NullLaw> {
    let law = scheme.null_law();
    let known = matches!(law, NullLaw::Bits { trials: 1, .. } | NullLaw::ExponentialQ32);
    // Pairs of an engine's mark can share a draw, and would pass for independent ones here.
    if !known || scheme.own().is_none() {
        let message = format!(
            "{} has no test beside a reference; a green list of ours and a scheme with exponential scores have",
            scheme.name()
        );
        return Err(Error::new(ErrorKind::InvalidParameter, message));
    }
    Ok(law)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scheme::{Greenlist, Gumbel, Scheme};

    /// What somebody signed is read before it is believed.
    #[test]
    fn classes_that_no_test_has() {
        let class = |weight: i64, pairs: u64, score: u128| SignedClass { weight, pairs, score };
        for scheme in [Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap()), Scheme::Gumbel(Gumbel)] {
            let of = |classes: &[SignedClass]| ResidualTails::of_classes(scheme.into(), classes);
            let sound = of(&[class(-7, 3, 1), class(2, 5, 5)]).unwrap();
            assert_eq!((sound.statistic, sound.weight), (3, -11));
            assert!(of(&[]).unwrap().log10_p.abs() < 1e-300);
            for other in [
                &[class(2, 5, 5), class(-7, 3, 1)][..],
                &[class(2, 5, 5), class(2, 5, 5)],
                &[class(0, 5, 5)],
                &[class(i64::MIN, 5, 5)],
                &[class(1 << 47, 5, 5)],
                &[class(1, u64::MAX, 5), class(2, 1, 5)],
                &[class(1, 5, 1 << 80)],
            ] {
                assert_eq!(of(other).unwrap_err().kind(), ErrorKind::InvalidParameter, "{other:?}");
            }
            let huge = of(&[class(-(1 << 46), 1 << 32, 0), class(1 << 46, 1, (1 << 80) - 1)]).unwrap();
            assert!(!huge.log10_p.is_nan() && !huge.ln_e.is_nan() && huge.statistic > 1 << 125);
        }
    }
}
