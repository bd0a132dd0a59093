use super::{Candidates, Draw, RequestKey};
use crate::Result;
use crate::scheme::Gumbel;
use crate::stats::{ln_gamma_cdf, log10_gamma_sf_q32, q32_to_f64};

/// A single draw counts as this at most, `32 * 2^32`: an exponential variable exceeds it once in 10^14, and a token that rounding alone puts
/// outside a law's top-k must not decide.
const MOST: f64 = 32.0 * 4_294_967_296.0;

/// Whether candidates are the ones that were drawn: their words against the probabilities of the law that is said to have drawn them.
///
/// Null hypothesis: each candidate is the Gumbel-max of its draw over that law. Then `-ln(u) / p` of the winner, u the uniform number of its
/// word and p its probability, is exponential with mean 1, whichever token it is (the maximum of Gumbel variables is independent of where it lies), and
/// independent of all others. So the sum over n draws is Gamma(n). A token that was put in place of the winner makes it too large, a
/// probability that was claimed too large makes it too small.
///
/// Sums are integers in units of `2^-32`; mergeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawAudit {
    n: u64,
    sum_q32: u128,
}

impl DrawAudit {
    /// Adds both draws of a position. `ln_p`: what the law gives the served and the withheld candidate, nats times 2^16; `None` where nobody
    /// says it, which counts as the most improbable.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TokenOutOfRange`].
    pub fn add(
        &mut self,
        key: &RequestKey,
        position: u32,
        candidates: Candidates,
        ln_p: Option<[i64; 2]>,
    ) -> Result<()> {
        let served = key.coin(position);
        let draws = [(served, candidates.served), (served.other(), candidates.withheld)];
        for (i, (draw, token)) in draws.into_iter().enumerate() {
            let found = match ln_p {
                None => MOST,
                Some(ln_p) => waited(key, position, draw, token, ln_p[i])?,
            };
            self.n = self.n.saturating_add(1);
            #[expect(clippy::cast_sign_loss, reason = "-ln(u) / p is positive")]
            let units = found.min(MOST) as u128;
            self.sum_q32 = self.sum_q32.saturating_add(units);
        }
        Ok(())
    }

    /// Joins disjoint sets of draws.
    pub fn merge(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.sum_q32 = self.sum_q32.saturating_add(other.sum_q32);
    }

    /// Draws so far, two for each position.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// log10 of the two-sided p-value: twice the smaller tail, at most 1. 0 for no draws.
    #[must_use]
    pub fn log10_p(&self) -> f64 {
        let Self { n, sum_q32 } = *self;
        let high = log10_gamma_sf_q32(n, sum_q32);
        // Each term was rounded down by less than a unit.
        let low = ln_gamma_cdf(n, q32_to_f64(sum_q32.saturating_add(u128::from(n)))) / core::f64::consts::LN_10;
        (high.min(low) + core::f64::consts::LOG10_2).min(0.0) + 0.0
    }
}

