//! Reports: rendered from a comparison alone, each kind in its file.

pub mod answer;
pub mod chart;
pub mod evidence;
pub mod html;
pub mod markdown;
pub mod notes;
pub mod raw;
pub mod summary;
pub mod table;

use anyhow::Result;

use crate::comparison::Comparison;
use crate::folder::Folder;

/// The file that everything else is rendered from.
pub const DATA: &str = "comparison.json";

/// A file that a result's folder may have.
#[derive(Debug, Clone, Copy)]
pub struct ResultFile {
    /// Its name.
    pub name: &'static str,
    /// What stands near its beginning in every version: by this a report is known to be loadgen's.
    pub mark: &'static str,
}

/// Every file that a result's folder may have: [`Folder`] checks for these and writes no other.
pub const FILES: [ResultFile; 12] = [
    ResultFile { name: DATA, mark: "\"schema\":" },
    ResultFile { name: "comparison.md", mark: "# Transports compared" },
    ResultFile { name: "comparison.html", mark: "<title>Transports compared</title>" },
    ResultFile { name: "latency.hlog", mark: "#latency in microseconds" },
    ResultFile { name: "seconds.csv", mark: "trial,row,block," },
    chart("latency.svg"),
    chart("deliveries.svg"),
    chart("cpu.svg"),
    chart("bytes.svg"),
    chart("memory.svg"),
    chart("ratios-p50.svg"),
    chart("ratios-cpu.svg"),
];

const fn chart(name: &'static str) -> ResultFile {
    ResultFile { name, mark: "role=\"img\" class=\"chart\"><title>" }
}

/// Every kind of report: the names of their files, and what is in them.
pub fn render(comparison: &Comparison) -> Result<Vec<(&'static str, String)>> {
    let mut files = vec![
        ("comparison.md", markdown::render(comparison)),
        ("comparison.html", html::render(comparison)?),
        ("latency.hlog", raw::hlog(comparison)?),
        ("seconds.csv", raw::csv(comparison)),
    ];
    files.extend(chart::all(comparison));
    Ok(files)
}

/// Writes the data, and then every kind of report: where there is room for the data alone, they are kept.
pub fn write(comparison: &Comparison, folder: &mut Folder) -> Result<()> {
    folder.write(&[(DATA, serde_json::to_string_pretty(comparison)?)])?;
    folder.write(&render(comparison)?)
}

#[cfg(test)]
mod tests;
