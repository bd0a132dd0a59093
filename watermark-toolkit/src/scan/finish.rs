//! From shards to results.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::Serialize;
use watermark_core::detect::{LayerDetector, Sums, Verdict};

use super::counts::Counts;
use super::distinct::{Inputs, Mix, distinct};
use super::folder::{Folder, InputFile};
use super::hits::{Hit, hits, jsonl, parquet};
use super::keys::{Keys, Layer};
use super::plots;
use super::profiles::Profiles;
use super::reader::Shards;
use super::result::{FindingLine, LayerResult, Summary, SummaryParts, findings, text_tests};
use super::score::{KEYS_PER_TEXT, KeysPerLayer, RESAMPLED_TOKENS, Scoring, TextScores, fresh, less_excess, texts};
use super::shard::Shard;
use super::sources::{Source, SourceSums, rank, sources};
use super::{Finished, Marks, Phase, Progress, ScanEnd};
use crate::read::Select;

/// The layers of a scan, each with what turns token ids into its PRF inputs.
pub(super) struct Layers<'a> {
    pub(super) layers: &'a [Layer],
    pub(super) inputs: Vec<Inputs<'a>>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(profiles: &Profiles, keys: &'a Keys) -> Self {
        let mix = Mix::new(keys.fingerprint());
        let inputs = keys.layers().iter().map(|layer| Inputs {
            layer: &layer.detectors[0],
            packing: layer.packing,
            mix,
            slot: profiles.slot(layer.profile),
        });
        Self { layers: keys.layers(), inputs: inputs.collect() }
    }

    /// All keys, if they are few enough for every text to be scored under them.
    pub(super) fn few(&self, keys: &Keys) -> Option<KeysPerLayer> {
        (keys.len() <= KEYS_PER_TEXT).then(|| self.layers.iter().map(|layer| (0..layer.keys.len()).collect()).collect())
    }

    /// The keys that are detected in any layer.
    pub(super) fn detected(&self, findings: &[FindingLine]) -> KeysPerLayer {
        let detected: Vec<usize> =
            findings.iter().filter(|line| line.verdict == Verdict::Detected).map(|line| line.at.1).collect();
        let of_layer = |layer: &Layer| (0..layer.keys.len()).filter(|&at| detected.contains(&layer.keys[at])).collect();
        self.layers.iter().map(of_layer).collect()
    }
}

/// What computing the results needs.
pub(super) struct Finishing<'a> {
    pub(super) folder: &'a Folder,
    pub(super) marks: &'a Marks<'a>,
    pub(super) layers: Layers<'a>,
    pub(super) select: &'a Select,
    pub(super) alpha: f64,
    pub(super) memory: u64,
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

/// A line of `skipped.jsonl`.
#[derive(Serialize)]
struct SkippedLine<'a> {
    file: &'a str,
    record: u64,
    kind: &'a str,
    reason: &'a str,
}

/// The most lines of `skipped.jsonl`.
const MAX_SKIPPED: usize = 1000;

