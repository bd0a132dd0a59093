use std::collections::HashSet;

use base64ct::{Base64, Encoding};

use super::super::fields::Digest;
use super::fault::{Code, Fault, fault};
use super::registration::{Registration, Stopping};
use super::statement::{ClassEvidence, LeftOut, SampleEvidence, Statement};
use super::{
    ALTERNATIVE_HYPOTHESIS, ALTERNATIVES, DOES_NOT_SHOW, Family, KIND, MAX_BUNDLE, NULL_HYPOTHESIS, PREDICATE_TYPE,
    Rules, STATEMENT_TYPE, STATEMENT_VERSION,
};
use crate::detect::{Detector, LayerDetector, Resampling};
use crate::evidence::beacon::{SIGNATURE_LENGTH, committed_sha256};
use crate::evidence::canonical::from_canonical;
use crate::evidence::commitment::KEY_COMMITMENTS;
use crate::evidence::dsse::Envelope;
use crate::evidence::{PublicKey, TreeHead, dsse, merkle, parse_hash};
use crate::key::NodeKey;
use crate::model_test::{ResidualTails, Tails};
use crate::profile::{AnyScheme, Layer, Profile};
use crate::scheme::Scheme;
use crate::{Error, ErrorKind, Result, hex};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Limits on what a verifier has to sum over; a text of gigabytes has fewer pairs and classes.
pub(super) const MAX_PAIRS: u64 = 1 << 32;
pub(super) const MAX_CLASSES: usize = 20_000;
/// Hashes of a Merkle proof in a tree of fewer than 2^64 leaves.
const MAX_PROOF: usize = 64;

/// Relative difference at which two floats count as equal (absolute below 1).
const TOLERANCE: f64 = 1e-9;

/// A bundle taken apart, of which every part holds by itself.
#[derive(Debug)]
pub struct Bundle {
    /// The signed statement.
    pub statement: Statement,
    /// What was registered.
    pub registration: Registration,
    /// The canonical bytes of the registration's envelope.
    pub registration_bytes: Vec<u8>,
    /// The canonical bytes of the head's envelope.
    pub head_bytes: Vec<u8>,
    /// The head of the key commitments.
    pub head: TreeHead,
    /// The profile.
    pub profile: Profile,
    /// The layer that was tested.
    pub layer: Layer,
    /// Who signed bundle, registration and head.
    pub signers: [PublicKey; 3],
    /// The disclosed key of the layer, if it is the committed one.
    pub node: Option<NodeKey>,
}

/// What a verifier found without the data.
#[derive(Debug)]
pub struct Checked {
    /// Everything that does not hold; empty if all holds.
    pub faults: Vec<Fault>,
    /// The parts, unless a fault is in one of them.
    pub bundle: Option<Bundle>,
}

/// Checks a bundle without its data: every step of `verify/FORMAT.md`, section 7, up to `E-VERDICT`.
///
/// The documentation of the module has an example.
#[must_use]
pub fn verify(bytes: &[u8]) -> Checked {
    match Bundle::open(bytes) {
        Err(fault) => Checked { faults: vec![fault], bundle: None },
        Ok(mut bundle) => {
            let mut faults = Vec::new();
            bundle.check_key(&mut faults);
            bundle.check_registered(&mut faults);
            for sample in bundle.samples() {
                bundle.check_sample(sample, &mut faults);
            }
            bundle.check_references(&mut faults);
            bundle.check_verdict(&mut faults);
            // The first one is what verifiers agree on.
            faults.sort_by_key(|fault| fault.code);
            Checked { faults, bundle: Some(bundle) }
        }
    }
}

/// Whether two floats are as close as rounding explains.
#[must_use]
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * b.abs().max(1.0)
}

/// A fault of the envelope or of its signature.
pub(in crate::evidence) fn opening(error: &Error, other: Code) -> Fault {
    let signature = error.kind() == ErrorKind::InvalidSignature;
    fault(if signature && other == Code::Envelope { Code::Signature } else { other }, error.to_string())
}

