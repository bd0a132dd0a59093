//! The pictures of a scan.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;

use crate::support::Folder;

const SCRIPT: &str = "<script>alert('x')&amp;\".jsonl";
const TURNED: &str = "turned\u{202e}\u{2066}lnosj.\nnext-->\u{7}.txt";

/// Twelve keys, answers under the third of them, and files whose names are attacks.
fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    let keys: Vec<String> = (0..12u128).map(|key| format!("k{key}<b>&\"'\u{202e}.json")).collect();
    for (number, key) in (1u128..).zip(&keys) {
        let node = format!("{:064x}", number * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let path = folder.write(key, json!({"key": "watermark-key/1", "path": "", "node": node}).to_string());
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    folder.write("keys.txt", keys.join("\n") + "\n");
    folder.write("prompts.txt", word_problems(7, 16).join("\n"));
    let mark = ["mark", "--profile", "p.json", "--prompts", "prompts.txt", "--max-tokens", "240"];
    folder.run(mark.into_iter().chain(["--key", keys[2].as_str(), "--out", "marked.jsonl"])).expect(0);
    std::fs::create_dir(folder.path("corpus")).unwrap();
    folder.write(&format!("corpus/{SCRIPT}"), folder.read("marked.jsonl"));
    folder.write(&format!("corpus/{TURNED}"), "Some text of nobody's.");
    folder
}

fn pictures(folder: &Folder, run: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder.path(&format!("{run}/plots"))).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    entries
        .map(|entry| name(entry.unwrap()))
        .map(|file| (file.clone(), folder.read(&format!("{run}/plots/{file}"))))
        .collect()
}

/// Elements and attributes of a picture, after the grammar of XML as far as pictures use it; fails on everything else.
fn elements(svg: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let (mut elements, mut open, mut rest) = (Vec::new(), Vec::<&str>::new(), svg);
    let allowed = |c: char| c == '\n' || (!c.is_control() && c != '\u{fffe}' && c != '\u{ffff}');
    assert!(svg.chars().all(allowed), "a character that XML forbids");
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        assert!(!open.is_empty() || rest[..at].trim().is_empty(), "text outside the root");
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        assert!(!open.is_empty() || elements.is_empty(), "a second root");
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut left) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
        let mut attributes = BTreeMap::new();
        while !left.is_empty() {
            let (attribute, value) = left.split_once("=\"").unwrap();
            let (value, after) = value.split_once('"').unwrap();
            assert!(attribute.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{attribute}");
            check_text(value);
            assert!(attributes.insert(attribute.to_owned(), value.to_owned()).is_none(), "{attribute} twice");
            assert!(after.is_empty() || after.starts_with(' '), "{after}");
            left = after.trim_start();
        }
        elements.push((name.to_owned(), attributes));
        if !closed {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    elements
}

fn check_text(text: &str) {
    assert!(!text.contains(['<', '>']), "{text}");
    for entity in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(known.iter().any(|known| entity.starts_with(known)), "&{entity}");
    }
}

#[test]
fn pictures_of_hostile_names_are_plain_and_repeatable() {
    let folder = setup();
    let scan = "scan --profile p.json --keys keys.txt corpus";
    folder.line(&format!("{scan} --threads 1 --out one")).expect(0);
    let pictures = pictures(&folder, "one");
    assert_eq!(pictures.keys().collect::<Vec<_>>(), ["keys.svg", "p_values.svg", "sources.svg"]);
    for (name, svg) in &pictures {
        let elements = elements(svg);
        assert_eq!((elements[0].0.as_str(), elements[0].1["role"].as_str()), ("svg", "img"), "{name}");
        assert!(!elements[0].1["aria-label"].is_empty() && elements[1].0 == "title", "{name}");
        let known = ["svg", "title", "rect", "text", "line", "g", "polygon", "circle"];
        assert!(elements.iter().all(|(element, _)| known.contains(&element.as_str())), "{name}");
        let sizes = elements.iter().filter_map(|(_, attributes)| attributes.get("font-size"));
        assert!(sizes.clone().all(|size| size.parse::<u32>().unwrap() >= 12), "{name}");
        assert!(!svg.contains(['\u{202e}', '\u{2066}', '\u{7}']), "{name}");
    }
    assert!(pictures["sources.svg"].contains("corpus/&lt;script&gt;alert(&#39;x&#39;)&amp;amp;&quot;.jsonl<"));
    assert!(pictures["sources.svg"].contains("corpus/turnedlnosj.next--&gt;.txt<"));
    assert!(pictures["keys.svg"].contains(">k2&lt;b&gt;&amp;&quot;&#39;.json<"));
    assert!(pictures["keys.svg"].contains(">detected<"));
    assert!(pictures["p_values.svg"].contains(">not detected: "));

    let result: Value = serde_json::from_str(&folder.read("one/result.json")).unwrap();
    let findings = result["findings"].as_array().unwrap();
    let log10_p = findings.iter().map(|finding| finding["log10_p"].as_f64().unwrap()).fold(0.0, f64::min);
    assert!(pictures["keys.svg"].contains(&format!(">{:.1}</text>", -log10_p)), "{log10_p}");
    let sources = folder.json_lines("one/sources.jsonl");
    let ln_e = sources[0]["marks"][0]["ln_e"].as_f64().unwrap();
    assert!(pictures["sources.svg"].contains(&format!(">{ln_e:.1}</text>")), "{ln_e}");
    // A text counts once, however many layers it is a hit in.
    let texts: std::collections::BTreeSet<_> = folder
        .json_lines("one/hits.jsonl")
        .iter()
        .map(|hit| (hit["record"].as_u64().unwrap(), hit["part"].as_u64().unwrap()))
        .collect();
    assert!(texts.len() > 4, "{texts:?}");
    assert!(pictures["sources.svg"].contains(&format!(">{} of 16</text>", texts.len())), "{texts:?}");

    folder.line(&format!("{scan} --threads 2 --out two")).expect(0);
    assert_eq!(self::pictures(&folder, "two"), pictures);
    folder.line("scan --profile p.json --keys keys.txt --partials --shard 1/1 --out part corpus").expect(2);
    folder.line("scan --profile p.json --partials --shard 1/1 --out part corpus").expect(0);
    folder.line("merge --profile p.json --keys keys.txt --out merged part").expect(0);
    assert_eq!(self::pictures(&folder, "merged"), pictures);
}

/// A picture of one input, or of the distribution of a few p-values, would show nothing. A layer with one key for all accounts
/// is one test, under the key itself.
#[test]
fn what_would_show_nothing_is_not_drawn() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.key_per_account("p.json", "provenance");
    folder.line("keygen --out k.json").expect(0);
    folder.write("a.txt", "Some text of nobody's, which is long enough for a few contexts.");
    let drawn = |run: &str| pictures(&folder, run).into_keys().collect::<Vec<_>>();
    for (accounts, files) in [(18, vec!["keys.svg"]), (19, vec!["keys.svg", "p_values.svg"])] {
        let list: String = (0..accounts).map(|account| format!("account-{account}\n")).collect();
        folder.write("accounts.txt", list);
        let run = format!("run{accounts}");
        folder.line(&format!("scan --profile p.json --key k.json --accounts accounts.txt --out {run} a.txt")).expect(1);
        assert_eq!(drawn(&run), files);
        let keys = &pictures(&folder, &run)["keys.svg"];
        elements(keys);
        assert_eq!(keys.matches(">k.json<").count(), 1);
        assert_eq!(keys.matches(">distillation<").count(), 1);
    }
}
