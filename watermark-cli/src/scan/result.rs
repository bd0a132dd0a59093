//! What a scan leaves behind.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use watermark_core::detect::{Resampling, Sums, Test, Verdict, decide};

use super::Keys;
use super::distinct::Positions;
use super::folder::{InputFile, Manifest};
use super::score::{FALSE_DISCOVERY_RATE, Hit};
use super::shard::{Counts, Shard};
use crate::detect::Effect;

/// `result.json`. Nothing in it depends on time, machine, threads, memory, shards or the order of the inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Format of this file.
    pub scan: &'static str,
    /// Identity of the profile's bytes.
    pub profile_sha256: String,
    /// Identity of the tokenizer's bytes; null where ids were read.
    pub tokenizer_sha256: Option<String>,
    /// Number of keys.
    pub keys: usize,
    /// As given: `--input-format`, `--field`, `--role`.
    pub input_format: String,
    /// JSON pointer to the generated text, if the default was not used.
    pub field: Option<String>,
    /// Role that counts as generated, if not the assistant's.
    pub role: Option<String>,
    /// What was read, over all inputs.
    pub totals: Totals,
    /// What was read from each input.
    pub inputs: Vec<InputLine>,
    /// Where each generated position went, by layer.
    pub positions: Vec<PositionsLine>,
    /// One test per key and layer.
    pub findings: Vec<FindingLine>,
    /// What the family of these tests consists of.
    pub family: String,
    /// Number of tests in it.
    pub family_size: usize,
    /// Family-wise level of the verdicts.
    pub alpha: f64,
    /// Tests of single texts.
    pub hits: HitsLine,
    /// What a detection does not say.
    pub does_not_show: &'static str,
}

/// Counts over all inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Files.
    pub inputs: usize,
    /// Files that could not be read to their end.
    pub unread_inputs: usize,
    /// Bytes of files.
    pub bytes: u64,
    /// Lines, array elements or rows, bad ones among them.
    pub records: u64,
    /// Records that could not be used, by kind.
    pub bad_records: BTreeMap<String, u64>,
    /// Generated texts: a conversation has several, a record without any usable one none.
    pub texts: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub tokens: u64,
}

/// Counts of one input.
#[derive(Clone, Debug, Serialize)]
pub struct InputLine {
    /// The file.
    #[serde(flatten)]
    file: InputFile,
    /// Lines, array elements or rows.
    records: u64,
    /// Those that could not be used.
    bad_records: u64,
    /// How many records were read from which fields.
    schemas: BTreeMap<String, u64>,
    /// Generated texts.
    texts: u64,
    /// Generated tokens.
    tokens: u64,
    /// Hits among the texts.
    hits: u64,
    /// Why it was not read to its end.
    error: Option<String>,
}

impl Summary {
    /// Inputs that were not read to their end, each with the reason.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inputs.iter().filter_map(|input| Some((input.file.path.as_str(), input.error.as_deref()?)))
    }
}

impl InputLine {
    /// For a table: path, fields, records, bad records, texts, tokens, hits.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let schemas: Vec<&str> = self.schemas.keys().map(String::as_str).collect();
        let counts = [self.records, self.bad_records, self.texts, self.tokens, self.hits];
        let mut cells = vec![self.file.path.escape_debug().to_string(), schemas.join(", ")];
        cells.extend(counts.map(|n| n.to_string()));
        cells
    }
}

/// Every generated position of a layer; the last four add up to `tokens`.
#[derive(Clone, Debug, Serialize)]
pub struct PositionsLine {
    /// The layer's name.
    pub layer: String,
    /// Generated tokens.
    pub tokens: u64,
    /// Without a full context.
    pub short_context: u64,
    /// Special tokens and pairs of the record's own prompt.
    pub excluded: u64,
    /// Pairs that had occurred before.
    pub duplicate: u64,
    /// Distinct pairs.
    pub scored: u64,
}

/// The test of a key and layer over the whole run.
#[derive(Clone, Debug, Serialize)]
pub struct FindingLine {
    /// The key's file, or the account.
    pub key: String,
    /// The layer's name.
    pub layer: String,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Distinct PRF inputs.
    pub n_scored: u64,
    /// Green tokens, ones, or the score sum in units of 2^-32.
    pub statistic: String,
    /// log10 of the exact tail.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null for runs too large for that.
    pub log10_p_resampled: Option<f64>,
    /// After Holm's adjustment over keys and layers.
    pub verdict: &'static str,
    /// With `not_detected`: the smallest effect that would have been shown with a power of 80 %.
    pub smallest_effect: Option<Effect>,
}

