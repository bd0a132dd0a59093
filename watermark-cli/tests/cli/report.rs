use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use watermark_core::evidence::bundle::{REGISTRATION_TYPE, STATEMENT_TYPE};
use watermark_core::evidence::canonical::to_canonical;
use watermark_core::evidence::{HEAD_TYPE, SigningKey, dsse};
use watermark_toolkit::evidence::{Context, check};
use watermark_toolkit::report::{Source, page};

use crate::evidence::setup;
use crate::support::Folder;

/// What would act in a page that forgot to escape it; no character of it may arrive as it is, but for letters.
const HOSTILE: &str = "</style></svg></td><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>\u{202e}\u{2066}\
                       \u{1b}[2J\u{9b}\u{200b}\r\n\t\"'`{{ 7 * 7 }}{% raw %}&lt;javascript:";

const ELEMENTS: &[&str] = &[
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "main",
    "footer",
    "section",
    "h1",
    "h2",
    "h3",
    "p",
    "q",
    "ul",
    "li",
    "code",
    "pre",
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "figcaption",
    "svg",
    "text",
    "line",
    "rect",
    "circle",
    "polyline",
    "blockquote",
    "mark",
    "span",
    "br",
    "!doctype",
];

const ATTRIBUTES: &[&str] = &[
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "class",
    "id",
    "role",
    "aria-label",
    "aria-labelledby",
    "tabindex",
    "scope",
    "viewbox",
    "font-size",
    "fill",
    "x",
    "y",
    "x1",
    "y1",
    "x2",
    "y2",
    "cx",
    "cy",
    "r",
    "width",
    "height",
    "points",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "text-anchor",
    "paint-order",
    "html",
];

/// Start tags with their attributes, in order; that every element is known, closed where it must be, and inert.
fn elements(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let (mut found, mut open) = (Vec::new(), Vec::<String>::new());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap();
        let tag = rest[at + 1..end].to_ascii_lowercase();
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before {}", &rest[..rest.len().min(200)]);
            continue;
        }
        let name = tag.split_whitespace().next().unwrap_or("").to_owned();
        assert!(!name.is_empty() && ELEMENTS.contains(&name.as_str()), "element <{tag}>");
        let mut attributes = Vec::new();
        let mut left = tag[name.len()..].trim_end_matches('/').trim();
        while !left.is_empty() {
            let (attribute, value) = left.split_once("=\"").unwrap_or((left, "\""));
            let (value, more) = value.split_once('"').unwrap();
            assert!(ATTRIBUTES.contains(&attribute), "attribute {attribute:?} of <{tag}>");
            attributes.push((attribute.to_owned(), value.to_owned()));
            left = more.trim();
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
        if !["meta", "br", "line", "rect", "circle", "polyline", "!doctype"].contains(&name.as_str()) {
            open.push(name.clone());
        }
        found.push((name, attributes));
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    found
}

/// Nothing acts, nothing is hidden, nothing is loaded, and those who do not see the page can follow it.
fn harmless(html: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!html.contains(hidden), "{:?}", html.find(hidden));
    assert!(html.contains("content=\"default-src 'none'; style-src 'sha256-"));
    let mut level = 0;
    for (name, attributes) in elements(html) {
        let value_of =
            |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        match name.as_str() {
            "h1" | "h2" | "h3" => {
                let next = name[1..].parse::<u32>().unwrap();
                assert!(next <= level + 1, "<{name}> after level {level}");
                level = next;
            }
            "svg" => {
                assert!(
                    value_of("role") == Some("img") && value_of("aria-label").is_some_and(|words| words.len() > 10)
                );
            }
            "th" => assert!(matches!(value_of("scope"), Some("col" | "row"))),
            "section" => assert!(html.contains(&format!(" id=\"{}\"", value_of("aria-labelledby").unwrap()))),
            _ => {}
        }
    }
    assert_eq!(html.matches("<table").count(), html.matches("<caption>").count());
}

/// A registered case in a folder: `e/evidence.json` with its data.
fn case(suspect: &str, control: &str, question: &str) -> Folder {
    let folder = setup();
    let register = "register --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --out r.json";
    let named = ["--suspect", suspect, "--control", control, "--question", question];
    folder.run(register.split(' ').chain(named)).expect(0);
    folder
        .line(
            "evidence --registration r.json --profile p.json --head commitment/head.json --opening opening.json --prompts \
             prompts.jsonl --answers suspect.jsonl --controls clean.jsonl --signing-key s.json --out e",
        )
        .expect(0);
    folder
}

