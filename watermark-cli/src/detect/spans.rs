use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use watermark_core::detect::{LayerDetector, Span};

/// A record kept until the size of the family is known.
pub(super) struct Kept {
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
    /// Always `detected`: other windows are not printed.
    pub verdict: &'static str,
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

/// Stretches of all records at family-wise level `alpha` over all their windows.
pub(super) fn locate(layers: &[LayerDetector], kept: &[Kept], alpha: f64) -> Result<Vec<SpanLine>> {
    let windows = |layer: &LayerDetector, record: &Kept| layer.count_windows(&record.prompt, &record.tokens);
    let counts =
        kept.par_iter().map(|record| layers.iter().map(|layer| Ok(windows(layer, record)?)).sum::<Result<u64>>());
    let family_size: u64 = counts.sum::<Result<u64>>()?;
    let family = format!("1 key x {} layers x {} records x their windows", layers.len(), kept.len());
    let lines = kept.par_iter().map(|record| {
        let mut lines = Vec::new();
        for layer in layers {
            let spans = layer.locate(&record.prompt, &record.tokens, family_size, alpha)?;
            lines.extend(spans.into_iter().map(|span| line(layer, record, span, &family, family_size)));
        }
        Ok(lines)
    });
    Ok(lines.collect::<Result<Vec<Vec<SpanLine>>>>()?.concat())
}

fn line(layer: &LayerDetector, record: &Kept, span: Span, family: &str, family_size: u64) -> SpanLine {
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
        verdict: "detected",
        family: family.to_owned(),
        family_size,
    }
}
