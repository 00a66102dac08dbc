//! The comparison as Markdown; the terminal shows the same table.

use std::fmt::Write;

use super::table::{Cell, Row, rows};
use crate::comparison::Comparison;
use crate::environment::Environment;
use crate::outcome::End;

/// The whole report.
pub fn render(comparison: &Comparison) -> String {
    let Comparison { scenario, environment, command, started, .. } = comparison;
    let mut out = format!("# Transports compared\n\n{scenario}.\n\n{}", table(comparison));
    let _ = writeln!(out, "\nMeasured {started} with `{command}`.\n\n{}", describe(environment));
    out
}

/// The table and what has to be said about it.
pub fn table(comparison: &Comparison) -> String {
    let rows = rows(&comparison.trials);
    let modes: Vec<String> = comparison.trials.iter().map(|trial| trial.outcome.mode.to_string()).collect();
    let mut lines = vec![(String::new(), modes)];
    lines.extend(rows.iter().map(|Row { name, cells }| ((*name).to_owned(), cells.iter().map(text).collect())));
    let mut out = align(&lines);
    if rows.iter().flat_map(|row| &row.cells).any(|cell| !cell.believable) {
        out += "\nIn brackets: not to be leaned on, because the trial is not valid or too few messages stand behind the figure.\n";
    }
    for note in notes(comparison) {
        let _ = writeln!(out, "\n{note}");
    }
    out
}

/// What went wrong, and what to think of the rest.
fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for trial in &comparison.trials {
        let (mode, outcome) = (trial.outcome.mode, &trial.outcome);
        if outcome.end == End::Interrupted {
            notes.push(format!("{mode}: interrupted; what was measured until then is shown."));
        }
        if let Some(failure) = outcome.failure() {
            notes.push(format!("{mode}: FAILED: {failure}."));
        }
        if outcome.connections.lost > 0 {
            notes.push(format!(
                "{mode}: {} connections were lost; clients come back and resume.",
                outcome.connections.lost
            ));
        }
        if outcome.audit.gaps > 0 {
            notes.push(format!(
                "{mode}: the server told its clients of {} messages they had missed.",
                outcome.audit.gaps
            ));
        }
        for (failure, n) in &outcome.failures {
            notes.push(format!("{mode}: {n} x {failure}."));
        }
        if let Some(gate) = trial.verdict.failed() {
            notes.push(format!("{mode}: {}: {gate}.", trial.verdict.kind));
        }
    }
    notes
}

fn describe(environment: &Environment) -> String {
    let Environment { cpu, cores, pinned, memory, kernel, version, commit, optimised } = environment;
    let mut out = format!(
        "On {cores} cores of {cpu}, {:.0} GiB, {kernel}; loadgen {version}{}; server on cores {:?}, loadgen on {:?}.",
        *memory as f64 / f64::from(1 << 30),
        commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default(),
        pinned.server,
        pinned.loadgen,
    );
    if pinned.are_shared() {
        out += " Server and loadgen shared a core: they took time from each other.";
    }
    if !optimised {
        out += " **Built without optimisation: no figure means anything.**";
    }
    out += "\n\nOver loopback, where the kernel runs a receiver's TCP input in the sender's context: a server that pushes is \
            billed for part of its clients' work. CPU ranks pushing transports among each other, and push against poll only \
            where they differ by more than half. Memory is this server's, user space only.\n";
    out
}

fn text(cell: &Cell) -> String {
    if cell.believable { cell.text.clone() } else { format!("({})", cell.text) }
}

/// A Markdown table whose source reads as a table too.
fn align(lines: &[(String, Vec<String>)]) -> String {
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
