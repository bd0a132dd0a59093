//! Files: secrets that only their owner may read, profiles, whole files written at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
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

/// The text of a small file that only its owner may read.
///
/// # Errors
/// If others may read or change it, or it is large or not UTF-8.
pub fn read_private(file: File, path: &Path) -> Result<Zeroizing<String>> {
    refuse_shared(&file, path)?;
    read_small(file)
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

/// The bytes of a file of at most `limit` bytes that only its owner may read.
///
/// # Errors
/// If others may read or change it, or it is larger.
pub fn read_private_bytes(file: File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    refuse_shared(&file, path)?;
    // A buffer that grows would leave copies.
    let capacity = usize::try_from(file.metadata()?.len().min(limit) + 1)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    take_bounded(file, limit, &mut bytes)?;
    Ok(bytes)
}

fn refuse_shared(file: &File, path: &Path) -> Result<()> {
    if file.metadata()?.is_dir() {
        bail!("{} is a folder", path.display());
    }
    match mode(file)? {
        Some(mode) if mode & 0o077 != 0 => bail!(
            "{} has mode {mode:04o}, so others can read or change it; run: chmod 600 {}",
            path.display(),
            path.display()
        ),
        _ => Ok(()),
    }
}

/// Permission bits, where the system has them.
///
/// # Errors
/// If the system does not say.
#[cfg(unix)]
pub fn mode(file: &File) -> std::io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    Ok(Some(file.metadata()?.permissions().mode() & 0o7777))
}

/// Permission bits, where the system has them.
///
/// # Errors
/// If the system does not say.
#[cfg(not(unix))]
pub fn mode(_: &File) -> std::io::Result<Option<u32>> {
    Ok(None)
}

/// Makes a folder; one that exists must be empty.
///
/// # Errors
/// If it holds anything, or cannot be made.
pub fn new_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    if std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?.next().is_some() {
        bail!("{} is not empty and is left as it is; choose another folder with --out", path.display());
    }
    Ok(())
}

/// Randomness from the system.
///
/// # Errors
/// If the system has none.
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| anyhow!("no randomness from the system: {error}"))?;
    Ok(bytes)
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
    let text = read_profile_text(path)?;
    ProfileFile::parse(&text).with_context(|| format!("profile {}", path.display()))
}

/// The text of a profile, not yet checked.
///
/// # Errors
/// If the file is missing, too large, or not UTF-8.
pub fn read_profile_text(path: &Path) -> Result<Zeroizing<String>> {
    let named = || format!("profile {}", path.display());
    read_small(File::open(path).with_context(named)?).with_context(named)
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

/// SHA-256 of a file of any size.
///
/// # Errors
/// If the file cannot be read.
pub fn file_sha256(path: &Path) -> Result<[u8; 32]> {
    let named = || format!("reading {}", path.display());
    let (mut file, mut hash, mut buffer) = (File::open(path).with_context(named)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).with_context(named)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
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
