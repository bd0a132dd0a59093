//! One file per command: arguments, then what they do.

pub(crate) mod calibrate;
pub(crate) mod completions;
#[cfg(feature = "lab")]
pub(crate) mod demo;
pub(crate) mod detect;
pub(crate) mod evidence;
pub(crate) mod key;
pub(crate) mod keygen;
pub(crate) mod layer;
pub(crate) mod ledger;
pub(crate) mod man;
#[cfg(feature = "lab")]
pub(crate) mod mark;
pub(crate) mod pairs;
pub(crate) mod parameters;
pub(crate) mod passphrase;
pub(crate) mod plan;
#[cfg(feature = "http")]
pub(crate) mod probe;
pub(crate) mod profile;
pub(crate) mod prompts;
pub(crate) mod register;
#[cfg(feature = "report")]
pub(crate) mod report;
pub(crate) mod sampling;
#[cfg(feature = "scan")]
pub(crate) mod scan;
pub(crate) mod test_model;
pub(crate) mod verify;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use watermark_core::detect::EffectUnit;
use watermark_core::model_test::MIXTURE_PARTS;
use watermark_toolkit::detect::ReferenceLine;
pub(crate) use watermark_toolkit::visible::shown;

/// The claim does not hold.
pub(crate) const NOT_HELD: u8 = 1;

/// 0 if the claim holds, else 1.
pub(crate) fn claim(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::from(NOT_HELD) }
}

/// Prints an error and its causes on stderr.
pub(crate) fn complain(error: &Error) {
    say(&format!("error: {error:#}"));
}

/// What stood beside a sample, a line for each reference; `of_layers` says it of each layer.
pub(crate) fn print_references(of_layers: &[&[ReferenceLine]]) -> Result<()> {
    for (at, reference) in of_layers.first().copied().unwrap_or_default().iter().enumerate() {
        let ReferenceLine { name, sha256, shows, texts, covered_tokens, tested_tokens, .. } = reference;
        // Which of several fits best differs from layer to layer.
        let share = |lines: &&[ReferenceLine]| Some(f64::from(lines.get(at)?.share) / f64::from(MIXTURE_PARTS));
        let shares: Vec<String> =
            of_layers.iter().filter_map(share).map(|share| format!("{:.0} %", 100.0 * share)).collect();
        let covered = 100.0 * *covered_tokens as f64 / (*tested_tokens).max(1) as f64;
        print(&format!(
            "Reference {}: {shows}, {texts} texts, {} of what is expected, beside {covered:.0} % of the tokens; sha256 {sha256}.",
            shown(name),
            shares.join(" / "),
        ))?;
    }
    Ok(())
}

/// One line on stderr.
pub(crate) fn say(line: &str) {
    // Nothing is left to tell anybody if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line on stdout.
pub(crate) fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// One JSON document on a line of stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string(value)?)
}

pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A progress bar with ETA on stderr; silent unless stderr is a terminal.
pub(crate) fn progress(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let template = "{prefix:<34} [{bar:28}] {human_pos}/{human_len} {msg} {elapsed} (ETA {eta})";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Moves a bar by what is done.
pub(crate) fn advance(bar: &ProgressBar) -> impl Fn(u64) -> Result<()> + Sync {
    |done| {
        bar.inc(done);
        Ok(())
    }
}

/// A line on stderr for work of unknown length; silent unless stderr is a terminal.
pub(crate) fn spinner(label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Text columns: the first `left` are flush left, the others flush right.
pub(crate) fn table(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            line += &if column < left { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// What an effect is a size of, in a sentence.
pub(crate) fn measured(unit: EffectUnit) -> &'static str {
    match unit {
        EffectUnit::OnesShare => "a share of ones of",
        EffectUnit::MeanScore => "a mean score of",
    }
}

/// Parses one of `known` by its name.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static>(
    known: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let known: Vec<T> = known.into_iter().collect();
    let names = PossibleValuesParser::new(known.iter().map(|&value| name(value)));
    names.try_map(move |text| known.iter().copied().find(|&value| name(value) == text).ok_or("it is not among them"))
}
