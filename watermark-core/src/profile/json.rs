use serde::{Deserialize, Deserializer, Serialize};

use super::given::given;
use super::{AnyScheme, Beacon, Layer, PAIRED, Profile, SamplingPolicy, TokenizerInfo};
use crate::engine::{Engine, EngineOptions};
use crate::scheme::json::{place, read};
use crate::scheme::{Parameters, Scheme};
use crate::{Error, ErrorKind, Result, hex};

const VERSION: &str = "watermark-profile/1";
/// A profile is a few hundred bytes, or more with many special tokens.
const MAX_PROFILE: usize = 1 << 20;

#[derive(Deserialize)]
struct Version {
    profile: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileJson {
    profile: String,
    name: String,
    path: String,
    /// Absent without a beacon, null before it is drawn.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    beacon: Option<Option<String>>,
    tokenizer: TokenizerJson,
    layers: Vec<LayerJson>,
    repeats: Repeats,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    sampling: Option<SamplingPolicy>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerJson {
    sha256: String,
    vocab_size: u32,
    special_token_ids: Vec<u32>,
}

/// Either our own scheme (`scheme`, `width`, `prf`) or an engine's format (`engine`, `algorithm`, `context_width`).
#[derive(Default, Serialize, Deserialize)]
struct LayerJson {
    name: String,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    scheme: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    /// Everything else: the parameters of the scheme, or those of them that an engine has too.
    #[serde(flatten, deserialize_with = "parameters")]
    parameters: Parameters,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    context_width: Option<usize>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    per: Option<Per>,
}

/// The fields of a layer beside its parameters.
const LAYER_FIELDS: [&str; 8] = ["name", "scheme", "engine", "algorithm", "width", "context_width", "prf", "per"];

fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Parameters, D::Error> {
    read(deserializer, &LAYER_FIELDS)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Repeats {
    Unmarked,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Per {
    Account,
}

const PRF: &str = "chacha20-v1";

impl Profile {
    /// Reads a `watermark-profile/1` JSON document. Unknown fields are errors, because they could change what is scored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidParameter`],
    /// [`ErrorKind::InvalidPath`].
    pub fn parse(json: &str) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidProfile, why);
        if json.len() > MAX_PROFILE {
            return Err(invalid(format!("a profile is at most {MAX_PROFILE} bytes; this one has {}", json.len())));
        }
        // The version first, so that a newer profile is named as such and not as one with unknown fields.
        let version: Version = serde_json::from_str(json).map_err(|error| invalid(place("not a profile", &error)))?;
        if version.profile != VERSION {
            return Err(Error::new(
                ErrorKind::UnsupportedVersion,
                format!("the profile is of version {:?}; this program reads {VERSION:?}", version.profile),
            ));
        }
        let file: ProfileJson = serde_json::from_str(json).map_err(|error| invalid(place("profile", &error)))?;
        let mut layers = file.layers;
        let last = layers.pop_if(|layer| layer.scheme.as_deref() == Some(PAIRED));
        let paired = last.map(LayerJson::paired).transpose().map_err(invalid)?;
        let mut sha256 = [0; 32];
        hex::decode_any_case(file.tokenizer.sha256.as_bytes(), &mut sha256)
            .ok_or_else(|| invalid("tokenizer.sha256 is not 64 hexadecimal digits".to_owned()))?;
        let profile = Self {
            name: file.name,
            path: file.path.parse()?,
            beacon: match file.beacon {
                None => Beacon::None,
                Some(None) => Beacon::Awaited,
                Some(Some(digits)) => {
                    let mut value = [0; 32];
                    hex::decode(digits.as_bytes(), &mut value)
                        .ok_or_else(|| invalid("beacon is not 64 lower-case hexadecimal digits".to_owned()))?;
                    Beacon::Drawn(value)
                }
            },
            tokenizer: TokenizerInfo {
                sha256,
                vocab_size: file.tokenizer.vocab_size,
                special_token_ids: file.tokenizer.special_token_ids,
            },
            layers: layers.into_iter().map(Layer::try_from).collect::<Result<_>>()?,
            paired,
            sampling: file.sampling,
        };
        profile.validate()?;
        Ok(profile)
    }

    /// Writes what [`Profile::parse`] reads, indented, with a final newline.
    #[must_use]
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "strings and finite numbers always serialize")]
    pub fn print(&self) -> String {
        let file = ProfileJson {
            profile: VERSION.to_owned(),
            name: self.name.clone(),
            path: self.path.to_string(),
            beacon: match self.beacon {
                Beacon::None => None,
                Beacon::Awaited => Some(None),
                Beacon::Drawn(value) => Some(Some(hex::encode(&value))),
            },
            tokenizer: TokenizerJson {
                sha256: hex::encode(&self.tokenizer.sha256),
                vocab_size: self.tokenizer.vocab_size,
                special_token_ids: self.tokenizer.special_token_ids.clone(),
            },
            layers: self
                .layers
                .iter()
                .map(LayerJson::from)
                .chain(self.paired.iter().map(|name| LayerJson::of_pairs(name)))
                .collect(),
            repeats: Repeats::Unmarked,
            sampling: self.sampling,
        };
        let mut json = serde_json::to_string_pretty(&file).expect("profile serializes");
        json.push('\n');
        json
    }
}

