//! Marks a sequence and finds the mark again; needs no model and no download.
#![allow(clippy::print_stdout, reason = "an example")]

use watermark_core::detect::Detector;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Sampling, SessionOptions};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};

fn main() -> watermark_core::Result<()> {
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0)?);
    let profile = Profile {
        name: "example".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 1000, special_token_ids: vec![] },
        layers: Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
        ..Profile::default()
    };
    let key = NodeKey::root(b"32 bytes from the system's randomness in real use");

    let marker = Marker::new(profile.clone(), &key)?;
    let options = SessionOptions {
        marked: true,
        seed: 7,
        sampling: Sampling { temperature: 0.8, top_k: Some(50), ..Sampling::default() },
        ..SessionOptions::default()
    };
    let mut session = marker.session(&options)?;
    for step in 0..200u32 {
        // In place of a model: some logits that change from step to step.
        let logits: Vec<f32> = (0..1000u32).map(|v| ((v * 31 + step * 17) % 97) as f32 / 16.0).collect();
        let token = session.sample(&logits)?;
        session.accept(token)?;
    }

    for layer in Detector::new(&profile, &key, None)?.layers() {
        let mut tally = layer.tally();
        layer.add(&mut tally, &[], session.generated())?;
        let finding = layer.finding(&tally)?;
        println!("{}: {} pairs scored, log10 p = {:.1}", finding.scheme, finding.n_scored, finding.log10_p);
    }
    Ok(())
}