impl Bundle {
    /// Takes a bundle apart: envelope, signature, schema, registration, profile, head.
    fn open(bytes: &[u8]) -> std::result::Result<Self, Fault> {
        let verified =
            dsse::verify(bytes, STATEMENT_TYPE, MAX_BUNDLE).map_err(|error| opening(&error, Code::Envelope))?;
        let statement: Statement = from_canonical(&verified.payload, MAX_BUNDLE, "an evidence statement")
            .map_err(|error| fault(Code::Schema, error.to_string()))?;
        // A field that is absent would be read as null, but the format wants it written.
        if statement.payload().ok().as_ref() != Some(&verified.payload) {
            return Err(fault(Code::Schema, "not an evidence statement: a field is missing"));
        }
        check_fixed(&statement).map_err(|what| fault(Code::Schema, what))?;
        let predicate = &statement.predicate;

        let refused = |code: Code| move |error: Error| fault(code, error.to_string());
        let registration_bytes = predicate.registration.bytes().map_err(refused(Code::Registration))?;
        let (registration, registrant) =
            Registration::verify(&registration_bytes).map_err(refused(Code::Registration))?;

        let sha256 = Sha256::digest(predicate.profile.as_bytes());
        if sha256[..] != registration.profile_sha256.0 {
            return Err(fault(Code::Profile, "the profile is not the registered one"));
        }
        let (profile, layer) = profile_layer(&predicate.profile, &registration)
            .map_err(|error| fault(Code::Profile, error.to_string()))?;

        let head_bytes = predicate.key.head.bytes().map_err(refused(Code::Head))?;
        let (head, committer) = TreeHead::verify(&head_bytes, KEY_COMMITMENTS).map_err(refused(Code::Head))?;
        if Sha256::digest(&head_bytes)[..] != registration.key.head_sha256.0 {
            return Err(fault(Code::Head, "the head of the key commitments is not the registered one"));
        }
        let signers = [verified.signer, registrant, committer];
        Ok(Self { statement, registration, registration_bytes, head_bytes, head, profile, layer, signers, node: None })
    }

    /// The suspect's sample, then the controls'.
    pub fn samples(&self) -> impl Iterator<Item = &SampleEvidence> {
        let predicate = &self.statement.predicate;
        std::iter::once(&predicate.suspect).chain(&predicate.controls)
    }

    /// The tested layer under the disclosed key; `None` without one.
    ///
    /// # Errors
    /// As [`Detector::new`].
    pub fn detector(&self) -> Result<Option<LayerDetector>> {
        let Some(node) = &self.node else { return Ok(None) };
        layer_under(&self.profile, &self.layer, node).map(Some)
    }

