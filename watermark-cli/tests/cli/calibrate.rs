use serde_json::Value;

use crate::support::Folder;

/// Repetitive text with fixed seed: a line for each test and corpus, the same bytes for the same seed on any number of threads.
#[test]
fn cells_are_reproducible() {
    let folder = Folder::new();
    let text: String = (0..400u32).map(|i| format!("Item {} costs {} coins. ", i % 37, i * i % 11)).collect();
    folder.write("shop.txt", &text);
    folder.write("list.txt", text.replace("coins", "pence"));
    let line = "calibrate shop.txt list.txt --keys 400 --seed 20261123 --json";
    let run = folder.line(line).expect(0);
    let cells = run.json();
    let tests: std::collections::HashSet<&str> = cells.iter().map(|cell| cell["test"].as_str().unwrap()).collect();
    assert!(tests.len() > 25 && cells.len() == 2 * tests.len(), "{}", cells.len());
    for cell in &cells {
        assert_eq!((&cell["trials"], &cell["broken"]), (&Value::from(400), &Value::from(false)), "{cell}");
        let rejected = |level: &str| cell["rejected"][level].as_u64().unwrap();
        assert!(rejected("0.01") >= rejected("0.001") && rejected("0.001") >= rejected("0.0001"));
        let bounds = |end: usize| cell["rate_bounds"]["0.01"][end].as_f64().unwrap();
        let rate = rejected("0.01") as f64 / 400.0;
        assert!(bounds(0) <= rate && rate <= bounds(1), "{cell}");
    }
    assert_eq!(folder.line(line).stdout, run.stdout);
    let other = folder.line(&line.replace("20261123", "2")).expect(0);
    assert_ne!(other.stdout, run.stdout);
}

#[test]
fn table_picture_and_errors() {
    let folder = Folder::new();
    folder.write("a<b.txt", "one two three four five six seven ".repeat(200));
    let run = folder
        .line("calibrate a<b.txt --keys 50 --test hf-kgw --test three-bricks --test gumbel --plot q.svg")
        .expect(0);
    assert!(run.stdout.contains("hf-kgw-selfhash") && run.stdout.contains("bounds at 1e-2"), "{run:?}");
    let svg = folder.read("q.svg");
    assert!(svg.contains("a&lt;b.txt") && !svg.contains("a<b") && svg.ends_with("</svg>\n"));
    folder.line("calibrate a<b.txt --plot q.svg").fails_with(&["q.svg", "not overwritten"]);
    folder.line("calibrate a<b.txt --test sparkle").fails_with(&["sparkle", "gumbel width 4"]);
    folder.line("calibrate a<b.txt a<b.txt --keys 1").fails_with(&["two files are named"]);
    folder.line("calibrate missing.txt").fails_with(&["missing.txt"]);
    folder.write("short.txt", "too short");
    folder.line("calibrate short.txt").fails_with(&["short.txt", "a text needs 300"]);
    folder.line("calibrate short.txt --keys 0").fails_with(&["--keys"]);
}

/// Thirteen real corpora, every fast test, 500 trials a cell, fixed seed: no cell is broken. The run with 100,000 trials a
/// cell is in `papers/calibration`. Skips loudly without the corpora.
#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn real_text() {
    let corpora = std::env::var_os("WATERMARK_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        std::path::PathBuf::from,
    );
    if !corpora.is_dir() {
        eprintln!("SKIPPED: no corpora in {}; set WATERMARK_CORPUS", corpora.display());
        return;
    }
    let mut files =
        ["peps.jsonl.gz", "rust_book.jsonl.gz", "gsm8k_train.jsonl"].map(|name| corpora.join(name)).to_vec();
    let models = std::fs::read_dir(corpora.join("model_outputs")).unwrap();
    files.extend(models.map(|entry| entry.unwrap().path()));
    files.sort();
    assert!(files.len() >= 13, "{files:?}");
    let arguments = ["calibrate", "--keys", "500", "--seed", "20261123", "--json"].map(std::ffi::OsString::from);
    let run = Folder::new().run(arguments.into_iter().chain(files.into_iter().map(Into::into)));
    let cells = run.expect(0).json();
    assert!(cells.len() > 13 * 25 && cells.iter().all(|cell| cell["broken"] == false && cell["trials"] == 500));
}
