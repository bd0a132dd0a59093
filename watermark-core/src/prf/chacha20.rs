use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::lanes::{self, Block, LANES};
use crate::key::PrfKey;
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, MAX_TOKEN_ID, Result};

/// Counter of the words that belong to the context alone: the first block past the tokens.
const CONTEXT_COUNTER: u32 = (MAX_TOKEN_ID >> 4) + 1;

/// Counter of the second key's token 0: the first bit above those two ranges.
const KEY_B_COUNTER: u32 = CONTEXT_COUNTER << 1;

/// Contexts up to this width fit the 96-bit nonce at three bytes a token; wider ones are hashed.
const NONCE_TOKENS: usize = 4;

/// The PRF `chacha20-v1`: the RFC 8439 block function with 20 rounds.
///
/// Counter = `token >> 4`, word = `token & 15` of the block's 16 little-endian words; nonce = the last `width` tokens,
/// oldest first, three bytes little-endian each and zero-padded (`width` <= 4), else the first 12 bytes of an
/// HMAC-SHA256 over them. Outputs are fixed for ever; a key belongs to one width. Words are uniform on 0..2^32.
#[derive(Clone)]
pub struct ChaCha20V1 {
    key: Zeroizing<[u32; 8]>,
    context_key: Option<Zeroizing<[u8; 32]>>,
    width: usize,
    /// Added to the counter of every token: 0, or the start of the range of the second key.
    stream: u32,
}

/// The nonce of one context under one PRF; valid for that PRF only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context([u32; 3]);

impl Context {
    /// A nonce that is a number and no context, for draws that no detector needs to repeat.
    pub(crate) fn from_number(number: u64) -> Self {
        let bytes = number.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        Self([u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), 0])
    }

    /// The nonce as RFC 8439 has it, in little-endian words, for blocks that are computed elsewhere (on a device).
    #[must_use]
    pub fn nonce(self) -> [u32; 3] {
        self.0
    }
}

impl ChaCha20V1 {
    /// The PRF under `key` for contexts of `width` tokens (0..=8).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a wider context.
    pub fn new(key: &PrfKey, width: usize) -> Result<Self> {
        if width > MAX_CONTEXT_WIDTH {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("context width {width} is above {MAX_CONTEXT_WIDTH}"),
            ));
        }
        let context_key = (width > NONCE_TOKENS).then(|| key.context_key());
        Ok(Self { context_key, width, ..Self::without_context(key) })
    }

    /// The PRF under `key` for contexts of no tokens.
    pub(crate) fn without_context(key: &PrfKey) -> Self {
        let mut words = Zeroizing::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(key.bytes().as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key: words, context_key: None, width: 0, stream: 0 }
    }

    /// A second, independent word for every (context, token) under the same key: those at counter
    /// `0x00200000 | token >> 4`. Contexts of `self` serve both.
    #[must_use]
    pub fn key_b(&self) -> Self {
        Self { stream: KEY_B_COUNTER, ..self.clone() }
    }

    /// The secret key as RFC 8439 has it, in little-endian words, for blocks that are computed elsewhere (on a device).
    #[must_use]
    pub fn key_words(&self) -> &[u32; 8] {
        &self.key
    }

    /// Context width in tokens.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The context of the last `width` tokens of `preceding`, or `None` if there are fewer.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id of 2^24 or more.
    pub fn context(&self, preceding: &[u32]) -> Result<Option<Context>> {
        let Some(start) = preceding.len().checked_sub(self.width) else { return Ok(None) };
        let tokens = &preceding[start..];
        for &token in tokens {
            check_token(token)?;
        }
        Ok(Some(self.context_unchecked(tokens)))
    }

    /// As [`Self::context`] for exactly `width` ids known to be below 2^24.
    pub(crate) fn context_unchecked(&self, tokens: &[u32]) -> Context {
        debug_assert_eq!(tokens.len(), self.width);
        let mut nonce = [0u8; 12];
        match &self.context_key {
            None => {
                for (bytes, token) in nonce.chunks_exact_mut(3).zip(tokens) {
                    bytes.copy_from_slice(&token.to_le_bytes()[..3]);
                }
            }
            Some(key) => {
                #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
                let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC key");
                for token in tokens {
                    mac.update(&token.to_le_bytes());
                }
                nonce.copy_from_slice(&mac.finalize().into_bytes()[..12]);
            }
        }
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(nonce.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Context(words)
    }

    /// The word of one token.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id of 2^24 or more.
    pub fn word(&self, context: Context, token: u32) -> Result<u32> {
        check_token(token)?;
        Ok(self.block(context, self.stream | token >> 4)[lane(token)])
    }

    /// The 16 words that belong to the context alone.
    #[must_use]
    pub fn context_words(&self, context: Context) -> [u32; 16] {
        self.block(context, CONTEXT_COUNTER)
    }

    #[cfg(feature = "detect")]
    /// Word 0 of each context, in bulk: `out` is cleared and filled in order.
    pub(crate) fn first_context_words(&self, contexts: impl IntoIterator<Item = Context>, out: &mut Vec<u32>) {
        out.clear();
        let mut contexts = contexts.into_iter();
        loop {
            let mut jobs = [Block { counter: CONTEXT_COUNTER, nonce: [0; 3] }; LANES];
            let mut n = 0;
            for (job, context) in jobs.iter_mut().zip(&mut contexts) {
                job.nonce = context.0;
                n += 1;
            }
            if n == 0 {
                return;
            }
            out.extend_from_slice(&lanes::blocks(&self.key, &jobs)[0][..n]);
        }
    }

    fn block(&self, context: Context, counter: u32) -> [u32; 16] {
        lanes::one_block(&self.key, Block { counter, nonce: context.0 })
    }

    /// The words of tokens `0..out.len()` in one context, in bulk.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] if `out` is longer than 2^24.
    pub fn vocabulary_words(&self, context: Context, out: &mut [u32]) -> Result<()> {
        if let Some(last) = out.len().checked_sub(1) {
            check_token(u32::try_from(last).unwrap_or(u32::MAX))?;
        }
        let mut counter = self.stream;
        for chunk in out.chunks_mut(16 * LANES) {
            let mut jobs = [Block { counter, nonce: context.0 }; LANES];
            for job in &mut jobs {
                job.counter = counter;
                counter += 1;
            }
            let words = lanes::blocks(&self.key, &jobs);
            for (i, out) in chunk.iter_mut().enumerate() {
                *out = words[i & 15][i >> 4];
            }
        }
        Ok(())
    }

    /// The words of scattered (context, token) pairs, in bulk. Shapes: `pairs` [n], `out` cleared and filled to [n].
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id of 2^24 or more.
    pub fn words(&self, pairs: impl IntoIterator<Item = (Context, u32)>, out: &mut Vec<u32>) -> Result<()> {
        out.clear();
        let mut pairs = pairs.into_iter();
        loop {
            let mut jobs = [Block { counter: 0, nonce: [0; 3] }; LANES];
            let mut tokens = [0; LANES];
            let mut n = 0;
            for ((job, slot), (context, token)) in jobs.iter_mut().zip(&mut tokens).zip(&mut pairs) {
                check_token(token)?;
                *job = Block { counter: self.stream | token >> 4, nonce: context.0 };
                *slot = token;
                n += 1;
            }
            if n == 0 {
                return Ok(());
            }
            let words = lanes::blocks(&self.key, &jobs);
            out.extend(tokens[..n].iter().enumerate().map(|(i, &token)| words[lane(token)][i]));
        }
    }
}

