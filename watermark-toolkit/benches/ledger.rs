//! What an append costs, synchronised to the disk: one thread that does not wait for each answer, many that do, and reading
//! the ledger again.
//!
//! `cargo bench -p watermark-toolkit --bench ledger -- [FOLDER]`; without a folder, below cargo's target. Answers have 2,000
//! bytes. Prints one JSON line per measurement.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "benchmark")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::key::NodeKey;
use watermark_toolkit::ledger::{Contents, Ledger, Pending, Served};

const APPENDS: u64 = 200_000;

fn key() -> LedgerKey {
    LedgerKey::new(&NodeKey::root(b"bench"))
}

fn served(i: u64) -> Served {
    let mut answer = vec![b'a'; 2000];
    answer[..8].copy_from_slice(&i.to_le_bytes());
    Served { answer, account: format!("account {}", i % 1000), key: "epoch/2026-11".parse().unwrap(), time_ms: i }
}

fn report(what: &str, n: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({"what": what, "n": n, "seconds": seconds, "per_second": (n as f64 / seconds).round()}));
}

fn pipelined(folder: &Path) {
    let ledger = Ledger::open(folder, key()).unwrap();
    let begun = Instant::now();
    let pending: Vec<Pending> = (0..APPENDS).map(|i| ledger.submit(served(i)).unwrap()).collect();
    for pending in pending {
        pending.wait().unwrap();
    }
    report("one thread, all acknowledged at the end", APPENDS, begun);
}

fn waiting(folder: &Path, threads: u64) {
    let ledger = Ledger::open(folder, key()).unwrap();
    // Alone, a thread is as slow as the disk.
    let each = (APPENDS / 10 / threads).min(1000);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let ledger = &ledger;
            scope.spawn(move || {
                for i in 0..each {
                    ledger.submit(served(thread * each + i)).unwrap().wait().unwrap();
                }
            });
        }
    });
    report(&format!("{threads} threads, each waits for every acknowledgement"), each * threads, begun);
}

fn main() {
    let root = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let root = root.map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned(), PathBuf::from);
    let folder = root.join(format!("ledger-bench-{}", std::process::id()));
    pipelined(&folder.join("pipelined"));
    for threads in [1, 16, 64, 256] {
        waiting(&folder.join(threads.to_string()), threads);
    }
    let begun = Instant::now();
    assert_eq!(Contents::read(&folder.join("pipelined")).unwrap().leaves().len() as u64, APPENDS);
    report("entries read and checked", APPENDS, begun);
    std::fs::remove_dir_all(folder).unwrap();
}
