//! A scan in stages, for engines that spread batches over machines and shuffle between the stages.
//!
//! What crosses the boundary is an Arrow IPC stream, so that no version of Arrow is part of the interface:
//!
//! 1. [`Stages::read`]: records as JSON -> tables of token ids, and counts ([`BatchCounts::counts`]).
//! 2. [`Stages::pairs`]: tables -> the PRF inputs of each text as two 64-bit numbers. The engine drops duplicates: exactly, since
//!    they are the inputs themselves, mixed by a bijection that only who has the keys knows.
//! 3. [`Summing::add`]: distinct inputs -> sums under every key, as limbs of 32 bits that the engine can add.
//! 4. [`Stages::conclude`]: the tests. [`Stages::texts`]: tables -> texts that may be marked under the keys that matter.
//!    [`Conclusion::finish`]: `result.json`, the same bytes as those of a [`super::scan`] over the same records.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use watermark_core::detect::{LayerDetector, Sums, check_level};

use super::counts::Counts;
use super::distinct::Positions;
use super::finish::{Layers, keys_scored};
use super::hits::{Hit, hits};
use super::keys::Keys;
use super::profiles::Profiles;
use super::result::{Findings, LayerResult, Summary, SummaryParts, findings, text_tests};
use super::score::{Candidate, KeysPerLayer, RESAMPLED_TOKENS, fresh, texts};
use super::table::Table;
use super::tokenise::{count_bad, tokenise};
use crate::read::{InputFormat, Limits, Select, guard, records_of};

/// The profiles, keys and formats that every stage needs.
pub struct Stages {
    profiles: Profiles,
    keys: Keys,
    select: Select,
    format: InputFormat,
}

/// Counts of all batches that were read with it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct BatchCounts {
    counts: Counts,
    /// [layer]
    positions: Vec<Positions>,
}

impl BatchCounts {
    /// The counts as JSON. [`Stages::conclude`] needs those of all machines.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn counts(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.add_positions(&other.positions);
    }

    fn add_positions(&mut self, positions: &[Positions]) {
        self.positions.resize(self.positions.len().max(positions.len()), Positions::default());
        self.positions.iter_mut().zip(positions).for_each(|(to, from)| to.add(*from));
    }
}

/// Sums of all distinct inputs that were added to it.
#[derive(Debug)]
pub struct Summing {
    /// [layer][key]
    sums: Vec<Vec<Sums>>,
}

/// The tests of the run as a whole, before its texts are scored.
pub struct Conclusion {
    counts: Counts,
    layers: Vec<LayerResult>,
    findings: Findings,
    tested: KeysPerLayer,
    alpha: f64,
}

impl Stages {
    /// For records whose generated side is text, or with [`InputFormat::Tokens`] token ids.
    #[must_use]
    pub fn new(profiles: Profiles, keys: Keys, select: Select, format: InputFormat) -> Self {
        Self { profiles, keys, select, format }
    }

    /// Reads records: columns `record` (a JSON object as bytes, which need not be UTF-8) and `id` (text or null; in place of the record's own). Gives
    /// one row for each record that has texts.
    ///
    /// # Errors
    /// If the batches are not of such columns.
    pub fn read(&self, batches: &[u8], read: &mut BatchCounts) -> Result<Vec<u8>> {
        let layers = Layers::new(&self.profiles, &self.keys);
        let mut tables = Vec::new();
        for batch in decode(batches)? {
            let lines =
                column(&batch, "record")?.as_binary_opt::<i32>().context("column \"record\" is not of bytes")?;
            let ids = text(&batch, "id")?;
            let (mut records, mut skipped) = (Vec::new(), Vec::new());
            for row in (0..batch.num_rows()).filter(|&row| lines.is_valid(row)) {
                let line = lines.value(row);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let counts = &mut read.counts;
                counts.records += 1;
                match records_of(line, row as u64 + 1, self.format, &self.select, Limits::default()) {
                    Ok(mut texts) => {
                        if let Some(first) = texts.first() {
                            *counts.schemas.entry(first.schema.to_owned()).or_default() += 1;
                        }
                        if ids.is_valid(row) {
                            texts.iter_mut().for_each(|text| text.id = Some(ids.value(row).to_owned()));
                        }
                        records.append(&mut texts);
                    }
                    Err(bad) => count_bad(counts, &mut skipped, &bad),
                }
            }
            let table = tokenise(records, &self.profiles, &mut read.counts, &mut skipped)?;
            let positions = layers.inputs.iter().map(|inputs| inputs.walk(&table, |_, _, _| Ok(())));
            read.add_positions(&positions.collect::<Result<Vec<_>>>()?);
            tables.push(table.batch().clone());
        }
        encode(&super::table::schema(), &tables)
    }

