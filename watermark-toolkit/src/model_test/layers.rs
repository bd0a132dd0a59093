use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use watermark_core::detect::{Detector, LayerDetector};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::model_test::ModelSample;

use crate::files::read_profile;

/// A layer that is tested, and whom its key was ever used for.
pub struct TestedLayer {
    /// The layer under its key.
    pub layer: LayerDetector,
    /// Whether only quarantined or honeypot accounts ever got answers under this key. A signal there cannot come from
    /// answers that other customers published.
    pub reserved: bool,
}

/// Which layers are tested.
#[derive(Clone, Copy, Debug, Default)]
pub struct Select<'a> {
    /// Profiles of other paths whose keys only ever served quarantined or honeypot accounts.
    pub reserved: &'a [PathBuf],
    /// The account whose keys are tested, for layers with a key per account.
    pub account: Option<&'a str>,
    /// Names of layers; empty for all.
    pub names: &'a [String],
}

impl TestedLayer {
    /// The layers of `profile` and of the reserved ones under `key`.
    ///
    /// # Errors
    /// If a profile cannot be used with the key, names another tokenizer or the path of another one; if a layer has no test of a model, or is
    /// not there; if an account is named and none of the layers has a key per account.
    pub fn select(profile: &Path, key: &NodeKey, select: &Select<'_>) -> Result<Vec<Self>> {
        let info = read_profile(profile)?.profile.tokenizer;
        let mut tested: Vec<Self> = Vec::new();
        let mut paths: Vec<KeyPath> = Vec::new();
        let mut account_decides = false;
        let reserved = select.reserved.iter().map(|path| (path.as_path(), true));
        for (path, reserved) in std::iter::once((profile, false)).chain(reserved) {
            let mut named = read_profile(path)?.profile;
            if named.tokenizer != info {
                bail!("{} names another tokenizer than {}", path.display(), profile.display());
            }
            if paths.contains(&named.path) {
                bail!("{} has the same key path as another profile; reserved keys need their own", path.display());
            }
            paths.push(named.path.clone());
            if !select.names.is_empty() {
                named.layers.retain(|layer| select.names.contains(&layer.name));
            }
            if named.layers.is_empty() {
                continue;
            }
            let account = select.account.filter(|_| named.has_account_layer());
            account_decides |= account.is_some();
            for layer in Detector::new(&named, key, account)?.layers() {
                let name = layer.name().unwrap_or_default();
                check_testable(layer).with_context(|| format!("layer {name:?} of {}", path.display()))?;
                tested.push(Self { layer: layer.clone(), reserved });
            }
        }
        if select.account.is_some() && !account_decides {
            bail!("an account is named, but no layer that is tested has a key per account; leave it out");
        }
        let known = |name: &String| tested.iter().any(|tested| tested.layer.name() == Some(name));
        if let Some(name) = select.names.iter().find(|name| !known(name)) {
            bail!("no layer of {} is named {name:?}; see `watermark profile check`", profile.display());
        }
        Ok(tested)
    }
}

/// Checks that a layer has a test of a model, before a long input is read.
///
/// # Errors
/// If it has none.
pub fn check_testable(layer: &LayerDetector) -> Result<()> {
    ModelSample::of_answers(layer).test(layer).map(|_| ()).with_context(|| {
        format!(
            "{} has no test of a model; test its texts with `watermark detect`, or name another layer",
            layer.scheme().name()
        )
    })
}
