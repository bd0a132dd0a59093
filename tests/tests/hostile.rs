//! Anything at the public entry points: no panic, no NaN, no -0.0, and every position counted once.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use watermark_core::detect::{Choice, LayerDetector, Resampling, Test, Weights, conclude};
use watermark_core::engine::{Engine, EngineKey, EngineOptions};
use watermark_core::key::PrfKey;
use watermark_core::model_test::{ModelSample, Round};
use watermark_core::profile::{AnyScheme, Profile};
use watermark_core::scheme::{Domain, NullLaw, Parameters, Scheme, Value};

fn key() -> PrfKey {
    PrfKey::from_hex(&"5a".repeat(32)).unwrap()
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -1.0..2.0f64,
        prop::sample::select(vec![0.0, 0.5, 0.25, 1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324])
    ]
}

fn parameter_names() -> Vec<&'static str> {
    Scheme::SPECS.iter().flat_map(|spec| spec.parameters).map(|parameter| parameter.name).collect()
}

fn well_formed(log10_p: f64) -> bool {
    log10_p.is_finite() && log10_p <= 0.0 && (log10_p < 0.0 || log10_p.is_sign_positive())
}

/// Every scheme and engine at some parameters.
fn layers() -> Vec<LayerDetector> {
    let examples =
        Scheme::SPECS.iter().flat_map(|spec| spec.examples.iter().map(|example| spec.build(example).unwrap()));
    let given = Parameters::new();
    let more = [
        ("greenlist", given.clone().with("gamma", 0.3), 0),
        ("greenlist", given.clone().with("gamma", 0.5), 8),
        ("gumbel", given.clone(), 2),
        ("gumbel_dual_key", given.clone().with("alpha", 0.2), 1),
        ("tournament", given.with("depth", 7u32), 1),
    ];
    let more = more.into_iter().map(|(name, given, width)| (Scheme::from_name(name, &given).unwrap(), width));
    let own = examples.chain(more).map(|(scheme, width)| LayerDetector::from_prf_key(scheme, width, &key()).unwrap());
    let engines = Engine::examples(50)
        .unwrap()
        .into_iter()
        .map(|engine| LayerDetector::from_engine(engine, &EngineKey::from_prf_key(&engine, &key()).unwrap()).unwrap());
    own.chain(engines).collect()
}

