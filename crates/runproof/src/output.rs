//! The one place that prints: data to stdout, text for people to stderr.

use std::io::{IsTerminal, Write};
use std::path::Path;

use runproof_proof::finding::printable;
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
        let text = if self.json { json(value) } else { text() };
        // A reader that has gone away is not an error of the command.
        std::io::stdout().write_all(text.as_bytes()).ok();
    }

    /// Prints a line for people.
    pub fn note(self, text: &str) {
        if !self.json {
            writeln!(std::io::stderr(), "{text}").ok();
        }
    }

    /// Replaces the line at the bottom of a terminal; without a terminal, nothing.
    pub fn bar(self, text: &str) {
        if self.progress() {
            let mut stderr = std::io::stderr();
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush()).ok();
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
        std::io::stderr().write_all(text(error).as_bytes()).ok();
    }

    /// Prints that the command line is wrong, and how it is meant.
    pub fn usage(self, error: &AppError, usage: &str) {
        self.error(error);
        for line in usage.trim_end().lines() {
            self.note(&harmless(line));
        }
    }
}

/// An error as people see it.
fn text(error: &AppError) -> String {
    let mut text = format!("error[{}]: {}\n", error.code.word(), harmless(&error.message));
    for finding in &error.findings {
        let (path, message) = (harmless(&finding.path), harmless(&finding.message));
        text.push_str(&format!("  {path}  {message}  [{}]\n", finding.code));
        if !finding.hint.is_empty() {
            text.push_str(&format!("      hint: {}\n", harmless(&finding.hint)));
        }
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {}\n", harmless(hint)));
    }
    text
}

/// Text that somebody else wrote, with what could drive a terminal escaped.
pub fn harmless(text: &str) -> String {
    text.chars().map(|character| printable(character.encode_utf8(&mut [0; 4]))).collect()
}

/// A value as indented JSON. What could drive a terminal is escaped as JSON escapes it, so it stays the same value.
pub fn json(value: &Value) -> String {
    let mut out = String::new();
    for character in format!("{value:#}\n").chars() {
        let plain = (character.is_ascii() && character != '\u{7f}')
            || printable(character.encode_utf8(&mut [0; 4])).chars().eq([character]);
        if plain {
            out.push(character);
        } else {
            out.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A path as JSON can hold it: bytes that are no text are replaced.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A table with aligned columns. Cells may hold what somebody else wrote.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
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
    for row in &rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}
