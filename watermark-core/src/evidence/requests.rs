//! The requests of a ledger that paired draws are planned for, committed to before anything is served.

use serde::{Deserialize, Serialize};

use super::fields::Digest;
use super::merkle::{self, Hash};
use crate::key::PrfKey;
use crate::paired::RequestSecret;
use crate::{Error, ErrorKind, Result};

/// A longer name of a ledger is refused.
const MAX_LEDGER: usize = 200;

/// The requests `<ledger>/0`, `<ledger>/1`, … and the Merkle root over the leaves of their secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// How many are planned.
    pub count: u64,
    /// The ledger's name.
    pub ledger: String,
    /// Merkle root over [`RequestSecret::leaf`] of each, in order.
    pub root: Digest,
}

impl Requests {
    /// Commits to the first `count` requests of a ledger, whose secrets lie below the layer's PRF key without a beacon.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn plan(layer: &PrfKey, ledger: &str, count: u64) -> Result<Self> {
        let mut tree = merkle::Frontier::new();
        (0..count).for_each(|number| tree.append(leaf(&RequestSecret::new(layer, &id(ledger, number)))));
        let planned = Self { count, ledger: ledger.to_owned(), root: Digest(tree.root()) };
        planned.check()?;
        Ok(planned)
    }

    /// # Errors
    /// [`ErrorKind::InvalidEvidence`] for no requests, or a name that is empty, too long, or has a control character.
    pub fn check(&self) -> Result<()> {
        let Self { count, ledger, .. } = self;
        if *count == 0 || ledger.is_empty() || ledger.len() > MAX_LEDGER || ledger.contains(char::is_control) {
            let message = format!("requests: a ledger has a name of 1 to {MAX_LEDGER} bytes, and at least one request");
            return Err(Error::new(ErrorKind::InvalidEvidence, message));
        }
        Ok(())
    }

    /// The id of a request.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        id(&self.ledger, number)
    }

    /// The consistency proof from the first `size` requests to all of them; `None` if there are not as many, or the layer's secrets are others.
    #[must_use]
    pub fn proof(&self, layer: &PrfKey, size: u64) -> Option<Vec<Hash>> {
        let leaves: Vec<Hash> =
            (0..self.count).map(|number| leaf(&RequestSecret::new(layer, &self.id(number)))).collect();
        if merkle::root(&leaves) != self.root.0 || size > self.count {
            return None;
        }
        if size == self.count {
            Some(Vec::new())
        } else {
            merkle::consistency_proof(&leaves, usize::try_from(size).ok()?)
        }
    }

    /// Whether the tree over the leaves of the first `size` requests, of this root, begins the planned one.
    #[must_use]
    pub fn begin_with(&self, size: u64, root: &Hash, proof: &[Hash]) -> bool {
        merkle::verify_consistency(size, root, self.count, &self.root.0, proof)
    }
}

fn id(ledger: &str, number: u64) -> String {
    format!("{ledger}/{number}")
}

/// The leaf hash of a request in the tree of all.
pub(super) fn leaf(secret: &RequestSecret) -> Hash {
    merkle::leaf_hash(&secret.leaf())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::key::NodeKey;

    #[test]
    fn the_first_requests_of_a_plan() {
        let layer = |master: &[u8]| NodeKey::root(master).prf_key("paired", 0).unwrap();
        let root = |master: &[u8], n: u64| {
            let secrets = (0..n).map(|number| RequestSecret::new(&layer(master), &format!("a/b/{number}")));
            merkle::root(&secrets.map(|secret| leaf(&secret)).collect::<Vec<_>>())
        };
        let planned = Requests::plan(&layer(b"m"), "a/b", 11).unwrap();
        for n in 1..=11 {
            let proof = planned.proof(&layer(b"m"), n).unwrap();
            assert!(planned.begin_with(n, &root(b"m", n), &proof), "{n}");
            assert!(!planned.begin_with(n, &root(b"o", n), &proof));
            assert!(n == 1 || !planned.begin_with(n - 1, &root(b"m", n - 1), &proof));
            assert_eq!(proof.is_empty(), n == 11);
        }
        assert!(planned.proof(&layer(b"o"), 3).is_none() && planned.proof(&layer(b"m"), 12).is_none());
        for (ledger, count) in [("", 1), ("a\nb", 1), ("a", 0), (&*"a".repeat(201), 1)] {
            assert!(Requests::plan(&layer(b"m"), ledger, count).is_err(), "{ledger} {count}");
        }
    }
}
