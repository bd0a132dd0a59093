use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;
use watermark_core::detect::{LayerDetector, Pair};
use watermark_core::evidence::bundle::{Counted, EvidenceRecord};
use watermark_core::model_test::ModelSample;
use watermark_core::scheme::NullLaw;

use crate::detect::fresh_log10_p;
use crate::evidence::{BundleCheck, Context};
use crate::tokenizer::Tokenizer;
use crate::visible::visible;

/// Answers that are shown: the first ones, whatever their scores.
const MOST_EXAMPLES: usize = 3;
/// Characters of a shown answer.
const MOST_OF_AN_ANSWER: usize = 700;
/// Lines of a shown prompt.
const MOST_LINES: usize = 12;
/// Points of the evidence curve.
const POINTS: usize = 120;

/// What the suspect's answers add to its bundle.
#[derive(Debug, Default)]
pub struct Insight {
    /// log10 p under each fresh key, in order.
    pub fresh_log10_p: Vec<f64>,
    /// The e-value as distinct pairs arrive: (pairs so far, ln e).
    pub curve: Vec<(u64, f64)>,
    pub(super) examples: Vec<Example>,
}

/// An answer with the tokens that the key favours.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Example {
    number: usize,
    prompt: Vec<String>,
    pieces: Vec<Piece>,
    /// Characters left out.
    more: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Piece {
    kind: &'static str,
    text: String,
}

impl Insight {
    /// What the suspect's answers show, if `found` counted them; `texts` says whether any of them may be shown. `found` is the check of the
    /// bundle at `path` with the same context, and the bundle must hold.
    ///
    /// # Errors
    /// If the answers' tokens are not those of the tokenizer.
    pub fn read(path: &Path, found: &BundleCheck, context: &Context, texts: bool) -> Result<Option<Self>> {
        let (Some(bundle), Some((counted, records))) = (&found.bundle, &found.suspect) else { return Ok(None) };
        let Some(detector) = bundle.detector()? else { return Ok(None) };
        let tokenizer = Tokenizer::for_profile(context.tokenizer.as_deref(), path, &bundle.profile.tokenizer);
        let (seed, keys) = (bundle.seed(), bundle.registration.resample);
        Ok(Some(Self {
            fresh_log10_p: fresh_log10_p(&seed, &detector, keys, |layer| counted.log10_p(layer), &|_| Ok(()))?,
            // Weights beside references change with every answer, so nothing of it is seen on the way.
            curve: match counted {
                Counted::Alone(sample) => sample.evidence_curve(&detector, POINTS)?,
                Counted::Beside(_) => Vec::new(),
            },
            examples: match tokenizer.ok().filter(|_| texts) {
                Some(tokenizer) => examples(&detector, counted.sample(), records, &tokenizer)?,
                None => Vec::new(),
            },
        }))
    }
}

fn examples(
    detector: &LayerDetector,
    sample: &ModelSample,
    records: &[EvidenceRecord],
    tokenizer: &Tokenizer,
) -> Result<Vec<Example>> {
    let counted: HashSet<&Pair> = sample.tally().pairs().map(|(pair, _)| pair).collect();
    let records = records.iter().enumerate().filter(|(_, record)| record.tokens.len() > detector.width());
    records.take(MOST_EXAMPLES).map(|(at, record)| example(at, record, detector, &counted, tokenizer)).collect()
}

fn example(
    at: usize,
    record: &EvidenceRecord,
    detector: &LayerDetector,
    counted: &HashSet<&Pair>,
    tokenizer: &Tokenizer,
) -> Result<Example> {
    let (ids, offsets) = tokenizer.encode_with_offsets(&record.text)?;
    ensure!(ids == record.tokens, "answer {}: the tokenizer gives other ids than its record", at + 1);
    let text = &record.text;
    let limit = text.char_indices().nth(MOST_OF_AN_ANSWER).map_or(text.len(), |(byte, _)| byte);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut end = 0;
    for (i, &(_, to)) in offsets.iter().enumerate() {
        // A token may end inside of a letter, which then belongs to the one that ends it.
        let Some(piece) = text.get(end..to).filter(|piece| !piece.is_empty()) else { continue };
        if to > limit {
            break;
        }
        let context = i.checked_sub(detector.width()).map_or(&[][..], |from| &record.tokens[from..=i]);
        let kind = kind(detector, context, counted)?;
        end = to;
        for (at, line) in piece.split('\n').enumerate() {
            if at > 0 {
                pieces.push(Piece { kind: "break", text: String::new() });
            }
            // Neighbouring hits stay apart, so that single tokens are seen.
            match pieces.last_mut() {
                Some(last) if last.kind == kind && kind != "hit" => last.text.push_str(line),
                _ if line.is_empty() => {}
                _ => pieces.push(Piece { kind, text: line.to_owned() }),
            }
        }
    }
    let prompt = record.prompt.split('\n').take(MOST_LINES).map(|line| visible(line, MOST_OF_AN_ANSWER)).collect();
    let more = text[end..].chars().count();
    Ok(Example { number: at + 1, prompt, pieces, more })
}

/// Whether the last of these tokens counts after the others, and whether the key favours it there.
fn kind(detector: &LayerDetector, tokens: &[u32], counted: &HashSet<&Pair>) -> Result<&'static str> {
    let mut one = detector.tally();
    detector.add(&mut one, &[], tokens)?;
    if tokens.is_empty() || !one.pairs().any(|(pair, _)| counted.contains(pair)) {
        return Ok("uncounted");
    }
    let score = detector.finding(&one)?.statistic;
    let hit = match detector.scheme().null_law() {
        // ln 4: one in four reaches it by chance.
        NullLaw::ExponentialQ32 => score as f64 >= 4f64.ln() * 2f64.powi(32),
        _ => score > 0,
    };
    Ok(if hit { "hit" } else { "miss" })
}
