use super::{NullLaw, TWO_32, choose_by};

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
        choose_by(logits, words, |word| Self::noise((f64::from(word) + 0.5) / TWO_32))
    }

    /// vLLM's choice: its u has 24 bits and single precision.
    pub(crate) fn choose_vllm(logits: &[f32], words: &[u32]) -> Option<usize> {
        choose_by(logits, words, |word| Self::noise(f64::from(vllm_uniform(word))))
    }

    /// The Gumbel variable of a uniform one in (0, 1).
    pub(crate) fn noise(u: f64) -> f64 {
        -libm::log(-libm::log(u))
    }

    /// Scoring half: `floor(2^32 * -ln(1 - word / 2^32))`, exact. Never above the true score, so Gamma tails stay valid.
    #[must_use]
    pub fn score_q32(&self, word: u32) -> u64 {
        let approx = -libm::log1p(-f64::from(word) / TWO_32) * TWO_32;
        // libm is within one unit in the last place, 2^-48 * 2^32 here, so the floor is safe away from integers.
        let fraction = approx - libm::floor(approx);
        if word == 0 || (1e-3..1.0 - 1e-3).contains(&fraction) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= approx < 2^37")]
            return approx as u64;
        }
        score_q32_exact(word)
    }

    /// Exponential(1), rounded down.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::ExponentialQ32
    }
}

/// vLLM's uniform variable, `((word >> 8) + 1) / (2^24 + 1)` rounded to single precision.
pub(crate) fn vllm_uniform(word: u32) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "as the peer does")]
    let u = (f64::from((word >> 8) + 1) / 16_777_217.0) as f32;
    u
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
    let z = (u128::from(m - (1 << e)) << POINT) / u128::from(m + (1 << e));
    let square = mul(z, z);
    let (mut power, mut sum, mut k) = (z, 0, 1);
    while power > 0 {
        sum += power / k;
        power = mul(power, square);
        k += 2;
    }
    let score = u128::from(32 - e) * LN_2_Q95 - 2 * sum;
    #[expect(clippy::cast_possible_truncation, reason = "below 23 * 2^32")]
    let q32 = (score >> (POINT - 32)) as u64;
    q32
}

/// `a * b / 2^95` for a, b < 2^95, dropping bits below 2^-95.
fn mul(a: u128, b: u128) -> u128 {
    const HALF: u32 = 48;
    const LOW: u128 = (1 << HALF) - 1;
    let (a1, a0, b1, b0) = (a >> HALF, a & LOW, b >> HALF, b & LOW);
    ((a1 * b1) << (2 * HALF - POINT)) + ((a1 * b0 + a0 * b1 + ((a0 * b0) >> HALF)) >> (POINT - HALF))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The fast path and the exact path agree wherever the fast path is taken.
    #[test]
    fn fast_and_exact_floors_agree() {
        let mut word = 1u32;
        for _ in 0..200_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert_eq!(Gumbel.score_q32(word), score_q32_exact(word), "{word}");
        }
        assert_eq!(Gumbel.score_q32(0), 0);
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
}