impl Finishing<'_> {
    /// Scores the shards and writes the results. `walked` holds the scores of the texts of those shards that were
    /// scored while they were read.
    pub(super) fn run(
        &self,
        inputs: Vec<InputFile>,
        shards: Shards,
        mut text_scores: HashMap<(usize, u32), TextScores>,
    ) -> Result<ScanEnd> {
        // A run that was killed may have left its spill file.
        match std::fs::remove_file(self.folder.file("spill")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("removing spill"),
            _ => {}
        }
        let shards: BTreeMap<(usize, u32), Shard> = shards.into_iter().collect();
        let shards: Vec<&Shard> = shards.values().collect();
        let (profiles, keys) = (self.marks.profiles, self.marks.keys);
        let mut counts = Counts::default();
        counts.ids.resize(profiles.slots(), Default::default());
        shards.iter().for_each(|shard| counts.add(&shard.header.counts));
        let report = |phase| {
            (self.progress)(Progress {
                phase,
                shards: shards.len() as u64,
                records: counts.records,
                tokens: counts.tokens(),
                bad_records: counts.bad(),
                ..Progress::default()
            });
            !self.stop.load(Ordering::Relaxed)
        };
        if !report(Phase::Scoring) {
            return Ok(ScanEnd::Stopped);
        }
        let few = self.layers.few(keys);
        let mut total = None;
        if let Some(few) = &few {
            self.walk(&shards, few, &mut text_scores)?;
            let mut sum = TextScores::default();
            text_scores.values().for_each(|of_shard| sum.add(of_shard));
            total = Some(sum.sums);
        }
        let mut results = Vec::new();
        for (at, layer) in self.layers.layers.iter().enumerate() {
            if !report(Phase::Scoring) {
                return Ok(ScanEnd::Stopped);
            }
            let of_texts = total.as_ref().map(|total| total.get(at).map_or(&[][..], Vec::as_slice));
            results.push(self.score(&shards, at, layer.detectors.iter().collect(), of_texts)?);
        }
        let findings = findings(profiles, keys, &results, self.alpha)?;
        let tested = few.unwrap_or_else(|| self.layers.detected(&findings.lines));
        if !report(Phase::Ranking) {
            return Ok(ScanEnd::Stopped);
        }
        if total.is_none() {
            self.walk(&shards, &tested, &mut text_scores)?;
        }
        let mut candidates = Vec::new();
        for shard in &shards {
            let of_shard = text_scores.get_mut(&(shard.header.file, shard.header.index));
            let of_shard = of_shard.map(|text_scores| std::mem::take(&mut text_scores.candidates)).unwrap_or_default();
            candidates.extend(of_shard.into_iter().map(|candidate| (shard.header.file, candidate)));
        }
        let files: Vec<&str> = inputs.iter().map(|input| input.path.as_str()).collect();
        let hits = hits(candidates, text_tests(&counts, keys), &files, profiles, keys)?;
        let skipped = skipped(&shards, &files)?;
        let mut sources = sources(inputs, &shards, &hits);
        if !report(Phase::Ranking) {
            return Ok(ScanEnd::Stopped);
        }
        let sums = self.sums_of_sources(&shards, &text_scores, &results, &tested, sources.len())?;
        rank(&mut sources, &sums, profiles, keys, &tested)?;
        let summary = Summary::new(SummaryParts {
            profiles,
            keys,
            select: self.select,
            alpha: self.alpha,
            unread_inputs: sources.iter().filter(|source| source.unread().is_some()).count(),
            counts,
            layers: &results,
            findings,
            hits: hits.len() as u64,
            keys_scored: keys_scored(self.layers.layers, &tested),
        });
        self.write(&summary, &sources, &hits, &skipped)?;
        Ok(ScanEnd::Finished(Box::new(Finished { summary, sources })))
    }

    /// `result.json` is written last, so a folder that has it holds a run that has ended.
    fn write(&self, summary: &Summary, sources: &[Source], hits: &[(usize, Hit)], skipped: &[u8]) -> Result<()> {
        plots::write(self.folder, summary, sources, hits)?;
        self.folder.write("hits.jsonl", &jsonl(hits.iter().map(|(_, hit)| hit))?)?;
        self.folder.write("hits.parquet", &parquet(hits.iter().map(|(_, hit)| hit))?)?;
        self.folder.write("skipped.jsonl", skipped)?;
        self.folder.write("sources.jsonl", &jsonl(sources.iter())?)?;
        self.folder.write("result.json", &summary.to_json()?)
    }

    /// Scores the texts of shards that were not scored yet.
    fn walk(
        &self,
        shards: &[&Shard],
        tested: &KeysPerLayer,
        text_scores: &mut HashMap<(usize, u32), TextScores>,
    ) -> Result<()> {
        let place = |shard: &Shard| (shard.header.file, shard.header.index);
        let todo: Vec<&&Shard> = shards.iter().filter(|shard| !text_scores.contains_key(&place(shard))).collect();
        let score = |shard: &&&Shard| {
            let of_shard = texts(&shard.table()?, self.layers.layers, &self.layers.inputs, tested)?;
            Ok((place(shard), of_shard))
        };
        text_scores.extend(todo.par_iter().map(score).collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    /// Sums of the distinct inputs of some shards. `of_texts` are the sums over their texts, if they are known.
    fn score(
        &self,
        shards: &[&Shard],
        layer: usize,
        keys: Vec<&LayerDetector>,
        of_texts: Option<&[Sums]>,
    ) -> Result<LayerResult> {
        let inputs = self.layers.inputs[layer];
        let tokens: u64 =
            shards.iter().filter_map(|shard| shard.header.counts.ids.get(inputs.slot)).map(|ids| ids.tokens).sum();
        let keep = tokens <= RESAMPLED_TOKENS;
        let scoring = Scoring { inputs, keys, excess: of_texts.is_some() && !keep, keep };
        let (positions, made) = distinct(shards, inputs, self.memory, &self.folder.file("spill"), &scoring)?;
        let made = made.unwrap_or_default();
        let sums = match of_texts {
            Some(of_texts) if scoring.excess => less_excess(of_texts, &made.sums)?,
            _ => made.sums,
        };
        let fresh = if keep { fresh(inputs, &made.kept)? } else { Vec::new() };
        Ok(LayerResult { positions, distinct: made.distinct, sums, fresh })
    }

    /// Sums of the distinct inputs of every source by itself.
    fn sums_of_sources(
        &self,
        shards: &[&Shard],
        text_scores: &HashMap<(usize, u32), TextScores>,
        results: &[LayerResult],
        tested: &KeysPerLayer,
        sources: usize,
    ) -> Result<Vec<SourceSums>> {
        if sources == 1 {
            let of_layer = |(result, tested): (&LayerResult, &Vec<usize>)| {
                tested.iter().map(|&key| result.sums.get(key).cloned().unwrap_or_default()).collect()
            };
            return Ok(vec![results.iter().zip(tested).map(of_layer).collect()]);
        }
        let mut all = vec![SourceSums::new(); sources];
        for of_source in shards.chunk_by(|a, b| a.header.file == b.header.file) {
            let mut texts = TextScores::default();
            for shard in of_source {
                if let Some(text_scores) = text_scores.get(&(shard.header.file, shard.header.index)) {
                    texts.add(text_scores);
                }
            }
            let sums = texts.sums.iter().zip(tested).enumerate().map(|(layer, (of_texts, tested))| {
                if tested.is_empty() {
                    return Ok(Vec::new());
                }
                let inputs = self.layers.inputs[layer];
                let keys = tested.iter().map(|&key| &self.layers.layers[layer].detectors[key]).collect();
                let scoring = Scoring { inputs, keys, excess: true, keep: false };
                let (_, made) = distinct(of_source, inputs, self.memory, &self.folder.file("spill"), &scoring)?;
                less_excess(of_texts, &made.unwrap_or_default().sums)
            });
            all[of_source[0].header.file] = sums.collect::<Result<_>>()?;
        }
        Ok(all)
    }
}

/// How many different keys are tested in any layer.
pub(super) fn keys_scored(layers: &[Layer], tested: &KeysPerLayer) -> usize {
    let mut keys: Vec<usize> =
        layers.iter().zip(tested).flat_map(|(layer, tested)| tested.iter().map(|&at| layer.keys[at])).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn skipped(shards: &[&Shard], files: &[&str]) -> Result<Vec<u8>> {
    let lines = shards.iter().flat_map(|shard| shard.header.skipped.iter().map(|bad| (shard.header.file, bad)));
    let lines: Vec<SkippedLine<'_>> = lines
        .take(MAX_SKIPPED)
        .map(|(file, bad)| SkippedLine { file: files[file], record: bad.record, kind: &bad.kind, reason: &bad.reason })
        .collect();
    jsonl(lines.iter())
}
