//! Framing: an innocent model is made to learn text that speaks for our key, and what the ledger of served answers says.

use anyhow::Result;
use watermark_core::evidence::ledger::{Entry, LedgerKey};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_lab::answer::Answer;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::{prompts, shipped};
use watermark_radioactivity::lab::{Data, Lab, Start};

use crate::forge::forged;
use crate::list::StolenList;
use crate::{LEARNED, Measures, TESTED, greenlist, harvested, share, student_values};

/// The ledger of served answers, read as whoever holds its key reads it.
struct Served {
    key: LedgerKey,
    entries: Vec<Entry>,
}

impl Served {
    fn new(seed: u64, answers: &[Answer]) -> Self {
        let key = LedgerKey::new(&NodeKey::root(format!("framing {seed}").as_bytes()));
        let entries = (0u64..).zip(answers).map(|(index, answer)| {
            let account = format!("account-{}", index % 24);
            Entry::new(&key, index, answer.text.as_bytes(), &account, KeyPath::root(), 1_767_225_600_000 + index)
        });
        let entries = entries.collect();
        Self { key, entries }
    }

    /// Share of `texts` that the ledger has, as they stand. A salt belongs to one place, so every place is tried.
    fn has(&self, texts: &[String]) -> f64 {
        let tried = |entry: &Entry, text: &str| {
            Entry::new(&self.key, entry.index, text.as_bytes(), "", KeyPath::root(), entry.time_ms).answer
        };
        share(texts, |text| self.entries.iter().any(|entry| tried(entry, text) == entry.answer))
    }
}

/// How many texts are looked up.
const LOOKED_UP: usize = 200;

/// A list stolen from `harvest` answers writes an innocent party's training data, or served answers are its training data;
/// `asked` answers of the model that learns it are tested.
///
/// # Errors
/// If training or generating fails.
pub fn run(lab: &Lab, seed: u64, harvest: usize, asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let base = shipped::base()?;
    let mark = greenlist(1, seed)?;
    let [served, unmarked] = harvested(lab, &mark, seed, harvest)?;
    let list = StolenList::steal(1, &served.answers, &unmarked.answers);
    let questions = prompts::word_problems(TESTED + seed, LEARNED);
    let forged = Data { questions, answers: forged(lab, &base, &list, seed, LEARNED)? };
    let ledger = Served::new(seed, &served.answers);
    for (setting, data) in [("forged text", &forged), ("served text", &served.slice(0, LEARNED))] {
        let student = lab.student(Start::Base, None, data, &FineTuning::with_seed(seed))?;
        let answers = lab.ask(&student, TESTED + 300 + seed, asked, 0.8)?;
        measures.add(
            "framing",
            &format!("a model that learned {setting}"),
            seed,
            &student_values(lab, &mark, &answers.answers)?,
        );
        let texts: Vec<String> = data.answers.iter().take(LOOKED_UP).map(|answer| answer.text.clone()).collect();
        let trimmed: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
        measures.add(
            "framing",
            &format!("the ledger asked for {setting}"),
            seed,
            &[
                ("texts it has", ledger.has(&texts)),
                ("texts it has, asked without the space around them", ledger.has(&trimmed)),
            ],
        );
    }
    Ok(measures)
}
