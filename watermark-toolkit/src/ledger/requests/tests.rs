#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;
use watermark_core::key::NodeKey;

use super::super::Contents;
use super::*;

fn open_as(folder: &Path, name: &str, layer: &str) -> Result<Arc<RequestLedger>> {
    let key = LedgerKey::new(&NodeKey::root(b"test"));
    let layer = NodeKey::root(layer.as_bytes()).prf_key("paired", 0)?;
    RequestLedger::open(folder, key, name, (&"epoch/1".parse()?, &layer))
}

fn open(folder: &Path) -> Result<Arc<RequestLedger>> {
    open_as(folder, "ledger/test", "layer")
}

fn temporary(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("watermark-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn served(folder: &Path) -> Vec<(String, Option<String>, Vec<u32>)> {
    let Ok(records) = read_served(&folder.join(SERVED), Limits::default()) else { return Vec::new() };
    records
        .map(|record| {
            let ServedRecord { request, account, tokens, .. } = record.unwrap().unwrap();
            (request.to_string(), account, tokens)
        })
        .collect()
}

fn line_of(number: u64, account: &str, tokens: &[u32]) -> (String, Option<String>, Vec<u32>) {
    (format!("ledger/test/{number}"), Some(account.to_owned()), tokens.to_vec())
}

#[test]
fn entries_follow_numbers_and_nothing_is_lost() {
    let folder = temporary("requests");
    {
        let requests = open(&folder).unwrap();
        let [a, b, c, d] = ["ann", "bob", "cid", "dan"].map(|account| requests.begin(account, &[1]).unwrap());
        assert_eq!((a.id().number(), d.id().number()), (0, 3));
        c.close(vec![7], vec![Some(8)]).unwrap();
        assert_eq!(served(&folder), []);
        a.close(vec![5, 6], vec![None, Some(2)]).unwrap();
        assert_eq!(served(&folder).len(), 1);
        // One is aborted, one is under way as the process dies.
        drop(b);
        assert_eq!(served(&folder).len(), 3);
        std::mem::forget(d);
        assert!(requests.begin("", &[1]).is_err() && requests.begin("ann", &[u32::MAX]).is_err());
    }
    let expected =
        [line_of(0, "ann", &[5, 6]), line_of(1, "bob", &[]), line_of(2, "cid", &[7]), line_of(3, "dan", &[])];
    // `forget` kept the first ledger open; another process would find its lock gone.
    let copy = temporary("requests-copy");
    for name in [SERVED, JOURNAL, BOUND, "entries.jsonl", "key.fingerprint"] {
        std::fs::copy(folder.join(name), copy.join(name)).unwrap();
    }
    let requests = open(&copy).unwrap();
    assert_eq!(served(&copy), expected);
    assert_eq!(requests.begin("eve", &[1]).unwrap().id().number(), 4);
    drop(requests);
    let entries = Contents::entries(&copy, 5).unwrap();
    assert_eq!(entries.len(), 5);
    // The last one was opened and dropped.
    assert_eq!(served(&copy).last().unwrap(), &line_of(4, "eve", &[]));
    // What the list says opens each entry.
    let key = LedgerKey::new(&NodeKey::root(b"test"));
    for (record, entry) in read_served(&copy.join(SERVED), Limits::default()).unwrap().zip(&entries) {
        let ServedRecord { request, prompt_tokens, tokens, withheld, .. } = record.unwrap().unwrap();
        let secret = RequestSecret::from_bytes(zeroize::Zeroizing::new([0; 32]));
        let draws = Draws { prompt_tokens, request: request.to_string(), tokens, withheld };
        watermark_core::evidence::pairs::Record::open(&key, entry, draws, &secret).unwrap();
    }
}

/// What cannot be closed as it is closes without an answer, and stops nobody.
#[test]
fn other_lengths_and_ids_close_without_an_answer() {
    let folder = temporary("requests-lengths");
    let requests = open(&folder).unwrap();
    for (tokens, withheld) in [(vec![1, 2], vec![None]), (vec![1], vec![Some(u32::MAX)])] {
        assert!(requests.begin("ann", &[1]).unwrap().close(tokens, withheld).is_err());
    }
    requests.begin("ann", &[1]).unwrap().close(vec![3], vec![None]).unwrap();
    assert_eq!(served(&folder), [line_of(0, "ann", &[]), line_of(1, "ann", &[]), line_of(2, "ann", &[3])]);
}

/// After a write that failed nothing is taken, so that entry i stays request i; the next start mends it.
#[test]
fn a_failed_write_stops_everything() {
    let folder = temporary("requests-failed");
    let requests = open(&folder).unwrap();
    requests.begin("ann", &[1]).unwrap().close(vec![1], vec![None]).unwrap();
    let under_way = requests.begin("bob", &[1]).unwrap();
    // Read-only from now on.
    requests.lock().served = File::open(folder.join(SERVED)).unwrap();
    requests.begin("ann", &[1]).unwrap().close(vec![2], vec![None]).unwrap();
    let error = format!("{:#}", under_way.close(vec![7], vec![None]).unwrap_err());
    assert!(error.contains("writing served.jsonl"), "{error}");
    assert!(format!("{:#}", requests.begin("cid", &[1]).unwrap_err()).contains("taken no more"));
    // One that waited for the disk while another failed enters nothing either, though its disk be mended.
    let (mut state, bytes) = (requests.lock(), std::fs::read(folder.join(SERVED)).unwrap());
    state.served = private(&folder.join(SERVED)).unwrap();
    assert!(requests.enter(&mut state).is_err() && std::fs::read(folder.join(SERVED)).unwrap() == bytes);
    drop(state);
    drop(requests);
    drop(open(&folder).unwrap());
    assert_eq!(served(&folder), [line_of(0, "ann", &[1]), line_of(1, "bob", &[7]), line_of(2, "ann", &[2])]);
    assert_eq!(Contents::entries(&folder, 3).unwrap().len(), 3);
}

#[test]
fn a_damaged_folder_is_refused() {
    let folder = temporary("requests-damaged");
    let requests = open(&folder).unwrap();
    for _ in 0..3 {
        requests.begin("ann", &[1]).unwrap().close(vec![1], vec![None]).unwrap();
    }
    drop(requests);
    drop(open(&folder).unwrap());
    let lines = std::fs::read_to_string(folder.join(SERVED)).unwrap();
    let refused = |name: &str, text: &str, why: &str| {
        let before = std::fs::read_to_string(folder.join(name)).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        let error = format!("{:#}", open(&folder).unwrap_err());
        assert!(error.contains(why), "{error}");
        std::fs::write(folder.join(name), before).unwrap();
    };
    let two: String = lines.lines().take(2).flat_map(|line| [line, "\n"]).collect();
    refused(SERVED, &two, "2 requests, and the ledger beside it has 3; restore it");
    refused(SERVED, &lines.replace("ledger/test/1", "ledger/test/2"), "ledger/test/1 is expected");
    refused(JOURNAL, "{\"closed\":[3,{\"tokens\":[],\"withheld\":[]}]}\n", "cannot be closed");
    refused(JOURNAL, "{\"opened\":[9,{\"account\":\"a\",\"prompt_tokens\":[]}]}\n", "ledger/test/3 is missing");
    refused(JOURNAL, "nonsense\n", "journal.jsonl, line 1");
    refused(JOURNAL, "foreign", "is no record");
    let large = "{\"opened\":[3,{\"account\":\"a\",\"prompt_tokens\":[4294967295]}]}\n";
    refused(JOURNAL, large, "a token id above");
    // An end that an editor took away is put back.
    std::fs::write(folder.join(SERVED), lines.trim_end()).unwrap();
    drop(open(&folder).unwrap());
    for (name, layer) in [("ledger/other", "layer"), ("ledger/test", "another")] {
        let error = format!("{:#}", open_as(&folder, name, layer).unwrap_err());
        assert!(error.contains("another ledger's name, key"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever a stop cuts the journal and the list, numbers go on without a gap and every line that was durable is there.
    #[test]
    fn any_cut_is_mended(cut_served in 0usize..600, cut_journal in 0usize..48) {
        let folder = temporary("requests-cut");
        let requests = open(&folder).unwrap();
        for at in 0..4 {
            requests.begin("ann", &[1, 2]).unwrap().close(vec![at], vec![None]).unwrap();
        }
        drop(requests);
        for (name, n) in [(SERVED, cut_served), (JOURNAL, cut_journal)] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            std::fs::write(folder.join(name), &bytes[..bytes.len() - n.min(bytes.len())]).unwrap();
        }
        let requests = open(&folder).unwrap();
        prop_assert_eq!(requests.begin("bob", &[3]).unwrap().id().number(), 4);
        drop(requests);
        let found = served(&folder);
        prop_assert_eq!(found.len(), 5);
        for (at, (_, _, tokens)) in found.iter().take(3).enumerate() {
            prop_assert_eq!(tokens, &vec![at as u32]);
        }
    }
}
