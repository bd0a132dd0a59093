//! Experiments on what a student inherits from marked answers. Every figure under `papers/radioactivity` is one command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod access;
mod lab;

use std::path::PathBuf;

use access::{Access, Shown};
use anyhow::Result;
use clap::Parser;
use lab::{Lab, Mark, Start};
use watermark_cli::school::Lesson;
use watermark_core::scheme::{Greenlist, Scheme};

#[derive(Parser)]
#[command(name = "watermark-radioactivity", version)]
struct Cli {
    /// Where answers and students are kept
    #[arg(long, default_value = "target/radioactivity", global = true)]
    cache: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let lab = Lab::new(cli.cache)?;
    let mark = Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key: 1 };
    let t = std::time::Instant::now();
    let served = lab.teacher(&mark, true, 1, 2000)?;
    println!("{:?} served", t.elapsed());
    let student = lab.student(Start::Base, None, &served, &Lesson::fine_tuning(1))?;
    println!("{:?} student", t.elapsed());
    let asked = lab.ask(&student, 2, 600, 0.8)?;
    println!("{:?} asked", t.elapsed());
    let layer = lab.layer(&mark)?;
    for access in Access::ALL {
        let shown = Shown::new(&lab, access, &student, if access.reads() { &served } else { &asked })?;
        println!("{:?} shown {}", t.elapsed(), shown.tokens());
        for tokens in [1000, 3000, 10_000, 30_000] {
            let tokens = tokens.min(shown.tokens());
            let fixed = shown.sample(&layer, tokens, usize::MAX)?.test(&layer)?;
            let rounds = shown.sample(&layer, tokens, 50)?.test(&layer)?;
            println!(
                "{} {tokens}: n {} log10 p {:.2} distinct {:.2} ln e {:.2}; rounds ln e {:.2}",
                access.name(),
                fixed.n_scored,
                fixed.log10_p,
                fixed.log10_p_distinct,
                fixed.ln_e,
                rounds.ln_e
            );
        }
        println!("{:?}", t.elapsed());
    }
    Ok(())
}
