//! Inputs, each by itself: `sources.jsonl`.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use watermark_core::detect::Sums;
use watermark_core::stats::e_bh_among;

use super::counts::{Counts, IdCounts};
use super::folder::InputFile;
use super::hits::Hit;
use super::keys::Keys;
use super::profiles::Profiles;
use super::score::{FALSE_DISCOVERY_RATE, KeysPerLayer};
use super::shard::Shard;
use crate::visible::shown;

/// A line of `sources.jsonl`, strongest first, then by path.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    #[serde(flatten)]
    file: InputFile,
    records: u64,
    bad_records: u64,
    /// How many records were read from which fields.
    schemas: BTreeMap<String, u64>,
    /// Generated texts.
    texts: u64,
    /// Counts of ids, by tokenizer.
    ids: Vec<IdCounts>,
    /// Hits among the texts.
    hits: u64,
    /// Why it was not read to its end.
    error: Option<String>,
    /// Keys and layers under which the source as a whole is marked: e-BH over sources, keys and layers at a false discovery
    /// rate of 1 %.
    marks: Vec<Mark>,
}

/// A source under one key and layer.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    key: String,
    profile: String,
    layer: String,
    /// Distinct PRF inputs of the source.
    n_scored: u64,
    statistic: String,
    log10_p: f64,
    ln_e: f64,
}

impl Source {
    /// Path of a source that was not read to its end, and the reason.
    #[must_use]
    pub fn unread(&self) -> Option<(&str, &str)> {
        Some((self.file.path.as_str(), self.error.as_deref()?))
    }

    /// For a table: path, fields, records, bad records, texts, tokens, hits, ln e of the strongest mark.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let schemas: Vec<&str> = self.schemas.keys().map(String::as_str).collect();
        let tokens = self.ids.first().map_or(0, |ids| ids.tokens);
        let counts = [self.records, self.bad_records, self.texts, tokens, self.hits];
        let mut cells = vec![shown(&self.file.path), schemas.join(", ")];
        cells.extend(counts.map(|n| n.to_string()));
        cells.push(self.strongest().map_or_else(|| "-".to_owned(), |ln_e| format!("{ln_e:.1}")));
        cells
    }

    /// ln e of the strongest mark.
    #[must_use]
    pub fn strongest(&self) -> Option<f64> {
        self.marks.first().map(|mark| mark.ln_e)
    }

    /// Path of the source.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.file.path
    }

    /// Number of hits among its texts, and number of its texts.
    #[must_use]
    pub fn hits(&self) -> (u64, u64) {
        (self.hits, self.texts)
    }
}

/// The sources without their marks, in the order of `inputs`.
pub(super) fn sources(inputs: Vec<InputFile>, shards: &[&Shard], hits: &[(usize, Hit)]) -> Vec<Source> {
    let mut counts: Vec<(Counts, Option<String>)> = vec![Default::default(); inputs.len()];
    for Shard { header, .. } in shards {
        let (of_input, error) = &mut counts[header.file];
        of_input.add(&header.counts);
        *error = error.take().or_else(|| header.error.clone());
    }
    let mut sources: Vec<Source> = inputs
        .into_iter()
        .zip(counts)
        .map(|(file, (counts, error))| Source {
            file,
            records: counts.records,
            bad_records: counts.bad(),
            schemas: counts.schemas,
            texts: counts.texts,
            ids: counts.ids,
            hits: 0,
            error,
            marks: Vec::new(),
        })
        .collect();
    for (file, _) in hits {
        sources[*file].hits += 1;
    }
    sources
}

/// Sums of distinct inputs of a source: [layer][tested key].
pub(super) type SourceSums = Vec<Vec<Sums>>;

/// Adds the marks, and puts the strongest first.
pub(super) fn rank(
    sources: &mut [Source],
    sums: &[SourceSums],
    profiles: &Profiles,
    keys: &Keys,
    tested: &KeysPerLayer,
) -> Result<()> {
    let mut candidates = Vec::new();
    for (source, of_source) in sums.iter().enumerate() {
        for ((layer, of_layer), (tested, sums)) in keys.layers().iter().enumerate().zip(tested.iter().zip(of_source)) {
            for (&key, sums) in tested.iter().zip(sums) {
                let ln_e = of_layer.detectors[key].sums_ln_e(sums)?;
                if ln_e >= -FALSE_DISCOVERY_RATE.ln() {
                    candidates.push((source, layer, key, sums, ln_e));
                }
            }
        }
    }
    let ln_e: Vec<f64> = candidates.iter().map(|candidate| candidate.4).collect();
    let tests = (sources.len() as u64).saturating_mul(keys.tests() as u64);
    let rejected = e_bh_among(&ln_e, tests, FALSE_DISCOVERY_RATE);
    for ((source, layer, key, sums, ln_e), _) in candidates.into_iter().zip(rejected).filter(|(_, marked)| *marked) {
        let of_layer = &keys.layers()[layer];
        sources[source].marks.push(Mark {
            key: keys.name(of_layer.keys[key]).to_owned(),
            profile: profiles.files()[of_layer.profile].profile.name.clone(),
            layer: of_layer.name.clone(),
            n_scored: sums.n,
            statistic: sums.sum.to_string(),
            log10_p: of_layer.detectors[key].sums_log10_p(sums)?,
            ln_e,
        });
    }
    for source in sources.iter_mut() {
        source.marks.sort_by(|a, b| b.ln_e.total_cmp(&a.ln_e));
    }
    sources.sort_by(|a, b| {
        let strength = |source: &Source| source.strongest().unwrap_or(f64::NEG_INFINITY);
        strength(b).total_cmp(&strength(a)).then_with(|| a.file.path.cmp(&b.file.path))
    });
    Ok(())
}