    /// The seed of the fresh keys.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        Resampling::seed(&self.registration_bytes, &self.statement.predicate.suspect.records.root.0)
    }

    fn check_key(&mut self, faults: &mut Vec<Fault>) {
        let key = &self.statement.predicate.key;
        let profile = (self.statement.predicate.profile.as_str(), &self.profile);
        if let Err(error) = self.registration.key.check_committed(&key.leaf, &key.proof, &self.head, profile) {
            return faults.push(fault(Code::Proof, error.to_string()));
        }
        if let Err(error) = self.check_beacons() {
            faults.push(fault(Code::Beacon, error.to_string()));
        }
        let Ok(path) = key.leaf.path.parse() else { return };
        let Some(disclosed) = &key.opening else { return };
        let secret = |text: &str, field: &str| parse_hash(text, field).map(Zeroizing::new);
        match (secret(&disclosed.node, "node"), secret(&disclosed.salt, "salt")) {
            (Ok(node), Ok(salt)) => {
                let node = NodeKey::from_parts(path, node);
                if node.commitment(&salt) == key.leaf.commitment.0 {
                    self.node = Some(node);
                } else {
                    faults.push(fault(Code::Opening, "the disclosed key is not the committed one"));
                }
            }
            (Err(error), _) | (_, Err(error)) => faults.push(fault(Code::Opening, error.to_string())),
        }
    }

    /// The values that went into the key and that drew the prompts are those of the rounds that were named for them.
    fn check_beacons(&self) -> Result<()> {
        let predicate = &self.statement.predicate;
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, what));
        predicate.key.leaf.check_value(predicate.key.beacon.as_ref(), self.profile.beacon)?;
        match (&self.registration.prompts.draw, &predicate.prompts.beacon) {
            (None, None) => Ok(()),
            (Some(draw), Some(drawn)) => draw.beacon.check_value(drawn),
            _ => refused("a value that draws prompts goes with a registered draw"),
        }
    }

    fn check_registered(&self, faults: &mut Vec<Fault>) {
        let (statement, registration) = (&self.statement, &self.registration);
        let predicate = &statement.predicate;
        let mut check = |holds: bool, code: Code, what: &str| {
            if !holds {
                faults.push(fault(code, what));
            }
        };
        let names = || std::iter::once(&registration.suspect).chain(&registration.controls);
        check(
            self.samples().map(|sample| &sample.model).eq(names()),
            Code::Registered,
            "suspect and controls are not the registered ones, in order",
        );
        check(
            predicate.earlier.iter().map(|earlier| &earlier.registration_sha256).eq(&registration.earlier)
                && predicate
                    .earlier
                    .iter()
                    .all(|earlier| earlier.evidence_sha256.is_some() == earlier.verdict.is_some()),
            Code::Registered,
            "the earlier analyses are not those that the registration names, each with its outcome",
        );
        check(
            predicate.family == Family::of_keys(registration.key.tree_size),
            Code::Registered,
            "the family is not that of all committed keys",
        );
        let asked = registration.prompts.count;
        check(
            registration.stopping != Stopping::Fixed || self.samples().all(|sample| sample.records.count == asked),
            Code::Registered,
            "a fixed sample has one answer to every registered prompt",
        );
        let answered_in_order = |sample: &SampleEvidence| {
            let proof: Vec<merkle::Hash> = sample.prompts_proof.iter().map(|hash| hash.0).collect();
            let (root, registered) = (&sample.prompts_root.0, &predicate.prompts.root.0);
            merkle::verify_consistency(sample.records.count, root, asked, registered, &proof)
        };
        check(
            registration.prompts.root.is_none_or(|root| root == predicate.prompts.root),
            Code::Prompts,
            "the prompts are not the registered ones",
        );
        check(
            self.samples().all(answered_in_order),
            Code::Prompts,
            "a model was asked other prompts than the registered ones, or in another order",
        );
        let at = &registration.registered_at;
        check(
            self.head.signed_at.as_str() <= at.as_str(),
            Code::Time,
            "the key was committed to after the registration",
        );
        let collected: Vec<_> = self.samples().filter_map(|sample| sample.collected.as_ref()).collect();
        check(
            collected.iter().all(|times| *at <= times.first),
            Code::Time,
            "data were collected before the registration",
        );
        check(
            *at <= predicate.signed_at
                && collected.iter().all(|times| times.first <= times.last && times.last <= predicate.signed_at),
            Code::Time,
            "the bundle was signed before its registration or its data",
        );
        let (subjects, mut names) = (&statement.subject, HashSet::new());
        check(
            subjects.len() == self.samples().count() + self.references().len()
                && subjects.iter().all(|subject| names.insert(&subject.name)),
            Code::Subject,
            "there is not one file, with a name of its own, for each model",
        );
        let mut files = HashSet::new();
        check(
            self.models().all(|(_, records)| records.count == 0 || files.insert(records.sha256)),
            Code::Subject,
            "two models have the same records",
        );
        self.check_registered_references(faults);
    }

    /// The largest score of a pair under the tested layer.
    pub(super) fn largest_score(&self) -> u64 {
        match self.layer.scheme {
            AnyScheme::Own(Scheme::Gumbel(scheme)) => scheme.score_q32(u32::MAX),
            _ => 1,
        }
    }

    /// Whether pairs can have such classes.
    pub(super) fn possible(&self, classes: &[ClassEvidence]) -> bool {
        let most = u128::from(self.largest_score());
        let one = |class: &ClassEvidence| {
            class.count > 0 && class.pairs > 0 && class.score.0 <= most * u128::from(class.pairs)
        };
        classes.len() <= MAX_CLASSES && classes.iter().all(one)
    }

    fn check_sample(&self, sample: &SampleEvidence, faults: &mut Vec<Fault>) {
        let mut check = |holds: bool, code: Code, what: &str| {
            if !holds {
                faults.push(fault(code, format!("{:?}: {what}", sample.model)));
            }
            holds
        };
        let parts = [sample.n_scored, sample.n_duplicate, sample.n_excluded, sample.n_short_context];
        let all = parts.iter().map(|&n| u128::from(n)).sum::<u128>();
        check(all == u128::from(sample.tokens), Code::Tally, "the four counts do not add up to the tokens");
        let sum = |classes: &[ClassEvidence], times: fn(u64) -> u64| {
            let of = |class: &ClassEvidence| u128::from(class.pairs) * u128::from(times(class.count));
            classes.iter().map(of).sum::<u128>()
        };
        let (pairs, repeated) = (sum(&sample.classes, |_| 1), sum(&sample.classes, |count| count.saturating_sub(1)));
        check(sample.n_empty <= sample.records.count, Code::Tally, "more answers are empty than there are");
        check(
            pairs == u128::from(sample.n_scored)
                && sample.n_scored < MAX_PAIRS
                && repeated <= u128::from(sample.n_duplicate)
                && self.possible(&sample.classes)
                && !self.impossible_residuals(sample),
            Code::Tally,
            "the classes do not fit the counts",
        );
        let left_out = &sample.left_out;
        check(
            sum(&left_out.answers, |count| count) <= u128::from(sample.n_excluded)
                && self.possible(&left_out.answers)
                && left_out
                    .prompts
                    .iter()
                    .all(|class| class.count == 1 && u128::from(class.pairs) < u128::from(MAX_PAIRS))
                && self.possible(&left_out.prompts),
            Code::Tally,
            "the left-out pairs do not fit the counts",
        );
        let weights = self.registration.weights;
        match self.tails(sample) {
            Err(error) => {
                check(false, Code::Tally, &error.to_string());
            }
            Ok((plain, tails)) => {
                check(
                    plain.score == sample.score.0
                        && [tails.statistic, tails.weight] == [sample.statistic.0, sample.weight.0],
                    Code::Tally,
                    "score, statistic or weight are not the sums over the classes",
                );
                let stated = [sample.log10_p, sample.log10_p_distinct, sample.ln_e];
                let computed = [tails.log10_p, plain.log10_p_distinct, tails.ln_e];
                check(
                    stated.iter().zip(computed).all(|(&stated, computed)| close(stated, computed)),
                    Code::Tail,
                    "log10_p, log10_p_distinct or ln_e do not follow from the classes",
                );
            }
        }
        match left_out.classes().audit(self.layer.scheme, weights) {
            Err(error) => {
                check(false, Code::Tally, &error.to_string());
            }
            Ok(audit) => {
                check(
                    close(left_out.answers_log10_p, audit.answers_log10_p)
                        && close(left_out.prompts_log10_p, audit.prompts_log10_p),
                    Code::Tail,
                    "the numbers of left-out pairs do not follow from their classes",
                );
            }
        }
    }

    /// What the stated classes give: the numbers by themselves, and those that the test goes by.
    fn tails(&self, sample: &SampleEvidence) -> Result<(Tails, ResidualTails)> {
        let scheme = self.layer.scheme;
        let plain = Tails::of_classes(scheme, &sample.score_classes(), self.registration.weights)?;
        if let Some(residuals) = &sample.residuals {
            return Ok((plain, ResidualTails::of_classes(scheme, &residuals.signed_classes())?));
        }
        let whole = |sum: u128| {
            i128::try_from(sum).map_err(|_| Error::new(ErrorKind::InvalidEvidence, "the classes' sums are too large"))
        };
        let (statistic, weight) = (whole(plain.statistic)?, whole(plain.weight)?);
        Ok((plain, ResidualTails { statistic, weight, log10_p: plain.log10_p, ln_e: plain.ln_e }))
    }

    fn check_verdict(&self, faults: &mut Vec<Fault>) {
        let (predicate, registration) = (&self.statement.predicate, &self.registration);
        let fresh = &predicate.resampling;
        let keys = if predicate.suspect.n_scored == 0 { 0 } else { u64::from(registration.resample) };
        if fresh.keys != keys {
            faults.push(fault(Code::Registered, "the number of fresh keys is not the registered one"));
        }
        if fresh.seed != Digest(self.seed()) || fresh.at_least > fresh.keys {
            faults.push(fault(Code::Verdict, "the fresh keys are not those that registration and records give"));
        }
        let conclusion = self.conclusion();
        let effect = match (conclusion.smallest_effect, predicate.smallest_effect) {
            (None, None) => true,
            (Some(a), Some(b)) => a.unit == b.unit && close(b.value, a.value) && close(b.power, a.power),
            _ => false,
        };
        let follows = [
            (conclusion.decided_by == predicate.decided_by, "decided_by"),
            (conclusion.controls_agree == predicate.controls_agree, "controls_agree"),
            (conclusion.exclusion_agrees == predicate.exclusion_agrees, "exclusion_agrees"),
            (
                predicate.references.as_ref().is_none_or(|stated| stated.agree == conclusion.references_agree),
                "references.agree",
            ),
            (conclusion.resampling_agrees == predicate.resampling_agrees, "resampling_agrees"),
            (conclusion.answers_present == predicate.answers_present, "answers_present"),
            (self.conditions() == predicate.conditions, "conditions"),
            (conclusion.verdict == predicate.verdict, "verdict"),
            (effect, "smallest_effect"),
        ];
        let others: Vec<&str> = follows.iter().filter(|(holds, _)| !holds).map(|&(_, field)| field).collect();
        if !others.is_empty() {
            let what = format!("what is concluded does not follow from the numbers: {}", others.join(", "));
            faults.push(fault(Code::Verdict, what));
        }
    }
}

