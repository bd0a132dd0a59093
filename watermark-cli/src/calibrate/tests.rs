use anyhow::{Context, Result};
use watermark_core::detect::{LayerDetector, Tally, Weights};
use watermark_core::engine::Engine;
use watermark_core::scheme::{Scheme, SchemeOptions};

/// A test with fixed parameters, named in the output.
#[derive(Clone, Debug)]
pub struct Test {
    /// For people and for `--test`.
    pub name: String,
    /// What is scored.
    pub(super) scheme: Scheme,
    /// Context width in tokens.
    pub(super) width: usize,
    statistic: Statistic,
    /// One score takes a generator's whole stream.
    pub slow: bool,
}

/// Which p-value of the layer.
#[derive(Clone, Copy, Debug)]
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

impl Test {
    /// log10 p of one text under one key.
    pub(super) fn log10_p(&self, layer: &LayerDetector, tally: &Tally, text: &[u32]) -> Result<f64> {
        Ok(match self.statistic {
            Statistic::Plain => layer.finding(tally)?.log10_p,
            Statistic::Weighted => layer.finding_with(tally, Weights::Sqrt)?.log10_p,
            Statistic::EValue => {
                let ln_e = layer.finding(tally)?.ln_e.context("an e-value")?;
                (-ln_e / std::f64::consts::LN_10).min(0.0)
            }
            Statistic::Located => layer.smallest_window_log10_p(text)?,
        })
    }

    /// Every test; `vocab_size` is for engines that permute the vocabulary.
    ///
    /// # Errors
    /// None for a vocabulary of at least four tokens.
    pub fn all(vocab_size: u32) -> Result<Vec<Self>> {
        let mut tests = Vec::new();
        let mut own = |name: &str, width: usize, options: SchemeOptions, statistics: &[Statistic]| -> Result<()> {
            let scheme = Scheme::from_name(name, &options)?;
            let gamma = options.gamma.map_or_else(String::new, |gamma| format!(" gamma {gamma}"));
            let weighted = if options.weighted { " weighted" } else { "" };
            for &statistic in statistics {
                let kind = match statistic {
                    Statistic::Plain => "",
                    Statistic::Weighted => ", count weights",
                    Statistic::EValue => ", e-value",
                    Statistic::Located => ", localised",
                };
                let name = format!("{name}{weighted} width {width}{gamma}{kind}");
                tests.push(Self { name, scheme, width, statistic, slow: false });
            }
            Ok(())
        };
        let none = SchemeOptions::default();
        let gamma = |gamma| SchemeOptions { gamma: Some(gamma), ..none };
        let depth = SchemeOptions { depth: Some(30), ..none };
        let all = [Statistic::Plain, Statistic::Weighted, Statistic::EValue, Statistic::Located];
        let plain = [Statistic::Plain];
        own("greenlist", 0, gamma(0.25), &plain)?;
        own("greenlist", 1, gamma(0.5), &all)?;
        own("greenlist", 1, gamma(0.25), &plain)?;
        own("gumbel", 2, none, &[Statistic::Plain, Statistic::Weighted])?;
        own("gumbel", 4, none, &[Statistic::Plain, Statistic::EValue, Statistic::Located])?;
        own("gumbel_dual_key", 4, SchemeOptions { alpha: Some(0.1), ..none }, &[Statistic::Plain, Statistic::EValue])?;
        own("permute_and_flip", 4, none, &plain)?;
        own("tournament", 4, depth, &[Statistic::Plain, Statistic::EValue])?;
        own("tournament", 4, SchemeOptions { weighted: true, ..depth }, &plain)?;
        own("mcmark", 2, gamma(0.0625), &plain)?;
        own("dipmark", 2, gamma(0.5), &plain)?;
        for engine in Engine::examples(vocab_size)? {
            tests.push(Self {
                name: engine.label(),
                scheme: Scheme::Engine(engine),
                width: engine.context_width(),
                statistic: Statistic::Plain,
                slow: engine.is_slow(),
            });
        }
        Ok(tests)
    }
}
