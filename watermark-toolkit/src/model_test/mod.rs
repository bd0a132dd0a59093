//! Tests of a suspect model over files: was it trained on marked answers?

mod item;
mod line;
mod material;
mod read;
mod transcript;

use anyhow::{Context, Result};
use watermark_core::detect::{LayerDetector, Verdict};
use watermark_core::model_test::{Access, ModelSample, ModelTest, Round, conclude};

pub use item::{Item, item_of_text};
use line::SuspectFinding;
pub use line::{Control, ModelLine};
pub use material::Material;
pub use read::Source;
pub use transcript::items;

use crate::detect::resample;

/// A layer that is tested, and whom its key was ever used for.
pub struct TestedLayer {
    /// The layer under its key.
    pub layer: LayerDetector,
    /// Whether only quarantined or honeypot accounts ever got answers under this key. A signal there cannot come from
    /// answers that other customers published.
    pub reserved: bool,
}

/// Checks that a layer has a test of a model, before a long input is read.
///
/// # Errors
/// If it has none.
pub fn check_testable(layer: &LayerDetector) -> Result<()> {
    ModelSample::of_answers(layer).test(layer).map(|_| ()).with_context(|| {
        format!(
            "{} has no test of a model; test its texts with `watermark detect`, or name another layer",
            layer.scheme().name()
        )
    })
}

/// How a suspect is tested.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the material shows.
    pub access: Access,
    /// Family-wise level over all layers.
    pub alpha: f64,
    /// Fresh keys to compare with; 0 for none.
    pub resample: u32,
}

/// Counts what a model showed, for one layer.
///
/// # Errors
/// If an id is out of range, or the layer's scheme cannot be tested with this access.
pub fn sample(layer: &LayerDetector, access: Access, material: &Material) -> Result<ModelSample> {
    let mut sample = access.sample(layer);
    for round in &material.rounds {
        add_round(&mut sample, layer, access, round)?;
    }
    Ok(sample)
}

/// Counts one more round.
///
/// # Errors
/// As [`sample`].
pub fn add_round(sample: &mut ModelSample, layer: &LayerDetector, access: Access, round: &[Item]) -> Result<()> {
    if access == Access::Reading {
        // What a text has shown counts from the next one on: each is a round.
        for item in round {
            sample.add_reading(layer, &item.prompt, &item.tokens, &item.choices)?;
        }
        return Ok(());
    }
    let slices = |field: fn(&Item) -> &[u32]| round.iter().map(field).collect();
    let (mut prompts, answers): (Vec<&[u32]>, _) = (slices(|item| &item.prompt), slices(|item| &item.tokens));
    prompts.extend(round.iter().flat_map(|item| item.quoted.iter().map(|run| &item.tokens[run.clone()])));
    let choices = match access {
        Access::Logprobs | Access::Weights => round.iter().map(|item| item.choices.as_slice()).collect(),
        Access::Answers | Access::Reading => Vec::new(),
    };
    Ok(sample.add_round(layer, &Round { prompts, answers, choices })?)
}

/// Tests a suspect beside its controls: one line per layer, and whether any is detected.
///
/// # Errors
/// As [`sample`].
pub fn judge(
    tested: &[TestedLayer],
    suspect: &Material,
    controls: &[Material],
    options: &Options,
    progress: impl Fn(u64) -> Result<()> + Sync,
) -> Result<(Vec<ModelLine>, bool)> {
    let (mut found, mut tests) = (Vec::new(), Vec::new());
    for TestedLayer { layer, reserved } in tested {
        let sample = sample(layer, options.access, suspect)?;
        let finding = sample.test(layer)?;
        let resampling =
            resample(layer, sample.tally(), sample.weights(), finding.log10_p, options.resample, &progress)?;
        let numbers = |control: &Material| {
            Ok(self::sample(layer, options.access, control)?.test(layer)?.numbers(control.stopped))
        };
        tests.push(ModelTest {
            scheme: layer.scheme(),
            access: options.access,
            suspect: finding.numbers(suspect.stopped),
            pair_weights: Some(sample.pair_weights()),
            controls: controls.iter().map(numbers).collect::<Result<_>>()?,
            resampling,
        });
        found.push(SuspectFinding { layer, reserved: *reserved, finding });
    }
    let conclusions = conclude(&tests, options.alpha);
    let detected = conclusions.iter().any(|conclusion| conclusion.verdict == Verdict::Detected);
    let lines =
        found.into_iter().zip(&tests).zip(conclusions).map(|((found, test), conclusion)| {
            found.line(suspect, controls, options.alpha, tests.len(), test, conclusion)
        });
    Ok((lines.collect(), detected))
}
