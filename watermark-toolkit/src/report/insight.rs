use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;
use watermark_core::detect::{LayerDetector, Pair};
use watermark_core::evidence::bundle::{self, Bundle, EvidenceRecord};
use watermark_core::model_test::ModelSample;
use watermark_core::scheme::NullLaw;

use crate::detect::fresh_log10_p;
use crate::evidence::{Answers, Context, MAX_RECORDS};
use crate::files::read_bounded;
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
    /// Reads the suspect's answers, if they are among the data; `texts` says whether any of them may be shown. The bundle must have
    /// been checked with the same context and hold.
    ///
    /// # Errors
    /// If a file cannot be read, or its records cannot be counted.
    pub fn read(path: &Path, bundle: &Bundle, context: &Context, texts: bool) -> Result<Option<Self>> {
        let Some(detector) = bundle.detector()? else { return Ok(None) };
        let (subject, suspect) = (&bundle.statement.subject[0], &bundle.statement.predicate.suspect);
        let info = &bundle.profile.tokenizer;
        let tokenizer = Tokenizer::for_profile(context.tokenizer.as_deref(), path, info);
        for file in &context.data {
            let bytes = read_bounded(file, MAX_RECORDS)?;
            let sha256 = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
            let records = if sha256[..] == subject.digest.sha256.0 {
                match &tokenizer {
                    Ok(tokenizer) => {
                        Answers::read(file, &suspect.model, tokenizer, info.vocab_size, bundle.registration.stopping)?
                            .records
                    }
                    Err(_) => continue,
                }
            } else if sha256[..] == suspect.records.sha256.0 {
                bundle::parse_records(&bytes, info.vocab_size)?
            } else {
                continue;
            };
            return Self::from_records(bundle, &detector, &records, tokenizer.ok().filter(|_| texts).as_ref())
                .map(Some);
        }
        Ok(None)
    }

    fn from_records(
        bundle: &Bundle,
        detector: &LayerDetector,
        records: &[EvidenceRecord],
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self> {
        let registration = &bundle.registration;
        let sample = bundle::count(detector, registration.weights, records)?;
        let (seed, keys) = (bundle.seed(), registration.resample);
        Ok(Self {
            fresh_log10_p: fresh_log10_p(&seed, detector, sample.tally(), sample.weights(), keys, &|_| Ok(()))?,
            curve: sample.evidence_curve(detector, POINTS)?,
            examples: match tokenizer {
                Some(tokenizer) => examples(detector, &sample, records, tokenizer)?,
                None => Vec::new(),
            },
        })
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
