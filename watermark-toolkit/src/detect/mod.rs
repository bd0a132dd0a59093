//! Detection over records from files.

mod line;
mod resample;
mod spans;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use watermark_core::detect::{Finding, LayerDetector, PairSet, PeerTally, Resampling, Tally, Weights};

pub(crate) use line::{LayerFinding, lines};
pub use line::{LayerLine, Peer, ReferenceLine, Report};
use resample::seed_of;
pub(crate) use resample::{fresh_log10_p, in_parts};
pub use resample::{resample, resample_beside};
use spans::RecordTokens;
pub use spans::SpanLine;

use crate::ids::{Conversation, Ids, Vocabulary};
use crate::read::Record;

/// Which prompts exclude a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exclude {
    /// The record's own.
    #[default]
    Record,
    /// Any prompt of the run.
    Run,
}

/// How records are tested.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Family-wise level of the pooled lines and, separately, of the per-record lines and of the spans.
    pub alpha: f64,
    /// One more line per record and layer.
    pub per_record: bool,
    /// How much a pair counts.
    pub weights: Weights,
    /// Which prompts exclude a pair.
    pub exclude: Exclude,
    /// Fresh keys to compare with; 0 for none.
    pub resample: u32,
    /// Which stretches of each record are marked.
    pub locate: bool,
    /// The engines' own statistics beside ours.
    pub compare_peer: bool,
}

/// Counts records into one tally per layer, and into one per record and layer where asked.
pub struct Detection<'a> {
    layers: &'a [LayerDetector],
    vocabulary: Vocabulary<'a>,
    options: Options,
    pooled: Vec<Tally>,
    prompts: Vec<PairSet>,
    peers: Vec<Option<PeerTally>>,
    records: Vec<Counted>,
    kept: Vec<RecordTokens>,
    conversation: Conversation,
}

/// A record's tallies while prompts are still coming. Once all prompts are known: its findings, and those tallies that
/// fresh keys may have to score.
struct Counted {
    id: String,
    tallies: Vec<Option<Tally>>,
    findings: Vec<Finding>,
}

impl<'a> Detection<'a> {
    /// Starts with nothing counted.
    #[must_use]
    pub fn new(layers: &'a [LayerDetector], vocabulary: Vocabulary<'a>, options: Options) -> Self {
        Self {
            layers,
            vocabulary,
            options,
            pooled: layers.iter().map(LayerDetector::tally).collect(),
            prompts: layers.iter().map(LayerDetector::pair_set).collect(),
            peers: layers.iter().map(|layer| layer.peer_tally().filter(|_| options.compare_peer)).collect(),
            records: Vec::new(),
            kept: Vec::new(),
            conversation: Conversation::default(),
        }
    }

    /// Whether every layer has the tests that are asked for: to be known before a long input is read.
    ///
    /// # Errors
    /// If a layer has no test with these weights, or cannot be located.
    pub fn check(&self) -> Result<()> {
        for layer in self.layers {
            layer.finding_with(&layer.tally(), self.options.weights).context("--weights")?;
            if self.options.locate {
                layer.locate(&layer.pair_set(), &[], &[], 0, self.options.alpha).context("--locate")?;
            }
        }
        if self.options.locate && self.options.weights != Weights::None {
            bail!("--locate scores every pair once; leave --weights out");
        }
        Ok(())
    }

    /// Adds a batch of records, tokenising in parallel. The order of records does not matter for the pooled lines.
    /// One result per record: an error is a record that could not be used, and it left nothing behind.
    ///
    /// # Errors
    /// If scoring fails, which no record can cause.
    pub fn add(&mut self, batch: &[Record]) -> Result<Vec<Result<()>>> {
        let ids = |record: &Record| self.vocabulary.ids(&record.body, self.options.locate);
        let tokenised: Vec<Result<Ids>> = batch.par_iter().map(ids).collect();
        let mut results = Vec::with_capacity(batch.len());
        for (record, ids) in batch.iter().zip(tokenised) {
            results.push(match ids {
                Ok(ids) => {
                    self.count(record, ids)?;
                    Ok(())
                }
                Err(error) => {
                    self.conversation.lose();
                    Err(error)
                }
            });
        }
        Ok(results)
    }

