use std::fmt;

use zeroize::Zeroizing;

use super::torch_randperm;

/// Size of the table that turns ids into factors of a seed.
const TABLE: u32 = 1_000_003;

/// Generator seed of Hugging Face's KGW watermark, `lefthash`: the low 32 bits of `key * last` modulo 2^64 - 1.
///
/// The green list is the head of [`torch_randperm`] under this seed. Token 0 gives seed 0 whatever the key.
#[must_use]
pub fn hf_left_hash_seed(key: u64, last: u32) -> u32 {
    (u128::from(key) * u128::from(last) % u128::from(u64::MAX)) as u32
}

/// Seeds of Hugging Face's KGW watermark, `selfhash`: from a window that ends with the candidate itself.
///
/// Holds the table `torch.randperm(1_000_003)` of the hashing key, so make one of these per key and keep it.
#[derive(Clone)]
pub struct HfSelfHash {
    key: Zeroizing<i64>,
    table: Zeroizing<Vec<u32>>,
}

impl HfSelfHash {
    /// The seeds under a hashing key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: Zeroizing::new(key.cast_signed()), table: Zeroizing::new(torch_randperm(key as u32, TABLE)) }
    }

    /// The signed seed of a window, oldest id first and the candidate last; 0 for an empty window.
    ///
    /// It is the PRF input: the least of `key * a * b` (wrapping), with `a` from each id of the window and `b` from the
    /// candidate. [`Self::generator_seed`] turns it into the seed of the green list.
    #[must_use]
    pub fn seed(&self, window_with_candidate: &[u32]) -> i64 {
        let Some(&candidate) = window_with_candidate.last() else { return 0 };
        let own = self.key.wrapping_mul(self.factor(candidate));
        window_with_candidate.iter().map(|&id| own.wrapping_mul(self.factor(id))).min().unwrap_or(0)
    }

    /// What PyTorch's generator keeps of a seed: the low 32 bits of its remainder modulo 2^64 - 1, which Python makes
    /// non-negative.
    #[must_use]
    pub fn generator_seed(seed: i64) -> u32 {
        i128::from(seed).rem_euclid(i128::from(u64::MAX)).cast_unsigned() as u32
    }

    fn factor(&self, id: u32) -> i64 {
        i64::from(self.table[(id % TABLE) as usize]) + 1
    }
}

impl fmt::Debug for HfSelfHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HfSelfHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashing key that `transformers` has by default.
    const DEFAULT: u64 = 15_485_863;

    #[test]
    fn self_hash() {
        let prf = HfSelfHash::new(DEFAULT);
        assert_eq!(prf.table[..3], [138_280, 994_103, 467_886]);
        let seed = prf.seed(&[11, 22, 33, 44]);
        assert_eq!(seed, -8_732_380_403_358_078_560);
        let generator_seed = HfSelfHash::generator_seed(seed);
        assert_eq!(generator_seed, 9_714_363_670_351_473_055_u64 as u32);
        assert_eq!(torch_randperm(generator_seed, 50_257)[..3], [13_480, 46_772, 44_205]);
        assert_eq!(prf.seed(&[]), 0);
        assert_eq!(prf.seed(&[11 + TABLE, 22]), prf.seed(&[11, 22]));
        assert_eq!(format!("{prf:?}"), "HfSelfHash(..)");
    }

    #[test]
    fn negative_seeds_lose_one() {
        assert_eq!(HfSelfHash::generator_seed(-1), u32::MAX - 1);
        assert_eq!(HfSelfHash::generator_seed(i64::MIN), u32::MAX);
        assert_eq!(HfSelfHash::generator_seed(i64::MAX), u32::MAX);
        assert_eq!(HfSelfHash::generator_seed(5), 5);
    }

    #[test]
    fn left_hash() {
        assert_eq!(torch_randperm(hf_left_hash_seed(DEFAULT, 44), 50_257)[..3], [2_942, 24_863, 37_892]);
        assert_eq!(hf_left_hash_seed(DEFAULT, 0), 0);
        assert_eq!(hf_left_hash_seed(u64::MAX, 9), 0);
        assert_eq!(hf_left_hash_seed(1 << 63, 2), 1);
    }
}
