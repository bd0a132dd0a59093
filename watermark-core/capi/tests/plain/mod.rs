//! The shared vectors in the form that `tests/c/vectors.c` reads: words and spaces.

use std::path::Path;

use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Cases a line each, and how many.
pub(super) fn cases() -> (String, usize) {
    let mut lines = vec![derive()];
    rows(&vectors("prf_chacha20_v1.json"), |row| lines.push(prf(row)));
    rows(&vectors("decisions.json"), |row| lines.push(decision(row)));
    scores(&mut lines);
    rows(&vectors("detect.json"), |row| lines.push(detect(row)));
    rows(&vectors("weighted.json"), |row| lines.push(weighted(row)));
    rows(&vectors("paired.json")["epochs"], |epoch| {
        rows(&epoch["requests"], |request| lines.push(paired(epoch, request)));
    });
    (lines.join("\n") + "\n", lines.len())
}

fn rows(vectors: &Value, mut each: impl FnMut(&Value)) {
    let rows = vectors.as_array().unwrap();
    assert!(!rows.is_empty());
    rows.iter().for_each(&mut each);
}

/// A value without quotes, a list as its elements, true as 1.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Bool(holds) => u8::from(*holds).to_string(),
        other => other.to_string(),
    }
}

fn length(list: &Value) -> String {
    list.as_array().unwrap().len().to_string()
}

fn counted(list: &Value) -> String {
    format!("{} {}", length(list), plain(list))
}

fn derive() -> String {
    let vector = vectors("derive.json");
    let mut words =
        vec!["derive".to_owned(), plain(&vector["master"]), plain(&vector["root"]), length(&vector["nodes"])];
    rows(&vector["nodes"], |node| {
        words.extend(["path", "node", "salt", "commitment"].map(|field| plain(&node[field])));
        words.push(length(&node["prf"]));
        rows(&node["prf"], |prf| words.extend(["scheme", "width", "key"].map(|field| plain(&prf[field]))));
    });
    words.join(" ")
}

fn prf(row: &Value) -> String {
    let [width, key, context] = [length(&row["context"]), plain(&row["key"]), plain(&row["context"])];
    let [tokens, words, first] = [counted(&row["tokens"]), plain(&row["words"]), plain(&row["context_words"])];
    format!("prf {width} {key} {context} {tokens} {words} {first}")
}

fn decision(row: &Value) -> String {
    let [width, key, context] = [length(&row["context"]), plain(&row["key"]), plain(&row["context"])];
    let decided = ["l", "favoured_block", "position_of_4096", "pilot_at_0.5"].map(|field| plain(&row[field])).join(" ");
    format!("decision {width} {key} {context} {decided} {} {}", counted(&row["tokens"]), plain(&row["blocks"]))
}

/// The threshold of a green list as its last green and its first red word.
fn scores(lines: &mut Vec<String>) {
    let vector = vectors("scores.json");
    rows(&vector["gumbel_q32"], |row| lines.push(format!("score gumbel 0 0 {} {}", row[0], row[1])));
    rows(&vector["green_threshold"], |row| {
        let threshold = row[1].as_u64().unwrap();
        for (word, score) in [(threshold - 1, 1), (threshold, 0)] {
            lines.push(format!("score greenlist {} 0 {word} {score}", plain(&row[0])));
        }
    });
    rows(&vector["tournament_bits_30"], |row| {
        for depth in 1..=30 {
            let ones = plain(&row[1]).bytes().take(depth).filter(|&bit| bit == b'1').count();
            lines.push(format!("score tournament 0 {depth} {} {ones}", row[0]));
        }
    });
}

fn halves(statistic: &str) -> String {
    let whole: u128 = statistic.parse().unwrap();
    format!("{} {}", whole >> 64, whole & u128::from(u64::MAX))
}

fn detect(row: &Value) -> String {
    let (gamma, depth, statistic) = match plain(&row["scheme"]).as_str() {
        "gumbel" => ("0".to_owned(), "0".to_owned(), "sum_q32"),
        "greenlist" => (plain(&row["gamma"]), "0".to_owned(), "green"),
        _ => ("0".to_owned(), plain(&row["depth"]), "ones"),
    };
    let mut docs = Vec::new();
    rows(&row["docs"], |doc| docs.push(format!("0 {}", counted(doc))));
    // The oracle has no e-value for tournaments.
    let ln_e = row.get("ln_e").map_or("-".to_owned(), plain);
    format!(
        "detect {} {gamma} {depth} {} {} {} {} {} {} {} {ln_e}",
        plain(&row["scheme"]),
        plain(&row["width"]),
        plain(&row["key"]),
        docs.len(),
        docs.join(" "),
        plain(&row["n"]),
        halves(&plain(&row[statistic])),
        plain(&row["log10_p"]),
    )
}

/// The first positions of a request's answer, as far as they follow each other.
fn paired(epoch: &Value, request: &Value) -> String {
    let path = plain(&epoch["path"]);
    let (node, layer) = path.split_once("/layer/").unwrap();
    let beacon = match plain(&epoch["beacon"]) {
        none if none == "0".repeat(64) => String::new(),
        value => format!(",\"beacon\":\"{value}\""),
    };
    let profile = format!(
        "{{\"profile\":\"watermark-profile/1\",\"name\":\"p\",\"path\":\"{node}\"{beacon},\"tokenizer\":{{\"sha256\":\"{}\",\
         \"vocab_size\":131072,\"special_token_ids\":[]}},\"layers\":[{{\"name\":\"{layer}\",\"scheme\":\"paired\",\"width\":0,\
         \"prf\":\"chacha20-v1\"}}],\"repeats\":\"unmarked\"}}",
        "0".repeat(64)
    );
    let positions = request["positions"].as_array().unwrap().iter().enumerate();
    let positions = positions.take_while(|(at, position)| position["position"].as_u64() == Some(*at as u64));
    let positions: Vec<String> = positions
        .map(|(_, position)| {
            let law = position["ln_p"].as_array().unwrap();
            let column = |at: usize| law.iter().map(|pair| plain(&pair[at])).collect::<Vec<_>>().join(" ");
            let [served, withheld] = ["served", "withheld"].map(|field| plain(&position[field]));
            format!("{} {} {} {served} {withheld}", law.len(), column(0), column(1))
        })
        .collect();
    format!(
        "paired {} {profile} {} {} {}",
        plain(&epoch["master"]),
        plain(&request["id"]),
        positions.len(),
        positions.join(" ")
    )
}

/// The plain test of records with prompts.
fn weighted(row: &Value) -> String {
    let mut docs = Vec::new();
    rows(&row["records"], |record| {
        docs.push(format!("{} {}", counted(&record["prompt_tokens"]), counted(&record["tokens"])));
    });
    format!(
        "detect greenlist {} 0 1 {} {} {} {} {} {} -",
        plain(&row["gamma"]),
        plain(&row["key"]),
        docs.len(),
        docs.join(" "),
        plain(&row["totals"]["scored"]),
        halves(&plain(&row["green"])),
        plain(&row["log10_p_distinct"]),
    )
}