fn scheme() -> impl Strategy<Value = AnyScheme> {
    prop::sample::select(layers().iter().map(LayerDetector::scheme).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_tokens(
        records in prop::collection::vec(
            (prop::collection::vec(0u32..40, 0..20), prop::collection::vec(prop_oneof![0u32..40, any::<u32>()], 0..120)), 0..4),
    ) {
        for layer in layers() {
            let (mut tally, mut peer) = (layer.tally(), layer.peer_tally());
            let mut positions = 0;
            for (prompt, tokens) in &records {
                let small: Vec<u32> = tokens.iter().map(|&id| id % 60).collect();
                for tokens in [tokens, &small] {
                    if layer.add(&mut tally, prompt, tokens).is_ok() {
                        positions += tokens.len() as u64;
                        if let Some(peer) = &mut peer {
                            peer.add(prompt, tokens);
                        }
                    } else {
                        prop_assert!(tokens.iter().any(|&id| id >= 1 << 24));
                    }
                    let mut exclude = layer.pair_set();
                    layer.add_prompt(&mut exclude, prompt).unwrap();
                    let Ok(windows) = layer.count_windows(&exclude, prompt, tokens) else { continue };
                    if let Ok(spans) = layer.locate(&exclude, prompt, tokens, windows, 0.5) {
                        for span in spans {
                            prop_assert!(span.tokens.0 < span.tokens.1 && span.tokens.1 <= tokens.len());
                            prop_assert!(span.window.0 < span.window.1 && span.window.1 <= tokens.len());
                            let tally = layer.window_tally(&exclude, prompt, tokens, &span).unwrap();
                            prop_assert_eq!(tally.n_scored(), span.n_scored);
                            prop_assert!(well_formed(span.log10_p) && well_formed(span.log10_p_adjusted));
                        }
                    }
                }
            }
            let counted = tally.n_scored() + tally.n_duplicate() + tally.n_excluded() + tally.n_short_context();
            prop_assert_eq!(counted, positions);
            let finding = layer.finding(&tally).unwrap();
            prop_assert!(well_formed(finding.log10_p), "{:?}", finding);
            prop_assert!(finding.ln_e.unwrap().is_finite());
            prop_assert!(!(finding.ln_e.unwrap() == 0.0 && finding.ln_e.unwrap().is_sign_negative()));
            if let Ok(weighted) = layer.finding_with(&tally, Weights::Sqrt) {
                prop_assert!(well_formed(weighted.log10_p), "{:?}", weighted);
            }
            if let Some(peer) = peer {
                let statistic = peer.statistic();
                prop_assert!(!statistic.statistic.is_nan() && statistic.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)), "{statistic:?}");
            }
            if !layer.inputs_depend_on_key() {
                let resampled = layer.resample(&tally, Weights::None, finding.log10_p, &[1; 32], 0..3).unwrap();
                prop_assert!(resampled.keys == 3 && resampled.at_least <= 3);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What a hostile suspect may claim to prefer: any tokens and probabilities, in any number of rounds.
    #[test]
    fn any_choices(
        rounds in prop::collection::vec(
            (prop::collection::vec(0u32..40, 0..20), prop::collection::vec(
                (prop_oneof![8 => 0u32..40, 1 => any::<u32>()], prop::collection::vec((0u32..60, any::<f64>()), 0..5)), 0..60)), 0..4),
        shift in -3.0..3.0f64,
    ) {
        for layer in layers() {
            let (mut shown, mut read) = (ModelSample::of_probabilities(&layer), ModelSample::of_probabilities(&layer));
            let mut answers = ModelSample::of_answers(&layer);
            for (prompt, rows) in &rounds {
                let (tokens, choices): (Vec<u32>, Vec<Vec<Choice>>) = rows
                    .iter()
                    .map(|(token, row)| (*token, Choice::from_log_probabilities(row.iter().map(|&(id, p)| (id, p + shift)))))
                    .unzip();
                let round = Round { prompts: vec![prompt], answers: vec![&tokens], choices: vec![&choices] };
                // Ids beyond 2^24 and engines that mix context and token are errors, and leave nothing behind.
                let _ = shown.add_round(&layer, &round);
                let _ = answers.add_round(&layer, &round);
                let _ = read.add_reading(&layer, prompt, &tokens, &choices);
            }
            for sample in [&shown, &read, &answers] {
                if let Ok(finding) = sample.test(&layer) {
                    prop_assert!(well_formed(finding.log10_p) && well_formed(finding.log10_p_distinct), "{finding:?}");
                    prop_assert!(finding.ln_e.is_finite() && finding.weighted_mean().is_finite(), "{finding:?}");
                    prop_assert!(!(finding.ln_e == 0.0 && finding.ln_e.is_sign_negative()));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_scheme_parameters(
        spec in prop::sample::select(Scheme::SPECS.to_vec()),
        values in prop::collection::vec(prop::option::of((number(), 0u32..40, any::<bool>())), 8),
        foreign in prop::option::weighted(0.1, (prop::sample::select(parameter_names()), number())),
    ) {
        let mut given = Parameters::new();
        for (parameter, value) in spec.parameters.iter().zip(values) {
            let Some((real, whole, flag)) = value else { continue };
            given = given.with(parameter.name, match parameter.domain {
                Domain::Whole { .. } => Value::Whole(whole),
                Domain::Flag => Value::Flag(flag),
                Domain::Real { .. } | Domain::BlockShare => Value::Real(real),
            });
        }
        if let Some((name, value)) = foreign {
            given = given.with(name, value);
        }
        if let Ok(scheme) = Scheme::from_name(spec.name, &given) {
            prop_assert_eq!(Scheme::from_name(spec.name, &scheme.parameters()).unwrap(), scheme);
            if let NullLaw::Bits { gamma, .. } = scheme.null_law() {
                prop_assert!(gamma > 0.0 && gamma < 1.0);
            }
        }
    }

    /// A scheme as the C interface and profiles get it: any text, or a good one with a value replaced.
    #[test]
    fn any_scheme_json(text in ".{0,60}", at in 0usize..4, value in prop_oneof![
        "-?[0-9]{1,25}", "\"[a-z0-9_-]{0,20}\"", Just("null".to_owned()), Just("1e999".to_owned()), Just("[]".to_owned()),
        Just("true".to_owned()), Just("{}".to_owned()), Just("0.5".to_owned()),
    ]) {
        let _ = Scheme::parse(&text);
        let values: Vec<&str> = ["\"greenlist\"", "0.5", "2.0", "1"].iter().enumerate().map(|(i, good)| if i == at { value.as_str() } else { *good }).collect();
        let json = format!("{{\"scheme\": {}, \"gamma\": {}, \"delta\": {}, \"block\": {}}}", values[0], values[1], values[2], values[3]);
        match Scheme::parse(&json) {
            Ok(scheme) => prop_assert_eq!(Scheme::from_name(scheme.name(), &scheme.parameters()).unwrap(), scheme),
            // A text in place of a number may be a key.
            Err(error) => prop_assert!(at == 0 || value.len() < 8 || !value.starts_with('"') || !error.to_string().contains(&value)),
        }
    }

    #[test]
    fn any_engine_and_key(
        name in prop_oneof![prop::sample::select(Engine::names().map(str::to_owned).collect::<Vec<_>>()), ".{0,12}"],
        width in prop::option::of(0usize..70),
        algorithm in prop::option::of(prop::sample::select(vec!["gumbel", "greenlist", "tournament", "gumbel_dual_key", "x"])),
        gamma in prop::option::of(number()),
        depth in prop::option::of(0u32..40),
        alpha in prop::option::of(number()),
        vocab_size in prop::option::of(any::<u32>()),
        text in prop_oneof![".{0,30}", "-?[0-9]{1,21}(,-?[0-9]{1,20}){0,31}", "[0-9a-f]{1,17}"],
    ) {
        let algorithm = algorithm.map(str::to_owned);
        let options = EngineOptions { context_width: width, algorithm, gamma, depth, alpha, vocab_size };
        if let Ok(engine) = Engine::new(&name, &options) {
            prop_assert_eq!(engine.name(), name);
            match EngineKey::parse(&engine, &text) {
                Ok(key) => {
                    let shown = format!("{key:?}");
                    prop_assert_eq!(shown, "EngineKey(..)");
                    let printed = key.print(&engine);
                    let again = EngineKey::parse(&engine, &printed).unwrap();
                    prop_assert_eq!(&*again.print(&engine), &*printed);
                }
                Err(error) => prop_assert!(text.len() < 4 || !error.to_string().contains(&text)),
            }
        }
    }

    /// A profile of any bytes, or of a good one with a value replaced.
    #[test]
    fn any_profile(text in ".{0,200}", at in 0usize..24, value in prop_oneof![
        "-?[0-9]{1,25}", "\"[a-z0-9@_-]{0,20}\"", Just("null".to_owned()), Just("1e999".to_owned()), Just("[]".to_owned()),
        Just("true".to_owned()), Just("{}".to_owned()), Just("0.5".to_owned()), Just("\"vllm\"".to_owned()),
    ]) {
        let _ = Profile::parse(&text);
        let good = r#"{"profile": "watermark-profile/1", "name": "x", "path": "a", "tokenizer": {"sha256":
            "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 32000, "special_token_ids": [0]},
            "layers": [{"name": "d", "scheme": "greenlist", "gamma": 0.25, "delta": 2.0, "block": 3, "width": 1, "prf": "chacha20-v1"},
            {"name": "t", "scheme": "tournament", "depth": 30, "weighted": true, "width": 2, "prf": "chacha20-v1"},
            {"name": "p", "engine": "vllm", "algorithm": "gumbel", "context_width": 4}], "repeats": "unmarked"}"#;
        prop_assert!(Profile::parse(good).is_ok());
        // Replace the value after the colon number `at`.
        let mut parts: Vec<String> = good.split(": ").map(str::to_owned).collect();
        let at = 1 + at % (parts.len() - 1);
        let end = parts[at].find([',', '}', '\n']).unwrap_or(parts[at].len());
        parts[at].replace_range(..end, &value);
        if let Ok(profile) = Profile::parse(&parts.join(": ")) {
            prop_assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
        }
    }

    #[test]
    fn any_family(tests in prop::collection::vec((scheme(), 0u64..3, number(), 0u64..=999), 0..12), alpha in number()) {
        let test = |(scheme, n_scored, log10_p, at_least)| {
            Test { scheme, n_scored, log10_p, weights: Weights::None, references_agree: true, resampling: Resampling { keys: 999, at_least } }
        };
        let tests: Vec<Test> = tests.into_iter().map(test).collect();
        prop_assert_eq!(conclude(&tests, alpha).len(), tests.len());
        for test in tests {
            let _ = Resampling { keys: 999, at_least: test.n_scored }.contradicts(test.log10_p);
        }
    }
}
