use super::super::beacon::BeaconRound;
use super::super::bundle::{Condition, ConditionName, Standing};
use super::registration::Registration;
use super::statement::{Predicate, SampleEvidence};
use crate::detect::Verdict;
use crate::evidence::TreeHead;
use crate::evidence::commitment::KeyLeaf;
use crate::model_test::{PairedConclusion, PairedSample, PairedTest, conclude_pairs};

/// With more positions than one in so many beside those that count, what has no second candidate leaves nothing to conclude.
const MISSING_ONE_IN: u64 = 20;

/// How the conditions stand by the bundle alone: without clocks of others. More of them can hold for whoever has these.
#[must_use]
pub fn conditions(registration: &Registration, head: &TreeHead, ledger: &TreeHead, leaf: &KeyLeaf) -> Vec<Condition> {
    let known = |at: &str| leaf.beacon.as_ref().and_then(|round: &BeaconRound| round.is_known_by(at));
    // The requests must have been planned before the value was known, and served after it was drawn.
    let ground = known(&head.signed_at) == Some(true) || known(&ledger.signed_at) == Some(false);
    let standing = |name| match name {
        ConditionName::KeyBound => Standing::Holds,
        ConditionName::KeyNotGround if ground => Standing::Fails,
        _ => Standing::Word,
    };
    let asked = |name: &ConditionName| *name != ConditionName::ReferencesBound || registration.reference.is_some();
    ConditionName::OF_PAIRS.into_iter().filter(asked).map(|name| Condition { name, standing: standing(name) }).collect()
}

impl Predicate {
    /// The numbers of a model: the suspect's, or those of a control by its place.
    fn sample(&self, control: Option<usize>) -> PairedSample {
        let of =
            |sample: &SampleEvidence, accounts| PairedSample { whole: (sample.n_scored, sample.whole_ln_e), accounts };
        match control {
            None => of(&self.suspect, self.accounts.iter().map(|account| (account.n_scored, account.ln_e)).collect()),
            Some(at) => {
                let ln_e = |of_controls: &Vec<f64>| of_controls.get(at).copied().unwrap_or(0.0);
                let accounts = self.accounts.iter().map(|account| (account.n_scored, ln_e(&account.controls_ln_e)));
                of(&self.controls[at], accounts.collect())
            }
        }
    }

    /// The numbers of suspect and controls.
    #[must_use]
    pub fn test(&self) -> PairedTest {
        PairedTest {
            suspect: self.sample(None),
            controls: (0..self.controls.len()).map(|at| self.sample(Some(at))).collect(),
            reference_ln_e: self.reference.map_or(0.0, |reference| reference.ln_e),
            draws_log10_p: self.draws.map_or(0.0, |draws| draws.log10_p),
            law_ln_e: self.draws.map_or(0.0, |draws| draws.law_ln_e),
        }
    }

    /// Whether hardly any position lacks its second candidate. Whoever strikes out those that speak for the suspect accuses anybody.
    #[must_use]
    pub fn candidates_present(&self) -> bool {
        let positions = u128::from(self.suspect.n_scored) + u128::from(self.suspect.n_ties);
        u128::from(self.list.n_without_candidate) * u128::from(MISSING_ONE_IN) <= positions
    }

    /// What follows from the numbers under a registration: the rule of every test of pairs ([`conclude_pairs`]), at levels divided by
    /// the number of committed keys. A condition that fails, or
    /// candidates that are missing, leave nothing to conclude.
    #[must_use]
    pub fn conclusion(&self, registration: &Registration, conditions: &[Condition]) -> PairedConclusion {
        let [alpha, accounts_alpha] =
            [registration.alpha, registration.accounts_alpha].map(|level| registration.key.level(level));
        let mut conclusion = conclude_pairs(&self.test(), alpha, accounts_alpha);
        let fails = conditions.iter().any(|condition| condition.standing == Standing::Fails);
        if fails || !self.candidates_present() {
            conclusion.verdict = Verdict::Inconclusive;
            conclusion.accounts.fill(Verdict::Inconclusive);
        }
        conclusion
    }
}
