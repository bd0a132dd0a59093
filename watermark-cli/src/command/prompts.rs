use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use watermark_core::evidence::beacon::DrawnValue;
use watermark_core::evidence::bundle::Digest;
use watermark_core::evidence::prompts::draw;
use watermark_core::hex;
use watermark_toolkit::files::write_new;
use watermark_toolkit::read::{print_prompts, read_prompts};

use super::print;

/// Choose prompts without choosing
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Draw prompts from a pool by a public random value
    #[command(after_help = "\
Example:
  watermark key commit … --pool pool.txt --out commitment        # before the key's beacon
  watermark register … --pool pool.txt --n 600 --draw drand/quicknet:34500000 --out registration.json
  # once the round is drawn:
  watermark prompts draw --pool pool.txt --n 600 --draw-signature b75c…96 digits… --out prompts.jsonl

Whoever has the same pool and value draws the same prompts, in the same order. The file is what `watermark probe` takes.")]
    Draw(Draw),
}

#[derive(clap::Args)]
struct Draw {
    /// The pool: one prompt a line, or JSONL with `prompt`
    #[arg(long, value_name = "FILE")]
    pool: PathBuf,
    /// How many to draw
    #[arg(long, value_name = "N")]
    n: usize,
    #[command(flatten)]
    value: DrawArgs,
    /// The prompts to write, one JSON object a line; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The value that draws prompts.
#[derive(clap::Args)]
pub(crate) struct DrawArgs {
    /// The value that draws the prompts, 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    draw_value: Option<String>,
    /// Its signature by the source, 96 hexadecimal digits (drand: the value is its SHA-256)
    #[arg(long, value_name = "HEX")]
    draw_signature: Option<String>,
}

impl DrawArgs {
    /// The value, if it was given.
    pub(crate) fn value(&self) -> Result<Option<DrawnValue>> {
        let mut value = [0; 32];
        if let Some(digits) = &self.draw_value {
            hex::decode(digits.as_bytes(), &mut value).context("--draw-value: not 64 lower-case hexadecimal digits")?;
        }
        let Some(digits) = &self.draw_signature else {
            return Ok(self.draw_value.as_ref().map(|_| DrawnValue { signature: None, value: Digest(value) }));
        };
        let drawn = DrawnValue::from_signature(digits).context("--draw-signature")?;
        ensure!(
            self.draw_value.is_none() || drawn.value.0 == value,
            "--draw-value is not the SHA-256 of --draw-signature"
        );
        Ok(Some(drawn))
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Action::Draw(args) = self.action;
        let Some(value) = args.value.value()? else { bail!("give --draw-value or --draw-signature") };
        let pool = read_prompts(&args.pool)?;
        ensure!(
            args.n <= pool.len(),
            "pool {}: {} prompts, and --n asks for {}",
            args.pool.display(),
            pool.len(),
            args.n
        );
        write_new(&args.out, &print_prompts(draw(&value.value.0, &pool, args.n))?)?;
        print(&format!("Drew {} of {} prompts into {}.", args.n, pool.len(), args.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
