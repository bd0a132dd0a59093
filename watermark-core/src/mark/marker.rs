use std::sync::Arc;

use super::choosing::Choosing;
use super::pairs::Paired;
use super::policy::Admitted;
use super::{Sampling, Session};
use crate::engine::EngineKey;
use crate::key::{NodeKey, PrfKey};
use crate::paired::RequestSecret;
use crate::prf::ChaCha20V1;
use crate::profile::{AnyScheme, Layer, Profile};
use crate::scheme::Scheme;
use crate::{Error, ErrorKind, Result};

/// A profile under its key, which opens a [`Session`] for every sequence. `Send + Sync`, cheap to clone.
///
/// # Example
///
/// A server makes one marker and a session for every answer. Here each account has a key of its own.
///
/// ```
/// use watermark_core::ErrorKind;
/// use watermark_core::key::{KeyPath, NodeKey};
/// use watermark_core::mark::{Marker, SessionOptions};
/// use watermark_core::profile::{Layer, Profile, TokenizerInfo};
/// use watermark_core::scheme::{Gumbel, Scheme};
///
/// let scheme = Scheme::Gumbel(Gumbel).into();
/// let profile = Profile {
///     name: "chat".to_owned(),
///     path: KeyPath::root(),
///     tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 100, special_token_ids: vec![] },
///     layers: vec![Layer { name: "provenance".to_owned(), scheme, width: 4, per_account: true }],
///     ..Profile::default()
/// };
/// let marker = Marker::new(profile, &NodeKey::root(b"32 bytes from the system's randomness in real use"))?;
///
/// let answer = |account: &str| {
///     let options = SessionOptions { account: Some(account.to_owned()), marked: true, ..SessionOptions::default() };
///     let mut session = marker.session(&options)?;
///     for _ in 0..50 {
///         // In place of a model: every token is as likely as any other.
///         let token = session.sample(&[0.0_f32; 100])?;
///         session.accept(token)?;
///     }
///     Ok::<_, watermark_core::Error>(session.generated().to_vec())
/// };
/// let (first, second) = (answer("first")?, answer("second")?);
/// // Both answers share a seed and a model. They differ where the account's key decides: after the first four tokens,
/// // which have no complete context.
/// assert_eq!(first[..4], second[..4]);
/// assert_ne!(first[4..], second[4..]);
/// // A marked session that names no account has no key, so it is refused.
/// let nobody = SessionOptions { marked: true, ..SessionOptions::default() };
/// assert!(marker.session(&nobody).is_err_and(|error| error.kind() == ErrorKind::MissingInput));
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Marker(Arc<Shared>);

struct Shared {
    profile: Profile,
    key: NodeKey,
    special: Arc<[u32]>,
    /// One entry per layer: the layer under its key, derived once. `None` for a layer with a key per account, whose key
    /// a session derives.
    keyed: Vec<Option<Keyed>>,
    /// Below which requests have their secrets, with the beacon.
    paired: Option<(PrfKey, Option<[u8; 32]>)>,
}

/// A layer under its key.
#[derive(Clone)]
enum Keyed {
    Reweighting(Scheme, ChaCha20V1),
    Choosing(Choosing),
}

impl Keyed {
    fn new(layer: &Layer, key: &PrfKey) -> Result<Self> {
        let scheme = match layer.scheme {
            AnyScheme::Own(scheme) => scheme,
            AnyScheme::Engine(engine) => {
                return Choosing::engine(&engine, &EngineKey::from_prf_key(&engine, key)?).map(Self::Choosing);
            }
        };
        let prf = ChaCha20V1::new(key, layer.width)?;
        Ok(Choosing::new(scheme, &prf).map_or(Self::Reweighting(scheme, prf), Self::Choosing))
    }
}

/// How one sequence is sampled.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// The account that asks. A marked session of a profile with a key per account needs it
    /// ([`Profile::has_account_layer`]). A profile without one refuses it, because the marks of all accounts would be
    /// alike.
    pub account: Option<String>,
    /// `false` samples without any mark, and without the profile's sampling policy.
    pub marked: bool,
    /// Seed of every draw that no key decides. The same seed for two sequences repeats those draws.
    pub seed: u64,
    /// The request's number in the ledger, which the draws of a marked session with a layer of paired draws follow from
    /// ([`crate::paired`]): one that no other answer has, so that nobody can try some until the coins fit.
    pub request: Option<String>,
    /// Temperature and truncation. A marked session raises what is below the floors of the profile's policy ([`Session::raised`]).
    pub sampling: Sampling,
}