const DATA: &str = "--data suspect.jsonl --data clean.jsonl";

#[test]
fn a_case_with_and_without_its_data() {
    let folder = case("acme", "clean", "Was it?");
    let run = folder.line("report e/evidence.json -o bare.html").expect(0);
    assert!(run.stdout.contains("Wrote bare.html"), "{run:?}");
    let bare = folder.read("bare.html");
    harmless(&bare);
    for part in [
        "Detected: the answers of “acme” depend on the key",
        "Was it?",
        "did not see the answers",
        "it needs the answers (--data)",
        "no trusted keys were named",
        "a probability of guilt",
        "to frame the accused",
        "watermark verify evidence.json --data suspect.jsonl --data clean.jsonl",
        "verify.py evidence.json --data *.records.jsonl suspect.jsonl clean.jsonl",
        "The bundle carries this count",
    ] {
        assert!(bare.contains(part), "{part}");
    }
    assert!(!bare.contains("Answer 1") && !bare.contains("<mark>"));

    folder.line(&format!("report e/evidence.json {DATA} -o full.html")).expect(0);
    folder.line(&format!("report e/evidence.json {DATA} --out again.html")).expect(0);
    let full = folder.read("full.html");
    harmless(&full);
    assert_eq!(full, folder.read("again.html"), "same inputs, same bytes");
    for part in [
        "recomputed from 2 files; the case has 2 models",
        "<mark>",
        "Evidence as the answers come in",
        "the real key, 10",
    ] {
        assert!(full.contains(part), "{part}");
    }
    // Numbers are those of the bundle, to the last digit.
    let envelope: Value = serde_json::from_str(&folder.read("e/evidence.json")).unwrap();
    let statement: Value =
        serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap();
    for sample in [&statement["predicate"]["suspect"], &statement["predicate"]["controls"][0]] {
        for field in ["log10_p", "log10_p_distinct", "ln_e"] {
            assert!(full.contains(&format!("<td>{:?}</td>", sample[field].as_f64().unwrap())), "{field}");
        }
        for field in ["score", "statistic", "weight"] {
            assert!(full.contains(&format!("<td>{}</td>", sample[field].as_str().unwrap())), "{field}");
        }
    }
    // The disclosed key is in the bundle, and in no page of it.
    let opening: Value = serde_json::from_str(&folder.read("opening.json")).unwrap();
    for secret in [opening["node"].as_str().unwrap(), opening["salt"].as_str().unwrap()] {
        assert!(statement.to_string().contains(secret) && !full.contains(secret) && !bare.contains(secret));
    }

    folder.line(&format!("report e/evidence.json {DATA} --redact -o redacted.html")).expect(0);
    let redacted = folder.read("redacted.html");
    harmless(&redacted);
    assert!(redacted.contains("Evidence as the answers come in") && !redacted.contains("<mark>"));
    let first: Value = folder.json_lines("suspect.jsonl").remove(0);
    let words = first["prompt"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert!(full.contains(&words) && !redacted.contains(&words), "{words}");

    // Trust, faults and errors.
    let other = SigningKey::from_seed(&[7; 32]).public_key().to_hex();
    folder.line(&format!("report e/evidence.json --trusted-key {other} -o untrusted.html")).expect(1);
    assert!(folder.read("untrusted.html").contains("Whoever signed is not trusted"));
    folder.line("report e/evidence.json -o bare.html").fails_with(&["bare.html", "not overwritten"]);
    folder.line("report nothing.json -o x.html").fails_with(&["nothing.json"]);
    folder.line("report e/evidence.json --data questions.txt -o wrong.html").expect(1);
    assert!(folder.read("wrong.html").contains("No result"));
}

/// The suspect's name, its answers, the question: all from somebody who wants to own the page.
#[test]
fn hostile_names_and_answers() {
    let name = format!("{HOSTILE}{}", "\u{202e}<b>x".repeat(30_000));
    let folder = setup();
    // The suspect answers the registered prompts with attacks.
    let mut records = folder.json_lines("suspect.jsonl");
    for (at, record) in records.iter_mut().enumerate() {
        let answer = record["completion"].as_str().unwrap().to_owned();
        record["completion"] = match at {
            0 => json!(format!("{HOSTILE}\0{answer}")),
            1 => json!("<script>".repeat(1 << 17)),
            2 => json!(format!("{}{answer}", "\u{301}".repeat(500))),
            _ => json!(answer),
        };
        record.as_object_mut().unwrap().retain(|field, _| field == "prompt" || field == "completion");
    }
    folder.write("suspect.jsonl", records.iter().map(|record| format!("{record}\n")).collect::<String>());
    let register = "register --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --out r.json";
    let named = ["--suspect", "s", "--control", "c", "--question", &name[..100_000]];
    folder.run(register.split(' ').chain(named)).expect(0);
    // The program registers no such names, but who can sign can.
    let mut registration = opened(&serde_json::from_str(&folder.read("r.json")).unwrap());
    (registration["suspect"], registration["controls"]) = (json!(name[..100_000]), json!([HOSTILE]));
    folder.write("r.json", to_canonical(&sign(REGISTRATION_TYPE, &registration)).unwrap());
    let evidence = "evidence --registration r.json --profile p.json --head commitment/head.json --opening opening.json --prompts \
                    prompts.jsonl --answers suspect.jsonl --controls clean.jsonl --signing-key s.json --out e";
    let run = folder.line(evidence);
    assert!(run.code == Some(0) || run.code == Some(1), "{run:?}");
    folder.line(&format!("report e/evidence.json {DATA} -o page.html")).expect(0);
    let page = folder.read("page.html");
    harmless(&page);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert!(
        page.contains("&lt;script&gt;")
            && page.contains("[U+202E]")
            && page.contains("[U+001B]")
            && page.contains("[U+0000]")
    );
    assert!(page.contains("more characters)"));
}

fn sign(kind: &str, payload: &Value) -> Value {
    let bytes = dsse::sign(kind, &to_canonical(payload).unwrap(), &SigningKey::from_seed(&[3; 32])).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn opened(envelope: &Value) -> Value {
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// Paths of all strings below a value.
fn strings(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| strings(item, &format!("{path}/{at}"), found));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| strings(item, &format!("{path}/{name}"), found)),
        _ => {}
    }
}

