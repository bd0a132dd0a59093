//! What the fuzz targets do with their input, and the inputs that they start from.
//!
//! A target takes any bytes and panics where something is found: a property that does not hold, besides what the sanitizer and
//! the fuzzer's limits of time and memory see. The same code runs under libFuzzer (`scripts/fuzz`) and, with few and seeded
//! mutations, among the ordinary tests.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target tells of a finding"
)]

mod edit;
mod folder;
mod parts;

pub mod bundle;
pub mod data;
pub mod envelopes;
pub mod keys;
pub mod ledger;
pub mod profiles;
pub mod proofs;
pub mod reference;
pub mod report;
pub mod timestamp;

/// A fuzz target.
pub struct Target {
    /// Its name, which its binary has too.
    pub name: &'static str,
    /// Takes one input; panics if it finds something.
    pub run: fn(&[u8]),
    /// Inputs to start from: valid files, made by the code that writes them.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 10] = [
    Target { name: "keys", run: keys::run, seeds: keys::seeds },
    Target { name: "profiles", run: profiles::run, seeds: profiles::seeds },
    Target { name: "envelopes", run: envelopes::run, seeds: envelopes::seeds },
    Target { name: "proofs", run: proofs::run, seeds: proofs::seeds },
    Target { name: "bundle", run: bundle::run, seeds: bundle::seeds },
    Target { name: "report", run: report::run, seeds: report::seeds },
    Target { name: "ledger", run: ledger::run, seeds: ledger::seeds },
    Target { name: "data", run: data::run, seeds: data::seeds },
    Target { name: "reference", run: reference::run, seeds: reference::seeds },
    Target { name: "timestamp", run: timestamp::run, seeds: timestamp::seeds },
];
