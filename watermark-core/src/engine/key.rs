use std::fmt;

use zeroize::Zeroizing;

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

/// The secret of an [`super::Engine`] in the peer's own form. Zeroized on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct EngineKey(pub(super) Zeroizing<Vec<u64>>);

impl EngineKey {
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
