//! `watermark`: mark text while it is sampled, detect the mark, show that a model was distilled from marked answers.

mod command;
#[cfg(feature = "lab")]
mod demo;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// What this build leaves out, each with the cargo feature that has it; empty for a whole build.
fn left_out() -> String {
    let parts = [
        ("tokenizers", cfg!(feature = "tokenizers"), "text, test-model, evidence, calibrate and profile new"),
        ("scan", cfg!(feature = "scan"), "scan, merge, Parquet and Zstandard"),
        ("http", cfg!(feature = "http"), "probe"),
        ("report", cfg!(feature = "report"), "report"),
        ("lab", cfg!(feature = "lab"), "mark and demo"),
    ];
    let missing = parts.iter().filter(|(_, here, _)| !here).map(|(feature, _, what)| format!("{what} ({feature})"));
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        return String::new();
    }
    format!("This build leaves out, by cargo feature: {}.", missing.join("; "))
}

/// Keyed statistical watermarks for language models: mark, detect, and show distillation.
///
/// Exit codes: 0 = ran and the claim holds (a mark was detected, a file is valid); 1 = ran and it does not hold;
/// 2 = an error, or more bad records than --max-bad-records.
#[derive(Parser)]
#[command(name = "watermark", version, propagate_version = true, max_term_width = 100, after_help = left_out())]
struct Cli {
    #[command(flatten)]
    passphrases: command::passphrase::PassphraseArgs,
    #[command(subcommand)]
    command: Command,
}

// A comment on a variant would hide the longer one of its `Args`.
#[derive(Subcommand)]
enum Command {
    Keygen(command::keygen::Args),
    Key(command::key::Args),
    Ledger(command::ledger::Args),
    Profile(command::profile::Args),
    #[cfg(feature = "lab")]
    Mark(command::mark::Args),
    Detect(command::detect::Args),
    #[cfg(feature = "scan")]
    Scan(command::scan::Args),
    #[cfg(feature = "scan")]
    Merge(command::scan::merge::Args),
    #[command(visible_alias = "distill")]
    TestModel(command::test_model::Args),
    Pairs(command::pairs::Args),
    Prompts(command::prompts::Args),
    Register(command::register::Args),
    Evidence(command::evidence::Args),
    Verify(command::verify::Args),
    Plan(command::plan::Args),
    #[cfg(feature = "http")]
    Probe(command::probe::Args),
    Calibrate(command::calibrate::Args),
    #[cfg(feature = "report")]
    Report(command::report::Args),
    #[cfg(feature = "lab")]
    Demo(command::demo::Args),
    Completions(command::completions::Args),
    Man(command::man::Args),
}

fn main() -> ExitCode {
    no_core_dumps();
    #[cfg(feature = "scan")]
    report_panics_that_nobody_handles();
    let Cli { passphrases, command } = Cli::try_parse().unwrap_or_else(|error| {
        if error.kind() == clap::error::ErrorKind::InvalidSubcommand && !left_out().is_empty() {
            command::say(&left_out());
        }
        error.exit()
    });
    let result = match command {
        Command::Keygen(args) => args.run(&passphrases),
        Command::Key(args) => args.run(&passphrases),
        Command::Ledger(args) => args.run(&passphrases),
        Command::Profile(args) => args.run(&passphrases),
        #[cfg(feature = "lab")]
        Command::Mark(args) => args.run(&passphrases),
        Command::Detect(args) => args.run(&passphrases),
        #[cfg(feature = "scan")]
        Command::Scan(args) => args.run(&passphrases),
        #[cfg(feature = "scan")]
        Command::Merge(args) => args.run(&passphrases),
        Command::TestModel(args) => args.run(&passphrases),
        Command::Pairs(args) => args.run(&passphrases),
        Command::Prompts(args) => args.run(),
        Command::Register(args) => args.run(&passphrases),
        Command::Evidence(args) => args.run(&passphrases),
        Command::Verify(args) => args.run(),
        Command::Plan(args) => args.run(),
        #[cfg(feature = "http")]
        Command::Probe(args) => args.run(&passphrases),
        Command::Calibrate(args) => args.run(),
        #[cfg(feature = "report")]
        Command::Report(args) => args.run(),
        #[cfg(feature = "lab")]
        Command::Demo(args) => args.run(),
        Command::Completions(args) => args.run(Cli::command()),
        Command::Man(args) => args.run(Cli::command()),
    };
    match result {
        Ok(code) => code,
        // The reader of our output has gone away (`| head`): nothing to say, but 0 would mean that the claim holds.
        Err(error) if command::is_broken_pipe(&error) => ExitCode::from(2),
        Err(error) => {
            command::complain(&error);
            ExitCode::from(2)
        }
    }
}

/// Libraries panic on damaged files, which is said as an error and not as a panic.
#[cfg(feature = "scan")]
fn report_panics_that_nobody_handles() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !watermark_toolkit::read::panic_is_handled() {
            report(panic);
        }
    }));
}

/// A core dump would hold keys. Where the limit cannot be lowered there is nothing more to do.
fn no_core_dumps() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options are made from the catalogue of schemes too, so two can have one name, which clap notices in debug builds only.
    fn check(command: &clap::Command) {
        let mut names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        names.sort_unstable();
        for two in names.windows(2) {
            assert_ne!(two[0], two[1], "two options of {} are called --{}", command.get_name(), two[0]);
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn options_have_names_of_their_own() {
        let mut command = Cli::command();
        command.build();
        check(&command);
    }
}
