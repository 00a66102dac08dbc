//! The comparison as one page that needs nothing else: opens from disk, good in light and dark, narrow, wide and printed.

use askama::Template;

use super::table::{self, Table};
use super::{answer, chart, evidence, notes};
use crate::result::comparison::Comparison;
use crate::result::files::DATA;
use crate::result::summary::Summary;

/// Longer cells are broken over lines.
const LONG: usize = 18;

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    comparison: &'a Comparison,
    answer: Vec<String>,
    figures: Table,
    evidence: Vec<Table>,
    notes: Vec<String>,
    charts: Vec<String>,
    environment: String,
    caveats: String,
    data: &'static str,
}

/// The whole report.
pub fn render(comparison: &Comparison) -> anyhow::Result<String> {
    let summaries = &Summary::of(comparison);
    let page = Page {
        comparison,
        answer: answer::lines(comparison, summaries),
        figures: table::figures(summaries, comparison.control),
        evidence: evidence::tables(comparison, summaries),
        notes: notes::of(comparison, summaries),
        charts: chart::all(comparison)
            .into_iter()
            .map(|(_, svg)| svg)
            .collect(),
        environment: comparison.environment.to_string(),
        caveats: notes::caveats(comparison),
        data: DATA,
    };
    Ok(page.render()?)
}
