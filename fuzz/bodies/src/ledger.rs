//! Ledgers: single lines, and whole folders as they are on a disk after anything has happened to it.

use std::cell::OnceCell;

use watermark_core::evidence::ledger::{Entry, LedgerKey};
use watermark_core::evidence::merkle::{leaf_hash, root};
use watermark_core::evidence::{HEAD_TYPE, TreeHead, dsse};
use watermark_core::key::NodeKey;
use watermark_toolkit::ledger::{Contents, Ledger, Served, head_path};

use crate::folder::Folder;
use crate::parts::signing_key;

const ENTRIES: u64 = 6;
const SIGNED: u64 = 4;

/// Opening for writing synchronises with the disk, which is slow: one input in so many.
const WRITTEN: usize = 8;

thread_local! {
    /// One without heads, one with a head over the first entries of the seed.
    static FOLDERS: OnceCell<[Folder; 2]> = const { OnceCell::new() };
}

fn key() -> LedgerKey {
    LedgerKey::new(&NodeKey::root(b"m").descend(&"ledger/1".parse().unwrap()).unwrap())
}

fn lines(size: u64) -> Vec<u8> {
    let line = |index: u64| {
        let path = "epoch/1".parse().unwrap();
        let entry = Entry::new(&key(), index, b"answer", &format!("account {index}"), path, 1_700_000_000_000 + index);
        entry.line() + "\n"
    };
    (0..size).map(line).collect::<String>().into_bytes()
}

fn head(bytes: &[u8]) -> TreeHead {
    let leaves: Vec<_> = whole(bytes).map(leaf_hash).collect();
    TreeHead::of_answers(leaves.len() as u64, root(&leaves), "2026-11-25T00:00:00Z")
}

/// Lines that have an end, without it.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

fn folders() -> [Folder; 2] {
    let folders = [Folder::new(), Folder::new()];
    for folder in &folders {
        drop(Ledger::open(folder.path(), key()).unwrap());
    }
    let signed = dsse::sign(HEAD_TYPE, &head(&lines(SIGNED)).payload().unwrap(), &signing_key()).unwrap();
    std::fs::write(head_path(folders[1].path(), SIGNED), signed).unwrap();
    folders
}

/// Ledgers of some lines, whole and torn.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut torn = lines(ENTRIES);
    torn.truncate(torn.len() - 40);
    vec![lines(ENTRIES), lines(SIGNED), lines(1), torn, Vec::new()]
}

/// The bytes as a line and as the entries of a folder.
pub fn run(bytes: &[u8]) {
    if let Ok(entry) = Entry::parse(bytes) {
        assert_eq!(entry.line().as_bytes(), bytes);
        assert_eq!(entry.leaf(), leaf_hash(bytes));
    }
    FOLDERS.with(|folders| {
        let [free, headed] = folders.get_or_init(self::folders);
        let _ = read(free, bytes);
        if let Ok(contents) = read(headed, bytes) {
            assert!(bytes.starts_with(&lines(SIGNED)), "a change below a signed head is not seen");
            assert!(contents.leaves().len() as u64 >= SIGNED);
        }
        if bytes.len().is_multiple_of(WRITTEN) {
            write(free, bytes);
        }
    });
}

fn read(folder: &Folder, bytes: &[u8]) -> anyhow::Result<Contents> {
    folder.write("entries.jsonl", bytes);
    let contents = Contents::read(folder.path());
    if let Ok(contents) = &contents {
        let leaves: Vec<_> = whole(bytes).map(leaf_hash).collect();
        assert_eq!(contents.leaves(), leaves, "leaves are not those of the lines");
        for index in 0..leaves.len() as u64 {
            let entry = Contents::entry(folder.path(), index).expect("an entry that was read");
            assert_eq!((entry.index, entry.leaf()), (index, leaves[index as usize]));
        }
    }
    contents
}

/// A ledger that can be read can be written on, keeps every whole line, and loses only a torn one.
fn write(folder: &Folder, bytes: &[u8]) {
    let before = read(folder, bytes);
    let opened = Ledger::open(folder.path(), key());
    assert_eq!(before.is_ok(), opened.is_ok(), "reading and opening disagree");
    let Ok(ledger) = opened else {
        assert_eq!(std::fs::read(folder.path().join("entries.jsonl")).unwrap(), bytes, "a damaged ledger was changed");
        return;
    };
    let served =
        Served { answer: b"new".to_vec(), account: "a".to_owned(), key: "epoch/2".parse().unwrap(), time_ms: 1 };
    let receipt = ledger.submit(served).and_then(|pending| pending.wait()).expect("an entry");
    drop(ledger);
    let kept = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let after = std::fs::read(folder.path().join("entries.jsonl")).unwrap();
    assert!(after.starts_with(&bytes[..kept]));
    let contents = Contents::read(folder.path()).expect("what was written is read");
    assert_eq!(contents.leaves().len() as u64, receipt.index + 1);
    assert_eq!(contents.leaves().last(), Some(&receipt.leaf));
}
