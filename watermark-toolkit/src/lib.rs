//! Files and network around `watermark-core`: readers of untrusted corpora, key and profile files, tokenizers, detection,
//! scans and tests of models over files, questions to a suspect's endpoint, evidence and reports. The command line, the Python
//! package and servers share it; it has no terminal of its own.

pub mod calibrate;
pub mod detect;
pub mod evidence;
pub mod files;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod model_test;
pub mod passphrase;
pub mod plan;
pub mod probe;
pub mod read;
pub mod report;
pub mod scan;
pub mod signer;
pub mod svg;
pub mod timestamp;
pub mod tokenizer;
pub mod transcript;
pub mod visible;
