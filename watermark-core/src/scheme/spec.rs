use std::ops::{Bound, RangeBounds};

use super::{Blocks, Parameters, Scheme, Value};
use crate::{Error, ErrorKind, Result};

/// Everything about a scheme before it has parameters. Help texts, parsers, checks and tests are made from it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name in profiles, in the PRF key derivation and in output. It is fixed for ever.
    pub name: &'static str,
    /// The paper: authors, year, arXiv id or venue.
    pub source: &'static str,
    /// One sentence: what it does, for help texts.
    pub summary: &'static str,
    /// How it marks.
    pub kind: Kind,
    /// Whether each token, averaged over keys, follows the model's distribution.
    pub distortion_free: bool,
    /// The parameters, in the order in which a profile prints them.
    pub parameters: &'static [Parameter],
    /// Sets of parameters for tests, benchmarks and calibration. Each can mark and score.
    pub examples: &'static [Example],
}

/// How a scheme marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It draws the token, and so comes last.
    Choosing,
    /// It changes the distribution that the token is drawn from.
    Reweighting,
    /// The same with the help of a proxy's probabilities ([`crate::mark::Session::set_proxy`]).
    ReweightingByProxy,
}

/// One parameter of a scheme.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The name in profiles.
    pub name: &'static str,
    /// The name on the command line, and, with `_` for `-`, in Python.
    pub option: &'static str,
    /// The meaning, as a phrase.
    pub help: &'static str,
    /// The values that it may have.
    pub domain: Domain,
    /// What needs it: marking and scoring, marking alone, or neither.
    pub need: Need,
    /// Whether the score depends on it.
    pub scored: bool,
    /// The value in a new profile if the user names none.
    pub usual: Option<Value>,
}

/// What needs a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// Marking and scoring.
    Always,
    /// Marking only, and not if the flag named here is set. Scoring takes 0 for it.
    Marking {
        /// The flag that takes its place.
        unless: Option<&'static str>,
    },
    /// Neither: it may be left out of every profile and call, and has this value then.
    Optional(Value),
}

/// The values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Real numbers of an interval; NaN is in none.
    Real {
        /// Lower end.
        low: Bound<f64>,
        /// Upper end.
        high: Bound<f64>,
        /// The interval in words, after "it must be".
        words: &'static str,
    },
    /// Shares of [`Blocks`]: 1/2, 1/4, … 2^-16.
    BlockShare,
    /// Whole numbers.
    Whole {
        /// The smallest.
        low: u32,
        /// The largest.
        high: u32,
    },
    /// Set or not set.
    Flag,
}

/// Parameters of a scheme and a width that go together.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Context width in tokens.
    pub width: usize,
    /// The parameters by name.
    pub parameters: &'static [(&'static str, Value)],
}

impl Kind {
    /// Whether the scheme draws the token.
    #[must_use]
    pub const fn chooses(self) -> bool {
        matches!(self, Self::Choosing)
    }

    /// Whether marking needs a proxy's probabilities at every position.
    #[must_use]
    pub const fn needs_proxy(self) -> bool {
        matches!(self, Self::ReweightingByProxy)
    }
}

impl Domain {
    /// Shares for which comparing a 32-bit word is neither always true nor always false: `floor(share * 2^32)` is
    /// neither 0 nor 2^32.
    pub(crate) const SHARE: Self = Self::Real {
        low: Bound::Included(1.0 / super::TWO_32),
        high: Bound::Excluded(1.0),
        words: "between 0 and 1, at least 2^-32",
    };

    /// What kind of value it takes, for an error message.
    fn kind(&self) -> &'static str {
        match self {
            Self::Real { .. } | Self::BlockShare => "a number",
            Self::Whole { .. } => "a whole number",
            Self::Flag => "true or false",
        }
    }
}

impl Parameter {
    /// A parameter that marking and scoring need, with no usual value.
    pub(crate) const fn new(name: &'static str, help: &'static str, domain: Domain) -> Self {
        Self { name, option: name, help, domain, need: Need::Always, scored: true, usual: None }
    }

    pub(crate) const fn option(self, option: &'static str) -> Self {
        Self { option, ..self }
    }

    pub(crate) const fn usual(self, value: Value) -> Self {
        Self { usual: Some(value), ..self }
    }

    /// It may be left out, and is `value` then.
    pub(crate) const fn or(self, value: Value) -> Self {
        Self { need: Need::Optional(value), ..self }
    }

    /// The score does not depend on it.
    pub(crate) const fn unscored(self) -> Self {
        Self { scored: false, ..self }
    }

    /// Marking needs it, or the flag `unless` in its place; the score does not depend on it.
    pub(crate) const fn for_marking(self, unless: Option<&'static str>) -> Self {
        Self { need: Need::Marking { unless }, scored: false, ..self }
    }

