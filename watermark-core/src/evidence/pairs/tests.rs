#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::super::bundle::{
    Code, Digest, RegisteredKey, STATEMENT_TYPE, STATEMENT_VERSION, Subject, SubjectDigest, Time,
};
use super::super::canonical::{from_canonical, to_canonical};
use super::super::commitment::KeyCommitments;
use super::super::dsse::{self, Envelope};
use super::super::ledger::{Entry, LedgerKey};
use super::super::merkle;
use super::super::requests::Requests;
use super::super::{HEAD_TYPE, SigningKey, TreeHead};
use super::*;
use crate::detect::Verdict;
use crate::key::NodeKey;
use crate::paired::{RequestSecret, Signs};
use crate::profile::Profile;

const LEDGER: &str = "ledger/1";
const REQUESTS: u64 = 6;
const PROFILE: &str = r#"{"profile": "watermark-profile/1", "name": "chat", "path": "epoch/1", "tokenizer": {"sha256":
 "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 100, "special_token_ids": [0]}, "layers":
 [{"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#;

fn sign(kind: &str, payload: &[u8]) -> Vec<u8> {
    dsse::sign(kind, payload, &SigningKey::from_seed(&[3; 32])).unwrap()
}

fn envelope(bytes: &[u8]) -> Envelope {
    Envelope::parse(bytes, 1 << 20).unwrap()
}

/// A statement that holds, and the opened list: two accounts, of which a suspect prefers the first one's answers as they were served.
struct Case {
    statement: Value,
    registration: Value,
    records: Vec<Record>,
}

impl Case {
    fn new(reference: bool) -> Self {
        let profile = Profile::parse(PROFILE).unwrap();
        let root = NodeKey::root(b"m");
        let layer = profile.paired_key(&root).unwrap().unwrap();
        let node = root.descend(&profile.layer_path("pairs").unwrap()).unwrap();
        let mut commitments = KeyCommitments::new();
        let profile_sha256 = Sha256::digest(PROFILE.as_bytes()).into();
        let requests = Requests::plan(&layer, LEDGER, REQUESTS + 3).unwrap();
        let other = root.descend(&"epoch/2".parse().unwrap()).unwrap();
        commitments.add(&other, Zeroizing::new([1; 32]), [0; 32], None).unwrap();
        commitments.add_paired(&node, Zeroizing::new([2; 32]), profile_sha256, None, Some(requests.clone())).unwrap();
        let leaf = commitments.leaves().list()[1].clone();
        let head = commitments.head("2026-11-01T00:00:00Z", vec![], vec![]).unwrap();
        let signed_head = sign(HEAD_TYPE, &head.payload().unwrap());

        let ledger_key = LedgerKey::new(&root.descend(&LEDGER.parse().unwrap()).unwrap());
        let mut leaves = Vec::new();
        let records: Vec<Record> = (0..REQUESTS)
            .map(|i| {
                let token = u32::try_from(i).unwrap() + 1;
                let draws = Draws {
                    prompt_tokens: vec![9],
                    request: requests.id(i),
                    tokens: vec![token, 2],
                    withheld: vec![Some(7), None],
                };
                let account = if i < 3 { "a" } else { "b" };
                let bytes = draws.bytes().unwrap();
                let entry = Entry::new(&ledger_key, i, &bytes, account, profile.path.clone(), 1_700_000_000_000 + i);
                leaves.push(entry.leaf());
                let secret = RequestSecret::new(&layer, &requests.id(i));
                Record::open(&ledger_key, &entry, draws, &secret).unwrap()
            })
            .collect();
        let ledger = TreeHead::of_answers(REQUESTS, merkle::root(&leaves), "2026-11-02T00:00:00Z");
        let signed_ledger = sign(HEAD_TYPE, &ledger.payload().unwrap());

        let scores = |model: &str, byte| RegisteredScores { model: model.to_owned(), sha256: Digest([byte; 32]) };
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            registered_at: Time::new("2026-11-03T00:00:00Z").unwrap(),
            question: "Was it?".to_owned(),
            suspect: "s".to_owned(),
            controls: vec!["c".to_owned()],
            reference: reference.then(|| scores("r", 13)),
            law: reference.then(|| scores("t", 14)),
            profile_sha256: Digest(profile_sha256),
            key: RegisteredKey {
                head_sha256: Digest(Sha256::digest(&signed_head).into()),
                index: 1,
                leaf_sha256: Digest(leaf.hash().unwrap()),
                path: "epoch/1/layer/pairs".to_owned(),
                tree_size: 2,
            },
            ledger: RegisteredLedger { head_sha256: Digest(Sha256::digest(&signed_ledger).into()), size: REQUESTS },
            first_tokens: None,
            alpha: 1e-6,
            accounts_alpha: 1e-3,
            earlier: vec![],
        };
        let registered = sign(REGISTRATION_TYPE, &registration.payload().unwrap());

        let signs = |wins: u32, losses: u32| {
            let mut signs = Signs::default();
            (0..wins).for_each(|_| signs.add(2 << 16));
            (0..losses).for_each(|_| signs.add(-2 << 16));
            signs
        };
        let account = |name: &str, of_suspect: &Signs, of_control: &Signs, verdict| {
            let found = of_suspect.test();
            let record = &records[if name == "a" { 0 } else { 3 }];
            AccountEvidence {
                account: record.account,
                requests: 3,
                n_scored: found.n,
                n_served_preferred: found.wins,
                n_ties: 0,
                n_unscored: 0,
                ln_e: found.ln_e,
                controls_ln_e: vec![of_control.test().ln_e],
                verdict,
            }
        };
        let ([a, b], [c, d]) = ([signs(60, 2), signs(20, 22)], [signs(30, 32), signs(21, 21)]);
        let sample = |model: &str, parts: [&Signs; 2]| {
            let mut whole = parts[0].clone();
            whole.merge(parts[1]);
            let found = whole.test();
            let accounts = parts.iter().map(|part| (part.test().n, part.test().ln_e)).collect();
            SampleEvidence {
                model: model.to_owned(),
                n_scored: found.n,
                n_served_preferred: found.wins,
                n_ties: 0,
                n_unscored: 0,
                whole_ln_e: found.ln_e,
                ln_e: crate::model_test::PairedSample { whole: (found.n, found.ln_e), accounts }.ln_e(),
            }
        };
        let proof: Vec<merkle::Hash> = commitments.leaves().list().iter().map(|leaf| leaf.hash().unwrap()).collect();
        let file =
            |name: &str, byte| Subject { digest: SubjectDigest { sha256: Digest([byte; 32]) }, name: name.to_owned() };
        let mut subject = vec![file("list", 10), file("s", 11), file("c", 12)];
        if reference {
            subject.extend([file("r", 13), file("t", 14)]);
        }
        let statement = Statement {
            type_: STATEMENT_VERSION.to_owned(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            subject,
            predicate: Predicate {
                kind: KIND.to_owned(),
                signed_at: Time::new("2026-11-04T00:00:00Z").unwrap(),
                software: "test".to_owned(),
                null_hypothesis: NULL_HYPOTHESIS.to_owned(),
                alternative_hypothesis: ALTERNATIVE_HYPOTHESIS.to_owned(),
                registration: envelope(&registered),
                profile: PROFILE.to_owned(),
                key: KeyEvidence {
                    beacon: None,
                    head: envelope(&signed_head),
                    leaf: leaf.clone(),
                    proof: merkle::inclusion_proof(&proof, 1).unwrap().into_iter().map(Digest).collect(),
                },
                ledger: LedgerEvidence {
                    head: envelope(&signed_ledger),
                    requests_proof: requests.proof(&layer, REQUESTS).unwrap().into_iter().map(Digest).collect(),
                },
                list: ListEvidence { requests: REQUESTS, n_equal: 1, n_special: 1, n_without_candidate: 5 },
                suspect: sample("s", [&a, &b]),
                controls: vec![sample("c", [&c, &d])],
                reference: reference.then_some(ReferenceEvidence { ln_e: -1.0 }),
                draws: reference.then_some(DrawsEvidence { law_ln_e: -0.5, log10_p: -0.2, n: 2 * 105 }),
                accounts: vec![account("a", &a, &c, Verdict::Detected), account("b", &b, &d, Verdict::NotDetected)],
                controls_agree: true,
                reference_agrees: true,
                draws_agree: true,
                conditions: conditions(&registration, &head, &ledger, &leaf),
                verdict: Verdict::Detected,
                earlier: vec![],
                time_stamps: TimeStamps::default(),
                does_not_show: super::super::bundle::DOES_NOT_SHOW.map(str::to_owned).to_vec(),
                alternatives: ALTERNATIVES.map(str::to_owned).to_vec(),
            },
        };
        let parsed = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
        Self {
            statement: parsed(statement.payload().unwrap()),
            registration: parsed(registration.payload().unwrap()),
            records,
        }
    }

    /// What is wrong with a statement that was changed and signed again.
    fn faults(&self, change: impl FnOnce(&mut Value)) -> Vec<Code> {
        let mut statement = self.statement.clone();
        change(&mut statement);
        let checked = verify(&sign(STATEMENT_TYPE, &to_canonical(&statement).unwrap()));
        checked.faults.iter().map(|fault| fault.code).collect()
    }

    /// The same of the registration inside.
    fn registered_otherwise(&self, change: impl FnOnce(&mut Value)) -> Vec<Code> {
        let mut registration = self.registration.clone();
        change(&mut registration);
        let signed = sign(REGISTRATION_TYPE, &to_canonical(&registration).unwrap());
        self.faults(|statement| statement["predicate"]["registration"] = serde_json::from_slice(&signed).unwrap())
    }

    fn bundle(&self) -> Bundle {
        verify(&sign(STATEMENT_TYPE, &to_canonical(&self.statement).unwrap())).bundle.unwrap()
    }
}

#[test]
fn a_statement_holds_and_what_is_changed_in_it_does_not() {
    for reference in [true, false] {
        let case = Case::new(reference);
        assert_eq!(case.faults(|_| ()), [], "{reference}");
    }
    let case = Case::new(true);
    let changes: [(&str, Value, Code); 35] = [
        ("/_type", json!("x"), Code::Schema),
        ("/predicateType", json!("watermark-evidence/2"), Code::Schema),
        ("/predicate/kind", json!("other"), Code::Schema),
        ("/predicate/null_hypothesis", json!("x"), Code::Schema),
        ("/predicate/alternatives/0", json!("x"), Code::Schema),
        ("/predicate/draws", json!({"n": 210}), Code::Schema),
        ("/predicate/profile", json!(PROFILE.replace("chat", "chit")), Code::Profile),
        ("/predicate/profile", json!(PROFILE.replace("paired", "greenlist")), Code::Profile),
        ("/predicate/key/proof/0", json!("00".repeat(32)), Code::Proof),
        ("/predicate/key/leaf/requests/ledger", json!("ledger/2"), Code::Proof),
        ("/predicate/key/leaf/requests/root", json!("00".repeat(32)), Code::Proof),
        ("/predicate/key/beacon", json!({"signature": null, "value": "00".repeat(32)}), Code::Beacon),
        ("/predicate/suspect/model", json!("c"), Code::Registered),
        ("/predicate/reference", json!(null), Code::Registered),
        ("/predicate/draws", json!(null), Code::Registered),
        ("/subject/3/digest/sha256", json!("00".repeat(32)), Code::Registered),
        ("/predicate/list/requests", json!(5), Code::Registered),
        ("/predicate/signed_at", json!("2026-11-02T23:59:59Z"), Code::Time),
        ("/subject/1/name", json!("list"), Code::Subject),
        ("/subject/1/digest/sha256", json!("0a".repeat(32)), Code::Subject),
        ("/predicate/suspect/n_ties", json!(1), Code::Tally),
        ("/predicate/suspect/n_unscored", json!(1), Code::Tally),
        ("/predicate/draws/n", json!(208), Code::Tally),
        ("/predicate/draws/n", json!(214), Code::Tally),
        ("/predicate/accounts/0/requests", json!(4), Code::Tally),
        ("/predicate/accounts/1/account", case.statement["predicate"]["accounts"][0]["account"].clone(), Code::Tally),
        ("/predicate/accounts/1/ln_e", json!(1e6), Code::Tally),
        ("/predicate/suspect/whole_ln_e", json!(90), Code::Tail),
        ("/predicate/controls/0/ln_e", json!(-9), Code::Tail),
        ("/predicate/accounts/1/verdict", json!("detected"), Code::Verdict),
        ("/predicate/verdict", json!("not_detected"), Code::Verdict),
        ("/predicate/draws/log10_p", json!(-3.5), Code::Verdict),
        ("/predicate/draws/law_ln_e", json!(8), Code::Verdict),
        ("/predicate/reference/ln_e", json!(8), Code::Verdict),
        ("/predicate/conditions/2/standing", json!("holds"), Code::Verdict),
    ];
    for (field, value, code) in changes {
        let found = case.faults(|statement| *statement.pointer_mut(field).unwrap() = value);
        assert_eq!(found.first(), Some(&code), "{field}: {found:?}");
    }
    // Accounts that agree with their neighbours' order may not be swapped, and a draws audit that fails leaves nothing to conclude.
    let swapped = case.faults(|statement| statement["predicate"]["accounts"].as_array_mut().unwrap().swap(0, 1));
    assert_eq!(swapped.first(), Some(&Code::Tally));
    let sound = case.faults(|statement| {
        let predicate = &mut statement["predicate"];
        predicate["draws"]["log10_p"] = json!(-3.5);
        predicate["draws_agree"] = json!(false);
        predicate["verdict"] = json!("inconclusive");
        predicate["accounts"].as_array_mut().unwrap().iter_mut().for_each(|one| one["verdict"] = json!("inconclusive"));
    });
    assert_eq!(sound, []);
    // Nor does a list of which more than a twentieth has no second candidate.
    let struck = case.faults(|statement| statement["predicate"]["list"]["n_without_candidate"] = json!(6));
    assert_eq!(struck, [Code::Verdict]);
}

#[test]
fn what_is_registered_otherwise_is_refused() {
    let case = Case::new(true);
    let changes: [(&str, Value, Code); 14] = [
        ("/registration", json!("watermark-pairs-registration/2"), Code::Registration),
        ("/alpha", json!(1.5), Code::Registration),
        ("/first_tokens", json!(0), Code::Registration),
        ("/ledger/size", json!(0), Code::Registration),
        ("/law/model", json!("s"), Code::Registration),
        ("/law/sha256", json!("0d".repeat(32)), Code::Registration),
        ("/key/index", json!(2), Code::Registration),
        ("/profile_sha256", json!("00".repeat(32)), Code::Profile),
        ("/key/path", json!("epoch/1/layer/other"), Code::Profile),
        ("/key/head_sha256", json!("00".repeat(32)), Code::Head),
        ("/ledger/head_sha256", json!("00".repeat(32)), Code::Head),
        ("/ledger/size", json!(5), Code::Head),
        ("/key/leaf_sha256", json!("00".repeat(32)), Code::Proof),
        ("/suspect", json!("another"), Code::Registered),
    ];
    for (field, value, code) in changes {
        let found = case.registered_otherwise(|registration| *registration.pointer_mut(field).unwrap() = value);
        assert_eq!(found.first(), Some(&code), "{field}: {found:?}");
    }
    let found = case.registered_otherwise(|registration| {
        registration.as_object_mut().unwrap().remove("first_tokens");
    });
    assert_eq!(found.first(), Some(&Code::Registration));
    // A level that what was found does not reach.
    let found = case.registered_otherwise(|registration| registration["alpha"] = json!(1e-30));
    assert_eq!(found.first(), Some(&Code::Verdict));
}

#[test]
fn the_list_is_the_ledger_and_nothing_else() {
    let case = Case::new(true);
    let bundle = case.bundle();
    let whole = |records: &[Record]| {
        let mut check = bundle.list_check();
        records.iter().try_for_each(|record| check.add(record))?;
        check.end()
    };
    assert!(whole(&case.records).is_ok());
    let changed = |change: fn(&mut Vec<Record>)| {
        let mut records = case.records.clone();
        change(&mut records);
        whole(&records).is_err()
    };
    assert!(changed(|records| records[1].account = records[3].account));
    assert!(changed(|records| records[1].withheld[0] = Some(8)));
    assert!(changed(|records| records[1].withheld[0] = None));
    assert!(changed(|records| records[1].tokens[0] = 8));
    assert!(changed(|records| records[1].prompt_tokens.push(8)));
    assert!(changed(|records| records[1].time_ms += 1));
    assert!(changed(|records| records[1].salt.0[0] ^= 1));
    assert!(changed(|records| records[1].secret.0[0] ^= 1));
    assert!(changed(|records| records[1].secret = records[0].secret));
    assert!(changed(|records| drop(records.pop())));
    assert!(changed(|records| drop(records.remove(2))));
    assert!(changed(|records| records.swap(1, 2)));
    assert!(changed(|records| records.push(records[0].clone())));
    // A line is its canonical form, and tells of one position after the other.
    let line = case.records[0].line().unwrap();
    assert_eq!(Record::parse(&line).unwrap(), case.records[0]);
    let mut short = case.records[0].clone();
    short.withheld.pop();
    assert!(Record::parse(&short.line().unwrap()).is_err());
    assert!(Record::parse(&line[1..]).is_err());
    let value: Value = from_canonical(&line, MAX_RECORD, "a line").unwrap();
    assert!(Record::parse(serde_json::to_string_pretty(&value).unwrap().as_bytes()).is_err());
    // Another ledger's key opens nothing.
    let other = LedgerKey::new(&NodeKey::root(b"other"));
    let entry = case.records[0].entry(0, &bundle.profile.path).unwrap();
    let Record { prompt_tokens, request, tokens, withheld, .. } = case.records[0].clone();
    let draws = Draws { prompt_tokens, request, tokens, withheld };
    assert!(Record::open(&other, &entry, draws, &case.records[0].secret()).is_err());
}

proptest! {
    #[test]
    fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!verify(&bytes).faults.is_empty());
        prop_assert!(Record::parse(&bytes).is_err());
        prop_assert!(Registration::verify(&bytes).is_err());
    }

    /// One byte changed anywhere in a bundle or in a record: it is malformed, or does not hold.
    #[test]
    fn changed_bytes_do_not_hold(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        static CASE: LazyLock<Case> = LazyLock::new(|| Case::new(true));
        let mut bundle = sign(STATEMENT_TYPE, &to_canonical(&CASE.statement).unwrap());
        let place = at.index(bundle.len());
        bundle[place] ^= flip;
        prop_assert!(!verify(&bundle).faults.is_empty(), "byte {place}");
        let mut line = CASE.records[2].line().unwrap();
        let place = at.index(line.len());
        line[place] ^= flip;
        let record = Record::parse(&line);
        prop_assert!(record.is_err() || record.unwrap() != CASE.records[2], "byte {place}");
    }
}