impl Marker {
    /// Prepares `profile` under `key`, a key at or above the profile's path.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`], [`ErrorKind::OutsideSubtree`].
    pub fn new(profile: Profile, key: &NodeKey) -> Result<Self> {
        profile.validate()?;
        // Keep the key of the profile's subtree only: the master key is not needed again.
        let key = key.descend(&profile.path)?;
        let keyed = profile
            .layers
            .iter()
            .map(|layer| {
                if layer.per_account {
                    return Ok(None);
                }
                Keyed::new(layer, &profile.prf_key(layer, &key, None)?).map(Some)
            })
            .collect::<Result<_>>()?;
        let mut special = profile.tokenizer.special_token_ids.clone();
        special.sort_unstable();
        let paired = match profile.paired_key(&key)? {
            Some(layer) => Some((layer, profile.drawn_beacon()?)),
            None => None,
        };
        Ok(Self(Arc::new(Shared { special: special.into(), profile, key, keyed, paired })))
    }

    /// Starts a sequence with no generated tokens.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for sampling parameters, an account that no layer has a key for, and a request without paired draws;
    /// [`ErrorKind::MissingInput`] for a missing account or request.
    pub fn session(&self, options: &SessionOptions) -> Result<Session> {
        options.sampling.validate()?;
        let shared = &self.0;
        shared.profile.check_account(options.account.as_deref())?;
        let (mut reweighting, mut choosing) = (Vec::new(), None);
        if options.marked {
            for (layer, prepared) in shared.profile.layers.iter().zip(&shared.keyed) {
                let keyed = match prepared {
                    Some(keyed) => keyed.clone(),
                    None => {
                        let key = shared.profile.prf_key(layer, &shared.key, options.account.as_deref())?;
                        Keyed::new(layer, &key)?
                    }
                };
                match keyed {
                    Keyed::Reweighting(scheme, prf) => reweighting.push((scheme, prf)),
                    Keyed::Choosing(layer) => choosing = Some(layer),
                }
            }
        }
        let request = match (&shared.paired, options.request.as_deref()) {
            (None, Some(_)) => {
                let message = "a request is named, but the profile has no paired draws; leave it out";
                return Err(Error::new(ErrorKind::InvalidParameter, message));
            }
            (Some(_), Some("")) => return Err(Error::new(ErrorKind::InvalidParameter, "the request is empty")),
            (Some(_), None) if options.marked => {
                let message = "the profile has paired draws; name the request by its number in the ledger";
                return Err(Error::new(ErrorKind::MissingInput, message));
            }
            (Some((layer, beacon)), Some(id)) if options.marked => {
                Some(RequestSecret::new(layer, id).key(beacon.as_ref()))
            }
            _ => None,
        };
        let draws = ChaCha20V1::without_context(&draw_key(options.seed));
        let vocab_size = usize::try_from(self.vocab_size())
            .map_err(|_| Error::new(ErrorKind::InvalidProfile, "vocab_size exceeds the address space"))?;
        let policy = shared.profile.sampling.filter(|_| options.marked).unwrap_or_default();
        let admitted = Admitted::new(options.sampling, &policy);
        let mut session = Session::new(reweighting, choosing, draws, admitted, vocab_size, Arc::clone(&shared.special));
        session.paired = request.map(Paired::new);
        Ok(session)
    }

    /// Length of a row of logits, as the profile states it.
    #[must_use]
    pub fn vocab_size(&self) -> u32 {
        self.0.profile.tokenizer.vocab_size
    }

    /// As [`Profile::chooses`].
    #[must_use]
    pub fn chooses(&self) -> bool {
        self.0.profile.chooses()
    }

    /// As [`Profile::has_account_layer`]: a session that is marked then needs an account.
    #[must_use]
    pub fn has_account_layer(&self) -> bool {
        self.0.profile.has_account_layer()
    }

    /// Whether the profile has paired draws: a session that is marked then needs the request's number.
    #[must_use]
    pub fn has_paired_draws(&self) -> bool {
        self.0.paired.is_some()
    }

    /// As [`Profile::marks_greedy`].
    #[must_use]
    pub fn marks_greedy(&self) -> bool {
        self.0.profile.marks_greedy()
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marker").field("profile", &self.0.profile).finish_non_exhaustive()
    }
}

/// Draws that no layer decides use the same PRF under a key made from the public seed, so that any of them can be
/// repeated without those before it.
fn draw_key(seed: u64) -> PrfKey {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(b"watermark-draw-v1\0").chain_update(seed.to_le_bytes()).finalize();
    PrfKey::from_bytes(zeroize::Zeroizing::new(digest.into()))
}
