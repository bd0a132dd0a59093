use std::collections::HashSet;

use base64ct::{Base64, Encoding};
use sha2::{Digest as _, Sha256};

use super::super::beacon::committed_sha256;
use super::super::bundle::{
    Code, DOES_NOT_SHOW, Fault, MAX_BUNDLE, STATEMENT_TYPE, STATEMENT_VERSION, close, fault, opening,
};
use super::super::canonical::from_canonical;
use super::super::commitment::KEY_COMMITMENTS;
use super::super::dsse::{self, Envelope};
use super::super::fields::Digest;
use super::super::head::TreeHead;
use super::super::ledger::ANSWERS;
use super::super::merkle::{Frontier, Hash};
use super::super::requests::{self, Requests};
use super::super::signing::PublicKey;
use super::conclusion::conditions;
use super::record::Record;
use super::registration::Registration;
use super::statement::{AccountEvidence, Predicate, SampleEvidence, Statement};
use super::{ALTERNATIVE_HYPOTHESIS, ALTERNATIVES, KIND, NULL_HYPOTHESIS, PREDICATE_TYPE};
use crate::profile::Profile;
use crate::{Error, ErrorKind, Result};

/// A bundle taken apart, of which every part holds by itself.
#[derive(Debug)]
pub struct Bundle {
    /// The signed statement.
    pub statement: Statement,
    /// What was registered.
    pub registration: Registration,
    /// The canonical bytes of the three envelopes inside: key head, ledger head, registration.
    pub envelopes: [Vec<u8>; 3],
    /// The head of the key commitments.
    pub head: TreeHead,
    /// The head of the ledger.
    pub ledger: TreeHead,
    /// The profile.
    pub profile: Profile,
    /// Who signed bundle, registration, key head and ledger head.
    pub signers: [PublicKey; 4],
}

/// What a verifier found without the data.
#[derive(Debug)]
pub struct Checked {
    /// Everything that does not hold; empty if all holds.
    pub faults: Vec<Fault>,
    /// The parts, unless a fault is in one of them.
    pub bundle: Option<Bundle>,
}

/// Checks a bundle without its data: every step of `verify/PAIRS.md`, section 7, up to `E-VERDICT`.
#[must_use]
pub fn verify(bytes: &[u8]) -> Checked {
    match Bundle::open(bytes) {
        Err(fault) => Checked { faults: vec![fault], bundle: None },
        Ok(bundle) => {
            let mut faults = Vec::new();
            bundle.check_key(&mut faults);
            bundle.check_registered(&mut faults);
            bundle.check_numbers(&mut faults);
            bundle.check_verdict(&mut faults);
            // The first one is what verifiers agree on.
            faults.sort_by_key(|fault| fault.code);
            Checked { faults, bundle: Some(bundle) }
        }
    }
}

/// The profile of a test of pairs, and its text's digest.
///
/// # Errors
/// Those of [`Profile::parse`]; [`ErrorKind::InvalidProfile`] while it awaits its beacon, without paired draws, or beside a layer that draws
/// tokens itself, with whose keys candidates would be drawn.
pub fn paired_profile(text: &str) -> Result<(Profile, Digest)> {
    let profile = Profile::parse(text)?;
    committed_sha256(text, &profile)?;
    profile.drawn_beacon()?;
    let refused = |what: &str| Err(Error::new(ErrorKind::InvalidProfile, what));
    if profile.paired.is_none() {
        return refused("the profile has no paired draws");
    }
    if profile.layers.iter().any(|layer| layer.scheme.chooses()) {
        return refused("beside a layer that draws tokens itself, paired draws cannot be tested in this version");
    }
    Ok((profile, Digest(Sha256::digest(text.as_bytes()).into())))
}

