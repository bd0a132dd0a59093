use std::sync::Arc;

use zeroize::Zeroizing;

use super::catalogue::CATALOGUE;
#[cfg(feature = "detect")]
use super::format::KeyedEngine;
use super::format::{Algorithm, Engine, EngineMarking, EngineScore, Format};
use super::key::EngineKey;
use crate::key::PrfKey;
use crate::prf::ChaCha20V1;
use crate::scheme::{Entry as _, GumbelDualKey, MAX_DEPTH, NullLaw, Parameters, Value};
use crate::{Error, ErrorKind, Result};

/// Parameters of an [`Engine`]; `None` is the peer's own default.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Tokens of context, in the peer's own counting.
    pub context_width: Option<usize>,
    /// `greenlist`, `gumbel`, `gumbel_dual_key` or `tournament`, where the peer has several.
    pub algorithm: Option<String>,
    /// Share of green tokens.
    pub gamma: Option<f64>,
    /// Tournament layers.
    pub depth: Option<u32>,
    /// Share of key B.
    pub alpha: Option<f64>,
    /// Length of the logits row at generation, for green lists that permute it ([`Engine::permuting`]).
    pub vocab_size: Option<u32>,
}

impl EngineOptions {
    /// The numbers that an engine may take beside its context width: the scheme of ours that has the same one, under whose
    /// option users know it, and its name there and in profiles.
    pub const NUMBERS: [(&str, &str); 3] =
        [("greenlist", "gamma"), ("tournament", "depth"), ("gumbel_dual_key", "alpha")];

    /// These options with one of [`Self::NUMBERS`], by its name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for another name, or a value of another type.
    pub fn with_number(self, name: &str, value: Value) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::InvalidParameter, format!("{name} has the wrong type"));
        let (real, whole) = (|| value.real().ok_or_else(wrong), || value.whole().ok_or_else(wrong));
        match name {
            "gamma" => Ok(Self { gamma: Some(real()?), ..self }),
            "depth" => Ok(Self { depth: Some(whole()?), ..self }),
            "alpha" => Ok(Self { alpha: Some(real()?), ..self }),
            _ => invalid(format!("no engine takes {name}")),
        }
    }

    /// Those of [`Self::NUMBERS`] that are given.
    #[must_use]
    pub fn numbers(&self) -> Parameters {
        let values = [self.gamma.map(Value::Real), self.depth.map(Value::Whole), self.alpha.map(Value::Real)];
        let given = Self::NUMBERS.into_iter().zip(values).filter_map(|((_, name), value)| Some((name, value?)));
        given.fold(Parameters::new(), |parameters, (name, value)| parameters.with(name, value))
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidParameter, message))
}

fn find(name: &str) -> Result<&'static Format> {
    CATALOGUE.iter().copied().find(|format| format.name == name).ok_or_else(|| {
        let known: Vec<&str> = Engine::names().collect();
        Error::new(ErrorKind::InvalidParameter, format!("unknown engine {name:?}; known are {}", known.join(", ")))
    })
}

