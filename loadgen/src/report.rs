//! Reports: rendered from a comparison alone, each kind in its file.

pub mod markdown;
pub mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::comparison::Comparison;

/// Writes every kind of report into a folder.
pub fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    let path = folder.join("comparison.md");
    fs::write(&path, markdown::render(comparison)).with_context(|| format!("cannot write {}", path.display()))
}
