//! Everything that is stored about one run, read in one state of the database.

use std::collections::BTreeMap;

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Cell, trace_id};
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::read::{column, transition};
use super::retention::{archive_row, tombstone_row};
use super::session::{Param, begin_reading, in_time};
use crate::Evidence;

/// Tables with rows of a run.
const RUN_TABLES: &[&str] = &["runs", "aos_traces", "aos_trace_steps", "run_seals", "erasures", "holds"];
/// Tables with rows that runs share.
const SHARED_TABLES: &[&str] = &["tenants", "agents", "checkpoints"];

/// Rows by their tables.
pub(super) type Tables = BTreeMap<&'static str, Vec<RawRow>>;

/// Everything about one run. The future must run to its end.
pub(super) async fn evidence(client: &Client, log: &str, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
    let (stream, tenant_stream) = (format!("run/{run_id}"), format!("tenant/{tenant}"));
    let trace_id = trace_id(run_id);
    let run: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT), (&trace_id, Type::TEXT)];
    let of_run: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&stream, Type::TEXT)];
    let of_tenant: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&tenant_stream, Type::TEXT)];
    let begin = begin_reading([tenant]);
    let read_stream = include_str!("../../sql/postgres/read_stream.sql");
    let answers = in_time(async {
        let (begun, transitions, tenant_transitions, rows, shared, checkpoint, head, archive, tombstone, ended) = tokio::join!(biased;
            client.batch_execute(&begin),
            client.query_typed(read_stream, &of_run),
            client.query_typed(read_stream, &of_tenant),
            client.query_typed(include_str!("../../sql/postgres/read_run_rows.sql"), &run),
            client.query_typed(include_str!("../../sql/postgres/read_shared_rows.sql"), &of_tenant[..1]),
            client.query_typed_opt(include_str!("../../sql/postgres/newest_checkpoint.sql"), &[]),
            client.query_typed_opt(include_str!("../../sql/postgres/ledger_head.sql"), &[]),
            client.query_typed_opt(include_str!("../../sql/postgres/read_archive.sql"), &run[..2]),
            client.query_typed_opt(include_str!("../../sql/postgres/read_tombstone.sql"), &run[..2]),
            client.batch_execute("COMMIT")
        );
        begun?;
        let kept = (archive?, tombstone?);
        let answers = (transitions?, tenant_transitions?, rows?, shared?, checkpoint?, head?, kept);
        ended?;
        Ok(answers)
    });
    let (transitions, tenant_transitions, rows, shared, checkpoint, head, (archive, tombstone)) =
        answers.await.map_err(|failure| failure.unavailable())?;
    Ok(Evidence {
        log: log.to_owned(),
        transitions: transitions.iter().map(transition).collect(),
        tenant_transitions: tenant_transitions.iter().map(transition).collect(),
        rows: by_table(RUN_TABLES, &rows)?,
        shared: by_table(SHARED_TABLES, &shared)?,
        checkpoint: checkpoint.map(|row| column(&row, 1)).transpose()?,
        settled_id: head.map(|row| column(&row, 1)).transpose()?,
        archive: archive.as_ref().map(archive_row).transpose()?,
        tombstone: tombstone.as_ref().map(tombstone_row).transpose()?,
    })
}

/// Rows of a run, as `read_run_rows` answers them; a table without any is there too.
pub(super) fn run_tables(rows: &[Row]) -> Result<Tables, StoreError> {
    by_table(RUN_TABLES, rows)
}

fn by_table(tables: &[&'static str], rows: &[Row]) -> Result<Tables, StoreError> {
    let mut found: Tables = tables.iter().map(|table| (*table, Vec::new())).collect();
    for row in rows {
        let (table, cells) = raw_row(row)?;
        if let Some(rows) = found.get_mut(table) {
            rows.push(cells);
        }
    }
    Ok(found)
}

/// A row as its table and its columns as JSON.
pub(super) fn raw_row(row: &Row) -> Result<(&str, RawRow), StoreError> {
    let (table, text): (&str, &str) = (column(row, 0)?, column(row, 1)?);
    let cells: BTreeMap<String, Value> = serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { at: table.to_owned(), problem: error.to_string() })?;
    Ok((table, cells.into_iter().map(|(name, value)| (name, cell(value))).collect()))
}

/// What the columns of these tables hold; anything else is shown as something that no event says.
fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::String(text) => Cell::Text(text),
        Value::Number(number) => number.as_i64().map_or_else(|| Cell::Text(format!("number {number}")), Cell::Int),
        Value::Bool(flag) => Cell::Text(format!("boolean {flag}")),
        Value::Array(_) | Value::Object(_) => Cell::Text(format!("json {value}")),
    }
}
