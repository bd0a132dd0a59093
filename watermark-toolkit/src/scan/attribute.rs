//! A scan of records that are in memory. They are tested in the same way as records of files.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::{LayerDetector, Sums, check_level};

use super::Marks;
use super::counts::Counts;
use super::finish::{Layers, keys_scored};
use super::hits::{Hit, hits};
use super::result::{LayerResult, Summary, SummaryParts, findings, text_tests};
use super::score::{RESAMPLED_TOKENS, fresh, prepare, sums_under, texts};
use super::tokenise::tokenise;
use crate::read::{Record, Select};

/// Results of a scan of records in memory.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// What `result.json` would hold.
    pub summary: Summary,
    /// Marked texts, strongest first; they have no file.
    pub hits: Vec<Hit>,
    /// The first records that cannot be used: number of the record, counted from 1, and the reason.
    pub unusable: Vec<(u64, String)>,
}

/// Tests records under every key: the findings and texts of a [`super::scan`] of a file with these records.
///
/// Null hypothesis of every test: the records are independent of the key. Verdicts are Holm's over keys and layers at `alpha`.
/// Calls `progress` with the number of keys done, layer by layer, from several threads; an error of it ends the work.
///
/// # Errors
/// If `alpha` is no level, or a statistic leaves the domain of the exact tails. Those of `progress`.
pub fn attribute(
    records: Vec<Record>,
    marks: &Marks<'_>,
    alpha: f64,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Attributed> {
    check_level(alpha)?;
    let Marks { profiles, keys } = *marks;
    let (mut counts, mut skipped) = (Counts::default(), Vec::new());
    for record in records.iter().filter(|record| record.location.part() <= 1) {
        counts.records += 1;
        *counts.schemas.entry(record.schema.to_owned()).or_default() += 1;
    }
    let table = tokenise(records, profiles, &mut counts, &mut skipped)?;
    let layers = Layers::new(profiles, keys);
    let mut results = Vec::new();
    for (layer, &inputs) in layers.layers.iter().zip(&layers.inputs) {
        let mut collected = Vec::new();
        let positions = inputs.walk(&table, |_, _, distinct| {
            collected.extend_from_slice(distinct);
            Ok(())
        })?;
        collected.sort_unstable();
        let keep = counts.ids.get(inputs.slot).is_some_and(|ids| ids.tokens <= RESAMPLED_TOKENS);
        collected.dedup();
        let prepared = prepare(inputs, &collected);
        let under = |key: &LayerDetector| -> Result<Sums> {
            let sums = sums_under(key, &prepared)?;
            progress(1)?;
            Ok(sums)
        };
        let sums = layer.detectors.par_iter().map(under).collect::<Result<_>>()?;
        let fresh = if keep { fresh(inputs, &collected)? } else { Vec::new() };
        results.push(LayerResult { positions, distinct: collected.len() as u64, sums, fresh });
    }
    let findings = findings(profiles, keys, &results, alpha)?;
    let tested = layers.few(keys).unwrap_or_else(|| layers.detected(&findings.lines));
    let candidates = texts(&table, layers.layers, &layers.inputs, &tested)?.candidates;
    let candidates = candidates.into_iter().map(|candidate| (0, candidate)).collect();
    let hits = hits::<&str>(candidates, text_tests(&counts, keys), &[], profiles, keys)?;
    let summary = Summary::new(SummaryParts {
        profiles,
        keys,
        select: &Select::default(),
        alpha,
        counts,
        unread_inputs: 0,
        layers: &results,
        findings,
        hits: hits.len() as u64,
        keys_scored: keys_scored(layers.layers, &tested),
    });
    let hits = hits.into_iter().map(|(_, hit)| hit).collect();
    let unusable = skipped.into_iter().map(|skipped| (skipped.record, skipped.reason)).collect();
    Ok(Attributed { summary, hits, unusable })
}
