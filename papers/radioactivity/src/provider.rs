//! A provider that serves paired draws, and what models think of both candidates of its answers.

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use watermark_core::key::{NodeKey, PrfKey};
use watermark_core::mark::Marker;
use watermark_core::paired::{RequestKey, RequestSecret, Seen, ServedLaw, Signs};
use watermark_core::profile::Profile;
use watermark_lab::answer::{Answer, Answering, Requests, answer};
use watermark_lab::model::Model;
use watermark_lab::score::{pair_scores, pair_scores_of_text};
use watermark_lab::{prompts, shipped};
use watermark_toolkit::pairs::Compared;
use watermark_toolkit::read::PairScore;

use crate::access::rows;
use crate::lab::{Data, Lab, MAX_NEW_TOKENS, SAMPLING, Student};

/// Accounts of a provider in the laboratory, each with as many requests, in turn.
pub(crate) const ACCOUNTS: usize = 64;
pub(crate) const REQUESTS_EACH: usize = 50;
/// Accounts whose answers are harvested.
pub(crate) const HARVESTED: usize = 4;
/// Requests that the student never saw.
pub(crate) const UNTRAINED: usize = 400;
/// Positions count for the likeliest token where the base is at least so uncertain, in nats.
const UNCERTAIN: f64 = 1.0;
const LEDGER: &str = "ledger/lab";

/// What tests compare a suspect with.
pub(crate) struct Models {
    pub(crate) base: Model,
    pub(crate) teacher: Model,
}

/// A provider that serves paired draws.
pub(crate) struct Provider<'a> {
    lab: &'a Lab,
    pub(crate) layer: PrfKey,
    served: Data,
}

/// What a test says.
pub(crate) struct Found {
    pub(crate) test: &'static str,
    /// What `watermark pairs plan` calls it, if it plans it.
    pub(crate) compared: Option<Compared>,
    pub(crate) positions: u64,
    pub(crate) preferred: u64,
    pub(crate) log10_e: f64,
    /// Of tests of preferences.
    pub(crate) signs: Signs,
}

/// What models say along an answer.
#[derive(Default)]
struct Along {
    /// By position: the law that it was drawn from, and which of its tokens was served.
    laws: Vec<(Vec<Seen>, usize)>,
    /// 2^16 where the student's likeliest token was served, its negative where it was withheld, 0 where it is neither.
    says: Vec<i64>,
}

impl<'a> Provider<'a> {
    /// The answers under a seed's key to the requests of all accounts.
    pub(crate) fn new(lab: &'a Lab, seed: u64) -> Result<Self> {
        let n = ACCOUNTS * REQUESTS_EACH;
        let what = format!("teacher, paired draws {seed} {n}");
        let key = NodeKey::root(format!("paired draws {seed}").as_bytes());
        let served = lab.kept(&what, prompts::word_problems(700 + seed, n), |questions| {
            serve(lab, &key, &what, questions, &shipped::teacher()?)
        })?;
        Ok(Self { lab, layer: layer(lab, &key)?.1, served })
    }

    /// Answers to the questions of some requests under another key, which nobody learns.
    pub(crate) fn again(&self, teacher: &Model, name: &str, requests: &[usize]) -> Result<Self> {
        let key = NodeKey::root(name.as_bytes());
        let Data { questions, .. } = self.data(requests);
        let answers = serve(self.lab, &key, name, &questions, teacher)?;
        Ok(Self { lab: self.lab, layer: layer(self.lab, &key)?.1, served: Data { questions, answers } })
    }

    /// The first requests of the harvested accounts.
    pub(crate) fn harvested(&self, n: usize) -> Result<Vec<usize>> {
        let of: Vec<usize> =
            (0..self.served.questions.len()).filter(|request| request % ACCOUNTS < HARVESTED).collect();
        ensure!(n <= of.len(), "{n} requests of harvested accounts, and there are {}", of.len());
        Ok(of[..n].to_vec())
    }

    /// Requests of other accounts.
    pub(crate) fn untrained(&self) -> Vec<usize> {
        (0..self.served.questions.len()).filter(|request| request % ACCOUNTS >= HARVESTED).take(UNTRAINED).collect()
    }

    pub(crate) fn data(&self, requests: &[usize]) -> Data {
        let questions = requests.iter().map(|&request| self.served.questions[request].clone()).collect();
        Data { questions, answers: requests.iter().map(|&request| self.served.answers[request].clone()).collect() }
    }

    fn key(&self, request: usize) -> RequestKey {
        RequestSecret::new(&self.layer, &format!("{LEDGER}/{request}")).key(None)
    }

    /// How much likelier the served candidate is than the withheld one to a model, by request: beyond what a reference finds, and alone.
    pub(crate) fn differences(
        &self,
        model: &Model,
        reference: &Model,
        requests: &[usize],
    ) -> Result<Vec<[Vec<i64>; 2]>> {
        let of = |&request: &usize| -> Result<[Vec<i64>; 2]> {
            let answer = &self.served.answers[request];
            let key = self.key(request);
            let expected = self.scores(reference, request)?;
            let [mut beside, mut alone] = [Vec::new(), Vec::new()];
            for (score, expected) in self.scores(model, request)?.iter().zip(&expected) {
                // Where the end of the text is served there is no position, so one where it was withheld tells the coin.
                if score.tokens.contains(&shipped::EOS) {
                    continue;
                }
                let Some(sides) = key.order(score.position, score.tokens)? else { continue };
                ensure!(sides.served == answer.tokens[score.position as usize], "the coin served another token");
                let of = |score: &PairScore| score.difference(sides.served, sides.withheld).context("one position");
                let found = of(score)?;
                beside.push(found - of(expected)?);
                alone.push(found);
            }
            Ok([beside, alone])
        };
        requests.par_iter().map(of).collect()
    }

