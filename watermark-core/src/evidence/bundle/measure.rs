use super::super::fields::{Decimal, Digest};
use super::record::{EvidenceRecord, RecordsDigest, n_empty, prompts_root};
use super::statement::{Collected, LeftOut, SampleEvidence};
use crate::detect::{LayerDetector, Weights};
use crate::model_test::{Collection, ModelSample, Round, ScoreClass};
use crate::{Error, ErrorKind, Result};

/// Where a sample comes from, as its data say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The model's registered name.
    pub model: String,
    /// Who collected.
    pub collection: Collection,
    /// When it was collected, if the data say so.
    pub collected: Option<Collected>,
    /// Whether evidence may have ended the collection.
    pub stopped: bool,
}

/// Counts records round by round.
///
/// # Errors
/// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for weights that answers do not have.
pub fn count(layer: &LayerDetector, weights: Weights, records: &[EvidenceRecord]) -> Result<ModelSample> {
    let mut sample = match weights {
        Weights::Sqrt => ModelSample::of_answers(layer),
        Weights::None => ModelSample::of_distinct_answers(layer),
        Weights::Expected => {
            return Err(Error::new(ErrorKind::InvalidParameter, "answers have counts, and no expected ones"));
        }
    };
    for round in records.chunk_by(|a, b| a.round == b.round) {
        let mut prompts: Vec<&[u32]> = round.iter().map(|record| record.prompt_tokens.as_slice()).collect();
        prompts.extend(round.iter().flat_map(|record| {
            record.quoted.iter().filter_map(|&[from, to]| record.tokens.get(from as usize..to as usize))
        }));
        let answers = round.iter().map(|record| record.tokens.as_slice()).collect();
        sample.add_round(layer, &Round { prompts, answers, choices: Vec::new() })?;
    }
    Ok(sample)
}

/// What a bundle says of counted records. The caller adds the `prompts_proof` where fewer prompts were asked than registered.
///
/// # Errors
/// As [`ModelSample::test`].
pub fn measure(
    layer: &LayerDetector,
    sample: &ModelSample,
    records: &[EvidenceRecord],
    origin: Origin,
) -> Result<SampleEvidence> {
    let (finding, left_out) = (sample.test(layer)?, sample.left_out(layer)?);
    let evidence = |classes: Vec<ScoreClass>| classes.into_iter().map(Into::into).collect();
    // Without a reference no weight is negative.
    let decimal = |sum: i128| Decimal(sum.unsigned_abs());
    let Origin { model, collection, collected, stopped } = origin;
    Ok(SampleEvidence {
        model,
        collection,
        collected,
        stopped,
        records: RecordsDigest::from_records(records)?,
        prompts_proof: Vec::<Digest>::new(),
        prompts_root: prompts_root(records)?,
        n_empty: n_empty(records),
        tokens: records.iter().map(|record| record.tokens.len() as u64).sum(),
        n_scored: finding.n_scored,
        n_duplicate: finding.n_duplicate,
        n_excluded: finding.n_excluded,
        n_short_context: finding.n_short_context,
        classes: evidence(sample.classes(layer)?),
        left_out: LeftOut {
            answers: evidence(left_out.answers),
            answers_log10_p: finding.audit.answers_log10_p,
            prompts: evidence(left_out.prompts),
            prompts_log10_p: finding.audit.prompts_log10_p,
        },
        score: Decimal(finding.score),
        statistic: decimal(finding.statistic),
        weight: decimal(finding.weight),
        log10_p: finding.log10_p,
        log10_p_distinct: finding.log10_p_distinct,
        ln_e: finding.ln_e,
    })
}
