use std::path::Path;

use anyhow::{Result, bail};
use watermark_core::model_test::{PairedSample, PairedTest};
use watermark_core::paired::{DrawAudit, SignFinding, Signs};

use super::list::{About, List};
use super::scores::{Scores, Tallies, both, preference};

/// What models prefer on a list.
pub(crate) struct Measured {
    pub(crate) list: About,
    pub(crate) suspect: ModelFound,
    pub(crate) controls: Vec<ModelFound>,
    /// That the reference prefers what was withheld; 0 without one.
    pub(crate) reference_ln_e: f64,
    /// Whether the candidates were drawn from the law that was given for them.
    pub(crate) draws: Option<DrawAudit>,
}

/// Positions preferred as they were served, and the other way round, by strength: so many steps a nat, up to the largest that counts.
pub type Sides = [(u64, u64); 4 * SIDES_PER_NAT];

/// Steps of a nat.
pub const SIDES_PER_NAT: usize = 4;

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
        while let Some(request) = list.next_request()? {
            let expected = reference.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
            let drawn = law.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
            for pair in &request.pairs {
                let found = expected.as_ref().map(|scores| preference(&request, pair, scores)).transpose()?;
                of_reference.add_preference(found.flatten().unwrap_or(0).saturating_neg());
            }
            for pair in drawn.iter().flat_map(|_| &request.drawn) {
                let ln_p = both(&request, pair, drawn.as_deref().unwrap_or_default())?;
                draws.add(&request.key, pair.position, pair.candidates, ln_p)?;
            }
            for (at, (tallies, scores)) in tallies.iter_mut().zip(&mut scores).enumerate() {
                let scores = scores.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
                tallies.add(&request, &scores.unwrap_or_default(), expected.as_deref(), at > 0)?;
            }
            progress(1)?;
        }
        let draws = law.is_some().then_some(draws);
        for scores in scores.into_iter().chain([reference, law]).flatten() {
            scores.end()?;
        }
        list.check()?;
        let mut found: Vec<ModelFound> = tallies.iter().map(ModelFound::new).collect();
        let suspect = found.remove(0);
        for (at, (control, path)) in found.iter().zip(&models[1..]).enumerate() {
            let Some(path) = path else { continue };
            if control.whole.n == 0 && suspect.whole.n > 0 {
                bail!(
                    "control {} ({}) prefers nothing beyond the reference; it must be an unrelated model, scored on the whole list",
                    at + 1,
                    path.display()
                );
            }
            // One that says less than the suspect could not contradict it.
            if control.unscored > suspect.unscored {
                bail!(
                    "control {} ({}) has fewer scores than the suspect; score the whole list with it",
                    at + 1,
                    path.display()
                );
            }
        }
        let mut measured = Self {
            list: list.about().clone(),
            suspect,
            controls: found,
            reference_ln_e: of_reference.test().ln_e,
            draws,
        };
        measured.sort();
        Ok(measured)
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
        }
    }
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