    /// The distinct PRF inputs of every text: `layer`, `hi` and `lo`.
    ///
    /// # Errors
    /// If the batches are not what [`Self::read`] gives.
    pub fn pairs(&self, tables: &[u8]) -> Result<Vec<u8>> {
        let layers = Layers::new(&self.profiles, &self.keys);
        let (mut of_layer, mut hi, mut lo) = (Vec::new(), Vec::new(), Vec::new());
        for batch in decode(tables)? {
            let table = Table::new(batch)?;
            for (number, inputs) in (0_i32..).zip(&layers.inputs) {
                inputs.walk(&table, |_, _, distinct| {
                    for mixed in distinct {
                        of_layer.push(number);
                        let bytes = mixed.to_le_bytes();
                        let [low, high] = [0, 8].map(|at| i64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
                        hi.push(high);
                        lo.push(low);
                    }
                    Ok(())
                })?;
            }
        }
        let columns: [(&str, ArrayRef); 3] = [
            ("layer", Arc::new(Int32Array::from(of_layer))),
            ("hi", Arc::new(Int64Array::from(hi))),
            ("lo", Arc::new(Int64Array::from(lo))),
        ];
        let batch = RecordBatch::try_from_iter(columns)?;
        encode(&batch.schema(), std::slice::from_ref(&batch))
    }

    /// No inputs yet.
    #[must_use]
    pub fn summing(&self) -> Summing {
        Summing { sums: self.keys.layers().iter().map(|layer| vec![Sums::default(); layer.keys.len()]).collect() }
    }

    /// Layers that are scored under fresh keys too: their distinct inputs go into [`Self::conclude`].
    ///
    /// # Errors
    /// If a text is not what [`BatchCounts::counts`] gives.
    pub fn to_resample<S: AsRef<str>>(&self, counts: &[S]) -> Result<Vec<usize>> {
        let counts = total(counts)?.counts;
        Ok((0..self.keys.layers().len()).filter(|&layer| self.tokens(&counts, layer) <= RESAMPLED_TOKENS).collect())
    }

    fn tokens(&self, counts: &Counts, layer: usize) -> u64 {
        let slot = self.profiles.slot(self.keys.layers()[layer].profile);
        counts.ids.get(slot).map_or(0, |ids| ids.tokens)
    }

    /// Makes the tests from the counts of all readers, the sums of all inputs (columns of [`Summing::finish`], added up in any
    /// way) and the distinct inputs of the layers of [`Self::to_resample`].
    ///
    /// # Errors
    /// If they are not that, or contradict each other.
    pub fn conclude<S: AsRef<str>>(
        &self,
        counts: &[S],
        sums: &[u8],
        resampled: &[u8],
        alpha: f64,
    ) -> Result<Conclusion> {
        check_level(alpha)?;
        let BatchCounts { mut counts, positions } = total(counts)?;
        counts.ids.resize(self.profiles.slots(), Default::default());
        let mut summing = self.summing();
        for batch in decode(sums)? {
            summing.add_limbs(&batch)?;
        }
        let mut kept = vec![Vec::new(); self.keys.layers().len()];
        for batch in decode(resampled)? {
            for (layer, mixed) in inputs(&batch)? {
                kept.get_mut(layer).with_context(|| format!("no layer {layer}"))?.push(mixed);
            }
        }
        let layers = Layers::new(&self.profiles, &self.keys);
        let mut results = Vec::new();
        for (at, (sums, kept)) in summing.sums.into_iter().zip(kept).enumerate() {
            let positions = positions.get(at).copied().unwrap_or_default();
            let distinct = sums.first().map_or(0, |sums| sums.n);
            let keep = self.tokens(&counts, at) <= RESAMPLED_TOKENS;
            if distinct > positions.inputs || (keep && kept.len() as u64 != distinct) {
                bail!("layer {at}: {distinct} distinct inputs of {}, {} of them kept", positions.inputs, kept.len());
            }
            let fresh = if keep { fresh(layers.inputs[at], &kept)? } else { Vec::new() };
            results.push(LayerResult { positions, distinct, sums, fresh });
        }
        let findings = findings(&self.profiles, &self.keys, &results, alpha)?;
        let tested = layers.few(&self.keys).unwrap_or_else(|| layers.detected(&findings.lines));
        Ok(Conclusion { counts, layers: results, findings, tested, alpha })
    }

    /// The texts of tables that may be marked under the keys that `conclusion` has found to matter ([`Conclusion::tested`]).
    ///
    /// # Errors
    /// If the batches are not what [`Self::read`] gives.
    pub fn texts(&self, tables: &[u8], tested: &str) -> Result<Vec<u8>> {
        let tested: KeysPerLayer = serde_json::from_str(tested).context("the keys to test")?;
        let known = self.keys.layers();
        if tested.len() != known.len()
            || tested.iter().zip(known).any(|(keys, layer)| keys.iter().any(|&key| key >= layer.keys.len()))
        {
            bail!("the keys to test are not those of this scan");
        }
        let layers = Layers::new(&self.profiles, &self.keys);
        let mut candidates = Vec::new();
        for batch in decode(tables)? {
            candidates.extend(texts(&Table::new(batch)?, layers.layers, &layers.inputs, &tested)?.candidates);
        }
        let small = |field: fn(&Candidate) -> u64| -> Result<ArrayRef> {
            let numbers = candidates.iter().map(|candidate| i64::try_from(field(candidate)));
            Ok(Arc::new(Int64Array::from(numbers.collect::<Result<Vec<_>, _>>()?)))
        };
        let sums = candidates.iter().map(|candidate| {
            let Sums { n, sum, layer_ones } = &candidate.sums;
            let ones: String = layer_ones.iter().map(|ones| format!(" {ones}")).collect();
            Some(format!("{n} {sum}{ones}"))
        });
        let ids = candidates.iter().map(|candidate| candidate.id.as_deref());
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("layer", small(|candidate| candidate.layer as u64)?, false),
            ("key", small(|candidate| candidate.key as u64)?, false),
            ("part", small(|candidate| candidate.part.into())?, false),
            ("id", Arc::new(ids.collect::<StringArray>()), true),
            ("sums", Arc::new(sums.collect::<StringArray>()), false),
        ])?;
        encode(&batch.schema(), std::slice::from_ref(&batch))
    }
}

