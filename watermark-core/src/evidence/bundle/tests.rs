#![allow(clippy::unwrap_used, reason = "tests")]
use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::*;
use crate::ErrorKind;
use crate::detect::{Verdict, Weights};
use crate::evidence::beacon::{BeaconRound, DrawnValue, QUICKNET, committed_sha256};
use crate::evidence::canonical::to_canonical;
use crate::evidence::commitment::KeyCommitments;
use crate::evidence::dsse::Envelope;
use crate::evidence::prompts::{PromptDraw, Prompts};
use crate::evidence::{HEAD_TYPE, SigningKey, dsse};
use crate::key::NodeKey;
use crate::model_test::{Access, Collection};
use crate::profile::Profile;

pub(super) const PROFILE: &str = r#"{"profile": "watermark-profile/1", "name": "t", "path": "epoch/1", "tokenizer": {"sha256":
"0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 100, "special_token_ids": [0]}, "layers":
[{"name": "d", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#;

const PATH: &str = "epoch/1/layer/d";

fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn time(text: &str) -> Time {
    Time::new(text).unwrap()
}

fn envelope(type_: &str, payload: &[u8]) -> Envelope {
    Envelope::parse(&dsse::sign(type_, payload, &signing_key()).unwrap(), 1 << 20).unwrap()
}

fn records(salt: u32) -> Vec<EvidenceRecord> {
    let record = |at: u32| EvidenceRecord {
        prompt: format!("prompt {at}"),
        prompt_tokens: vec![7, 8 + at],
        quoted: vec![[1, 3]],
        round: 0,
        text: "not looked at".to_owned(),
        tokens: (0..20).map(|i| 1 + (i * i + at * salt) % 23).collect(),
    };
    (0..3).map(record).collect()
}

/// A small bundle with one control, one earlier analysis and a disclosed key, not signed yet.
pub(super) fn statement() -> Statement {
    statement_of(PROFILE, None, None)
}

/// The same for a key under a beacon, and for prompts that a beacon draws. All records' prompts are the pool.
pub(super) fn statement_of(
    profile_text: &str,
    beacon: Option<(BeaconRound, DrawnValue)>,
    draw: Option<(BeaconRound, DrawnValue)>,
) -> Statement {
    statement_beside(profile_text, beacon, draw, &[])
}

/// The same beside references whose answers depend on these salts.
pub(super) fn statement_beside(
    profile_text: &str,
    beacon: Option<(BeaconRound, DrawnValue)>,
    draw: Option<(BeaconRound, DrawnValue)>,
    references: &[u8],
) -> Statement {
    let models: Vec<String> = references.iter().map(|salt| format!("reference {salt}")).collect();
    let answered: Vec<Vec<EvidenceRecord>> = references.iter().map(|&salt| records(salt.into())).collect();
    let digests: Vec<Digest> = references.iter().map(|&salt| Digest([salt; 32])).collect();
    let profile = Profile::parse(profile_text).unwrap();
    let node = NodeKey::root(b"master").descend(&PATH.parse().unwrap()).unwrap();
    let committed = committed_sha256(profile_text, &profile).unwrap();
    let mut commitments = KeyCommitments::new();
    let other = NodeKey::root(b"master").descend(&"epoch/1".parse().unwrap()).unwrap();
    let round = beacon.as_ref().map(|(round, _)| round.clone());
    commitments.add(&other, Zeroizing::new([1; 32]), committed, round.clone()).unwrap();
    commitments.add(&node, Zeroizing::new([2; 32]), committed, round).unwrap();
    let prompts: Vec<String> = records(1).into_iter().map(|record| record.prompt).collect();
    let pool = Prompts::commit_to(&prompts).unwrap();
    let tree = commitments.head("2026-11-01T00:00:00Z", vec![pool], digests.clone()).unwrap();
    let head = envelope(HEAD_TYPE, &tree.payload().unwrap());
    let opening: Value =
        serde_json::from_slice(&commitments.open(&node, &committed).unwrap().print().unwrap()).unwrap();
    let leaves = commitments.leaves();
    let (index, leaf_sha256, leaf) = leaves.find(&tree, node.path(), &committed).unwrap();

    let registration = Registration {
        registration: REGISTRATION_VERSION.to_owned(),
        registered_at: time("2026-11-02T00:00:00Z"),
        question: "Was it?".to_owned(),
        suspect: "suspect".to_owned(),
        controls: vec!["control".to_owned()],
        references: models
            .iter()
            .zip(&digests)
            .map(|(model, &sha256)| RegisteredReference { model: model.clone(), sha256 })
            .collect(),
        profile_sha256: Digest(Sha256::digest(profile_text.as_bytes()).into()),
        layer: "d".to_owned(),
        key: RegisteredKey {
            head_sha256: Digest(Sha256::digest(head.bytes().unwrap()).into()),
            index,
            leaf_sha256: Digest(leaf_sha256),
            path: PATH.to_owned(),
            tree_size: 2,
        },
        access: Access::Answers,
        weights: if references.is_empty() { Weights::Sqrt } else { Weights::Residual },
        stopping: Stopping::Fixed,
        alpha: 1e-6,
        resample: 19,
        prompts: match &draw {
            None => pool.into(),
            Some((beacon, _)) => {
                let draw = Some(PromptDraw { beacon: beacon.clone(), pool });
                RegisteredPrompts { count: pool.count, draw, root: None }
            }
        },
        earlier: vec![Digest([5; 32])],
    };
    let signed = envelope(REGISTRATION_TYPE, &registration.payload().unwrap());

    let layer = layer_under(&profile, &testable_layer(&profile, "d").unwrap(), &node).unwrap();
    let measured = |model: &str, salt, mixture: Option<&[u32]>| {
        let collected = Some(Collected { first: time("2026-11-03T00:00:00Z"), last: time("2026-11-03T00:00:09Z") });
        let origin =
            Origin { model: model.to_owned(), collection: Collection::NotWitnessed, collected, stopped: false };
        let beside = Beside { references: &answered, mixture };
        let sample = count(&layer, registration.weights, &records(salt), &beside).unwrap();
        (measure(&layer, &sample, &records(salt), origin).unwrap(), sample)
    };
    let (suspect, counted) = measured("suspect", 1, None);
    let mixture = suspect.residuals.as_ref().map(|residuals| residuals.mixture.clone());
    let (control, _) = measured("control", 4, mixture.as_deref());
    let seed = crate::detect::Resampling::seed(&signed.bytes().unwrap(), &suspect.records.root.0);
    let fresh = counted.resample(&layer, &suspect, &seed, 0..19).unwrap();
    let named: Vec<(&str, &[EvidenceRecord])> =
        models.iter().zip(&answered).map(|(model, records)| (model.as_str(), records.as_slice())).collect();
    let beside = measure_references(&layer, &counted, &named).unwrap();
    let resampling = ResamplingEvidence { seed: Digest(seed), keys: fresh.keys, at_least: fresh.at_least };
    let controls = vec![control];
    let conditions = conditions(&registration, &tree, leaf, &[&suspect, &controls[0]], &time("2026-11-04T00:00:00Z"));
    let conclusion =
        conclude(&registration, layer.scheme(), &suspect, &controls, beside.as_ref(), &resampling, &conditions);
    let hash = |field: &str| serde_json::from_value::<Digest>(opening[field].clone()).unwrap();
    let file =
        |name: &str, byte| Subject { digest: SubjectDigest { sha256: Digest([byte; 32]) }, name: name.to_owned() };
    Statement {
        type_: STATEMENT_VERSION.to_owned(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        subject: [file("s.jsonl", 1), file("c.jsonl", 2)]
            .into_iter()
            .chain(references.iter().map(|&salt| file(&format!("r{salt}.jsonl"), salt)))
            .collect(),
        predicate: Predicate {
            kind: KIND.to_owned(),
            signed_at: time("2026-11-04T00:00:00Z"),
            software: "watermark test".to_owned(),
            null_hypothesis: NULL_HYPOTHESIS.to_owned(),
            alternative_hypothesis: ALTERNATIVE_HYPOTHESIS.to_owned(),
            registration: signed,
            profile: profile_text.to_owned(),
            key: KeyEvidence {
                head,
                leaf: leaf.clone(),
                beacon: beacon.map(|(_, drawn)| drawn),
                proof: serde_json::from_value(opening["proof"].clone()).unwrap(),
                opening: Some(Disclosed {
                    node: Zeroizing::new(hash("node").to_string()),
                    salt: Zeroizing::new(hash("salt").to_string()),
                }),
            },
            prompts: PromptsEvidence { beacon: draw.map(|(_, drawn)| drawn), root: pool.root },
            rules: Rules::fixed(),
            suspect,
            controls,
            references: beside,
            resampling,
            family: Family::of_keys(2),
            earlier: vec![Earlier { registration_sha256: Digest([5; 32]), evidence_sha256: None, verdict: None }],
            decided_by: conclusion.decided_by,
            controls_agree: conclusion.controls_agree,
            conditions,
            exclusion_agrees: conclusion.exclusion_agrees,
            resampling_agrees: conclusion.resampling_agrees,
            answers_present: conclusion.answers_present,
            smallest_effect: conclusion.smallest_effect,
            verdict: conclusion.verdict,
            time_stamps: TimeStamps::default(),
            does_not_show: DOES_NOT_SHOW.map(str::to_owned).to_vec(),
            alternatives: ALTERNATIVES.map(str::to_owned).to_vec(),
        },
    }
}

pub(super) fn signed(payload: &[u8]) -> Vec<u8> {
    dsse::sign(STATEMENT_TYPE, payload, &signing_key()).unwrap()
}

fn small_bundle() -> Vec<u8> {
    signed(&statement().payload().unwrap())
}

#[test]
fn a_sound_bundle_has_no_fault() {
    let checked = verify(&small_bundle());
    assert_eq!(checked.faults, []);
    let bundle = checked.bundle.unwrap();
    assert!(bundle.statement.predicate.suspect.n_scored > 5 && bundle.statement.predicate.suspect.n_excluded > 0);
    // Whoever has bundle and records finds the same numbers.
    let layer = bundle.detector().unwrap().unwrap();
    let file = print_records(&records(1)).unwrap();
    let again = parse_records(&file, bundle.profile.tokenizer.vocab_size).unwrap();
    assert_eq!(again, records(1));
    let sample = count(&layer, Weights::Sqrt, &again, &Beside::default()).unwrap();
    let stated = &bundle.statement.predicate.suspect;
    let origin = Origin {
        model: stated.model.clone(),
        collection: stated.collection,
        collected: stated.collected.clone(),
        stopped: stated.stopped,
    };
    assert_eq!(measure(&layer, &sample, &again, origin).unwrap(), *stated);
    assert!(!format!("{bundle:?}").contains(bundle.statement.predicate.key.opening.as_ref().unwrap().node.as_str()));
}

/// Exhaustive: every byte of the file to four other values.
#[test]
fn every_changed_byte_is_detected() {
    let bundle = small_bundle();
    for at in 0..bundle.len() {
        // The lowest bit, the case of a letter, another digit, no ASCII.
        for flip in [0x01, 0x20, 0x03, 0x80] {
            let mut changed = bundle.clone();
            changed[at] ^= flip;
            let checked = verify(&changed);
            assert!(!checked.faults.is_empty(), "byte {at} of {} with {flip:#x}", bundle.len());
        }
    }
    for at in 0..bundle.len() {
        let mut shorter = bundle.clone();
        shorter.remove(at);
        assert!(!verify(&shorter).faults.is_empty(), "without byte {at}");
    }
    let mut longer = bundle;
    longer.push(b'\n');
    assert_eq!(verify(&longer).faults[0].code, Code::Envelope);
}

/// Every place in a JSON value, parents first.
fn places(value: &Value, here: &str, out: &mut Vec<String>) {
    out.push(here.to_owned());
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                places(item, &format!("{here}/{at}"), out);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                places(item, &format!("{here}/{name}"), out);
            }
        }
        _ => {}
    }
}

