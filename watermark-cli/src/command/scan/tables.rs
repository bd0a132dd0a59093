use std::path::Path;

use anyhow::Result;
use watermark_toolkit::scan::{Finished, Source};

use crate::command::{print, shown, table};

/// Rows of a table on the terminal; the files have all.
const ROWS: usize = 30;

pub(super) fn print_tables(finished: &Finished, out: &Path) -> Result<()> {
    let Finished { summary, sources } = finished;
    let totals = &summary.totals;
    print(&format!(
        "{} inputs, {} records, {} texts; bad records {}\n",
        sources.len(),
        totals.records,
        totals.texts,
        totals.bad_records.values().sum::<u64>()
    ))?;
    let header = ["input", "read from", "records", "bad", "texts", "tokens", "hits", "ln e"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(sources.iter().take(ROWS).map(Source::cells));
    print(&table(&rows, 2))?;
    if sources.len() > ROWS {
        print(&format!("({} more in sources.jsonl)\n", sources.len() - ROWS))?;
    }
    let header = ["profile", "layer", "tokens", "short", "excluded", "duplicate", "scored"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(summary.positions.iter().map(|line| {
        let counts = [line.tokens, line.short_context, line.excluded, line.duplicate, line.scored];
        [line.profile.clone(), line.layer.clone()].into_iter().chain(counts.map(|n| n.to_string())).collect()
    }));
    print(&table(&rows, 2))?;
    for tokenizer in summary.tokenizers.iter().filter(|tokenizer| tokenizer.issued_tokens > 0) {
        print(&format!(
            "Of {} tokens that texts were served as, {} came out otherwise ({:.2} %).\n",
            tokenizer.issued_tokens,
            tokenizer.changed_tokens,
            100.0 * tokenizer.changed_tokens as f64 / tokenizer.issued_tokens as f64
        ))?;
    }
    let mut findings: Vec<_> = summary.findings.iter().collect();
    findings.sort_by(|a, b| a.log10_p.total_cmp(&b.log10_p));
    let header = ["key", "profile", "layer", "scheme", "scored", "log10 p", "by fresh keys", "ln e", "verdict"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(findings.iter().take(ROWS).map(|line| {
        vec![
            shown(&line.key),
            line.profile.clone(),
            line.layer.clone(),
            line.scheme.to_owned(),
            line.n_scored.to_string(),
            format!("{:.2}", line.log10_p),
            line.log10_p_resampled.map_or_else(|| "-".to_owned(), |p| format!("{p:.2}")),
            format!("{:.2}", line.ln_e),
            line.verdict.as_str().to_owned(),
        ]
    }));
    print(&table(&rows, 4))?;
    if findings.len() > ROWS {
        print(&format!("({} more in result.json)\n", findings.len() - ROWS))?;
    }
    let few = if summary.hits.keys_scored < summary.keys {
        format!(
            "Texts and inputs were scored under {} of {} keys: with more than 16, under those that are detected over all.\n",
            summary.hits.keys_scored, summary.keys
        )
    } else {
        String::new()
    };
    print(&format!(
        "{}, level {:e}. Hits: {} (a text under a key and layer; {}, false discovery rate {}).\n{}Everything is in {}.",
        summary.family,
        summary.alpha,
        summary.hits.n,
        summary.hits.family,
        summary.hits.false_discovery_rate,
        few,
        out.display()
    ))?;
    print(&format!("What this does not show: {}", summary.does_not_show))
}
