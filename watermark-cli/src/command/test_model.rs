use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ArgGroup;
use watermark_core::detect::{RESAMPLING_KEYS, Resampling, check_level};
use watermark_core::model_test::{Access, DecidedBy};
use watermark_toolkit::files::read_profile;
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::model_test::{Material, ModelLine, Options, Reference, Select, Source, TestedLayer, judge};
use watermark_toolkit::read::InputFormat;
use watermark_toolkit::tokenizer::Tokenizer;

use super::passphrase::PassphraseArgs;
use super::{advance, claim, complain, measured, print, print_json, print_references, progress, say, shown, table};

/// Test a suspect model: was it trained on marked answers?
///
/// The null hypothesis is that the model is independent of the key. Every pair of (context, token) counts once, weighted by
/// how strongly the model prefers it: the square root of how often it chose it, or of the sum of its probabilities. Pairs in
/// prompts of the run do not count, nor what an answer quotes from its own prompt, also where it was wrapped, escaped or in another
/// case there, nor what an answer repeats of itself. The tail is a rigorous bound; beside it stand fresh keys on the same answers, and the same procedure on unrelated
/// models (--controls), which can make the verdict `inconclusive`.
///
/// Beside unmarked references (--reference), a pair is weighted by what the suspect did beyond what they expect, and what was expected and did
/// not come counts too. This sees marks that were a small part of the training data, where counts mostly see what all models prefer.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark test-model --profile P --key K --answers suspect.jsonl --controls llama.jsonl --controls qwen.jsonl
  watermark test-model --profile P --key K --logprobs suspect.jsonl      # answers with next-token log-probabilities
  watermark test-model --profile P --key K --reading read.jsonl          # the suspect's choices in our marked texts
  watermark test-model --profile P --reserved honeypot.json --key K --answers suspect.jsonl
  watermark test-model --profile P --key K --answers suspect.jsonl --reference base.jsonl --controls llama.jsonl
  watermark test-model --profile P --key K --logprobs suspect.jsonl --reference base-along-suspect.jsonl

