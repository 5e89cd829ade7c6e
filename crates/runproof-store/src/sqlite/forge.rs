//! What somebody who can write to the database file could do, for `demo`: never used on the database itself.

use std::path::Path;

use rusqlite::Connection;

use super::{OpenError, connect};

/// Copies the database at `original` to `copy` and changes the first digit of one step's cost there, past every
/// trigger. Answers the numbers before and after.
///
/// # Errors
/// [`OpenError`] when SQLite refuses.
pub fn forge_cost(original: &Path, copy: &Path, run_id: &str, step_id: &str) -> Result<(i64, i64), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: copy.to_owned(), source };
    let source = connect(original, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(sqlite)?;
    let connection = connect(copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    change(&connection, run_id, step_id).map_err(sqlite)
}

fn change(connection: &Connection, run_id: &str, step_id: &str) -> rusqlite::Result<(i64, i64)> {
    connection.execute_batch("DROP TRIGGER aos_trace_steps_update")?;
    let select = "SELECT cost_microcents FROM aos_trace_steps WHERE run_id = ?1 AND step_id = ?2";
    let before: i64 = connection.query_row(select, (run_id, step_id), |row| row.get(0))?;
    let first = before / 1000;
    let after = before - first * 1000 + (first + 7) * 1000;
    let update = "UPDATE aos_trace_steps SET cost_microcents = ?3 WHERE run_id = ?1 AND step_id = ?2";
    connection.execute(update, (run_id, step_id, after))?;
    Ok((before, after))
}
