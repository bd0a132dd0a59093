//! Keyed statistical watermarks for token sampling: marking at generation time, exact detection, tests of
//! distilled models.
//!
//! The library does no file, network, clock, environment or terminal I/O. Time, entropy and bytes are arguments.
//!
//! # Path of a mark
//!
//! 1. [`key::NodeKey`] is derived from a master key by path; each layer of a [`profile::Profile`] gets its own node.
//! 2. [`prf::ChaCha20V1`] turns (key, context, token) into 32-bit words.
//! 3. [`scheme`] says what a word means: the marking half bends the sampling, the scoring half reads it back, and
//!    the null law says how the score is distributed over keys when the text is independent of the key.
//!    [`engine`] says the same of the formats of other engines and libraries.
//! 4. [`mark::Marker`] and [`mark::Session`] put the layers into token sampling.
//!    [`paired`] has requests, candidates and coins of draws of which one is served and one withheld.
//! 5. `detect` (feature `detect`) counts distinct PRF inputs and gives exact tails; `model_test` asks the same of
//!    a suspect model's answers.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `detect` | yes | `detect`, `model_test`, `stats` |
//! | `serde` | with `profile` | serde for the words of a conclusion: verdict, effect, weights, access, collection |
//! | `profile` | yes | JSON profiles and key files (serde, serde_json) |
//! | `batch` | no | many rows of logits at once, f16 and bf16 (ndarray, rayon, half) |
//! | `passphrase` | no | key files behind a passphrase (argon2, chacha20poly1305) |
//! | `evidence` | no | `evidence`: commitments, Merkle proofs, canonical JSON, signatures |
//!
//! A sampler-only build uses `default-features = false`.
#![forbid(non_ascii_idents)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;

#[cfg(feature = "detect")]
pub mod detect;
pub mod engine;
#[cfg(feature = "evidence")]
pub mod evidence;
pub mod hex;
pub mod key;
pub mod mark;
#[cfg(feature = "detect")]
pub mod model_test;
pub mod paired;
pub mod prf;
pub mod profile;
pub mod scheme;
#[cfg(feature = "detect")]
pub mod stats;

pub use error::{Error, ErrorKind, Result};

/// Token ids are below 2^24: three bytes each in the PRF's nonce, 20 bits of counter above 16 lanes.
pub const MAX_TOKEN_ID: u32 = (1 << 24) - 1;

/// The widest context a layer may use, in tokens.
pub const MAX_CONTEXT_WIDTH: usize = 8;
