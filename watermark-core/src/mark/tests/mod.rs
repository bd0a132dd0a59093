#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "tests")]

mod limits;
mod model;
mod naive;
mod paired;
mod policy;
mod speculation;

use super::{Marker, SessionOptions};
use crate::engine::{Engine, EngineOptions};
use crate::key::{KeyPath, NodeKey};
use crate::profile::{AnyScheme, Layer, Profile, TokenizerInfo};
use crate::scheme::{Parameters, Scheme, Value};

fn scheme(name: &str, parameters: &[(&'static str, f64)]) -> AnyScheme {
    let with = |given: Parameters, &(name, value): &(&'static str, f64)| given.with(name, Value::Real(value));
    Scheme::from_name(name, &parameters.iter().fold(Parameters::new(), with)).unwrap().into()
}

fn greenlist() -> AnyScheme {
    scheme("greenlist", &[("gamma", 0.5), ("delta", 2.0)])
}

fn dual_key() -> AnyScheme {
    scheme("gumbel_dual_key", &[("alpha", 0.25)])
}

fn engine(name: &str) -> AnyScheme {
    let alpha = (name == "vllm-dual").then_some(0.25);
    let options = EngineOptions { context_width: Some(2), alpha, ..EngineOptions::default() };
    Engine::new(name, &options).unwrap().into()
}

/// Layers named `a`, `b`, … of the given schemes and widths.
fn profile(vocab_size: u32, special: &[u32], schemes: &[(AnyScheme, usize)]) -> Profile {
    let names = ["a", "b", "c"];
    let layer =
        |(name, &(scheme, width)): (&&str, _)| Layer { name: (*name).to_owned(), scheme, width, per_account: false };
    Profile {
        name: "test".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size, special_token_ids: special.to_vec() },
        layers: names.iter().zip(schemes).map(layer).collect(),
        ..Profile::default()
    }
}

fn marker(key: u32, profile: Profile) -> Marker {
    Marker::new(profile, &NodeKey::root(&key.to_le_bytes())).unwrap()
}

/// A server has to know before a session: who draws the token, whether an account is needed, how long a row is.
#[test]
fn a_marker_tells_what_its_profile_does() {
    let drawing = |name| marker(1, profile(50, &[], &[(greenlist(), 1), (scheme(name, &[]), 2)]));
    for name in ["gumbel", "permute_and_flip"] {
        assert!(drawing(name).chooses() && !drawing(name).has_account_layer());
    }
    assert!(marker(1, profile(50, &[], &[(engine("sglang"), 2)])).chooses());
    let mut per_account = profile(50, &[], &[(greenlist(), 1)]);
    per_account.layers[0].per_account = true;
    let marker = marker(1, per_account);
    assert!(!marker.chooses() && marker.has_account_layer());
    assert_eq!(marker.vocab_size(), 50);
    let paired = self::marker(1, Profile { paired: Some("pairs".to_owned()), ..profile(50, &[], &[(greenlist(), 1)]) });
    assert!(paired.chooses() && paired.has_paired_draws() && !marker.has_paired_draws());
}

fn marked() -> SessionOptions {
    SessionOptions { marked: true, seed: 11, ..SessionOptions::default() }
}
