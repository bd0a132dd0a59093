use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::PrfKey;
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::Gumbel;
use crate::{Error, ErrorKind, Result};

// What each value is derived with; no other place in the code spells one out.
const LABEL_REQUEST: &[u8] = b"request\0";
const LABEL_LEAF: &[u8] = b"watermark-request-v1\0";
const LABEL_BEACON: &[u8] = b"beacon\0";
const LABEL_COIN: &[u8] = b"coin\0";
const LABEL_ANSWER: &[u8] = b"answer\0";

/// Leads of noise closer than this are the same: drawing rounds in the sixteenth digit of a logit.
const SAME_LEAD: f64 = 1e-9;

/// The secret of one request: what is opened to show its draws and no others.
///
/// Zeroized on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct RequestSecret(Zeroizing<[u8; 32]>);

/// The key of one request's draws and coins, below its secret and a beacon that was drawn after the secrets were committed to.
///
/// Position t is that of the generated token, from 0. Zeroized on drop, redacted in `Debug`.
///
/// ```
/// use watermark_core::key::{NodeKey, PrfKey};
/// use watermark_core::paired::RequestSecret;
///
/// let layer = NodeKey::root(b"32 bytes from the system's randomness in real use").prf_key("paired", 0)?;
/// let key = RequestSecret::new(&layer, "ledger/2026-11/17").key(None);
/// // Two tokens, as likely as each other; which of the two candidates is served is a coin's affair.
/// let found = key.candidates(0, &[7, 9], &[0.0, 0.0])?;
/// let both = [found.served, found.withheld];
/// assert!(both.iter().all(|token| [7, 9].contains(token)));
/// // The same request draws the same again.
/// assert_eq!(key.candidates(0, &[7, 9], &[0.0, 0.0])?, found);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RequestKey {
    secret: Zeroizing<[u8; 32]>,
    draws: [ChaCha20V1; 2],
}

/// The first or the second draw of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Draw 0.
    First,
    /// Draw 1.
    Second,
}

/// The two candidates of one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// The token that the coin chose. Over keys it has the distribution that was drawn from.
    pub served: u32,
    /// The other one; where it is the same, the position says nothing.
    pub withheld: u32,
}

impl RequestSecret {
    /// The secret of the request that a ledger knows by `id`, under the PRF key of the layer's node without a beacon
    /// (`prf_key("paired", 0)`): `HMAC-SHA256(key, "request\0" || id)`. Ids are sequence numbers, allotted before the first token, so that
    /// nobody can try some until the coins fit.
    #[must_use]
    pub fn new(layer: &PrfKey, id: &str) -> Self {
        Self(hmac(layer.bytes(), &[LABEL_REQUEST, id.as_bytes()]))
    }

    /// A secret that was opened.
    #[must_use]
    pub fn from_bytes(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// The secret itself, to open this request.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its leaf in the tree that is committed to with the layer's key: `SHA-256("watermark-request-v1\0" || secret)`.
    #[must_use]
    pub fn leaf(&self) -> [u8; 32] {
        Sha256::new().chain_update(LABEL_LEAF).chain_update(self.0.as_slice()).finalize().into()
    }

    /// The key under a public value that was drawn after the commitment, or without one:
    /// `HMAC-SHA256(secret, "beacon\0" || beacon)`, 32 zero bytes for none.
    #[must_use]
    pub fn key(&self, beacon: Option<&[u8; 32]>) -> RequestKey {
        let secret = hmac(&self.0, &[LABEL_BEACON, beacon.unwrap_or(&[0; 32])]);
        let first = ChaCha20V1::without_context(&PrfKey::from_bytes(secret.clone()));
        let second = first.key_b();
        RequestKey { secret, draws: [first, second] }
    }
}

impl RequestKey {
    /// The word of a token in one of the two draws.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id of 2^24 or more.
    pub fn word(&self, position: u32, draw: Draw, token: u32) -> Result<u32> {
        self.draws(draw).word(at(position), token)
    }

