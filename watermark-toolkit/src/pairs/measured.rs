use std::path::Path;

use anyhow::{Result, bail, ensure};
use watermark_core::model_test::{PairedSample, PairedTest};
use watermark_core::paired::{Candidates, DrawAudit, SignFinding, Signs};
use watermark_core::stats::ln_mean_e;

use super::list::{About, List};
use super::scores::{Scores, Sides, Tallies, both, preference};
use crate::read::PairScore;

/// What models prefer on a list.
pub(crate) struct Measured {
    pub(crate) list: About,
    pub(crate) suspect: ModelFound,
    pub(crate) controls: Vec<ModelFound>,
    /// That the reference prefers what was withheld; 0 without one.
    pub(crate) reference_ln_e: f64,
    /// Whether the candidates were drawn from the law that was given for them.
    pub(crate) draws: Option<DrawAudit>,
    /// That this law itself prefers what was served; 0 without one.
    pub(crate) law_ln_e: f64,
}

/// What one model prefers.
pub(crate) struct ModelFound {
    pub(crate) sides: Sides,
    pub(crate) requests: u64,
    /// Positions without scores.
    pub(crate) unscored: u64,
    pub(crate) whole: SignFinding,
    /// By the suspect's evidence, the most first; equal ones by name.
    pub(crate) accounts: Vec<AccountFound>,
}

/// What a model prefers in the requests of an account.
pub(crate) struct AccountFound {
    pub(crate) account: String,
    pub(crate) requests: u64,
    pub(crate) found: SignFinding,
}

impl Measured {
    /// Reads a list beside scores: of the suspect, then of controls, `None` for one that is not at hand, whose numbers then say nothing.
    ///
    /// # Errors
    /// As [`super::judge`].
    pub(crate) fn new(
        list: &mut List<'_>,
        models: &[Option<&Path>],
        reference: Option<&Path>,
        law: Option<&Path>,
        progress: impl Fn(u64) -> Result<()>,
    ) -> Result<Self> {
        let open = |path: Option<&Path>| path.map(Scores::open).transpose();
        let mut scores = models.iter().map(|path| open(*path)).collect::<Result<Vec<_>>>()?;
        let (mut reference, mut law) = (open(reference)?, open(law)?);
        let mut tallies = vec![Tallies::default(); models.len()];
        let (mut of_reference, mut draws) = (Signs::default(), DrawAudit::default());
        let mut of_law = [Signs::default(), Signs::default()];
        while let Some(request) = list.next_request()? {
            let expected = reference.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
            let drawn = law.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
            for pair in &request.pairs {
                let of = |scores: &Vec<PairScore>| preference(&request, pair, scores);
                let beyond = expected.as_ref().map(of).transpose()?.flatten();
                of_reference.add_preference(beyond.unwrap_or(0).saturating_neg());
                if let Some(found) = drawn.as_ref().map(of).transpose()?.flatten() {
                    of_law[0].add_preference(found);
                    of_law[1].add_preference(beyond.map_or(0, |beyond| found.saturating_sub(beyond)));
                }
            }
            if let Some(drawn) = &drawn {
                for pair in &request.drawn {
                    let ln_p = both(&request, pair, drawn)?;
                    let is_law = ln_p.is_none_or(|ln_p| are_probabilities(pair.candidates, ln_p));
                    ensure!(
                        is_law,
                        "request {}: the law's probabilities of position {} are more than 1 together",
                        request.id,
                        pair.position
                    );
                    draws.add(&request.key, pair.position, pair.candidates, ln_p)?;
                }
            }
            for (at, (tallies, scores)) in tallies.iter_mut().zip(&mut scores).enumerate() {
                let scores = scores.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
                tallies.add(&request, &scores.unwrap_or_default(), expected.as_deref(), at > 0)?;
            }
            progress(1)?;
        }
        let draws = law.is_some().then_some(draws);
        let [alone, beside] = of_law.map(|signs| signs.test().ln_e);
        let law_ln_e = if reference.is_some() { ln_mean_e(&[alone, beside]) } else { alone };
        for scores in scores.into_iter().chain([reference, law]).flatten() {
            scores.end()?;
        }
        list.check()?;
        let mut found: Vec<ModelFound> = tallies.iter().map(ModelFound::new).collect();
        let suspect = found.remove(0);
        let mut measured = Self {
            list: list.about().clone(),
            suspect,
            controls: found,
            reference_ln_e: of_reference.test().ln_e,
            draws,
            law_ln_e,
        };
        measured.sort();
        Ok(measured)
    }

    /// Refuses controls that could not contradict the suspect, by the names of their files.
    ///
    /// # Errors
    /// If one has fewer scores, or prefers nothing beyond the reference.
    pub(crate) fn check_controls(&self, names: &[String]) -> Result<()> {
        for (control, name) in self.controls.iter().zip(names) {
            if control.whole.n == 0 && self.suspect.whole.n > 0 {
                bail!(
                    "control {name} prefers nothing beyond the reference; it must be an unrelated model, scored on the whole list"
                );
            }
            if control.unscored > self.suspect.unscored {
                bail!("control {name} has fewer scores than the suspect; score the whole list with it");
            }
        }
        Ok(())
    }

    /// Every model has the same accounts, in the order of their names so far.
    fn sort(&mut self) {
        let of_suspect: Vec<f64> = self.suspect.accounts.iter().map(|account| account.found.ln_e).collect();
        for model in std::iter::once(&mut self.suspect).chain(&mut self.controls) {
            let mut accounts: Vec<(usize, AccountFound)> = model.accounts.drain(..).enumerate().collect();
            accounts.sort_by(|a, b| of_suspect[b.0].total_cmp(&of_suspect[a.0]));
            model.accounts = accounts.into_iter().map(|(_, account)| account).collect();
        }
    }

    /// The numbers that a conclusion looks at.
    pub(crate) fn test(&self) -> PairedTest {
        PairedTest {
            suspect: self.suspect.sample(),
            controls: self.controls.iter().map(ModelFound::sample).collect(),
            reference_ln_e: self.reference_ln_e,
            draws_log10_p: self.draws.map_or(0.0, |draws| draws.log10_p()),
            law_ln_e: self.law_ln_e,
        }
    }
}

/// Whether one law can give both candidates these logarithms of probabilities, in nats times 2^16, but for rounding: a thousandth.
fn are_probabilities(candidates: Candidates, ln_p: [i64; 2]) -> bool {
    let [served, withheld] = ln_p.map(|ln_p| (ln_p as f64 / 65_536.0).exp());
    let sum = if candidates.served == candidates.withheld { served.max(withheld) } else { served + withheld };
    sum <= 1.001
}

impl ModelFound {
    fn new(tallies: &Tallies) -> Self {
        let account =
            |(account, requests, found): (String, u64, SignFinding)| AccountFound { account, requests, found };
        Self {
            sides: tallies.sides(),
            requests: tallies.requests(),
            unscored: tallies.unscored,
            whole: tallies.whole(),
            accounts: tallies.accounts().into_iter().map(account).collect(),
        }
    }

    pub(crate) fn sample(&self) -> PairedSample {
        PairedSample {
            whole: (self.whole.n, self.whole.ln_e),
            accounts: self.accounts.iter().map(|account| (account.found.n, account.found.ln_e)).collect(),
        }
    }
}