fn removed(value: &Value, place: &str) -> Value {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let mut value = value.clone();
    match value.pointer_mut(parent).unwrap() {
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        Value::Object(fields) => drop(fields.remove(name)),
        _ => unreachable!("a parent"),
    }
    value
}

/// Every element of the envelope removed or, in lists, moved: detected without a valid signature.
#[test]
fn every_removed_element_of_the_envelope_is_detected() {
    let envelope: Value = serde_json::from_slice(&small_bundle()).unwrap();
    let mut all = Vec::new();
    places(&envelope, "", &mut all);
    for place in all.iter().skip(1) {
        let changed = to_canonical(&removed(&envelope, place)).unwrap();
        assert_eq!(verify(&changed).faults[0].code, Code::Envelope, "{place}");
    }
}

/// The signer's own changes: every element of the payload removed, every list reordered or with an element twice, signed
/// again. Which answer file belongs to which model, and which share and what expectation to which reference, is theirs to say; the files
/// contradict it.
#[test]
fn the_signer_cannot_leave_anything_out() {
    for statement in [statement(), statement_beside(PROFILE, None, None, &[9, 11])] {
        nothing_can_be_left_out_of(&statement);
    }
}

/// Left-out pairs of prompts, and pairs that references expect, whose number is 0 with them and without: how many they are is the signer's word,
/// without the data.
fn leaves_its_number(payload: &Value, place: &str) -> bool {
    let expected = place.contains("/expected/");
    let (part, number) = if expected { ("/classes/", "log10_p") } else { ("/prompts/", "prompts_log10_p") };
    let parent = place.split_once(part).and_then(|(parent, _)| payload.pointer(parent));
    parent.is_some_and(|parent| parent[number] == json!(0))
}

