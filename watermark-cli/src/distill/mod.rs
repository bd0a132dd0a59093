//! Tests of a suspect model over files: was it trained on marked answers?

mod item;
mod line;
mod material;
mod read;
mod transcript;

use anyhow::{Context, Result};
use watermark_core::detect::{LayerDetector, Test, Verdict, decide};
use watermark_core::distill::{ModelFinding, ModelSample, Round, controls_agree, log10_p_anytime};

pub use item::Item;
#[cfg(feature = "demo")]
pub(crate) use item::item_of_text;
pub use line::{Control, Line};
pub use material::{Collection, Material};
pub use read::Source;
pub use transcript::items;

use crate::detect::resample;

/// What a suspect shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its answers.
    Answers,
    /// Its answers with next-token log-probabilities, in full or the largest.
    Logprobs,
    /// Its choices while it reads marked texts of ours.
    Reading,
}

impl Access {
    /// The word in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Logprobs => "logprobs",
            Self::Reading => "reading",
        }
    }

    /// A sample with nothing counted yet.
    #[must_use]
    pub fn sample(self, layer: &LayerDetector) -> ModelSample {
        match self {
            Self::Answers => ModelSample::of_answers(layer),
            Self::Logprobs | Self::Reading => ModelSample::of_probabilities(layer),
        }
    }
}

/// A layer that is tested, and whom its key was ever used for.
pub struct Tested {
    /// The layer under its key.
    pub layer: LayerDetector,
    /// Whether only quarantined or honeypot accounts ever got answers under this key. A signal there cannot come from
    /// answers that other customers published.
    pub reserved: bool,
}

/// Whether a layer has a test of a model: to be known before a long input is read.
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
        // A text's choices are fixed before its own tokens are seen, but later texts depend on the key: each is a round.
        for item in round {
            let mut tally = layer.tally();
            layer.add_reading(&mut tally, &item.prompt, &item.tokens, &item.choices)?;
            sample.add_reading(tally)?;
        }
        return Ok(());
    }
    let slices = |of: fn(&Item) -> &[u32]| round.iter().map(of).collect();
    let (mut prompts, answers): (Vec<&[u32]>, _) = (slices(|item| &item.prompt), slices(|item| &item.tokens));
    prompts.extend(round.iter().flat_map(|item| item.quoted.iter().map(|run| &item.tokens[run.clone()])));
    let choices = match access {
        Access::Logprobs => round.iter().map(|item| item.choices.as_slice()).collect(),
        _ => Vec::new(),
    };
    Ok(sample.add_round(layer, &Round { prompts, answers, choices })?)
}

/// Tests a suspect beside its controls: one line per layer, and whether any is detected.
///
/// # Errors
/// As [`sample`].
pub fn judge(
    tested: &[Tested],
    suspect: &Material,
    controls: &[Material],
    options: &Options,
    progress: impl Fn(u64) -> Result<()> + Sync,
) -> Result<(Vec<Line>, bool)> {
    let mut found = Vec::new();
    for Tested { layer, reserved } in tested {
        let sample = sample(layer, options.access, suspect)?;
        let finding = sample.test(layer)?;
        let resampling =
            resample(layer, sample.tally(), sample.weights(), finding.log10_p, options.resample, &progress)?;
        let of_control = |control: &Material| -> Result<Control> {
            let finding = self::sample(layer, options.access, control)?.test(layer)?;
            // A control that was not itself stopped may be read by its tail, which sees more.
            let log10_p = deciding(&finding, options.access, control.stopped);
            Ok(Control { name: control.name.clone(), n_scored: finding.n_scored, log10_p, ln_e: finding.ln_e })
        };
        let controls = controls.iter().map(of_control).collect::<Result<Vec<_>>>()?;
        found.push(line::Found { layer, reserved: *reserved, finding, resampling, controls });
    }
    let verdicts =
        decide(&found.iter().map(|found| found.test(suspect, options)).collect::<Vec<Test>>(), options.alpha);
    let detected = verdicts.contains(&Verdict::Detected);
    let family_size = found.len();
    let lines =
        found.into_iter().zip(verdicts).map(|(found, verdict)| found.line(suspect, options, family_size, verdict));
    Ok((lines.collect(), detected))
}

/// Whether only the e-value may decide: where evidence stopped the collection or may have, and in reading mode, where which
/// contexts are met depends on the key.
fn by_e(access: Access, stopped: bool) -> bool {
    stopped || access == Access::Reading
}

/// The p-value that decides: of the fixed sample, or of the e-process.
fn deciding(finding: &ModelFinding, access: Access, stopped: bool) -> f64 {
    if by_e(access, stopped) { log10_p_anytime(finding.ln_e) } else { finding.log10_p }
}

/// Whether fresh keys may contradict the tail: only where nothing of the sample could depend on the key.
fn resampling_decides(access: Access, stopped: bool) -> bool {
    access != Access::Reading && !stopped
}

/// As [`controls_agree`], over lines' controls.
fn agree(controls: &[Control]) -> bool {
    controls_agree(&controls.iter().map(|control| control.log10_p).collect::<Vec<_>>())
}