impl Conclusion {
    /// The keys that texts are scored under, for [`Stages::texts`].
    ///
    /// # Errors
    /// Never, in practice.
    pub fn tested(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.tested)?)
    }

    /// Takes the candidates of all texts; gives the summary and the marked texts, strongest first. An engine's rows have no
    /// place, so only `id` and `part` say which text a hit is.
    ///
    /// # Errors
    /// If the batches are not what [`Stages::texts`] gives.
    pub fn finish(self, stages: &Stages, candidates: &[u8]) -> Result<(Summary, Vec<Hit>)> {
        let mut all = Vec::new();
        for batch in decode(candidates)? {
            let [layers, keys, parts] = [number(&batch, "layer")?, number(&batch, "key")?, number(&batch, "part")?];
            let [ids, sums] = [text(&batch, "id")?, text(&batch, "sums")?];
            for row in 0..batch.num_rows() {
                let (layer, key) = (usize::try_from(layers.value(row))?, usize::try_from(keys.value(row))?);
                if stages.keys.layers().get(layer).is_none_or(|layer| key >= layer.keys.len()) {
                    bail!("a candidate of no layer or key of this scan");
                }
                let candidate = Candidate {
                    layer,
                    key,
                    record: 0,
                    part: u32::try_from(parts.value(row))?,
                    id: ids.is_valid(row).then(|| ids.value(row).to_owned()),
                    bytes: None,
                    sums: parse_sums(sums.value(row)).context("sums of a candidate")?,
                };
                all.push((0, candidate));
            }
        }
        let (profiles, keys) = (&stages.profiles, &stages.keys);
        all.sort_by(|(_, a), (_, b)| (&a.id, a.part).cmp(&(&b.id, b.part)));
        let hits = hits::<&str>(all, text_tests(&self.counts, keys), &[], profiles, keys)?;
        let summary = Summary::new(SummaryParts {
            profiles,
            keys,
            select: &stages.select,
            alpha: self.alpha,
            counts: self.counts,
            unread_inputs: 0,
            layers: &self.layers,
            findings: self.findings,
            hits: hits.len() as u64,
            keys_scored: keys_scored(keys.layers(), &self.tested),
        });
        Ok((summary, hits.into_iter().map(|(_, hit)| hit).collect()))
    }
}

