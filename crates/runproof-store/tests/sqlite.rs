//! What SQLite promises beyond the conformance suite: the rules that the file itself keeps against somebody who goes past
//! the engine, its schema, who may open it, and what a failure takes with it. The rules are acceptance 4 of the first system.

mod evidence;
mod open;
mod program;
mod rules;
pub(crate) mod schema;
mod writer;

use std::sync::Arc;

use runproof_store::Store;
use rusqlite::Connection;

use crate::support::*;

/// A ledger with one tenant's run `r_1` that ended, and no engine on it.
fn ended_run() -> OnDisk {
    let mut disk = OnDisk::new();
    populate(disk.sqlite().as_ref());
    driven(&(disk.sqlite() as Arc<dyn Store>), TENANT, "r_1", mixed_plan());
    disk.close();
    disk
}

/// The statement is refused with exactly this text, and changes nothing.
fn refused(connection: &Connection, sql: &str, expected: &str) {
    let before = connection.total_changes();
    let said = connection.execute(sql, []).map_err(|error| error.to_string());
    assert_eq!(said, Err(expected.to_owned()), "{sql}");
    assert_eq!(connection.total_changes(), before, "{sql}");
}

/// The statement is taken, and changes one row.
fn taken(connection: &Connection, sql: &str) {
    assert_eq!(connection.execute(sql, []).map_err(|error| error.to_string()), Ok(1), "{sql}");
}

fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The stored columns of a table, each with an expression of another value of its type.
fn other_values(connection: &Connection, table: &str) -> Vec<(String, String)> {
    let mut statement = connection.prepare("SELECT name, type FROM pragma_table_xinfo(?1) WHERE hidden = 0").unwrap();
    let columns = statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    let other = |(name, kind): (String, String)| {
        let value = match kind.as_str() {
            "INTEGER" => format!("coalesce({name}, 0) + 1"),
            "BLOB" => format!("{name} || x'00'"),
            _ => format!("coalesce({name}, '') || '~'"),
        };
        (name, value)
    };
    columns.map(|column| other(column.unwrap())).collect()
}