    fn count(&mut self, record: &Record, ids: Ids) -> Result<()> {
        let Ids { prompt: asked, tokens, offsets } = ids;
        self.conversation.ask(record.continues, &asked);
        let prompt = self.conversation.ids();
        let id = || record.id.clone().unwrap_or_else(|| record.location.to_string());
        for (layer, tally) in self.layers.iter().zip(&mut self.pooled) {
            count_one(layer, tally, self.options.exclude, prompt, &tokens)?;
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.add(prompt, &tokens);
        }
        if self.options.exclude == Exclude::Run {
            for (layer, prompts) in self.layers.iter().zip(&mut self.prompts) {
                layer.add_prompt(prompts, prompt)?;
            }
        }
        if self.options.per_record {
            let tallies = self.layers.iter().map(|layer| {
                let mut tally = layer.tally();
                count_one(layer, &mut tally, self.options.exclude, prompt, &tokens)?;
                Ok(tally)
            });
            let tallies = tallies.map(|tally| tally.map(Some)).collect::<Result<_>>()?;
            let mut counted = Counted { id: id(), tallies, findings: Vec::new() };
            if self.options.exclude == Exclude::Record {
                // No later record or prompt changes the tallies of this record.
                self.score(&mut counted)?;
            }
            self.records.push(counted);
        }
        let prompt = self.options.locate.then(|| prompt.to_vec());
        self.conversation.answer(&tokens);
        if let Some(prompt) = prompt {
            self.kept.push(RecordTokens { id: id(), prompt, tokens, offsets });
        }
        Ok(())
    }

    /// Computes the findings of a record and drops the tallies that no verdict can rest on.
    fn score(&self, counted: &mut Counted) -> Result<()> {
        for (layer, slot) in self.layers.iter().zip(&mut counted.tallies) {
            let Some(tally) = slot else { continue };
            let finding = layer.finding_with(tally, self.options.weights)?;
            if finding.log10_p > self.options.alpha.log10() {
                *slot = None;
            }
            counted.findings.push(finding);
        }
        Ok(())
    }

    /// Number of fresh keys that [`Detection::report`] will draw, for a progress bar.
    #[must_use]
    pub fn fresh_keys(&self) -> u64 {
        let layers = self.layers.iter().filter(|layer| !layer.inputs_depend_on_key()).count() as u64;
        layers * u64::from(self.options.resample)
    }

    /// Scores what was counted. Calls `progress` with the number of fresh keys done (0 for those of records and spans, which
    /// [`Detection::fresh_keys`] does not count), from several threads; an error of it ends the work.
    ///
    /// # Errors
    /// If a statistic leaves the domain of the exact tails, or the layers have no test with these weights. Those of `progress`.
    pub fn report(mut self, progress: impl Fn(u64) -> Result<()> + Sync) -> Result<Report> {
        self.exclude_prompts()?;
        let mut pooled = tested(self.layers, &self.pooled, self.options, &progress)?;
        for (tested, peer) in pooled.iter_mut().zip(&self.peers) {
            tested.peer = peer.as_ref().map(|peer| Peer::from(peer.statistic()));
        }
        let mut per_record = Vec::new();
        for Counted { id, tallies, findings } in &self.records {
            for ((layer, tally), finding) in self.layers.iter().zip(tallies).zip(findings) {
                let resampling = match tally {
                    Some(tally) => self.resample(layer, tally, finding.log10_p, &progress)?,
                    None => Resampling::default(),
                };
                let found = LayerFinding::new(layer, finding.clone(), resampling);
                per_record.push(LayerFinding { record: Some(id.clone()), ..found });
            }
        }
        let Options { alpha, weights, .. } = self.options;
        let (pooled, detected) = pooled_lines(pooled, weights, alpha);
        let (layers, records) = (plural(self.layers.len(), "layer"), plural(self.records.len(), "record"));
        let (per_record, _) = lines(per_record, weights, alpha, &format!("1 key x {layers} x {records}"));
        let spans = self.spans(&progress)?;
        Ok(Report { pooled, per_record, spans, detected })
    }

