//! Every column of every row that belongs to a run, changed a little.

use rusqlite::types::{ToSqlOutput, Value as Cell};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::scene::{Copy, Fault, Said, none_of, scene};
use crate::support::tables;

/// What kind each table is (design, invariant 3).
pub(crate) const KINDS: &[(&str, &str)] = &[
    ("agents", "projection"),
    ("aos_trace_steps", "projection"),
    ("aos_traces", "projection"),
    ("archives", "evidence"),
    ("checkpoints", "evidence"),
    ("erasures", "projection"),
    ("holds", "projection"),
    ("idempotency_keys", "operational"),
    ("kv", "operational"),
    ("ledger", "operational"),
    ("ledger_tiles", "projection"),
    ("limits", "operational"),
    ("requests", "operational"),
    ("run_queue", "operational"),
    ("run_seals", "evidence"),
    ("runs", "projection"),
    ("schema_migrations", "operational"),
    ("stream_heads", "operational"),
    ("tenants", "projection"),
    ("tombstones", "evidence"),
    ("transitions", "evidence"),
];
/// Tables that hold no row of a single run: the tests of `whole` are about them, or they are of a tenant.
const OF_ALL_RUNS: &[&str] = &["agents", "tenants", "checkpoints", "ledger_tiles", "archives", "tombstones", "holds"];

/// One row by its key.
#[derive(Clone)]
pub(super) struct RowKey {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    pub(super) values: Vec<Cell>,
}

impl RowKey {
    pub(super) fn condition(&self, first: usize) -> String {
        let parts = self.columns.iter().enumerate().map(|(index, column)| format!("{column} = ?{}", index + first));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    pub(super) fn label(&self) -> String {
        let parts = self.columns.iter().zip(&self.values).map(|(column, value)| format!("{column}={}", shown(value)));
        format!("{}[{}]", self.table, parts.collect::<Vec<_>>().join(","))
    }
}

pub(super) fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text.chars().take(60).collect(),
        Cell::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}

pub(super) fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn key_columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The rows of every evidence and projection table that belong to a run.
pub(super) fn rows_of(connection: &Connection, (tenant, run): (&str, &str)) -> Vec<RowKey> {
    let mut found = Vec::new();
    for (table, kind) in KINDS {
        if *kind == "operational" || OF_ALL_RUNS.contains(table) {
            continue;
        }
        let condition = match *table {
            "transitions" => {
                "tenant_id = ?1 AND (stream = 'run/' || ?2 OR (stream = 'tenant/' || ?1 AND instr(events, ?2) > 0))"
            }
            "runs" => "tenant_id = ?1 AND id = ?2",
            _ => "tenant_id = ?1 AND run_id = ?2",
        };
        let columns = key_columns(connection, table);
        let mut statement =
            connection.prepare(&format!("SELECT {} FROM {table} WHERE {condition}", columns.join(", "))).unwrap();
        let rows = statement.query_map((tenant, run), |row| {
            (0..columns.len()).map(|index| row.get(index)).collect::<Result<Vec<Cell>, _>>()
        });
        found.extend(rows.unwrap().map(|values| RowKey {
            table: (*table).to_owned(),
            columns: columns.clone(),
            values: values.unwrap(),
        }));
    }
    found
}

fn read(connection: &Connection, row: &RowKey, column: &str) -> Cell {
    let sql = format!("SELECT {column} FROM {} WHERE {}", row.table, row.condition(1));
    connection.query_row(&sql, params_from_iter(&row.values), |row| row.get(0)).unwrap()
}

/// The smallest change to one character: a digit stays a digit, a letter a letter.
pub(super) fn flipped(text: &str, at: usize) -> String {
    let other = |c: char| match c {
        '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from(c as u8 + 1),
        '9' => '0',
        'z' => 'a',
        'Z' => 'A',
        _ => '~',
    };
    text.chars().enumerate().map(|(index, c)| if index == at { other(c) } else { c }).collect()
}

/// Small changes to a value.
fn edits(cell: &Cell) -> Vec<Cell> {
    match cell {
        Cell::Null => vec![Cell::Text("x".to_owned()), Cell::Integer(1)],
        Cell::Integer(number) => vec![Cell::Integer(number + 1), Cell::Integer(number ^ 8), Cell::Integer(-number - 1)],
        Cell::Real(number) => vec![Cell::Real(number + 1.0)],
        Cell::Text(text) => {
            let length = text.chars().count();
            let step = (length / if length > 200 { 12 } else { 3 }).max(1);
            let mut all: Vec<Cell> = (0..length).step_by(step).map(|at| Cell::Text(flipped(text, at))).collect();
            all.extend([format!("{text} "), format!("{text}\n"), String::new()].into_iter().map(Cell::Text));
            all.push(Cell::Text(text.chars().take(length.saturating_sub(1)).collect()));
            all.retain(|edit| edit != cell);
            all
        }
        Cell::Blob(bytes) => vec![Cell::Blob(bytes.iter().map(|byte| byte ^ 1).collect())],
    }
}

struct Bound<'a>(&'a Cell);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

/// Changes one cell; `false` when SQLite does not let even the owner of the file.
fn set(copy: &Copy, row: &RowKey, column: &str, value: &Cell) -> bool {
    let sql = format!("UPDATE {} SET {column} = ?1 WHERE {}", row.table, row.condition(2));
    let values: Vec<Bound<'_>> = std::iter::once(value).chain(&row.values).map(Bound).collect();
    copy.open().execute(&sql, params_from_iter(values)).is_ok_and(|changed| changed == 1)
}