    /// Whether `value` is of the right type and in the domain. The message of a wrong type does not repeat the value.
    fn check(&self, value: Value) -> Result<()> {
        let Self { name, domain, .. } = self;
        let invalid = |message: String| Error::new(ErrorKind::InvalidParameter, message);
        let wrong = || invalid(format!("{name} has the wrong type; it is {}", domain.kind()));
        match *domain {
            Domain::Real { low, high, words } => {
                let real = value.real().ok_or_else(wrong)?;
                if !(low, high).contains(&real) {
                    return Err(invalid(format!("{name} is {real}; it must be {words}")));
                }
            }
            Domain::BlockShare => drop(Blocks::from_gamma(value.real().ok_or_else(wrong)?)?),
            Domain::Whole { low, high } => {
                let inside = value.whole().is_some_and(|whole| (low..=high).contains(&whole));
                // A whole number that is negative or too large to be one here is out of range, not of the wrong type.
                if !inside && value.real().is_none_or(|real| real.fract() != 0.0) {
                    return Err(wrong());
                }
                if !inside {
                    return Err(invalid(format!("{name} is {value}; it must be between {low} and {high}")));
                }
            }
            Domain::Flag if matches!(value, Value::Flag(_)) => {}
            Domain::Flag => return Err(wrong()),
        }
        Ok(())
    }
}

impl Spec {
    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Refuses a value outside the domain of the parameter `name`.
    pub(crate) fn check(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        self.parameter(name).ok_or_else(|| self.does_not_take(name))?.check(value.into())
    }

    /// Checks parameters against the spec: names, types, what is missing, domains. No other place does.
    pub(crate) fn given<'a>(&'a self, parameters: &'a Parameters) -> Result<Given<'a>> {
        if let Some((name, _)) = parameters.stated().find(|&(name, _)| self.parameter(name).is_none()) {
            return Err(self.does_not_take(name));
        }
        let absent = |parameter: &&Parameter| parameters.get(parameter.name).is_none();
        if let Some(parameter) = self.parameters.iter().filter(|parameter| parameter.need == Need::Always).find(absent)
        {
            let Parameter { name, option, help, .. } = parameter;
            let known_as =
                if option == name { String::new() } else { format!(", {help} ({})", option.replace('-', "_")) };
            return Err(Error::new(ErrorKind::InvalidParameter, format!("{} needs {name}{known_as}", self.name)));
        }
        for (name, value) in parameters.iter() {
            if let Some(parameter) = self.parameter(name) {
                parameter.check(value)?;
            }
        }
        Ok(Given { spec: self, parameters })
    }

    fn does_not_take(&self, name: &str) -> Error {
        Error::new(ErrorKind::InvalidParameter, format!("{} does not take {name}", self.name))
    }

    /// Refuses parameters that are enough for scoring only.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`], naming all that marking needs.
    pub fn check_marking(&self, parameters: &Parameters) -> Result<()> {
        let lacks = |parameter: &Parameter| match parameter.need {
            Need::Marking { unless } => {
                parameters.get(parameter.name).is_none()
                    && unless.is_none_or(|flag| parameters.get(flag) != Some(Value::Flag(true)))
            }
            _ => false,
        };
        if !self.parameters.iter().any(lacks) {
            return Ok(());
        }
        let needed = self.parameters.iter().filter_map(|parameter| match parameter.need {
            Need::Always => Some(parameter.name.to_owned()),
            Need::Marking { unless: None } => Some(parameter.name.to_owned()),
            Need::Marking { unless: Some(flag) } => Some(format!("{} or \"{flag}\": true", parameter.name)),
            Need::Optional(_) => None,
        });
        let needed: Vec<String> = needed.collect();
        let and = if needed.iter().any(|name| name.contains(" or ")) { ", and " } else { " and " };
        Err(Error::new(ErrorKind::InvalidParameter, format!("{} needs {}", self.name, needed.join(and))))
    }

    /// The scheme with the parameters of an example, and its width.
    ///
    /// # Errors
    /// If the example is wrong; a test builds them all.
    pub fn build(&self, example: &Example) -> Result<(Scheme, usize)> {
        let mut parameters = Parameters::new();
        for &(name, value) in example.parameters {
            parameters = parameters.with(name, value);
        }
        Ok((Scheme::from_name(self.name, &parameters)?, example.width))
    }
}

impl Parameters {
    /// All but the flags that are not set. Such a flag says the same as none, so every scheme and engine accepts it, even
    /// one that has no flag of that name.
    pub(crate) fn stated(&self) -> impl Iterator<Item = (&str, Value)> {
        let is_flag = |name| {
            let known = |spec: &Spec| spec.parameter(name).is_some_and(|parameter| parameter.domain == Domain::Flag);
            Scheme::SPECS.iter().any(known)
        };
        self.iter().filter(move |&(name, value)| value != Value::Flag(false) || !is_flag(name))
    }
}

/// Parameters that were checked against a spec; the spec's defaults stand in for those that are left out.
pub(crate) struct Given<'a> {
    spec: &'a Spec,
    parameters: &'a Parameters,
}

impl Given<'_> {
    /// Whether the caller gave the parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameters.get(name).is_some()
    }

    pub(crate) fn real(&self, name: &str) -> Result<f64> {
        self.value(name)?.real().ok_or_else(|| self.spec.does_not_take(name))
    }

    pub(crate) fn whole(&self, name: &str) -> Result<u32> {
        self.value(name)?.whole().ok_or_else(|| self.spec.does_not_take(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.value(name)? == Value::Flag(true))
    }

    /// An error only where a scheme asks for a parameter that its spec does not have.
    fn value(&self, name: &str) -> Result<Value> {
        let default = || match self.spec.parameter(name)?.need {
            Need::Optional(value) => Some(value),
            Need::Marking { .. } => Some(Value::Real(0.0)),
            Need::Always => None,
        };
        self.parameters.get(name).or_else(default).ok_or_else(|| self.spec.does_not_take(name))
    }
}
