//! Values of the drand chain `quicknet`, verified offline by their BLS signatures.

use anyhow::{Context as _, Result, anyhow};
use drand_verify::{G2PubkeyRfc, Pubkey as _};
use watermark_core::evidence::beacon::{BeaconRound, DrawnValue, QUICKNET, QUICKNET_KEY};
use watermark_core::hex;

/// Whether the source's signature of a value holds; `None` where the source has none, or none was given.
///
/// # Errors
/// Never for the chain that is known: its key is part of the program.
pub(super) fn verifies(round: &BeaconRound, drawn: &DrawnValue) -> Result<Option<bool>> {
    let (Some(digits), true) = (&drawn.signature, round.source == QUICKNET) else { return Ok(None) };
    let (mut key, mut signature) = ([0; 96], [0; 48]);
    hex::decode(QUICKNET_KEY.as_bytes(), &mut key).context("the chain's key")?;
    if hex::decode(digits.as_bytes(), &mut signature).is_none() {
        return Ok(Some(false));
    }
    let key = G2PubkeyRfc::from_fixed(key).map_err(|error| anyhow!("the chain's key: {error}"))?;
    // A signature that is no point of the curve does not hold.
    Ok(Some(round.check_value(drawn).is_ok() && key.verify(round.round, b"", &signature).unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use watermark_core::evidence::bundle::Digest;

    use super::*;

    /// Round 123 of the chain, as its servers publish it (<https://api.drand.sh>).
    const SIGNATURE: &str =
        "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";

    #[test]
    fn a_published_round() {
        let round = |round| BeaconRound { round, source: QUICKNET.to_owned() };
        let drawn = |digits: &str| DrawnValue::from_signature(digits).unwrap();
        assert_eq!(verifies(&round(123), &drawn(SIGNATURE)).unwrap(), Some(true));
        assert_eq!(verifies(&round(124), &drawn(SIGNATURE)).unwrap(), Some(false));
        for other in [SIGNATURE.replacen("b75c", "b75d", 1), "00".repeat(48)] {
            assert_eq!(verifies(&round(123), &drawn(&other)).unwrap(), Some(false));
        }
        let value = Digest([0; 32]);
        assert_eq!(verifies(&round(123), &DrawnValue { value, ..drawn(SIGNATURE) }).unwrap(), Some(false));
        assert_eq!(verifies(&round(123), &DrawnValue { signature: None, value }).unwrap(), None);
        let lottery = BeaconRound { source: "lottery".to_owned(), ..round(123) };
        assert_eq!(verifies(&lottery, &DrawnValue { signature: None, value }).unwrap(), None);
    }
}
