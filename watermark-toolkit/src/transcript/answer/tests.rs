#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn alternative(bytes: &[u8], id: Option<u32>, logprob: f64) -> Alternative {
    Alternative { bytes: bytes.to_vec(), id, logprob }
}

/// Bodies as llama.cpp's server (build b11549) writes them.
#[test]
fn llama_cpp() {
    let content = r#"{"content":[
        {"id":382,"token":" she","bytes":[32,115,104,101],"logprob":-6.944180488586426,
         "top_logprobs":[{"id":378,"token":" The","bytes":[32,84,104,101],"logprob":-2.0077390670776367},
                         {"id":768,"token":" He","bytes":[32,72,101],"logprob":-2.5}]},
        {"id":0,"token":"","bytes":[],"logprob":-0.5,"top_logprobs":[]}]}"#;
    let completions = format!(
        r#"{{"choices":[{{"text":" she","index":0,"logprobs":{content},"finish_reason":"stop"}}],"created":1795558090,
        "usage":{{"completion_tokens":2}},"timings":{{}}}}"#
    );
    let chat = format!(
        r#"{{"choices":[{{"finish_reason":"stop","index":0,"message":{{"role":"assistant","content":" she"}},
        "logprobs":{content}}}],"object":"chat.completion"}}"#
    );
    let expected = Answer {
        text: " she".to_owned(),
        finish_reason: Some("stop".to_owned()),
        token_ids: None,
        positions: vec![
            Position {
                bytes: b" she".to_vec(),
                id: Some(382),
                logprob: -6.944180488586426,
                top: vec![alternative(b" The", Some(378), -2.0077390670776367), alternative(b" He", Some(768), -2.5)],
            },
            Position { bytes: vec![], id: Some(0), logprob: -0.5, top: vec![] },
        ],
    };
    assert_eq!(parse(Api::Completions, &completions).unwrap(), expected);
    assert_eq!(parse(Api::Chat, &chat).unwrap(), expected);
    let plain = r#"{"choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":"length"}]}"#;
    assert_eq!(parse(Api::Completions, plain).unwrap().text, "a");
    assert!(parse(Api::Chat, plain).unwrap_err().to_string().contains("no text"));
}

/// OpenAI's own form of completions: parallel lists, and bytes in words.
#[test]
fn legacy_logprobs() {
    let body = json!({"choices": [{"text": "a\u{fffd}", "index": 0, "finish_reason": "length", "logprobs": {
        "text_offset": [0, 1], "tokens": ["a", "bytes:\\xe2\\x80"], "token_logprobs": [-0.25, -1.5],
        "top_logprobs": [{"b": -2.0, "a": -0.25, "bytes:\\xff": -2.0}, null]}}]});
    let answer = parse(Api::Completions, &body.to_string()).unwrap();
    assert_eq!(
        answer.positions,
        [
            Position {
                bytes: b"a".to_vec(),
                id: None,
                logprob: -0.25,
                top: vec![
                    alternative(b"a", None, -0.25),
                    alternative(b"b", None, -2.0),
                    alternative(&[0xff], None, -2.0)
                ],
            },
            Position { bytes: vec![0xe2, 0x80], id: None, logprob: -1.5, top: vec![] },
        ]
    );
}

