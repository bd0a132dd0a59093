//! Programs in C and C++ against the static library, under AddressSanitizer and UndefinedBehaviorSanitizer.
//!
//! Needs `cc` and `c++` (or `$CC`, `$CXX`) with these sanitizers; without them the tests say so and `scripts/test` names them as
//! skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod plain;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use watermark_core::key::{KeyPath, NodeKey, SEALING_ENTROPY, print_key_file, seal_key_file};
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};
use watermark_core::profile::{Boost, Layer, Profile, SamplingPolicy, TokenizerInfo};
use watermark_core::scheme::{Adfp, Greenlist, Gumbel, Scheme};

const VOCAB: u32 = 300;
const STEPS: u32 = 200;
const SANITIZE: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// The compiler of a source file and the standard it is held to; `None` if there is none that has the sanitizers.
fn compiler(source: &str) -> Option<(String, &'static str)> {
    let (variable, default, language, standard) = match Path::new(source).extension()?.to_str()? {
        "c" => ("CC", "cc", "c", "-std=c11"),
        _ => ("CXX", "c++", "c++", "-std=c++17"),
    };
    let compiler = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    // Tests run side by side: each source has a probe of its own.
    let probe = folder("probe").join(source.replace('/', "-"));
    std::fs::write(&probe, "int main() { return 0; }\n").unwrap();
    let built = Command::new(&compiler).args(SANITIZE).arg("-o").arg(probe.with_extension("out")).arg(&probe).output();
    if built.is_ok_and(|built| built.status.success()) {
        return Some((compiler, standard));
    }
    eprintln!("SKIPPED: no {language} compiler with AddressSanitizer ({compiler})");
    None
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The static library beside this test.
fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().parent().unwrap().join("libwatermark.a");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// Builds a source of this crate and runs it; what it prints.
fn run(source: &str, arguments: &[&Path]) -> Option<String> {
    let (compiler, standard) = compiler(source)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = folder("programs").join(source.replace(['/', '.'], "-"));
    let mut build = Command::new(compiler);
    build.args([standard, "-g", "-O1", "-Wall", "-Wextra", "-Werror"]).args(SANITIZE);
    build.arg("-I").arg(root.join("include")).arg("-o").arg(&program).arg(root.join(source));
    let built = build.arg(library()).args(["-lpthread", "-ldl", "-lm"]).output().unwrap();
    assert!(built.status.success(), "{source}: {}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(&program).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{source}: {}\n{out}\n{err}", ran.status);
    Some(out.into_owned())
}

fn key() -> NodeKey {
    NodeKey::root(b"a master secret of the C tests, 32 bytes or more")
}

fn profile() -> Profile {
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    Profile {
        name: "c".to_owned(),
        path: "epoch/1".parse::<KeyPath>().unwrap(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: vec![0] },
        layers: Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
        ..Profile::default()
    }
}

/// Profile and key as files.
fn files(folder: &Path) -> (PathBuf, PathBuf) {
    let (profile_path, key_path) = (folder.join("profile.json"), folder.join("key.json"));
    std::fs::write(&profile_path, profile().print()).unwrap();
    std::fs::write(&key_path, print_key_file(&key()).as_bytes()).unwrap();
    (profile_path, key_path)
}

/// The stand-in for a model of `tests/c/check.h`.
fn model(step: u32) -> Vec<f32> {
    (0..VOCAB).map(|v| f32::from(u16::try_from((v * 31 + step * 17) % 97).unwrap()) / 16.0).collect()
}

/// A profile whose layer needs a proxy.
fn adfp() -> Profile {
    let scheme = Scheme::Adfp(Adfp::new(0.5, 2.0).unwrap());
    let layer = Layer { name: "fingerprint".to_owned(), scheme: scheme.into(), width: 1, per_account: false };
    Profile { layers: vec![layer], ..profile() }
}

/// A profile with a sampling policy.
fn held() -> Profile {
    let policy = SamplingPolicy { boost: Boost::BeforeTemperature, min_temperature: Some(0.5), min_top_p: Some(0.75) };
    Profile { sampling: Some(policy), ..profile() }
}

/// As `begin` of `tests/c/session.c`.
const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: None, min_p: None };

/// A sequence, one token a step.
fn generate(
    profile: Profile,
    marked: bool,
    sampling: Sampling,
    choose: impl Fn(&mut Session, Vec<f32>, u32) -> u32,
) -> Vec<u32> {
    let options = SessionOptions { marked, seed: 7, sampling, account: None, request: None };
    let mut session = Marker::new(profile, &key()).unwrap().session(&options).unwrap();
    for step in 0..STEPS {
        let token = choose(&mut session, model(step), step);
        session.accept(token).unwrap();
    }
    session.generated().to_vec()
}

