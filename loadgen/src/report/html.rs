//! The comparison as one page that needs nothing else: opens from disk, good in light and dark, narrow and wide.

use askama::Template;

use super::summary::Summary;
use super::table::{Row, rows};
use super::{chart, notes};
use crate::comparison::Comparison;

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    comparison: &'a Comparison,
    modes: Vec<String>,
    rows: Vec<Row>,
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
        modes: summaries.iter().map(|summary| summary.mode.to_string()).collect(),
        rows: rows(&summaries),
        notes: notes::of(comparison),
        charts: chart::all(comparison).into_iter().map(|(_, svg)| svg).collect(),
        environment: comparison.environment.to_string(),
        caveats: notes::caveats(comparison),
    };
    Ok(page.render()?)
}
