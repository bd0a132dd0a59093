//! Teachers' answers and students, kept in a folder so that no figure makes them twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, LayerDetector};
use watermark_core::hex;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Sampling};
use watermark_core::profile::{Layer, Profile};
use watermark_core::scheme::Scheme;
use watermark_lab::answer::{Answer, Answering, answer, prompt_ids};
use watermark_lab::fine_tune::{FineTuning, fine_tune};
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};
use watermark_toolkit::tokenizer::Tokenizer;

/// As the demo: temperature 0.8, the 50 most likely tokens.
pub const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: None, min_p: None };

/// Longest answer in tokens.
pub const MAX_NEW_TOKENS: usize = 80;

/// A distillation layer with the number of its key.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Its scheme.
    pub scheme: Scheme,
    /// Context width in tokens.
    pub width: usize,
    /// The key follows from this number.
    pub key: u64,
}

/// What a student starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The clean base.
    Base,
    /// Random weights.
    Scratch,
}

/// Questions with their answers.
#[derive(Clone, Default)]
pub struct Data {
    /// What was asked.
    pub questions: Vec<String>,
    /// One answer per question.
    pub answers: Vec<Answer>,
}

impl Data {
    /// `n` pairs from `from` on, or what is left.
    #[must_use]
    pub fn slice(&self, from: usize, n: usize) -> Self {
        let range = from.min(self.questions.len())..(from + n).min(self.questions.len());
        Self { questions: self.questions[range.clone()].to_vec(), answers: self.answers[range].to_vec() }
    }

    /// The first part of `self`, then the rest of `other`; both answer the same questions.
    #[must_use]
    pub fn mixed(&self, other: &Self, share: f64) -> Self {
        let n = (share * self.questions.len() as f64).round() as usize;
        let answers = self.answers.iter().take(n).chain(other.answers.iter().skip(n)).cloned().collect();
        Self { questions: self.questions.clone(), answers }
    }
}

#[derive(Serialize, Deserialize)]
struct CachedAnswer {
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<Option<u32>>,
}

/// Makes answers and students, or takes them from its folder.
pub struct Lab {
    /// The shipped models' tokenizer.
    pub tokenizer: Tokenizer,
    cache: PathBuf,
    /// In place of the shipped one.
    base: Option<Base>,
}

/// A clean base that students start from.
struct Base {
    name: String,
    weights: Vec<u8>,
    /// Where it is not the teacher's, with the file's bytes.
    tokenizer: Option<(Tokenizer, Vec<u8>)>,
}

