use std::collections::HashSet;
use std::ops::Range;

use super::super::fields::{Decimal, Digest};
use super::record::{EvidenceRecord, RecordsDigest, n_empty, prompts_root};
use super::statement::{
    ClassEvidence, Collected, ExpectedEvidence, LeftOut, ReferenceEvidence, ReferencesEvidence, ResidualsEvidence,
    SampleEvidence,
};
use crate::detect::{LayerDetector, Resampling, Weights};
use crate::key::fresh_keys_in;
use crate::model_test::{Audit, Collection, ModelSample, ResidualTails, Round, ScoreClass, TwoSamples};
use crate::stats::SignedClass;
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

/// The counted records of one model.
#[derive(Clone, Debug)]
pub enum Counted {
    /// By themselves.
    Alone(Box<ModelSample>),
    /// Beside references.
    Beside(Box<TwoSamples>),
}

/// What stands beside the records of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The records of each reference.
    pub references: &'a [Vec<EvidenceRecord>],
    /// For a control, the shares of the references that fit the suspect.
    pub mixture: Option<&'a [u32]>,
}

/// Counts records round by round, beside the records of references where the weights are residuals.
///
/// # Errors
/// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for weights that answers do not have, and as [`ModelSample::beside`].
pub fn count(
    layer: &LayerDetector,
    weights: Weights,
    records: &[EvidenceRecord],
    beside: &Beside<'_>,
) -> Result<Counted> {
    let sample = count_one(layer, weights, records)?;
    if weights != Weights::Residual {
        return Ok(Counted::Alone(Box::new(sample)));
    }
    let references = beside.references.iter().map(|records| count_one(layer, weights, records));
    let references = references.collect::<Result<Vec<_>>>()?;
    Ok(Counted::Beside(Box::new(sample.beside_mixture(&references, beside.mixture)?)))
}

fn count_one(layer: &LayerDetector, weights: Weights, records: &[EvidenceRecord]) -> Result<ModelSample> {
    let mut sample = match weights {
        Weights::Sqrt | Weights::Residual => ModelSample::of_answers(layer),
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

impl Counted {
    /// What the model's answers are by themselves.
    #[must_use]
    pub fn sample(&self) -> &ModelSample {
        match self {
            Self::Alone(sample) => sample,
            Self::Beside(beside) => beside.suspect(),
        }
    }

    /// log10 p under the key of `layer`.
    ///
    /// # Errors
    /// As [`LayerDetector::finding_with`] and [`TwoSamples::log10_p`].
    pub fn log10_p(&self, layer: &LayerDetector) -> Result<f64> {
        match self {
            Self::Alone(sample) => Ok(layer.finding_with(sample.tally(), sample.weights())?.log10_p),
            Self::Beside(beside) => beside.log10_p(layer),
        }
    }

    /// Sum of weight times score under the key of `layer`.
    fn statistic(&self, layer: &LayerDetector) -> Result<i128> {
        let overflow = |_| Error::new(ErrorKind::InvalidParameter, "the statistic is too large");
        match self {
            Self::Alone(sample) => {
                i128::try_from(layer.finding_with(sample.tally(), sample.weights())?.statistic).map_err(overflow)
            }
            Self::Beside(beside) => beside.statistic(layer),
        }
    }

    /// How the model's pairs do under fresh keys number `keys` of a seed, beside the true key, whose numbers `measured` has: a fresh key does as well if
    /// its statistic is at least as large, and every key does where the true log10 p is 0. Whole numbers, because equal statistics can have bounds that
    /// differ in their last bits. Ranges are independent.
    ///
    /// # Errors
    /// As [`Self::log10_p`].
    pub fn resample(
        &self,
        layer: &LayerDetector,
        measured: &SampleEvidence,
        seed: &[u8; 32],
        keys: Range<u32>,
    ) -> Result<Resampling> {
        let weak = measured.log10_p >= 0.0;
        fresh_keys_in(seed, keys).try_fold(Resampling::default(), |sum, key| {
            let as_well = weak || self.statistic(&layer.with_prf_key(&key)?)? >= measured.statistic.0;
            Ok(sum.merge(Resampling { keys: 1, at_least: as_well.into() }))
        })
    }
}

/// What a bundle says of counted records. The caller adds the `prompts_proof` where fewer prompts were asked than registered.
///
/// # Errors
/// As [`ModelSample::test`] and [`TwoSamples::test`].
pub fn measure(
    layer: &LayerDetector,
    counted: &Counted,
    records: &[EvidenceRecord],
    origin: Origin,
) -> Result<SampleEvidence> {
    let sample = counted.sample();
    let (alone, left_out) = (sample.test(layer)?, sample.left_out(layer)?);
    let mut tails =
        ResidualTails { statistic: alone.statistic, weight: alone.weight, log10_p: alone.log10_p, ln_e: alone.ln_e };
    let mut residuals = None;
    if let Counted::Beside(beside) = counted {
        let classes = beside.classes(layer)?;
        tails = ResidualTails::of_classes(layer.scheme(), &classes)?;
        let classes = classes.into_iter().map(Into::into).collect();
        residuals = Some(ResidualsEvidence { classes, mixture: beside.mixture().to_vec() });
    }
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
        tokens: tokens(records),
        n_scored: alone.n_scored,
        n_duplicate: alone.n_duplicate,
        n_excluded: alone.n_excluded,
        n_short_context: alone.n_short_context,
        classes: evidence(sample.classes(layer)?),
        residuals,
        left_out: LeftOut {
            answers: evidence(left_out.answers),
            answers_log10_p: alone.audit.answers_log10_p,
            prompts: evidence(left_out.prompts),
            prompts_log10_p: alone.audit.prompts_log10_p,
        },
        score: Decimal(alone.score),
        statistic: Decimal(tails.statistic),
        weight: Decimal(tails.weight),
        log10_p: tails.log10_p,
        log10_p_distinct: alone.log10_p_distinct,
        ln_e: tails.ln_e,
    })
}

