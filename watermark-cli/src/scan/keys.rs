//! The keys of a scan.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, LayerDetector, Packing};
use watermark_core::key::NodeKey;
use watermark_core::profile::Profile;

use super::profiles::Profiles;

/// Every layer of the profiles under each of several keys.
pub struct Keys {
    /// [key]: what a key is called in results.
    names: Vec<String>,
    /// [node]: what a PRF key is called that is the same for all accounts of a node; empty without accounts.
    shared: Vec<String>,
    /// The layers of one profile after another.
    layers: Vec<Layer>,
    fingerprint: [u8; 32],
}

/// One layer of one profile.
pub(super) struct Layer {
    /// Number of the profile.
    pub(super) profile: usize,
    pub(super) name: String,
    /// Whether each account has a PRF key of its own here.
    per_account: bool,
    pub(super) packing: Packing,
    /// Which keys open the profile, ascending.
    pub(super) keys: Vec<usize>,
    /// The layer under each of them.
    pub(super) detectors: Vec<LayerDetector>,
}

impl Keys {
    /// One key per named node; with `accounts`, one per node and account.
    ///
    /// # Errors
    /// If a key opens none of the profiles or a profile is opened by none, or a layer cannot be scanned.
    pub fn new(profiles: &Profiles, nodes: &[(String, NodeKey)], accounts: Option<&[String]>) -> Result<Self> {
        let mut digest = Sha256::new_with_prefix(b"watermark-scan/2 keys\0");
        for (_, node) in nodes {
            digest.update(node.commitment(&[0; 32]));
        }
        for account in accounts.unwrap_or_default() {
            digest.update(Sha256::digest(account.as_bytes()));
        }
        let named = nodes.iter().flat_map(|(name, node)| {
            let of_accounts = accounts.unwrap_or_default().iter().map(move |account| {
                let name = if nodes.len() == 1 { account.clone() } else { format!("{name} {account}") };
                (name, node, Some(account.as_str()))
            });
            accounts.is_none().then(|| (name.clone(), node, None)).into_iter().chain(of_accounts)
        });
        let mut names = Vec::new();
        let mut layers: Vec<Vec<Layer>> = profiles.files().iter().map(|_| Vec::new()).collect();
        for (key, (name, node, account)) in named.enumerate() {
            let mut refused = None;
            for (profile, file) in profiles.files().iter().enumerate() {
                match Detector::new(&file.profile, node, account) {
                    Ok(detector) => add(&mut layers[profile], &file.profile, profile, key, &detector)?,
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            let opens = layers.iter().flatten().any(|layer| layer.keys.last() == Some(&key));
            if let Some(error) = refused.filter(|_| !opens) {
                return Err(error).with_context(|| format!("key {name}"));
            }
            names.push(name);
        }
        if names.is_empty() {
            bail!("no keys to test");
        }
        if let Some(profile) = layers.iter().position(Vec::is_empty) {
            let profile = &profiles.files()[profile].profile;
            bail!("no key opens profile {:?}, whose path is {}", profile.name, profile.path);
        }
        let layers = layers.into_iter().flatten().collect();
        let shared = |name: &String| match nodes.len() {
            1 => "(all accounts)".to_owned(),
            _ => format!("{name} (all accounts)"),
        };
        let shared = accounts.map_or_else(Vec::new, |_| nodes.iter().map(|(name, _)| shared(name)).collect());
        Ok(Self { names, shared, layers, fingerprint: digest.finalize().into() })
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

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How many keys are tested in how many layers, over all.
    pub(super) fn tests(&self) -> usize {
        self.layers.iter().map(|layer| layer.keys.len()).sum()
    }

    /// What the PRF key is called that a layer has under a key; none if an earlier key has the same one there, which is
    /// that of all accounts.
    pub(super) fn prf_name(&self, layer: usize, key: usize) -> Option<&str> {
        let per_account = self.layers.get(layer).is_none_or(|layer| layer.per_account);
        if self.shared.is_empty() || per_account {
            return self.names.get(key).map(String::as_str);
        }
        let accounts = self.names.len() / self.shared.len();
        if key.is_multiple_of(accounts) { self.shared.get(key / accounts).map(String::as_str) } else { None }
    }

    /// Identifies the keys without disclosing them.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

fn add(layers: &mut Vec<Layer>, of: &Profile, profile: usize, key: usize, detector: &Detector) -> Result<()> {
    for (at, of_key) in detector.layers().iter().enumerate() {
        if layers.len() <= at {
            layers.push(Layer {
                profile,
                name: of_key.name().unwrap_or_default().to_owned(),
                per_account: of.layers.get(at).is_some_and(|layer| layer.per_account),
                packing: of_key.packing().context("this profile cannot be scanned")?,
                keys: Vec::new(),
                detectors: Vec::new(),
            });
        }
        layers[at].keys.push(key);
        layers[at].detectors.push(of_key.clone());
    }
    Ok(())
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("names", &self.names).finish_non_exhaustive()
    }
}
