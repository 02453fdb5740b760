//! What commands print: tables, JSON, and colour on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::failure::Result;

/// The version of every JSON shape that a command prints.
pub(super) const JSON_VERSION: u32 = 1;

static COLOR: AtomicBool = AtomicBool::new(false);

/// `--color`
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

pub(super) fn set_color(color: Color) {
    let on = match color {
        Color::Auto => {
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
        }
        Color::Always => true,
        Color::Never => false,
    };
    COLOR.store(on, Ordering::Relaxed);
}

/// Whether to colour.
pub(super) fn is_colored() -> bool {
    COLOR.load(Ordering::Relaxed)
}

/// `text` in green, where colours are on.
pub(super) fn good(text: &str) -> String {
    paint("32", text)
}

/// `text` in red, where colours are on.
pub(super) fn bad(text: &str) -> String {
    paint("31", text)
}

fn paint(color: &str, text: &str) -> String {
    if is_colored() {
        format!("\x1b[{color}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Prints lines. A reader that has closed the pipe is no failure.
pub(super) fn lines(lines: impl IntoIterator<Item = String>) -> Result {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            ended => ended.map_err(anyhow::Error::from)?,
        }
    }
    out.flush().or(Ok(()))
}

/// Prints `{"version": 1, NAME: content}`.
pub(super) fn json(name: &str, content: &impl Serialize) -> Result {
    shape(&serde_json::json!({ "version": JSON_VERSION, name: content }))
}

/// Prints `shape`, which has [`JSON_VERSION`] as its `version`.
pub(super) fn shape(shape: &serde_json::Value) -> Result {
    lines([serde_json::to_string_pretty(shape).map_err(anyhow::Error::from)?])
}

/// Rows as aligned columns.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
