//! What bundles are checked against: records files, answer files, transcripts. Whatever can be read is made a bundle of, and that
//! bundle must hold against the same file.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::bundle::{self, EvidenceRecord, Stopping, parse_records, print_records};
use watermark_core::hex;
use watermark_toolkit::evidence::{Answers, Context, check};
use watermark_toolkit::report::{Insight, Source, page};
use watermark_toolkit::tokenizer::Tokenizer;

use crate::folder::Folder;
use crate::parts::{BundleParts, STOPPED, VOCAB_SIZE, other_key, records};
use crate::report::harmless;

/// What the first byte of an input chooses.
const RECORDS: u8 = b'r';
const TRANSCRIPT: u8 = b't';
const ANSWERS: [(u8, &str); 3] = [(b'l', "answers.jsonl"), (b'j', "answers.json"), (b'p', "answers.txt")];

/// More would only cost time.
const MOST_RECORDS: usize = 50;

struct Files {
    folder: Folder,
    tokenizer: Tokenizer,
    tokenizer_path: PathBuf,
    tokenizer_sha256: String,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = Folder::new();
    let json = tokenizer_json();
    let tokenizer_path = folder.write("tokenizer.json", json.as_bytes());
    let tokenizer = Tokenizer::from_bytes(json.as_bytes(), "test").expect("a tokenizer");
    Files { folder, tokenizer, tokenizer_path, tokenizer_sha256: hex::encode(&Sha256::digest(json)) }
});

/// The tokenizer of these files.
pub(crate) fn tokenizer() -> &'static Tokenizer {
    &FILES.tokenizer
}

/// A byte for a token, and some pairs.
fn tokenizer_json() -> String {
    let own = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256_u32..;
    let shown = |byte: u32| if own(byte) { Some(byte) } else { others.next() }.and_then(char::from_u32);
    let mut tokens: Vec<String> = (0..256).filter_map(shown).map(String::from).collect();
    let merges = ["t h", "h e", "a n", "i n", "th e", "Ġ a"];
    tokens.extend(merges.map(|pair| pair.replace(' ', "")));
    let vocab: serde_json::Map<String, Value> = (0..).zip(tokens).map(|(id, token)| (token, json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    })
    .to_string()
}

/// A file of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let answers = [
        "{\"prompt\":\"Tell me\",\"text\":\"the thing and another in the an\"}\n{\"prompt\":\"<b>\",\"text\":\"\u{1f600} \\u202e<script>\"}\n",
        "[{\"prompt\":\"a\",\"response\":\"the answer\"},{\"instruction\":\"x\",\"output\":\"in the answer\"}]",
        "the first\nthe second\n",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"then the man\"}]}\n",
    ];
    let header = json!({
        "endpoint": "http://127.0.0.1:1/v1", "api": "completions", "model": "m", "max_tokens": 8,
        "temperature": 0.5, "top_p": null, "logprobs": null, "stream": false, "extra": {},
        "prompts_sha256": "0".repeat(64), "n_prompts": 2, "round_size": 1, "collection": "replicate", "test": null,
    });
    let begin = "{\"transcript\":\"watermark-transcript/1\",";
    let exchange = |index: u64| {
        json!({
            "index": index, "round": index, "prompt": "p", "request": {}, "attempts": [{"status": 200, "error": null}],
            "status": 200, "response": "{\"choices\":[{\"text\":\"the answer and the man\",\"finish_reason\":\"stop\"}]}",
            "failure": null, "utc": format!("2026-11-03T00:00:0{index}Z"),
        })
    };
    let transcript = format!("{begin}{}\n{}\n{}\n", &header.to_string()[1..], exchange(0), exchange(1));
    let tagged = |kind: u8, file: &[u8]| [&[kind], file].concat();
    let records =
        [records(1), records(4), records(7)].map(|records| tagged(RECORDS, &print_records(&records).unwrap()));
    let answers = answers.iter().zip([b'l', b'j', b'p', b'l']).map(|(file, kind)| tagged(kind, file.as_bytes()));
    answers.chain(records).chain([tagged(TRANSCRIPT, transcript.as_bytes())]).collect()
}

