//! The comparison as one page that needs nothing else: opens from disk, good in light and dark, narrow and wide.

use askama::Template;

use super::summary::Summary;
use super::table::{self, Table};
use super::{chart, evidence, notes};
use crate::comparison::Comparison;

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    comparison: &'a Comparison,
    figures: Table,
    evidence: Vec<Table>,
    notes: Vec<String>,
    charts: Vec<String>,
    environment: String,
    caveats: &'static str,
}

/// The whole report.
pub fn render(comparison: &Comparison) -> anyhow::Result<String> {
    let summaries = Summary::of(comparison);
    let page = Page {
        comparison,
        figures: table::figures(&summaries, comparison.twins),
        evidence: evidence::tables(comparison),
        notes: notes::of(comparison),
        charts: chart::all(comparison).into_iter().map(|(_, svg)| svg).collect(),
        environment: comparison.environment.to_string(),
        caveats: notes::caveats(comparison),
    };
    Ok(page.render()?)
}
