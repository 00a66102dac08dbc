//! Reports: rendered from a comparison alone, each kind in its file.

pub mod chart;
pub mod evidence;
pub mod html;
pub mod markdown;
pub mod notes;
pub mod raw;
pub mod summary;
pub mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::comparison::Comparison;

/// Writes every kind of report into a folder.
pub fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    save("comparison.md", markdown::render(comparison))?;
    save("comparison.html", html::render(comparison)?)?;
    save("latency.hlog", raw::hlog(comparison)?)?;
    save("seconds.csv", raw::csv(comparison))?;
    chart::all(comparison).into_iter().try_for_each(|(name, svg)| save(&format!("{name}.svg"), svg))
}

#[cfg(test)]
mod tests;