impl Bundle {
    fn open(bytes: &[u8]) -> std::result::Result<Self, Fault> {
        let verified =
            dsse::verify(bytes, STATEMENT_TYPE, MAX_BUNDLE).map_err(|error| opening(&error, Code::Envelope))?;
        let schema = |what: String| fault(Code::Schema, what);
        let statement: Statement = from_canonical(&verified.payload, MAX_BUNDLE, "a statement of evidence from pairs")
            .map_err(|error| schema(error.to_string()))?;
        // A field that is absent would be read as null, but the format wants it written.
        if statement.payload().ok().as_ref() != Some(&verified.payload) {
            return Err(schema("not a statement of evidence from pairs: a field is missing".to_owned()));
        }
        check_fixed(&statement).map_err(|what| schema(what.to_owned()))?;
        let predicate = &statement.predicate;

        let refused = |code: Code| move |error: Error| fault(code, error.to_string());
        let registered = predicate.registration.bytes().map_err(refused(Code::Registration))?;
        let (registration, registrant) = Registration::verify(&registered).map_err(refused(Code::Registration))?;

        let (profile, sha256) = paired_profile(&predicate.profile).map_err(refused(Code::Profile))?;
        let path = profile.paired.as_ref().map(|name| profile.layer_path(name));
        let path = path.transpose().map_err(refused(Code::Profile))?;
        if sha256 != registration.profile_sha256 || path.is_none_or(|path| path.as_str() != registration.key.path) {
            return Err(fault(Code::Profile, "the profile is not the registered one, or its layer has another path"));
        }

        let head = |envelope: &Envelope, tree: &str, sha256: Digest| {
            let bytes = envelope.bytes().map_err(refused(Code::Head))?;
            let (head, signer) = TreeHead::verify(&bytes, tree).map_err(refused(Code::Head))?;
            if Sha256::digest(&bytes)[..] != sha256.0 {
                return Err(fault(Code::Head, format!("the head of {tree} is not the registered one")));
            }
            Ok((head, signer, bytes))
        };
        let (key_head, committer, key_bytes) =
            head(&predicate.key.head, KEY_COMMITMENTS, registration.key.head_sha256)?;
        let (ledger, keeper, ledger_bytes) = head(&predicate.ledger.head, ANSWERS, registration.ledger.head_sha256)?;
        if ledger.size != registration.ledger.size {
            return Err(fault(Code::Head, "the ledger has another number of entries than registered"));
        }
        if !(ledger.prompt_pools.is_empty() && ledger.references.is_empty()) {
            return Err(fault(Code::Head, "a ledger's head commits to neither pools nor references"));
        }
        let signers = [verified.signer, registrant, committer, keeper];
        let envelopes = [key_bytes, ledger_bytes, registered];
        Ok(Self { statement, registration, envelopes, head: key_head, ledger, profile, signers })
    }

    /// The requests that were planned; `None` where the leaf names none, which is a fault.
    #[must_use]
    pub fn requests(&self) -> Option<&Requests> {
        self.statement.predicate.key.leaf.requests.as_ref()
    }

