//! The keys of a scan.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, LayerDetector, Packing};
use watermark_core::key::NodeKey;
use watermark_core::profile::Profile;

/// Every layer of a profile under each of several keys.
pub struct Keys {
    /// [key]: what a key is called in results.
    names: Vec<String>,
    /// [layer][key]
    layers: Vec<Vec<LayerDetector>>,
    packings: Vec<Packing>,
    fingerprint: [u8; 32],
}

impl Keys {
    /// One key per named node; with `accounts`, one per node and account.
    ///
    /// # Errors
    /// If a key does not open the profile, or a layer cannot be scanned.
    pub fn new(profile: &Profile, nodes: &[(String, NodeKey)], accounts: Option<&[String]>) -> Result<Self> {
        let mut digest = Sha256::new_with_prefix(b"watermark-scan/1 keys\0");
        let mut names = Vec::new();
        let mut layers: Vec<Vec<LayerDetector>> = vec![Vec::new(); profile.layers.len()];
        let mut add = |name: String, node: &NodeKey, account: Option<&str>| -> Result<()> {
            let detector = Detector::new(profile, node, account).with_context(|| format!("key {name}"))?;
            for (of_layer, layer) in layers.iter_mut().zip(detector.layers()) {
                of_layer.push(layer.clone());
            }
            names.push(name);
            Ok(())
        };
        for (name, node) in nodes {
            digest.update(node.commitment(&[0; 32]));
            match accounts {
                None => add(name.clone(), node, None)?,
                Some(accounts) => {
                    for account in accounts {
                        let name = if nodes.len() == 1 { account.clone() } else { format!("{name} {account}") };
                        add(name, node, Some(account))?;
                    }
                }
            }
        }
        for account in accounts.unwrap_or_default() {
            digest.update(Sha256::digest(account.as_bytes()));
        }
        if names.is_empty() {
            bail!("no keys to test");
        }
        let packings = layers.iter().flat_map(|keys| keys.first()).map(LayerDetector::packing);
        let packings = packings.collect::<Result<_, _>>().context("this profile cannot be scanned")?;
        Ok(Self { names, layers, packings, fingerprint: digest.finalize().into() })
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there is at least one key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn name(&self, key: usize) -> &str {
        &self.names[key]
    }

    /// The detectors of each layer, one per key, with their packing.
    pub(super) fn layers(&self) -> impl ExactSizeIterator<Item = (&[LayerDetector], Packing)> {
        self.layers.iter().map(Vec::as_slice).zip(self.packings.iter().copied())
    }

    /// Identifies the keys without disclosing them.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("names", &self.names).finish_non_exhaustive()
    }
}