fn nothing_can_be_left_out_of(statement: &Statement) {
    let payload: Value = serde_json::from_slice(&statement.payload().unwrap()).unwrap();
    let mut all = Vec::new();
    places(&payload, "", &mut all);
    assert!(all.len() > 130, "{}", all.len());
    for place in all.iter().skip(1) {
        let changed = to_canonical(&removed(&payload, place)).unwrap();
        assert!(!verify(&signed(&changed)).faults.is_empty() || leaves_its_number(&payload, place), "{place} removed");
    }
    for place in &all {
        let Value::Array(items) = payload.pointer(place).unwrap() else { continue };
        let set = |items: Vec<Value>| {
            let mut changed = payload.clone();
            *changed.pointer_mut(place).unwrap() = items.into();
            signed(&to_canonical(&changed).unwrap())
        };
        if let Some(last) = items.last() {
            let twice: Vec<Value> = items.iter().chain([last]).cloned().collect();
            assert!(!verify(&set(twice)).faults.is_empty(), "{place}: the last element twice");
        }
        for at in 1..items.len() {
            let mut moved = items.clone();
            moved.swap(at - 1, at);
            assert!(
                place == "/subject"
                    || place.ends_with("/mixture")
                    || place.ends_with("/expected")
                    || moved == *items
                    || !verify(&set(moved)).faults.is_empty(),
                "{place}: {at} moved"
            );
        }
    }
}

