//! A whole small case: key commitments, profile, registration, records, statement. As JSON, so that any part of it can be
//! changed, and signed again by an author who wants the change believed.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{LayerDetector, Resampling};
use watermark_core::evidence::bundle::{
    self, ALTERNATIVE_HYPOTHESIS, ALTERNATIVES, Beside, DOES_NOT_SHOW, Decimal, Digest, EvidenceRecord, Family, KIND,
    NULL_HYPOTHESIS, Origin, PREDICATE_TYPE, REGISTRATION_TYPE, REGISTRATION_VERSION, Registration, Rules,
    STATEMENT_TYPE, STATEMENT_VERSION, SampleEvidence, Statement,
};
use watermark_core::evidence::canonical::to_canonical;
use watermark_core::evidence::commitment::{KEY_COMMITMENTS, KeyCommitments};
use watermark_core::evidence::prompts::Prompts;
use watermark_core::evidence::{HEAD_TYPE, SigningKey, TreeHead, dsse, merkle};
use watermark_core::hex;
use watermark_core::key::NodeKey;
use watermark_core::model_test::{Audit, Collection, ResidualTails, Tails};
use watermark_core::profile::Profile;
use zeroize::Zeroizing;

use crate::edit::set;

pub(crate) const PATH: &str = "epoch/1/layer/d";
pub(crate) const VOCAB_SIZE: u32 = 300;
const SALT: [u8; 32] = [2; 32];
const FRESH_KEYS: u32 = 9;

/// Whose signatures the seeds bear.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

/// A hostile author's.
pub(crate) fn other_key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// The parts of a case. What they say of each other is made to fit by [`BundleParts::link`] and [`BundleParts::count`].
#[derive(Clone)]
pub(crate) struct BundleParts {
    pub(crate) profile: Value,
    pub(crate) head: Value,
    pub(crate) registration: Value,
    pub(crate) statement: Value,
}

/// How many kinds of case there are.
pub(crate) const KINDS: u8 = 5;

/// The kind whose stopping rule is `e_process`.
pub(crate) const STOPPED: u8 = 3;

/// The kind whose suspect stands beside a reference.
const BESIDE: u8 = 4;

impl BundleParts {
    /// A case that verifies: by kind with another scheme, weights and stopping rule, with a control or a reference or without.
    pub(crate) fn new(kind: u8) -> Self {
        static MADE: LazyLock<[BundleParts; KINDS as usize]> = LazyLock::new(|| {
            [0, 1, 2, 3, BESIDE].map(|kind| BundleParts::from_records(kind, &records(1), &"0".repeat(64)))
        });
        MADE[usize::from(kind)].clone()
    }

