//! The comparison as Markdown; the terminal shows the same table.

use std::fmt::Write;

use super::summary::Summary;
use super::table::{self, Cell, Row, Table};
use super::{evidence, notes};
use crate::comparison::Comparison;

/// The whole report.
pub fn render(comparison: &Comparison) -> String {
    let Comparison { scenario, environment, command, started, .. } = comparison;
    let design = comparison.design();
    let mut out = format!("# Transports compared\n\n{scenario}.\n{design}\n\n{}", figures(comparison));
    for table in evidence::tables(comparison) {
        let _ = write!(out, "\n## {}\n\n{}\n{}\n", table.title, align(&table), table.foot);
    }
    let _ = writeln!(out, "\nMeasured {started} with `{command}`.\n\n{environment}\n\n{}", notes::caveats(comparison));
    out
}

/// The figures, rows against the baseline, and what has to be said about both: what the terminal shows.
pub fn table(comparison: &Comparison) -> String {
    let mut out = figures(comparison);
    let against = evidence::against(comparison);
    if !against.rows.is_empty() {
        let _ = write!(out, "\n{}:\n\n{}\n{}\n", against.title, align(&against), against.foot);
    }
    out
}

fn figures(comparison: &Comparison) -> String {
    let table = table::figures(&Summary::of(comparison), comparison.twins);
    let mut out = align(&table);
    if table.rows.iter().flat_map(|row| &row.cells).any(|cell| !cell.believable) {
        out += "\nIn brackets: not to be leaned on, because no trial is valid or too few messages stand behind it.\n";
    }
    for note in notes::of(comparison) {
        let _ = writeln!(out, "\n{note}");
    }
    out
}

fn text(cell: &Cell) -> String {
    if cell.believable { cell.text.clone() } else { format!("({})", cell.text) }
}

/// A Markdown table whose source reads as a table too.
fn align(table: &Table) -> String {
    let mut lines = vec![(String::new(), table.head.clone())];
    lines.extend(table.rows.iter().map(|Row { name, cells }| (name.clone(), cells.iter().map(text).collect())));
    let width = |text: &String| text.chars().count();
    let first = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let columns = lines.first().map_or(0, |(_, cells)| cells.len());
    let widths: Vec<usize> =
        (0..columns).map(|i| lines.iter().map(|(_, cells)| width(&cells[i])).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for (n, (name, cells)) in lines.iter().enumerate() {
        let cells: String = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:>width$} |")).collect();
        let _ = writeln!(out, "| {name:first$} |{cells}");
        if n == 0 {
            let rules: String = widths.iter().map(|width| format!("{:-<1$}:|", "", width + 1)).collect();
            let _ = writeln!(out, "|{:-<1$}|{rules}", "", first + 2);
        }
    }
    out
}
