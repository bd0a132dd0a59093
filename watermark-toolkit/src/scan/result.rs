//! `result.json`.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use watermark_core::detect::{Effect, Resampling, Sums, Test, Verdict, Weights, conclude_with_level};
use watermark_core::hex;

use super::Keys;
use super::counts::Counts;
use super::distinct::Positions;
use super::profiles::Profiles;
use super::score::FALSE_DISCOVERY_RATE;
use crate::read::Select;

/// `result.json`. A function of the texts, profiles and keys: nothing in it depends on time, machine, threads, memory,
/// shards, files or their order, so that a scan of a folder and a job of a cluster over the same texts give the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Format of this file.
    pub scan: &'static str,
    /// The profiles that were looked for.
    pub profiles: Vec<ProfileLine>,
    /// Number of keys.
    pub keys: usize,
    /// JSON pointer to the generated text, if the default was not used.
    pub field: Option<String>,
    /// Role that counts as generated, if not the assistant's.
    pub role: Option<String>,
    /// What was read.
    pub totals: Totals,
    /// What the tokenizer of each profile made of it, once per tokenizer.
    pub tokenizers: Vec<TokenizerLine>,
    /// Where each generated position went, by profile and layer.
    pub positions: Vec<PositionsLine>,
    /// One test per key and layer.
    pub findings: Vec<FindingLine>,
    /// What the family of these tests consists of.
    pub family: String,
    /// Number of tests in it.
    pub family_size: usize,
    /// Family-wise level of the verdicts.
    pub alpha: f64,
    /// log10 of the level at which the procedure that made the verdicts stopped; for the picture of them.
    #[serde(skip)]
    pub(super) log10_level: f64,
    /// Tests of single texts.
    pub hits: HitsLine,
    /// What a detection does not say.
    pub does_not_show: &'static str,
}

/// A profile.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileLine {
    /// Its name.
    pub name: String,
    /// Identity of its bytes.
    pub sha256: String,
}

/// Counts of everything that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Inputs that could not be read to their end.
    pub unread_inputs: usize,
    /// Lines, array elements or rows, bad ones among them.
    pub records: u64,
    /// Records that could not be used, by kind.
    pub bad_records: BTreeMap<String, u64>,
    /// How many records were read from which fields.
    pub schemas: BTreeMap<String, u64>,
    /// Generated texts: a conversation has several, a record without any usable one none.
    pub texts: u64,
    /// Identity of the records that were used, in any order: SHA-256 of the sums, modulo 2^16, of 1,024 numbers that
    /// SHA-256 makes of each record.
    pub records_digest: String,
}

/// Counts of one tokenizer.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerLine {
    /// Identity of its bytes; null where ids were read.
    pub sha256: Option<String>,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub tokens: u64,
    /// Tokens that texts were served as, where the records say so.
    pub issued_tokens: u64,
    /// Those of the issued tokens that came out otherwise when the text was tokenised again.
    pub changed_tokens: u64,
}

/// Every generated position of a layer; the last four add up to `tokens`.
#[derive(Clone, Debug, Serialize)]
pub struct PositionsLine {
    /// The profile's name.
    pub profile: String,
    /// The layer's name.
    pub layer: String,
    /// Generated tokens.
    pub tokens: u64,
    /// Without a full context.
    pub short_context: u64,
    /// Special tokens and pairs of the record's own prompt.
    pub excluded: u64,
    /// Pairs that had occurred before.
    pub duplicate: u64,
    /// Distinct pairs.
    pub scored: u64,
}

/// The test of a key and layer over the whole run.
#[derive(Clone, Debug, Serialize)]
pub struct FindingLine {
    /// The key's file, or the account.
    pub key: String,
    /// The profile's name.
    pub profile: String,
    /// The layer's name.
    pub layer: String,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Distinct PRF inputs.
    pub n_scored: u64,
    /// Green tokens, ones, or the score sum in units of 2^-32.
    pub statistic: String,
    /// log10 of the exact tail.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null for runs too large for that.
    pub log10_p_resampled: Option<f64>,
    /// After Holm's adjustment over keys and layers.
    pub verdict: Verdict,
    /// With `not_detected`: the smallest effect that would have been shown with a power of 80 %.
    pub smallest_effect: Option<Effect>,
    /// Number of the layer among the layers of all profiles, and number of the key.
    #[serde(skip)]
    pub(super) at: (usize, usize),
}

/// The family of tests of single texts.
#[derive(Clone, Debug, Serialize)]
pub struct HitsLine {
    /// Pairs of a text and a key and layer under which it is marked.
    pub n: u64,
    /// Expected share of false ones among them, at most.
    pub false_discovery_rate: f64,
    /// How they were chosen.
    pub family: String,
    /// Keys under which texts were scored.
    pub keys_scored: usize,
}

/// Results of one layer over the whole run.
#[derive(Debug)]
pub(super) struct LayerResult {
    pub(super) positions: Positions,
    /// Distinct inputs.
    pub(super) distinct: u64,
    /// [key of the layer]
    pub(super) sums: Vec<Sums>,
    /// log10 p under fresh keys.
    pub(super) fresh: Vec<f64>,
}

/// The tests of keys and layers with their verdicts.
pub(super) struct Findings {
    /// By layer within key.
    pub(super) lines: Vec<FindingLine>,
    /// log10 of the level at which the procedure that made the verdicts stopped.
    log10_level: f64,
}

