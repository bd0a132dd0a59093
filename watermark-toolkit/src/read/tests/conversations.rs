use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::*, all, one, text};

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
        (json!({ "prompt": "x", "chosen": turns }), "prompt/chosen", Some("x\nq")),
        (
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            "conversations",
            Some("q"),
        ),
        (json!({"prompt": [turns[0]], "completion": [turns[1]]}), "prompt/completion", Some("q")),
        (json!({"instruction": "i", "input": "", "output": "a", "text": "t"}), "instruction/input/output", Some("i")),
        (json!({"instruction": "i", "input": "n", "output": "a"}), "instruction/input/output", Some("i\nn")),
        (json!({"system_prompt": "s", "question": "q", "response": "a"}), "question/response", Some("s\nq")),
        (json!({"problem": "p", "solution": "a"}), "problem/solution", Some("p")),
        (json!({"prompt": "q", "chosen": "a", "rejected": 1}), "prompt/chosen", Some("q")),
        (
            json!({"custom_id": "7", "response": {"status_code": 200, "body": {"choices": [{"message": {"role": "assistant", "content": "a"}}]}}}),
            "response.body.choices",
            None,
        ),
        (
            json!({"response": {"body": {"output": [{"type": "reasoning", "summary": []}, {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}}}),
            "response.body.output",
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

/// Whatever the model was asked or given is prompt, in every shape: nobody is accused of what stands there.
#[test]
fn what_was_given_to_the_model_is_prompt() {
    let turns = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
    for (record, prompt) in [
        (json!({"instruction": "i", "context": "c", "response": "a"}), "c\ni"),
        (json!({"system": "s", "conversations": turns}), "s\nq"),
        (json!({"history": [["u", "v"], ["w", "x"]], "instruction": "i", "output": "a"}), "u\nv\nw\nx\ni"),
        (json!({"context": {"contexts": ["c", "d"], "n": 1}, "question": "q", "answer": "a"}), "c\nd\nq"),
        (json!({"prompt": [{"role": "user", "content": "q"}], "output": "a"}), "q"),
        (json!({"documents": ["d"], "prompt": "", "text": "a"}), "d"),
    ] {
        let records = read(&record);
        assert_eq!((records.len(), &records[0].body), (1, &text(Some(prompt), "a")), "{record}");
    }
}

/// Both sides in one string: only what the model said is generated.
#[test]
fn a_dialogue_in_one_string_has_two_sides() {
    for dialogue in [
        "\n\nHuman: q\nr\n\nAssistant: a\n\nHuman: t\n\nAssistant: b",
        "### Human: q\nr\n### Assistant: a\n### Human: t\n### Assistant: b",
        "<|im_start|>user\nq\nr<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nt<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n",
    ] {
        let records = read(&json!({"chosen": dialogue}));
        let sides: Vec<_> = records
            .iter()
            .map(|record| match &record.body {
                Body::Text { prompt, text } => {
                    (prompt.as_deref().unwrap().split_whitespace().collect::<String>(), text.trim().to_owned())
                }
                Body::Tokens { .. } => panic!("text"),
            })
            .collect();
        assert_eq!(sides, [("qr".to_owned(), "a".to_owned()), ("t".to_owned(), "b".to_owned())], "{dialogue:?}");
        assert!(records[1].continues);
    }
    // One that only mentions the words is a text, and so is one with nothing by the model.
    for whole in ["He said:\nHuman: no", "Human: alone", "Assistants: many"] {
        assert_eq!(read(&json!({"text": whole}))[0].body, text(None, whole));
    }
    let pair = read(&json!({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}));
    assert_eq!(pair.iter().map(|record| record.continues).collect::<Vec<_>>(), [false, false]);
    // An answer is the model's, whatever it says.
    assert_eq!(read(&json!({"completion": "Human: q\nAssistant: a"}))[0].body, text(None, "Human: q\nAssistant: a"));
    let pair = read(&json!({"prompt": "q", "chosen": "a", "rejected": "r"}));
    assert_eq!(
        pair.iter().map(|record| record.body.clone()).collect::<Vec<_>>(),
        [text(Some("q"), "a"), text(Some("q"), "r")]
    );
}

#[test]
fn roles_decide_whose_a_text_is() {
    let kind = |record: Value| one(record.to_string(), Auto).map(|record| record.body).map_err(|bad| bad.kind());
    assert_eq!(kind(json!({"role": "prompter", "text": "t"})), Err(BadRecordKind::NotGenerated));
    assert_eq!(kind(json!({"role": "assistant", "text": "t"})), Ok(text(None, "t")));
    assert_eq!(kind(json!({"author": "Jane", "text": "t"})), Ok(text(None, "t")));
    let turns = |role: &str| json!({"messages": [{"role": "User", "content": "q"}, {"role": role, "content": "a"}]});
    for role in ["ASSISTANT", "Assistant", "function_call"] {
        assert_eq!(kind(turns(role)), Ok(text(Some("q"), "a")), "{role}");
    }
    assert_eq!(kind(turns("Gandalf")), Err(BadRecordKind::Ambiguous));
    assert_eq!(selecting(&turns("Gandalf"), None, Some("Gandalf"), Auto)[0].body, text(Some("q"), "a"));
}

/// Conversations in other layouts, reasoning under other names, several answers to a question.
#[test]
fn other_layouts() {
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let lists = json!({"role": ["user", "assistant"], "content": ["q", "a"]});
    for messages in [json!(turns.to_string()), lists] {
        assert_eq!(read(&json!({"messages": messages, "text": "gsm8k"}))[0].body, text(Some("q"), "a"));
    }
    for message in [
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "think"}, {"type": "text", "text": "a"}]}),
        json!({"role": "assistant", "thinking": "think", "content": "a"}),
        json!({"role": "assistant", "reasoning_content": "", "reasoning": "think", "content": "a"}),
        json!({"role": "assistant", "reasoning_details": [{"text": "think"}], "content": "a"}),
    ] {
        let bodies: Vec<_> = read(&json!({"messages": [message]})).into_iter().map(|record| record.body).collect();
        assert_eq!(bodies, [text(None, "think"), text(None, "a")], "{message}");
    }
    let several = read(&json!({"problem": "p", "generations": ["a", "b"], "answer": "7"}));
    assert_eq!(
        several.iter().map(|record| record.body.clone()).collect::<Vec<_>>(),
        [text(Some("p"), "a"), text(Some("p"), "b")]
    );
    assert!(several.iter().all(|record| !record.continues));
    // An empty field does not hide a full one.
    assert_eq!(read(&json!({"output": "", "text": "t"}))[0].body, text(None, "t"));
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