/// A layer of a profile under the key of its own node or of one above.
///
/// # Errors
/// As [`Detector::new`].
pub fn layer_under(profile: &Profile, layer: &Layer, node: &NodeKey) -> Result<LayerDetector> {
    let profile = Profile { layers: vec![layer.clone()], ..profile.clone() };
    let detector = Detector::new(&profile, node, None)?;
    detector.layers().first().cloned().ok_or_else(|| Error::new(ErrorKind::InvalidProfile, "a profile without layers"))
}

fn profile_layer(text: &str, registration: &Registration) -> Result<(Profile, Layer)> {
    let profile = Profile::parse(text)?;
    committed_sha256(text, &profile)?;
    let layer = testable_layer(&profile, &registration.layer)?;
    if profile.layer_path(&layer.name)?.as_str() != registration.key.path {
        return Err(Error::new(ErrorKind::InvalidEvidence, "the layer has another key path than registered"));
    }
    Ok((profile, layer))
}

/// The layer of that name, if this version can test it.
///
/// # Errors
/// [`ErrorKind::InvalidEvidence`].
pub fn testable_layer(profile: &Profile, name: &str) -> Result<Layer> {
    let refused = |what: &str| Error::new(ErrorKind::InvalidEvidence, format!("layer {name:?} {what}"));
    let layer = profile.layers.iter().find(|layer| layer.name == *name).cloned();
    let layer = layer.ok_or_else(|| refused("is not in the profile"))?;
    if layer.per_account || !matches!(layer.scheme.own(), Some(Scheme::Greenlist(_) | Scheme::Gumbel(_))) {
        return Err(refused("cannot be tested in this version: greenlist and gumbel without a key per account can"));
    }
    Ok(layer)
}