/// The family of tests of single texts.
#[derive(Clone, Debug, Serialize)]
pub struct HitsLine {
    /// Texts that are marked.
    pub n: u64,
    /// Expected share of false ones among them, at most.
    pub false_discovery_rate: f64,
    /// How they were chosen.
    pub family: String,
    /// Keys under which texts were scored.
    pub keys_scored: usize,
}

/// A line of `hits.jsonl`, strongest first.
#[derive(Clone, Debug, Serialize)]
struct HitLine<'a> {
    key: &'a str,
    layer: &'a str,
    file: &'a str,
    /// Line, element or row, counted from 1.
    record: u64,
    /// Generated text among those of the record; 0 if there can be only one.
    part: u32,
    id: Option<&'a str>,
    /// The record's bytes after decompression.
    bytes: Option<(u64, u64)>,
    n_scored: u64,
    statistic: String,
    log10_p: f64,
    ln_e: f64,
}

#[derive(Clone, Debug, Serialize)]
struct SkippedLine<'a> {
    file: &'a str,
    record: u64,
    kind: &'a str,
    reason: &'a str,
}

/// Lines of `skipped.jsonl`.
const MAX_SKIPPED: usize = 1000;

/// One layer over the whole run.
pub(super) struct LayerResult {
    pub(super) positions: Positions,
    /// [key]
    pub(super) sums: Vec<Sums>,
    /// log10 p under fresh keys.
    pub(super) fresh: Vec<f64>,
}

/// The tests of keys and layers, by layer within key.
pub(super) fn findings(keys: &Keys, layers: &[LayerResult], alpha: f64) -> Result<Vec<FindingLine>> {
    let mut lines = Vec::with_capacity(keys.len() * layers.len());
    let mut tests = Vec::with_capacity(lines.capacity());
    let log10_level = alpha.log10() - (lines.capacity().max(1) as f64).log10();
    let mut detectors = Vec::with_capacity(lines.capacity());
    for key in 0..keys.len() {
        for ((of_layer, _), result) in keys.layers().zip(layers) {
            let detector = &of_layer[key];
            let sums = result.sums.get(key).cloned().unwrap_or_default();
            let log10_p = detector.sums_log10_p(&sums)?;
            let resampling =
                if sums.n == 0 { Resampling::default() } else { super::score::resampling(&result.fresh, log10_p) };
            tests.push(Test { n_scored: sums.n, log10_p, disagrees: resampling.disagrees_with(log10_p) });
            detectors.push(detector);
            lines.push(FindingLine {
                key: keys.name(key).to_owned(),
                layer: detector.name().unwrap_or_default().to_owned(),
                scheme: detector.scheme().name(),
                n_scored: sums.n,
                statistic: sums.sum.to_string(),
                log10_p,
                ln_e: detector.sums_ln_e(&sums)?,
                log10_p_resampled: resampling.log10_p(),
                verdict: "",
                smallest_effect: None,
            });
        }
    }
    // The same for every key of a layer, and not free.
    let mut effects: BTreeMap<String, Option<Effect>> = BTreeMap::new();
    for ((line, detector), verdict) in lines.iter_mut().zip(detectors).zip(decide(&tests, alpha)) {
        line.verdict = verdict.as_str();
        if verdict == Verdict::NotDetected {
            let effect = effects
                .entry(line.layer.clone())
                .or_insert_with(|| detector.smallest_effect(line.n_scored, log10_level).map(Effect::from));
            line.smallest_effect = *effect;
        }
    }
    Ok(lines)
}

/// What the parts of a scan have found.
pub(super) struct Found<'a> {
    pub(super) alpha: f64,
    pub(super) keys: &'a Keys,
    pub(super) shards: &'a [&'a Shard],
    pub(super) layers: &'a [LayerResult],
    pub(super) findings: Vec<FindingLine>,
    pub(super) hits: &'a [Hit],
    /// Keys under which single texts were scored.
    pub(super) keys_scored: usize,
}