    /// Which draw is served at a position.
    #[must_use]
    pub fn coin(&self, position: u32) -> Draw {
        let [word, ..] = self.draws[0].context_words(at(position));
        if word >> 31 == 0 { Draw::First } else { Draw::Second }
    }

    /// Both candidates of a position: Gumbel-max of each draw over the distribution after all other layers. Shapes: both [n], aligned;
    /// -inf is a token that cannot be drawn.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidLogits`] for other lengths, NaN, or no finite entry.
    pub fn candidates(&self, position: u32, ids: &[u32], logits: &[f32]) -> Result<Candidates> {
        if ids.len() != logits.len() || logits.iter().any(|logit| logit.is_nan()) {
            let message = format!("{} logits for {} ids, or one is NaN", logits.len(), ids.len());
            return Err(Error::new(ErrorKind::InvalidLogits, message));
        }
        let served = self.coin(position);
        let mut words = Vec::new();
        let mut chosen = |draw| {
            self.draws(draw).words(ids.iter().map(|&id| (at(position), id)), &mut words)?;
            Gumbel::choose(logits, &words)
                .map(|at| ids[at])
                .ok_or_else(|| Error::new(ErrorKind::InvalidLogits, "no token can be drawn"))
        };
        Ok(Candidates { served: chosen(served)?, withheld: chosen(served.other())? })
    }

    /// Two candidates of a position in the order that the coin gave them, from the key alone and without the law that they were drawn from.
    /// One that was chosen over the other in draw 0, and the other over it in draw 1, has the larger lead of noise in draw 0: the law adds
    /// the same to both leads. So whoever opens a request cannot say of a served token that it was withheld. `None` for one token twice, and
    /// for leads that are the same but for rounding: neither depends on the coin.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`].
    pub fn order(&self, position: u32, candidates: [u32; 2]) -> Result<Option<Candidates>> {
        let [a, b] = candidates;
        let lead = |draw| -> Result<f64> {
            let noise = |token| Ok(Gumbel::noise_of(self.word(position, draw, token)?));
            Ok(noise(a)? - noise(b)?)
        };
        let more = lead(Draw::First)? - lead(Draw::Second)?;
        if a == b || more.abs() < SAME_LEAD {
            return Ok(None);
        }
        let [first, second] = if more > 0.0 { [a, b] } else { [b, a] };
        let served_first = self.coin(position) == Draw::First;
        let (served, withheld) = if served_first { (first, second) } else { (second, first) };
        Ok(Some(Candidates { served, withheld }))
    }

    /// Which of two whole answers is served.
    #[must_use]
    pub fn answer_coin(&self) -> Draw {
        if hmac(&self.secret, &[LABEL_COIN])[31] & 1 == 0 { Draw::First } else { Draw::Second }
    }

    /// The seed of one of two whole answers.
    #[must_use]
    pub fn answer_seed(&self, draw: Draw) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *hmac(&self.secret, &[LABEL_ANSWER, &[draw as u8]]);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The secret key of both draws as RFC 8439 has it, in little-endian words, for blocks that are computed elsewhere (on a device). The nonce of
    /// a position is its number; the second draw's words are those of [`ChaCha20V1::key_b`].
    #[must_use]
    pub fn key_words(&self) -> &[u32; 8] {
        self.draws[0].key_words()
    }

    /// The words of a draw; the nonce of a position is its number.
    pub(crate) fn draws(&self, draw: Draw) -> &ChaCha20V1 {
        &self.draws[draw as usize]
    }
}

impl Draw {
    /// The other draw.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

impl fmt::Debug for RequestSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestSecret(..)")
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey(..)")
    }
}