    fn check_key(&self, faults: &mut Vec<Fault>) {
        let predicate = &self.statement.predicate;
        let profile = (predicate.profile.as_str(), &self.profile);
        let committed =
            self.registration.key.check_committed(&predicate.key.leaf, &predicate.key.proof, &self.head, profile);
        if let Err(error) = committed {
            return faults.push(fault(Code::Proof, error.to_string()));
        }
        if self.requests().is_none_or(|requests| requests.check().is_err() || requests.count < self.ledger.size) {
            return faults.push(fault(Code::Proof, "the committed key has no requests, or fewer than the ledger"));
        }
        if let Err(error) = predicate.key.leaf.check_value(predicate.key.beacon.as_ref(), self.profile.beacon) {
            faults.push(fault(Code::Beacon, error.to_string()));
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
        let named = std::iter::once(&predicate.suspect).chain(&predicate.controls).map(|sample| &sample.model);
        check(
            named.eq(std::iter::once(&registration.suspect).chain(&registration.controls)),
            Code::Registered,
            "suspect and controls are not the registered ones, in order",
        );
        let beside =
            [(&registration.reference, predicate.reference.is_some()), (&registration.law, predicate.draws.is_some())];
        let registered: Vec<Digest> =
            beside.iter().filter_map(|(scores, _)| scores.as_ref()).map(|one| one.sha256).collect();
        let stated: Vec<Digest> =
            statement.subject.iter().skip(2 + registration.controls.len()).map(|file| file.digest.sha256).collect();
        check(
            beside.iter().all(|(scores, stated)| scores.is_some() == *stated) && registered == stated,
            Code::Registered,
            "reference and law are not the registered ones",
        );
        check(
            predicate.list.requests == registration.ledger.size,
            Code::Registered,
            "the list is not the whole ledger",
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
        let times = [
            self.head.signed_at.as_str(),
            self.ledger.signed_at.as_str(),
            registration.registered_at.as_str(),
            predicate.signed_at.as_str(),
        ];
        check(times.is_sorted(), Code::Time, "key, ledger, registration and bundle are not of this order in time");
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        check(
            statement.subject.len() == 1 + registration.models().count()
                && statement.subject.iter().all(|file| names.insert(&file.name) && files.insert(file.digest.sha256)),
            Code::Subject,
            "there is not one file, with a name of its own, for the list and each model",
        );
    }

    fn check_numbers(&self, faults: &mut Vec<Fault>) {
        let predicate = &self.statement.predicate;
        let Predicate { suspect, controls, accounts, draws, list, .. } = predicate;
        let mut check = |holds: bool, code: Code, what: &str| {
            if !holds {
                faults.push(fault(code, what));
            }
        };
        let positions = |sample: &SampleEvidence| u128::from(sample.n_scored) + u128::from(sample.n_ties);
        // Every position with a second candidate was drawn; a special one is left out where the key cannot tell whose it was.
        let least = positions(suspect) + u128::from(list.n_equal);
        let drawn = least..=least + u128::from(list.n_special);
        check(
            std::iter::once(suspect).chain(controls).all(|sample| sample.n_served_preferred <= sample.n_scored)
                && suspect.n_unscored <= suspect.n_scored
                && controls.iter().all(|control| {
                    positions(control) == positions(suspect) && control.n_unscored <= suspect.n_unscored
                })
                && draws.is_none_or(|draws| {
                    u128::from(draws.n).is_multiple_of(2) && drawn.contains(&u128::from(draws.n / 2))
                }),
            Code::Tally,
            "the counts of models do not fit",
        );
        let sum =
            |of: fn(&AccountEvidence) -> u64| accounts.iter().map(|account| u128::from(of(account))).sum::<u128>();
        let sums = [
            (sum(|one| one.requests), list.requests),
            (sum(|one| one.n_scored), suspect.n_scored),
            (sum(|one| one.n_served_preferred), suspect.n_served_preferred),
            (sum(|one| one.n_ties), suspect.n_ties),
            (sum(|one| one.n_unscored), suspect.n_unscored),
        ];
        let follows = |two: &[AccountEvidence]| {
            two[1].ln_e < two[0].ln_e || two[1].ln_e <= two[0].ln_e && two[0].account.0 < two[1].account.0
        };
        let mut names = HashSet::new();
        check(
            sums.iter().all(|&(of_accounts, whole)| of_accounts == u128::from(whole))
                && accounts.iter().all(|one| {
                    one.n_served_preferred <= one.n_scored
                        && one.requests > 0
                        && one.n_unscored <= one.n_scored
                        && one.controls_ln_e.len() == controls.len()
                        && names.insert(one.account)
                })
                && accounts.windows(2).all(follows),
            Code::Tally,
            "the accounts do not add up, or are not in order",
        );
        let test = predicate.test();
        let models = std::iter::once((suspect, &test.suspect)).chain(controls.iter().zip(&test.controls));
        for (sample, numbers) in models {
            check(
                close(sample.ln_e, numbers.ln_e()),
                Code::Tail,
                "an e-value does not follow from those of the accounts",
            );
        }
    }

    fn check_verdict(&self, faults: &mut Vec<Fault>) {
        let predicate = &self.statement.predicate;
        let conditions = conditions(&self.registration, &self.head, &self.ledger, &predicate.key.leaf);
        let conclusion = predicate.conclusion(&self.registration, &conditions);
        let follows = [
            (conclusion.controls_agree == predicate.controls_agree, "controls_agree"),
            (conclusion.reference_agrees == predicate.reference_agrees, "reference_agrees"),
            (conclusion.draws_agree == predicate.draws_agree, "draws_agree"),
            (conditions == predicate.conditions, "conditions"),
            (conclusion.verdict == predicate.verdict, "verdict"),
            (predicate.accounts.iter().map(|account| account.verdict).eq(conclusion.accounts), "an account's verdict"),
        ];
        let others: Vec<&str> = follows.iter().filter(|(holds, _)| !holds).map(|&(_, field)| field).collect();
        if !others.is_empty() {
            let what = format!("what is concluded does not follow from the numbers: {}", others.join(", "));
            faults.push(fault(Code::Verdict, what));
        }
    }

    /// Checks an opened list line by line: that it is the ledger, and that its secrets are those that were planned.
    #[must_use]
    pub fn list_check(&self) -> ListCheck<'_> {
        ListCheck { bundle: self, entries: Frontier::new(), secrets: Frontier::new(), opened: HashSet::new() }
    }
}

/// An opened list, as far as it was read.
#[derive(Debug)]
pub struct ListCheck<'a> {
    bundle: &'a Bundle,
    entries: Frontier,
    secrets: Frontier,
    opened: HashSet<Digest>,
}

