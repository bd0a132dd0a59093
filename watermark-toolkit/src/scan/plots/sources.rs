//! `sources.svg`: inputs by share of marked texts.

use std::collections::{BTreeMap, BTreeSet};

use super::bars::{Bars, ROWS, Row};
use super::{DARK, LIGHT};
use crate::scan::hits::Hit;
use crate::scan::sources::Source;

/// `sources` come strongest first.
pub(super) fn svg(sources: &[Source], hits: &[(usize, Hit)]) -> String {
    let (drawn, rest) = sources.split_at(sources.len().min(ROWS));
    // A text can be a hit under several keys and layers.
    let mut marked: BTreeMap<&str, BTreeSet<(u64, u32)>> =
        drawn.iter().map(|source| (source.path(), BTreeSet::new())).collect();
    for (_, hit) in hits {
        if let Some(of_source) = marked.get_mut(hit.file.as_str()) {
            of_source.insert((hit.record, hit.part));
        }
    }
    let rows = drawn.iter().map(|source| row(source, marked.get(source.path()).map_or(0, BTreeSet::len) as u64));
    let unread = sources.iter().filter(|source| source.unread().is_some()).count();
    let mut after = String::new();
    if !rest.is_empty() {
        let with_hits = rest.iter().filter(|source| source.hits().0 > 0).count();
        after = format!("Not drawn: {} weaker inputs, {with_hits} of them with marked texts. ", rest.len());
    }
    if unread > 0 {
        after += &format!("Not read to their end: {unread} inputs; what was read of them counts. ");
    }
    Bars {
        title: "Inputs by share of marked texts",
        text: "Bars: texts of an input that are marked by themselves, in percent; strongest input first. ln e is the strongest \
               evidence that the input as a whole is marked (dark), - if there is none. If the texts depended on none of the \
               keys, all bars would be empty with a chance of at least 99 %, and no input dark with as much. Short marked \
               texts are missed."
            .to_owned(),
        header: ["input", "", "marked texts", "ln e"],
        axis: "marked texts (% of the texts of the input)",
        rows: rows.collect(),
        high: 100.0,
        level: None,
        rest: after + "sources.jsonl has every input.",
    }
    .svg()
}

fn row(source: &Source, marked: u64) -> Row<'_> {
    let (_, texts) = source.hits();
    Row {
        name: source.path(),
        detail: String::new(),
        value: 100.0 * marked as f64 / texts.max(1) as f64,
        color: if source.strongest().is_some() { DARK } else { LIGHT },
        number: format!("{marked} of {texts}"),
        word: source.strongest().map_or_else(|| "-".to_owned(), |ln_e| format!("{ln_e:.1}")),
    }
}