    /// A case of the suspect's records.
    pub(crate) fn from_records(kind: u8, suspect: &[EvidenceRecord], tokenizer_sha256: &str) -> Self {
        let (gumbel, none, stopped) = (kind & 1 == 1, kind == 2, kind == STOPPED);
        let scheme = if gumbel { "gumbel" } else { "greenlist" };
        let mut profile = json!({
            "profile": "watermark-profile/1", "name": "t", "path": "epoch/1", "repeats": "unmarked",
            "tokenizer": {"sha256": tokenizer_sha256, "vocab_size": VOCAB_SIZE, "special_token_ids": [0]},
            "layers": [{"name": "d", "scheme": scheme, "width": 1, "prf": "chacha20-v1"}],
        });
        if !gumbel {
            profile["layers"][0]["gamma"] = json!(0.5);
            profile["layers"][0]["delta"] = json!(2.0);
        }
        let node = NodeKey::root(b"master").descend(&PATH.parse().unwrap()).unwrap();
        let mut commitments = KeyCommitments::new();
        let other = NodeKey::root(b"master").descend(&"epoch/1".parse().unwrap()).unwrap();
        commitments.add(&other, Zeroizing::new([1; 32]), [0; 32], None).unwrap();
        commitments.add(&node, Zeroizing::new(SALT), [0; 32], None).unwrap();
        let opening = commitments.open(&node, &[0; 32]).unwrap();
        let proof: Vec<String> = opening.inclusion().1.iter().map(|hash| hex::encode(hash)).collect();
        let leaf = json!({"commitment": hex::encode(&node.commitment(&SALT)), "path": PATH, "profile_sha256": hex::encode(&[0; 32])});
        let head: Value = {
            let head = commitments.head("2026-11-01T00:00:00Z", vec![], vec![]).unwrap();
            assert_eq!(head.tree, KEY_COMMITMENTS);
            serde_json::from_slice(&head.payload().unwrap()).unwrap()
        };

        let texts: Vec<String> = suspect.iter().map(|record| record.prompt.clone()).collect();
        let prompts = Prompts::commit_to(&texts).unwrap();
        let mut registration = json!({
            "registration": REGISTRATION_VERSION, "registered_at": "2026-11-02T00:00:00Z", "question": "Was it?",
            "suspect": "suspect", "controls": [], "profile_sha256": hex::encode(&[0; 32]), "layer": "d",
            "key": {
                "head_sha256": hex::encode(&[0; 32]), "index": 1, "leaf_sha256": hex::encode(&[0; 32]), "path": PATH, "tree_size": 2,
            },
            "access": "answers", "weights": if kind == BESIDE { "residual" } else if none { "none" } else { "sqrt" },
            "stopping": if stopped { "e_process" } else { "fixed" }, "alpha": 1e-6, "resample": FRESH_KEYS,
            "prompts": {"count": prompts.count, "draw": null, "root": prompts.root.to_string()}, "earlier": [hex::encode(&[5; 32])],
        });
        if kind == BESIDE {
            registration["references"] = json!([{"model": "reference", "sha256": hex::encode(&[3; 32])}]);
        }
        let signed = |type_: &str| -> Value {
            serde_json::from_slice(&dsse::sign(type_, b"{}", &signing_key()).unwrap()).unwrap()
        };
        let nothing = json!({
            "model": "suspect", "collection": "not independently witnessed", "collected": null, "stopped": false,
            "records": {"count": 0, "root": hex::encode(&[0; 32]), "sha256": hex::encode(&[0; 32])}, "prompts_proof": [],
            "prompts_root": hex::encode(&[0; 32]), "n_empty": 0, "tokens": 0, "n_scored": 0, "n_duplicate": 0, "n_excluded": 0,
            "n_short_context": 0, "classes": [],
            "left_out": {"answers": [], "answers_log10_p": 0.0, "prompts": [], "prompts_log10_p": 0.0}, "score": "0", "statistic": "0", "weight": "0", "log10_p": 0.0,
            "log10_p_distinct": 0.0, "ln_e": 0.0,
        });
        let statement = json!({
            "_type": STATEMENT_VERSION, "predicateType": PREDICATE_TYPE,
            "subject": [{"digest": {"sha256": hex::encode(&[1; 32])}, "name": "suspect.jsonl"}],
            "predicate": {
                "kind": KIND, "signed_at": "2026-11-04T00:00:00Z", "software": "watermark test",
                "null_hypothesis": NULL_HYPOTHESIS, "alternative_hypothesis": ALTERNATIVE_HYPOTHESIS,
                "registration": signed(REGISTRATION_TYPE), "profile": "",
                "key": {
                    "head": signed(HEAD_TYPE), "leaf": leaf, "proof": proof, "beacon": null,
                    "opening": {"node": hex::encode(node.secret()), "salt": hex::encode(&SALT)},
                },
                "prompts": {"beacon": null, "root": prompts.root.to_string()}, "conditions": [], "exclusion_agrees": true,
                "rules": Rules::fixed(), "suspect": nothing, "controls": [],
                "resampling": {"seed": hex::encode(&[0; 32]), "keys": 0, "at_least": 0}, "family": Family::of_keys(2),
                "earlier": [{"registration_sha256": hex::encode(&[5; 32]), "evidence_sha256": null, "verdict": null}],
                "decided_by": "log10_p", "controls_agree": true, "resampling_agrees": true, "answers_present": true,
                "smallest_effect": null, "verdict": "inconclusive", "time_stamps": {"head": null, "registration": null},
                "does_not_show": DOES_NOT_SHOW, "alternatives": ALTERNATIVES,
            },
        });
        let mut parts = Self { profile, head, registration, statement };
        parts.link(&signing_key());
        parts.measure(suspect, &node);
        if kind == BESIDE {
            let subject = json!({"digest": {"sha256": hex::encode(&[3; 32])}, "name": "reference.jsonl"});
            parts.statement["subject"].as_array_mut().unwrap().push(subject);
        }
        if kind < 2 {
            parts.add_control(&node);
        }
        parts.link(&signing_key());
        parts.count();
        parts
    }

