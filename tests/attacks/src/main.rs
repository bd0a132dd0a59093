//! Runs the attacks and prints what they measured.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use watermark_attacks::{
    Measure, Measures, choosing, edits, forge, framing, neutralise, quoting, repetition, scrub, separation,
};
use watermark_radioactivity::lab::Lab;
use watermark_radioactivity::table::{Row, write};

/// Attacks on marks and on evidence, measured in the laboratory
#[derive(Parser)]
#[command(name = "watermark-attacks", version)]
struct Cli {
    /// Where answers and students are kept, so that nothing is made twice
    #[arg(long, default_value = "target/attacks")]
    cache: PathBuf,
    /// The CSV file to write: one row per measured value
    #[arg(long, default_value = "attacks.csv")]
    out: String,
    /// Keys, each with its own draws
    #[arg(long, default_value_t = 2)]
    seeds: u64,
    /// Only these attacks (repeatable): forging, scrubbing, edits, dilution, separation, neutralising, repetition, framing,
    /// quoting, choosing
    #[arg(long)]
    attack: Vec<String>,
}

type Attack = fn(&Lab, u64) -> Result<Measures>;

const ATTACKS: [(&str, Attack); 10] = [
    ("forging", |lab, seed| forge::run(lab, seed, &[1, 2, 4], &[250, 1000, 3000], 250)),
    ("scrubbing", |lab, seed| scrub::run(lab, seed, &[250, 1000, 3000], 250)),
    ("edits", |lab, seed| edits::run(lab, seed, &[0.1, 0.3, 0.5, 0.7], 250)),
    ("dilution", |lab, seed| edits::dilution(lab, seed, 1600, &[50, 100, 200, 400], 30)),
    ("separation", |lab, seed| separation::run(lab, seed, 8, 3000, 250)),
    ("neutralising", |lab, seed| neutralise::run(lab, seed, &[0.0, 0.5, 1.0, 2.0], 600)),
    ("repetition", |lab, seed| repetition::run(lab, seed, &[1000, 10_000, 100_000], 600)),
    ("framing", |lab, seed| framing::run(lab, seed, 3000, 600)),
    ("quoting", |lab, seed| quoting::run(lab, seed, 100)),
    ("choosing", |lab, seed| {
        let size = choosing::Size { asked: 150, pool: 500, honest: 1000, accusers: 100, examples: 2000 };
        choosing::run(lab, seed, size)
    }),
];

fn main() -> Result<()> {
    let cli = Cli::parse();
    for name in &cli.attack {
        anyhow::ensure!(ATTACKS.iter().any(|(known, _)| known == name), "no attack {name}; see --help");
    }
    let lab = Lab::new(cli.cache)?;
    let mut rows: Vec<Measure> = Vec::new();
    for (name, attack) in
        ATTACKS.iter().filter(|(name, _)| cli.attack.is_empty() || cli.attack.iter().any(|a| a == name))
    {
        for seed in 1..=cli.seeds {
            let began = Instant::now();
            rows.extend(attack(&lab, seed)?.0);
            eprintln!("{name}, seed {seed}: {:.0} s", began.elapsed().as_secs_f64());
            save(&cli.out, &rows)?;
        }
    }
    summary(&rows);
    Ok(())
}

fn save(path: &str, rows: &[Measure]) -> Result<()> {
    let rows = rows.iter().map(|row| {
        Row::new(&[
            ("attack", row.attack.to_owned()),
            ("setting", row.setting.clone()),
            ("seed", row.seed.to_string()),
            ("measure", row.measure.to_owned()),
            ("value", format!("{:.4}", row.value)),
        ])
    });
    write(path, &rows.collect::<Vec<_>>())
}

/// A table per attack: a row per setting, a column per measure, in each cell the value of every seed.
fn summary(rows: &[Measure]) {
    for attack in distinct(rows.iter().map(|row| row.attack)) {
        let rows: Vec<&Measure> = rows.iter().filter(|row| row.attack == attack).collect();
        let measures = distinct(rows.iter().map(|row| row.measure));
        println!("\n| {attack} | {} |\n|---|{}", measures.join(" | "), "---|".repeat(measures.len()));
        for setting in distinct(rows.iter().map(|row| row.setting.as_str())) {
            let cells = measures.iter().map(|measure| {
                let same = rows.iter().filter(|row| row.setting == setting && row.measure == *measure);
                each(same.map(|row| row.value))
            });
            println!("| {setting} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// Each once, in order of first occurrence.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

/// The values of all seeds, in order.
fn each(values: impl Iterator<Item = f64>) -> String {
    let number = |value: f64| if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    values.map(number).collect::<Vec<_>>().join(" / ")
}
