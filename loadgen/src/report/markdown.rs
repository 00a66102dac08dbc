//! The comparison as Markdown; the terminal shows the same tables.

use std::fmt::Write;

use super::table::{self, Cell, Row, Table};
use super::{answer, evidence, notes};
use crate::result::comparison::Comparison;
use crate::result::summary::Summary;

/// Said below a table that has such figures.
const DOUBT: &str = "In brackets: not to be relied on, because it stands in no trial, messages are missing or too few stand \
    behind it.";

/// The whole report.
pub fn render(comparison: &Comparison) -> String {
    let Comparison {
        environment,
        command,
        started,
        ..
    } = comparison;
    let summaries = &Summary::of(comparison);
    let (workload, design) = (comparison.workload(), comparison.design());
    let mut out = format!("# Transports compared\n\n{workload}.\n{design}\n\n");
    answer::lines(comparison, summaries)
        .iter()
        .for_each(|line| out += &format!("- {line}\n"));
    let figures = table::figures(summaries, comparison.control);
    if !figures.rows.is_empty() {
        let _ = write!(out, "\n{}", align(&figures));
    }
    paragraphs(comparison, summaries, &figures)
        .iter()
        .for_each(|text| out += &format!("\n{text}\n"));
    for table in evidence::tables(comparison, summaries) {
        let _ = write!(
            out,
            "\n## {}\n\n{}\n{}\n",
            table.title,
            align(&table),
            table.foot
        );
    }
    if let Some(proxy) = &comparison.proxy {
        let configured = proxy.configuration.iter();
        let configured: String = configured.map(|line| format!("    {line}\n")).collect();
        let _ = write!(
            out,
            "\n## How {} was configured\n\n{}\n\n{configured}",
            proxy.proxy,
            proxy.sentence()
        );
    }
    let _ = writeln!(
        out,
        "\nMeasured {started} with `{command}`.\n\n{environment}\n\n{}",
        notes::caveats(comparison)
    );
    out
}

/// How much a terminal shows, and how wide it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// Every row, instead of the most important ones.
    pub all: bool,
    /// Its columns; none where nothing limits them.
    pub width: Option<usize>,
}

/// What the terminal shows: the answer, the figures, what has to be said about them, rows against the baseline.
pub fn terminal(comparison: &Comparison, shown: Shown) -> String {
    let summaries = &Summary::of(comparison);
    let mut parts = vec![
        answer::lines(comparison, summaries)
            .iter()
            .map(|line| shown.paragraph(line))
            .collect(),
    ];
    let figures = table::figures(summaries, comparison.control);
    parts.push(shown.table(&figures));
    parts.extend(
        paragraphs(comparison, summaries, &figures)
            .iter()
            .map(|text| shown.paragraph(text)),
    );
    for table in [evidence::against, evidence::through].map(|table| table(comparison, summaries)) {
        if !table.rows.is_empty() {
            let title = shown.paragraph(&format!("{}:", table.title));
            parts.extend([title, shown.table(&table), shown.paragraph(&table.foot)]);
        }
    }
    if !shown.all && !figures.rows.is_empty() {
        parts.push(shown.paragraph("Every figure: --verbose, or the files of the report."));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn paragraphs(comparison: &Comparison, summaries: &[Summary], figures: &Table) -> Vec<String> {
    let has_doubt = figures
        .rows
        .iter()
        .flat_map(|row| &row.cells)
        .any(|cell| !cell.believable);
    has_doubt
        .then(|| DOUBT.to_owned())
        .into_iter()
        .chain(notes::of(comparison, summaries))
        .collect()
}

impl Shown {
    fn table(self, table: &Table) -> String {
        let rows: Vec<&Row> = table
            .rows
            .iter()
            .filter(|row| self.all || row.is_key)
            .collect();
        let side_by_side = lines_of(&table.head, &rows);
        let is_narrow = |width| {
            side_by_side
                .lines()
                .any(|line| line.chars().count() > width)
        };
        match self.width {
            Some(width) if is_narrow(width) => stacked(&table.head, &rows, width),
            _ if rows.is_empty() => String::new(),
            _ => side_by_side,
        }
    }

    /// The text in lines of this width, broken between words.
    fn paragraph(self, text: &str) -> String {
        let (mut out, mut column) = (String::new(), 0);
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > 0 && self.width.is_some_and(|width| column + 1 + length > width) {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out += word;
            column += length;
        }
        out + "\n"
    }
}

fn text(cell: &Cell) -> String {
    if cell.believable {
        cell.text.clone()
    } else {
        format!("({})", cell.text)
    }
}

/// One column below the other, for a terminal that is too narrow for both.
fn stacked(head: &[String], rows: &[&Row], width: usize) -> String {
    let mut out = String::new();
    for (i, name) in head.iter().enumerate() {
        let _ = writeln!(out, "{}{name}", if i == 0 { "" } else { "\n" });
        for row in rows {
            let (name, figure) = (
                row.name.trim(),
                row.cells.get(i).map_or_else(String::new, text),
            );
            let rest = width.saturating_sub(2 + name.chars().count());
            if figure.chars().count() < rest {
                let _ = writeln!(out, "  {name}{figure:>rest$}");
            } else {
                let lines = Shown {
                    all: true,
                    width: Some(width.saturating_sub(2)),
                }
                .paragraph(name);
                lines.lines().for_each(|line| out += &format!("  {line}\n"));
                let _ = writeln!(out, "{figure:>width$}");
            }
        }
    }
    out
}

fn align(table: &Table) -> String {
    lines_of(&table.head, &table.rows.iter().collect::<Vec<_>>())
}

/// A Markdown table whose source reads as a table too.
fn lines_of(head: &[String], rows: &[&Row]) -> String {
    let mut lines = vec![(String::new(), head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|Row { name, cells, .. }| (name.clone(), cells.iter().map(text).collect())),
    );
    let width = |text: &String| text.chars().count();
    let first = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let columns = lines.first().map_or(0, |(_, cells)| cells.len());
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            lines
                .iter()
                .map(|(_, cells)| width(&cells[i]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for (n, (name, cells)) in lines.iter().enumerate() {
        let cells: String = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:>width$} |"))
            .collect();
        let _ = writeln!(out, "| {name:first$} |{cells}");
        if n == 0 {
            let rules: String = widths
                .iter()
                .map(|width| format!("{:-<1$}:|", "", width + 1))
                .collect();
            let _ = writeln!(out, "|{:-<1$}|{rules}", "", first + 2);
        }
    }
    out
}
