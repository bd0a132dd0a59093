use super::{Entry, Example, Given, Kind, NullLaw, Parameters, Spec, TWO_32, choose_by};
use crate::Result;

/// Gumbel-max (Aaronson 2022; 2404.01245): the token is `argmax_v ln p_v - ln(-ln u_v)`, u = (word + 1/2) / 2^32.
///
/// Distortion-free per token: averaged over keys, the chosen token follows p (up to the 2^-33 grid of u). The expected
/// score is `sum_v p_v H(1/p_v)` (H the harmonic number): 1 for a certain token, 1.5 for two equal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gumbel;

impl Gumbel {
    /// Marking half: index of the chosen entry. Shapes: `logits` and `words` [n], aligned; the lower index wins a tie.
    /// `logits` are unnormalised log-probabilities (finite or -inf); `None` if none is finite.
    pub(crate) fn choose(logits: &[f32], words: &[u32]) -> Option<usize> {
        choose_by(logits, words, Self::noise_of)
    }

    /// The Gumbel variable of a word.
    pub(crate) fn noise_of(word: u32) -> f64 {
        Self::noise((f64::from(word) + 0.5) / TWO_32)
    }

    /// As [`Self::choose`] with another way from words to uniform numbers: `uniform` lies within 2^-24 of
    /// `word / 2^32`.
    pub(crate) fn choose_with(logits: &[f32], words: &[u32], uniform: impl Fn(u32) -> f64) -> Option<usize> {
        choose_by(logits, words, |word| Self::noise(uniform(word)))
    }

    /// The Gumbel variable of a uniform one in (0, 1).
    pub(crate) fn noise(u: f64) -> f64 {
        -libm::log(-libm::log(u))
    }

    /// Scoring half: `floor(2^32 * -ln(1 - word / 2^32))`, exact. Never above the true score, so Gamma tails stay valid.
    #[must_use]
    pub fn score_q32(&self, word: u32) -> u64 {
        let approx = score_near(word) * TWO_32;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= approx < 2^37")]
        let whole = approx as u64;
        // `approx` is within 2^-14 of 2^32 times the score, so the floor is safe away from integers.
        if (1e-3..1.0 - 1e-3).contains(&(approx - whole as f64)) {
            return whole;
        }
        score_q32_exact(word)
    }
}

impl Entry for Gumbel {
    const SPEC: Spec = Spec {
        name: "gumbel",
        source: "Aaronson 2022; Li et al. 2024, arXiv 2404.01245",
        summary: "Draws the token by Gumbel-max with keyed noise.",
        kind: Kind::Choosing,
        distortion_free: true,
        parameters: &[],
        examples: &[Example { width: 2, parameters: &[] }, Example { width: 4, parameters: &[] }],
    };

    fn build(_: &Given<'_>) -> Result<Self> {
        Ok(Self)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }

    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        Self::choose(logits, words)
    }

    /// The score in units of 2^-32.
    fn score(&self, word: u32, _: u32) -> u64 {
        self.score_q32(word)
    }

    /// Exponential(1), rounded down.
    fn null_law(&self) -> NullLaw {
        NullLaw::ExponentialQ32
    }
}

/// Cells of the table below.
const CELLS: usize = 128;

/// For each cell of [1, 2): its middle, the inverse of the middle, and the logarithm of the middle.
static LOGARITHMS: [[f64; 3]; CELLS] = {
    let mut table = [[0.0; 3]; CELLS];
    let mut cell = 0;
    while cell < CELLS {
        let odd = 257 + 2 * cell as u64;
        let middle = odd as f64 / 256.0;
        table[cell] = [middle, 1.0 / middle, ln_q95(odd << 24, 32) as f64 / (1u128 << POINT) as f64];
        cell += 1;
    }
    table
};

/// `-ln(1 - word / 2^32)` to within 2^-46: -ln(m / 2^32) with m = 2^32 - word = 2^e * f, f in [1, 2), and the logarithm of
/// f is that of the middle of its cell plus a power series, whose terms left out are below 2^-50.
#[inline]
fn score_near(word: u32) -> f64 {
    let bits = (TWO_32 - f64::from(word)).to_bits();
    let f = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let [middle, inverse, ln] = LOGARITHMS[(bits >> 45) as usize % CELLS];
    let r = (f - middle) * inverse;
    let series = r * (1.0 - r * (1.0 / 2.0 - r * (1.0 / 3.0 - r * (1.0 / 4.0 - r * (1.0 / 5.0)))));
    let e = (bits >> 52) as i32 - 1023;
    f64::from(32 - e) * core::f64::consts::LN_2 - (ln + series)
}

/// Bits after the point in the fixed-point logarithm below.
const POINT: u32 = 95;
/// `floor(ln 2 * 2^95)`.
const LN_2_Q95: u128 = 0x58b9_0bfb_e8e7_bcd5_e4f1_d9cc;

