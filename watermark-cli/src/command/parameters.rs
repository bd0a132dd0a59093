use std::borrow::Cow;

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use watermark_core::engine::EngineOptions;
use watermark_core::scheme::{Domain, Need, Parameter, Parameters, Scheme, Spec, Value};

/// What the options of a command are for.
pub(crate) const MARKING: bool = true;
pub(crate) const SCORING: bool = false;

/// Options of parameters that engines have too, each with the parameter's name.
fn of_engines() -> impl Iterator<Item = (&'static str, &'static str)> {
    let option = |(scheme, name)| Some((Scheme::spec_of(scheme).ok()?.parameter(name)?.option, name));
    EngineOptions::NUMBERS.into_iter().filter_map(option)
}

/// An option for every parameter of every scheme, made from the catalogue. For scoring, those that the score depends on, and only
/// with `--scheme` or `--engine`.
pub(crate) struct ParameterArgs<const MARKS: bool> {
    /// By the option's name without its dashes.
    given: Parameters,
}

impl<const MARKS: bool> ParameterArgs<MARKS> {
    /// What the command line gives, by the option's name without its dashes.
    pub(crate) fn given(&self) -> &Parameters {
        &self.given
    }

    /// Options of an engine, with what is given here.
    ///
    /// # Errors
    /// For an option that only schemes have, or a value of another type.
    pub(crate) fn of_engine(&self, mut options: EngineOptions) -> anyhow::Result<EngineOptions> {
        for (option, value) in self.given.iter() {
            let known = of_engines().find(|(known, _)| *known == option);
            let Some((_, name)) = known else { anyhow::bail!("--{option} does not apply to an engine") };
            let with = options.with_number(name, value);
            options = with.map_err(|_| anyhow::anyhow!("--{option} has the wrong type"))?;
        }
        Ok(options)
    }
}

impl ParameterArgs<MARKING> {
    /// The scheme of a new profile: what is given and applies to it, and the usual values for the rest.
    ///
    /// # Errors
    /// As [`Scheme::from_name`].
    pub(crate) fn scheme(&self, name: &str) -> watermark_core::Result<Scheme> {
        let spec = Scheme::spec_of(name)?;
        let given = |name: &str| self.given.get(spec.parameter(name)?.option);
        let mut parameters = Parameters::new();
        for parameter in spec.parameters {
            let replaced = match parameter.need {
                Need::Marking { unless: Some(flag) } => given(flag).is_some(),
                _ => false,
            };
            let usual = parameter.usual.filter(|_| !replaced);
            if let Some(value) = given(parameter.name).or(usual) {
                parameters = parameters.with(parameter.name, value);
            }
        }
        Scheme::from_name(name, &parameters)
    }

    /// # Errors
    /// For an option that no scheme of the new profile has: it would be passed over.
    pub(crate) fn check_applied(&self, schemes: &[&str]) -> anyhow::Result<()> {
        let applies = |option: &str| {
            let mut specs = schemes.iter().filter_map(|name| Scheme::spec_of(name).ok());
            specs.any(|spec| spec.parameters.iter().any(|parameter| parameter.option == option))
        };
        match self.given.iter().find(|(option, _)| !applies(option)) {
            Some((option, _)) => anyhow::bail!("--{option} applies to no layer of this profile (see --help)"),
            None => Ok(()),
        }
    }
}

impl<const MARKS: bool> clap::Args for ParameterArgs<MARKS> {
    fn augment_args(mut command: Command) -> Command {
        let mut known: Vec<&str> = Vec::new();
        for (_, parameter) in parameters(MARKS) {
            if !known.contains(&parameter.option) {
                known.push(parameter.option);
                command = command.arg(option(parameter, MARKS));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const MARKS: bool> FromArgMatches for ParameterArgs<MARKS> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Parameters::new();
        for (_, Parameter { option, domain, .. }) in parameters(MARKS) {
            let value = match domain {
                Domain::Flag => matches.get_flag(option).then_some(Value::Flag(true)),
                _ => matches.get_one::<Value>(option).copied(),
            };
            if let Some(value) = value {
                given = given.with(Cow::Borrowed(*option), value);
            }
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn parameters(marks: bool) -> impl Iterator<Item = (&'static Spec, &'static Parameter)> {
    let of_spec = |spec: &'static Spec| spec.parameters.iter().map(move |parameter| (spec, parameter));
    Scheme::SPECS.iter().flat_map(of_spec).filter(move |(_, parameter)| marks || parameter.scored)
}

fn option(parameter: &'static Parameter, marks: bool) -> Arg {
    let Parameter { option, domain, .. } = *parameter;
    let arg = Arg::new(option).long(option).help(help(option, marks));
    let arg = match domain {
        Domain::Flag => arg.action(ArgAction::SetTrue),
        Domain::Whole { .. } => arg.value_name("N").value_parser(number),
        Domain::Real { .. } | Domain::BlockShare => arg.value_name("X").value_parser(number),
    };
    if marks { arg } else { arg.requires("raw") }
}

/// What the option is, by scheme, with the usual value of a new profile.
fn help(option: &str, marks: bool) -> String {
    let mut meanings: Vec<(String, Vec<&str>)> = Vec::new();
    for (spec, parameter) in parameters(marks).filter(|(_, parameter)| parameter.option == option) {
        let usual = parameter.usual.filter(|_| marks).map_or_else(String::new, |value| format!(" [usual: {value}]"));
        let meaning = format!("{}{usual}", parameter.help);
        match meanings.iter_mut().find(|(known, _)| *known == meaning) {
            Some((_, names)) => names.push(spec.name),
            None => meanings.push((meaning, vec![spec.name])),
        }
    }
    let mut help: Vec<String> =
        meanings.iter().map(|(meaning, names)| format!("{}: {meaning}", names.join(", "))).collect();
    if !marks && of_engines().any(|(known, _)| known == option) {
        help.push("engines: the same, where theirs has it".to_owned());
    }
    help.join("; ")
}

fn number(text: &str) -> Result<Value, std::num::ParseFloatError> {
    text.parse().map(Value::Whole).or_else(|_| text.parse().map(Value::Real))
}

/// Names of schemes for a help text, those for which `wanted` holds.
pub(crate) fn names(wanted: impl Fn(&Spec) -> bool) -> String {
    let names: Vec<&str> = Scheme::SPECS.iter().filter(|spec| wanted(spec)).map(|spec| spec.name).collect();
    names.join(", ")
}

/// What each scheme does, a line each, for a help text.
pub(crate) fn summaries() -> String {
    let line = |spec: &Spec| format!("  {:<17}  {}", spec.name, spec.summary);
    Scheme::SPECS.iter().map(line).collect::<Vec<_>>().join("\n")
}
