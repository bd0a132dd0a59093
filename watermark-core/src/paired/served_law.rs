use crate::{Error, ErrorKind, Result};

/// Exponents of the bets: how strongly a suspect is trusted to depart from the reference. Fixed, so that nobody can choose them.
const BETAS: [f64; 6] = [0.05, 0.1, 0.2, 0.35, 0.6, 1.0];

/// One token of the provider's law at a position, as three models see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its probability under the law that the served token was drawn from.
    pub law: f64,
    /// Its probability as the suspect sees it.
    pub suspect: f64,
    /// Its probability as a reference sees it that learned no served answer.
    pub reference: f64,
}

/// The evidence of served tokens against the law that they were drawn from: no second candidate is needed, so it works for answers that were
/// served before anything was installed, as far as the recorded or recomputed law is right.
///
/// At each position the served token y was drawn from the law p, and its factor is f(y) with `f = (q / r)^beta` over suspect q and reference r,
/// divided by its mean under p. Tokens that are not listed count as one more, with what is left of each model's mass, so a cut law loses
/// evidence and no validity.
///
/// Null hypothesis: the suspect is independent of the draws. What it says at a position follows from the prompt and from what was served before,
/// so the factors have mean 1 one after the other, and their product over positions and requests in ledger order is an e-process (Ville
/// 1939), averaged over six fixed beta.
///
/// ```
/// use watermark_core::paired::{Seen, ServedLaw};
///
/// // The law leaves .1 to tokens that are not listed; the suspect finds the served one likelier than the reference does.
/// let seen = [
///     Seen { law: 0.6, suspect: 0.8, reference: 0.6 },
///     Seen { law: 0.3, suspect: 0.1, reference: 0.3 },
/// ];
/// let mut evidence = ServedLaw::default();
/// evidence.observe(&seen, Some(0))?;
/// assert!(evidence.ln_e() > 0.0);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServedLaw {
    n: u64,
    /// ln of the product of factors for each exponent.
    ln_e: [f64; BETAS.len()],
}

/// Below this a probability counts as this, so that no ratio is infinite.
const SMALLEST: f64 = 1e-12;
/// What a row may add up to: engines round.
const MOST: f64 = 1.0 + 1e-3;

