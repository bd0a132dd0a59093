use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::*, all, text};

use InputFormat::{Auto, Tokens};

fn selecting(value: &Value, field: Option<&str>, role: Option<&str>, format: InputFormat) -> Vec<Record> {
    let select = Select { field: field.map(str::to_owned), role: role.map(str::to_owned) };
    let bytes = std::io::Cursor::new(value.to_string());
    let reader = from_stream(Box::new(bytes), "in", format, &select, Limits::default()).unwrap();
    reader.map(|item| item.unwrap().unwrap()).collect()
}

fn read(value: &Value) -> Vec<Record> {
    selecting(value, None, None, Auto)
}

/// The shapes that datasets and logs are in.
#[test]
fn shapes_of_the_field() {
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    for (record, schema, prompt) in [
        (json!({ "messages": turns }), "messages", Some("q")),
        (json!({ "conversation": turns, "model": "m", "turn": 1 }), "conversation", Some("q")),
        (json!({ "prompt": "x", "chosen": turns, "rejected": turns }), "prompt/chosen", Some("x\nq")),
        (
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            "conversations",
            Some("q"),
        ),
        (json!({"prompt": [turns[0]], "completion": [turns[1]]}), "prompt/completion", Some("q")),
        (json!({"instruction": "i", "input": "", "output": "a", "text": "t"}), "instruction/input/output", Some("i\n")),
        (json!({"instruction": "i", "input": "n", "output": "a"}), "instruction/input/output", Some("i\nn")),
        (json!({"system_prompt": "s", "question": "q", "response": "a"}), "question/response", Some("q")),
        (json!({"problem": "p", "solution": "a"}), "problem/solution", Some("p")),
        (json!({"prompt": "q", "chosen": "a", "rejected": "r"}), "prompt/chosen", Some("q")),
        (
            json!({"custom_id": "7", "response": {"status_code": 200, "body": {"choices": [{"message": {"role": "assistant", "content": "a"}}]}}}),
            "response.body.choices",
            None,
        ),
        (json!({"choices": [{"text": "a"}]}), "choices", None),
        (json!({"text": "a", "source": "web", "metadata": {}}), "text", None),
    ] {
        let records = read(&record);
        assert_eq!(records.len(), 1, "{record}");
        assert_eq!((records[0].schema, &records[0].body), (schema, &text(prompt, "a")), "{record}");
    }
    assert_eq!(read(&json!({"custom_id": "7", "choices": [{"text": "a"}]}))[0].id.as_deref(), Some("7"));
}

#[test]
fn every_assistant_text_is_a_record() {
    let record = json!({"id": 5, "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {}}, "r"]},
        {"role": "assistant", "reasoning_content": "think", "content": "a", "tool_calls": null},
        {"role": "tool", "content": "t"},
        {"role": "assistant", "content": null, "tool_calls": [{}]},
        {"role": "assistant", "content": "b"},
    ]});
    let records = read(&record);
    let bodies: Vec<_> = records.iter().map(|record| record.body.clone()).collect();
    assert_eq!(bodies, [text(Some("s\nqr"), "think"), text(None, "a"), text(Some("t"), "b")]);
    let continues: Vec<_> = records.iter().map(|record| record.continues).collect();
    assert_eq!(continues, [false, true, true]);
    let places: Vec<_> = records.iter().map(|record| record.location.to_string()).collect();
    assert_eq!(places, ["in:1#1", "in:1#2", "in:1#3"]);
    assert!(records.iter().all(|record| record.id.as_deref() == Some("5")));

    let users = selecting(&record, None, Some("user"), Auto);
    assert_eq!((users.len(), &users[0].body), (1, &text(Some("s"), "qr")));
}

#[test]
fn alternatives_do_not_continue_each_other() {
    let records = read(&json!({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}));
    assert_eq!(records.iter().map(|record| record.continues).collect::<Vec<_>>(), [false, false]);
}

#[test]
fn fields_by_pointer() {
    let record = json!({"id": "x", "data": {"out~put": ["a", {"b/c": "text"}], "ids": [3, 4]}, "text": "not this"});
    let by = |field, format| selecting(&record, Some(field), None, format).remove(0);
    assert_eq!(by("/data/out~0put/1/b~1c", Auto).body, text(None, "text"));
    assert_eq!(by("/data/out~0put/0", Auto).id.as_deref(), Some("x"));
    assert_eq!(by("/data/ids", Tokens).body, Body::Tokens { prompt_tokens: vec![], tokens: vec![3, 4] });
}

#[test]
fn too_many_turns_are_refused() {
    let turn = "{\"role\":\"assistant\",\"content\":\"a\"},";
    let line = format!("{{\"messages\":[{}{}]}}", turn.repeat(4096), &turn[..turn.len() - 1]);
    let bad = super::reader(line, Auto, 1 << 20).unwrap().next().unwrap().unwrap().unwrap_err();
    assert_eq!(bad.kind(), BadRecordKind::TooLong);
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just("assistant"), Just("user"), Just("gpt"), Just("text")].prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("role"),
        Just("content"),
        Just("from"),
        Just("value"),
        Just("text"),
        Just("type"),
        Just("message"),
        Just("body"),
        Just("choices"),
        Just("reasoning_content")
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    /// Any value in any known place: a record or a clear refusal that does not repeat it.
    #[test]
    fn any_value_in_any_field(
        name in proptest::sample::select(&fields::NAMES[..]),
        beside in proptest::sample::select(&fields::NAMES[..]),
        value in tree(),
        other in tree(),
    ) {
        let line = json!({ name: value, beside: other, "secret-name": "secret" }).to_string();
        for item in all(line, Auto) {
            match item {
                Ok(record) => prop_assert!(!record.schema.is_empty()),
                Err(bad) => prop_assert!(!bad.to_string().contains("secret")),
            }
        }
    }
}
