use std::fmt;

#[cfg(feature = "detect")]
use hashbrown::HashMap;

#[cfg(feature = "detect")]
use crate::prf::Pair;

const N: usize = 624;
const M: usize = 397;

/// Above this many tokens of one list, writing the list out is faster than following each of them.
const FOLLOWED_TOKENS: usize = 64;

/// The Mersenne Twister as PyTorch's CPU generator runs it, seeded with one 32-bit word.
///
/// `torch.manual_seed` keeps the low 32 bits of a seed, so no scheme that seeds it has more than 2^32 streams.
/// CUDA generators are another algorithm.
#[derive(Clone)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// The generator at the beginning of the stream of `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        let mut word = seed;
        for (i, slot) in (1..).zip(&mut state[1..]) {
            word = (word ^ word >> 30).wrapping_mul(1_812_433_253).wrapping_add(i);
            *slot = word;
        }
        Self { state, next: N }
    }

    /// The next 32-bit draw.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let word = temper(self.state[self.next]);
        self.next += 1;
        word
    }

    /// Replaces the state by the next one. Each run of words reads only words of the runs before it, so that the
    /// compiler can take several at a time.
    fn twist(&mut self) {
        let state = &mut self.state;
        for i in 0..N - M {
            state[i] = state[i + M] ^ halfstep(state[i], state[i + 1]);
        }
        let (done, rest) = state.split_at_mut(N - M);
        twist_run(&mut rest[..=N - M], done);
        let (done, rest) = state.split_at_mut(2 * (N - M));
        twist_run(rest, &done[N - M..]);
        state[N - 1] = state[M - 1] ^ halfstep(state[N - 1], state[0]);
        self.next = 0;
    }
}

impl fmt::Debug for Mt19937 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mt19937(..)")
    }
}

/// Twists all words of `run` but the last, which is only read; `new` holds the words `N - M` places before each.
fn twist_run(run: &mut [u32], new: &[u32]) {
    for (i, new) in (1..run.len()).zip(new) {
        run[i - 1] = new ^ halfstep(run[i - 1], run[i]);
    }
}

/// The linear map of the recurrence on the upper bit of one word and the lower 31 of the next.
fn halfstep(upper: u32, lower: u32) -> u32 {
    let joined = upper & 0x8000_0000 | lower & 0x7FFF_FFFF;
    joined >> 1 ^ (lower & 1).wrapping_neg() & 0x9908_B0DF
}

fn temper(word: u32) -> u32 {
    let word = word ^ word >> 11;
    let word = word ^ word << 7 & 0x9D2C_5680;
    let word = word ^ word << 15 & 0xEFC6_0000;
    word ^ word >> 18
}

/// Draws of `torch.rand` in single precision: draw number `indices[i]` of the stream of `seed` is `out[i] / 2^24`.
///
/// Indices come in any order; what lies between them is skipped without being computed to the end.
#[must_use]
pub fn torch_rand24(seed: u32, indices: &[u32]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..indices.len()).collect();
    order.sort_unstable_by_key(|&i| indices[i]);
    let mut out = vec![0; indices.len()];
    let mut generator = Mt19937::new(seed);
    let mut twists = 0;
    for i in order {
        let index = indices[i] as usize;
        while twists <= index / N {
            generator.twist();
            twists += 1;
        }
        out[i] = temper(generator.state[index % N]) & 0x00FF_FFFF;
    }
    out
}

/// `torch.randperm(n)` after `torch.manual_seed(seed)`, on the CPU.
///
/// From n = 214,748,364 up, which no vocabulary reaches, PyTorch draws 64 bits a slot and gives another list.
#[must_use]
pub fn torch_randperm(seed: u32, n: u32) -> Vec<u32> {
    prefix_permutation(n, &swap_partners(seed, n, n))
}

/// Whether each of `tokens` is in `torch.randperm(n)[:k]` (see [`torch_randperm`]).
///
/// A few tokens are followed through the first `k` swaps; for more of them the list is written out.
#[must_use]
pub fn torch_in_prefix(seed: u32, n: u32, k: u32, tokens: &[u32]) -> Vec<bool> {
    let partners = swap_partners(seed, n, k.min(n));
    if tokens.len() <= FOLLOWED_TOKENS {
        return tokens.iter().map(|&token| token < n && ends_in_prefix(&partners, token)).collect();
    }
    let mut inside = vec![false; n as usize];
    for &token in &prefix_permutation(n, &partners)[..partners.len()] {
        inside[token as usize] = true;
    }
    tokens.iter().map(|&token| inside.get(token as usize).is_some_and(|&inside| inside)).collect()
}