#[test]
fn sessions_give_the_tokens_of_rust() {
    let folder = folder("session");
    let (profile_path, key_path) = files(&folder);
    let (adfp_path, held_path) = (folder.join("adfp.json"), folder.join("held.json"));
    std::fs::write(&adfp_path, adfp().print()).unwrap();
    std::fs::write(&held_path, held().print()).unwrap();
    let sample = |session: &mut Session, logits: Vec<f32>, _: u32| session.sample(&logits).unwrap();
    let process = |session: &mut Session, mut logits: Vec<f32>, _: u32| {
        session.process(&mut logits).unwrap();
        let best = (0..VOCAB as usize).reduce(|best, v| if logits[v] > logits[best] { v } else { best });
        u32::try_from(best.unwrap()).unwrap()
    };
    let with_proxy = |session: &mut Session, logits: Vec<f32>, step: u32| {
        let share = |v: u32| f32::from(u16::try_from(1 + (v + step) % 3).unwrap()) / (2.0 * 300.0);
        session.set_proxy(&(0..VOCAB).map(share).collect::<Vec<_>>()).unwrap();
        session.sample(&logits).unwrap()
    };
    let mut expected = String::new();
    for (name, tokens) in [
        ("marked", generate(profile(), true, SAMPLING, sample)),
        ("unmarked", generate(profile(), false, SAMPLING, sample)),
        ("processed", generate(profile(), true, SAMPLING, process)),
        ("proxy", generate(adfp(), true, SAMPLING, with_proxy)),
        ("raised", generate(held(), true, Sampling { temperature: 0.0, top_p: Some(0.25), ..SAMPLING }, sample)),
    ] {
        let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
        writeln!(expected, "{name} {} {}", tokens.len(), tokens.join(" ")).unwrap();
    }
    let path = folder.join("expected.txt");
    std::fs::write(&path, expected).unwrap();
    if let Some(printed) = run("tests/c/session.c", &[&profile_path, &key_path, &path, &adfp_path, &held_path]) {
        assert_eq!(printed, "session: ok\n");
    }
}

#[test]
fn vectors_in_c_and_cpp() {
    let (cases, n) = plain::cases();
    assert!(n > 500, "{n}");
    let path = folder("vectors").join("cases.txt");
    std::fs::write(&path, cases).unwrap();
    for source in ["tests/c/vectors.c", "tests/c/vectors.cpp"] {
        if let Some(printed) = run(source, &[&path]) {
            assert_eq!(printed, format!("vectors: {n} cases\n"), "{source}");
        }
    }
}

#[test]
fn errors_are_named_and_hold_no_key() {
    let folder = folder("errors");
    let (profile_path, key_path) = files(&folder);
    let sealed_path = folder.join("sealed.json");
    std::fs::write(&sealed_path, seal_key_file(&key(), "pass phrase", &[9; SEALING_ENTROPY]).unwrap()).unwrap();
    let account_path = folder.join("account.json");
    let mut per_account = profile();
    per_account.layers[0].per_account = true;
    std::fs::write(&account_path, per_account.print()).unwrap();
    let digits = watermark_core::hex::encode(key().secret());
    let arguments =
        [&profile_path, &key_path, &sealed_path, Path::new("pass phrase"), &account_path, Path::new(&digits)];
    if let Some(printed) = run("tests/c/errors.c", &arguments) {
        assert_eq!(printed, "errors: ok\n");
    }
}

#[test]
fn threads_share_a_marker() {
    let (profile, key) = files(&folder("threads"));
    if let Some(printed) = run("tests/c/threads.c", &[&profile, &key]) {
        assert_eq!(printed, "threads: ok\n");
    }
}

#[test]
fn llama_cpp_gets_a_sampler() {
    let (profile, key) = files(&folder("llama"));
    if let Some(printed) = run("tests/c/llama.c", &[&profile, &key]) {
        assert_eq!(printed, "llama: ok\n");
    }
}

#[test]
fn the_example_finds_its_mark() {
    let Some(printed) = run("examples/mark_and_detect.c", &[]) else { return };
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");
    for (line, layer) in lines.iter().zip(["distillation (greenlist)", "provenance (gumbel)"]) {
        let log10_p: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(line.starts_with(layer) && log10_p < -6.0, "{printed}");
    }
}
