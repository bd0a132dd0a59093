//! Profiles and schemes in JSON.

use watermark_core::key::KeyPath;
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Scheme, Value};

/// A profile of every example of the catalogue, and its scheme alone.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for spec in Scheme::SPECS {
        for example in spec.examples {
            let (scheme, width) = spec.build(example).unwrap();
            let layer = Layer { name: "layer".to_owned(), scheme: scheme.into(), width, per_account: true };
            let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: 64, special_token_ids: vec![0, 9] };
            let path = "epoch/1".parse::<KeyPath>().unwrap();
            seeds.push(
                Profile { name: "p".to_owned(), path, tokenizer, layers: vec![layer], ..Profile::default() }.print(),
            );
            let field = |(name, value): (&str, Value)| format!(", \"{name}\": {value}");
            let fields: String = scheme.parameters().iter().map(field).collect();
            seeds.push(format!("{{\"scheme\": \"{}\"{fields}}}", spec.name));
        }
    }
    let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: 64, special_token_ids: vec![] };
    let pairs = Profile { name: "p".to_owned(), tokenizer, paired: Some("pairs".to_owned()), ..Profile::default() };
    seeds.push(pairs.print());
    seeds.into_iter().map(String::into_bytes).collect()
}

/// What is read is written so that it is read again as the same.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(profile) = Profile::parse(text) {
        assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
    }
    if let Ok(scheme) = Scheme::parse(text) {
        assert_eq!(Scheme::from_name(scheme.name(), &scheme.parameters()).unwrap(), scheme);
    }
}