fn lane(token: u32) -> usize {
    (token & 15) as usize
}

fn check_token(token: u32) -> Result<()> {
    if token > MAX_TOKEN_ID {
        return Err(Error::new(ErrorKind::TokenOutOfRange, format!("token id {token} is not below 2^24")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// `rand_chacha` as the reference: stream = nonce bytes 4..12, block index = counter | nonce bytes 0..4 << 32.
    fn reference(key: [u8; 32], context: Context, token: u32) -> u32 {
        let mut rng = ChaCha20Rng::from_seed(key);
        rng.set_stream(u64::from(context.0[1]) | u64::from(context.0[2]) << 32);
        let block = u128::from(token >> 4) | u128::from(context.0[0]) << 32;
        rng.set_word_pos(block * 16 + u128::from(token & 15));
        rng.next_u32()
    }

    proptest! {
        #[test]
        fn equals_rand_chacha(
            key in any::<[u8; 32]>(),
            width in 0usize..=8,
            tokens in proptest::collection::vec(0..=MAX_TOKEN_ID, 8..40),
        ) {
            let prf = ChaCha20V1::new(&PrfKey::from_bytes(Zeroizing::new(key)), width).unwrap();
            let context = prf.context(&tokens[..8]).unwrap().unwrap();
            let expected: Vec<u32> = tokens.iter().map(|&t| reference(key, context, t)).collect();
            let mut bulk = Vec::new();
            prf.words(tokens.iter().map(|&t| (context, t)), &mut bulk).unwrap();
            prop_assert_eq!(&bulk, &expected);
            prop_assert_eq!(prf.word(context, tokens[0]).unwrap(), expected[0]);
            let mut stream = vec![0; 777];
            prf.vocabulary_words(context, &mut stream).unwrap();
            for (token, word) in (0..).zip(stream) {
                prop_assert_eq!(word, reference(key, context, token));
            }
        }
    }

    #[test]
    fn a_token_of_25_bits_is_refused() {
        let prf = ChaCha20V1::new(&PrfKey::from_bytes(Zeroizing::new([1; 32])), 1).unwrap();
        assert_eq!(prf.context(&[1 << 24]).unwrap_err().kind(), ErrorKind::TokenOutOfRange);
        let context = prf.context(&[1]).unwrap().unwrap();
        assert_eq!(prf.word(context, 1 << 24).unwrap_err().kind(), ErrorKind::TokenOutOfRange);
    }
}
