use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use watermark_core::evidence::TreeHead;
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::evidence::pairs::{Draws, MAX_RECORD, Record};
use watermark_core::evidence::requests::Requests;
use watermark_core::key::PrfKey;
use watermark_core::paired::RequestSecret;

use crate::ledger::{Contents, check_key};
use crate::read::{Limits, Location, RequestId, ServedRecord, read_served};

/// The list file: every entry of a ledger up to a head, opened with what was served.
///
/// # Errors
/// If a file cannot be read, the ledger is another key's or shorter than the head, or what was served is not what its entries say.
pub fn open_list(
    served: &[PathBuf],
    (folder, ledger_key): (&Path, &LedgerKey),
    head: &TreeHead,
    (requests, layer): (&Requests, &PrfKey),
) -> Result<Vec<u8>> {
    check_key(folder, ledger_key)?;
    let entries = Contents::entries(folder, head.size)?;
    ensure!(
        entries.len() as u64 == head.size,
        "ledger {} has {} entries, and its head {}",
        folder.display(),
        entries.len(),
        head.size
    );
    let (mut list, mut entries) = (Vec::new(), entries.iter());
    for path in served {
        for record in read_served(path, Limits::default())? {
            let ServedRecord { location, request, prompt_tokens, tokens, withheld, .. } = record??;
            let Some(entry) = entries.next() else {
                bail!("{location}: the ledger's head has no entry of request {request}; sign the ledger as it is now");
            };
            let id = requests.id(entry.index);
            ensure!(
                request.to_string() == id,
                "{location}: request {request}, and the ledger's next one is {id}; give all that was served, in order"
            );
            let secret = RequestSecret::new(layer, &id);
            let draws = Draws { prompt_tokens, request: id, tokens, withheld };
            let record = Record::open(ledger_key, entry, draws, &secret).with_context(|| location.to_string())?;
            list.extend(record.line()?);
            list.push(b'\n');
        }
    }
    ensure!(
        entries.len() == 0,
        "{} requests of the ledger are not among the files of served answers; the list is all of the ledger",
        entries.len()
    );
    Ok(list)
}

/// The records of a list file, with their places.
pub(super) fn records(path: &Path) -> Result<impl Iterator<Item = Result<(Location, Record)>> + use<>> {
    let name: Arc<str> = path.display().to_string().into();
    let mut file = BufReader::new(File::open(path).with_context(|| name.to_string())?);
    let (mut line, mut number) = (Vec::new(), 0);
    Ok(std::iter::from_fn(move || {
        line.clear();
        number += 1;
        let place = Location::new(&name, number, None);
        let read = file.by_ref().take(MAX_RECORD as u64 + 1).read_until(b'\n', &mut line);
        match (read, line.split_last()) {
            (Ok(0), _) => None,
            (Ok(_), Some((b'\n', content))) => {
                Some(Record::parse(content).with_context(|| place.to_string()).map(|record| (place, record)))
            }
            (Ok(_), _) => Some(Err(anyhow::anyhow!("{place}: the line has no end, or is too long"))),
            (Err(error), _) => Some(Err(error).with_context(|| place.to_string())),
        }
    }))
}

/// What was served, as a test of pairs reads it, with the secret of its draws.
pub(super) fn served((location, record): (Location, Record)) -> Result<(ServedRecord, RequestSecret)> {
    let request = RequestId::parse(&record.request);
    let request = request.with_context(|| format!("{location}: \"request\" is not a number of a ledger"))?;
    let secret = record.secret();
    let Record { account, prompt_tokens, tokens, withheld, .. } = record;
    Ok((
        ServedRecord { location, request, account: Some(account.to_string()), prompt_tokens, tokens, withheld },
        secret,
    ))
}

/// Whether a scores file is plain text, which every verifier reads.
pub(super) fn check_plain(path: &Path) -> Result<()> {
    let mut start = [0; 2];
    let named = || path.display().to_string();
    let n = File::open(path).with_context(named)?.read(&mut start).with_context(named)?;
    ensure!(n < 2 || start != [0x1f, 0x8b], "{}: compressed; evidence has plain files", named());
    Ok(())
}
