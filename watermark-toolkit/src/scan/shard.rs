//! A finished part of the reading, on disk: `NUMBER.arrow` with the token ids, and `NUMBER.json`, written last, which says
//! of what they are and what their digest is.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use arrow_ipc::writer::FileWriter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watermark_core::hex;

use super::counts::{Counts, Skipped};
use super::folder::write_whole;
use super::table::Table;
use crate::files::read_bounded;
use crate::read::guard;

/// What a shard is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// SHA-256 of what the reading depends on.
    pub(super) config: String,
    /// SHA-256 of the input.
    pub(super) input: String,
    /// Number of the input among the sorted inputs, and number of the shard in that input.
    pub(super) file: usize,
    pub(super) index: u32,
    /// Records (good and bad) before this shard.
    pub(super) first: u64,
    pub(super) counts: Counts,
    /// The first records that could not be used, in order.
    pub(super) skipped: Vec<Skipped>,
    /// Whether the input ends with this shard.
    pub(super) last: bool,
    /// Why the input ends here, unless it was read to its end.
    pub(super) error: Option<String>,
    /// SHA-256 of this header, with this field empty, and of the Arrow file.
    pub(super) sha256: String,
}

impl Header {
    fn digest(&self, ids: &[u8]) -> Result<String> {
        let header = serde_json::to_vec(&Self { sha256: String::new(), ..self.clone() })?;
        Ok(hex::encode(&Sha256::new().chain_update(header).chain_update(ids).finalize()))
    }
}

/// A shard on disk.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    path: PathBuf,
    pub(super) header: Header,
}

/// Counts, samples and messages of one shard take some hundred kilobytes at most.
const MAX_HEADER: u64 = 16 << 20;

const HEADER: &str = "json";
const IDS: &str = "arrow";

impl Shard {
    /// Where the header of a shard is kept.
    pub(super) fn path(folder: &Path, file: usize, index: u32) -> PathBuf {
        folder.join(format!("{file:06}-{index:06}.{HEADER}"))
    }

    /// Fills in the digest, and writes the shard.
    pub(super) fn write(folder: &Path, mut header: Header, table: &Table) -> Result<Self> {
        let mut writer = FileWriter::try_new(Vec::new(), table.batch().schema_ref())?;
        writer.write(table.batch())?;
        let bytes = writer.into_inner()?;
        header.sha256 = header.digest(&bytes)?;
        let path = Self::path(folder, header.file, header.index);
        write_whole(&path.with_extension(IDS), &[&bytes])?;
        write_whole(&path, &[&serde_json::to_vec(&header)?])?;
        Ok(Self { path, header })
    }

    /// The intact shards of a folder, and the paths of all other files, which a stop or damage has left.
    pub(super) fn all(folder: &Path) -> Result<(Vec<Self>, Vec<PathBuf>)> {
        use rayon::iter::{IntoParallelIterator, ParallelIterator};
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let (headers, mut rest): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|path| path.extension().is_some_and(|extension| extension == HEADER));
        let opened: Vec<Result<Self, PathBuf>> =
            headers.into_par_iter().map(|path| Self::open(&path).ok_or(path)).collect();
        let mut shards = Vec::new();
        for shard in opened {
            match shard {
                Ok(shard) => shards.push(shard),
                Err(path) => rest.push(path),
            }
        }
        let known: HashSet<PathBuf> = shards.iter().map(|shard| shard.path.with_extension(IDS)).collect();
        rest.retain(|path| !known.contains(path));
        Ok((shards, rest))
    }

    fn open(path: &Path) -> Option<Self> {
        let header: Header = serde_json::from_slice(&read_bounded(path, MAX_HEADER).ok()?).ok()?;
        let named = Self::path(path.parent()?, header.file, header.index) == *path;
        let ids = fs::read(path.with_extension(IDS)).ok()?;
        (named && header.digest(&ids).ok()? == header.sha256).then(|| Self { path: path.to_owned(), header })
    }

    /// The shard's two files.
    pub(super) fn files(&self) -> [PathBuf; 2] {
        [self.path.clone(), self.path.with_extension(IDS)]
    }

    pub(super) fn table(&self) -> Result<Table> {
        let path = self.path.with_extension(IDS);
        fs::read(&path)
            .map_err(Into::into)
            .and_then(batch)
            .with_context(|| format!("{} was changed while the scan ran; run the same command again", path.display()))
    }
}

/// The only record batch of an Arrow file. No memory is allocated by the sizes that the file states: arrays are slices
/// of its bytes.
pub(super) fn batch(bytes: Vec<u8>) -> Result<Table> {
    const TRAILER: usize = 10;
    let file = Buffer::from_vec(bytes);
    let read = || -> Result<Table> {
        let (rest, trailer) = file.split_last_chunk::<TRAILER>().context("it is cut short")?;
        let start = rest.len().checked_sub(read_footer_length(*trailer)?).context("it is cut short")?;
        let footer = root_as_footer(&rest[start..]).map_err(|error| anyhow!("its footer: {error}"))?;
        let schema = try_fb_to_schema(footer.schema().context("it has no schema")?)?;
        let blocks = footer.recordBatches().context("it has no rows")?;
        if blocks.len() != 1 {
            bail!("{} record batches in place of one", blocks.len());
        }
        let block = blocks.get(0);
        let length = usize::try_from(block.bodyLength())?.checked_add(usize::try_from(block.metaDataLength())?);
        let (offset, length) = (usize::try_from(block.offset())?, length.context("a block of impossible size")?);
        if offset.checked_add(length).is_none_or(|end| end > file.len()) {
            bail!("it is cut short");
        }
        let decoder = FileDecoder::new(Arc::new(schema), footer.version());
        let batch = decoder.read_record_batch(block, &file.slice_with_length(offset, length))?;
        Table::new(batch.context("it has no rows")?)
    };
    guard::panics(read).unwrap_or_else(|()| bail!("its contents contradict each other"))
}