/// The signer's own changes to values. What is left is their word, or needs the data.
#[test]
fn the_signer_cannot_contradict_themselves() {
    for statement in [statement(), statement_beside(PROFILE, None, None, &[9, 11])] {
        nothing_can_be_contradicted_in(&statement);
    }
}

fn nothing_can_be_contradicted_in(statement: &Statement) {
    let payload: Value = serde_json::from_slice(&statement.payload().unwrap()).unwrap();
    let mut all = Vec::new();
    places(&payload, "", &mut all);
    let needs_data = |place: &str| {
        let field = place.strip_prefix("/predicate/").unwrap_or(place);
        let of_sample = field.strip_prefix("suspect/").or(field.strip_prefix("controls/0/"));
        let of_data = ["records/sha256", "collection", "collected", "collected/first", "collected/last"];
        let word = ["signed_at", "software", "resampling/at_least", "time_stamps/head", "time_stamps/registration"];
        // What the mixture is, how much each reference wrote and which records it has need the data.
        let of_reference = field.contains("residuals/mixture/")
            || field.starts_with("references/models/") && !field.ends_with("/model") && !field.ends_with("/records");
        of_reference
            || place.starts_with("/subject") && !place.ends_with("digest")
            || word.contains(&field)
            // The key may be withheld.
            || field == "key/opening"
            || field.starts_with("earlier/0/") && field != "earlier/0/registration_sha256"
            || of_sample.is_some_and(|field| of_data.contains(&field))
            || field == "controls/0/records/root"
            || of_sample == Some("stopped") && field.starts_with("controls")
    };
    let mut tried = 0;
    for place in &all {
        let others: Vec<Value> = match payload.pointer(place).unwrap() {
            Value::Number(number) => vec![json!(number.as_f64().unwrap() + 1.0), json!(-1), Value::Null, json!(0.5)],
            Value::Bool(value) => vec![json!(!value), Value::Null],
            Value::String(text) if text.is_empty() => vec![json!("x")],
            Value::String(text) => {
                let mut other = text.clone();
                let last = if other.pop() == Some('1') { '2' } else { '1' };
                other.push(last);
                vec![json!(other), json!(""), Value::Null, json!(0)]
            }
            Value::Null => vec![json!(0), json!("x"), json!({})],
            _ => vec![json!({}), json!(0), json!("x"), Value::Null],
        };
        for other in others.iter().filter(|other| *other != payload.pointer(place).unwrap()) {
            let mut changed = payload.clone();
            *changed.pointer_mut(place).unwrap() = other.clone();
            let faults = verify(&signed(&to_canonical(&changed).unwrap())).faults;
            let word = needs_data(place) || leaves_its_number(&payload, place);
            assert!(!faults.is_empty() || word, "{place} as {other}");
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
}

/// Each rule by its code.
#[test]
fn codes() {
    let code = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement();
        change(&mut statement);
        verify(&signed(&statement.payload().unwrap())).faults.first().map(|fault| fault.code)
    };
    assert_eq!(code(&|_| ()), None);
    assert_eq!(code(&|s| s.predicate.key.opening = None), None);
    assert_eq!(code(&|s| s.predicate.kind = "other".to_owned()), Some(Code::Schema));
    assert_eq!(code(&|s| s.predicate.registration = s.predicate.key.head.clone()), Some(Code::Registration));
    assert_eq!(code(&|s| s.predicate.profile.push(' ')), Some(Code::Profile));
    assert_eq!(code(&|s| s.predicate.key.head = s.predicate.registration.clone()), Some(Code::Head));
    assert_eq!(code(&|s| s.predicate.key.proof[0] = Digest([0; 32])), Some(Code::Proof));
    assert_eq!(code(&|s| s.predicate.key.leaf.commitment = Digest([0; 32])), Some(Code::Proof));
    let drawn = DrawnValue { signature: None, value: Digest([1; 32]) };
    assert_eq!(code(&|s| s.predicate.key.beacon = Some(drawn.clone())), Some(Code::Beacon));
    assert_eq!(code(&|s| s.predicate.prompts.beacon = Some(drawn.clone())), Some(Code::Beacon));
    let other_node = |s: &mut Statement| {
        s.predicate.key.opening.as_mut().unwrap().node = Zeroizing::new("00".repeat(32));
    };
    assert_eq!(code(&other_node), Some(Code::Opening));
    assert_eq!(code(&|s| s.predicate.controls[0].model = "another".to_owned()), Some(Code::Registered));
    assert_eq!(code(&|s| s.predicate.suspect.prompts_root = Digest([0; 32])), Some(Code::Prompts));
    assert_eq!(code(&|s| s.predicate.prompts.root = Digest([0; 32])), Some(Code::Prompts));
    assert_eq!(code(&|s| s.predicate.family.size = 1), Some(Code::Registered));
    assert_eq!(code(&|s| s.predicate.signed_at = time("2026-11-01T00:00:00Z")), Some(Code::Time));
    let early =
        |s: &mut Statement| s.predicate.suspect.collected.as_mut().unwrap().first = time("2026-11-01T23:59:59Z");
    assert_eq!(code(&early), Some(Code::Time));
    assert_eq!(code(&|s| s.subject[1].name = "s.jsonl".to_owned()), Some(Code::Subject));
    assert_eq!(code(&|s| s.predicate.suspect.n_scored += 1), Some(Code::Tally));
    assert_eq!(code(&|s| s.predicate.suspect.log10_p -= 1.0), Some(Code::Tail));
    assert_eq!(code(&|s| s.predicate.suspect.left_out.answers[0].pairs += 1000), Some(Code::Tally));
    assert_eq!(code(&|s| s.predicate.suspect.left_out.answers_log10_p -= 1.0), Some(Code::Tail));
    assert_eq!(code(&|s| s.predicate.suspect.left_out.prompts_log10_p -= 1.0), Some(Code::Tail));
    assert_eq!(code(&|s| s.predicate.verdict = Verdict::Detected), Some(Code::Verdict));
    assert_eq!(code(&|s| s.predicate.conditions[1].standing = Standing::Holds), Some(Code::Verdict));
    assert_eq!(code(&|s| s.predicate.conditions.truncate(7)), Some(Code::Verdict));

    let mut bundle = small_bundle();
    let text = String::from_utf8(bundle.clone()).unwrap();
    let at = text.find("\"sig\":\"").unwrap() + 9;
    bundle[at] = if bundle[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(verify(&bundle).faults[0].code, Code::Signature);
}

/// A round that was known before what it was to follow contradicts the condition, and nothing can be concluded.
#[test]
fn rounds_that_were_known_too_early() {
    let value = DrawnValue { signature: None, value: Digest([7; 32]) };
    let under = PROFILE.replace("\"tokenizer\"", &format!("\"beacon\": \"{}\", \"tokenizer\"", value.value));
    // The first round from a time on. Head 2026-11-01, registration 2026-11-02, first answer 2026-11-03T00:00:00.
    let at = |time: &str| {
        let (mut low, mut high) = (1, 1 << 26);
        while low < high {
            let middle = (low + high) / 2;
            let round = BeaconRound { round: middle, source: QUICKNET.to_owned() };
            if round.time().unwrap().as_str() >= time { high = middle } else { low = middle + 1 }
        }
        BeaconRound { round: high, source: QUICKNET.to_owned() }
    };
    let standing = |beacon: &str, draw: &str| {
        let (beacon, draw) = ((at(beacon), value.clone()), (at(draw), value.clone()));
        let statement = statement_of(&under, Some(beacon), Some(draw));
        assert_eq!(verify(&signed(&statement.payload().unwrap())).faults, []);
        let failing = statement.predicate.conditions.iter().filter(|one| one.standing == Standing::Fails);
        (failing.map(|one| one.name).collect::<Vec<_>>(), statement.predicate.verdict)
    };
    let (key, prompts) = ("2026-11-01T00:00:03Z", "2026-11-02T12:00:00Z");
    assert_eq!(standing(key, prompts), (vec![], Verdict::NotDetected));
    for (key, prompts, name) in [
        ("2026-10-31T23:59:50Z", prompts, ConditionName::KeyNotGround),
        (key, "2026-11-01T23:59:50Z", ConditionName::PromptsFreeOfKey),
        (key, "2026-11-03T00:00:03Z", ConditionName::RegisteredBeforeData),
    ] {
        assert_eq!(standing(key, prompts), (vec![name], Verdict::Inconclusive));
    }
}

#[test]
fn records_files() {
    let file = print_records(&records(1)).unwrap();
    assert_eq!(parse_records(&[], 100).unwrap(), []);
    for (bad, vocab_size) in [
        (file[..file.len() - 1].to_vec(), 100),
        ([file.as_slice(), b"\n"].concat(), 100),
        (file.clone(), 20),
        (String::from_utf8(file.clone()).unwrap().replacen("[[1,3]]", "[[1,30]]", 1).into_bytes(), 100),
        (String::from_utf8(file).unwrap().replacen("\"round\":0", "\"round\":1", 1).into_bytes(), 100),
    ] {
        assert!(parse_records(&bad, vocab_size).is_err());
    }
}

/// A hostile author fills a registration with names: they are compared in a moment, not each with each other.
#[test]
fn as_many_names_as_fit() {
    let mut registration: Registration =
        serde_json::from_slice(&Base64::decode_vec(&registered_payload()).unwrap()).unwrap();
    registration.controls = (0..150_000).map(|at| format!("{at:x}")).collect();
    assert_eq!(registration.payload().unwrap_err().kind(), ErrorKind::InvalidEvidence, "larger than a megabyte");
    let bytes = dsse::sign(REGISTRATION_TYPE, &to_canonical(&registration).unwrap(), &signing_key()).unwrap();
    assert_eq!(Registration::verify(&bytes).unwrap_err().kind(), ErrorKind::NotCanonical);
    registration.controls.truncate(80_000);
    let bytes = dsse::sign(REGISTRATION_TYPE, &registration.payload().unwrap(), &signing_key()).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(Registration::verify(&bytes).unwrap().0, registration);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    registration.controls.push("0".to_owned());
    assert!(registration.payload().is_err());
}

/// The words of every test of a model are one type each; a registration takes those that this version tests.
#[test]
fn words_that_a_registration_may_not_have() {
    let registration: Registration =
        serde_json::from_slice(&Base64::decode_vec(&registered_payload()).unwrap()).unwrap();
    let others = [
        Registration { weights: Weights::Expected, ..registration.clone() },
        Registration { access: Access::Logprobs, ..registration.clone() },
        Registration { access: Access::Reading, ..registration },
    ];
    for other in others {
        assert_eq!(other.payload().unwrap_err().kind(), ErrorKind::InvalidEvidence);
        let bytes = dsse::sign(REGISTRATION_TYPE, &to_canonical(&other).unwrap(), &signing_key()).unwrap();
        assert_eq!(Registration::verify(&bytes).unwrap_err().kind(), ErrorKind::InvalidEvidence);
        let mut statement = statement();
        statement.predicate.registration = Envelope::parse(&bytes, MAX_REGISTRATION).unwrap();
        let faults = verify(&signed(&statement.payload().unwrap())).faults;
        assert_eq!(faults.first().map(|fault| fault.code), Some(Code::Registration));
    }
}

fn registered_payload() -> String {
    let envelope: Value = serde_json::from_slice(&statement().predicate.registration.bytes().unwrap()).unwrap();
    envelope["payload"].as_str().unwrap().to_owned()
}

proptest! {
    #[test]
    fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!verify(&bytes).faults.is_empty());
        let _ = parse_records(&bytes, 100);
        let _ = Registration::verify(&bytes);
    }

    /// Numbers that no test gives, signed by somebody.
    #[test]
    fn no_panic_on_any_numbers(
        counts in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u128>()), 0..5),
        signed_counts in prop::collection::vec((any::<i64>(), any::<u64>(), any::<u128>()), 0..5), mixture in any::<[u32; 2]>(),
        n in any::<[u64; 5]>(), sums in any::<[u128; 3]>(), fresh in any::<[u64; 2]>(), floats in any::<[f64; 3]>(), beside in any::<bool>(),
    ) {
        let mut statement = if beside { statement_beside(PROFILE, None, None, &[9, 11]) } else { statement() };
        let limit = |n: u64| n >> 11;
        let suspect = &mut statement.predicate.suspect;
        suspect.classes = counts
            .iter()
            .map(|&(count, pairs, score)| ClassEvidence { count: limit(count), pairs: limit(pairs), score: Decimal(score) })
            .collect();
        if let Some(residuals) = &mut suspect.residuals {
            let class = |(weight, pairs, score)| SignedClassEvidence { weight: weight >> 11, pairs: limit(pairs), score: Decimal(score) };
            residuals.classes = signed_counts.into_iter().map(class).collect();
            residuals.mixture = mixture.to_vec();
        }
        [suspect.tokens, suspect.n_scored, suspect.n_duplicate, suspect.n_excluded, suspect.n_short_context] = n.map(limit);
        suspect.score = Decimal(sums[0]);
        [suspect.statistic, suspect.weight] = [sums[1], sums[2]].map(|sum| Decimal(sum as i128));
        [suspect.log10_p, suspect.log10_p_distinct, suspect.ln_e] = floats;
        [statement.predicate.resampling.keys, statement.predicate.resampling.at_least] = fresh.map(limit);
        if let Ok(payload) = statement.payload() {
            prop_assert!(!verify(&signed(&payload)).faults.is_empty());
        }
    }
}
