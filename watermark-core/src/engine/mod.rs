//! One file per foreign format: what another engine or library serves, bit for bit. It holds the form of its keys, its
//! context rule, its words, what they mean, their null law, its own detector's statistic, and the marking half where there
//! is one. `catalogue.rs` lists them, and everything else asks the catalogue.
//!
//! Null hypothesis: the text is independent of the key. Laws hold as far as the peer's function of key and input behaves
//! like an ideal one.

// `#[path]` makes the modules that the catalogue declares files of this folder, beside it.
#[path = "catalogue.rs"]
mod catalogue;
mod format;
mod key;
mod mt19937;
mod parameters;
#[cfg(feature = "detect")]
mod peer;
mod philox;

pub use catalogue::*;
pub(crate) use format::EngineMarking;
pub use format::{Engine, EngineScore};
#[cfg(feature = "detect")]
pub(crate) use format::{KeyedEngine, Once};
pub use key::EngineKey;
pub use mt19937::{Mt19937, torch_in_prefix, torch_rand24, torch_randperm};
pub use parameters::EngineOptions;
