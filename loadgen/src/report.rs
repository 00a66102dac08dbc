//! Reports: rendered from a comparison alone, each kind in its file.

pub mod answer;
pub mod chart;
pub mod evidence;
pub mod html;
pub mod markdown;
pub mod notes;
pub mod raw;
pub mod table;

use anyhow::Result;

use crate::result::comparison::Comparison;

/// Every kind of report: the names of their files, and what is in them.
pub fn render(comparison: &Comparison) -> Result<Vec<(&'static str, String)>> {
    let mut files = vec![
        ("comparison.md", markdown::render(comparison)),
        ("comparison.html", html::render(comparison)?),
        ("latency.hlog", raw::hlog(comparison)?),
        ("comparison.csv", raw::trials(comparison)),
        ("seconds.csv", raw::seconds(comparison)),
    ];
    files.extend(chart::all(comparison));
    Ok(files)
}

#[cfg(test)]
mod tests;