    /// What [`Detection::report`] compares the pooled lines with: log10 p under each of the fresh keys, one list for each layer; an empty
    /// one where the counted positions depend on the key, or there are none.
    ///
    /// # Errors
    /// As [`Detection::report`].
    pub fn fresh_log10_p(mut self, progress: impl Fn(u64) -> Result<()> + Sync) -> Result<Vec<Vec<f64>>> {
        self.exclude_prompts()?;
        let Options { weights, resample, .. } = self.options;
        let of_layer = |(layer, tally): (&LayerDetector, &Tally)| {
            if layer.inputs_depend_on_key() || tally.n_scored() == 0 {
                return Ok(Vec::new());
            }
            let log10_p = |layer: &LayerDetector| Ok(layer.finding_with(tally, weights)?.log10_p);
            fresh_log10_p(&seed_of(tally), layer, resample, log10_p, &progress)
        };
        self.layers.iter().zip(&self.pooled).map(of_layer).collect()
    }

    /// Excludes the pairs of all prompts, now that all are known.
    fn exclude_prompts(&mut self) -> Result<()> {
        if self.options.exclude == Exclude::Run {
            for (tally, prompts) in self.pooled.iter_mut().zip(&self.prompts) {
                tally.exclude(prompts)?;
            }
            let mut records = std::mem::take(&mut self.records);
            for counted in &mut records {
                for (tally, prompts) in counted.tallies.iter_mut().flatten().zip(&self.prompts) {
                    tally.exclude(prompts)?;
                }
                self.score(counted)?;
            }
            self.records = records;
        }
        Ok(())
    }

    /// Scores the tally of a record or a span under fresh keys.
    fn resample(
        &self,
        layer: &LayerDetector,
        tally: &Tally,
        log10_p: f64,
        progress: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<Resampling> {
        resample(layer, tally, self.options.weights, log10_p, self.options.resample, &|_| progress(0))
    }
}

/// Tests tallies that were counted elsewhere, one per layer, as [`Detection::report`] tests its own: the pooled lines.
///
/// # Errors
/// If a tally belongs to another context rule, or as [`Detection::report`].
pub fn report(
    layers: &[LayerDetector],
    tallies: &[Tally],
    options: Options,
    progress: impl Fn(u64) -> Result<()> + Sync,
) -> Result<Report> {
    if layers.len() != tallies.len() {
        bail!("{} has {} tallies for it", plural(layers.len(), "layer"), tallies.len());
    }
    let tested = tested(layers, tallies, options, &progress)?;
    let (pooled, detected) = pooled_lines(tested, options.weights, options.alpha);
    Ok(Report { pooled, per_record: Vec::new(), spans: Vec::new(), detected })
}

fn tested<'a>(
    layers: &'a [LayerDetector],
    tallies: &[Tally],
    options: Options,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Vec<LayerFinding<'a>>> {
    let test = |(layer, tally): (&'a LayerDetector, &Tally)| {
        let finding = layer.finding_with(tally, options.weights)?;
        let resampling = resample(layer, tally, options.weights, finding.log10_p, options.resample, progress)?;
        Ok(LayerFinding::new(layer, finding, resampling))
    };
    layers.iter().zip(tallies).map(test).collect()
}

/// The lines of the input as a whole, and whether anything is detected in it.
pub(crate) fn pooled_lines(tested: Vec<LayerFinding<'_>>, weights: Weights, alpha: f64) -> (Vec<LayerLine>, bool) {
    let family = format!("1 key x {}, the input as a whole", plural(tested.len(), "layer"));
    lines(tested, weights, alpha, &family)
}

/// A number with its noun.
pub(crate) fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn count_one(layer: &LayerDetector, tally: &mut Tally, exclude: Exclude, prompt: &[u32], tokens: &[u32]) -> Result<()> {
    match exclude {
        Exclude::Record => layer.add(tally, prompt, tokens)?,
        // All prompts are taken out at the end.
        Exclude::Run => layer.add_excluding(tally, &layer.pair_set(), prompt, tokens, |_, _| ())?,
    }
    Ok(())
}
