//! What a deployment does, without secrets: sampler, detector and evidence all read the same profile.

mod any_scheme;
#[cfg(feature = "profile")]
pub(crate) mod given;
#[cfg(feature = "profile")]
mod json;
mod sampling_policy;

pub use any_scheme::AnyScheme;
pub use sampling_policy::{Boost, SamplingPolicy};

use crate::key::{KeyPath, NodeKey, PrfKey};
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, MAX_TOKEN_ID, Result, hex};

/// What a profile calls the scheme of paired draws.
pub(crate) const PAIRED: &str = "paired";

/// Profiles with more layers are refused; each costs a PRF pass per token.
const MAX_LAYERS: usize = 16;

/// A deployment: tokenizer, key path and layers. Build it and [`Profile::validate`], or read JSON with `Profile::parse`.
/// The default has no layers, so it is not valid; it names what a profile has when nothing is said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// A name for people.
    pub name: String,
    /// The node under which the layers' nodes lie.
    pub path: KeyPath,
    /// Whether the layers' keys lie below a public random value.
    pub beacon: Beacon,
    /// The tokenizer whose ids the layers speak of.
    pub tokenizer: TokenizerInfo,
    /// Reweighting layers in order, then at most one choosing layer.
    pub layers: Vec<Layer>,
    /// Name of the layer of paired draws ([`crate::paired`]), where there is one: of two candidates a coin serves one. It is the last
    /// of the profile's layers, and no text or data set shows it.
    pub paired: Option<String>,
    /// What clients' temperature and truncation are held to.
    pub sampling: Option<SamplingPolicy>,
}

/// Whether the layers' keys lie below a public random value that was drawn after they had been committed to, so that nobody can
/// have chosen them among many (`crate::evidence::beacon`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beacon {
    /// They do not.
    #[default]
    None,
    /// They will: `"beacon": null`. Nothing can be marked or detected before the value is drawn.
    Awaited,
    /// They do: `"beacon"` is the value, 64 hexadecimal digits.
    Drawn([u8; 32]),
}

/// Identity of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerInfo {
    /// SHA-256 of the tokenizer file's bytes.
    pub sha256: [u8; 32],
    /// Length of a logits row.
    pub vocab_size: u32,
    /// Ids that are neither marked nor scored.
    pub special_token_ids: Vec<u32>,
}

/// One keyed signal. Layers never share randomness.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// A key-path segment, unique in the profile.
    pub name: String,
    /// The scheme or engine with its parameters.
    pub scheme: AnyScheme,
    /// Context width in tokens, 0..=8.
    pub width: usize,
    /// Whether each account has a key of its own (`"per": "account"`).
    pub per_account: bool,
}

impl Layer {
    /// The two layers of an ordinary deployment: `distillation` with a context of one token, which a student model
    /// inherits, and `provenance` with a context of four, which leaves the distribution of each token as it is. A mark
    /// with the long context is hardly inherited (2312.04469, 2502.11598), so one layer cannot do both jobs.
    #[must_use]
    pub fn defaults(distillation: impl Into<AnyScheme>, provenance: impl Into<AnyScheme>) -> Vec<Self> {
        let layer = |name: &str, scheme, width| Self { name: name.to_owned(), scheme, width, per_account: false };
        vec![layer("distillation", distillation.into(), 1), layer("provenance", provenance.into(), 4)]
    }
}

impl Profile {
    /// Checks what the types cannot: ranges, unique names, order and number of choosing layers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`], naming the field.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidProfile, message));
        let tokenizer = &self.tokenizer;
        if tokenizer.vocab_size == 0 || tokenizer.vocab_size > MAX_TOKEN_ID + 1 {
            return invalid(format!("tokenizer.vocab_size is {}; it must be 1 to 2^24", tokenizer.vocab_size));
        }
        if let Some(id) = tokenizer.special_token_ids.iter().find(|&&id| id >= tokenizer.vocab_size) {
            return invalid(format!("special token id {id} is not below vocab_size {}", tokenizer.vocab_size));
        }
        let names: Vec<&String> = self.layers.iter().map(|layer| &layer.name).chain(&self.paired).collect();
        if names.is_empty() || names.len() > MAX_LAYERS {
            return invalid(format!("{} layers; a profile has 1 to {MAX_LAYERS}", names.len()));
        }
        for (i, name) in names.iter().enumerate() {
            if name.contains('/') || self.layer_path(name).is_err() || name.is_empty() {
                return invalid(format!("layer {i}: the name must be 1 to 64 characters of [a-z0-9._-]"));
            }
            if names[..i].contains(name) {
                return invalid(format!("two layers are named {name:?}"));
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let name = &layer.name;
            if layer.width > MAX_CONTEXT_WIDTH {
                return invalid(format!("layer {name:?}: width {} is above {MAX_CONTEXT_WIDTH}", layer.width));
            }
            if let AnyScheme::Engine(engine) = layer.scheme {
                if !engine.can_mark() {
                    return invalid(format!("layer {name:?}: {} can be detected but not marked with", engine.name()));
                }
                if layer.width != engine.context_width() {
                    return invalid(format!("layer {name:?}: width {} is not the engine's", layer.width));
                }
            }
            if layer.scheme.chooses() && i + 1 < self.layers.len() {
                return invalid(format!("layer {name:?} chooses the token, so it must be the last layer"));
            }
            if self.paired.is_some() && layer.scheme.chooses() && !layer.scheme.draws_pairs() {
                return invalid(format!(
                    "layer {name:?}: {} draws one token; beside paired draws the layer that draws must be gumbel_dual_key with alpha 0.5, whose \
                     keys draw a candidate each",
                    layer.scheme.name()
                ));
            }
        }
        self.check_sampling().or_else(invalid)
    }

