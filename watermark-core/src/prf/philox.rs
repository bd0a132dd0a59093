use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// "WMCX": first word of the state before a context is absorbed.
const CONTEXT_TAG: u32 = 0x574D_4358;

/// "WMTK": combined with the second key word when tokens are drawn.
const TOKEN_TAG: u32 = 0x574D_544B;

/// The PRF `philox4x32-10-v1` of vLLM's Gumbel watermark.
///
/// The context is absorbed four ids at a time into a Philox4x32-10 state; that state, as counter and key, gives four
/// tokens a block. Ids are taken modulo 2^32, so the padding -1 is `u32::MAX`; any width. Words are 32 bits; vLLM
/// reads the upper 24 of them as `u = f32(((word >> 8) + 1) / (2^24 + 1))`.
#[derive(Clone)]
pub struct VllmPhilox {
    key: Zeroizing<u64>,
}

impl VllmPhilox {
    /// The PRF under vLLM's integer `key`.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// The state of one context, oldest id first, under this key.
    #[must_use]
    pub fn state(&self, context: &[u32]) -> [u32; 4] {
        let [low, high] = halves(*self.key);
        let width = u32::try_from(context.len()).unwrap_or(u32::MAX);
        let mut state = [CONTEXT_TAG, width, 0, 0];
        for (offset, ids) in (0..).step_by(4).zip(context.chunks(4)) {
            let mut block = [u32::MAX, u32::MAX - 1, u32::MAX - 2, u32::MAX - 3];
            block[..ids.len()].copy_from_slice(ids);
            for (word, id) in state.iter_mut().zip(block) {
                *word ^= id;
            }
            state = philox4x32_10(state, [low ^ offset, high]);
        }
        state
    }

    /// The word of `token` after the context that left `state`.
    #[must_use]
    pub fn word_at(&self, state: [u32; 4], token: u32) -> u32 {
        self.four_words(state, token >> 2)[(token & 3) as usize]
    }

    /// The word of `token` after `context`.
    #[must_use]
    pub fn word(&self, context: &[u32], token: u32) -> u32 {
        self.word_at(self.state(context), token)
    }

    /// The words of tokens `0..out.len()` after `context`.
    pub fn vocabulary_words(&self, context: &[u32], out: &mut [u32]) {
        let state = self.state(context);
        for (quad, words) in (0..).zip(out.chunks_mut(4)) {
            words.copy_from_slice(&self.four_words(state, quad)[..words.len()]);
        }
    }

    fn four_words(&self, state: [u32; 4], quad: u32) -> [u32; 4] {
        let [low, high] = halves(*self.key);
        philox4x32_10([quad, state[0], state[1], state[2]], [low ^ state[3], high ^ TOKEN_TAG])
    }
}

impl fmt::Debug for VllmPhilox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VllmPhilox(..)")
    }
}

/// The keys A and B of vLLM's two-key watermark: the first eight bytes, big-endian, of
/// `SHA-256("key_a" || key)` and `SHA-256("key_b" || key)` with `key` as eight big-endian bytes.
#[must_use]
pub fn vllm_dual_keys(key: u64) -> (u64, u64) {
    let derive = |label: &[u8]| {
        let digest = Sha256::new().chain_update(label).chain_update(key.to_be_bytes()).finalize();
        digest[..8].iter().fold(0, |key, &byte| key << 8 | u64::from(byte))
    };
    (derive(b"key_a"), derive(b"key_b"))
}

/// Low word first.
fn halves(key: u64) -> [u32; 2] {
    [key as u32, (key >> 32) as u32]
}

/// Philox4x32 with ten rounds (Salmon, Moraes, Dror, Shaw 2011).
fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let first = u64::from(a) * 0xD251_1F53;
        let second = u64::from(c) * 0xCD9E_8D57;
        let ([first_low, first_high], [second_low, second_high]) = (halves(first), halves(second));
        [a, b, c, d] = [second_high ^ b ^ k0, second_low, first_high ^ d ^ k1, first_low];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(philox4x32_10([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn words_of_vllm() {
        let prf = VllmPhilox::new(42);
        let words = |context: &[u32]| [0, 1, 7, 128_255].map(|token| prf.word(context, token));
        assert_eq!(words(&[1, 2, 3, 4]), [2_302_563_325, 2_981_062_672, 425_429_266, 1_146_886_270]);
        assert_eq!(words(&[u32::MAX; 4]), [4_197_411_589, 28_483_919, 3_152_641_195, 3_325_942_410]);
        assert_eq!(words(&[7]), [1_606_770_613, 2_697_013_071, 2_556_154_021, 3_265_890_438]);
        assert_eq!(words(&[5, 6, 7, 8, 9]), [3_645_307_248, 749_269_528, 2_490_957_113, 611_213_077]);
        assert_eq!(vllm_dual_keys(42).0, 37_150_756_557_148_556);
    }

    #[test]
    fn a_sweep_gives_the_words_one_by_one() {
        let prf = VllmPhilox::new(u64::MAX - 5);
        for width in 0..10 {
            let context: Vec<u32> = (0..width).collect();
            let mut sweep = [0; 23];
            prf.vocabulary_words(&context, &mut sweep);
            for (token, word) in (0..).zip(sweep) {
                assert_eq!(word, prf.word(&context, token));
            }
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", VllmPhilox::new(42)), "VllmPhilox(..)");
    }
}