    /// Counts the suspect's records under the key, with true numbers of fresh keys.
    fn measure(&mut self, records: &[EvidenceRecord], node: &NodeKey) {
        let sample = self.sample(records, node, "suspect");
        let registration = self.registration();
        self.statement["predicate"]["suspect"] = json!(sample);
        let seed = Resampling::seed(&self.signed_registration(), &sample.records.root.0);
        let layer = self.layer(node);
        let references = self.references();
        let beside = Beside { references: &references, mixture: None };
        let counted = bundle::count(&layer, registration.weights, records, &beside).unwrap();
        if let Some(records) = references.first() {
            let found = bundle::measure_references(&layer, &counted, &[("reference", records)]).unwrap();
            self.statement["predicate"]["references"] = json!(found);
        }
        let keys = if sample.n_scored == 0 { 0 } else { registration.resample };
        let fresh = counted.resample(&layer, &sample, &seed, 0..keys).unwrap();
        self.statement["predicate"]["resampling"] =
            json!({"seed": Digest(seed).to_string(), "keys": fresh.keys, "at_least": fresh.at_least});
    }

    fn add_control(&mut self, node: &NodeKey) {
        let control = records(4);
        let sample = self.sample(&control, node, "control");
        self.registration["controls"] = json!(["control"]);
        self.statement["predicate"]["controls"] = json!([sample]);
        let subject = json!({"digest": {"sha256": Digest([2; 32]).to_string()}, "name": "control.jsonl"});
        self.statement["subject"].as_array_mut().unwrap().push(subject);
    }

    fn sample(&self, records: &[EvidenceRecord], node: &NodeKey, model: &str) -> SampleEvidence {
        let (layer, references) = (self.layer(node), self.references());
        let beside = Beside { references: &references, mixture: None };
        let counted = bundle::count(&layer, self.registration().weights, records, &beside).unwrap();
        let collection = Collection::NotWitnessed;
        let origin = Origin { model: model.to_owned(), collection, collected: None, stopped: false };
        bundle::measure(&layer, &counted, records, origin).unwrap()
    }

    /// The records of the reference of a case that has one.
    fn references(&self) -> Vec<Vec<EvidenceRecord>> {
        self.registration().references.iter().map(|_| records(9)).collect()
    }

    fn layer(&self, node: &NodeKey) -> LayerDetector {
        let profile = Profile::parse(&self.profile.to_string()).unwrap();
        let layer = bundle::testable_layer(&profile, "d").unwrap();
        bundle::layer_under(&profile, &layer, node).unwrap()
    }

    fn registration(&self) -> Registration {
        serde_json::from_value(self.registration.clone()).unwrap()
    }

    fn signed_registration(&self) -> Vec<u8> {
        to_canonical(&self.statement["predicate"]["registration"]).unwrap()
    }

    /// Makes the parts name and hold each other, as far as they still have the fields for it, signed by a key.
    pub(crate) fn link(&mut self, key: &SigningKey) {
        let profile = self.profile.to_string();
        let sha256 = digest(profile.as_bytes());
        set(&mut self.statement, "/predicate/profile", json!(profile));
        set(&mut self.statement, "/predicate/key/leaf/profile_sha256", json!(sha256));
        set(&mut self.registration, "/profile_sha256", json!(sha256));
        let hash = |text: &Value| serde_json::from_value::<Digest>(text.clone()).ok();
        let key_evidence = &self.statement["predicate"]["key"];
        if let (Some(sibling), Ok(leaf)) = (hash(&key_evidence["proof"][0]), to_canonical(&key_evidence["leaf"])) {
            let leaf = merkle::leaf_hash(&leaf);
            let root = merkle::node_hash(&sibling.0, &leaf);
            set(&mut self.registration, "/key/leaf_sha256", json!(Digest(leaf).to_string()));
            set(&mut self.head, "/root", json!(Digest(root).to_string()));
        }
        let signed = |type_: &str, payload: &Value| -> Option<Value> {
            let envelope = dsse::sign(type_, &to_canonical(payload).ok()?, key).ok()?;
            serde_json::from_slice(&envelope).ok()
        };
        if let Some(head) = signed(HEAD_TYPE, &self.head) {
            let bytes = to_canonical(&head).unwrap_or_default();
            set(&mut self.registration, "/key/head_sha256", json!(digest(&bytes)));
            set(&mut self.statement, "/predicate/key/head", head);
        }
        if let Some(registration) = signed(REGISTRATION_TYPE, &self.registration) {
            set(&mut self.statement, "/predicate/registration", registration);
        }
    }

