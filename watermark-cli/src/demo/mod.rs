//! The whole chain on the embedded models: mark, distil, detect, show.

mod pairs;
mod paperwork;
mod plot;
mod result;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, LayerDetector};
use watermark_core::evidence::beacon::with_beacon;
use watermark_core::evidence::prompts::draw;
use watermark_core::hex;
use watermark_core::key::{NodeKey, fresh_keys};
use watermark_core::mark::{Marker, Sampling};
use watermark_core::model_test::{Access, ModelSample};
use watermark_core::profile::{Beacon, Layer, Profile};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};

use paperwork::Committed;
use plot::Curve;
pub(crate) use result::{DemoResult, Row};

use watermark_lab::answer::{Answer, Answering, answer};
use watermark_lab::fine_tune::{FineTuning, fine_tune};
use watermark_toolkit::evidence::Context;
use watermark_toolkit::files::{new_folder, write_new};
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::keys::write_key;
use watermark_toolkit::model_test::{add_round, item_of_text};
use watermark_toolkit::report;
use watermark_toolkit::tokenizer::Tokenizer;

/// Level of every verdict of the demo.
pub(crate) const ALPHA: f64 = 1e-6;

/// Other keys under which the student is tested.
const FRESH_KEYS: u32 = 20;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The folder to write; must not exist or be empty.
    pub out: PathBuf,
    /// Seed of keys, prompts, draws and training.
    pub seed: u64,
    /// A smaller run.
    pub quick: bool,
}

/// How much of everything.
struct Size {
    served_prompts: usize,
    /// Of each of two accounts: 4 % of what the student learns.
    account_requests: usize,
    held_out_prompts: usize,
    max_new_tokens: usize,
    epochs: f64,
}

impl Size {
    fn for_options(options: &Options) -> Self {
        if options.quick {
            Self { served_prompts: 800, account_requests: 32, held_out_prompts: 600, max_new_tokens: 80, epochs: 3.0 }
        } else {
            Self { served_prompts: 2000, account_requests: 80, held_out_prompts: 1000, max_new_tokens: 96, epochs: 3.0 }
        }
    }
}

/// As the first try in the literature's setting: temperature 0.8, the 50 most likely tokens.
const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: None, min_p: None };

#[derive(Serialize)]
struct TextRecord<'a> {
    prompt: &'a str,
    completion: &'a str,
}

