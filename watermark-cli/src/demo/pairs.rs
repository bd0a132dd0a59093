//! Paired draws in the demo: two accounts ask, and the answers of one of them are harvested.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use watermark_core::key::NodeKey;
use watermark_core::profile::Profile;
use watermark_lab::answer::{Answer, Requests};
use watermark_lab::model::Model;
use watermark_lab::prompts::prompt_text;
use watermark_lab::score::pair_scores;
use watermark_toolkit::files::write_new;
use watermark_toolkit::pairs::{Files, Options, PairsLine, judge};
use watermark_toolkit::read::print_scored;

use super::ALPHA;

const HARVESTED: &str = "harvested";
/// The account whose answers nobody learns.
pub(super) const OTHER: &str = "other";
const LEDGER: &str = "ledger/demo";
/// Level of the verdicts about accounts.
const ACCOUNTS_ALPHA: f64 = 1e-3;

/// Answers that were served with paired draws, the harvested account's first, as many for each.
pub(super) struct Served {
    questions: Vec<String>,
    answers: Vec<Answer>,
    profile: Profile,
}

#[derive(Serialize)]
struct ServedLine<'a> {
    request: String,
    account: &'a str,
    prompt: String,
    completion: &'a str,
    prompt_tokens: &'a [u32],
    tokens: &'a [u32],
    withheld: &'a [Option<u32>],
}

/// The profile of the demo's accounts: paired draws in place of its layers.
pub(super) fn profile(out: &Path, layers: &Profile) -> Result<Profile> {
    let name = "demo, paired draws".to_owned();
    let profile = Profile { name, layers: Vec::new(), paired: Some("pairs".to_owned()), ..layers.clone() };
    write_new(&out.join("pairs.profile.json"), profile.print().as_bytes())?;
    Ok(profile)
}

impl Served {
    /// Writes what the provider keeps.
    pub(super) fn new(out: &Path, profile: Profile, questions: Vec<String>, answers: Vec<Answer>) -> Result<Self> {
        let mut lines = Vec::new();
        for (i, (request, (question, answer))) in
            requests(questions.len())?.ids().iter().zip(questions.iter().zip(&answers)).enumerate()
        {
            let line = ServedLine {
                request: request.to_string(),
                account: if i < questions.len() / 2 { HARVESTED } else { OTHER },
                prompt: prompt_text(question),
                completion: &answer.text,
                prompt_tokens: &answer.prompt_tokens,
                tokens: &answer.tokens,
                withheld: &answer.withheld,
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        write_new(&out.join("served.jsonl"), &lines)?;
        Ok(Self { questions, answers, profile })
    }

    /// What the distiller harvested.
    pub(super) fn harvested(&self) -> impl Iterator<Item = (&String, &Answer)> {
        self.questions.iter().zip(&self.answers).take(self.questions.len() / 2)
    }

    /// Scores the models on all requests and tests the student: the list, then the accounts by evidence.
    pub(super) fn test(&self, out: &Path, key: &NodeKey, models: [(&str, &Model); 3]) -> Result<Vec<PairsLine>> {
        let mut files = Vec::new();
        for (name, model) in models {
            let path = out.join(format!("{name}.scores.jsonl"));
            let mut lines = Vec::new();
            for (request, answer) in requests(self.answers.len())?.ids().iter().zip(&self.answers) {
                let scores = pair_scores(model, &answer.prompt_tokens, &answer.tokens, &answer.withheld, None)?;
                lines.extend(print_scored(request, &scores)?);
            }
            write_new(&path, &lines)?;
            files.push(path);
        }
        let [suspect, reference, control] = &files[..] else { return Ok(Vec::new()) };
        let files = Files { suspect, reference: Some(reference), controls: std::slice::from_ref(control), law: None };
        let options = Options { first_tokens: None, alpha: ALPHA, accounts_alpha: ACCOUNTS_ALPHA };
        judge(&self.profile, key, &[out.join("served.jsonl")], &files, &options, |_| Ok(()))
    }
}

/// The numbers of `n` requests.
pub(super) fn requests(n: usize) -> Result<Requests> {
    Requests::new(LEDGER, 0, n)
}