    /// Makes the numbers follow from the score classes, if there are any that numbers follow from.
    pub(crate) fn count(&mut self) -> Option<()> {
        let mut statement: Statement = serde_json::from_value(self.statement.clone()).ok()?;
        let registration: Registration = serde_json::from_value(self.registration.clone()).ok()?;
        let profile = Profile::parse(&self.profile.to_string()).ok()?;
        let scheme = bundle::testable_layer(&profile, &registration.layer).ok()?.scheme;
        let predicate = &mut statement.predicate;
        for sample in std::iter::once(&mut predicate.suspect).chain(&mut predicate.controls) {
            let tails = Tails::of_classes(scheme, &sample.score_classes(), registration.weights).ok()?;
            let pairs = sample.classes.iter().try_fold(0_u64, |sum, class| sum.checked_add(class.pairs))?;
            sample.n_scored = pairs;
            sample.tokens = [pairs, sample.n_duplicate, sample.n_excluded, sample.n_short_context]
                .into_iter()
                .try_fold(0_u64, u64::checked_add)?;
            (sample.log10_p, sample.log10_p_distinct, sample.ln_e) =
                (tails.log10_p, tails.log10_p_distinct, tails.ln_e);
            sample.score = Decimal(tails.score);
            sample.statistic = Decimal(i128::try_from(tails.statistic).ok()?);
            sample.weight = Decimal(i128::try_from(tails.weight).ok()?);
            if let Some(residuals) = &sample.residuals {
                let tails = ResidualTails::of_classes(scheme, &residuals.signed_classes()).ok()?;
                (sample.log10_p, sample.ln_e) = (tails.log10_p, tails.ln_e);
                (sample.statistic, sample.weight) = (Decimal(tails.statistic), Decimal(tails.weight));
            }
            let audit = sample.left_out.classes().audit(scheme, registration.weights).ok()?;
            sample.left_out.answers_log10_p = audit.answers_log10_p;
            sample.left_out.prompts_log10_p = audit.prompts_log10_p;
        }
        if let Some(references) = &mut predicate.references {
            for one in &mut references.expected {
                one.log10_p = ResidualTails::of_classes(scheme, &one.signed_classes()).ok()?.log10_p;
            }
            let log10_p: Vec<f64> = references.expected.iter().map(|one| one.log10_p).collect();
            references.log10_p = Audit::default().beside(&log10_p).references_log10_p;
        }
        let registered = to_canonical(&predicate.registration).ok()?;
        predicate.resampling.seed = Digest(Resampling::seed(&registered, &predicate.suspect.records.root.0));
        predicate.resampling.keys = if predicate.suspect.n_scored == 0 { 0 } else { u64::from(registration.resample) };
        let (suspect, controls) = (&predicate.suspect, &predicate.controls);
        let samples: Vec<&SampleEvidence> = std::iter::once(suspect).chain(controls).collect();
        let head = TreeHead {
            tree: KEY_COMMITMENTS.to_owned(),
            size: self.head["tree_size"].as_u64()?,
            root: [0; 32],
            prompt_pools: vec![],
            references: vec![],
            signed_at: self.head["signed_at"].as_str()?.to_owned(),
        };
        let conditions = bundle::conditions(&registration, &head, &predicate.key.leaf, &samples, &predicate.signed_at);
        let fresh = &predicate.resampling;
        let beside = predicate.references.as_ref();
        let follows = bundle::conclude(&registration, scheme, suspect, controls, beside, fresh, &conditions);
        if let Some(references) = &mut predicate.references {
            references.agree = follows.references_agree;
        }
        predicate.conditions = conditions;
        predicate.exclusion_agrees = follows.exclusion_agrees;
        predicate.decided_by = follows.decided_by;
        predicate.controls_agree = follows.controls_agree;
        predicate.resampling_agrees = follows.resampling_agrees;
        predicate.answers_present = follows.answers_present;
        predicate.smallest_effect = follows.smallest_effect;
        predicate.verdict = follows.verdict;
        self.statement = serde_json::to_value(statement).ok()?;
        Some(())
    }

    /// The statement's canonical bytes, if it has any.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        to_canonical(&self.statement).ok()
    }

    /// Payloads of head, registration and bundle.
    pub(crate) fn payloads(&self) -> [Vec<u8>; 3] {
        [&self.head, &self.registration, &self.statement].map(|part| to_canonical(part).unwrap())
    }

    /// The bundle that a key signs.
    pub(crate) fn signed(&self, key: &SigningKey) -> Option<Vec<u8>> {
        dsse::sign(STATEMENT_TYPE, &self.payload()?, key).ok()
    }
}

fn digest(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// Three answers that depend on the salt.
pub(crate) fn records(salt: u32) -> Vec<EvidenceRecord> {
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