/// Every string of bundle, registration and head, one after the other, under valid signatures. Most break the bundle, and the page
/// says so; none acts.
#[test]
fn hostile_strings_in_every_field() {
    let folder = case("acme", "clean", "Was it?");
    let statement = opened(&serde_json::from_str(&folder.read("e/evidence.json")).unwrap());
    let registration = opened(&statement["predicate"]["registration"]);
    let head = opened(&statement["predicate"]["key"]["head"]);
    let profile: Value = serde_json::from_str(statement["predicate"]["profile"].as_str().unwrap()).unwrap();
    let hostile = format!("{HOSTILE}\0");
    let mut pages = 0;
    let mut shown = 0;
    for (part, kind) in [(&statement, 0), (&registration, 1), (&head, 2), (&profile, 3)] {
        let mut paths = Vec::new();
        strings(part, "", &mut paths);
        for path in paths {
            let mut changed = part.clone();
            *changed.pointer_mut(&path).unwrap() = json!(hostile);
            let mut whole = statement.clone();
            let predicate = &mut whole["predicate"];
            match kind {
                0 => whole = changed,
                1 => predicate["registration"] = sign(REGISTRATION_TYPE, &changed),
                2 => predicate["key"]["head"] = sign(HEAD_TYPE, &changed),
                _ => predicate["profile"] = json!(changed.to_string()),
            }
            let bytes = to_canonical(&sign(STATEMENT_TYPE, &whole)).unwrap();
            let context = Context::default();
            let report = check(std::path::Path::new("evidence.json"), &bytes, &context, &|_| Ok(())).unwrap();
            let source = Source { name: &hostile, bytes: &bytes, check: &report, context: &context, insight: None };
            let html = page(&source).unwrap();
            harmless(&html);
            assert!(report.bundle.is_some() || html.contains("this file is not evidence"), "{path}");
            pages += 1;
            shown += usize::from(report.bundle.is_some());
        }
    }
    assert!(pages > 80 && shown > 5, "{pages} pages, {shown} with claims");
}

#[test]
fn files_that_are_no_evidence() {
    let folder = Folder::new();
    for (name, bytes) in [("empty", &b""[..]), ("html", b"<script>alert(1)</script>"), ("binary", &[0, 255, 27, 91])] {
        folder.write(&format!("{name}.json"), bytes);
        folder.line(&format!("report {name}.json -o {name}.html")).expect(1);
        let html = folder.read(&format!("{name}.html"));
        harmless(&html);
        assert!(html.contains("No result: this file is not evidence") && html.contains("E-ENVELOPE"));
    }
}