/// Scores of pairs from generators with these seeds, [n] each, aligned; only the low 32 bits of a seed count. All tokens of
/// one seed are looked up in one pass over its stream: `scores` has a seed and the tokens, and gives a score for each.
#[cfg(feature = "detect")]
pub(super) fn by_seed(seeds: &[u64], pairs: &[Pair], scores: impl Fn(u32, &[u32]) -> Vec<u64>) -> Vec<u64> {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, &seed) in seeds.iter().enumerate() {
        places.entry(seed as u32).or_default().push(at);
    }
    let mut out = vec![0; pairs.len()];
    for (seed, places) in places {
        let tokens: Vec<u32> = places.iter().map(|&at| pairs[at].token()).collect();
        for (at, score) in places.into_iter().zip(scores(seed, &tokens)) {
            out[at] = score;
        }
    }
    out
}

/// The slots that slots `0..k` of `n` are swapped with, one after the other.
fn swap_partners(seed: u32, n: u32, k: u32) -> Vec<u32> {
    let mut generator = Mt19937::new(seed);
    (0..k).map(|slot| slot + generator.next_u32() % (n - slot)).collect()
}

/// The list `0..n` after these swaps.
fn prefix_permutation(n: u32, partners: &[u32]) -> Vec<u32> {
    let mut list: Vec<u32> = (0..n).collect();
    for (slot, &partner) in partners.iter().enumerate() {
        list.swap(slot, partner as usize);
    }
    list
}

/// Whether `token` is in the prefix after the swaps. It moves when its slot is drawn, and then stays in the prefix for
/// good, or when its slot's own turn comes.
fn ends_in_prefix(partners: &[u32], token: u32) -> bool {
    let mut from = 0;
    let mut slot = token;
    loop {
        let turn = (slot as usize).min(partners.len());
        if partners[from..turn].contains(&slot) {
            return true;
        }
        match partners.get(turn) {
            None => return false,
            Some(&partner) if partner == slot => return true,
            Some(&partner) => (from, slot) = (turn + 1, partner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mersenne_twister_known_answers() {
        let mut generator = Mt19937::new(5489);
        let draws: Vec<u32> = (0..10_000).map(|_| generator.next_u32()).collect();
        assert_eq!(draws[..3], [3_499_211_612, 581_869_302, 3_890_346_734]);
        assert_eq!(draws[9_999], 4_123_659_995);
        // A word wrong now and then passes the above; numpy's sum.
        assert_eq!(draws.iter().map(|&draw| u64::from(draw)).sum::<u64>(), 21_571_313_423_311);
        assert_eq!(format!("{generator:?}"), "Mt19937(..)");
    }

    #[test]
    fn draws_in_any_order() {
        let mut generator = Mt19937::new(7);
        let draws: Vec<u32> = (0..2000).map(|_| generator.next_u32() & 0x00FF_FFFF).collect();
        let indices = [1999, 0, 623, 624, 1248, 1247, 0, 5];
        assert_eq!(torch_rand24(7, &indices), indices.map(|i| draws[i as usize]));
        assert!(torch_rand24(7, &[]).is_empty());
    }

    #[test]
    fn lists_of_torch() {
        let list = torch_randperm(2_971_215_073, 1_000_003);
        assert_eq!(list[..5], [250_534, 296_009, 268_311, 356_494, 845_733]);
        assert_eq!(list[999_998..], [229_008, 938_826, 128_624, 123_226, 70_416]);
        let checksum: u64 = (0..).zip(&list).map(|(i, &id): (u64, _)| i * u64::from(id)).sum();
        assert_eq!(checksum, 250_217_212_206_903_892);
        assert!(torch_randperm(0, 0).is_empty());
        assert_eq!(torch_randperm(3, 1), [0]);
    }

    #[test]
    fn following_equals_writing_out() {
        for (seed, n, k) in [(1, 1, 0), (2, 1, 1), (3, 7, 3), (4, 1000, 250), (5, 1000, 999), (6, 50, 1000)] {
            let list = torch_randperm(seed, n);
            let tokens: Vec<u32> = (0..n + 3).collect();
            let prefix = &list[..(k as usize).min(list.len())];
            let expected: Vec<bool> = tokens.iter().map(|token| prefix.contains(token)).collect();
            assert_eq!(torch_in_prefix(seed, n, k, &tokens), expected);
            let followed: Vec<bool> =
                tokens.chunks(FOLLOWED_TOKENS).flat_map(|tokens| torch_in_prefix(seed, n, k, tokens)).collect();
            assert_eq!(followed, expected);
        }
    }
}
