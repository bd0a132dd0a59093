//! Every target over its seeds and a few thousand seeded changes of them: the first seconds of a fuzzing run, in any build.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "tests")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_fuzz::TARGETS;

/// A changed input: bytes flipped, removed, repeated, or taken from another seed.
fn changed(seeds: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut below = |n: usize| random.next_u64() as usize % n.max(1);
    let mut input = seeds[below(seeds.len())].clone();
    for _ in 0..=below(4) {
        let (from, length) = (below(input.len() + 1), below(16));
        let to = (from + length).min(input.len());
        match below(5) {
            0 => drop(input.drain(from..to)),
            1 => drop(input.splice(from..from, input[from..to].to_vec())),
            2 => input.truncate(from),
            3 => {
                let other = &seeds[below(seeds.len())];
                let at = below(other.len());
                input.splice(from..to, other[at..].iter().take(length).copied());
            }
            _ => {
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= 1 << below(8);
                }
            }
        }
    }
    input
}

fn short(name: &str, changes: usize) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds = (target.seeds)();
    seeds.iter().for_each(|seed| (target.run)(seed));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..changes {
        (target.run)(&changed(&seeds, &mut random));
    }
}

#[test]
fn keys() {
    short("keys", 4000);
}

#[test]
fn profiles() {
    short("profiles", 4000);
}

#[test]
fn envelopes() {
    short("envelopes", 4000);
}

#[test]
fn proofs() {
    short("proofs", 2000);
}

#[test]
fn bundle() {
    short("bundle", 1000);
}

#[test]
fn report() {
    short("report", 300);
}

#[test]
fn ledger() {
    short("ledger", 1000);
}

#[test]
fn data() {
    short("data", 1000);
}

#[test]
fn reference() {
    short("reference", 1000);
}

#[test]
fn timestamp() {
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: time stamps (no openssl)");
        return;
    }
    short("timestamp", 50);
}

/// A target that no test names would be forgotten.
#[test]
fn every_target_is_here() {
    let source = include_str!("short.rs");
    for target in &TARGETS {
        assert!(source.contains(&format!("short(\"{}\"", target.name)), "{}", target.name);
    }
}
