//! The program as its users run it: files, exit codes, messages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calibrate;
mod detect;
mod detect_beside;
mod engines;
mod evidence;
mod evidence_beside;
mod files;
mod hostile;
mod keys;
mod leaks;
mod ledger;
mod manual;
mod mark;
mod pairs;
mod pairs_evidence;
mod plan;
mod probe;
mod report;
mod scan;
mod scan_plots;
mod server;
mod support;
mod test_model;
mod verdicts;