impl ServedLaw {
    /// Adds a position: the listed tokens, and which of them was served; `None` for one that is not listed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for what is no probability, a sum above one, a served token past the list, or one that the law cannot draw.
    pub fn observe(&mut self, listed: &[Seen], served: Option<usize>) -> Result<()> {
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidParameter, format!("a served law: {why}")));
        let each = |of: fn(&Seen) -> f64| listed.iter().map(of);
        let columns = [each(|seen| seen.law), each(|seen| seen.suspect), each(|seen| seen.reference)];
        let mut left = [0.0; 3];
        for (left, column) in left.iter_mut().zip(columns) {
            let sum: f64 = column.clone().sum();
            if column.into_iter().any(|p| !(0.0..=1.0).contains(&p)) || sum > MOST {
                return refused("a probability is none, or they add up to more than 1");
            }
            *left = (1.0 - sum).max(0.0);
        }
        let [law, suspect, reference] = left;
        let rest = Seen { law, suspect, reference };
        let drawn = match served {
            None => rest,
            Some(at) => match listed.get(at) {
                Some(seen) => *seen,
                None => return refused("the served token is not in the list"),
            },
        };
        if drawn.law <= 0.0 {
            return refused("it cannot draw the token that was served");
        }
        let ln_ratio = |seen: &Seen| libm::log(seen.suspect.max(SMALLEST)) - libm::log(seen.reference.max(SMALLEST));
        let total: f64 = listed.iter().chain([&rest]).map(|seen| seen.law).sum();
        for (ln_e, beta) in self.ln_e.iter_mut().zip(BETAS) {
            // The law is divided by its sum, which rounding may have moved from 1.
            let mean: f64 =
                listed.iter().chain([&rest]).map(|seen| seen.law / total * libm::exp(beta * ln_ratio(seen))).sum();
            *ln_e += beta * ln_ratio(&drawn) - libm::log(mean);
        }
        self.n += 1;
        Ok(())
    }

    /// Positions so far.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Natural logarithm of the e-process: the mean of the products over the exponents.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        let largest = self.ln_e.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.ln_e.iter().map(|ln_e| libm::exp(ln_e - largest)).sum();
        largest + libm::log(sum / BETAS.len() as f64) + 0.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    /// Laws of some tokens at 40 positions, drawn in public, each cut to its first three tokens.
    fn rows(seed: u64, n: usize, learned: f64) -> impl Iterator<Item = (Vec<Seen>, Option<usize>)> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut uniform = move || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
        (0..n).map(move |_| {
            let mut model = || {
                let weights: Vec<f64> = (0..5).map(|_| uniform()).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>()
            };
            let (law, reference) = (model(), model());
            let mut at = 0;
            let mut left = uniform();
            while at < 4 && left >= law[at] {
                left -= law[at];
                at += 1;
            }
            // A suspect that learned what was served gives it some of the others' mass.
            let suspect: Vec<f64> =
                (0..5).map(|i| (1.0 - learned) * reference[i] + if i == at { learned } else { 0.0 }).collect();
            let seen = |i: usize| Seen { law: law[i], suspect: suspect[i], reference: reference[i] };
            ((0..3).map(seen).collect(), Some(at).filter(|&at| at < 3))
        })
    }

    fn ln_e(seed: u64, n: usize, learned: f64) -> f64 {
        let mut evidence = ServedLaw::default();
        rows(seed, n, learned).for_each(|(seen, served)| evidence.observe(&seen, served).unwrap());
        evidence.ln_e()
    }

    /// Every outcome of two positions times its probability: the mean of e is one, whatever suspect and reference say.
    #[test]
    fn the_mean_over_draws_is_one() {
        let positions = [
            [(0.5, 0.1, 0.7), (0.2, 0.85, 0.1), (0.2, 0.0, 0.1)],
            [(0.9, 0.3, 0.9), (0.05, 0.3, 0.0), (0.05, 0.4, 0.1)],
        ]
        .map(|row| row.map(|(law, suspect, reference)| Seen { law, suspect, reference }));
        let outcomes = |row: &[Seen; 3]| -> Vec<(f64, Option<usize>)> {
            let left = 1.0 - row.iter().map(|seen| seen.law).sum::<f64>();
            let listed = row.iter().enumerate().map(|(at, seen)| (seen.law, Some(at)));
            listed.chain((left > 1e-9).then_some((left, None))).collect()
        };
        let mut mean = 0.0;
        for (p, first) in outcomes(&positions[0]) {
            for (q, second) in outcomes(&positions[1]) {
                let mut evidence = ServedLaw::default();
                evidence.observe(&positions[0], first).unwrap();
                evidence.observe(&positions[1], second).unwrap();
                mean += p * q * libm::exp(evidence.ln_e());
            }
        }
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }

    /// Peeked after every position, 2,000 innocent streams pass 1/alpha at most alpha of the time; a suspect that learned passes soon.
    #[test]
    fn null_and_power() {
        let passes = |alpha: f64| {
            let passed = |seed: &u64| {
                let mut evidence = ServedLaw::default();
                rows(1000 + seed, 200, 0.0).any(|(seen, served)| {
                    evidence.observe(&seen, served).unwrap();
                    evidence.ln_e() >= -libm::log(alpha)
                })
            };
            (0..2000).filter(passed).count()
        };
        // An innocent suspect that is its own reference bets nothing; one that differs from it loses.
        assert_eq!(passes(0.1), 0);
        let other = |seed: u64| {
            let mut evidence = ServedLaw::default();
            let pairs = rows(seed, 200, 0.0).zip(rows(seed + 50_000, 200, 0.0));
            let mut largest = f64::NEG_INFINITY;
            for ((mut seen, served), (another, _)) in pairs {
                seen.iter_mut().zip(another).for_each(|(seen, another)| seen.suspect = another.reference);
                evidence.observe(&seen, served).unwrap();
                largest = largest.max(evidence.ln_e());
            }
            largest
        };
        let peeked: Vec<f64> = (0..2000).map(other).collect();
        for (alpha, most) in [(0.1, 249), (0.01, 37)] {
            // Mean plus five standard deviations of a binomial with this rate.
            let passed = peeked.iter().filter(|ln_e| **ln_e >= -libm::log(alpha)).count();
            assert!(passed <= most, "{alpha}: {passed}");
        }
        let mut power: Vec<f64> = (0..20).map(|seed| ln_e(seed, 200, 0.2)).collect();
        power.sort_by(f64::total_cmp);
        assert!(power[10] > libm::log(1e6), "{power:?}");
        assert!(ln_e(1, 200, 0.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_law_is_refused() {
        let seen = |law, suspect, reference| Seen { law, suspect, reference };
        for (listed, served) in [
            (vec![seen(0.5, 0.5, 0.5)], Some(1)),
            (vec![seen(1.5, 0.5, 0.5)], Some(0)),
            (vec![seen(f64::NAN, 0.5, 0.5)], Some(0)),
            (vec![seen(0.6, 0.5, 0.5), seen(0.6, 0.1, 0.1)], Some(0)),
            (vec![seen(0.0, 0.5, 0.5)], Some(0)),
            (vec![seen(1.0, 0.5, 0.5)], None),
        ] {
            let mut evidence = ServedLaw::default();
            let kind = evidence.observe(&listed, served).unwrap_err().kind();
            assert_eq!((kind, evidence), (ErrorKind::InvalidParameter, ServedLaw::default()), "{listed:?}");
        }
    }
}