impl Engine {
    /// The names of [`Engine::new`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        CATALOGUE.iter().map(|format| format.name)
    }

    /// The names of formats that this crate can mark in.
    pub fn marking() -> impl Iterator<Item = &'static str> {
        CATALOGUE.iter().filter(|format| format.marking.is_some()).map(|format| format.name)
    }

    /// The names of formats whose green lists permute the vocabulary, so that they need its size.
    pub fn permuting() -> impl Iterator<Item = &'static str> {
        CATALOGUE.iter().filter(|format| format.permutes_vocabulary).map(|format| format.name)
    }

    /// How keys are written, for the help of an option: those that are not one decimal integer first.
    #[must_use]
    pub fn key_forms() -> String {
        let mut forms: Vec<&str> = CATALOGUE.iter().map(|format| format.key.help).collect();
        forms.sort_by_key(|help| help.starts_with("else"));
        forms.dedup();
        forms.join("; ")
    }

    /// Every format at the settings that tests, calibrations and benchmarks run; `vocab_size` is for those that permute the
    /// vocabulary.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a vocabulary of less than four tokens.
    pub fn examples(vocab_size: u32) -> Result<Vec<Self>> {
        let settings = CATALOGUE.iter().flat_map(|format| format.examples.iter().map(move |setting| (format, setting)));
        let example = |(format, &(algorithm, context_width)): (&&'static Format, &(&str, Option<usize>))| {
            let permutes = format.permutes_vocabulary && algorithm == "greenlist";
            let options = EngineOptions {
                context_width,
                algorithm: Some(algorithm.to_owned()),
                vocab_size: permutes.then_some(vocab_size),
                ..EngineOptions::default()
            };
            Self::from_format(format, &options)
        };
        settings.map(example).collect()
    }

    /// An engine by name, for instance `vllm` or `textseal@2026`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an unknown name or a parameter outside its domain.
    pub fn new(name: &str, options: &EngineOptions) -> Result<Self> {
        Self::from_format(find(name)?, options)
    }

    /// An engine by name, for a key as [`EngineKey::parse`] reads it: where a key has one integer a tournament layer and
    /// `depth` is not given, there are as many layers as integers.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_key(name: &str, key: &str, options: &EngineOptions) -> Result<Self> {
        let format = find(name)?;
        let layers = format.key.one_a_layer.then(|| u32::try_from(key.split(',').count()).ok()).flatten();
        Self::from_format(format, &EngineOptions { depth: options.depth.or(layers), ..options.clone() })
    }

    /// The format that profiles mean by an engine and perhaps an algorithm.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_profile(name: &str, options: &EngineOptions) -> Result<Self> {
        let algorithm = options.algorithm.as_deref();
        let means = |format: &&&'static Format| {
            let (engine, spellings) = format.in_profiles.unwrap_or((format.name, &[]));
            engine == name && algorithm.is_some_and(|given| spellings.contains(&given))
        };
        match CATALOGUE.iter().find(means) {
            Some(format) => Self::from_format(format, &EngineOptions { algorithm: None, ..options.clone() }),
            None => Self::new(name, options),
        }
    }

    /// Engine and algorithm as profiles name them.
    #[must_use]
    pub fn profile_names(&self) -> (&'static str, &'static str) {
        (self.format.in_profiles.map_or(self.format.name, |(engine, _)| engine), self.score.name())
    }

    fn from_format(format: &'static Format, options: &EngineOptions) -> Result<Self> {
        let name = format.name;
        let known = || format.algorithms.iter().map(|algorithm| algorithm.name());
        let given = options.algorithm.as_deref();
        let algorithm = match given {
            None => format.algorithms.first(),
            Some(given) => format.algorithms.iter().find(|algorithm| algorithm.name() == given),
        };
        let Some(&algorithm) = algorithm else {
            let known: Vec<&str> = known().collect();
            return invalid(format!("{name} has no algorithm {:?}; it has {}", given.unwrap_or(""), known.join(", ")));
        };
        let score = match algorithm {
            Algorithm::Gumbel => EngineScore::Gumbel,
            Algorithm::DualKey { alpha } => EngineScore::DualKey(GumbelDualKey::new(options.alpha.unwrap_or(alpha))?),
            Algorithm::Tournament { depth } => EngineScore::Tournament { depth: options.depth.unwrap_or(depth) },
            Algorithm::Greenlist { gamma } => EngineScore::Greenlist { gamma: options.gamma.unwrap_or(gamma) },
        };
        let is_list = matches!(score, EngineScore::Greenlist { .. });
        for (given, applies, option) in [
            (options.gamma.is_some(), is_list, "gamma"),
            (options.depth.is_some(), matches!(score, EngineScore::Tournament { .. }), "depth"),
            (options.alpha.is_some(), matches!(score, EngineScore::DualKey(_)), "the share of key B"),
            (options.vocab_size.is_some(), is_list && format.permutes_vocabulary, "vocab_size"),
        ] {
            if given && !applies {
                return invalid(format!("{option} does not apply to {name} with {}", algorithm.name()));
            }
        }
        let (default_width, most) = format.width;
        let width = options.context_width.unwrap_or(default_width);
        if !(1..=most).contains(&width) {
            return invalid(format!("context_width {width} with {name}; it must be 1 to {most}"));
        }
        let engine = Self { format, score, width, vocab_size: options.vocab_size.unwrap_or(0) };
        engine.check_score()?;
        Ok(engine)
    }

    fn check_score(&self) -> Result<()> {
        match self.score {
            EngineScore::Greenlist { gamma } if !(gamma > 0.0 && gamma < 1.0) => {
                invalid(format!("gamma is {gamma}; it must be between 0 and 1"))
            }
            EngineScore::Greenlist { .. } if self.permutes_vocabulary() => {
                if self.vocab_size == 0 {
                    return invalid(format!(
                        "{} permutes the whole vocabulary: give vocab_size, the length of the logits row at generation",
                        self.name()
                    ));
                }
                if self.green_tokens() == 0 {
                    return invalid("gamma times vocab_size is below one token");
                }
                Ok(())
            }
            EngineScore::Tournament { depth } if !(1..=MAX_DEPTH).contains(&depth) => {
                invalid(format!("tournament depth is {depth}; it must be 1 to {MAX_DEPTH}"))
            }
            _ => Ok(()),
        }
    }

    /// The name that [`Engine::new`] takes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.format.name
    }

    /// The name, with the algorithm where the engine has several.
    #[must_use]
    pub fn label(&self) -> String {
        match self.format.algorithms.len() {
            1 => self.name().to_owned(),
            _ => format!("{} {}", self.name(), self.score.name()),
        }
    }

    /// What its words mean.
    #[must_use]
    pub fn score(&self) -> EngineScore {
        self.score
    }

    /// Tokens of context, in the peer's own counting (a self-hash window counts the candidate).
    #[must_use]
    pub fn context_width(&self) -> usize {
        self.width
    }

    /// The parameters that [`Engine::new`] needs to make this engine again.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        let none = EngineOptions::default();
        let own = match self.score {
            EngineScore::Greenlist { gamma } => EngineOptions { gamma: Some(gamma), ..none },
            EngineScore::Gumbel => none,
            EngineScore::DualKey(scheme) => EngineOptions { alpha: Some(scheme.alpha()), ..none },
            EngineScore::Tournament { depth } => EngineOptions { depth: Some(depth), ..none },
        };
        EngineOptions {
            context_width: Some(self.width),
            algorithm: Some(self.score.name().to_owned()),
            vocab_size: self.permutes_vocabulary().then_some(self.vocab_size),
            ..own
        }
    }

    /// Whether this crate can mark in this format.
    #[must_use]
    pub fn can_mark(&self) -> bool {
        self.format.marking.is_some()
    }

    /// Whether the words come from torch's generator. On a CPU it is MT19937 and can be repeated; on a GPU the assignment
    /// of draws to tokens depends on the launch grid, hence on the GPU model, so such a mark cannot be detected elsewhere.
    #[must_use]
    pub fn uses_torch_generator(&self) -> bool {
        self.format.torch_generator
    }

    /// Whether one score takes a generator's whole stream, so that many keys take long.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.format.slow
    }

    /// The engine under a key, for marking.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`] if this crate cannot mark in its format.
    pub(crate) fn marking_half(&self, key: &EngineKey) -> Result<Arc<dyn EngineMarking>> {
        let why =
            || Error::new(ErrorKind::InvalidProfile, format!("{} can be detected but not marked with", self.name()));
        self.format.marking.map(|make| make(self, key)).ok_or_else(why)
    }

    /// The engine under a key, for scoring; tournament layers with a repeated key are void.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a number of keys that the engine does not take.
    #[cfg(feature = "detect")]
    pub(crate) fn keyed(self, key: &EngineKey) -> Result<Arc<dyn KeyedEngine>> {
        (self.format.keyed)(self, key)
    }

    /// The law of a pair's score over keys, if the peer's function of the key is an ideal one.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        (self.format.null_law)(self)
    }

    /// The law of scores whose words are uniform and, where lists permute the vocabulary, drawn without replacement.
    pub(super) fn uniform_law(&self) -> NullLaw {
        match self.score {
            EngineScore::Gumbel => NullLaw::ExponentialQ32,
            EngineScore::DualKey(scheme) => scheme.null_law(),
            EngineScore::Greenlist { .. } if self.permutes_vocabulary() => {
                NullLaw::BitsWithoutReplacement { gamma: f64::from(self.green_tokens()) / f64::from(self.vocab_size) }
            }
            EngineScore::Greenlist { gamma } => NullLaw::Bits { gamma, trials: 1 },
            EngineScore::Tournament { depth } => NullLaw::Bits { gamma: 0.5, trials: depth },
        }
    }

    pub(super) fn permutes_vocabulary(&self) -> bool {
        self.format.permutes_vocabulary && matches!(self.score, EngineScore::Greenlist { .. })
    }

    /// Tokens on a permuted green list, `int(vocab_size * gamma)`.
    pub(super) fn green_tokens(&self) -> u32 {
        match self.score {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= gamma < 1, checked")]
            EngineScore::Greenlist { gamma } => (f64::from(self.vocab_size) * gamma) as u32,
            _ => 0,
        }
    }
}