fn check_fixed(statement: &Statement) -> std::result::Result<(), &'static str> {
    let predicate = &statement.predicate;
    let stamps = [&predicate.time_stamps.head, &predicate.time_stamps.registration];
    let samples = || std::iter::once(&predicate.suspect).chain(&predicate.controls);
    let filled = |classes: &[ClassEvidence]| classes.iter().all(|class| class.count > 0 && class.pairs > 0);
    let lists = |sample: &SampleEvidence| {
        let LeftOut { answers, prompts, .. } = &sample.left_out;
        filled(&sample.classes) && filled(answers) && filled(prompts) && prompts.len() <= 1
    };
    let drawn = [&predicate.key.beacon, &predicate.prompts.beacon].into_iter().flatten();
    let fixed = [
        (statement.type_ == STATEMENT_VERSION, "\"_type\" is another"),
        (statement.predicate_type == PREDICATE_TYPE, "\"predicateType\" is another"),
        (predicate.kind == KIND, "\"kind\" is another"),
        (predicate.null_hypothesis == NULL_HYPOTHESIS, "\"null_hypothesis\" is another"),
        (predicate.alternative_hypothesis == ALTERNATIVE_HYPOTHESIS, "\"alternative_hypothesis\" is another"),
        (predicate.rules == Rules::fixed(), "\"rules\" are others"),
        (predicate.does_not_show == DOES_NOT_SHOW, "\"does_not_show\" is another"),
        (predicate.alternatives == ALTERNATIVES, "\"alternatives\" are others"),
        (
            stamps.iter().all(|stamp| {
                stamp.as_ref().is_none_or(|text| Base64::decode_vec(text).is_ok_and(|token| !token.is_empty()))
            }),
            "a time stamp is not base64, or empty",
        ),
        (
            [&predicate.registration, &predicate.key.head].into_iter().all(Envelope::is_well_formed),
            "an envelope is not written in base64 and digits of hashes",
        ),
        (predicate.key.leaf.requests.is_none(), "the key is one of paired draws"),
        (!statement.subject.is_empty(), "\"subject\" is empty"),
        (predicate.family.method == Family::of_keys(1).method, "\"method\" is another"),
        (samples().all(lists), "a class is empty, or prompts have several"),
        (
            samples()
                .flat_map(|sample| &sample.residuals)
                .map(|residuals| &residuals.classes)
                .chain(predicate.references.iter().flat_map(|beside| &beside.expected).map(|one| &one.classes))
                .flatten()
                .all(|class| class.pairs > 0),
            "a class beside references is empty",
        ),
        (
            predicate.key.proof.len() <= MAX_PROOF && samples().all(|sample| sample.prompts_proof.len() <= MAX_PROOF),
            "a proof is longer than any tree is high",
        ),
        (
            drawn
                .filter_map(|drawn| drawn.signature.as_deref())
                .all(|digits| hex::decode(digits.as_bytes(), &mut [0; SIGNATURE_LENGTH]).is_some()),
            "a beacon's signature is not 96 hexadecimal digits",
        ),
    ];
    match fixed.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, what)) => Err(what),
    }
}
