/// How far apart the tokens are that stand for the rounds of one token's tournament.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextSealVersion {
    /// December 2025, on PyPI: round `d` of token `x` is the value of token `x + d`.
    December2025,
    /// 2026: round `d` of token `x` is the value of token `x + 659101 d`.
    Year2026,
}

/// One odd multiplier a window position, oldest first; a window has at most as many ids.
const WINDOW_PRIMES: [u64; 10] = [
    10_000_019, 10_000_247, 10_000_439, 10_000_643, 10_000_747, 10_000_867, 10_000_993, 10_001_213, 10_001_357,
    10_001_501,
];
const TOKEN_PRIME: u64 = 100_000_007;
const KEY_PRIME: u64 = 500_001_713;

/// Number of values that a residue takes: 0..8191.
const MODULUS: i64 = 8191;

/// What TextSeal's hash sees of a window (at most 10 ids, oldest first) and a token: a sum modulo 2^64.
///
/// The PRF input: pairs of the same sum have the same value under every key.
#[must_use]
pub fn textseal_input(window: &[u32], token: u32) -> u64 {
    input(window, u64::from(token))
}

/// As [`textseal_input`] for one round of TextSeal's tournament, counted from 0.
#[must_use]
pub fn textseal_round_input(window: &[u32], token: u32, round: u32, version: TextSealVersion) -> u64 {
    let stride = match version {
        TextSealVersion::December2025 => 1,
        TextSealVersion::Year2026 => 659_101,
    };
    input(window, u64::from(token) + stride * u64::from(round))
}

/// The value of an input under a key: one of 0..8191, read as `u = f32(residue) / 8191`.
#[must_use]
pub fn textseal_residue(input: u64, key: i64) -> u16 {
    let keyed = input.wrapping_add(key.cast_unsigned().wrapping_mul(KEY_PRIME));
    let hash = keyed.wrapping_mul(15_485_863).wrapping_mul(40_499).cast_signed();
    let residue = (hash ^ hash >> 13).rem_euclid(MODULUS);
    #[expect(clippy::cast_sign_loss, reason = "a Euclidean remainder modulo 8191")]
    let residue = residue as u16;
    residue
}

fn input(window: &[u32], token: u64) -> u64 {
    debug_assert!(window.len() <= WINDOW_PRIMES.len());
    let sum = token.wrapping_mul(TOKEN_PRIME);
    window.iter().zip(WINDOW_PRIMES).fold(sum, |sum, (&id, prime)| sum.wrapping_add(prime * u64::from(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_of_textseal() {
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 42), 2796);
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 100_000), 42), 183);
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 1234), 935);
    }

    #[test]
    fn a_round_is_another_token() {
        use TextSealVersion::{December2025, Year2026};
        let window = [7; 10];
        for version in [December2025, Year2026] {
            assert_eq!(textseal_round_input(&window, 5, 0, version), textseal_input(&window, 5));
        }
        assert_eq!(textseal_round_input(&window, 5, 9, December2025), textseal_input(&window, 14));
        assert_eq!(textseal_round_input(&window, 5, 2, Year2026), textseal_input(&window, 1_318_207));
    }

    #[test]
    fn residues_are_below_8191_for_keys_of_both_signs() {
        for key in [i64::MIN, -1, 0, i64::MAX] {
            for token in 0..2000 {
                assert!(textseal_residue(textseal_input(&[u32::MAX; 10], token), key) < 8191);
            }
        }
    }
}