/// Bits of a limb: 2^31 of them can be added in a signed 64-bit number.
const LIMB: u32 = 32;

impl Summing {
    /// Scores inputs that occur nowhere else: columns `layer`, `hi` and `lo`.
    ///
    /// # Errors
    /// If the batches are not of such columns.
    pub fn add(&mut self, stages: &Stages, pairs: &[u8]) -> Result<()> {
        let layers = Layers::new(&stages.profiles, &stages.keys);
        for batch in decode(pairs)? {
            let mut mixed = vec![Vec::new(); layers.layers.len()];
            for (layer, number) in inputs(&batch)? {
                mixed.get_mut(layer).with_context(|| format!("no layer {layer}"))?.push(number);
            }
            for (((layer, inputs), mixed), sums) in
                layers.layers.iter().zip(&layers.inputs).zip(mixed).zip(&mut self.sums)
            {
                let prepared = inputs.prepare(&mixed);
                let score = |(sums, key): (&mut Sums, &LayerDetector)| -> Result<()> {
                    sums.merge(&key.sums(&prepared)?);
                    Ok(())
                };
                sums.iter_mut().zip(&layer.detectors).try_for_each(score)?;
            }
        }
        Ok(())
    }

    /// Rows of `layer`, `key`, `component` and four limbs. Rows of the same first three may be added, column by column.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn finish(&self) -> Result<Vec<u8>> {
        let mut columns: [Vec<i64>; 7] = Default::default();
        for (layer, of_layer) in self.sums.iter().enumerate() {
            for (key, sums) in of_layer.iter().enumerate().filter(|(_, sums)| sums.n > 0) {
                let ones = sums.layer_ones.iter().map(|&ones| u128::from(ones));
                for (component, number) in [u128::from(sums.n), sums.sum].into_iter().chain(ones).enumerate() {
                    let limbs = (0..4).map(|limb| number >> (LIMB * limb) & u128::from(u32::MAX));
                    let row = [layer, key, component].into_iter().map(|n| n as u128).chain(limbs);
                    for (column, number) in columns.iter_mut().zip(row) {
                        column.push(i64::try_from(number)?);
                    }
                }
            }
        }
        let columns = SUM_COLUMNS.into_iter().zip(columns);
        let batch = RecordBatch::try_from_iter(
            columns.map(|(name, column)| (name, Arc::new(Int64Array::from(column)) as ArrayRef)),
        )?;
        encode(&batch.schema(), std::slice::from_ref(&batch))
    }

    fn add_limbs(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = SUM_COLUMNS.map(|name| number(batch, name));
        let columns = columns.into_iter().collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let at = |column: usize| usize::try_from(columns[column].value(row));
            let (layer, key, component) = (at(0)?, at(1)?, at(2)?);
            let mut number = 0_u128;
            for limb in (0..4).rev() {
                let limb = u128::try_from(columns[3 + limb].value(row))?;
                number =
                    number.checked_mul(1 << LIMB).and_then(|n| n.checked_add(limb)).context("sums beyond 128 bits")?;
            }
            let sums = self.sums.get_mut(layer).and_then(|sums| sums.get_mut(key));
            let sums = sums.with_context(|| format!("no key {key} of layer {layer}"))?;
            match component {
                0 => sums.n += u64::try_from(number)?,
                1 => sums.sum = sums.sum.checked_add(number).context("sums beyond 128 bits")?,
                // A tournament has at most 30 layers.
                2..=63 => {
                    sums.layer_ones.resize(sums.layer_ones.len().max(component - 1), 0);
                    sums.layer_ones[component - 2] += u64::try_from(number)?;
                }
                _ => bail!("no component {component} of a sum"),
            }
        }
        Ok(())
    }
}

