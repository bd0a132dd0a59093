//! Pictures of the tables.

use std::fmt::Write;

use crate::table::Row;
use anyhow::{Context, Result, bail};

const COLORS: [&str; 7] = ["#7f1d1d", "#c2410c", "#ca8a04", "#15803d", "#0e7490", "#1d4ed8", "#6d28d9"];

/// Columns of a CSV file by name; a quoted cell may hold commas.
pub(crate) struct Table {
    columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        let mut rows: Vec<Vec<String>> = text.lines().map(cells).collect();
        if rows.len() < 2 {
            bail!("{path} has no rows");
        }
        Ok(Self { columns: rows.remove(0), rows })
    }

    /// Its rows with their column names.
    pub(crate) fn into_rows(self) -> Vec<Row> {
        let Self { columns, rows } = self;
        let named = |row: Vec<String>| -> Vec<(&str, String)> { columns.iter().map(String::as_str).zip(row).collect() };
        rows.into_iter().map(|row| Row::new(&named(row))).collect()
    }

    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column == name).with_context(|| format!("no column {name}"))
    }
}

fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
    }
    cells
}

pub(crate) fn head(width: f64, height: f64, title: &str, note: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"26\" font-size=\"16\" font-weight=\"600\">{title}</text>\n<text x=\"20\" y=\"46\">{note}</text>\n"
    )
}

/// One line a level, one dot a seed: digits of p from answers (filled) and from reading (open).
pub(crate) fn factors(table: &Table) -> Result<String> {
    let [factor, level] = [table.column("factor")?, table.column("level")?];
    let [closed, reading] = [table.column("log10_p")?, table.column("reading_log10_p")?];
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in &table.rows {
        let name =
            if row[factor] == "centre" { "centre".to_owned() } else { format!("{}: {}", row[factor], row[level]) };
        let point = (-row[closed].parse::<f64>()?, -row[reading].parse::<f64>()?);
        match lines.last_mut() {
            Some((last, points)) if *last == name => points.push(point),
            _ => lines.push((name, vec![point])),
        }
    }
    let (left, top, step, width) = (230.0, 84.0, 22.0, 560.0);
    let largest = lines.iter().flat_map(|(_, points)| points).map(|p| p.0.max(p.1)).fold(10.0, f64::max) * 1.05;
    let x = |digits: f64| left + width * digits.max(0.0) / largest;
    let bottom = top + step * lines.len() as f64;
    let mut svg = head(
        left + width + 40.0,
        bottom + 40.0,
        "Digits of p by what differs from the centre point",
        "Filled: 600 answers, count weights. Open: 150 served answers read, most likely token. Dashed: p = 1e-6.",
    );
    for tick in (0..=10).map(|i| f64::from(i) * 10.0).filter(|tick| *tick <= largest).chain([6.0]) {
        let (at, dashed) = (x(tick), (tick - 6.0).abs() < 0.1);
        let style = if dashed { "stroke=\"#b00\" stroke-dasharray=\"4 4\"" } else { "stroke=\"#e5e5e5\"" };
        let _ =
            writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" {style}/>", top - 8.0);
        if !dashed {
            let _ =
                writeln!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>", bottom + 18.0);
        }
    }
    for (i, (name, points)) in lines.iter().enumerate() {
        let y = top + step * i as f64 + 4.0;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", left - 14.0, y + 4.0);
        for (closed, reading) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"none\" stroke=\"#1d4ed8\" stroke-width=\"1.5\"/>\n\
                 <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#c2410c\"/>",
                x(*reading),
                x(*closed)
            );
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Digits of p over tokens, one panel a kind of access, one line a share.
pub(crate) fn curves(table: &Table) -> Result<String> {
    let names = ["access", "share", "tokens", "digits"].map(|name| table.column(name));
    let [access, share, tokens, digits] = names;
    let (access, share, tokens, digits) = (access?, share?, tokens?, digits?);
    let mut panels: Vec<String> = Vec::new();
    let mut shares: Vec<String> = Vec::new();
    for row in &table.rows {
        for (names, name) in [(&mut panels, &row[access]), (&mut shares, &row[share])] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let (panel, gap, left, top) = (300.0, 70.0, 60.0, 100.0);
    let rows = panels.len().div_ceil(2) as f64;
    let mut svg = head(
        left + 2.0 * (panel + gap),
        top + rows * (panel + gap),
        "Digits of p over tokens, by share of marked training answers",
        "Both axes logarithmic; mean over students of different keys. Dashed: p = 1e-6.",
    );
    for (i, share) in shares.iter().enumerate() {
        let at = left + 95.0 * i as f64;
        let color = COLORS[i % COLORS.len()];
        let _ = writeln!(
            svg,
            "<line x1=\"{at}\" y1=\"66\" x2=\"{}\" y2=\"66\" stroke=\"{color}\" stroke-width=\"2\"/>\n<text x=\"{}\" y=\"70\">share {share}</text>",
            at + 18.0,
            at + 23.0
        );
    }
    // 50 to 100,000 tokens; 0.1 to 100 digits.
    let across = |tokens: f64| panel * (tokens / 50.0).log10() / 2000f64.log10();
    let up = |digits: f64| panel * ((digits.max(0.1) / 0.1).log10() / 3.0).min(1.0);
    for (i, name) in panels.iter().enumerate() {
        let (x, y) = (left + (i % 2) as f64 * (panel + gap), top + (i / 2) as f64 * (panel + gap));
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{0:.1}\" font-weight=\"600\">{1}</text>\n\
             <rect x=\"{x}\" y=\"{y}\" width=\"{panel}\" height=\"{panel}\" fill=\"none\" stroke=\"#bbb\"/>\n\
             <line x1=\"{x}\" y1=\"{2:.1}\" x2=\"{3:.1}\" y2=\"{2:.1}\" stroke=\"#b00\" stroke-dasharray=\"5 4\"/>",
            y - 8.0,
            name,
            y + panel - up(6.0),
            x + panel
        );
        for tick in [100.0, 1000.0, 10_000.0, 100_000.0] {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                x + across(tick),
                y + panel + 16.0
            );
        }
        for tick in [0.1, 1.0, 10.0, 100.0] {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                x - 5.0,
                y + panel - up(tick) + 4.0
            );
        }
        for (j, share_name) in shares.iter().enumerate() {
            let mut points = String::new();
            for row in table.rows.iter().filter(|row| row[access] == *name && row[share] == *share_name) {
                let (tokens, digits): (f64, f64) = (row[tokens].parse()?, row[digits].parse()?);
                let _ = write!(points, "{:.1},{:.1} ", x + across(tokens), y + panel - up(digits));
            }
            let color = COLORS[j % COLORS.len()];
            let _ =
                writeln!(svg, "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\" points=\"{points}\"/>");
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