#[test]
fn a_stream_says_what_a_document_says() {
    let token =
        |text: &str, id: u32| json!({"content": [{"id": id, "token": text, "logprob": -1.0, "top_logprobs": []}]});
    let event = |value: Value| format!("data: {value}\n\n");
    let chat = [
        ": keep-alive\n\n".to_owned(),
        event(json!({"choices": [{"finish_reason": null, "index": 0, "delta": {"role": "assistant", "content": null}}]})),
        event(json!({"choices": [{"finish_reason": null, "index": 0, "delta": {"content": " she"}, "logprobs": token(" she", 1)}]})),
        event(json!({"choices": [{"finish_reason": null, "index": 0, "delta": {"content": " é"}, "logprobs": token(" é", 2)}]})),
        event(json!({"choices": [{"finish_reason": "length", "index": 0, "delta": {}}], "timings": {}})),
        event(json!({"choices": [], "usage": {"completion_tokens": 99999}})),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let document = json!({"choices": [{"index": 0, "finish_reason": "length", "message": {"content": " she é"}, "logprobs":
        {"content": [token(" she", 1)["content"][0], token(" é", 2)["content"][0]]}}]});
    let whole = parse(Api::Chat, &chat).unwrap();
    assert_eq!(whole, parse(Api::Chat, &document.to_string()).unwrap());
    assert_eq!(parse(Api::Chat, &chat.replace('\n', "\r\n")).unwrap(), whole);

    let part = |text: &str, id: u32, reason: Value| {
        event(json!({"choices": [{"text": text, "index": 0, "token_ids": [id], "finish_reason": reason}]}))
    };
    let completions = part(" a", 5, Value::Null) + &part("b", 6, json!("stop"));
    let answer = parse(Api::Completions, &completions).unwrap();
    assert_eq!((answer.text.as_str(), answer.token_ids), (" ab", Some(vec![5, 6])));

    let cut = part(" a", 5, Value::Null);
    assert!(parse(Api::Completions, &cut).unwrap_err().to_string().contains("cut"));
    assert!(parse(Api::Completions, &completions[..completions.len() - 10]).is_err());
    let failed = cut + &event(json!({"error": {"message": "out of memory"}}));
    assert!(parse(Api::Completions, &failed).unwrap_err().to_string().contains("reports an error"));
}

#[test]
fn what_is_no_answer() {
    let with = |logprob: &str| {
        format!(r#"{{"choices":[{{"text":"a","logprobs":{{"content":[{{"token":"a","logprob":{logprob}}}]}}}}]}}"#)
    };
    assert!(parse(Api::Completions, &with("-1e300")).is_ok());
    assert!(parse(Api::Completions, &with("0")).is_ok());
    for bad in ["1e-9", "1e999", "-1e999", "NaN", "null", "\"-1\""] {
        assert!(parse(Api::Completions, &with(bad)).is_err(), "{bad}");
    }
    let long = "x".repeat(5000);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "<html>busy</html>",
        "data: [DONE]\n\n",
        r#"{"choices":[]}"#,
        r#"{"choices":[{"index":1,"text":"another"}]}"#,
        r#"{"error":{"message":"secret"}}"#,
        r#"{"choices":[{"text":"a","token_ids":[16777216]}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[]}}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[null]}}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[256]}]}}]}"#,
        &format!(r#"{{"choices":[{{"text":"a","finish_reason":"{long}"}}]}}"#),
        &format!(r#"{{"choices":[{{"text":"a","logprobs":{{"content":[{{"token":"{long}","logprob":-1}}]}}}}]}}"#),
        &("[".repeat(100_000) + "{"),
        &(r#"{"choices":"#.to_owned() + &"[".repeat(100_000)),
    ] {
        let error = format!("{:#}", parse(Api::Completions, body).unwrap_err());
        assert!(!error.contains("secret") && error.len() < 200, "{error}");
    }
    let secret = r#"{"choices":"secret"}"#;
    assert!(!format!("{:#}", parse(Api::Chat, secret).unwrap_err()).contains("secret"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), chat in any::<bool>()) {
        let _ = parse(if chat { Api::Chat } else { Api::Completions }, &text);
    }

    /// Bytes changed in valid bodies, so that more than the first token of the JSON is reached.
    #[test]
    fn damaged_bodies_never_panic_and_keep_the_limits(
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        stream in any::<bool>(),
    ) {
        let choice = r#"{"choices":[{"text":" she","index":0,"token_ids":[7],"logprobs":{"content":[{"id":382,"token":" she",
            "bytes":[32,115],"logprob":-6.9,"top_logprobs":[{"id":3,"token":"x","logprob":-2.0}]}]},"finish_reason":"stop"}]}"#;
        let choice = choice.replace('\n', "");
        let mut body = if stream { format!("data: {choice}\n\ndata: {choice}\n\ndata: [DONE]\n\n") } else { choice }.into_bytes();
        let at = at.index(body.len());
        body[at] = with;
        let cut = cut.index(body.len() + 1);
        for body in [&body[..], &body[..cut]] {
            if let Ok(answer) = parse(Api::Completions, &String::from_utf8_lossy(body)) {
                for position in &answer.positions {
                    prop_assert!(position.logprob <= 0.0 && position.top.iter().all(|other| other.logprob <= 0.0));
                }
                prop_assert!(answer.token_ids.iter().flatten().all(|&id| id < 1 << 24));
            }
        }
    }
}
