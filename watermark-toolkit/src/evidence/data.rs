//! The data of a bundle, counted and scored again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use watermark_core::evidence::bundle::{
    self, Beside, Bundle, Code, Counted, Digest, EvidenceRecord, Fault, LeftOut, Origin, RecordsDigest,
    ReferencesEvidence, SampleEvidence, Stopping, close,
};

use super::build::fresh_keys;
use super::sample::{Answers, is_reference};
use crate::files::read_bounded;
use crate::ids::Vocabulary;
use crate::model_test::item_of_text;
use crate::tokenizer::Tokenizer;

/// The largest records file.
const MAX_RECORDS: u64 = 1 << 34;

type Progress<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// What was found in the data.
#[derive(Default)]
pub(super) struct Recount {
    pub(super) faults: Vec<Fault>,
    /// Files whose records were counted and scored again.
    pub(super) recomputed: Vec<String>,
    /// The suspect's records, counted again.
    pub(super) suspect: Option<(Counted, Vec<EvidenceRecord>)>,
    /// Whether ids were counted again whose texts could not be.
    pub(super) withheld: bool,
    pub(super) not_checked: Vec<String>,
}

impl Recount {
    fn fail(&mut self, code: Code, what: String) {
        self.faults.push(Fault { code, what });
    }
}

/// What a file holds of one model.
struct Given {
    /// The model's place: the suspect's is 0, controls and references follow.
    at: usize,
    /// The file, for people.
    file: String,
    records: Vec<EvidenceRecord>,
}

/// Reads `files`, of these digests, and compares counts and numbers with those that the bundle states.
pub(super) fn recount(
    bundle: &Bundle,
    files: &[PathBuf],
    digests: &[Digest],
    tokenizer: &Result<Tokenizer>,
    progress: Progress<'_>,
) -> Result<Recount> {
    let mut recount = Recount::default();
    let found = &mut recount;
    let samples = bundle.samples().count();
    let mut wanted: Vec<(usize, bool, &Path)> = Vec::new();
    for (file, sha256) in files.iter().zip(digests) {
        // A bundle may name one file for two models; what it says of each is looked at.
        let subjects = bundle.statement.subject.iter().enumerate();
        let answered: Vec<usize> =
            subjects.filter(|(_, subject)| subject.digest.sha256 == *sha256).map(|(at, _)| at).collect();
        let recorded = bundle.models().enumerate().filter(|(_, (_, records))| records.sha256 == *sha256);
        let recorded: Vec<usize> = recorded.map(|(at, _)| at).collect();
        if answered.is_empty() && recorded.is_empty() {
            let what = format!("{} has SHA-256 {sha256}: no file that the bundle is about", file.display());
            found.fail(Code::Data, what);
        }
        let places = if answered.is_empty() { &recorded } else { &answered };
        wanted.extend(places.iter().map(|&at| (at, !answered.is_empty(), file.as_path())));
    }
    // References last: which of their answers count follows from the prompts of the others.
    wanted.sort_by_key(|&(at, ..)| at >= samples);
    let mut given: Vec<Given> = Vec::new();
    for (at, is_answers, path) in wanted {
        let named = || format!("data {}", path.display());
        let tested = given.iter().find(|given| given.at < samples);
        let prompts = tested.map(|first| first.records.iter().map(|record| record.prompt.clone()).collect());
        let records = if is_answers {
            of_answers(bundle, at, path, tokenizer, prompts.as_ref(), found).with_context(named)?
        } else {
            of_records(bundle, path, tokenizer, found).with_context(named)?
        };
        let Some(records) = records else { continue };
        let file = path.display().to_string();
        if are_stated(bundle, at, &records, prompts.as_ref())? {
            given.push(Given { at, file, records });
        } else {
            found.fail(Code::Records, format!("{file}: its records are not those of the bundle"));
        }
    }
    let reference = |at: usize| given.iter().find(|given| given.at == at).map(|given| given.records.clone());
    let references: Option<Vec<_>> = (samples..samples + bundle.references().len()).map(reference).collect();
    let Some(references) = references else {
        let what = "what lies beyond the references: not all of their answers were given, so nothing was counted again";
        found.not_checked.push(what.to_owned());
        return Ok(recount);
    };
    let mut recounted = HashSet::new();
    for Given { at, file, records } in &given {
        let Some(stated) = bundle.samples().nth(*at) else { continue };
        if is_reference(records, &references) {
            let what =
                format!("{file}: most of its answers are also those of a reference, which has to be another model");
            found.fail(Code::Records, what);
            continue;
        }
        // Another file of the same records gives the same.
        if recounted.contains(at) {
            found.recomputed.push(file.clone());
            continue;
        }
        let counted = recompute(bundle, stated, records, &references, file, found, progress)?;
        if counted.is_some() {
            recounted.insert(*at);
        }
        if *at == 0
            && found.suspect.is_none()
            && let Some(counted) = counted
        {
            found.suspect = Some((counted, records.clone()));
        }
    }
    let Some((counted, _)) = found.suspect.as_ref().filter(|_| !references.is_empty()) else { return Ok(recount) };
    if references_are_stated(bundle, counted, &references)? {
        found.recomputed.extend(given.into_iter().filter(|given| given.at >= samples).map(|given| given.file));
    } else {
        found.fail(Code::Recomputed, "classes or numbers of a reference are not what its records give".to_owned());
    }
    Ok(recount)
}