/// `2^32 * -ln(u) / p`; not NaN, because neither factor is 0 or infinite for a probability that a score can hold.
fn waited(key: &RequestKey, position: u32, draw: Draw, token: u32, ln_p: i64) -> Result<f64> {
    // The noise is -ln(-ln u).
    let noise = Gumbel::noise_of(key.word(position, draw, token)?);
    Ok(libm::exp(-noise - ln_p as f64 / 65_536.0) * 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::key::NodeKey;
    use crate::paired::RequestSecret;

    const VOCABULARY: u32 = 50;

    /// Audits of positions with two different candidates under fresh keys: those that were drawn, and those that `changed` makes of them.
    fn audit(seed: u32, positions: u32, changed: impl Fn(&RequestKey, u32, Candidates) -> Candidates) -> DrawAudit {
        let layer = NodeKey::root(&seed.to_le_bytes()).prf_key("paired", 0).unwrap();
        let key = RequestSecret::new(&layer, "ledger/1").key(None);
        let ids: Vec<u32> = (0..VOCABULARY).collect();
        let mut audit = DrawAudit::default();
        for position in 0..positions {
            let logits: Vec<f32> = ids.iter().map(|id| ((id * 7 + position) % 50) as f32 / -6.0).collect();
            let total: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit))).sum();
            let found = key.candidates(position, &ids, &logits).unwrap();
            if found.served == found.withheld {
                continue;
            }
            let found = changed(&key, position, found);
            let ln_p = [found.served, found.withheld].map(|token| {
                ((f64::from(logits[token as usize]) - libm::log(total)) * 65_536.0).round_ties_even() as i64
            });
            audit.add(&key, position, found, Some(ln_p)).unwrap();
        }
        audit
    }

    /// 2,000 keys, 40 positions each: shares of p at most .1, .01, .001; critical values of a binomial at 1e-6 (seed: the number of the key).
    #[test]
    fn draws_of_the_law_pass() {
        let found: Vec<f64> = (0..2000).map(|seed| audit(seed, 40, |_, _, drawn| drawn).log10_p()).collect();
        for (level, most) in [(-1.0, 267), (-2.0, 45), (-3.0, 14)] {
            let n = found.iter().filter(|&&log10_p| log10_p <= level).count();
            assert!(n <= most, "{level}: {n} of 2000");
        }
        // And not conservative to the point of seeing nothing: half of all are below .5.
        let half = found.iter().filter(|&&log10_p| log10_p <= -core::f64::consts::LOG10_2).count();
        assert!((850..=1150).contains(&half), "{half}");
    }

    /// Tokens that fit the key's order and were not drawn: any such token; and only such as the law itself finds likely.
    #[test]
    fn invented_candidates_show() {
        let invented = |of: fn(u32) -> u32| {
            move |key: &RequestKey, position: u32, drawn: Candidates| {
                let fits = (0..VOCABULARY).map(of).find(|&token| {
                    let order = key.order(position, [drawn.served, token]).unwrap();
                    order.is_some_and(|order| order.served == drawn.served)
                });
                Candidates { withheld: fits.unwrap_or(drawn.withheld), ..drawn }
            }
        };
        let any = audit(1, 40, invented(|token| token));
        assert!(any.log10_p() < -50.0, "{}", any.log10_p());
        let second = audit(1, 200, |key, position, drawn| {
            // The runner-up of the withheld draw, the least that an invented one can be off.
            let draw = key.coin(position).other();
            let logit = |id: u32| -f64::from((id * 7 + position) % 50) / 6.0;
            let worth = |&id: &u32| logit(id) + Gumbel::noise_of(key.word(position, draw, id).unwrap());
            let others = (0..VOCABULARY).filter(|id| *id != drawn.withheld && *id != drawn.served);
            Candidates { withheld: others.max_by(|a, b| worth(a).total_cmp(&worth(b))).unwrap(), ..drawn }
        });
        assert!(second.log10_p() < -6.0, "{}", second.log10_p());
    }

    /// A law that is claimed, so that what was put in place of the drawn token seems likely, is as far off on the other side.
    #[test]
    fn a_law_that_is_claimed_shows() {
        let layer = NodeKey::root(b"claimed").prf_key("paired", 0).unwrap();
        let key = RequestSecret::new(&layer, "ledger/1").key(None);
        let mut claimed = DrawAudit::default();
        let mut missing = DrawAudit::default();
        for position in 0..100 {
            let found = key.candidates(position, &[1, 2, 3], &[0.0; 3]).unwrap();
            claimed.add(&key, position, found, Some([-1000, -1000])).unwrap();
            missing.add(&key, position, found, None).unwrap();
        }
        assert!(claimed.log10_p() < -20.0 && missing.log10_p() < -1000.0, "{}", claimed.log10_p());
        assert_eq!((missing.n(), DrawAudit::default().log10_p()), (200, 0.0));
        let mut both = claimed;
        both.merge(&missing);
        assert_eq!(both.n(), 400);
    }
}
