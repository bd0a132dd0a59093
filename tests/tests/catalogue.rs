//! What has to be written beside a scheme's own file: one row of a document, and pinned outputs.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use watermark_core::scheme::Scheme;

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cells of the rows of the table below a heading, without the head.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(&format!("\n{heading}\n")).nth(1).unwrap().split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// `papers/README.md` has a row for each scheme and for no other, in the catalogue's order; the row says what the spec says.
#[test]
fn the_document_has_a_row_for_each_scheme() {
    let rows = table(&repository("papers/README.md"), "## Schemes");
    let names: Vec<&str> = rows.iter().map(|row| row[0].split('`').nth(1).unwrap()).collect();
    let known: Vec<&str> = Scheme::SPECS.iter().map(|spec| spec.name).collect();
    assert_eq!(names, known, "papers/README.md, \"Schemes\"");
    for (row, spec) in rows.iter().zip(Scheme::SPECS) {
        assert_eq!(row.len(), 5, "{}: scheme, changes, law, source, claim and test", spec.name);
        assert_eq!(row[1].starts_with("no"), spec.distortion_free, "{}: {:?}", spec.name, row[1]);
        let ids = spec.source.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|id| id.len() == 10);
        for id in ids {
            assert!(row[3].contains(id), "{}: {id} is not in {:?}", spec.name, row[3]);
        }
    }
}

/// A scheme's file has its name and pins its outputs, so that a changed output fails a test.
#[test]
fn every_scheme_pins_its_outputs() {
    for spec in Scheme::SPECS {
        let file = repository(&format!("watermark-core/src/scheme/{}.rs", spec.name));
        let pins = format!("outputs({:?})", spec.name);
        assert!(
            file.contains("fn outputs_are_pinned()") && file.contains(&pins),
            "{} has no pinned outputs",
            spec.name
        );
    }
}