/// The records of an answer file; none where it is not what the bundle says of it.
fn of_answers(
    bundle: &Bundle,
    at: usize,
    file: &Path,
    tokenizer: &Result<Tokenizer>,
    prompts: Option<&HashSet<String>>,
    found: &mut Recount,
) -> Result<Option<Vec<EvidenceRecord>>> {
    let (vocab_size, shown) = (bundle.profile.tokenizer.vocab_size, file.display());
    let tokenizer = tokenizer.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let Some((model, _)) = bundle.models().nth(at) else { return Ok(None) };
    let answers = match (bundle.samples().nth(at), prompts) {
        (Some(sample), _) => {
            let answers = Answers::read(file, model, tokenizer, vocab_size, bundle.registration.stopping);
            if let Ok(answers) = &answers
                && answers.origin != origin(sample)
            {
                let what = format!("{shown}: who collected it, when, or what ended it is stated otherwise");
                found.fail(Code::Records, what);
            }
            answers
        }
        (None, Some(prompts)) => Answers::read(file, model, tokenizer, vocab_size, Stopping::Fixed)
            .and_then(|answers| answers.of_reference(&prompts.iter().map(String::as_str).collect())),
        (None, None) => {
            found.not_checked.push(format!("{shown}: give the suspect's answers too, to whose prompts it is compared"));
            return Ok(None);
        }
    };
    match answers {
        Ok(answers) => Ok(Some(answers.records)),
        Err(error) => {
            found.fail(Code::Records, format!("{shown}: {error:#}"));
            Ok(None)
        }
    }
}

/// The records of a records file; none where they are not those of their texts.
fn of_records(
    bundle: &Bundle,
    file: &Path,
    tokenizer: &Result<Tokenizer>,
    found: &mut Recount,
) -> Result<Option<Vec<EvidenceRecord>>> {
    let shown = file.display();
    let records = match bundle::parse_records(&read_bounded(file, MAX_RECORDS)?, bundle.profile.tokenizer.vocab_size) {
        Ok(records) => records,
        Err(error) => {
            found.fail(Code::Records, format!("{shown}: {error}"));
            return Ok(None);
        }
    };
    match tokenizer {
        Ok(tokenizer) => {
            if let Some(line) = other_ids(&records, tokenizer)? {
                let what = format!("{shown}: line {line}: the tokenizer makes other ids of its prompt or text");
                found.fail(Code::Records, what);
                return Ok(None);
            }
        }
        Err(error) => {
            found.withheld = true;
            let what = format!("{shown}: that its ids are those of its texts ({error:#}); so there is no result");
            found.not_checked.push(what);
        }
    }
    Ok(Some(records))
}