impl EngineKey {
    /// Reads a key as the peer's configuration writes it: hexadecimal (1 to 16 digits) for SGLang, a comma-separated list of
    /// integers for SynthID, else one decimal integer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`]; the message does not repeat the text.
    pub fn parse(engine: &Engine, text: &str) -> Result<Self> {
        let form = &engine.format.key;
        let keys = (form.parse)(text.trim()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidParameter, format!("a key of {} is {}", engine.name(), form.is))
        })?;
        Ok(Self(Zeroizing::new(keys)))
    }

    /// The engine key that belongs to a PRF key: integer i is words 2i (low half) and 2i+1 of its `chacha20-v1` stream with
    /// the empty context. One key tree thus serves a fleet of different engines, and fresh keys exist for each.
    ///
    /// # Errors
    /// None for a depth that [`Engine::new`] accepts.
    pub fn from_prf_key(engine: &Engine, key: &PrfKey) -> Result<Self> {
        let count = match engine.score() {
            EngineScore::Tournament { depth } if engine.format.key.one_a_layer => depth as usize,
            _ => 1,
        };
        let prf = ChaCha20V1::new(key, 0)?;
        let mut words = Zeroizing::new(vec![0; 2 * count]);
        if let Some(context) = prf.context(&[])? {
            prf.vocabulary_words(context, &mut words)?;
        }
        let pairs = words.as_chunks::<2>().0.iter();
        Ok(Self(Zeroizing::new(pairs.map(|&[low, high]| u64::from(low) | u64::from(high) << 32).collect())))
    }

    /// The key as the peer's configuration writes it.
    #[must_use]
    pub fn print(&self, engine: &Engine) -> Zeroizing<String> {
        Zeroizing::new((engine.format.key.print)(&self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scheme::Scheme;

    /// What an engine takes is what the scheme beside it takes, and comes back as it was given.
    #[test]
    fn numbers() {
        let mut options = EngineOptions::default();
        let mut given = Parameters::new();
        for ((scheme, name), value) in EngineOptions::NUMBERS.into_iter().zip([0.25.into(), 7u32.into(), 0.5.into()]) {
            assert!(Scheme::spec_of(scheme).unwrap().parameter(name).is_some_and(|parameter| parameter.scored));
            options = options.with_number(name, value).unwrap();
            given = given.with(name, value);
        }
        assert_eq!((options.gamma, options.depth, options.alpha), (Some(0.25), Some(7), Some(0.5)));
        assert_eq!(options.numbers(), given);
        for (name, value) in [("gamma", Value::Flag(true)), ("depth", Value::Real(2.5)), ("delta", Value::Real(2.0))] {
            let error = EngineOptions::default().with_number(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