impl Lab {
    /// A laboratory that keeps what it makes in `cache`.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(cache: PathBuf) -> Result<Self> {
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        Ok(Self { tokenizer: Tokenizer::embedded()?, cache, base: None })
    }

    /// The same, with students that start from another clean base, which may have a tokenizer of its own.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn with_base(self, weights: &Path, tokenizer: Option<&Path>) -> Result<Self> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let tokenizer =
            tokenizer.map(|path| Ok::<_, anyhow::Error>((Tokenizer::open(path)?, read(path)?))).transpose()?;
        let name = weights.file_stem().context("a base without a name")?.to_string_lossy().into_owned();
        Ok(Self { base: Some(Base { name, weights: read(weights)?, tokenizer }), ..self })
    }

    /// What students start from.
    ///
    /// # Errors
    /// If its file holds no such model.
    pub fn base(&self) -> Result<Model> {
        self.base.as_ref().map_or_else(shipped::base, |base| Model::from_safetensors(&base.weights))
    }

    /// What tables call it.
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.base.as_ref().map_or("shipped", |base| &base.name)
    }

    /// The students' tokenizer, where it is not the teacher's.
    #[must_use]
    pub fn other_tokenizer(&self) -> Option<&Tokenizer> {
        Some(&self.base.as_ref()?.tokenizer.as_ref()?.0)
    }

    /// Where it keeps what it makes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.cache
    }

    /// The profile of one layer.
    ///
    /// # Errors
    /// If the tokenizer cannot be described.
    pub fn profile(&self, mark: &Mark) -> Result<Profile> {
        let layer = Layer {
            name: "distillation".to_owned(),
            scheme: mark.scheme.into(),
            width: mark.width,
            per_account: false,
        };
        let (name, path) = ("laboratory".to_owned(), KeyPath::root());
        Ok(Profile { name, path, tokenizer: self.tokenizer.info()?, layers: vec![layer], ..Profile::default() })
    }

    /// The key behind a mark.
    #[must_use]
    pub fn key(mark: &Mark) -> NodeKey {
        NodeKey::root(format!("radioactivity {}", mark.key).as_bytes())
    }

    /// The detector of a mark.
    ///
    /// # Errors
    /// For a profile that is not valid.
    pub fn layer(&self, mark: &Mark) -> Result<LayerDetector> {
        let detector = Detector::new(&self.profile(mark)?, &Self::key(mark), None)?;
        detector.layers().first().cloned().context("a layer")
    }

    /// The teacher's answers to word problems of `seed`, marked or not.
    ///
    /// # Errors
    /// If generating, reading or writing fails.
    pub fn teacher(&self, mark: &Mark, marked: bool, seed: u64, n: usize) -> Result<Data> {
        let what = format!("teacher {:?} {} {} {marked} {seed} {n}", mark.scheme, mark.width, mark.key);
        self.answers(&what, &shipped::teacher()?, mark, marked, seed, n, SAMPLING)
    }

    /// A student's answers to word problems of `seed`.
    ///
    /// # Errors
    /// If generating, reading or writing fails.
    pub fn ask(&self, student: &Student, seed: u64, n: usize, temperature: f32) -> Result<Data> {
        let what = format!("student {} {seed} {n} {temperature}", student.name);
        // The layer is there for the session's sake; nothing is marked.
        let mark = Mark { scheme: Scheme::Gumbel(watermark_core::scheme::Gumbel), width: 4, key: 0 };
        let sampling = Sampling { temperature, ..SAMPLING };
        self.answers(&what, &student.model, &mark, false, seed, n, sampling)
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is the name of what is kept")]
    fn answers(
        &self,
        what: &str,
        model: &Model,
        mark: &Mark,
        marked: bool,
        seed: u64,
        n: usize,
        sampling: Sampling,
    ) -> Result<Data> {
        self.kept(what, prompts::word_problems(seed, n), |questions| {
            let marker = Marker::new(self.profile(mark)?, &Self::key(mark))?;
            let how = Answering {
                max_new_tokens: MAX_NEW_TOKENS,
                sampling,
                marked,
                account: None,
                // Draws that no key decides differ between any two runs.
                seed: u64::from_le_bytes(Sha256::digest(what)[..8].try_into()?),
                requests: None,
            };
            answer(model, &self.tokenizer, &marker, questions, &how, &mut |_| ())
        })
    }

    /// Answers to `questions` as `make` gives them, kept under the name `what`, which says all that they depend on.
    ///
    /// # Errors
    /// If making, reading or writing fails.
    pub fn kept(
        &self,
        what: &str,
        questions: Vec<String>,
        make: impl FnOnce(&[String]) -> Result<Vec<Answer>>,
    ) -> Result<Data> {
        let path = self.cache.join(format!("{}.jsonl", hex::encode(&Sha256::digest(what)[..12])));
        if let Ok(text) = fs::read_to_string(&path) {
            let kept = text.lines().map(serde_json::from_str::<CachedAnswer>).collect::<Result<Vec<_>, _>>()?;
            let answers = kept.into_iter().map(|kept| {
                let CachedAnswer { prompt_tokens, tokens, text, withheld } = kept;
                Answer { prompt_tokens, tokens, text, withheld }
            });
            return Ok(Data { questions, answers: answers.collect() });
        }
        let answers = make(&questions)?;
        let mut lines = Vec::new();
        for Answer { prompt_tokens, tokens, text, withheld } in answers.iter().cloned() {
            serde_json::to_writer(&mut lines, &CachedAnswer { prompt_tokens, tokens, text, withheld })?;
            lines.push(b'\n');
        }
        self.keep(&path, &lines)?;
        Ok(Data { questions, answers })
    }

    /// A student of `data`. `after` is another student to go on from.
    ///
    /// # Errors
    /// If training, reading or writing fails.
    pub fn student(&self, from: Start, after: Option<&Student>, data: &Data, tuning: &FineTuning) -> Result<Student> {
        let mut digest = Sha256::new();
        let FineTuning { epochs, learning_rate, seed } = tuning;
        // What names a kept student is spelled out: another name of a type or field must not train all of them anew.
        let tuned = format!("Lesson {{ epochs: {epochs:?}, learning_rate: {learning_rate:?}, seed: {seed:?} }}");
        digest.update(format!("{from:?} {tuned} {:?}", after.map(|student| &student.name)));
        digest.update(self.base()?.to_safetensors_f16()?);
        if let Some((_, file)) = self.base.as_ref().and_then(|base| base.tokenizer.as_ref()) {
            digest.update(file);
        }
        for (question, answer) in data.questions.iter().zip(&data.answers) {
            digest.update(format!("{question}\0{}\0", answer.text));
        }
        let name = hex::encode(&digest.finalize()[..12]);
        let path = self.cache.join(format!("{name}.safetensors"));
        if let Ok(bytes) = fs::read(&path) {
            return Ok(Student { name, model: Model::from_safetensors(&bytes)? });
        }
        let model = match (after, from) {
            (Some(student), _) => Model::from_safetensors(&student.model.to_safetensors_f16()?)?,
            (None, Start::Base) => self.base()?,
            (None, Start::Scratch) => Model::new(self.base()?.config(), tuning.seed)?,
        };
        fine_tune(
            &model,
            self.other_tokenizer().unwrap_or(&self.tokenizer),
            &data.questions,
            &data.answers,
            tuning,
            |_| (),
        )?;
        let bytes = model.to_safetensors_f16()?;
        self.keep(&path, &bytes)?;
        // What is kept is rounded; what is used is what is kept.
        Ok(Student { name, model: Model::from_safetensors(&bytes)? })
    }

    fn keep(&self, path: &PathBuf, bytes: &[u8]) -> Result<()> {
        let aside = path.with_extension("part");
        fs::write(&aside, bytes)?;
        fs::rename(&aside, path).with_context(|| format!("writing {}", path.display()))
    }

    /// The ids that a model reads before an answer.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn prompt(&self, question: &str) -> Result<Vec<u32>> {
        prompt_ids(&self.tokenizer, question)
    }
}

/// A model that learned answers.
pub struct Student {
    /// Digest of what it learned.
    pub name: String,
    /// Its weights, rounded as they are kept.
    pub model: Model,
}