impl TryFrom<LayerJson> for Layer {
    type Error = Error;

    fn try_from(json: LayerJson) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidProfile, format!("layer {:?}: {why}", json.name));
        let (scheme, width) = match (&json.scheme, &json.engine) {
            (Some(name), None) => json.own(name),
            (None, Some(name)) => json.engine(name),
            _ => Err("a layer has either a scheme or an engine".to_owned()),
        }
        .map_err(invalid)?;
        Ok(Self { scheme, width, per_account: json.per.is_some(), name: json.name })
    }
}

impl LayerJson {
    /// The name of a layer of paired draws, which has nothing to choose.
    fn paired(self) -> std::result::Result<String, String> {
        let Self { name, engine, algorithm, parameters, width, context_width, prf, per, .. } = self;
        let plain = width == Some(0) && prf.as_deref() == Some(PRF) && parameters.stated().next().is_none();
        let other = engine.is_some() || algorithm.is_some() || context_width.is_some() || per.is_some();
        if !plain || other {
            return Err(format!("layer {name:?}: paired has \"width\": 0 and \"prf\": {PRF:?} and nothing else"));
        }
        Ok(name)
    }

    fn of_pairs(name: &str) -> Self {
        let (scheme, prf) = (Some(PAIRED.to_owned()), Some(PRF.to_owned()));
        Self { name: name.to_owned(), scheme, width: Some(0), prf, ..Self::default() }
    }

    fn own(&self, name: &str) -> std::result::Result<(AnyScheme, usize), String> {
        if name == PAIRED {
            return Err("paired draws are the last layer of a profile, once".to_owned());
        }
        let prf = self.prf.as_deref().unwrap_or("");
        if prf != PRF {
            return Err(format!("unknown prf {prf:?}; this program knows {PRF:?}"));
        }
        if self.algorithm.is_some() || self.context_width.is_some() {
            return Err("algorithm and context_width belong to an engine; a scheme has a width".to_owned());
        }
        let named = Scheme::spec_of(name).and_then(|spec| {
            spec.check_marking(&self.parameters)?;
            Scheme::from_name(name, &self.parameters)
        });
        let scheme = named.map_err(|error| error.to_string())?;
        Ok((scheme.into(), self.width.ok_or("it needs a width")?))
    }

    fn engine(&self, name: &str) -> std::result::Result<(AnyScheme, usize), String> {
        let numbers = EngineOptions::NUMBERS.map(|(_, name)| name);
        let foreign = self.parameters.stated().any(|(name, _)| !numbers.contains(&name));
        if foreign || self.width.is_some() || self.prf.is_some() {
            let [first @ .., last] = numbers;
            return Err(format!(
                "an engine has engine, algorithm, context_width, {} and {last} only",
                first.join(", ")
            ));
        }
        let (context_width, algorithm) = (self.context_width, self.algorithm.clone());
        let bare = EngineOptions { context_width, algorithm, ..EngineOptions::default() };
        let mut given = numbers.into_iter().filter_map(|name| Some((name, self.parameters.get(name)?)));
        let engine = given
            .try_fold(bare, |options, (name, value)| options.with_number(name, value))
            .and_then(|options| Engine::from_profile(name, &options))
            .map_err(|error| error.to_string())?;
        Ok((engine.into(), engine.context_width()))
    }