/// The first line whose ids or quoted stretches are not those of its texts.
fn other_ids(records: &[EvidenceRecord], tokenizer: &Tokenizer) -> Result<Option<usize>> {
    let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: None };
    for (line, record) in (1..).zip(records) {
        let item = item_of_text(vocabulary, &record.prompt, &record.text)?;
        let quoted = item.quoted.iter().map(|run| [run.start, run.end]);
        let stated = record.quoted.iter().map(|&[start, end]| [start as usize, end as usize]);
        if item.prompt != record.prompt_tokens || item.tokens != record.tokens || !quoted.eq(stated) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// Whether records are those of a model, in the rounds that they must be in. A reference has none to other prompts than the test's.
fn are_stated(
    bundle: &Bundle,
    at: usize,
    records: &[EvidenceRecord],
    prompts: Option<&HashSet<String>>,
) -> Result<bool> {
    let Some((_, stated)) = bundle.models().nth(at) else { return Ok(false) };
    if RecordsDigest::from_records(records)? != *stated {
        return Ok(false);
    }
    let Some(sample) = bundle.samples().nth(at) else {
        let is_asked = |record: &EvidenceRecord| prompts.is_none_or(|prompts| prompts.contains(&record.prompt));
        return Ok(records.iter().all(|record| record.round == 0 && is_asked(record)));
    };
    let stopping = bundle.registration.stopping;
    let in_rounds = || (0..).zip(records).all(|(place, record)| record.round == stopping.round_in_file(place));
    Ok(bundle::prompts_root(records)? == sample.prompts_root
        && bundle::n_empty(records) == sample.n_empty
        && (sample.collected.is_some() || in_rounds()))
}

fn origin(sample: &SampleEvidence) -> Origin {
    let SampleEvidence { model, collection, collected, stopped, .. } = sample;
    Origin { model: model.clone(), collection: *collection, collected: collected.clone(), stopped: *stopped }
}

/// Compares records with what the bundle states of a sample, and under the opened key its numbers with theirs. What was counted, if that is
/// the same.
fn recompute(
    bundle: &Bundle,
    stated: &SampleEvidence,
    records: &[EvidenceRecord],
    references: &[Vec<EvidenceRecord>],
    file: &str,
    found: &mut Recount,
    progress: Progress<'_>,
) -> Result<Option<Counted>> {
    let Some(detector) = bundle.detector()? else { return Ok(None) };
    let registration = &bundle.registration;
    let predicate = &bundle.statement.predicate;
    let is_suspect = std::ptr::eq(stated, &raw const predicate.suspect);
    let of_suspect = predicate.suspect.residuals.as_ref().map(|residuals| residuals.mixture.as_slice());
    let beside = Beside { references, mixture: of_suspect.filter(|_| !is_suspect) };
    let counted = bundle::count(&detector, registration.weights, records, &beside)?;
    let counts = bundle::measure(&detector, &counted, records, origin(stated))?;
    let numbers = |sample: &SampleEvidence| {
        let SampleEvidence { log10_p, log10_p_distinct, ln_e, left_out, .. } = sample;
        [*log10_p, *log10_p_distinct, *ln_e, left_out.answers_log10_p, left_out.prompts_log10_p]
    };
    let same_numbers = numbers(&counts).iter().zip(numbers(stated)).all(|(&a, b)| close(a, b));
    // Compares everything except floats, which another version may round otherwise.
    let left_out = LeftOut {
        answers_log10_p: stated.left_out.answers_log10_p,
        prompts_log10_p: stated.left_out.prompts_log10_p,
        ..counts.left_out.clone()
    };
    let rest = SampleEvidence {
        left_out,
        log10_p: stated.log10_p,
        log10_p_distinct: stated.log10_p_distinct,
        ln_e: stated.ln_e,
        prompts_proof: stated.prompts_proof.clone(),
        ..counts.clone()
    };
    if !same_numbers || rest != *stated {
        found.fail(Code::Recomputed, format!("{file}: counts, classes or numbers are not what its records give"));
        return Ok(None);
    }
    if is_suspect {
        let fresh = fresh_keys(&bundle.seed(), &detector, registration, &counted, &counts, progress)?;
        if fresh != predicate.resampling {
            found.fail(Code::Recomputed, format!("{file}: another number of fresh keys does as well as the true one"));
            return Ok(None);
        }
    }
    found.recomputed.push(file.to_owned());
    Ok(Some(counted))
}

/// Whether the references beside the counted suspect are what the bundle states of them.
fn references_are_stated(bundle: &Bundle, suspect: &Counted, records: &[Vec<EvidenceRecord>]) -> Result<bool> {
    let (Some(detector), Some(stated)) = (bundle.detector()?, &bundle.statement.predicate.references) else {
        return Ok(false);
    };
    let models: Vec<(&str, &[EvidenceRecord])> =
        stated.models.iter().zip(records).map(|(one, records)| (one.model.as_str(), records.as_slice())).collect();
    let Some(mut found) = bundle::measure_references(&detector, suspect, &models)? else { return Ok(false) };
    fn logarithms(of: &mut ReferencesEvidence) -> impl Iterator<Item = &mut f64> {
        of.expected.iter_mut().map(|one| &mut one.log10_p).chain([&mut of.log10_p])
    }
    for (found, stated) in logarithms(&mut found).zip(logarithms(&mut stated.clone())) {
        if close(*found, *stated) {
            *found = *stated;
        }
    }
    Ok(found == *stated)
}
