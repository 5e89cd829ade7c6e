//! Compares what a database holds about a run with what the run's events say, column by column.
//!
//! Pure: the store reads the rows, this judges them.

use std::collections::BTreeMap;

use runproof_proof::finding::{Code, Finding};

use crate::projection::{Cell, Row};

/// A row as read, every column of it.
pub type RawRow = BTreeMap<String, Cell>;

/// Compares the rows that the events call for with the rows that are there, for one table.
pub fn compare(run_id: &str, table: &str, expected: &[Row], got: &[RawRow]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unused: Vec<&RawRow> = got.iter().collect();
    for row in expected {
        match take_match(row, &mut unused) {
            Some(raw) => findings.extend(columns(run_id, row, raw)),
            None => {
                let finding = Finding::new(Code::RowMissing, run_id, format!("{table}[{}]", key(row)));
                findings.push(finding.differs("a row", "none"));
            }
        }
    }
    for raw in unused {
        let text: Vec<String> = ["tenant_id", "id", "trace_id", "run_id", "step_index"]
            .iter()
            .filter_map(|column| raw.get(*column).map(|cell| format!("{column}={cell}")))
            .collect();
        let finding = Finding::new(Code::RowExtra, run_id, format!("{table}[{}]", text.join(", ")));
        findings.push(finding.differs("no row", "a row"));
    }
    findings
}

/// The row with the same key; if there is none, the one that agrees best, so that a changed key is named as such.
fn take_match<'a>(row: &Row, unused: &mut Vec<&'a RawRow>) -> Option<&'a RawRow> {
    let of_tenant = row.cells.iter().any(|(column, _)| *column == "tenant_id");
    let tenant: &[&str] = if of_tenant { &["tenant_id"] } else { &[] };
    let same_key = |raw: &RawRow| row.key.iter().chain(tenant).all(|column| raw.get(*column) == Some(row.get(column)));
    let agreement = |raw: &RawRow| row.cells.iter().filter(|(column, cell)| raw.get(*column) == Some(cell)).count();
    let position = unused.iter().position(|raw| same_key(raw)).or_else(|| {
        let best = unused.iter().enumerate().max_by_key(|(_, raw)| agreement(raw))?;
        (agreement(best.1) * 2 > row.cells.len()).then_some(best.0)
    })?;
    Some(unused.remove(position))
}

fn key(row: &Row) -> String {
    let parts: Vec<String> = row.key.iter().map(|column| format!("{column}={}", row.get(column))).collect();
    parts.join(", ")
}

fn columns(run_id: &str, row: &Row, raw: &RawRow) -> Vec<Finding> {
    let place = |column: &str| format!("{}.{column}[{}]", row.table, key(row));
    let mut findings = Vec::new();
    for (column, expected) in &row.cells {
        match raw.get(*column) {
            Some(got) if got == expected => {}
            Some(got) => findings.push(Finding::new(Code::RowChanged, run_id, place(column)).differs(expected, got)),
            None => {
                findings.push(Finding::new(Code::RowColumn, run_id, place(column)).differs(expected, "no such column"));
            }
        }
    }
    for (column, got) in raw {
        if !row.cells.iter().any(|(name, _)| name == column) {
            findings.push(Finding::new(Code::RowColumn, run_id, place(column)).differs("no such column", got));
        }
    }
    findings
}
