//! One result from the parts that several machines have read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use watermark_core::hex;

use super::finish::{Finishing, Layers};
use super::folder::{self, Folder, InputFile, Manifest};
use super::reader::{Shards, unfinished};
use super::shard::Shard;
use super::{Marks, Progress, ScanEnd, in_pool};
use crate::read::Select;

/// What is merged, and at what cost.
#[derive(Clone, Debug)]
pub struct Merging {
    /// Folders that [`super::partials`] has written, in any order.
    pub parts: Vec<PathBuf>,
    /// The run folder.
    pub out: PathBuf,
    /// As of [`super::Options`].
    pub alpha: f64,
    /// As of [`super::Options`].
    pub memory: u64,
    /// Threads.
    pub threads: usize,
}

/// Scores the shards of all parts, in bounded memory, and writes what [`super::scan`] writes.
///
/// # Errors
/// If a part is missing, unfinished, damaged, of another profile or tokenizer, or read otherwise than the others.
pub fn merge(
    merging: &Merging,
    marks: &Marks<'_>,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ScanEnd> {
    in_pool(merging.threads, || {
        let parts = merging.parts.iter().map(|path| Ok((path, Manifest::read(path)?))).collect::<Result<Vec<_>>>()?;
        let first = &parts.first().context("no parts to merge")?.1;
        let identity = marks.profiles.identity();
        check(&parts)?;
        if first.profiles != identity.profiles {
            bail!("the parts were read for other profiles than those given; name the same ones in the same order");
        }
        let select = Select { field: first.field.clone(), role: first.role.clone() };
        let config = first.config()?;
        // All inputs by path, each with its part and its number there.
        let mut inputs: Vec<(&InputFile, usize, usize)> = Vec::new();
        for (part, (_, manifest)) in parts.iter().enumerate() {
            inputs.extend(manifest.inputs.iter().enumerate().map(|(number, input)| (input, part, number)));
        }
        inputs.sort_by(|(a, ..), (b, ..)| a.path.cmp(&b.path));
        if let Some(pair) = inputs.windows(2).find(|pair| pair[0].0.path == pair[1].0.path) {
            bail!("input {} is in two parts, or twice in one; it would count twice", pair[0].0.path);
        }
        let mut numbers = vec![HashMap::new(); parts.len()];
        for (number, &(_, part, of_part)) in inputs.iter().enumerate() {
            numbers[part].insert(of_part, number);
        }
        let mut shards = Shards::new();
        for ((path, manifest), numbers) in parts.iter().zip(&numbers) {
            for mut shard in Shard::all(&folder::shards(path))?.0 {
                let header = &mut shard.header;
                let known = manifest.inputs.get(header.file).is_some_and(|input| input.sha256 == header.input);
                let Some(&number) = numbers.get(&header.file).filter(|_| known && header.config == config) else {
                    bail!("{} holds a shard of another run; read the part again", path.display());
                };
                header.file = number;
                shards.insert((number, header.index), shard);
            }
        }
        if let Some(&missing) = unfinished(&shards, inputs.len()).first() {
            let (input, part, _) = inputs[missing];
            let folder = parts[part].0.display();
            bail!("{folder}: {} is not read to its end, or its shards are damaged; run that part again", input.path);
        }
        let folder = Folder::open(&merging.out)?;
        let inputs: Vec<InputFile> = inputs.into_iter().map(|(input, ..)| input.clone()).collect();
        let keys = Some(hex::encode(marks.keys.fingerprint()));
        folder.begin(&Manifest { keys, part: None, list: None, inputs: inputs.clone(), ..first.clone() })?;
        let finishing = Finishing {
            folder: &folder,
            marks,
            layers: Layers::new(marks.profiles, marks.keys),
            select: &select,
            alpha: merging.alpha,
            memory: merging.memory,
            stop,
            progress,
        };
        finishing.run(inputs, shards, HashMap::new())
    })
}

/// Checks that these are all the parts of one reading.
fn check(parts: &[(&PathBuf, Manifest)]) -> Result<()> {
    let (first_path, first) = &parts[0];
    let mut numbers = Vec::new();
    let mut count_of_all = None;
    for (path, manifest) in parts {
        let part = manifest.part.as_deref().and_then(|part| part.split_once('/'));
        let part = part.and_then(|(number, count)| Some((number.parse::<usize>().ok()?, count.parse::<usize>().ok()?)));
        let Some((number, count)) = part else {
            bail!("{} is no part; parts are made by `watermark scan --shard i/N --partials`", path.display());
        };
        if manifest.config()? != first.config()? || *count_of_all.get_or_insert(count) != count {
            bail!(
                "{} and {} are of different readings (profile, tokenizer, fields, shard size or number of parts)",
                first_path.display(),
                path.display()
            );
        }
        if manifest.list != first.list {
            bail!(
                "{} and {} are parts of different lists of inputs ({} and {}); every machine has to be given the same files",
                first_path.display(),
                path.display(),
                files(first),
                files(manifest)
            );
        }
        numbers.push(number);
    }
    let count = count_of_all.unwrap_or_default();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("part {}/{count} is given twice", pair[0]);
    }
    if let Some(missing) = (1..=count).find(|number| numbers.binary_search(number).is_err()) {
        bail!("part {missing}/{count} is missing; the results would be of the rest only");
    }
    Ok(())
}

/// How many inputs all parts have together, as the machine that made this part saw it.
fn files(manifest: &Manifest) -> &str {
    manifest.list.as_deref().and_then(|list| list.split(',').next()).unwrap_or("unknown")
}
