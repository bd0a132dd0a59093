//! Master key, node keys by path, PRF keys, commitments.
//!
//! `root = HKDF-Extract("watermark-key-v1", master)`; a child is an HKDF-Expand of its parent (RFC 5869, SHA-256), so
//! whoever holds a node can derive everything below it and nothing else.

mod derive;
#[cfg(feature = "profile")]
mod file;
mod path;
#[cfg(feature = "passphrase")]
pub(crate) mod sealed;

pub use derive::{NodeKey, PrfKey, fresh_keys, fresh_keys_in};
#[cfg(feature = "profile")]
pub use file::{KEY_FILE_VERSION, parse_key_file, print_key_file};
pub use path::KeyPath;
#[cfg(feature = "passphrase")]
pub use sealed::{SEALED_KEY_FILE_VERSION, SEALING_ENTROPY, inspect_key_file, open_key_file, seal_key_file};
