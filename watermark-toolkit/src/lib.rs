//! Files, networks and tokenizers around `watermark-core`. The command line, the Python package and servers share this
//! library.
//!
//! It has no terminal of its own. Whoever calls it passes what a terminal would do: long work reports to a `progress`
//! function and ends when that fails or a flag is set, and key files open with a source of [`passphrase::Passphrases`].
//!
//! Everything that is read is untrusted: readers have limits, a record that cannot be used is counted and passed over,
//! and messages name place and remedy without repeating the content.
//!
//! # Key types
//!
//! - [`read::Record`] is one unit of input, a text or token ids with or without a prompt, from any format that is read.
//! - [`tokenizer::Tokenizer`] turns text into ids as the profile's tokenizer does, and [`ids::Vocabulary`] is the one
//!   way from a record to the ids that are counted.
//! - [`files::ProfileFile`] is a profile with the digest of its file, which results and evidence name.
//! - [`detect::Detection`] tests records, [`beside::Beside`] tests them beside references; [`scan::scan`] tests corpora of any size under many keys ([`scan::Profiles`],
//!   [`scan::Keys`]).
//! - [`model_test::Material`] is what a suspect model showed, from files or from the transcript of a
//!   [`probe::inquiry::Inquiry`].
//! - [`evidence::Case`] becomes a signed bundle, and [`evidence::check()`] checks one beside its data.
//!
//! # Modules by task
//!
//! | task | modules |
//! |---|---|
//! | read corpora, answers and prompts | [`read`], [`tokenizer`], [`ids`] |
//! | read and write key files, profiles and passphrases | [`keys`], [`files`], [`passphrase`] |
//! | test texts, and corpora of any size | [`detect`], [`beside`], [`scan`] |
//! | test a suspect model from files of its answers | [`model_test`] |
//! | test a suspect model on served answers with paired draws | [`pairs`] |
//! | ask a suspect model over its endpoint | [`probe`], [`transcript`] |
//! | choose parameters and sample sizes beforehand | [`calibrate`], [`plan`] |
//! | sign, time-stamp, write and check evidence | [`evidence`], [`signer`], [`timestamp`] |
//! | record served answers | [`ledger`] |
//! | show results | [`report`], [`svg`], [`visible`] |
//!
//! # Cargo features
//!
//! All are on by default. `tokenizers` turns text into ids; `scan` is the module [`scan`], and with it Parquet and
//! Zstandard everywhere; `http` is [`probe`]; `report` is [`report`]. Without a feature its module is absent, and an input
//! that would need it is refused with a message that names it.

pub mod beside;
pub mod calibrate;
pub mod detect;
pub mod evidence;
pub mod files;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod model_test;
pub mod pairs;
pub mod passphrase;
pub mod plan;
#[cfg(feature = "http")]
pub mod probe;
pub mod read;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "scan")]
pub mod scan;
pub mod signer;
pub mod svg;
pub mod timestamp;
pub mod tokenizer;
pub mod transcript;
pub mod visible;
