//! Tests of a suspect model over files: was it trained on marked answers?

mod item;
mod layers;
mod line;
mod material;
mod read;
mod reference;
mod transcript;

use std::borrow::Borrow;

use anyhow::Result;
use watermark_core::detect::{LayerDetector, Resampling, Verdict};
use watermark_core::model_test::{
    Access, ModelFinding, ModelNumbers, ModelSample, ModelTest, Round, TwoSamples, conclude, ln_e_of_looks,
    log10_p_of_looks, looks,
};

pub use item::{Item, item_of_text};
pub use layers::{Select, TestedLayer, check_testable};
use line::SuspectFinding;
pub use line::{Control, Looks, ModelLine};
pub use material::Material;
pub use read::{FirstBad, Source};
pub use reference::Reference;
pub(crate) use reference::{beside, check as check_references};
pub use transcript::items;

use crate::detect::{resample, resample_beside};

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

/// Counts what a model showed, for one layer, without a reference.
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
pub fn add_round(
    sample: &mut ModelSample,
    layer: &LayerDetector,
    access: Access,
    round: &[impl Borrow<Item>],
) -> Result<()> {
    let round = round.iter().map(Borrow::borrow);
    if access == Access::Reading {
        // What a text has shown counts from the next one on: each is a round.
        for item in round {
            sample.add_reading(layer, &item.prompt, &item.tokens, &item.choices)?;
        }
        return Ok(());
    }
    let prompts = round.clone().flat_map(Item::excluded).collect();
    let answers = round.clone().map(|item| item.tokens.as_slice()).collect();
    let choices = match access {
        Access::Logprobs | Access::Weights => round.map(|item| item.choices.as_slice()).collect(),
        Access::Answers | Access::Reading => Vec::new(),
    };
    Ok(sample.add_round(layer, &Round { prompts, answers, choices })?)
}

/// What one model's material shows under one key.
struct Tested {
    finding: ModelFinding,
    numbers: ModelNumbers,
    sample: Counted,
    looks: Option<Looks>,
}

enum Counted {
    Alone(Box<ModelSample>),
    /// One fixed sample, or one for each look.
    Beside {
        samples: Vec<TwoSamples>,
        looks: bool,
    },
}

impl Tested {
    /// `mixture` is the suspect's, for a control.
    fn new(
        layer: &LayerDetector,
        access: Access,
        material: &Material,
        references: &[Reference],
        mixture: Option<&[u32]>,
    ) -> Result<Self> {
        if references.is_empty() {
            let sample = sample(layer, access, material)?;
            let finding = sample.test(layer)?;
            let numbers = finding.numbers(material.stopped);
            return Ok(Self { finding, numbers, sample: Counted::Alone(Box::new(sample)), looks: None });
        }
        let compared = |rounds: &[Vec<Item>]| {
            let items: Vec<&Item> = rounds.iter().flatten().collect();
            beside(layer, access, &items, references, mixture)
        };
        if !material.stopped || access == Access::Reading {
            let samples = vec![compared(&material.rounds)?];
            let finding = samples[0].test(layer)?;
            let numbers = finding.numbers(material.stopped);
            return Ok(Self { finding, numbers, sample: Counted::Beside { samples, looks: false }, looks: None });
        }
        let rounds = looks(material.rounds.len() as u64);
        let taken = rounds.iter().filter_map(|&look| material.rounds.get(..usize::try_from(look).ok()?));
        let mut samples = taken.map(compared).collect::<Result<Vec<_>>>()?;
        if samples.is_empty() {
            samples.push(compared(&[])?);
        }
        let findings = samples.iter().map(|sample| sample.test(layer)).collect::<Result<Vec<_>, _>>()?;
        let [log10_p, ln_e] = [|finding: &ModelFinding| finding.log10_p, |finding: &ModelFinding| finding.ln_e]
            .map(|of| findings.iter().map(of).collect::<Vec<_>>());
        // Of equal ones the latest, which has all answers.
        let best = (0..findings.len()).rev().min_by(|&a, &b| log10_p[a].total_cmp(&log10_p[b])).unwrap_or(0);
        let finding =
            ModelFinding { log10_p: log10_p_of_looks(&log10_p), ln_e: ln_e_of_looks(&ln_e), ..findings[best] };
        Ok(Self {
            finding,
            // Looks at fixed sizes are fixed samples.
            numbers: finding.numbers(false),
            looks: Some(Looks { taken: rounds.len(), rounds: rounds.get(best).copied() }),
            sample: Counted::Beside { samples, looks: true },
        })
    }

    fn resample(
        &self,
        layer: &LayerDetector,
        keys: u32,
        progress: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<Resampling> {
        let log10_p = self.finding.log10_p;
        match &self.sample {
            Counted::Alone(sample) => resample(layer, sample.tally(), sample.weights(), log10_p, keys, progress),
            Counted::Beside { samples, looks } => resample_beside(
                layer,
                samples,
                |each| if *looks { log10_p_of_looks(each) } else { each[0] },
                log10_p,
                keys,
                progress,
            ),
        }
    }
}

/// Tests a suspect beside its controls, and beside references where there are any: one line per layer, and whether any is detected.
///
/// # Errors
/// As [`sample`]; if a reference does not show what it would have to.
pub fn judge(
    tested: &[TestedLayer],
    suspect: &Material,
    controls: &[Material],
    references: &[Reference],
    options: &Options,
    progress: impl Fn(u64) -> Result<()> + Sync,
) -> Result<(Vec<ModelLine>, bool)> {
    check_references(tested.iter().map(|tested| &tested.layer), options.access, suspect, controls, references)?;
    let (mut found, mut tests) = (Vec::new(), Vec::new());
    for TestedLayer { layer, reserved } in tested {
        let shown = Tested::new(layer, options.access, suspect, references, None)?;
        let resampling = shown.resample(layer, options.resample, &progress)?;
        let (pair_weights, mixture) = match &shown.sample {
            Counted::Alone(sample) => (Some(sample.pair_weights()), Vec::new()),
            // The same effect for all pairs would cancel out of residuals, which sum to about nothing.
            Counted::Beside { samples, .. } => {
                (None, samples.last().map(|sample| sample.mixture().to_vec()).unwrap_or_default())
            }
        };
        // In a mixture of its own, a control could keep away from a reference that accuses.
        let beside = Some(mixture.as_slice()).filter(|mixture| !mixture.is_empty());
        let control = |control| Ok(Tested::new(layer, options.access, control, references, beside)?.numbers);
        let controls = controls.iter().map(control).collect::<Result<_>>()?;
        tests.push(ModelTest {
            scheme: layer.scheme(),
            access: options.access,
            suspect: shown.numbers,
            pair_weights,
            controls,
            resampling,
        });
        let line = |(reference, share): (&Reference, u32)| reference.line(share, suspect.rounds.iter().flatten());
        let references = references.iter().zip(mixture).map(line).collect();
        found.push(SuspectFinding {
            layer,
            reserved: *reserved,
            finding: shown.finding,
            references,
            looks: shown.looks,
        });
    }
    let conclusions = conclude(&tests, options.alpha);
    let detected = conclusions.iter().any(|conclusion| conclusion.verdict == Verdict::Detected);
    let lines =
        found.into_iter().zip(&tests).zip(conclusions).map(|((found, test), conclusion)| {
            found.line(suspect, controls, options.alpha, tests.len(), test, conclusion)
        });
    Ok((lines.collect(), detected))
}
