//! CSV files.

use std::path::Path;

use anyhow::{Context, Result};

/// A row with its column names.
pub struct Row(Vec<(String, String)>);

impl Row {
    /// Column names and cells.
    #[must_use]
    pub fn new(cells: &[(&str, String)]) -> Self {
        Self(cells.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    /// The cell of a column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str())
    }
}

/// Writes rows of the same columns; no cell holds a quote.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &str, rows: &[Row]) -> Result<()> {
    let line = |cells: Vec<String>| cells.join(",") + "\n";
    let quoted = |cell: &String| if cell.contains(',') { format!("\"{cell}\"") } else { cell.clone() };
    let mut text = String::new();
    if let Some(first) = rows.first() {
        text += &line(first.0.iter().map(|(name, _)| name.clone()).collect());
    }
    for row in rows {
        text += &line(row.0.iter().map(|(_, value)| quoted(value)).collect());
    }
    std::fs::write(Path::new(path), text).with_context(|| format!("writing {path}"))
}

/// The quantile of values of which some were not reached (they count as largest).
#[must_use]
pub fn quantile(values: &[Option<usize>], share: f64) -> Option<usize> {
    let mut sorted: Vec<usize> = values.iter().map(|value| value.unwrap_or(usize::MAX)).collect();
    sorted.sort_unstable();
    let rank = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(rank).copied().filter(|value| *value != usize::MAX)
}
