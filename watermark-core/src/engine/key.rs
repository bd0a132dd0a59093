use std::fmt;

use zeroize::Zeroizing;

use super::{Engine, EngineScore};
use crate::key::PrfKey;
use crate::prf::ChaCha20V1;
use crate::{Error, ErrorKind, Result};

/// How an engine's configuration writes a key.
pub(crate) struct KeyForm {
    /// For errors: "a key of … is …".
    pub(crate) is: &'static str,
    /// For the help of an option that takes keys of any engine.
    pub(crate) help: &'static str,
    /// A key has one integer a tournament layer; else it is one integer.
    pub(crate) one_a_layer: bool,
    /// Reads a key without blanks around it.
    pub(crate) parse: fn(&str) -> Option<Vec<u64>>,
    /// Writes what `parse` reads.
    pub(crate) print: fn(&[u64]) -> String,
}

/// One decimal integer, as most engines have it.
pub(super) const DECIMAL: KeyForm = KeyForm {
    is: "one decimal integer of 64 bits",
    help: "else a decimal integer",
    one_a_layer: false,
    parse: |text| integer(text).map(|key| vec![key]),
    print: decimals,
};

/// Negative keys wrap, as they do in the peers' 64-bit arithmetic.
pub(super) fn integer(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

pub(super) fn decimals(keys: &[u64]) -> String {
    keys.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// The secret of an [`Engine`] in the peer's own form. Zeroized on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct EngineKey(Zeroizing<Vec<u64>>);

impl EngineKey {
    /// Reads a key as the peer's configuration writes it: hexadecimal (1 to 16 digits) for SGLang, a comma-separated list of
    /// integers for SynthID, else one decimal integer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`]; the message does not repeat the text.
    pub fn parse(engine: &Engine, text: &str) -> Result<Self> {
        let form = &engine.format.key;
        let keys = (form.parse)(text.trim()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidParameter, format!("a key of {} is {}", engine.name(), form.is))
        })?;
        Ok(Self(Zeroizing::new(keys)))
    }

    /// The engine key that belongs to a PRF key: integer i is words 2i (low half) and 2i+1 of its `chacha20-v1` stream with
    /// the empty context. One key tree thus serves a fleet of different engines, and fresh keys exist for each.
    ///
    /// # Errors
    /// None for a depth that [`Engine::new`] accepts.
    pub fn from_prf_key(engine: &Engine, key: &PrfKey) -> Result<Self> {
        let count = match engine.score() {
            EngineScore::Tournament { depth } if engine.format.key.one_a_layer => depth as usize,
            _ => 1,
        };
        let prf = ChaCha20V1::new(key, 0)?;
        let mut words = Zeroizing::new(vec![0; 2 * count]);
        if let Some(context) = prf.context(&[])? {
            prf.vocabulary_words(context, &mut words)?;
        }
        let pairs = words.as_chunks::<2>().0.iter();
        Ok(Self(Zeroizing::new(pairs.map(|&[low, high]| u64::from(low) | u64::from(high) << 32).collect())))
    }

    /// The key as the peer's configuration writes it.
    #[must_use]
    pub fn print(&self, engine: &Engine) -> Zeroizing<String> {
        Zeroizing::new((engine.format.key.print)(&self.0))
    }

    pub(super) fn first(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    #[cfg(feature = "detect")]
    pub(super) fn values(&self) -> &[u64] {
        &self.0
    }
}

impl fmt::Debug for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineKey(..)")
    }
}