/// The same floor from a 95-bit logarithm: -ln(m / 2^32) with m = 2^32 - word = 2^e * f, f in [1, 2), and
/// ln f = 2 atanh((f - 1) / (f + 1)). The error, below 2^-85, cannot cross an integer multiple of 2^-32 for any of the
/// 2^32 words short of a coincidence of 50 bits.
fn score_q32_exact(word: u32) -> u64 {
    let m = (1u64 << 32) - u64::from(word);
    let e = m.ilog2();
    let score = u128::from(32 - e) * LN_2_Q95 - ln_q95(m, e);
    #[expect(clippy::cast_possible_truncation, reason = "below 23 * 2^32")]
    let q32 = (score >> (POINT - 32)) as u64;
    q32
}

/// `2^95 * ln(m / 2^e)` for m in [2^e, 2^(e + 1)).
const fn ln_q95(m: u64, e: u32) -> u128 {
    let z = (((m - (1 << e)) as u128) << POINT) / (m + (1 << e)) as u128;
    let square = mul(z, z);
    let (mut power, mut sum, mut k) = (z, 0, 1);
    while power > 0 {
        sum += power / k;
        power = mul(power, square);
        k += 2;
    }
    2 * sum
}

/// `a * b / 2^95` for a, b < 2^95, dropping bits below 2^-95.
const fn mul(a: u128, b: u128) -> u128 {
    const HALF: u32 = 48;
    const LOW: u128 = (1 << HALF) - 1;
    let (a1, a0, b1, b0) = (a >> HALF, a & LOW, b >> HALF, b & LOW);
    ((a1 * b1) << (2 * HALF - POINT)) + ((a1 * b0 + a0 * b1 + ((a0 * b0) >> HALF)) >> (POINT - HALF))
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scheme::tests::outputs;

    /// The fast path and the exact path agree wherever the fast path is taken.
    #[test]
    fn fast_and_exact_floors_agree() {
        let mut word = 1u32;
        for _ in 0..200_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert_eq!(Gumbel.score_q32(word), score_q32_exact(word), "{word}");
        }
        for word in [0, 1, 2, 3, 1 << 31, (1 << 31) - 1, u32::MAX - 1, u32::MAX] {
            assert_eq!(Gumbel.score_q32(word), score_q32_exact(word), "{word}");
        }
    }

    /// The near score is as near as the fast path takes it to be, in the middle and at the ends of every cell.
    #[test]
    fn near_scores_are_near() {
        let mut words: Vec<u32> = (0..100_000).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
        for e in 0..32 {
            for cell in 0..=CELLS as u64 {
                let edge = (1u64 << e) + ((cell << e) >> 7);
                words.extend([edge.saturating_sub(1), edge, edge + 1].map(|m| ((1u64 << 32) - m.max(1)) as u32));
            }
        }
        for word in words {
            let m = (1u64 << 32) - u64::from(word);
            let e = m.ilog2();
            let exact = u128::from(32 - e) * LN_2_Q95 - ln_q95(m, e);
            let error = score_near(word) - exact as f64 / (1u128 << POINT) as f64;
            assert!(error.abs() < 2f64.powi(-46), "{word}: {error:e}");
        }
    }

    /// The bound that skips logarithms never changes the winner.
    #[test]
    fn pruned_choice_equals_brute_force() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state ^ (state >> 15)
        };
        for _ in 0..500 {
            let words: Vec<u32> = (0..300).map(|_| next()).collect();
            let logits: Vec<f32> = (0..300).map(|_| (next() % 1000) as f32 / 150.0).collect();
            let noise = |w: u32| -libm::log(-libm::log((f64::from(w) + 0.5) / TWO_32));
            let brute = (0..300)
                .max_by(|&i, &j| {
                    let value = |k: usize| f64::from(logits[k]) + noise(words[k]);
                    value(i).total_cmp(&value(j)).then(j.cmp(&i))
                })
                .unwrap();
            assert_eq!(Gumbel::choose(&logits, &words), Some(brute));
        }
    }

    #[test]
    fn outputs_are_pinned() {
        let expected = [
            (
                vec![1, 5, 14, 18, 2, 15, 5, 22, 12, 18, 5, 0, 2, 35, 10, 12, 19, 17, 39, 28, 27, 15, 1, 25],
                362_044_182_568,
            ),
            (
                vec![1, 5, 6, 36, 14, 9, 12, 16, 31, 3, 15, 1, 35, 16, 1, 23, 21, 14, 16, 8, 13, 15, 1, 35],
                361_106_842_982,
            ),
        ];
        assert_eq!(outputs("gumbel"), expected);
    }
}
