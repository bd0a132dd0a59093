//! Which marks are looked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use watermark_toolkit::files::{ProfileFile, read_bounded, read_profile};
use watermark_toolkit::keys::read_key;
use watermark_toolkit::scan::{Keys, Profiles};

use super::super::passphrase::PassphraseArgs;

/// Profiles.
#[derive(clap::Args)]
pub(super) struct ProfileArgs {
    /// The deployment's profile; several are tested at once
    #[arg(long, value_name = "FILE", required = true)]
    profile: Vec<PathBuf>,
}

/// Keys.
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// A key at or above the profile's path; may be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// A file that names a key file on every line
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Account ids, one a line, for layers with a key per account: each is tested
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
}

/// A list of keys or accounts is at most some millions of lines.
const MAX_LIST: u64 = 1 << 30;

impl ProfileArgs {
    /// For inputs of texts or ids, with `tokenizers` to look for theirs among.
    pub(super) fn read(&self, tokenizers: &[PathBuf], ids_given: bool) -> Result<Profiles> {
        Profiles::for_inputs(self.files()?, tokenizers, ids_given)
    }

    /// Those of ids that parts hold.
    pub(super) fn of_parts(&self, parts: &[PathBuf]) -> Result<Profiles> {
        Profiles::of_parts(self.files()?.into_iter().map(|(_, file)| file).collect(), &parts[0])
    }

    fn files(&self) -> Result<Vec<(PathBuf, ProfileFile)>> {
        self.profile.iter().map(|path| Ok((path.clone(), read_profile(path)?))).collect()
    }
}

impl KeyArgs {
    pub(super) fn read(&self, profiles: &Profiles, passphrases: &PassphraseArgs) -> Result<Keys> {
        let mut paths = self.key.clone();
        if let Some(list) = &self.keys {
            paths.extend(lines(list)?.into_iter().map(PathBuf::from));
        }
        if paths.is_empty() {
            bail!("no key to test; name one with --key, or a file that lists them with --keys");
        }
        let nodes = paths.iter().map(|path| Ok((path.display().to_string(), read_key(path, passphrases)?)));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let accounts = self.accounts.as_deref().map(lines).transpose()?;
        Keys::new(profiles, &nodes, accounts.as_deref())
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let named = || format!("list {}", path.display());
    let bytes = read_bounded(path, MAX_LIST).with_context(named)?;
    let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{} is not UTF-8", named()))?;
    // Spaces may belong to an account or a name; a byte order mark does not.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("{} names nothing; write one a line", named());
    }
    Ok(lines)
}