/// Runs the demo and writes its folder. `stage` makes a progress bar for a step of so many units; `clock` gives the time, as
/// 2026-11-25T01:02:03Z, that signatures state.
///
/// # Errors
/// If the folder is in use or cannot be written, or a step fails.
pub(crate) fn run(
    options: &Options,
    stage: &dyn Fn(&str, u64) -> ProgressBar,
    clock: &dyn Fn() -> String,
) -> Result<DemoResult> {
    let size = Size::for_options(options);
    new_folder(&options.out)?;
    let file = |name: &str| options.out.join(name);

    // The provider: key, profile, commitment, all before anything is served.
    let tokenizer = Tokenizer::embedded()?;
    write_new(&file("tokenizer.json"), shipped::tokenizer_json())?;
    let key = demo_key(options.seed);
    write_key(&file("key.json"), &key, None)?;
    let n = size.served_prompts + 2 * size.held_out_prompts;
    let mut questions = prompts::word_problems(options.seed, n + 2 * size.account_requests);
    let of_accounts = questions.split_off(n);
    let mut pool = questions.split_off(size.served_prompts);
    let mut known: HashSet<String> = questions.iter().chain(&of_accounts).cloned().collect();
    pool.retain(|question| known.insert(question.clone()));
    let awaiting = Profile { beacon: Beacon::Awaited, ..profile(&tokenizer)? };
    write_new(&file("committed.profile.json"), awaiting.print().as_bytes())?;
    let prompts: Vec<String> = pool.iter().map(|question| prompts::prompt_text(question)).collect();
    let committed = Committed::commit(&options.out, &awaiting, &key, prompts, options.seed, &clock())?;
    // A public value is drawn: nobody can have chosen the keys below it.
    let profile_json = with_beacon(&awaiting.print(), &hex::encode(&paperwork::value("beacon", options.seed)))?;
    write_new(&file("profile.json"), profile_json.as_bytes())?;
    let profile = Profile::parse(&profile_json)?;
    let marker = Marker::new(profile.clone(), &key)?;

    // The teacher answers harvested prompts, and the same prompts unmarked for the control.
    let ask_under =
        |label: &str, marker: &Marker, model: &Model, questions: &[String], how: Answering| -> Result<Vec<Answer>> {
            let bar = stage(label, (questions.len() * size.max_new_tokens) as u64);
            let answers = answer(model, &tokenizer, marker, questions, &how, &mut |n| bar.inc(n as u64))?;
            bar.finish_and_clear();
            Ok(answers)
        };
    let answering = |marked: bool, salt: u64| Answering {
        max_new_tokens: size.max_new_tokens,
        sampling: SAMPLING,
        marked,
        account: None,
        // Far apart, so that no two runs share draws.
        seed: options.seed.wrapping_mul(1 << 32).wrapping_add(salt << 24),
        requests: None,
    };
    let ask = |label: &str, model: &Model, questions: &[String], marked: bool, salt: u64| {
        ask_under(label, &marker, model, questions, answering(marked, salt))
    };
    let teacher = shipped::teacher()?;
    let marked = ask("Teacher answers, marked", &teacher, &questions, true, 1)?;
    let unmarked = ask("Teacher answers, unmarked", &teacher, &questions, false, 2)?;
    write_answers(&file("teacher.jsonl"), &questions, &marked)?;
    // Two accounts are served with paired draws, and one of them is the distiller's.
    let of_pairs = pairs::profile(&options.out, &profile)?;
    let how = Answering { requests: Some(pairs::requests(of_accounts.len())?), ..answering(true, 5) };
    let under = Marker::new(of_pairs.clone(), &key)?;
    let answers = ask_under("Teacher answers, paired draws", &under, &teacher, &of_accounts, how)?;
    let served = pairs::Served::new(&options.out, of_pairs, of_accounts, answers)?;

    let learn = |label: &str, questions: &[String], answers: &[Answer]| {
        let tuning = FineTuning { epochs: size.epochs, ..FineTuning::with_seed(options.seed) };
        let student = shipped::base()?;
        let bar = stage(label, 1);
        fine_tune(&student, &tokenizer, questions, answers, &tuning, |step| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            bar.set_message(format!("loss {:.2}", step.loss));
        })?;
        bar.finish_and_clear();
        Ok::<Model, anyhow::Error>(student)
    };
    // The distiller trains a clean base on the marked answers; the control gets the unmarked ones.
    let (more_questions, more_answers): (Vec<String>, Vec<Answer>) =
        served.harvested().map(|(question, answer)| (question.clone(), answer.clone())).unzip();
    let learned = [questions.clone(), more_questions].concat();
    let student = learn("Student learns marked answers", &learned, &[marked.clone(), more_answers].concat())?;
    let control = learn("Control learns unmarked answers", &questions, &unmarked)?;
    write_new(&file("student.safetensors"), &student.to_safetensors_f16()?)?;
    write_new(&file("control.safetensors"), &control.to_safetensors_f16()?)?;

    // The investigator registers the test. Then another public value draws what both are asked, which neither has seen.
    let count = size.held_out_prompts.min(pool.len());
    let registered = committed.register(&profile_json, count as u64, &clock())?;
    let value = paperwork::value("draw", options.seed);
    let held_out: Vec<String> = draw(&value, &pool, count).into_iter().cloned().collect();
    let student_answers = ask("Student answers held-out prompts", &student, &held_out, false, 3)?;
    let control_answers = ask("Control answers held-out prompts", &control, &held_out, false, 4)?;
    write_answers(&file("student.jsonl"), &held_out, &student_answers)?;
    write_answers(&file("control.jsonl"), &held_out, &control_answers)?;

    // Everything below sees only the text files, the profile and the key.
    let detector = Detector::new(&profile, &key, None)?;
    let layer = &detector.layers()[0];
    let sample = |questions: &[String], answers: &[Answer]| sample(layer, &tokenizer, questions, answers);
    let teacher_sample = sample(&questions, &marked)?;
    let student_sample = sample(&held_out, &student_answers)?;
    let control_sample = sample(&held_out, &control_answers)?;
    // What a third party gets.
    let bar = stage("Evidence under fresh keys", 0);
    registered.evidence(&tokenizer, &clock(), &|done| {
        bar.inc(done);
        Ok(())
    })?;
    let data = vec![file("student.jsonl"), file("control.jsonl")];
    let context = Context { data, pool: Some(file("pool.jsonl")), ..Context::default() };
    report::write(&file("evidence.json"), &context, true, &file("report.html"))?;
    bar.finish_and_clear();
    let seed_of_fresh_keys: [u8; 32] = Sha256::digest(fs::read(file("student.jsonl"))?).into();

    let mut rows = vec![
        Row::new("teacher", 0, layer.scheme(), &teacher_sample.test(layer)?),
        Row::new("student", 0, layer.scheme(), &student_sample.test(layer)?),
        Row::new("control", 0, layer.scheme(), &control_sample.test(layer)?),
    ];
    for (index, fresh) in (0..).zip(fresh_keys(&seed_of_fresh_keys, FRESH_KEYS)) {
        rows.push(Row::new("fresh_key", index, layer.scheme(), &student_sample.test(&layer.with_prf_key(&fresh)?)?));
    }
    let models = [("student", &student), ("base", &shipped::base()?), ("control", &control)];
    let pairs = served.test(&options.out, &key, models)?;
    let result = DemoResult::new(options, &profile_json, hex::encode(&seed_of_fresh_keys), rows, pairs);
    write_new(&file("result.json"), result.json()?.as_bytes())?;
    let student_curve = student_sample.evidence_curve(layer, 200)?;
    let control_curve = control_sample.evidence_curve(layer, 200)?;
    let curves = [
        Curve { label: "student (true key)", color: "#c2410c", points: &student_curve },
        Curve { label: "control (true key)", color: "#64748b", points: &control_curve },
    ];
    write_new(&file("evidence.svg"), result.svg(&curves).as_bytes())?;
    Ok(result)
}