/// The first byte says what the others are.
pub fn run(bytes: &[u8]) {
    let Some((kind, file)) = bytes.split_first() else { return };
    match *kind {
        RECORDS => records_file(file),
        TRANSCRIPT => answer_file("transcript.jsonl", &sealed(file)),
        kind => {
            if let Some((_, name)) = ANSWERS.iter().find(|(byte, _)| *byte == kind) {
                answer_file(name, file);
            }
        }
    }
}

/// Each line with the hashes that make it one of a transcript.
fn sealed(file: &[u8]) -> Vec<u8> {
    let (mut text, mut prev) = (String::new(), "0".repeat(64));
    for line in String::from_utf8_lossy(file).lines() {
        let fields = line.strip_suffix('}').unwrap_or(line);
        let hashed = format!("{prev}{fields},\"prev\":\"{prev}\"}}");
        let hash = hex::encode(&Sha256::digest(hashed));
        text += &format!("{fields},\"prev\":\"{prev}\",\"sha256\":\"{hash}\"}}\n");
        prev = hash;
    }
    text.into_bytes()
}

fn records_file(file: &[u8]) {
    let Ok(records) = parse_records(file, VOCAB_SIZE) else { return };
    assert_eq!(print_records(&records).expect("what was read can be written"), file);
    holds(&records, "records.jsonl", file, None);
}

fn answer_file(name: &str, file: &[u8]) {
    let path = FILES.folder.write(name, file);
    let stopping = if kind(file) == STOPPED { Stopping::EProcess } else { Stopping::Fixed };
    if let Ok(answers) = Answers::read(&path, "suspect", &FILES.tokenizer, VOCAB_SIZE, stopping) {
        let printed = print_records(&answers.records).expect("records that were made can be written");
        assert_eq!(parse_records(&printed, VOCAB_SIZE).expect("and read"), answers.records);
        holds(&answers.records, name, file, Some(&answers));
    }
}

/// The kind of case that a file is made the data of.
fn kind(file: &[u8]) -> u8 {
    if file.len().is_multiple_of(2) { 2 } else { STOPPED }
}

/// A bundle of the records holds, and against its own file too.
fn holds(records: &[EvidenceRecord], name: &str, file: &[u8], answers: Option<&Answers>) {
    if records.is_empty() || records.len() > MOST_RECORDS {
        return;
    }
    let mut parts = BundleParts::from_records(kind(file), records, &FILES.tokenizer_sha256);
    // Records with a time are a transcript's, and in any rounds.
    let day = "2026-11-03T00:00:00Z";
    parts.statement["predicate"]["suspect"]["collected"] = json!({"first": day, "last": day});
    if let Some(answers) = answers {
        parts.statement["subject"][0]["digest"]["sha256"] = json!(hex::encode(&Sha256::digest(file)));
        let suspect = &mut parts.statement["predicate"]["suspect"];
        suspect["collected"] = json!(answers.origin.collected);
        suspect["collection"] = json!(answers.origin.collection);
        suspect["stopped"] = json!(answers.origin.stopped);
    }
    parts.count().expect("records that can be counted");
    let bundle = parts.signed(&other_key()).expect("a bundle");
    // Times of a transcript may be before the registration.
    let faults = bundle::verify(&bundle).faults;
    if faults.iter().any(|fault| fault.code == bundle::Code::Time) {
        return;
    }
    assert_eq!(faults, [], "a true bundle does not hold");
    let path = FILES.folder.write(name, file);
    let context =
        Context { data: vec![path.clone()], tokenizer: Some(FILES.tokenizer_path.clone()), ..Context::default() };
    let report = check(Path::new("evidence.json"), &bundle, &context, &|_| Ok(())).expect("files that exist");
    // Ids of a records file that are not those of its texts are refused.
    let ids_of_others = |fault: &bundle::Fault| fault.code == bundle::Code::Records && fault.what.contains("other ids");
    if answers.is_none() && report.faults.iter().any(ids_of_others) {
        return;
    }
    assert_eq!(report.faults, [], "a true bundle does not hold against its data");
    assert_eq!(report.recomputed, [path.display().to_string()]);
    let texts = answers.is_some();
    let insight = Insight::read(Path::new("evidence.json"), &report, &context, texts).expect("files that exist");
    let source =
        Source { name: "evidence.json", bytes: &bundle, check: &report, context: &context, insight: insight.as_ref() };
    harmless(&page(&source).expect("a page"));
}
