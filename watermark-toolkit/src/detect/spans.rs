use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use watermark_core::detect::{LayerDetector, PairSet, Resampling, Span, Verdict};

use super::{Detection, Exclude, plural};

/// A record that waits until all windows of the run are counted, because that is the size of the family.
pub(super) struct RecordTokens {
    pub(super) id: String,
    pub(super) prompt: Vec<u32>,
    pub(super) tokens: Vec<u32>,
    pub(super) offsets: Option<Vec<(usize, usize)>>,
}

/// One marked stretch of a record.
#[derive(Clone, Debug, Serialize)]
pub struct SpanLine {
    /// The record's id, or its file and line.
    pub record: String,
    /// The layer's name; null for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Estimated stretch.
    pub span: Stretch,
    /// The window that was tested.
    pub window: Stretch,
    /// Distinct PRF inputs in the window.
    pub n_scored: u64,
    /// log10 p of the window alone.
    pub log10_p: f64,
    /// log10 p adjusted for every window of every record and layer (Bonferroni).
    pub log10_p_adjusted: f64,
    /// log10 p of the window's pairs by fresh keys.
    pub log10_p_resampled: Option<f64>,
    /// `detected`, or `inconclusive` where fresh keys contradict the tail; other windows are not printed.
    pub verdict: Verdict,
    /// What the family consists of.
    pub family: String,
    /// Number of windows in the family.
    pub family_size: u64,
}

/// A stretch of the generated side: first, and one past the last.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stretch {
    /// In tokens.
    pub tokens: (usize, usize),
    /// In bytes of the text; null for token ids.
    pub bytes: Option<(usize, usize)>,
}

impl Detection<'_> {
    /// Stretches of all records, at the family-wise level over all their windows.
    pub(super) fn spans(&self, progress: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<Vec<SpanLine>> {
        let each = |record: &RecordTokens| -> Result<u64> {
            let windows = self.layers.iter().enumerate().map(|(at, layer)| {
                let exclude = self.excluded(at, record)?;
                Ok(layer.count_windows(&exclude, &record.prompt, &record.tokens)?)
            });
            windows.sum()
        };
        let family_size = self.kept.par_iter().map(each).sum::<Result<u64>>()?;
        let (layers, records) = (plural(self.layers.len(), "layer"), plural(self.kept.len(), "record"));
        let family = format!("1 key x {layers} x {records} x their windows");
        let mut lines = Vec::new();
        for record in &self.kept {
            for (at, layer) in self.layers.iter().enumerate() {
                progress(0)?;
                let exclude = self.excluded(at, record)?;
                let spans = layer.locate(&exclude, &record.prompt, &record.tokens, family_size, self.options.alpha)?;
                for span in spans {
                    let tally = layer.window_tally(&exclude, &record.prompt, &record.tokens, &span)?;
                    let resampling = self.resample(layer, &tally, span.log10_p, progress)?;
                    lines.push(line(layer, record, span, resampling, &family, family_size));
                }
            }
        }
        Ok(lines)
    }

    /// Pairs that do not count in a record.
    fn excluded(&self, layer: usize, record: &RecordTokens) -> Result<PairSet> {
        if self.options.exclude == Exclude::Run {
            return Ok(self.prompts[layer].clone());
        }
        let mut own = self.layers[layer].pair_set();
        self.layers[layer].add_prompt(&mut own, &record.prompt)?;
        Ok(own)
    }
}

fn line(
    layer: &LayerDetector,
    record: &RecordTokens,
    span: Span,
    resampling: Resampling,
    family: &str,
    family_size: u64,
) -> SpanLine {
    let stretch = |tokens: (usize, usize)| {
        let bytes = record.offsets.as_ref().and_then(|offsets| {
            let (first, last) = (offsets.get(tokens.0)?, offsets.get(tokens.1.checked_sub(1)?)?);
            Some((first.0, last.1))
        });
        Stretch { tokens, bytes }
    };
    SpanLine {
        record: record.id.clone(),
        layer: layer.name().map(str::to_owned),
        scheme: layer.scheme().name(),
        span: stretch(span.tokens),
        window: stretch(span.window),
        n_scored: span.n_scored,
        log10_p: span.log10_p,
        log10_p_adjusted: span.log10_p_adjusted,
        log10_p_resampled: resampling.log10_p(),
        verdict: span.verdict(&resampling),
        family: family.to_owned(),
        family_size,
    }
}
