//! The one place that prints: data to stdout, text for people to stderr.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::error::AppError;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON on stdout.
    pub json: bool,
    /// More words on stderr.
    pub verbose: bool,
}

impl Output {
    /// Whether stdout may be coloured.
    pub fn colour(self) -> bool {
        !self.json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// Whether stderr is a terminal, so that progress can be shown.
    pub fn progress(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Prints the result: the object, or the text.
    pub fn print(self, value: &Value, text: impl FnOnce() -> String) {
        let text = if self.json { format!("{value:#}\n") } else { text() };
        // A reader that has gone away is not an error of the command.
        std::io::stdout().write_all(text.as_bytes()).ok();
    }

    /// Prints a line for people.
    pub fn note(self, text: &str) {
        if !self.json {
            writeln!(std::io::stderr(), "{text}").ok();
        }
    }

    /// Prints a line for people who asked for more.
    pub fn detail(self, text: &str) {
        if self.verbose {
            writeln!(std::io::stderr(), "{text}").ok();
        }
    }

    /// Prints an error: for people on stderr, as an object on stdout with `--json`.
    pub fn error(self, error: &AppError) {
        if self.json {
            let value = serde_json::json!({ "error": error });
            std::io::stdout().write_all(format!("{value:#}\n").as_bytes()).ok();
            return;
        }
        let mut text = format!("error: {} [{}]\n", error.message, error.code);
        for finding in &error.findings {
            text.push_str(&format!("  {}  {}  [{}]\n", finding.path, finding.message, finding.code));
            if !finding.hint.is_empty() {
                text.push_str(&format!("      hint: {}\n", finding.hint));
            }
        }
        if let Some(hint) = &error.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        std::io::stderr().write_all(text.as_bytes()).ok();
    }
}

/// A table with aligned columns.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(heads.to_vec());
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}
