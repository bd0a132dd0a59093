//! Detection over records beside references: what a text does beyond what unmarked models expect of it.
//!
//! In text of low entropy any model would have written most of the tokens, and they say nothing about a mark; the plain test counts
//! them like the others. Here a pair weighs what it was written more or less often than expected
//! ([`watermark_core::model_test::TwoSamples`]), so certain tokens weigh next to nothing and likely ones that were not written speak against
//! a mark. The weights follow from text and references, so p holds as long as neither was chosen with the key.

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use watermark_core::detect::{LayerDetector, Resampling, Weights};
use watermark_core::model_test::{Access, MAX_REFERENCES, ModelSample};

use crate::detect::{LayerFinding, Options, Report, lines, plural, pooled_lines, resample_beside};
use crate::ids::{Ids, Vocabulary};
use crate::model_test::{Item, Material, Reference, beside, check_references};
use crate::read::Record;

/// Records that wait to be tested beside references: what is expected of a text needs all of it.
pub struct Beside<'a> {
    layers: &'a [LayerDetector],
    vocabulary: Vocabulary<'a>,
    references: &'a [Reference],
    options: Options,
    texts: Material,
    ids: Vec<String>,
}

impl<'a> Beside<'a> {
    /// Starts with no record.
    ///
    /// # Errors
    /// For options that such a test does not have: places, other weights; for another number of references than 1 to 16, and for a layer
    /// without such a test.
    pub fn new(
        layers: &'a [LayerDetector],
        vocabulary: Vocabulary<'a>,
        references: &'a [Reference],
        options: Options,
    ) -> Result<Self> {
        if options.locate || options.weights != Weights::None {
            bail!(
                "beside references a text is tested as a whole and by what lies beyond them: leave --locate and --weights out"
            );
        }
        let n = references.len();
        ensure!(
            (1..=MAX_REFERENCES).contains(&n),
            "{n} references; between 1 and {MAX_REFERENCES} can stand beside a text"
        );
        for layer in layers {
            let name = layer.name().unwrap_or_else(|| layer.scheme().name());
            let none = || ModelSample::of_answers(layer);
            let tested = none().beside(&[none()]).and_then(|samples| samples.test(layer));
            tested.with_context(|| format!("layer {name:?}"))?;
        }
        let texts = Material { name: "the input".to_owned(), rounds: vec![Vec::new()], ..Material::default() };
        Ok(Self { layers, vocabulary, references, options, texts, ids: Vec::new() })
    }

    /// Adds a batch of records, tokenising in parallel. One result per record: an error is a record that could not be used, which is also
    /// one along which a reference has no probabilities, and one that goes on with a conversation. What came before it would be its prompt, and
    /// so keep earlier texts from counting.
    pub fn add(&mut self, batch: &[Record]) -> Vec<Result<()>> {
        let item = |record: &Record| -> Result<Item> {
            ensure!(
                !record.continues,
                "it goes on with a conversation; beside references every text stands after its own prompt alone, so give single turns"
            );
            let Ids { prompt, tokens, .. } = self.vocabulary.ids(&record.body, false)?;
            let item = Item { prompt, tokens, ..Item::default() };
            self.references.iter().try_for_each(|reference| reference.check_covers(&item))?;
            Ok(item)
        };
        let items: Vec<Result<Item>> = batch.par_iter().map(item).collect();
        let mut keep = |(record, item): (&Record, Result<Item>)| {
            self.texts.rounds[0].push(item?);
            self.ids.push(record.id.clone().unwrap_or_else(|| record.location.to_string()));
            Ok(())
        };
        batch.iter().zip(items).map(&mut keep).collect()
    }

    /// Number of fresh keys that [`Self::report`] will draw, for a progress bar.
    #[must_use]
    pub fn fresh_keys(&self) -> u64 {
        self.layers.len() as u64 * u64::from(self.options.resample)
    }

    /// Tests all records together, and one by one where that was asked for. What any prompt of the records tested together holds does not
    /// count. `progress` as for [`crate::detect::Detection::report`].
    ///
    /// # Errors
    /// If most texts are also a reference's, or two references have the same bytes. Those of `progress`.
    pub fn report(self, progress: impl Fn(u64) -> Result<()> + Sync) -> Result<Report> {
        check_references(self.layers, Access::Answers, &self.texts, &[], self.references)?;
        let all: Vec<&Item> = self.texts.rounds.iter().flatten().collect();
        let whole = self.layers.iter().map(|layer| self.test(layer, None, &all, &progress));
        let (pooled, detected) = pooled_lines(whole.collect::<Result<_>>()?, Weights::Residual, self.options.alpha);
        let mut tested = Vec::new();
        if self.options.per_record {
            for (id, item) in self.ids.iter().zip(&all) {
                for layer in self.layers {
                    tested.push(self.test(layer, Some(id), &[item], &|_| progress(0))?);
                }
            }
        }
        let records = tested.len() / self.layers.len().max(1);
        let family = format!("1 key x {} x {}", plural(self.layers.len(), "layer"), plural(records, "record"));
        let (per_record, _) = lines(tested, Weights::Residual, self.options.alpha, &family);
        Ok(Report { pooled, per_record, spans: Vec::new(), detected })
    }

    fn test<'l>(
        &self,
        layer: &'l LayerDetector,
        record: Option<&String>,
        items: &[&Item],
        progress: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<LayerFinding<'l>> {
        let sample = beside(layer, Access::Answers, items, self.references, None)?;
        let (found, mixture) = (sample.test(layer)?, sample.mixture().to_vec());
        // As in the plain test, fresh keys are asked about all records together, and about single ones that a verdict can rest on.
        let resampling = if record.is_none() || found.log10_p <= self.options.alpha.log10() {
            resample_beside(layer, &[sample], |each| each[0], found.log10_p, self.options.resample, progress)?
        } else {
            Resampling::default()
        };
        let lines = self.references.iter().zip(mixture);
        let references = if record.is_none() {
            lines.map(|(reference, share)| reference.line(share, items.iter().copied())).collect()
        } else {
            Vec::new()
        };
        Ok(LayerFinding { record: record.cloned(), references, ..LayerFinding::new(layer, found, resampling) })
    }
}
