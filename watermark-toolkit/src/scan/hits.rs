//! Texts that are marked: `hits.jsonl` and `hits.parquet`.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use watermark_core::stats::e_bh_among;

use super::keys::Keys;
use super::profiles::Profiles;
use super::score::{Candidate, FALSE_DISCOVERY_RATE};

/// A line of `hits.jsonl` and a row of `hits.parquet`, strongest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// The key's file, or the account.
    pub key: String,
    /// The profile's name.
    pub profile: String,
    /// The layer's name.
    pub layer: String,
    /// The input.
    pub file: String,
    /// Line, element or row, counted from 1.
    pub record: u64,
    /// Generated text among those of the record; 0 if there can be only one.
    pub part: u32,
    /// The record's own id.
    pub id: Option<String>,
    /// First byte of the record after decompression, and one past its last.
    pub bytes: Option<(u64, u64)>,
    /// Distinct PRF inputs of the text.
    pub n_scored: u64,
    /// As in [`super::FindingLine`].
    pub statistic: String,
    /// log10 of the exact tail of this text alone.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
}

/// The texts that are marked, at a false discovery rate of [`FALSE_DISCOVERY_RATE`] over `tests` texts times layers times
/// keys, by the e-BH procedure, which holds under any dependence (texts share inputs). Candidates come with the number of
/// their input among `files`.
///
/// The decisions are exact although most tests are left out. e-BH rejects no e-value below `1 / rate`, so leaving those
/// out changes no other decision. A key that was not detected counts with e-values of zero, which are no larger than
/// its own, so their mean stays at most one under the null hypothesis, for whatever reason the key was left out.
pub(super) fn hits<S: AsRef<str>>(
    candidates: Vec<(usize, Candidate)>,
    tests: u64,
    files: &[S],
    profiles: &Profiles,
    keys: &Keys,
) -> Result<Vec<(usize, Hit)>> {
    let detector = |candidate: &Candidate| &keys.layers()[candidate.layer].detectors[candidate.key];
    let ln_e = candidates.iter().map(|(_, candidate)| detector(candidate).sums_ln_e(&candidate.sums));
    let ln_e = ln_e.collect::<Result<Vec<f64>, _>>()?;
    let rejected = e_bh_among(&ln_e, tests, FALSE_DISCOVERY_RATE);
    let mut hits: Vec<_> = candidates.into_iter().zip(ln_e).zip(rejected).filter(|(_, hit)| *hit).collect();
    hits.sort_by(|((a, a_ln_e), _), ((b, b_ln_e), _)| {
        let place =
            |(file, c): &(usize, Candidate)| (*file, c.record, c.part, keys.layers()[c.layer].keys[c.key], c.layer);
        b_ln_e.total_cmp(a_ln_e).then_with(|| place(a).cmp(&place(b)))
    });
    let hits = hits.into_iter().map(|(((file, candidate), ln_e), _)| {
        let layer = &keys.layers()[candidate.layer];
        let hit = Hit {
            key: keys.name(layer.keys[candidate.key]).to_owned(),
            profile: profiles.files()[layer.profile].profile.name.clone(),
            layer: layer.name.clone(),
            file: files.get(file).map_or("", AsRef::as_ref).to_owned(),
            record: candidate.record,
            part: candidate.part,
            log10_p: detector(&candidate).sums_log10_p(&candidate.sums)?,
            id: candidate.id,
            bytes: candidate.bytes,
            n_scored: candidate.sums.n,
            statistic: candidate.sums.sum.to_string(),
            ln_e,
        };
        Ok((file, hit))
    });
    hits.collect()
}

pub(super) fn jsonl<'a, T: Serialize + 'a>(lines: impl Iterator<Item = &'a T>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// The same rows as a Parquet file, for tools that read tables. `start` and `end` stand for `bytes`.
pub(super) fn parquet<'a>(hits: impl Iterator<Item = &'a Hit>) -> Result<Vec<u8>> {
    let hits: Vec<&Hit> = hits.collect();
    let text = |field: fn(&Hit) -> Option<&str>| {
        Arc::new(hits.iter().map(|hit| field(hit)).collect::<StringArray>()) as ArrayRef
    };
    let number = |field: fn(&Hit) -> Option<u64>| {
        let numbers = hits.iter().map(|hit| field(hit).map(i64::try_from).transpose());
        Ok(Arc::new(numbers.collect::<Result<Int64Array, _>>()?) as ArrayRef)
    };
    let float = |field: fn(&Hit) -> f64| {
        Arc::new(hits.iter().map(|hit| Some(field(hit))).collect::<Float64Array>()) as ArrayRef
    };
    let number = |field| -> Result<ArrayRef> { number(field).map_err(|error: std::num::TryFromIntError| error.into()) };
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("key", text(|hit| Some(&hit.key)), false),
        ("profile", text(|hit| Some(&hit.profile)), false),
        ("layer", text(|hit| Some(&hit.layer)), false),
        ("file", text(|hit| Some(&hit.file)), false),
        ("record", number(|hit| Some(hit.record))?, false),
        ("part", number(|hit| Some(hit.part.into()))?, false),
        ("id", text(|hit| hit.id.as_deref()), true),
        ("start", number(|hit| hit.bytes.map(|(start, _)| start))?, true),
        ("end", number(|hit| hit.bytes.map(|(_, end)| end))?, true),
        ("n_scored", number(|hit| Some(hit.n_scored))?, false),
        ("statistic", text(|hit| Some(&hit.statistic)), false),
        ("log10_p", float(|hit| hit.log10_p), false),
        ("ln_e", float(|hit| hit.ln_e), false),
    ])?;
    let properties = WriterProperties::builder()
        .set_created_by("watermark".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}
