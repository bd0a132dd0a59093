//! Files around `watermark-core`: readers of untrusted corpora, key and profile files, tokenizers, detection over
//! files, questions to a suspect's endpoint. The `watermark` binary and, with the feature `demo`, the embedded laboratory
//! models sit on top.

pub mod calibrate;
#[cfg(feature = "demo")]
pub mod demo;
pub mod detect;
pub mod distill;
pub mod evidence;
pub mod files;
#[cfg(feature = "demo")]
pub mod generate;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod passphrase;
pub mod plan;
pub mod probe;
pub mod read;
pub mod report;
pub mod scan;
#[cfg(feature = "demo")]
pub mod school;
pub mod signer;
mod svg;
pub mod timestamp;
pub mod tokenizer;
pub mod transcript;
pub mod visible;
