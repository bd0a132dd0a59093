use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::demo::{self, ALPHA, DemoResult, Row};
use anyhow::Result;
use watermark_toolkit::timestamp::now;

use super::{claim, print, progress, table};

/// The whole chain on the embedded models: mark, distil, detect, show
///
/// A provider makes a key, a two-layer profile and a commitment; a teacher model answers prompts under it, and two accounts with paired draws;
/// a distiller trains a student on those answers and on one account's; a test is registered; held-out prompts are asked; the closed test decides, and a
/// signed bundle lets others recompute it. A control student, trained
/// on unmarked answers of the same teacher, and 20 fresh keys go through the same procedure.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark demo --quick --out /tmp/demo

Exit codes: 0 = the student is detected, and the harvested account; the control, the fresh keys and the other account are not; 1 = otherwise;
2 = an error.
Reproducible from --seed on the same machine and thread count, but for the times that signatures state.")]
pub(crate) struct Args {
    /// The folder to write; must not exist or be empty
    #[arg(long, default_value = "watermark-demo", value_name = "DIR")]
    out: PathBuf,
    /// Seed of the demo's key, prompts, draws and training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A smaller run, under 90 seconds on two cores
    #[arg(long)]
    quick: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let start = Instant::now();
        let options = demo::Options { out: self.out, seed: self.seed, quick: self.quick };
        let result = demo::run(&options, &progress, &now)?;
        print_table(&result)?;
        print(&format!(
            "\nFiles in {}/: profile, key, commitment, registration, tokenizer, models, answers, result.json, evidence.svg,\n\
             report.html to read, and evidence.json for others: watermark verify {}/evidence.json --data {}/student.jsonl. {} s.",
            options.out.display(),
            options.out.display(),
            options.out.display(),
            start.elapsed().as_secs()
        ))?;
        Ok(claim(result.holds()))
    }
}

fn print_table(result: &DemoResult) -> Result<()> {
    let mut rows =
        vec![["whose answers", "key", "pairs", "green", "log10 p", "ln e", "verdict"].map(str::to_owned).to_vec()];
    let named = [
        ("teacher", "teacher, marked text", "provider's"),
        ("student", "student of the marked answers", "provider's"),
        ("control", "student of unmarked answers", "provider's"),
    ];
    for (subject, who, key) in named {
        rows.extend(result.rows().iter().filter(|row| row.subject == subject).map(|row| cells(who, key, row)));
    }
    let fresh: Vec<&Row> = result.rows().iter().filter(|row| row.subject == "fresh_key").collect();
    if let Some(lowest) = fresh.iter().min_by(|a, b| a.log10_p.total_cmp(&b.log10_p)) {
        let key = format!("{} others, lowest", fresh.len());
        rows.push(cells("student of the marked answers", &key, lowest));
    }
    print(table(&rows, 2).trim_end())?;
    let mut rows = vec![
        ["paired draws", "requests", "positions", "served preferred", "log10 e", "verdict"].map(str::to_owned).to_vec(),
    ];
    rows.extend(result.pairs().iter().map(|line| {
        let who = line.account.as_ref().map_or("all requests".to_owned(), |account| format!("account {account:?}"));
        let share = 100.0 * line.n_served_preferred as f64 / line.n_scored.max(1) as f64;
        let log10_e = line.ln_e / std::f64::consts::LN_10;
        let verdict = line.verdict.as_str().to_owned();
        let [requests, positions] = [line.requests, line.n_scored].map(|n| n.to_string());
        vec![who, requests, positions, format!("{share:.1} %"), format!("{log10_e:.1}"), verdict]
    }));
    print(&format!("\n{}", table(&rows, 1).trim_end()))?;
    let says = if result.holds() {
        "The student's answers depend on the provider's key; the control's do not, and no other key finds anything."
    } else {
        "This run did not show it: the student must be detected, the control and every fresh key must not."
    };
    print(&format!(
        "\n{says}\n\
         pairs: distinct (previous token, token) pairs in the answers, without those that occur in a prompt. Half are\n\
         green by chance. log10 p: chance of green repetitions this strong if the answers are independent of the key, a\n\
         rigorous bound; detected at log10 p <= {:.0}. ln e: evidence that stays valid under optional stopping.\n\
         Paired draws: at each position a keyed coin served one of two candidates; the student prefers what it learned to what\n\
         was withheld, beyond the clean base. That names the account whose answers it learned, and the other one not.\n\
         A detection does not show direct use of the provider's API, nor intent: marked text may have come another way.",
        ALPHA.log10()
    ))
}

fn cells(who: &str, key: &str, row: &Row) -> Vec<String> {
    vec![
        who.to_owned(),
        key.to_owned(),
        row.n_scored.to_string(),
        format!("{:.1} %", 100.0 * row.green as f64 / row.n_scored.max(1) as f64),
        format!("{:.1}", row.log10_p),
        format!("{:.1}", row.ln_e),
        row.verdict.as_str().to_owned(),
    ]
}
