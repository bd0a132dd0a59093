//! References: what an unmarked model answered or says along texts, and texts tested beside it.

use std::sync::LazyLock;

use serde_json::json;
use watermark_core::detect::{Detector, LayerDetector, Weights};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::model_test::Access;
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_toolkit::beside::Beside;
use watermark_toolkit::detect::{Exclude, Options};
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::model_test::{Reference, Source};
use watermark_toolkit::read::{InputFormat, Limits, open};

use crate::data::tokenizer;
use crate::folder::Folder;
use crate::parts::VOCAB_SIZE;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

static LAYERS: LazyLock<Vec<LayerDetector>> = LazyLock::new(|| {
    let layers = Layer::defaults(Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap()), Scheme::Gumbel(Gumbel));
    let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB_SIZE, special_token_ids: vec![0] };
    let profile = Profile { name: "p".to_owned(), path: KeyPath::root(), tokenizer, layers, ..Profile::default() };
    Detector::new(&profile, &NodeKey::root(b"a key"), None).unwrap().layers().to_vec()
});

/// Probabilities in ids and in pieces of text, and answers.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let tokens = [5, 9, 5, 7, 5, 9, 30, 31, 32];
    let rows: Vec<_> = tokens.iter().map(|id| json!([[id, -0.1], [id + 1, -3.5]])).collect();
    let in_ids = json!({"prompt_tokens": [1, 2, 3], "tokens": tokens, "choices": rows});
    let text = "the answer and the man";
    let at: Vec<_> = [0, 3, 10].map(|at| json!({"at": at, "top": [["the", -0.5], [" an", -1.5]]})).into();
    let in_pieces = json!({"prompt": "Tell me", "text": text, "positions": at});
    let answer = json!({"prompt_tokens": [1, 2, 3], "tokens": [5, 9, 8, 7]});
    let lines = [vec![in_ids.clone()], vec![in_pieces], vec![answer.clone(), answer.clone()], vec![in_ids, answer]];
    lines.map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()).into()
}

/// The file is the reference, and its own texts are what is tested beside it. Whatever can be tested has numbers.
pub fn run(bytes: &[u8]) {
    let path = FOLDER.write("reference.jsonl", bytes);
    let vocabulary = Vocabulary { tokenizer: Some(tokenizer()), size: Some(VOCAB_SIZE) };
    for input_format in [InputFormat::Tokens, InputFormat::Jsonl] {
        let source = Source { vocabulary, input_format, complain: &|_| () };
        let Ok(reference) = Reference::read(&path, Access::Answers, &source) else { continue };
        let references = [reference];
        let options = Options {
            alpha: 1e-3,
            per_record: true,
            weights: Weights::None,
            exclude: Exclude::Record,
            resample: 3,
            locate: false,
            compare_peer: false,
        };
        let mut run = Beside::new(&LAYERS, vocabulary, &references, options).expect("layers that can be tested");
        let Ok(records) = open(&path, input_format, Limits::default()) else { continue };
        let records: Vec<_> = records.filter_map(|record| record.ok().and_then(Result::ok)).collect();
        let _ = run.add(&records);
        let Ok(report) = run.report(|_| Ok(())) else { continue };
        for line in report.pooled.iter().chain(&report.per_record) {
            let numbers = [Some(line.log10_p), line.references_log10_p, line.log10_p_resampled];
            assert!(numbers.into_iter().flatten().all(|log10_p| log10_p <= 0.0), "{line:?}");
            assert!(line.ln_e.is_some_and(f64::is_finite), "{line:?}");
        }
    }
}
