//! Key and profile files.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use watermark_core::key::{NodeKey, parse_key_file, print_key_file};
use watermark_core::profile::Profile;
use zeroize::Zeroizing;

/// Key and profile files are small; a larger one is a mistake or an attack.
const MAX_SMALL_FILE: u64 = 1 << 20;

/// A profile with the digest of its bytes, which commitments and evidence name.
#[derive(Clone, Debug)]
pub struct ProfileFile {
    /// The parsed profile.
    pub profile: Profile,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// Reads a key file that only its owner may read.
///
/// # Errors
/// If it is missing, readable by group or others, or malformed. Messages never repeat its content.
pub fn read_key(path: &Path) -> Result<NodeKey> {
    let named = || format!("key file {}", path.display());
    let file = File::open(path).with_context(named)?;
    refuse_shared(&file, path)?;
    let text = read_small(file).with_context(named)?;
    parse_key_file(&text).with_context(named)
}

/// Reads a small secret in somebody else's form, and says whether others can read the file too.
///
/// # Errors
/// If it is missing, large or not UTF-8.
pub fn read_secret(path: &Path) -> Result<(Zeroizing<String>, bool)> {
    let file = File::open(path)?;
    let shared = refuse_shared(&file, path).is_err();
    Ok((read_small(file)?, shared))
}

#[cfg(unix)]
fn refuse_shared(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "key file {} has mode {:04o}, so others can read or change it; run: chmod 600 {}",
            path.display(),
            mode & 0o7777,
            path.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_shared(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// Writes a new key file with mode 0600; never overwrites.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn write_key(path: &Path, key: &NodeKey) -> Result<()> {
    write_secret(path, print_key_file(key).as_bytes())
}

/// Writes a new file that only its owner may read; never overwrites.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    create(path, options, bytes)
}

/// Writes a new file; never overwrites.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    create(path, options, bytes)
}

fn create(path: &Path, options: OpenOptions, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match write() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} exists and is not overwritten; choose another name", path.display())
        }
        result => result.with_context(|| format!("writing {}", path.display())),
    }
}

/// Writes a file at once: a reader finds the old content or the new, never a part.
///
/// # Errors
/// If it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&name)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&name, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Reads and checks a profile.
///
/// # Errors
/// If it is missing, not UTF-8 or not a valid profile.
pub fn read_profile(path: &Path) -> Result<ProfileFile> {
    let named = || format!("profile {}", path.display());
    let text = read_small(File::open(path).with_context(named)?).with_context(named)?;
    ProfileFile::parse(&text).with_context(named)
}

impl ProfileFile {
    /// Checks the text of a profile.
    ///
    /// # Errors
    /// If it is not a valid profile.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { profile: Profile::parse(text)?, sha256: Sha256::digest(text.as_bytes()).into() })
    }
}

/// The bytes of a file of at most `limit` bytes.
///
/// # Errors
/// If it cannot be read or is larger.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    take_bounded(File::open(path)?, limit, &mut bytes)?;
    Ok(bytes)
}

fn take_bounded(file: File, limit: u64, bytes: &mut Vec<u8>) -> Result<()> {
    file.take(limit + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > limit {
        bail!("it is larger than {limit} bytes");
    }
    Ok(())
}

fn read_small(file: File) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    take_bounded(file, MAX_SMALL_FILE, &mut bytes)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => bail!("it is not UTF-8"),
    }
}