    /// What a student, or the base that it was made from, thinks of the candidates of a request.
    fn scores(&self, model: &Model, request: usize) -> Result<Vec<PairScore>> {
        let Answer { prompt_tokens, tokens, withheld, .. } = &self.served.answers[request];
        match self.lab.other_tokenizer() {
            None => pair_scores(model, prompt_tokens, tokens, withheld, None),
            Some(tokenizer) => {
                let before = watermark_lab::answer::prompt_ids(tokenizer, &self.served.questions[request])?;
                pair_scores_of_text(model, tokenizer, &before, &self.lab.tokenizer, tokens, withheld)
            }
        }
    }

    fn along(&self, student: &Model, models: &Models, request: usize) -> Result<Along> {
        let (prompt, answer) = (self.lab.prompt(&self.served.questions[request])?, &self.served.answers[request]);
        let (temperature, keep) = (f64::from(SAMPLING.temperature), SAMPLING.top_k.unwrap_or(usize::MAX));
        let laws = rows(&models.teacher, &prompt, &answer.tokens, temperature, keep)?;
        let of_student = rows(student, &prompt, &answer.tokens, 1.0, usize::MAX)?;
        let of_base = rows(&models.base, &prompt, &answer.tokens, 1.0, usize::MAX)?;
        let mut found = Along::default();
        let pairs = answer.tokens.iter().zip(&answer.withheld);
        for ((law, (q, r)), (&token, withheld)) in laws.iter().zip(of_student.iter().zip(&of_base)).zip(pairs) {
            // Given that the text goes on: its end is never among the positions.
            let law: Vec<(u32, f64)> = law.iter().copied().filter(|(id, _)| *id != shipped::EOS).collect();
            let total: f64 = law.iter().map(|(_, ln_p)| ln_p.exp()).sum();
            let listed = law.iter().map(|&(id, ln_p)| Seen {
                law: ln_p.exp() / total,
                suspect: q[id as usize].1.exp(),
                reference: r[id as usize].1.exp(),
            });
            let at = law.iter().position(|(id, _)| *id == token).context("a served token outside the law")?;
            found.laws.push((listed.collect(), at));
            let entropy = -r.iter().map(|(_, ln_p)| ln_p * ln_p.exp()).sum::<f64>();
            let likeliest = q.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| *id);
            let other = withheld.filter(|&withheld| withheld != token && withheld != shipped::EOS);
            if let Some(withheld) = other.filter(|_| entropy > UNCERTAIN) {
                let says = |candidate| i64::from(likeliest == Some(candidate)) << 16;
                found.says.push(says(token) - says(withheld));
            }
        }
        Ok(found)
    }

    /// Every test of a student. What goes by token ids is left out where it has another tokenizer.
    pub(crate) fn test(&self, student: &Student, models: &Models, requests: &[usize]) -> Result<Vec<Found>> {
        let base = &models.base;
        let mut found = Vec::new();
        let differences = self.differences(&student.model, base, requests)?;
        for (at, (compared, test)) in
            [(Compared::Base, "token pairs, beside the base"), (Compared::Alone, "token pairs, alone")]
                .into_iter()
                .enumerate()
        {
            let mut signs = Signs::default();
            differences.iter().flat_map(|both| &both[at]).for_each(|&difference| signs.add_preference(difference));
            found.push(Found::of_signs(compared, test, signs));
        }
        if self.lab.other_tokenizer().is_some() {
            return Ok(found);
        }
        let along: Vec<Along> =
            requests.par_iter().map(|&request| self.along(&student.model, models, request)).collect::<Result<_>>()?;
        let mut served_law = ServedLaw::default();
        let mut signs = Signs::default();
        for Along { laws, says } in along {
            laws.iter().try_for_each(|(listed, at)| served_law.observe(listed, Some(*at)))?;
            says.iter().for_each(|&difference| signs.add_preference(difference));
        }
        found.push(Found {
            test: "served law, beside the base",
            compared: None,
            positions: served_law.n(),
            preferred: 0,
            log10_e: served_law.ln_e() / std::f64::consts::LN_10,
            signs: Signs::default(),
        });
        found.push(Found::of_signs(Compared::NextToken, "likeliest token only", signs));
        Ok(found)
    }
}

/// What a key serves under, and the key of its paired draws.
fn layer(lab: &Lab, key: &NodeKey) -> Result<(Profile, PrfKey)> {
    let profile = Profile {
        name: "pairs".to_owned(),
        tokenizer: lab.tokenizer.info()?,
        paired: Some("pairs".to_owned()),
        ..Profile::default()
    };
    let layer = profile.paired_key(key)?.context("paired draws")?;
    Ok((profile, layer))
}

/// The teacher's answers to questions with paired draws. `what` names the draws that no key decides.
fn serve(lab: &Lab, key: &NodeKey, what: &str, questions: &[String], teacher: &Model) -> Result<Vec<Answer>> {
    let marker = Marker::new(layer(lab, key)?.0, key)?;
    let how = Answering {
        max_new_tokens: MAX_NEW_TOKENS,
        sampling: SAMPLING,
        marked: true,
        account: None,
        seed: u64::from_le_bytes(Sha256::digest(what)[..8].try_into()?),
        requests: Some(Requests::new(LEDGER, 0, questions.len())?),
    };
    answer(teacher, &lab.tokenizer, &marker, questions, &how, &mut |_| ())
}

impl Found {
    fn of_signs(compared: Compared, test: &'static str, signs: Signs) -> Self {
        let found = signs.test();
        let log10_e = found.ln_e / std::f64::consts::LN_10;
        Self { test, compared: Some(compared), positions: found.n, preferred: found.wins, log10_e, signs }
    }
}