const SUM_COLUMNS: [&str; 7] = ["layer", "key", "component", "limb_0", "limb_1", "limb_2", "limb_3"];

fn parse_sums(text: &str) -> Result<Sums> {
    let mut numbers = text.split(' ');
    let mut next = || numbers.next().context("too few numbers");
    let (n, sum) = (next()?.parse()?, next()?.parse()?);
    Ok(Sums { n, sum, layer_ones: numbers.map(str::parse).collect::<Result<_, _>>()? })
}

fn total<S: AsRef<str>>(counts: &[S]) -> Result<BatchCounts> {
    let mut total = BatchCounts::default();
    for text in counts {
        total.add(&serde_json::from_str(text.as_ref()).context("counts of a reader")?);
    }
    Ok(total)
}

/// Layer and mixed input of every row.
fn inputs(batch: &RecordBatch) -> Result<Vec<(usize, u128)>> {
    let layers =
        column(batch, "layer")?.as_primitive_opt::<Int32Type>().context("column layer is not of 32-bit integers")?;
    let [hi, lo] = [number(batch, "hi")?, number(batch, "lo")?];
    let rows = layers.values().iter().zip(hi.values()).zip(lo.values());
    rows.map(|((&layer, hi), lo)| {
        let number =
            u128::from(u64::from_le_bytes(hi.to_le_bytes())) << 64 | u128::from(u64::from_le_bytes(lo.to_le_bytes()));
        Ok((usize::try_from(layer)?, number))
    })
    .collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("no column {name:?}"))
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(batch, name)?.as_string_opt().with_context(|| format!("column {name:?} is not of text"))
}

fn number<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    column(batch, name)?
        .as_primitive_opt::<Int64Type>()
        .with_context(|| format!("column {name:?} is not of 64-bit integers"))
}

/// The batches of a stream from an engine that runs on our side; what contradicts itself is an error all the same.
fn decode(stream: &[u8]) -> Result<Vec<RecordBatch>> {
    let read = || StreamReader::try_new(Cursor::new(stream), None).and_then(Iterator::collect::<Result<_, _>>);
    let batches = guard::panics(read).map_err(|()| anyhow!("its contents contradict each other"));
    batches.and_then(|batches| Ok(batches?)).context("an Arrow IPC stream")
}

fn encode(schema: &arrow_schema::Schema, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    Ok(writer.into_inner()?)
}
