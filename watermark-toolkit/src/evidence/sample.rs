use std::collections::HashSet;
use std::path::{Component, Path};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use watermark_core::evidence::bundle::{
    Collected, Digest, EvidenceRecord, Origin, Stopping, Subject, SubjectDigest, Time,
};
use watermark_core::model_test::Access;

use crate::files::file_sha256;
use crate::ids::Vocabulary;
use crate::model_test::{FirstBad, Material, Source};
use crate::read::InputFormat;
use crate::tokenizer::Tokenizer;

/// One model's answer file, read as a sample.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The file.
    pub subject: Subject,
    /// The records that it holds.
    pub records: Vec<EvidenceRecord>,
    /// The model, and what the file says of the collection.
    pub origin: Origin,
}

impl Answers {
    /// Reads and tokenises an answer file or a transcript, as `watermark test-model --answers` does; `stopping` says which rounds
    /// the answers of a file are.
    ///
    /// # Errors
    /// If it cannot be read, a record cannot be used, or an answer came as token ids: a registered sample leaves nothing out.
    pub fn read(path: &Path, model: &str, tokenizer: &Tokenizer, vocab_size: u32, stopping: Stopping) -> Result<Self> {
        let named = || format!("answers {}", path.display());
        let sha256 = Digest(file_sha256(path).with_context(named)?);
        let bad = FirstBad::default();
        let complain = |error: &Error| bad.keep(error);
        let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: Some(vocab_size) };
        let source = Source { vocabulary, input_format: InputFormat::default(), complain: &complain };
        let material = Material::read(&[path.to_owned()], Access::Answers, &source)?;
        bad.check().with_context(named)?;
        let mut records = Vec::new();
        for (round, items) in (0_u64..).zip(&material.rounds) {
            for item in items {
                let Some((prompt, text)) = &item.texts else {
                    bail!("{}: an answer is token ids; evidence is made from text", named());
                };
                let quoted = item.quoted.iter().map(|run| Ok([u32::try_from(run.start)?, u32::try_from(run.end)?]));
                // Only transcripts say when answers came, and in which rounds.
                let of_file = || stopping.round_in_file(records.len() as u64);
                let round = if material.collected.is_some() { round } else { of_file() };
                records.push(EvidenceRecord {
                    prompt: prompt.clone(),
                    prompt_tokens: item.prompt.clone(),
                    quoted: quoted.collect::<Result<_>>()?,
                    round,
                    text: text.clone(),
                    tokens: item.tokens.clone(),
                });
            }
        }
        let collected = material.collected.as_ref().map(|(first, last)| -> Result<Collected> {
            Ok(Collected { first: Time::new(first)?, last: Time::new(last)? })
        });
        let origin = Origin {
            model: model.to_owned(),
            collection: material.collection,
            collected: collected.transpose().with_context(named)?,
            stopped: material.stopped,
        };
        Ok(Self { subject: Subject { digest: SubjectDigest { sha256 }, name: tail(path, 1)? }, records, origin })
    }

    /// What a reference answered to the prompts of a test, in the order of its file: the rest counts for nothing, and so does when it came.
    ///
    /// # Errors
    /// If it answered none of them.
    pub fn of_reference(mut self, prompts: &HashSet<&str>) -> Result<Self> {
        self.records.retain(|record| prompts.contains(record.prompt.as_str()));
        ensure!(
            !self.records.is_empty(),
            "{:?} answers none of the prompts of the test; a reference is asked the same",
            self.origin.model
        );
        self.records.iter_mut().for_each(|record| record.round = 0);
        Ok(self)
    }
}

/// Whether most answers with text are also those of a reference, which is then no other model: a control beside itself shows nothing.
pub(super) fn is_reference(records: &[EvidenceRecord], references: &[Vec<EvidenceRecord>]) -> bool {
    let answers = || records.iter().filter(|record| !record.text.trim().is_empty());
    references.iter().any(|reference| {
        let own: HashSet<(&str, &str)> = reference.iter().map(|record| (&*record.prompt, &*record.text)).collect();
        2 * answers().filter(|record| own.contains(&(&*record.prompt, &*record.text))).count() > answers().count()
    })
}

/// Names for the files of one case: their own, with as many folders in front as tell them apart.
///
/// # Errors
/// If a file is given twice.
pub(super) fn names_apart(paths: &[&Path]) -> Result<Vec<String>> {
    let longest = paths.iter().map(|path| path.components().count()).max().unwrap_or(1);
    for parts in 1..=longest {
        let names = paths.iter().map(|path| tail(path, parts)).collect::<Result<Vec<_>>>()?;
        if (1..names.len()).all(|at| !names[..at].contains(&names[at])) {
            return Ok(names);
        }
    }
    bail!("one file is given for two models; suspect, controls and references have an answer file each")
}

/// What files of the sample at this place are called: the suspect's is the first, those of `controls` follow, then the references'.
#[must_use]
pub fn role(at: usize, controls: usize) -> String {
    match at {
        0 => "suspect".to_owned(),
        _ if at <= controls => format!("control-{at}"),
        _ => format!("reference-{}", at - controls),
    }
}

/// The last `n` parts of a path, with slashes.
fn tail(path: &Path, n: usize) -> Result<String> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    let parts: Option<Vec<&str>> = parts.map(|part| part.as_os_str().to_str()).collect();
    let parts = parts.ok_or_else(|| anyhow!("answers {}: the name is not UTF-8", path.display()))?;
    Ok(parts[parts.len().saturating_sub(n)..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_told_apart_by_their_folders() {
        let names = |paths: &[&str]| names_apart(&paths.iter().map(Path::new).collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(names(&["a/x.jsonl", "b/y.jsonl"]), ["x.jsonl", "y.jsonl"]);
        assert_eq!(names(&["/r/a/t.jsonl", "/r/b/t.jsonl", "t.jsonl"]), ["a/t.jsonl", "b/t.jsonl", "t.jsonl"]);
        assert_eq!(names(&["a/c/t", "b/c/t"]), ["a/c/t", "b/c/t"]);
        assert!(names(&["a/t", "a/t"]).is_empty() && names(&["./a/t", "a//t"]).is_empty());
    }
}
