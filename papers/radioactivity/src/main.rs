//! Experiments on what a student inherits from marked answers. Every figure under `papers/radioactivity` is one command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
#![allow(clippy::cast_sign_loss, reason = "shares and sizes are not negative")]

mod access;
mod accounts;
mod adfp;
mod answer_pairs;
mod beside;
mod curves;
mod curves_beside;
mod factors;
mod null;
mod null_beside;
mod pairs;
mod pairs_null;
mod plot;
mod provider;
mod sampling_plot;
mod served;
mod shares;
mod tokens;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use shares::Students;
use watermark_radioactivity::lab::{self, Lab};
use watermark_radioactivity::{sampling, table};

/// What a student inherits from marked answers, and how many tokens show it
#[derive(Parser)]
#[command(name = "watermark-radioactivity", version)]
struct Cli {
    /// Where answers and students are kept, so that nothing is made twice
    #[arg(long, default_value = "target/radioactivity", global = true)]
    cache: PathBuf,
    /// The CSV file to write
    #[arg(long, default_value = "out.csv", global = true)]
    out: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One factor at a time around a centre point
    Factors {
        #[arg(long, default_value_t = 3)]
        seeds: u64,
        /// Only this factor
        #[arg(long)]
        factor: Option<String>,
    },
    /// Antidistillation fingerprinting beside a green list at equal divergence from the teacher
    Adfp {
        #[arg(long, default_value_t = 3)]
        seeds: u64,
    },
    /// Tokens until detection at 1e-6, by kind of access
    Tokens {
        /// Students, each of its own key
        #[arg(long, default_value_t = 5)]
        keys: u64,
        /// Sets of prompts per student
        #[arg(long, default_value_t = 6)]
        sets: u64,
        /// Share of marked answers in the training data
        #[arg(long, default_value_t = 1.0)]
        share: f64,
        /// Questions of a set
        #[arg(long, default_value_t = 400)]
        asked: usize,
        /// Only these kinds of access (repeatable): distinct, answers, logprobs, weights, reading, reading-weights
        #[arg(long)]
        access: Vec<String>,
    },
    /// Marks over temperature and top-p, with the boost after and before the temperature
    Sampling {
        #[arg(long, default_value_t = 3)]
        keys: u64,
        /// Answers of a cell
        #[arg(long, default_value_t = 300)]
        answers: usize,
    },
    /// Marks in answers whose form a prompt has asked for: capitals, separators between tokens
    Styles {
        #[arg(long, default_value_t = 3)]
        keys: u64,
        /// Answers of a key
        #[arg(long, default_value_t = 300)]
        answers: usize,
    },
    /// The picture of a table of `factors`, `curves` or `sampling`
    Plot {
        /// The CSV file
        table: String,
    },
    /// Students of a few marked answers among text of others: every access, by counts and beside references
    Shares {
        #[command(flatten)]
        students: Students,
    },
    /// Evidence beside references over tokens, of the students of `shares`, for `watermark plan --reference`
    CurvesBeside {
        #[command(flatten)]
        students: Students,
        /// The CSV file for medians at shares that the curves are not made from, planned and measured
        #[arg(long, default_value = "held_out.csv")]
        check: String,
    },
    /// Paired draws: what students of a few served answers prefer, also after clean training
    Pairs {
        #[command(flatten)]
        students: Students,
        /// Replace tokens of the served answers that a student learns with this probability, by ones drawn from all of them
        #[arg(long, default_value_t = 0.0)]
        noise: f64,
        /// A clean base that students start from, in place of the shipped one
        #[arg(long, value_name = "FILE")]
        base: Option<PathBuf>,
        /// The tokenizer.json of that base, where it is not the teacher's
        #[arg(long, value_name = "FILE", requires = "base")]
        tokenizer: Option<PathBuf>,
        /// The CSV file for signs by size, which `watermark pairs plan` works from
        #[arg(long, default_value = "drift.csv")]
        drift: String,
    },
    /// A student of answers drawn with one key, and 1,000 other keys' draws for the same prompts: none may be found
    PairsNull {
        #[command(flatten)]
        students: Students,
        /// Keys of each student
        #[arg(long, default_value_t = 1000)]
        keys: u32,
        /// Requests of each key
        #[arg(long, default_value_t = 100)]
        requests: usize,
    },
    /// Whole answers in pairs: what students prefer, and what they say themselves
    AnswerPairs {
        #[command(flatten)]
        students: Students,
    },
    /// Paired draws: which of 64 accounts are named, of which 4 were harvested
    Accounts {
        #[command(flatten)]
        students: Students,
        /// How often the coins of the other accounts are drawn again
        #[arg(long, default_value_t = 200)]
        repetitions: u32,
    },
    /// Served answers one by one: how many are found, alone and beside what a model expects
    Served,
    /// Sham keys on a student, honest keys on controls: p must not exceed uniform
    Null,
    /// Evidence over tokens by share and kind of access, for `watermark plan`
    Curves {
        /// Students per share
        #[arg(long, default_value_t = 4)]
        keys: u64,
        /// Only these kinds of access (repeatable): answers, logprobs, weights, reading
        #[arg(long)]
        access: Vec<String>,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let lab = Lab::new(cli.cache)?;
    match cli.command {
        Command::Factors { seeds, factor } => factors::run(&lab, seeds, factor.as_deref(), &cli.out),
        Command::Adfp { seeds } => adfp::run(&lab, seeds, &cli.out),
        Command::Tokens { keys, sets, share, asked, access } => {
            tokens::run(&lab, share, keys, sets, asked, &access, &cli.out)
        }
        Command::Sampling { keys, answers } => sampling::run(&lab, keys, answers, &cli.out),
        Command::Styles { keys, answers } => sampling::styles(&lab, keys, answers, &cli.out),
        Command::Plot { table } => picture(&table, &cli.out),
        Command::Shares { students } => shares::run(&lab, &students, &cli.out),
        Command::CurvesBeside { students, check } => curves_beside::run(&lab, &students, &check, &cli.out),
        Command::Pairs { students, noise, base, tokenizer, drift } => {
            let lab = match base {
                None => lab,
                Some(base) => lab.with_base(&base, tokenizer.as_deref())?,
            };
            pairs::run(&lab, &students, noise, &cli.out, &drift)
        }
        Command::PairsNull { students, keys, requests } => pairs_null::run(&lab, &students, keys, requests, &cli.out),
        Command::AnswerPairs { students } => answer_pairs::run(&lab, &students, &cli.out),
        Command::Accounts { students, repetitions } => accounts::run(&lab, &students, repetitions, &cli.out),
        Command::Served => served::run(&lab, &cli.out),
        Command::Null => {
            let (mut null, distilled) = (null::Null::open(&cli.out)?, null::Distilled::new(&lab)?);
            null::run(&lab, &mut null, &distilled)?;
            null_beside::run(&lab, &mut null, &distilled)?;
            null.check()
        }
        Command::Curves { keys, access } => curves::run(&lab, keys, &access, &cli.out),
    }
}

/// The picture that fits the table's columns.
fn picture(path: &str, out: &str) -> Result<()> {
    let table = plot::Table::read(path)?;
    let svg = if table.column("factor").is_ok() {
        plot::factors(&table)?
    } else if table.column("top_p").is_ok() {
        sampling_plot::picture(&table)?
    } else {
        plot::curves(&table)?
    };
    std::fs::write(out, svg).with_context(|| format!("writing {out}"))
}
