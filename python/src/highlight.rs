//! A record with its marked stretches shown in it.

use std::fmt::Write;

use pyo3::prelude::*;
use watermark_toolkit::detect::SpanLine;
use watermark_toolkit::read::Body;

use crate::finding::Span;
use crate::html;

/// Characters of a record that a page shows.
const MOST_CHARACTERS: usize = 20_000;

/// One record and its marked stretches. A notebook shows the text, or the ids, with the stretches in colour, one tint per layer.
#[pyclass(frozen, module = "watermark_core")]
pub(crate) struct Highlight {
    /// The text, or ids with spaces between, cut into stretches.
    pieces: Vec<Piece>,
    spans: Vec<SpanLine>,
}

/// A stretch of the record, and the number of the strongest span over it.
struct Piece {
    text: String,
    span: Option<usize>,
}

impl Highlight {
    /// Of the generated side of a record and its spans.
    pub(crate) fn new(body: &Body, spans: Vec<SpanLine>) -> Self {
        let length = match body {
            Body::Text { text, .. } => text.len(),
            Body::Tokens { tokens, .. } => tokens.len(),
        };
        let range = |line: &SpanLine| match body {
            Body::Text { .. } => line.span.bytes,
            Body::Tokens { .. } => Some(line.span.tokens),
        };
        let ranges: Vec<(usize, (usize, usize))> =
            spans.iter().enumerate().filter_map(|(at, line)| Some((at, range(line)?))).collect();
        let mut bounds: Vec<usize> =
            ranges.iter().flat_map(|&(_, (from, to))| [from.min(length), to.min(length)]).collect();
        bounds.extend([0, length]);
        bounds.sort_unstable();
        bounds.dedup();
        let strength = |at: usize| spans[at].log10_p_adjusted;
        let piece = |window: &[usize]| {
            let (from, to) = (window[0], window[1]);
            let over = ranges.iter().filter(|(_, (first, last))| *first <= from && to <= *last).map(|(at, _)| *at);
            let text = match body {
                Body::Text { text, .. } => text.get(from..to).unwrap_or_default().to_owned(),
                Body::Tokens { tokens, .. } => {
                    tokens[from..to].iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + " "
                }
            };
            Piece { text, span: over.min_by(|&a, &b| strength(a).total_cmp(&strength(b))) }
        };
        let pieces = bounds.windows(2).map(piece).collect();
        Self { pieces, spans }
    }
}

#[pymethods]
impl Highlight {
    /// The marked stretches.
    #[getter]
    fn spans(&self) -> Vec<Span> {
        self.spans.iter().cloned().map(Span).collect()
    }

    fn _repr_html_(&self) -> String {
        let mut layers: Vec<&str> = self.spans.iter().map(layer_name).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut page = String::from("<div style=\"white-space:pre-wrap\">");
        let mut left = MOST_CHARACTERS;
        for piece in &self.pieces {
            let shown = html::escape(&piece.text, left);
            left = left.saturating_sub(piece.text.chars().count());
            match piece.span.map(|at| &self.spans[at]) {
                None => page.push_str(&shown),
                Some(line) => {
                    let at = layers.iter().position(|layer| *layer == layer_name(line)).unwrap_or(0);
                    // 47 degrees keep neighbouring layers apart.
                    let hue = (50 + 47 * at) % 360;
                    let title = format!(
                        "{}: log10 p {:.2}, {}",
                        layer_name(line),
                        line.log10_p_adjusted,
                        line.verdict.as_str()
                    );
                    let title = html::escape(&title, MOST_CHARACTERS);
                    let _ =
                        write!(page, "<mark style=\"background:hsl({hue},90%,80%)\" title=\"{title}\">{shown}</mark>");
                }
            }
            if left == 0 {
                break;
            }
        }
        page.push_str("</div>");
        page + &html::spans(&self.spans)
    }

    fn __repr__(&self) -> String {
        format!("Highlight(spans=<{}>)", self.spans.len())
    }
}

fn layer_name(line: &SpanLine) -> &str {
    line.layer.as_deref().unwrap_or(line.scheme)
}