fn is_key(row: &RowKey, column: &str) -> bool {
    row.columns.iter().any(|key| key == column)
        || column.ends_with("run_id")
        || (row.table == "transitions" && matches!(column, "tenant_id" | "stream"))
}

fn fault(said: &Said, row: &RowKey, column: &str, case: &str) -> Option<Fault> {
    // A row whose key was changed is missing where it belongs; where it went, nobody need know.
    let named = said.names(&row.table, column) || (is_key(row, column) && said.names_table(&row.table));
    said.fault(&format!("{}.{column}", row.table), case, named)
}

/// Changes every column of every row of a run, and gathers what was not caught.
fn every_cell(name: &str, bytes: &[u8], mut change: impl FnMut(&Cell) -> Vec<Cell>) -> (Vec<Fault>, usize) {
    let scene = scene();
    let copy = Copy::new(bytes, &scene.trust);
    let ids = scene.ids(name);
    let rows = rows_of(&copy.open(), ids);
    let (mut faults, mut cases) = (Vec::new(), 0);
    for row in &rows {
        for column in columns(&copy.open(), &row.table) {
            let cell = read(&copy.open(), row, &column);
            for edit in change(&cell) {
                if !set(&copy, row, &column, &edit) {
                    continue;
                }
                cases += 1;
                let case = format!("{name}: {} {column}: {} -> {}", row.label(), shown(&cell), shown(&edit));
                faults.extend(fault(&copy.prove(ids), row, &column, &case));
                copy.reset(bytes);
            }
        }
    }
    (faults, cases)
}

fn check(name: &str, least: usize) {
    let (faults, cases) = every_cell(name, &scene().database, edits);
    none_of(&faults, cases, least);
}

#[test]
fn every_table_has_one_kind() {
    let copy = scene().copy();
    let named: Vec<&str> = KINDS.iter().map(|(table, _)| *table).collect();
    assert_eq!(
        tables(&copy.open()),
        named,
        "a new table needs a kind, and tests here when it is evidence or a projection"
    );
}

#[test]
fn a_changed_cell_of_a_successful_run_is_found_and_named() {
    check("mixed", 900);
}

#[test]
fn a_changed_cell_of_a_failed_run_is_found_and_named() {
    check("failed", 300);
}

#[test]
fn a_changed_cell_of_a_cancelled_run_is_found_and_named() {
    check("cancelled", 300);
}

#[test]
fn a_changed_cell_of_a_resolved_run_is_found_and_named() {
    check("resolved", 300);
}

#[test]
fn a_changed_cell_of_a_run_with_erased_values_is_found_and_named() {
    check("erased", 300);
}

#[test]
fn a_changed_cell_of_a_synthetic_run_of_another_tenant_is_found_and_named() {
    check("other", 600);
}

#[test]
fn a_changed_cell_of_a_run_with_steps_side_by_side_is_found_and_named() {
    // Every cell of many rows: all changes of events and values, and of anything else one after the other in turn.
    let mut turn = 0;
    let some = |cell: &Cell| {
        let mut all = edits(cell);
        if all.len() > 12 {
            return all;
        }
        turn += 1;
        vec![all.swap_remove(turn % all.len())]
    };
    let (faults, cases) = every_cell("graph", &scene().database, some);
    none_of(&faults, cases, 500);
}

#[test]
fn a_changed_cell_of_a_row_that_runs_share_is_found_and_named() {
    let scene = scene();
    let copy = Copy::new(&scene.database, &scene.trust);
    let ids = scene.ids("mixed");
    let newest = "size = (SELECT max(size) FROM checkpoints)";
    let cases = [
        ("tenants", "created_at", "created_at || 'x'", "1"),
        ("agents", "name", "name || 'x'", "1"),
        ("agents", "id", "id || 'x'", "1"),
        ("agents", "created_at", "created_at || 'x'", "1"),
        ("checkpoints", "size", "size + 1", newest),
        ("checkpoints", "root", "CASE substr(root, 1, 1) WHEN '0' THEN '1' ELSE '0' END || substr(root, 2)", newest),
        ("checkpoints", "note", "replace(note, 'runproof', 'runpr00f')", newest),
    ];
    for (table, column, value, condition) in cases {
        copy.execute(&format!("UPDATE {table} SET {column} = {value} WHERE {condition}"));
        let said = copy.prove(ids);
        assert_ne!(said.word(), "VERIFIED", "{table}.{column}");
        assert!(said.names_table(table), "{table}.{column}: {:?}", said.places());
        copy.reset(&scene.database);
    }
}

#[test]
fn a_cell_set_to_null_past_the_schema_is_found() {
    let scene = scene();
    for name in scene.runs.keys() {
        let (faults, cases) =
            every_cell(name, &scene.relaxed, |cell| if *cell == Cell::Null { Vec::new() } else { vec![Cell::Null] });
        none_of(&faults, cases, 40);
    }
}

#[test]
fn a_number_stored_as_text_or_fraction_past_the_schema_is_found() {
    let scene = scene();
    let retyped = |cell: &Cell| match cell {
        Cell::Integer(number) => vec![Cell::Blob(number.to_string().into_bytes()), Cell::Real(*number as f64 + 0.5)],
        Cell::Text(text) => vec![Cell::Blob(text.clone().into_bytes())],
        Cell::Null | Cell::Real(_) | Cell::Blob(_) => Vec::new(),
    };
    let (faults, cases) = every_cell("failed", &scene.relaxed, retyped);
    none_of(&faults, cases, 60);
}
