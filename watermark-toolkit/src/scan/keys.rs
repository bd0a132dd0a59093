//! The keys of a scan.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use watermark_core::ErrorKind;
use watermark_core::detect::{Detector, LayerDetector, Packing};
use watermark_core::key::NodeKey;

use super::profiles::Profiles;

/// Every layer of the profiles under each of several keys.
pub struct Keys {
    /// [key]: what a key is called in results.
    names: Vec<String>,
    /// The layers of one profile after another.
    layers: Vec<Layer>,
    fingerprint: [u8; 32],
}

/// One layer of one profile.
pub(super) struct Layer {
    /// Number of the profile.
    pub(super) profile: usize,
    pub(super) name: String,
    pub(super) packing: Packing,
    /// Which keys are tested in it, ascending.
    pub(super) keys: Vec<usize>,
    /// The layer under each of them.
    pub(super) detectors: Vec<LayerDetector>,
}

impl Keys {
    /// One key per named node. With `accounts`, layers with a key per account are tested under the key of every
    /// account, and all other layers once, under the node: testing them again for every account would only make the
    /// family larger.
    ///
    /// # Errors
    /// If a key or account is named twice, a key opens none of the profiles or a profile is opened by none, or a layer
    /// cannot be scanned.
    pub fn new(profiles: &Profiles, nodes: &[(String, NodeKey)], accounts: Option<&[String]>) -> Result<Self> {
        let mut digest = Sha256::new_with_prefix(b"watermark-scan/2 keys\0");
        let mut known = HashMap::new();
        for (name, node) in nodes {
            let commitment = node.commitment(&[0; 32]);
            digest.update(commitment);
            if let Some(other) = known.insert(commitment, name) {
                bail!("{other} and {name} are the same key; name it once");
            }
        }
        let mut known = HashSet::new();
        for account in accounts.unwrap_or_default() {
            digest.update(Sha256::digest(account.as_bytes()));
            if !known.insert(account) {
                bail!("account {account:?} is named twice");
            }
        }
        let named = nodes.iter().flat_map(|(name, node)| {
            let first = accounts.and_then(|accounts| Some((accounts.first()?.as_str(), Some(false))));
            let (account, per_account) = first.unzip();
            let of_accounts = accounts.unwrap_or_default().iter().map(move |account| {
                let name = if nodes.len() == 1 { account.clone() } else { format!("{name} {account}") };
                (name, node, Some(account.as_str()), Some(true))
            });
            std::iter::once((name.clone(), node, account, per_account.flatten())).chain(of_accounts)
        });
        let mut names = Vec::new();
        let mut layers: Vec<Vec<Layer>> = profiles.files().iter().map(|_| Vec::new()).collect();
        let mut unopened: Vec<Option<watermark_core::Error>> = vec![None; layers.len()];
        for (name, node, account, per_account) in named {
            let mut refused = None;
            let mut opened = false;
            for (number, file) in profiles.files().iter().enumerate() {
                let account = account.filter(|_| file.profile.has_account_layer());
                match Detector::new(&file.profile, node, account) {
                    Ok(detector) => {
                        opened = true;
                        let tested =
                            |at: usize| per_account.is_none_or(|per| per == file.profile.layers[at].per_account);
                        add(&mut layers[number], number, names.len(), &detector, tested)?;
                    }
                    Err(error) => {
                        unopened[number].get_or_insert_with(|| error.clone());
                        refused = refused.or(Some(error));
                    }
                }
            }
            if let Some(error) = refused.filter(|_| !opened) {
                return Err(error).with_context(|| format!("key {name}"));
            }
            // If all layers have keys per account, the node itself tests nothing and is no key of the scan.
            if layers.iter().flatten().any(|layer| layer.keys.last() == Some(&names.len())) {
                names.push(name);
            }
        }
        if names.is_empty() {
            bail!("no keys to test");
        }
        if let Some(at) = layers.iter().position(Vec::is_empty) {
            let profile = &profiles.files()[at].profile;
            if let Some(error) = unopened[at].take().filter(|error| error.kind() == ErrorKind::MissingInput) {
                return Err(error).with_context(|| format!("profile {:?}", profile.name));
            }
            bail!("no key opens profile {:?}, whose path is {}", profile.name, profile.path);
        }
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            bail!(
                "a key and an account are both called {name:?}, so no result could tell them apart; rename the key file"
            );
        }
        if accounts.is_some() && !profiles.files().iter().any(|file| file.profile.has_account_layer()) {
            bail!(
                "accounts are given, but no layer of the profile has a key per account (watermark profile new --per-account LAYER makes one)"
            );
        }
        let layers = layers.into_iter().flatten().collect();
        Ok(Self { names, layers, fingerprint: digest.finalize().into() })
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Always false: there is at least one key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn name(&self, key: usize) -> &str {
        &self.names[key]
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How many keys are tested in how many layers, over all.
    pub(super) fn tests(&self) -> usize {
        self.layers.iter().map(|layer| layer.keys.len()).sum()
    }

    /// Identifies the keys without disclosing them.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

fn add(
    layers: &mut Vec<Layer>,
    profile: usize,
    key: usize,
    detector: &Detector,
    tested: impl Fn(usize) -> bool,
) -> Result<()> {
    for (at, of_key) in detector.layers().iter().enumerate() {
        if layers.len() <= at {
            layers.push(Layer {
                profile,
                name: of_key.name().unwrap_or_default().to_owned(),
                packing: of_key.packing().context("this profile cannot be scanned")?,
                keys: Vec::new(),
                detectors: Vec::new(),
            });
        }
        if tested(at) {
            layers[at].keys.push(key);
            layers[at].detectors.push(of_key.clone());
        }
    }
    Ok(())
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("names", &self.names).finish_non_exhaustive()
    }
}