/// What a bundle says of the references beside the suspect: whether what they expect of it leans away from the key. `models`: name and records of each, in their
/// order. `None` where the suspect was counted alone.
///
/// # Errors
/// As [`TwoSamples::test`].
pub fn measure_references(
    layer: &LayerDetector,
    suspect: &Counted,
    models: &[(&str, &[EvidenceRecord])],
) -> Result<Option<ReferencesEvidence>> {
    let Counted::Beside(beside) = suspect else { return Ok(None) };
    let one = |&(model, records): &(&str, &[EvidenceRecord])| {
        let prompts: HashSet<&str> = records.iter().map(|record| record.prompt.as_str()).collect();
        Ok(ReferenceEvidence {
            model: model.to_owned(),
            records: RecordsDigest::from_records(records)?,
            n_prompts: prompts.len() as u64,
            n_empty: n_empty(records),
            tokens: tokens(records),
        })
    };
    let models = models.iter().map(one).collect::<Result<Vec<_>>>()?;
    let expected = |classes: Vec<SignedClass>| {
        let log10_p = ResidualTails::of_classes(layer.scheme(), &classes)?.log10_p;
        Ok(ExpectedEvidence { classes: classes.into_iter().map(Into::into).collect(), log10_p })
    };
    let expected = beside.expected_classes(layer)?.into_iter().map(expected).collect::<Result<Vec<_>>>()?;
    let audit = audit(&expected);
    let (agree, log10_p) = (audit.references_agree(), audit.references_log10_p);
    Ok(Some(ReferencesEvidence { agree, expected, log10_p, models }))
}

/// The audit of references that expect this.
pub(super) fn audit(expected: &[ExpectedEvidence]) -> Audit {
    Audit::default().beside(&expected.iter().map(|one| one.log10_p).collect::<Vec<_>>())
}

fn evidence(classes: Vec<ScoreClass>) -> Vec<ClassEvidence> {
    classes.into_iter().map(Into::into).collect()
}

fn tokens(records: &[EvidenceRecord]) -> u64 {
    records.iter().map(|record| record.tokens.len() as u64).sum()
}