/// Everything together, and the lines of `hits.jsonl` and `skipped.jsonl`.
pub(super) fn assemble(manifest: Manifest, found: Found<'_>) -> Result<(Summary, Vec<u8>, Vec<u8>)> {
    let Found { alpha, keys, shards, layers, findings, hits, keys_scored } = found;
    let mut inputs: Vec<(Counts, Option<String>)> = vec![Default::default(); manifest.inputs.len()];
    let mut total = Counts::default();
    let mut skipped = Vec::new();
    let mut skipped_lines = 0;
    for Shard { header, .. } in shards {
        let (counts, error) = &mut inputs[header.file];
        counts.add(&header.counts);
        total.add(&header.counts);
        *error = error.take().or_else(|| header.error.clone());
        for bad in header.skipped.iter().take(MAX_SKIPPED.saturating_sub(skipped_lines)) {
            skipped_lines += 1;
            let file = manifest.inputs[header.file].path.as_str();
            line(&mut skipped, &SkippedLine { file, record: bad.record, kind: &bad.kind, reason: &bad.reason })?;
        }
    }
    let names: Vec<String> = keys.layers().map(|(keys, _)| keys[0].name().unwrap_or_default().to_owned()).collect();
    let mut hit_lines = Vec::new();
    let mut hits_of = vec![0; inputs.len()];
    for hit in hits {
        hits_of[hit.file] += 1;
        let of_layer = keys.layers().nth(hit.layer).map_or(&[][..], |(of_layer, _)| of_layer);
        let log10_p = of_layer.get(hit.key).map_or(Ok(0.0), |detector| detector.sums_log10_p(&hit.sums))?;
        let origin = &hit.origin;
        let hit_line = HitLine {
            key: keys.name(hit.key),
            layer: &names[hit.layer],
            file: &manifest.inputs[hit.file].path,
            record: origin.record,
            part: origin.part,
            id: origin.id.as_deref(),
            bytes: origin.bytes,
            n_scored: hit.sums.n,
            statistic: hit.sums.sum.to_string(),
            log10_p,
            ln_e: hit.ln_e,
        };
        line(&mut hit_lines, &hit_line)?;
    }
    let positions = names.iter().zip(layers).map(|(name, layer)| {
        let Positions { left, inputs } = layer.positions;
        let scored = layer.sums.first().map_or(0, |sums| sums.n);
        PositionsLine {
            layer: name.clone(),
            tokens: total.tokens,
            short_context: left.short_context,
            excluded: left.excluded,
            duplicate: inputs - scored,
            scored,
        }
    });
    let positions = positions.collect();
    let bytes = manifest.inputs.iter().map(|input| input.bytes).sum();
    let unread_inputs = inputs.iter().filter(|(_, error)| error.is_some()).count();
    let families = (keys.len(), layers.len(), total.texts);
    let summary = Summary {
        scan: "watermark-scan-result/1",
        profile_sha256: manifest.profile_sha256,
        tokenizer_sha256: manifest.tokenizer_sha256,
        keys: keys.len(),
        input_format: manifest.input_format,
        field: manifest.field,
        role: manifest.role,
        totals: Totals {
            inputs: inputs.len(),
            unread_inputs,
            bytes,
            records: total.records,
            bad_records: total.bad_records,
            texts: total.texts,
            prompt_tokens: total.prompt_tokens,
            tokens: total.tokens,
        },
        inputs: manifest
            .inputs
            .into_iter()
            .zip(inputs)
            .zip(hits_of)
            .map(|((file, (counts, error)), hits)| InputLine {
                file,
                records: counts.records,
                bad_records: counts.bad(),
                schemas: counts.schemas,
                texts: counts.texts,
                tokens: counts.tokens,
                hits,
                error,
            })
            .collect(),
        positions,
        family_size: findings.len(),
        findings,
        family: format!("Holm over {} keys x {} layers", families.0, families.1),
        alpha,
        hits: HitsLine {
            n: hits.len() as u64,
            false_discovery_rate: FALSE_DISCOVERY_RATE,
            family: format!("e-BH over {} texts x {} layers x {} keys", families.2, families.1, families.0),
            keys_scored,
        },
        does_not_show: "Who copied the text, how, or why; whether a model was trained on it. A mark can be in public text, \
                        or be put there to frame somebody.",
    };
    Ok((summary, hit_lines, skipped))
}

fn line(to: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.push(b'\n');
    Ok(())
}