    fn with_engine(self, engine: &Engine) -> Self {
        let (name, algorithm) = engine.profile_names();
        let options = engine.options();
        let (engine, algorithm) = (Some(name.to_owned()), Some(algorithm.to_owned()));
        let (context_width, parameters) = (options.context_width, options.numbers());
        Self { engine, algorithm, context_width, parameters, ..self }
    }
}

impl From<&Layer> for LayerJson {
    fn from(layer: &Layer) -> Self {
        let named =
            Self { name: layer.name.clone(), per: layer.per_account.then_some(Per::Account), ..Self::default() };
        match layer.scheme {
            AnyScheme::Engine(engine) => named.with_engine(&engine),
            AnyScheme::Own(scheme) => Self {
                scheme: Some(scheme.name().to_owned()),
                parameters: scheme.parameters(),
                width: Some(layer.width),
                prf: Some(PRF.to_owned()),
                ..named
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::key::NodeKey;
    use crate::profile::Boost;

    const GOOD: &str = r#"{"profile": "watermark-profile/1", "name": "chat-2026-11", "path": "epoch/2026-11",
        "tokenizer": {"sha256": "0000000000000000000000000000000000000000000000000000000000000000",
                      "vocab_size": 32000, "special_token_ids": [0, 1, 2]},
        "layers": [
          {"name": "distillation", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"},
          {"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1", "per": "account"}],
        "repeats": "unmarked"}"#;

    #[test]
    fn round_trip() {
        let profile = Profile::parse(GOOD).unwrap();
        assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
        assert!(profile.layers[1].per_account);
        let value = format!("\"{}\"", "5a".repeat(32));
        for (text, beacon) in [("null", Beacon::Awaited), (&value, Beacon::Drawn([0x5a; 32]))] {
            let with = GOOD.replace("\"tokenizer\"", &format!("\"beacon\": {text}, \"tokenizer\""));
            let profile = Profile::parse(&with).unwrap();
            assert_eq!(profile.beacon, beacon);
            assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
        }
    }

    #[test]
    fn a_layer_of_paired_draws() {
        let gumbel = "{\"name\": \"provenance\", \"scheme\": \"gumbel\", \"width\": 4, \"prf\": \"chacha20-v1\", \"per\": \"account\"}";
        let dual = "{\"name\": \"provenance\", \"scheme\": \"gumbel_dual_key\", \"alpha\": 0.5, \"width\": 4, \"prf\": \"chacha20-v1\"}";
        let pairs = "{\"name\": \"pairs\", \"scheme\": \"paired\", \"width\": 0, \"prf\": \"chacha20-v1\"}";
        let with = |layers: &str| GOOD.replace(gumbel, layers);
        let profile = Profile::parse(&with(&format!("{dual}, {pairs}"))).unwrap();
        assert_eq!((profile.paired.as_deref(), profile.layers.len()), (Some("pairs"), 2));
        assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
        assert_eq!(profile.committed_paths().unwrap()[2].as_str(), "epoch/2026-11/layer/pairs");
        for (layers, says) in [
            (
                format!("{gumbel}, {pairs}"),
                "beside paired draws the layer that draws must be gumbel_dual_key with alpha 0.5",
            ),
            (format!("{}, {pairs}", dual.replace("0.5", "0.25")), "with alpha 0.5"),
            (format!("{pairs}, {dual}"), "the last layer of a profile, once"),
            (format!("{pairs}, {}", pairs.replace("\"pairs\"", "\"more\"")), "once"),
            (pairs.replace("\"pairs\"", "\"distillation\""), "two layers"),
            (pairs.replace(": 0", ": 1"), "paired has"),
            (pairs.replace("\"width\"", "\"per\": \"account\", \"width\""), "paired has"),
            (pairs.replace("\"width\"", "\"gamma\": 0.5, \"width\""), "paired has"),
        ] {
            let error = Profile::parse(&with(&layers)).unwrap_err();
            assert!(error.to_string().contains(says), "{layers}: {error}");
        }
    }

    /// A field that is missing from the list would be read as a parameter, and refused.
    #[test]
    fn the_list_of_a_layers_fields_is_whole() {
        let text = || Some(String::new());
        let layer = LayerJson {
            name: String::new(),
            scheme: text(),
            engine: text(),
            algorithm: text(),
            parameters: Parameters::new(),
            width: Some(1),
            context_width: Some(1),
            prf: text(),
            per: Some(Per::Account),
        };
        let json = serde_json::to_value(layer).unwrap();
        let mut written: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = LAYER_FIELDS;
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(written, listed);
    }

    #[test]
    fn each_mistake_is_named() {
        for (from, to, kind, says) in [
            ("profile/1", "profile/2", ErrorKind::UnsupportedVersion, "watermark-profile/2"),
            ("\"width\": 4", "\"gamma\": null, \"width\": 4", ErrorKind::InvalidProfile, "wrong type"),
            ("\"greenlist\"", "\"sparkle\"", ErrorKind::InvalidProfile, "unknown scheme \"sparkle\""),
            ("chacha20-v1", "md5", ErrorKind::InvalidProfile, "unknown prf \"md5\""),
            ("0.5", "1.5", ErrorKind::InvalidProfile, "gamma is 1.5"),
            ("0.5", "false", ErrorKind::InvalidProfile, "gamma has the wrong type"),
            ("\"width\": 4", "\"gamma\": false, \"width\": 4", ErrorKind::InvalidProfile, "gumbel does not take gamma"),
            ("\"width\": 1", "\"width\": 9", ErrorKind::InvalidProfile, "width 9"),
            ("\"provenance\"", "\"distillation\"", ErrorKind::InvalidProfile, "two layers"),
            ("\"provenance\"", "\"Pro/venance\"", ErrorKind::InvalidProfile, "layer 1: the name"),
            ("[0, 1, 2]", "[32000]", ErrorKind::InvalidProfile, "special token id 32000"),
            ("\"repeats\"", "\"code\": {}, \"repeats\"", ErrorKind::InvalidProfile, "code"),
            ("epoch/2026-11", "Epoch", ErrorKind::InvalidPath, "Epoch"),
            ("000\",", "0\",", ErrorKind::InvalidProfile, "sha256"),
            ("\"tokenizer\"", "\"beacon\": \"5A\", \"tokenizer\"", ErrorKind::InvalidProfile, "beacon is not 64"),
            ("\"tokenizer\"", "\"beacon\": 5, \"tokenizer\"", ErrorKind::InvalidProfile, "wrong type"),
        ] {
            let error = Profile::parse(&GOOD.replace(from, to)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    /// Whoever learns a layer's node cannot try ids: the account's key follows from a secret that is not below the layer.
    #[test]
    fn an_opened_layer_does_not_tell_whose_account_it_was() {
        let profile = Profile::parse(GOOD).unwrap();
        let (layer, root) = (&profile.layers[1], NodeKey::root(b"master"));
        let opened = root.descend(&profile.layer_path(&layer.name).unwrap()).unwrap();
        let error = profile.prf_key(layer, &opened, Some("alice")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutsideSubtree, "{error}");
        assert!(error.to_string().contains("epoch/2026-11/accounts"), "{error}");

        let epoch = root.descend(&profile.path).unwrap();
        let words = |key: &NodeKey, account| *profile.prf_key(layer, key, Some(account)).unwrap().bytes();
        assert_eq!(words(&root, "alice"), words(&epoch, "alice"));
        assert_ne!(words(&root, "alice"), words(&root, "bob"));
        let guessed = opened.path().join("account").unwrap().join(&hex::encode(&Sha256::digest(b"alice"))).unwrap();
        let guessed = opened.descend(&guessed).unwrap().prf_key(layer.scheme.name(), layer.width).unwrap();
        assert_ne!(words(&root, "alice"), *guessed.bytes());

        let committed: Vec<String> =
            profile.committed_paths().unwrap().iter().map(|path| path.as_str().to_owned()).collect();
        assert_eq!(committed[2..], ["epoch/2026-11/accounts"]);
    }

    #[test]
    fn a_key_in_place_of_a_profile_is_not_repeated() {
        for text in
            [format!("\"{}\"", "5e".repeat(32)), "5e".repeat(32), format!("{{\"profile\": [\"{}\"]}}", "5e".repeat(32))]
        {
            let message = Profile::parse(&text).unwrap_err().to_string();
            assert!(!message.contains("5e5e"), "{message}");
        }
    }

    /// `GOOD`, of which one layer boosts, with a policy.
    fn with_policy(policy: &str) -> String {
        GOOD.replace("\"repeats\"", &format!("\"sampling\": {policy}, \"repeats\""))
    }

    const POLICY: &str = r#"{"boost": "before_temperature", "min_temperature": 0.25, "min_top_p": 0.75}"#;

    #[test]
    fn a_policy_is_read_and_written_where_it_is_set() {
        let profile = Profile::parse(&with_policy(POLICY)).unwrap();
        let policy =
            SamplingPolicy { boost: Boost::BeforeTemperature, min_temperature: Some(0.25), min_top_p: Some(0.75) };
        assert_eq!(profile.sampling, Some(policy));
        assert!(profile.marks_greedy());
        assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
        let plain = Profile::parse(&with_policy(r#"{"boost": "after_temperature"}"#)).unwrap();
        assert_eq!(plain.sampling, Some(SamplingPolicy::default()));
        assert!(!plain.marks_greedy());
        assert!(plain.print().contains("after_temperature") && !plain.print().contains("min_"));
        assert!(!Profile::parse(GOOD).unwrap().print().contains("sampling"));
    }

    #[test]
    fn each_mistake_in_a_policy_is_named() {
        for (policy, says) in [
            ("null", "wrong type"),
            ("{}", "boost"),
            (r#"{"boost": "sometimes"}"#, "sometimes"),
            (r#"{"boost": null}"#, "profile:"),
            (r#"{"boost": "after_temperature", "min_top_k": 5}"#, "min_top_k"),
            (r#"{"boost": "after_temperature", "min_temperature": null}"#, "wrong type"),
            (r#"{"boost": "after_temperature", "min_temperature": "0.5"}"#, "wrong type"),
            (r#"{"boost": "after_temperature", "min_temperature": 0}"#, "min_temperature is 0"),
            (r#"{"boost": "after_temperature", "min_temperature": -0.5}"#, "min_temperature is -0.5"),
            (r#"{"boost": "after_temperature", "min_top_p": 0}"#, "min_top_p is 0"),
            (r#"{"boost": "after_temperature", "min_top_p": 1.5}"#, "min_top_p is 1.5"),
        ] {
            let error = Profile::parse(&with_policy(policy)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidProfile, "{error}");
            assert!(error.to_string().contains(says), "{policy}: {error}");
        }
        let unbiased =
            with_policy(POLICY).replace("\"greenlist\", \"gamma\": 0.5, \"delta\": 2.0", "\"mcmark\", \"gamma\": 0.5");
        let error = Profile::parse(&unbiased).unwrap_err();
        assert!(error.to_string().contains("mcmark keeps the model's distribution"), "{error}");
        // A layer alone, as it is tested, keeps the policy; without a boost it means nothing.
        let mut choosing = Profile::parse(&with_policy(r#"{"boost": "before_temperature"}"#)).unwrap();
        assert!(choosing.marks_greedy());
        choosing.layers.remove(0);
        choosing.validate().unwrap();
        assert!(!choosing.marks_greedy());
    }

    proptest! {
        #[test]
        fn no_panic_on_mutated_profiles(policy in any::<bool>(), at in any::<prop::sample::Index>(), byte in any::<char>()) {
            let good = if policy { with_policy(POLICY) } else { GOOD.to_owned() };
            let at = at.index(good.len());
            let mut text: String = good.chars().take(at).collect();
            text.push(byte);
            text.extend(good.chars().skip(at + 1));
            if let Ok(profile) = Profile::parse(&text) {
                prop_assert_eq!(Profile::parse(&profile.print()).unwrap(), profile);
            }
        }

        /// Whatever numbers a policy has, what is printed is what was read, and what cannot be read cannot be served.
        #[test]
        fn policies_survive_printing(
            before in any::<bool>(),
            min_temperature in prop::option::of(-1_000i32..100_000),
            min_top_p in prop::option::of(-100i32..1_200),
        ) {
            let boost = if before { Boost::BeforeTemperature } else { Boost::AfterTemperature };
            let thousandths = |n: i32| f64::from(n) / 1000.0;
            let policy = SamplingPolicy {
                boost,
                min_temperature: min_temperature.map(thousandths),
                min_top_p: min_top_p.map(thousandths),
            };
            let profile = Profile { sampling: Some(policy), ..Profile::parse(GOOD).unwrap() };
            let valid = min_temperature.is_none_or(|n| n > 0) && min_top_p.is_none_or(|n| (1..=1000).contains(&n));
            prop_assert_eq!(profile.validate().is_ok(), valid);
            prop_assert_eq!(Profile::parse(&profile.print()).ok(), valid.then_some(profile));
        }
    }
}