/// Tests every key and layer.
pub(super) fn findings(profiles: &Profiles, keys: &Keys, layers: &[LayerResult], alpha: f64) -> Result<Findings> {
    let mut tests: Vec<(usize, usize, usize)> = Vec::with_capacity(keys.tests());
    for (layer, of_layer) in keys.layers().iter().enumerate() {
        tests.extend(of_layer.keys.iter().enumerate().map(|(at, &key)| (key, layer, at)));
    }
    tests.sort_unstable();
    let (mut lines, mut of_tests) = (Vec::with_capacity(tests.len()), Vec::with_capacity(tests.len()));
    for &(key, layer, at) in &tests {
        let (of_layer, result) = (&keys.layers()[layer], &layers[layer]);
        let detector = &of_layer.detectors[at];
        let sums = result.sums.get(at).cloned().unwrap_or_default();
        let log10_p = detector.sums_log10_p(&sums)?;
        let resampling =
            if sums.n == 0 { Resampling::default() } else { Resampling::among(result.fresh.iter().copied(), log10_p) };
        of_tests.push(Test {
            scheme: detector.scheme(),
            n_scored: sums.n,
            log10_p,
            weights: Weights::None,
            references_agree: true,
            resampling,
        });
        lines.push(FindingLine {
            key: keys.name(key).to_owned(),
            profile: profiles.files()[of_layer.profile].profile.name.clone(),
            layer: of_layer.name.clone(),
            scheme: detector.scheme().name(),
            n_scored: sums.n,
            statistic: sums.sum.to_string(),
            log10_p,
            ln_e: detector.sums_ln_e(&sums)?,
            log10_p_resampled: resampling.log10_p(),
            verdict: Verdict::Inconclusive,
            smallest_effect: None,
            at: (layer, key),
        });
    }
    let (conclusions, log10_level) = conclude_with_level(&of_tests, alpha);
    for (line, conclusion) in lines.iter_mut().zip(conclusions) {
        line.verdict = conclusion.verdict;
        line.smallest_effect = conclusion.smallest_effect;
    }
    Ok(Findings { lines, log10_level })
}

/// What a scan has found.
pub(super) struct SummaryParts<'a> {
    pub(super) profiles: &'a Profiles,
    pub(super) keys: &'a Keys,
    pub(super) select: &'a Select,
    pub(super) alpha: f64,
    pub(super) counts: Counts,
    pub(super) unread_inputs: usize,
    pub(super) layers: &'a [LayerResult],
    pub(super) findings: Findings,
    pub(super) hits: u64,
    /// Keys under which single texts were scored.
    pub(super) keys_scored: usize,
}

/// How many tests of single texts there are.
pub(super) fn text_tests(counts: &Counts, keys: &Keys) -> u64 {
    counts.texts.saturating_mul(keys.tests() as u64)
}

impl Summary {
    pub(super) fn new(found: SummaryParts<'_>) -> Self {
        let SummaryParts { profiles, keys, select, alpha, counts, unread_inputs, layers, findings, hits, keys_scored } =
            found;
        let identity = profiles.identity();
        let name = |profile: usize| profiles.files()[profile].profile.name.clone();
        let positions = keys.layers().iter().zip(layers).map(|(layer, result)| PositionsLine {
            profile: name(layer.profile),
            layer: layer.name.clone(),
            tokens: counts.ids.get(profiles.slot(layer.profile)).map_or(0, |ids| ids.tokens),
            short_context: result.positions.short_context,
            excluded: result.positions.excluded,
            duplicate: result.positions.inputs - result.distinct,
            scored: result.distinct,
        });
        let families = if keys.tests() == keys.len() * layers.len() {
            format!("{} keys x {} layers", keys.len(), layers.len())
        } else {
            format!("{} pairs of a key and a layer", keys.tests())
        };
        Self {
            scan: "watermark-scan-result/2",
            profiles: (0..profiles.files().len())
                .map(|profile| ProfileLine { name: name(profile), sha256: identity.profiles[profile].clone() })
                .collect(),
            keys: keys.len(),
            field: select.field.clone(),
            role: select.role.clone(),
            positions: positions.collect(),
            family_size: findings.lines.len(),
            findings: findings.lines,
            log10_level: findings.log10_level,
            family: format!("Holm over {families}"),
            alpha,
            hits: HitsLine {
                n: hits,
                false_discovery_rate: FALSE_DISCOVERY_RATE,
                family: format!("e-BH over {} texts x {families}", counts.texts),
                keys_scored,
            },
            tokenizers: counts
                .ids
                .iter()
                .enumerate()
                .map(|(slot, ids)| TokenizerLine {
                    sha256: identity.tokenizers.get(slot).cloned(),
                    prompt_tokens: ids.prompt_tokens,
                    tokens: ids.tokens,
                    issued_tokens: ids.issued,
                    changed_tokens: ids.changed,
                })
                .collect(),
            totals: Totals {
                unread_inputs,
                records: counts.records,
                records_digest: hex::encode(&counts.read.digest()),
                bad_records: counts.bad_records,
                schemas: counts.schemas,
                texts: counts.texts,
            },
            does_not_show: "Who copied the text, how, or why; whether a model was trained on it. A mark can be in public \
                            text, or be put there to frame somebody.",
        }
    }

    /// The bytes of `result.json`.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}
