use anyhow::Result;
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::detect::{Resampling, Verdict};
use watermark_core::hex;
use watermark_core::model_test::{Access, ModelFinding, ModelTest, conclude};
use watermark_core::profile::AnyScheme;
use watermark_toolkit::pairs::PairsLine;

use super::plot::{Curve, Strip, evidence_svg};
use super::{ALPHA, Options, pairs};

/// One closed test: a subject's answers under one key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// `teacher`, `student`, `control`, or `fresh_key` (the student under another key).
    pub subject: &'static str,
    /// Number among the rows of this subject.
    pub index: u32,
    /// Distinct (context, token) pairs.
    pub n_scored: u64,
    /// Green ones among them.
    pub green: u128,
    /// Sum of floor(2^16 sqrt(count)) over green pairs.
    pub statistic: String,
    /// log10 of the bound on the tail of `statistic`; decides.
    pub log10_p: f64,
    /// log10 of the exact binomial tail of `green`.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the anytime-valid e-value.
    pub ln_e: f64,
    /// At level [`ALPHA`].
    pub verdict: Verdict,
}

impl Row {
    pub(super) fn new(subject: &'static str, index: u32, scheme: AnyScheme, finding: &ModelFinding) -> Self {
        let test = ModelTest {
            scheme,
            access: Access::Answers,
            suspect: finding.numbers(false),
            pair_weights: None,
            controls: Vec::new(),
            resampling: Resampling::default(),
        };
        Self {
            subject,
            index,
            n_scored: finding.n_scored,
            green: finding.score,
            statistic: finding.statistic.to_string(),
            log10_p: finding.log10_p,
            log10_p_distinct: finding.log10_p_distinct,
            ln_e: finding.ln_e,
            verdict: conclude(&[test], ALPHA).remove(0).verdict,
        }
    }

    /// Whether the row's verdict is `detected`.
    #[must_use]
    pub(crate) fn detected(&self) -> bool {
        self.verdict == Verdict::Detected
    }
}

/// What the demo found; `result.json` is this.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DemoResult {
    rows: Vec<Row>,
    pairs: Vec<PairsLine>,
    alpha: f64,
    layer: &'static str,
    weights: &'static str,
    seed: u64,
    quick: bool,
    profile_sha256: String,
    fresh_keys_seed: String,
}

impl DemoResult {
    pub(super) fn new(
        options: &Options,
        profile_json: &str,
        fresh_keys_seed: String,
        rows: Vec<Row>,
        pairs: Vec<PairsLine>,
    ) -> Self {
        Self {
            rows,
            pairs,
            alpha: ALPHA,
            layer: "distillation",
            weights: "isqrt(count << 32)",
            seed: options.seed,
            quick: options.quick,
            profile_sha256: hex::encode(&Sha256::digest(profile_json.as_bytes())),
            fresh_keys_seed,
        }
    }

    /// All tests, `fresh_key` rows last.
    #[must_use]
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What paired draws show about the student: all requests, then the accounts by evidence.
    #[must_use]
    pub(crate) fn pairs(&self) -> &[PairsLine] {
        &self.pairs
    }

    /// The student is detected, by its answers and by paired draws, which name the harvested account only; the control and the fresh keys
    /// are not.
    #[must_use]
    pub(crate) fn holds(&self) -> bool {
        let answers = self.rows.iter().all(|row| match row.subject {
            "student" => row.detected(),
            "control" | "fresh_key" => !row.detected(),
            _ => true,
        });
        let named = |line: &PairsLine| line.account.as_deref() != Some(pairs::OTHER);
        answers && self.pairs.iter().all(|line| (line.verdict == Verdict::Detected) == named(line))
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn svg(&self, curves: &[Curve<'_>]) -> String {
        let log10_p = |subject: &str| -> Vec<f64> {
            self.rows.iter().filter(|row| row.subject == subject).map(|row| row.log10_p).collect()
        };
        let (student, control, fresh) = (log10_p("student"), log10_p("control"), log10_p("fresh_key"));
        let strips = [
            Strip { label: "student", color: "#c2410c", log10_p: &student },
            Strip { label: "control", color: "#64748b", log10_p: &control },
            Strip { label: "20 fresh keys", color: "#2563eb", log10_p: &fresh },
        ];
        evidence_svg(curves, &strips, ALPHA)
    }
}
