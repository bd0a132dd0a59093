//! The tests that can be calibrated: every scheme of the catalogue at its examples, and engines.

use anyhow::{Context, Result};
use watermark_core::detect::{LayerDetector, Tally, Weights};
use watermark_core::engine::Engine;
use watermark_core::model_test::log10_p_anytime;
use watermark_core::profile::AnyScheme;
use watermark_core::scheme::{Scheme, Spec};

/// A test with fixed parameters, named in the output.
#[derive(Clone, Debug)]
pub struct Test {
    /// The name in output, and for `--test`.
    pub name: String,
    /// What is scored.
    pub(super) scheme: AnyScheme,
    /// Context width in tokens.
    pub(super) width: usize,
    statistic: Statistic,
    /// Whether every score takes a pass over a generator's whole stream, so that the test takes long.
    pub slow: bool,
}

/// The p-value that is calibrated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    /// The plain test's exact tail.
    Plain,
    /// The count-weighted bound.
    Weighted,
    /// 1 / e.
    EValue,
    /// The smallest p over all windows of localisation, times their number.
    Located,
}

/// Statistics other than the plain one are calibrated once for each null law and not for each scheme, because a scheme
/// affects them through its law alone.
const FURTHER: [(&str, &[Statistic]); 5] = [
    ("greenlist width 1 gamma 0.5", &[Statistic::Weighted, Statistic::EValue, Statistic::Located]),
    ("gumbel width 2", &[Statistic::Weighted]),
    ("gumbel width 4", &[Statistic::EValue, Statistic::Located]),
    ("gumbel_dual_key width 4", &[Statistic::EValue]),
    ("tournament width 4", &[Statistic::EValue]),
];

/// The name of a test: scheme, flags, width, and what else the score depends on, which is gamma always and other
/// parameters where they are not the usual ones.
fn name(spec: &Spec, scheme: &Scheme, width: usize) -> String {
    let (mut flags, mut numbers) = (String::new(), String::new());
    for (name, value) in scheme.parameters().iter() {
        let Some(parameter) = spec.parameter(name).filter(|parameter| parameter.scored) else { continue };
        if value.real().is_none() {
            flags.push_str(&format!(" {name}"));
        } else if name == "gamma" || parameter.usual.is_none_or(|usual| usual != value) {
            numbers.push_str(&format!(" {name} {value}"));
        }
    }
    format!("{}{flags} width {width}{numbers}", spec.name)
}

impl Test {
    /// log10 p of one text under one key.
    pub(super) fn log10_p(&self, layer: &LayerDetector, tally: &Tally, text: &[u32]) -> Result<f64> {
        Ok(match self.statistic {
            Statistic::Plain => layer.finding(tally)?.log10_p,
            Statistic::Weighted => layer.finding_with(tally, Weights::Sqrt)?.log10_p,
            Statistic::EValue => log10_p_anytime(layer.finding(tally)?.ln_e.context("an e-value")?),
            Statistic::Located => layer.smallest_window_log10_p(text)?,
        })
    }

    /// Every test; `vocab_size` is for engines that permute the vocabulary.
    ///
    /// # Errors
    /// None for a vocabulary of at least four tokens.
    pub fn all(vocab_size: u32) -> Result<Vec<Self>> {
        let mut tests = Vec::new();
        for spec in Scheme::SPECS {
            for example in spec.examples {
                let (scheme, width) = spec.build(example)?;
                let name = name(spec, &scheme, width);
                let further = FURTHER.iter().find(|(test, _)| *test == name).map_or(&[][..], |(_, further)| *further);
                for &statistic in [Statistic::Plain].iter().chain(further) {
                    let kind = match statistic {
                        Statistic::Plain => "",
                        Statistic::Weighted => ", count weights",
                        Statistic::EValue => ", e-value",
                        Statistic::Located => ", localised",
                    };
                    let name = format!("{name}{kind}");
                    // Examples that differ in marking only are the same test.
                    if !tests.iter().any(|test: &Self| test.name == name) {
                        tests.push(Self { name, scheme: scheme.into(), width, statistic, slow: false });
                    }
                }
            }
        }
        for engine in Engine::examples(vocab_size)? {
            tests.push(Self {
                name: engine.label(),
                scheme: engine.into(),
                width: engine.context_width(),
                statistic: Statistic::Plain,
                slow: engine.is_slow(),
            });
        }
        Ok(tests)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A name in the list that no test has would drop its statistics from the calibration without a word.
    #[test]
    fn further_statistics_are_those_of_tests() {
        let tests = Test::all(4096).unwrap();
        for (name, statistics) in FURTHER {
            for statistic in statistics {
                let hit = |test: &Test| test.statistic == *statistic && test.name.starts_with(&format!("{name}, "));
                assert!(tests.iter().any(hit), "{name}: {statistic:?}");
            }
        }
    }
}
