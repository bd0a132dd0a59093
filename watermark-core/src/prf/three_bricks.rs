/// Generator seed of three_bricks with `seeding = "hash"` (the upstream salt key is 35317): from 0, each id of the
/// n-gram, oldest first, gives `seed * salt_key + id` modulo 2^64 - 1; PyTorch keeps the low 32 bits.
#[must_use]
pub fn three_bricks_seed(salt_key: u64, ngram: &[u32]) -> u32 {
    let modulus = u128::from(u64::MAX);
    ngram.iter().fold(0, |seed, &id| (seed * u128::from(salt_key) + u128::from(id)) % modulus) as u32
}

#[cfg(test)]
mod tests {
    use super::super::torch_rand24;
    use super::*;

    #[test]
    fn seed_of_three_bricks() {
        let seed = three_bricks_seed(35_317, &[1, 2, 3]);
        assert_eq!(seed, 1_247_361_126);
        // 0x1.5e92d2p-1 and 0x1.2908d0p-2
        assert_eq!(torch_rand24(seed, &[0, 1]), [0xAF_4969, 0x4A_4234]);
        assert_eq!(three_bricks_seed(35_317, &[]), 0);
    }

    #[test]
    fn the_largest_key_does_not_overflow() {
        // u64::MAX is 0 modulo 2^64 - 1, so only the last id stays.
        assert_eq!(three_bricks_seed(u64::MAX, &[u32::MAX, 7]), 7);
        // u64::MAX - 1 is -1, so 2^64 - 2^32 + 5 is left.
        assert_eq!(three_bricks_seed(u64::MAX - 1, &[u32::MAX, 5]), 5);
    }
}