Answers: as for `watermark detect`. Log-probabilities and reading, one JSON object a line, natural logarithms:
  {\"prompt\": …, \"text\": …, \"positions\": [{\"at\": BYTE, \"top\": [[\"piece\", LN_P], …]}, …]}   any tokenizer
  {\"prompt_tokens\": […], \"tokens\": […], \"choices\": [[[ID, LN_P], …], …]}            the mark's tokenizer
With --logprobs the text is the suspect's answer; with --reading it is a marked answer of ours that the suspect read: all that it
read, in that order, because a context counts only where nothing has shown before how it goes on.

A reference is a model that has seen neither the key nor marked answers: the provider's model before marking, the base that the suspect
was made from, or a model of one's own. Its file holds its answers to the same prompts, or, much better, its probabilities along the very texts
that are tested, controls included, as `python -m watermark_core.suspect` writes them (--temperature as the suspect was asked with). One that
learned marked answers hides what there is; one that was chosen with the key would accuse anybody, so fix it before the key is drawn.
Several references are mixed as fits the suspect best. A transcript that its evidence may have stopped is looked at after 1, 2, 4, … rounds, and
the p-values pay for all looks that there could be.

Filter or choose nothing by served answers, and no texts by their scores: both accuse innocent models.

Exit codes: 0 = some layer is detected, 1 = none, 2 = an error or too many bad records.")]
#[command(group(ArgGroup::new("tested").args(["answers", "logprobs", "reading"]).required(true).multiple(true)))]
pub(crate) struct Args {
    /// The deployment's profile
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// Profile of another path whose keys only ever served quarantined or honeypot accounts (repeatable)
    #[arg(long, value_name = "FILE")]
    reserved: Vec<PathBuf>,
    /// A key at or above the profiles' paths
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The account whose keys are tested, for layers with a key per account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Test this layer only (repeatable); fewer layers, a smaller family
    #[arg(long = "layer", value_name = "NAME")]
    layers: Vec<String>,
    /// tokenizer.json of the mark; default: as for `watermark detect`
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The suspect's answers (repeatable)
    #[arg(long, value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// The suspect's answers with next-token log-probabilities (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["answers", "reading"])]
    logprobs: Vec<PathBuf>,
    /// The suspect's choices while it read our marked texts (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with = "answers")]
    reading: Vec<PathBuf>,
    /// The same of an unrelated model, one file a model (repeatable)
    #[arg(long, value_name = "FILE")]
    controls: Vec<PathBuf>,
    /// An unmarked model's answers, or its probabilities along the tested texts; each file another model (repeatable)
    #[arg(long = "reference", value_name = "FILE")]
    references: Vec<PathBuf>,
    /// What answers hold
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// Fresh keys to score the same material under; below 999 they decide nothing
    #[arg(long, value_name = "N", default_value_t = RESAMPLING_KEYS)]
    resample: u32,
    /// Family-wise level of a verdict
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Print one JSON line per layer instead of a table
    #[arg(long)]
    json: bool,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        check_level(self.alpha).context("--alpha")?;
        let file = read_profile(&self.profile)?;
        let info = &file.profile.tokenizer;
        let tokenizer = Tokenizer::for_profile(self.tokenizer.as_deref(), &self.profile, info)?;
        let key = read_key(&self.key, passphrases)?;
        Resampling::check_keys(self.resample).context("--resample")?;
        let select = Select { reserved: &self.reserved, account: self.account.as_deref(), names: &self.layers };
        let tested = TestedLayer::select(&self.profile, &key, &select)?;
        let (access, paths) = match (&self.answers[..], &self.logprobs[..]) {
            ([], []) => (Access::Reading, &self.reading),
            ([], _) => (Access::Logprobs, &self.logprobs),
            _ => (Access::Answers, &self.answers),
        };
        let source = Source {
            vocabulary: Vocabulary { tokenizer: Some(&tokenizer), size: Some(info.vocab_size) },
            input_format: self.input_format,
            complain: &complain,
        };
        let suspect = Material::read(paths, access, &source)?;
        let controls = self.controls.iter().map(|path| Material::read(std::slice::from_ref(path), access, &source));
        let controls = controls.collect::<Result<Vec<_>>>()?;
        let references =
            self.references.iter().map(|path| Reference::read(path, access, &source)).collect::<Result<Vec<_>>>()?;
        let options = Options { access, alpha: self.alpha, resample: self.resample };
        let bar = progress("Fresh keys", u64::from(self.resample) * tested.len() as u64);
        let (lines, detected) = judge(&tested, &suspect, &controls, &references, &options, advance(&bar))?;
        bar.finish_and_clear();
        if self.json {
            lines.iter().try_for_each(print_json)?;
        } else {
            print_lines(&lines, self.alpha)?;
        }
        let bad = suspect.bad
            + controls.iter().map(|control| control.bad).sum::<u64>()
            + references.iter().map(|reference| reference.bad).sum::<u64>();
        if bad > self.max_bad_records {
            say(&format!("error: {bad} records could not be used (--max-bad-records {})", self.max_bad_records));
            return Ok(ExitCode::from(2));
        }
        Ok(claim(detected))
    }
}

/// The table of a model test, and what it does not show.
pub(crate) fn print_lines(lines: &[ModelLine], alpha: f64) -> Result<()> {
    let header = ["layer", "keys", "scheme", "texts", "tokens", "pairs", "log10 p", "by fresh keys", "ln e", "verdict"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for line in lines {
        rows.push(vec![
            line.layer.clone().unwrap_or_else(|| "-".to_owned()),
            line.keys.to_owned(),
            line.scheme.to_owned(),
            line.texts.to_string(),
            line.tokens.to_string(),
            line.n_scored.to_string(),
            format!("{:.2}", line.log10_p),
            line.log10_p_resampled.map_or_else(|| "-".to_owned(), |p| format!("{p:.2}")),
            format!("{:.2}", line.ln_e),
            line.verdict.as_str().to_owned(),
        ]);
        rows.extend(line.controls.iter().map(|control| {
            let blank = String::new;
            let name = format!("  control {}", shown(&control.name));
            let (n, p, e) =
                (control.n_scored.to_string(), format!("{:.2}", control.log10_p), format!("{:.2}", control.ln_e));
            vec![name, blank(), blank(), blank(), blank(), n, p, blank(), e, blank()]
        }));
    }
    print(table(&rows, 3).trim_end())?;
    let Some(first) = lines.first() else { return Ok(()) };
    for line in lines.iter().filter(|line| !line.controls_agree) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        print(&format!(
            "{name}: a control has p below 0.01 / {}, so the procedure is not calibrated here.",
            line.controls.len()
        ))?;
    }
    for line in lines.iter().filter(|line| !line.exclusion_agrees) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        print(&format!("{name}: what the prompts leave out leans away from the key, as if they were chosen with it."))?;
    }
    for line in lines.iter().filter(|line| !line.references_agree) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        print(&format!(
            "{name}: a reference leans away from the key, as one that was chosen with the key would, so the test proves nothing."
        ))?;
    }
    print_references(&lines.iter().map(|line| line.references.as_slice()).collect::<Vec<_>>())?;
    for (line, looks) in lines.iter().filter_map(|line| Some((line, line.looks?))) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        let rounds = looks
            .rounds
            .map_or_else(|| "no round is complete".to_owned(), |rounds| format!("the best after {rounds} rounds"));
        print(&format!(
            "{name}: {} looks after 1, 2, 4, … rounds, {rounds}; p is that of all of them together.",
            looks.taken
        ))?;
    }
    for (line, effect) in lines.iter().filter_map(|line| Some((line, line.smallest_effect?))) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        let what = measured(effect.unit);
        print(&format!(
            "{name}: about {what} {:.4} among distinct pairs would have been detected with {:.0} % power.",
            effect.value,
            100.0 * effect.power
        ))?;
    }
    for (line, dose) in lines.iter().filter_map(|line| Some((line, line.dose?))) {
        let name = line.layer.as_deref().unwrap_or(line.scheme);
        print(&format!(
            "{name}: in the laboratory, students of {:.0} % marked answers show about as much (plausible: {:.0} to {:.0} %). An \
             estimate from small models, no part of the verdict.",
            100.0 * dose.share,
            100.0 * dose.low,
            100.0 * dose.high
        ))?;
    }
    if first.controls.is_empty() {
        print(if first.references.is_empty() {
            "No controls: name answers of unrelated models to the same prompts with --controls."
        } else {
            "No controls: name answers of unrelated models with --controls. They are what would show a reference that was chosen with the key."
        })?;
    }
    if lines.iter().any(|line| line.keys == "reserved") {
        print(
            "Reserved keys served quarantined or honeypot accounts only: a signal there cannot come from answers that other \
             customers published; one under shared keys alone can.",
        )?;
    }
    if first.without_prompt > 0 {
        print(&format!(
            "Warning: {} of {} texts came without a prompt, so nothing that they quote from marked text is excluded.",
            first.without_prompt, first.texts
        ))?;
    }
    let by = if first.decided_by == DecidedBy::EValue {
        "the e-value: the sample grew with the evidence, may have, or depends on the key, so p of a fixed sample decides nothing"
    } else {
        "p, a bound for a sample fixed in advance"
    };
    print(&format!(
        "\nVerdicts at family-wise level {alpha:e} (Holm), decided by {by}.\nA detection says that the model depends on the key. \
         It does not say that anybody used the API directly or meant to: marked answers may have been published, bought or \
         proxied, a distilled model may stand in between, or somebody with a stolen list may have framed the accused.\n\
         Collection: {}.",
        first.collection.as_str()
    ))
}