impl ListCheck<'_> {
    /// Takes the next record.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] for another request than the next one, or a secret twice.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let number = self.entries.size();
        if self.bundle.requests().map(|requests| requests.id(number)).as_ref() != Some(&record.request) {
            let message = format!("line {}: it is not request {number} of the ledger", number + 1);
            return Err(Error::new(ErrorKind::InvalidProof, message));
        }
        // One secret for many requests would toss one coin for all of them.
        if !self.opened.insert(record.secret) {
            let message = format!("line {}: its secret is that of another request", number + 1);
            return Err(Error::new(ErrorKind::InvalidProof, message));
        }
        self.entries.append(record.entry(number, &self.bundle.profile.path)?.leaf());
        self.secrets.append(requests::leaf(&record.secret()));
        Ok(())
    }

    /// Checks that all of it was read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`].
    pub fn end(self) -> Result<()> {
        let Self { bundle, entries, secrets, .. } = self;
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidProof, what));
        if (entries.size(), entries.root()) != (bundle.ledger.size, bundle.ledger.root) {
            return refused("the list is not what the ledger's head was signed over");
        }
        let proof: Vec<Hash> = bundle.statement.predicate.ledger.requests_proof.iter().map(|hash| hash.0).collect();
        if !bundle.requests().is_some_and(|requests| requests.begin_with(secrets.size(), &secrets.root(), &proof)) {
            return refused("the secrets are not those that were committed to with the key");
        }
        Ok(())
    }
}

fn check_fixed(statement: &Statement) -> std::result::Result<(), &'static str> {
    let predicate = &statement.predicate;
    let stamps = &predicate.time_stamps;
    let filled = |stamp: &Option<String>| {
        stamp.as_ref().is_none_or(|text| Base64::decode_vec(text).is_ok_and(|token| !token.is_empty()))
    };
    let fixed = [
        (statement.type_ == STATEMENT_VERSION, "\"_type\" is another"),
        (statement.predicate_type == PREDICATE_TYPE, "\"predicateType\" is another"),
        (predicate.kind == KIND, "\"kind\" is another"),
        (predicate.null_hypothesis == NULL_HYPOTHESIS, "\"null_hypothesis\" is another"),
        (predicate.alternative_hypothesis == ALTERNATIVE_HYPOTHESIS, "\"alternative_hypothesis\" is another"),
        (predicate.does_not_show == DOES_NOT_SHOW, "\"does_not_show\" is another"),
        (predicate.alternatives == ALTERNATIVES, "\"alternatives\" are others"),
        (
            [&stamps.head, &stamps.ledger, &stamps.registration].into_iter().all(filled),
            "a time stamp is not base64, or empty",
        ),
        (
            [&predicate.registration, &predicate.key.head, &predicate.ledger.head]
                .into_iter()
                .all(Envelope::is_well_formed),
            "an envelope is not written in base64 and digits of hashes",
        ),
        (predicate.key.leaf.requests.is_some(), "the key is not one of paired draws"),
    ];
    fixed.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}
