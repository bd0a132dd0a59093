#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use anyhow::Result;
use proptest::prelude::*;
use watermark_core::model_test::Collection;

use super::*;

fn header() -> Header {
    Header {
        transcript: FORMAT.to_owned(),
        endpoint: "http://127.0.0.1:1/v1".to_owned(),
        api: Api::Chat,
        model: "m".to_owned(),
        max_tokens: 8,
        temperature: 0.1 + 0.2,
        top_p: None,
        logprobs: Some(2),
        stream: false,
        extra: serde_json::from_str(r#"{"min_p": 0.05}"#).unwrap(),
        prompts_sha256: prompts_sha256(&vec!["p".to_owned(); 3]),
        n_prompts: 3,
        round_size: 2,
        collection: Collection::NotWitnessed,
        test: None,
    }
}

fn exchange(index: u64, response: Option<&str>) -> Exchange {
    let failed = response.is_none();
    Exchange {
        index,
        round: index / 2,
        prompt: "p".to_owned(),
        request: header().body("p"),
        attempts: vec![Attempt { status: Some(200), error: failed.then_some(FaultKind::InvalidAnswer) }],
        status: Some(200),
        response: response.map(str::to_owned),
        failure: failed.then(|| Failure { kind: FaultKind::InvalidAnswer, message: "no".to_owned() }),
        utc: "2026-11-23T09:00:00Z".to_owned(),
    }
}

fn lines(exchanges: &[Exchange]) -> String {
    let mut json = vec![serde_json::to_string(&header()).unwrap()];
    json.extend(exchanges.iter().map(|exchange| serde_json::to_string(exchange).unwrap()));
    let (mut text, mut prev) = (String::new(), chain::START.to_owned());
    for json in json {
        let (line, hash) = chain::seal(&json, &prev);
        text += &(line + "\n");
        prev = hash;
    }
    text
}

fn read(bytes: &[u8]) -> Result<Option<(Vec<Exchange>, u64)>> {
    let Some(mut reader) = Reader::new(Cursor::new(bytes))? else { return Ok(None) };
    let exchanges = reader.by_ref().collect::<Result<Vec<_>>>()?;
    Ok(Some((exchanges, reader.end)))
}

#[test]
fn what_is_written_is_read_and_a_cut_line_is_dropped() {
    let exchanges = [exchange(1, None), exchange(0, Some("é\n\0")), exchange(1, Some("b")), exchange(2, Some("c"))];
    let text = lines(&exchanges);
    assert_eq!(read(text.as_bytes()).unwrap(), Some((exchanges.to_vec(), text.len() as u64)));
    // Cut anywhere: the whole lines before remain, and nothing is an error.
    for cut in 0..text.len() {
        let whole = text.as_bytes()[..cut].iter().filter(|&&byte| byte == b'\n').count();
        match read(&text.as_bytes()[..cut]).unwrap() {
            None => assert_eq!(whole, 0),
            Some((read, end)) => {
                assert_eq!(read, exchanges[..whole - 1]);
                assert_eq!(end as usize, text.as_bytes()[..cut].iter().rposition(|&byte| byte == b'\n').unwrap() + 1);
            }
        }
    }
}

#[test]
fn other_files_and_broken_lines_are_named() {
    let error = |text: &str| format!("{:#}", read(text.as_bytes()).unwrap_err());
    assert!(error("some other text").contains("line 1"));
    assert!(error("{}\n").contains("line 1"));
    let text = lines(&[exchange(0, Some("a")), exchange(1, Some("b"))]);
    let parts: Vec<&str> = text.split_inclusive('\n').collect();
    assert!(error(&text.replace(":\"b\"", ":\"c\"")).contains("line 3: `sha256`"));
    assert!(error(&[parts[0], parts[2]].concat()).contains("line 2: `prev`"));
    for (bad, says) in [
        (exchange(3, Some("a")), "n_prompts"),
        (Exchange { round: 1, ..exchange(0, Some("a")) }, "round"),
        (Exchange { failure: exchange(0, None).failure, ..exchange(0, Some("a")) }, "either"),
        (Exchange { attempts: vec![], ..exchange(0, Some("a")) }, "attempts"),
        (Exchange { utc: "yesterday".to_owned(), ..exchange(0, Some("a")) }, "utc"),
        (Exchange { prompt: "q".to_owned(), ..exchange(0, Some("a")) }, "request"),
    ] {
        let error = error(&lines(&[bad]));
        assert!(error.contains("line 2") && error.contains(says), "{error}");
    }
    assert!(error(&lines(&[exchange(0, Some("a")), exchange(0, Some("a"))])).contains("line 3: prompt 0 has"));
    assert!(error(&lines(&[exchange(2, Some("a")), exchange(0, Some("a"))])).contains("line 3: round 0 after"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_changed_byte_is_never_accepted(at in any::<prop::sample::Index>(), bit in 0..8) {
        let exchanges = [exchange(0, Some("a")), exchange(1, Some("b"))];
        let mut bytes = lines(&exchanges).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        // A changed newline joins two lines, or leaves the last one incomplete.
        match read(&bytes) {
            Ok(Some((read, _))) => prop_assert_eq!(read, &exchanges[..1]),
            Ok(None) => prop_assert!(false, "the header is whole or broken"),
            Err(_) => {}
        }
    }
}