fn at(position: u32) -> Context {
    Context::from_number(position.into())
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC key");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::key::fresh_keys;

    fn keys(n: u32) -> impl Iterator<Item = RequestKey> {
        let layer = fresh_keys(b"paired", 1).next().unwrap();
        (0..n).map(move |i| RequestSecret::new(&layer, &format!("ledger/test/{i}")).key(None))
    }

    #[test]
    fn debug_shows_no_secret() {
        let layer = fresh_keys(b"paired", 1).next().unwrap();
        let secret = RequestSecret::new(&layer, "ledger/test/0");
        assert_eq!(format!("{secret:?} {:?}", secret.key(None)), "RequestSecret(..) RequestKey(..)");
    }

    /// What is served has the law that was drawn from, jointly over two positions, and the coin is fair beside it.
    #[test]
    fn what_is_served_has_the_models_law() {
        let law = [0.5f32, 0.3, 0.2];
        let logits = law.map(f32::ln);
        let n = 20_000;
        let (mut joint, mut heads, mut same) = ([[0u32; 3]; 3], 0, 0);
        for key in keys(n) {
            let [first, second] = [0, 1].map(|t| key.candidates(t, &[0, 1, 2], &logits).unwrap());
            joint[first.served as usize][second.served as usize] += 1;
            heads += u32::from(key.coin(0) == Draw::Second);
            same += u32::from(first.served == first.withheld);
        }
        let mut chi_square = 0.0;
        for (i, row) in joint.iter().enumerate() {
            for (j, &seen) in row.iter().enumerate() {
                let expected = f64::from(law[i] * law[j] * n as f32);
                chi_square += (f64::from(seen) - expected).powi(2) / expected;
            }
        }
        // Eight degrees of freedom: 31.8 has a chance of 1e-4.
        assert!(chi_square < 31.8, "{chi_square}");
        // Five standard deviations.
        assert!((f64::from(heads) - 10_000.0).abs() < 354.0, "{heads}");
        // Two draws from the law are equal with probability .25 + .09 + .04.
        assert!((f64::from(same) / f64::from(n) - 0.38).abs() < 0.018, "{same}");
    }

    /// The key gives served and withheld back, whatever the law was and in whatever order the two are named.
    #[test]
    fn candidates_are_in_order_without_their_law() {
        let ids: Vec<u32> = (0..50).collect();
        let mut both = 0;
        for (i, key) in keys(400).enumerate() {
            // A law of another shape for each request; some are nearly certain.
            let logits: Vec<f32> =
                ids.iter().map(|&id| ((id as usize * 7 + i * 13) % 41) as f32 / (1 + i % 9) as f32).collect();
            for position in 0..5 {
                let drawn = key.candidates(position, &ids, &logits).unwrap();
                let named = [drawn.withheld, drawn.served];
                let found = key.order(position, named).unwrap();
                assert_eq!(found, key.order(position, [named[1], named[0]]).unwrap());
                assert_eq!(found, (drawn.served != drawn.withheld).then_some(drawn));
                both += u32::from(found.is_some());
            }
        }
        assert!(both > 500, "{both}");
        let key = keys(1).next().unwrap();
        assert_eq!(key.order(0, [1, 1 << 24]).unwrap_err().kind(), ErrorKind::TokenOutOfRange);
    }

    #[test]
    fn bad_rows_are_errors() {
        let key = keys(1).next().unwrap();
        for (ids, logits) in
            [(&[1, 2][..], &[0.0f32][..]), (&[1], &[f32::NAN]), (&[1], &[f32::NEG_INFINITY]), (&[], &[])]
        {
            assert_eq!(key.candidates(0, ids, logits).unwrap_err().kind(), ErrorKind::InvalidLogits);
        }
        assert_eq!(key.candidates(0, &[1 << 24], &[0.0]).unwrap_err().kind(), ErrorKind::TokenOutOfRange);
        let only = key.candidates(0, &[5], &[0.0]).unwrap();
        assert_eq!((only.served, only.withheld), (5, 5));
    }
}
