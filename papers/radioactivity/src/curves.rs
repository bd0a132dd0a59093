//! Evidence over tokens, by share of marked answers and kind of access: what `watermark plan` interpolates.

use std::f64::consts::LN_10;

use anyhow::Result;

use crate::access::{Access, Shown};
use crate::factors::of_share;
use crate::lab::Lab;
use crate::table::{Row, write};
use crate::tokens::ROUND;

/// Shares at which the curves are measured.
const SHARES: [f64; 7] = [1.0, 0.75, 0.5, 0.35, 0.2, 0.1, 0.05];
/// Sample sizes: a factor of about 1.5 apart.
const SIZES: [usize; 18] =
    [50, 75, 110, 170, 250, 400, 600, 900, 1400, 2000, 3000, 4500, 7000, 10_000, 15_000, 22_000, 33_000, 50_000];

/// `keys` students per share. Evidence is the number of digits of p: of the fixed sample of that size, and of the e-process.
pub(crate) fn run(lab: &Lab, keys: u64, only: &[String], out: &str) -> Result<()> {
    let mut rows = Vec::new();
    let kinds = [Access::Closed, Access::TopLogprobs, Access::OpenWeights, Access::Reading];
    for access in kinds.into_iter().filter(|kind| only.is_empty() || only.iter().any(|name| name == kind.key())) {
        // Answers with whole distributions are long to make and need few tokens.
        let asked = if access == Access::Closed { 800 } else { 300 };
        for share in SHARES {
            let mut digits = vec![(Vec::new(), Vec::new()); SIZES.len()];
            for key in 1..=keys {
                let (student, served, mark) = of_share(lab, share, key)?;
                let layer = lab.layer(&mark)?;
                let data =
                    if access.reads() { served } else { lab.ask(&student, 50_000 + key, 800, 0.8)?.slice(0, asked) };
                let shown = Shown::new(lab, access, &student, &data)?;
                for (&tokens, (fixed, anytime)) in SIZES.iter().zip(&mut digits) {
                    if tokens > shown.tokens() {
                        break;
                    }
                    fixed.push(-shown.sample(&layer, tokens, usize::MAX)?.test(&layer)?.log10_p);
                    anytime.push(shown.sample(&layer, tokens, ROUND)?.test(&layer)?.ln_e / LN_10);
                }
            }
            for (&tokens, (fixed, anytime)) in SIZES.iter().zip(&digits) {
                if fixed.len() < keys as usize {
                    break;
                }
                let ((fixed_mean, fixed_sd), (anytime_mean, anytime_sd)) = (moments(fixed), moments(anytime));
                rows.push(Row::new(&[
                    ("access", access.key().to_owned()),
                    ("share", share.to_string()),
                    ("tokens", tokens.to_string()),
                    ("keys", keys.to_string()),
                    ("digits", format!("{fixed_mean:.3}")),
                    ("digits_sd", format!("{fixed_sd:.3}")),
                    ("digits_anytime", format!("{anytime_mean:.3}")),
                    ("digits_anytime_sd", format!("{anytime_sd:.3}")),
                ]));
            }
            write(out, &rows)?;
            eprintln!("{}, share {share}", access.name());
        }
    }
    Ok(())
}

/// Mean and standard deviation.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}