    fn check_sampling(&self) -> std::result::Result<(), String> {
        let Some(policy) = &self.sampling else { return Ok(()) };
        policy.check()?;
        let unfit = |layer: &&Layer| !layer.scheme.chooses() && !layer.scheme.boosts();
        match self.layers.iter().find(unfit).filter(|_| policy.boost == Boost::BeforeTemperature) {
            Some(Layer { name, scheme, .. }) => Err(format!(
                "layer {name:?}: {} keeps the model's distribution only where nothing changes it afterwards, so sampling.boost must be \
                 after_temperature",
                scheme.name()
            )),
            None => Ok(()),
        }
    }

    /// Whether answers to requests with temperature 0 are marked: the policy raises the temperature, or applies a boost before it.
    #[must_use]
    pub fn marks_greedy(&self) -> bool {
        let boosts = self.layers.iter().any(|layer| layer.scheme.boosts());
        self.sampling.is_some_and(|SamplingPolicy { boost, min_temperature, .. }| {
            min_temperature.is_some() || (boosts && boost == Boost::BeforeTemperature)
        })
    }

    /// Whether one of the layers draws the token, or there are paired draws. If not, the session draws it as an unmarked session would, or
    /// its caller draws it.
    #[must_use]
    pub fn chooses(&self) -> bool {
        self.paired.is_some() || self.layers.iter().any(|layer| layer.scheme.chooses())
    }

    /// Whether a layer has a key per account, so that an account's answers are marked as its own.
    #[must_use]
    pub fn has_account_layer(&self) -> bool {
        self.layers.iter().any(|layer| layer.per_account)
    }

    /// Refuses an account that could not be told apart from others: an empty one, or one for which no layer has a key.
    pub(crate) fn check_account(&self, account: Option<&str>) -> Result<()> {
        let refuse = |message| Err(Error::new(ErrorKind::InvalidParameter, message));
        match account {
            Some("") => refuse("the account is empty: all who are not known would be one account".to_owned()),
            Some(_) if !self.has_account_layer() => refuse(format!(
                "an account is named, but no layer of profile {:?} has a key per account; leave it out",
                self.name
            )),
            _ => Ok(()),
        }
    }

    /// The node of the layer of that name, which is the one that is committed to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the name is no segment of a path.
    pub fn layer_path(&self, name: &str) -> Result<KeyPath> {
        self.path.join("layer")?.join(name)
    }

    /// The nodes to commit to before the keys serve: every layer's, and the secret that names accounts where a layer has a key for each.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if a name is no segment of a path.
    pub fn committed_paths(&self) -> Result<Vec<KeyPath>> {
        let accounts = self.has_account_layer().then(|| self.accounts_path());
        let names = self.layers.iter().map(|layer| &layer.name).chain(&self.paired);
        names.map(|name| self.layer_path(name)).chain(accounts).collect()
    }

    /// The PRF key of the layer of paired draws, below which requests have their secrets; `None` without one. From any key at or above the
    /// layer's node. The beacon enters below each request's secret.
    ///
    /// # Errors
    /// [`ErrorKind::OutsideSubtree`].
    pub fn paired_key(&self, key: &NodeKey) -> Result<Option<PrfKey>> {
        let Some(name) = &self.paired else { return Ok(None) };
        key.descend(&self.layer_path(name)?)?.prf_key(PAIRED, 0).map(Some)
    }

    /// The drawn value that keys lie below, if they do.
    ///
    /// # Errors
    /// [`ErrorKind::MissingInput`] while it is not drawn.
    pub fn drawn_beacon(&self) -> Result<Option<[u8; 32]>> {
        match self.beacon {
            Beacon::None => Ok(None),
            Beacon::Awaited => {
                let message = "the profile awaits a beacon; put the drawn value in with `watermark profile beacon`";
                Err(Error::new(ErrorKind::MissingInput, message))
            }
            Beacon::Drawn(value) => Ok(Some(value)),
        }
    }

    fn accounts_path(&self) -> Result<KeyPath> {
        self.path.join("accounts")
    }

    /// The PRF key of a layer, from any key at or above the layer's node.
    ///
    /// A layer with a key per account needs the `account`, and a key at or above the profile's path: the account's key lies at
    /// `<layer>/account/<pseudonym>`, and its pseudonym follows from the id by the secret at `<path>/accounts`. So whoever learns a
    /// layer's node, because it was opened as evidence, can still not try which accounts wrote a text.
    ///
    /// # Errors
    /// [`ErrorKind::OutsideSubtree`], [`ErrorKind::MissingInput`] for a per-account layer without an account, and while the beacon is
    /// not drawn.
    pub fn prf_key(&self, layer: &Layer, key: &NodeKey, account: Option<&str>) -> Result<PrfKey> {
        let mut path = self.layer_path(&layer.name)?;
        if let Some(value) = self.drawn_beacon()? {
            path = path.join("beacon")?.join(&hex::encode(&value))?;
        }
        if layer.per_account {
            let account = account.ok_or_else(|| {
                Error::new(
                    ErrorKind::MissingInput,
                    format!("layer {:?} has a key per account; name the account", layer.name),
                )
            })?;
            let pseudonym = key.descend(&self.accounts_path()?)?.account_pseudonym(account);
            path = path.join("account")?.join(&hex::encode(pseudonym.as_slice()))?;
        }
        key.descend(&path)?.prf_key(layer.scheme.name(), layer.width)
    }
}
