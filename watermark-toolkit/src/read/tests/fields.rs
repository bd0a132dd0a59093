use super::{super::*, all, one, text};

use BadRecordKind::{
    Ambiguous, DuplicateField, InvalidJson, InvalidToken, InvalidUtf8, LoneSurrogate, MissingField, Truncated,
    WrongType,
};
use InputFormat::{Auto, Jsonl, Tokens};

#[test]
fn text_shapes_by_preference() {
    for (line, body) in [
        (r#"{"completion": "c"}"#, text(None, "c")),
        (r#"{"prompt": "p", "completion": "c"}"#, text(Some("p"), "c")),
        (r#"{"answer": "a"}"#, text(None, "a")),
        (r#"{"answer": "a", "question": "q", "prompt": 1}"#, text(Some("q"), "a")),
        (r#"{"text": "t", "prompt": "p"}"#, text(Some("p"), "t")),
        (r#"{"text": "t", "answer": "a", "completion": "c"}"#, text(None, "c")),
        (r#"{"text": "t", "answer": "a"}"#, text(None, "a")),
        (r#"{"text": "t", "completion": null, "tokens": [1]}"#, text(None, "t")),
        (r#"{"completion": "", "prompt": null}"#, text(None, "")),
        (r#"{"messages": null, "completion": "c"}"#, text(None, "c")),
        (r#"{"messages": "m", "completion": "c"}"#, text(None, "c")),
        (r#"{"messages": [{"role": "assistant", "content": "m"}], "completion": null}"#, text(None, "m")),
        (r#"{"te\u0078t": " \u00e9\ud83d\ude00\r\n"}"#, text(None, " é😀\r\n")),
        (r#"{"text": "t", "x": {"y": [1, {"text": 2}]}, "x": 1e999}"#, text(None, "t")),
    ] {
        for format in [Auto, Jsonl] {
            assert_eq!(one(line, format).map(|record| record.body), Ok(body.clone()), "{line}");
        }
    }
}

#[test]
fn ids() {
    for (id, read) in [
        ("\"a\"", Some("a")),
        ("7", Some("7")),
        ("-7", Some("-7")),
        ("18446744073709551615", Some("18446744073709551615")),
        ("1.0", Some("1.0")),
        ("null", None),
    ] {
        for (format, body) in [(Auto, r#""text": "t""#), (Tokens, r#""tokens": []"#)] {
            assert_eq!(one(format!("{{{body}, \"id\": {id}}}"), format).unwrap().id.as_deref(), read);
        }
    }
    // An id is for reports only; one of another type must not cost the text.
    for id in ["true", "[1]", "{\"$oid\": \"1\"}", "18446744073709551616"] {
        assert_eq!(one(format!("{{\"text\": \"t\", \"id\": {id}}}"), Auto).unwrap().id, None);
    }
}

/// Masks and labels say which tokens were generated; padding is no token at all.
#[test]
fn a_field_twice_inside_is_refused() {
    for line in [
        r#"{"messages": [{"role": "user", "role": "assistant", "content": "a"}]}"#,
        r#"{"messages": [{"role": "assistant", "content": [{"text": "a", "text": "b"}]}]}"#,
    ] {
        let bad = one(line, Auto).unwrap_err();
        assert_eq!(bad.kind(), DuplicateField);
        assert!(bad.to_string().contains("occurs twice"), "{bad}");
    }
}

#[test]
fn masks_beside_token_ids() {
    let body = |prompt: &[u32], ids: &[u32]| Body::Tokens { prompt_tokens: prompt.to_vec(), tokens: ids.to_vec() };
    for (line, bodies) in [
        (r#"{"input_ids": [1, 2, 3, 0], "attention_mask": [1, 1, 1, 0]}"#, vec![body(&[], &[1, 2, 3])]),
        (
            r#"{"input_ids": [1, 2, 3, 0], "labels": [-100, 2, 3, -100], "attention_mask": [1, 1, 1, 0]}"#,
            vec![body(&[1], &[2, 3])],
        ),
        (
            r#"{"prompt_tokens": [9], "tokens": [1, 2, 3, 4], "assistant_masks": [false, true, false, true]}"#,
            vec![body(&[9, 1], &[2]), body(&[3], &[4])],
        ),
        (r#"{"tokens": [1, 2], "completion_mask": [0, 0]}"#, vec![body(&[1, 2], &[])]),
    ] {
        let found: Vec<_> = all(line, Tokens).into_iter().map(|record| record.unwrap().body).collect();
        assert_eq!(found, bodies, "{line}");
    }
    for line in [
        r#"{"tokens": [1, 2], "labels": [1]}"#,
        r#"{"tokens": [1], "loss_mask": ["x"]}"#,
        r#"{"tokens": [1], "labels": 1}"#,
    ] {
        assert_eq!(one(line, Tokens).unwrap_err().kind(), WrongType, "{line}");
    }
}

#[test]
fn token_records() {
    for (line, prompt, ids) in [
        (r#"{"tokens": [0, 16777215]}"#, vec![], vec![0, 16_777_215]),
        (r#"{"tokens": []}"#, vec![], vec![]),
        (r#"{"prompt_tokens": [5], "tokens": [6], "text": 1}"#, vec![5], vec![6]),
        (r#"{"prompt_tokens": null, "tokens": [6], "completion": "c"}"#, vec![], vec![6]),
    ] {
        let body = Body::Tokens { prompt_tokens: prompt, tokens: ids };
        assert_eq!(one(line, Tokens).map(|record| record.body), Ok(body), "{line}");
    }
    for (element, what) in [
        ("16777216", "16777216"),
        ("18446744073709551616", "1.8446744073709552e19"),
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("\"secret\"", "a string"),
        ("null", "null"),
        ("true", "a boolean"),
        ("[1]", "an array"),
        ("{\"secret\": 1}", "an object"),
    ] {
        for field in ["tokens", "prompt_tokens"] {
            let other = if field == "tokens" { "prompt_tokens" } else { "tokens" };
            let line = format!("{{\"{field}\": [7, {element}, \"later\"], \"{other}\": []}}");
            let bad = one(line, Tokens).unwrap_err();
            assert_eq!(bad.kind(), InvalidToken);
            let message = format!(
                "in:1: element 1 of \"{field}\" (counted from 0) is {what}; token ids are integers from 0 to 16777215"
            );
            assert_eq!(bad.to_string(), message);
        }
    }
}

#[test]
fn bad_records() {
    for (format, line, kind, part) in [
        (Auto, r#"{"secret": "secret"}"#, MissingField, "\"solution\" and \"text\""),
        (Auto, r#"{"text": null}"#, MissingField, "\"text\""),
        (Auto, r#"{"tokens": [1]}"#, MissingField, "--input-format tokens"),
        (Jsonl, r#"{"tokens": [1]}"#, MissingField, "--input-format tokens"),
        (Tokens, r#"{"text": "secret"}"#, MissingField, "--input-format tokens"),
        (Tokens, r#"{"prompt_tokens": [1]}"#, MissingField, "\"tokens\""),
        (Tokens, r#"{"tokens": "secret"}"#, WrongType, "\"tokens\" is a string"),
        (Tokens, r#"{"tokens": [], "prompt_tokens": 1}"#, WrongType, "\"prompt_tokens\" is a number"),
        (Auto, r#"{"text": ["secret"]}"#, WrongType, "\"text\" is an array"),
        (Auto, r#"{"completion": {"secret": 1}, "text": "t"}"#, WrongType, "\"completion\" is an object"),
        (Auto, r#"{"completion": "c", "prompt": false}"#, WrongType, "\"prompt\" is a boolean"),
        (Auto, r#"{"answer": "a", "question": 1}"#, WrongType, "\"question\" is a number"),
        (Auto, r#"{"text": "secret", "text": "secret"}"#, DuplicateField, "\"text\" occurs twice"),
        (Auto, r#"{"id": null, "text": "secret", "id": 1}"#, DuplicateField, "\"id\" occurs twice"),
        (Tokens, r#"{"tokens": [1], "tokens": [1]}"#, DuplicateField, "\"tokens\" occurs twice"),
        (Jsonl, r#""secret""#, InvalidJson, "not a JSON object"),
        (Jsonl, r#"secret"#, InvalidJson, "not a JSON object"),
        (Auto, r#"{"text": secret}"#, InvalidJson, "column 10"),
        (Auto, r#"{"text": "secret"} {}"#, InvalidJson, "column 20"),
        (Auto, r#"{"text": "secret\ud800"}"#, LoneSurrogate, "surrogate"),
        (
            Auto,
            r#"{"completion": "secret", "messages": [{"role": "assistant", "content": "secret"}]}"#,
            Ambiguous,
            "\"messages\" and \"completion\"",
        ),
        (
            Auto,
            r#"{"conversation": [], "prompt": "secret", "completion": ["secret"]}"#,
            Ambiguous,
            "\"conversation\" and \"completion\"",
        ),
        (Auto, r#"{"messages": "secret"}"#, WrongType, "\"messages\" is a string"),
        (Auto, r#"{"messages": [{"role": "user", "content": "secret"}]}"#, MissingField, "--role"),
        (Auto, r#"{"messages": [{"role": "assistant", "content": 1}]}"#, WrongType, "\"messages\""),
        (Auto, r#"{"messages": ["secret"]}"#, WrongType, "not an object"),
        (Auto, r#"{"response": {"body": {"choices": []}}}"#, MissingField, "no text"),
        (Auto, r#"{"response": {"status": 500}}"#, MissingField, "\"choices\""),
        (Auto, r#"{"text": "secret""#, InvalidJson, "ends inside"),
    ] {
        let bad = one(format!("{line}\r\n"), format).unwrap_err();
        assert_eq!(bad.kind(), kind, "{line}");
        assert_eq!((bad.location().source(), bad.location().line()), ("in", 1));
        let message = bad.to_string();
        assert!(message.starts_with("in:1: ") && message.contains(part), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn lines() {
    let items = all("{\"text\": \"1\"}\r\n\n \t\r\n{\"text\": 4}\n{\"text\": \"5\"}\n{\"text\": \"6", Auto);
    let places: Vec<_> = items
        .iter()
        .map(|item| match item {
            Ok(record) => (true, record.location.line()),
            Err(bad) => (false, bad.location().line()),
        })
        .collect();
    assert_eq!(places, [(true, 1), (false, 4), (true, 5), (false, 6)]);
    let last = items[3].as_ref().unwrap_err();
    assert_eq!(last.kind(), Truncated);
    assert!(last.to_string().contains("truncated?"), "{last}");
}

#[test]
fn not_utf8() {
    let bad = one(b"\xef\xbb\xbfsecret\xff", Auto).unwrap_err();
    assert_eq!(bad.kind(), InvalidUtf8);
    assert!(bad.to_string().starts_with("in:1: not UTF-8 at byte 9 "), "{bad}");
    let items = all(&b"{\"text\": \"\xff\"}\n{\"x\": \"\xff\", \"text\": \"\"}\n{\"text\": \"\xc3"[..], Auto);
    let kinds: Vec<_> = items.iter().map(|item| item.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [InvalidUtf8, InvalidUtf8, Truncated]);
    let first = items[0].as_ref().unwrap_err().to_string();
    assert!(first.starts_with("in:1: not UTF-8 at byte 10 of the line"), "{first}");
}

#[test]
fn deep_nesting() {
    let deep = "[".repeat(1 << 20);
    let flat = "]".repeat(1 << 20);
    for name in ["x", "id", "text", "completion", "tokens", "prompt_tokens"] {
        for (format, array) in [
            (Jsonl, deep.clone()),
            (Tokens, deep.clone()),
            (Jsonl, format!("{deep}{flat}")),
            (Tokens, format!("{deep}{flat}")),
        ] {
            let line = format!("{{\"{name}\": {array}}}\n");
            let reader = super::reader(line, format, 1 << 24).unwrap();
            assert!(reader.map(Result::unwrap).all(|item| item.is_err()));
        }
    }
}