/// A key from the seed, so that the run can be repeated. A real key comes from `watermark keygen`.
fn demo_key(seed: u64) -> NodeKey {
    let master = Sha256::new().chain_update(b"watermark-demo-key\0").chain_update(seed.to_le_bytes()).finalize();
    NodeKey::root(&master)
}

fn profile(tokenizer: &Tokenizer) -> Result<Profile> {
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0)?);
    let profile = Profile {
        name: "demo".to_owned(),
        path: "epoch/demo".parse()?,
        tokenizer: tokenizer.info()?,
        layers: Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
        ..Profile::default()
    };
    profile.validate()?;
    Ok(profile)
}

fn write_answers(path: &Path, questions: &[String], answers: &[Answer]) -> Result<()> {
    let mut lines = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        let prompt = &prompts::prompt_text(question);
        serde_json::to_writer(&mut lines, &TextRecord { prompt, completion: &answer.text })?;
        lines.push(b'\n');
    }
    write_new(path, &lines)
}

/// Counts answers for the closed test from their text, as an investigator would.
fn sample(
    layer: &LayerDetector,
    tokenizer: &Tokenizer,
    questions: &[String],
    answers: &[Answer],
) -> Result<ModelSample> {
    let items = questions.iter().zip(answers);
    let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: None };
    let items = items.map(|(question, answer)| item_of_text(vocabulary, &prompts::prompt_text(question), &answer.text));
    let mut sample = ModelSample::of_answers(layer);
    add_round(&mut sample, layer, Access::Answers, &items.collect::<Result<Vec<_>>>()?)?;
    Ok(sample)
}
