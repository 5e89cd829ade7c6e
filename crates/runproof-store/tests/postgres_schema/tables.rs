//! Tables and columns: those of the embedded store, what Postgres has besides, and that the page describes both.

use std::collections::{BTreeMap, BTreeSet};

use runproof_store::postgres::protections::{Trigger, triggers};

use super::{migrated, texts};
use crate::sqlite::schema::{Column, Place, columns, described, spec, tables};
use crate::support::OnDisk;

/// The type of the same cell in the embedded store.
fn embedded(kind: &str) -> String {
    match kind {
        "bigint" => "integer",
        "double precision" => "real",
        "bytea" => "blob",
        other => other,
    }
    .to_owned()
}

async fn on_postgres() -> BTreeMap<String, Vec<Column>> {
    let (_database, client) = migrated().await;
    let sql = "SELECT c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, NULL)
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0
               ORDER BY c.relname, a.attnum";
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for line in texts(&client, sql).await {
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let kind = embedded(parts[2]);
        tables.entry(parts[0].to_owned()).or_default().push((parts[1].to_owned(), kind));
    }
    tables
}

#[tokio::test]
async fn both_stores_have_the_same_tables_and_cells() {
    let postgres = on_postgres().await;
    let disk = OnDisk::new();
    let mut names: BTreeSet<String> = tables(&disk.raw());
    names.extend(["leaves", "ledger_head", "workers"].map(str::to_owned));
    assert_eq!(postgres.keys().cloned().collect::<BTreeSet<_>>(), names);
    for table in tables(&disk.raw()) {
        let mut cells: BTreeSet<Column> = columns(&disk.raw(), &table).into_iter().collect();
        if table == "transitions" {
            assert!(cells.remove(&("first_leaf".to_owned(), "integer".to_owned())));
            cells.insert(("id".to_owned(), "integer".to_owned()));
        }
        assert_eq!(postgres[&table].iter().cloned().collect::<BTreeSet<_>>(), cells, "columns of `{table}`");
    }
}

#[tokio::test]
async fn every_table_and_column_is_described_and_nothing_else() {
    let sorted = |tables: BTreeMap<String, Vec<Column>>| -> BTreeMap<String, BTreeSet<Column>> {
        tables.into_iter().map(|(table, columns)| (table, columns.into_iter().collect())).collect()
    };
    assert_eq!(sorted(described(Place::Postgres)), sorted(on_postgres().await));
}

#[test]
fn every_trigger_is_described() {
    let page = spec();
    for Trigger { name, .. } in triggers() {
        let described = page.contains(&format!("`{name}`")) || name.ends_with("_truncate");
        assert!(described, "docs/spec/tables.md does not say what `{name}` refuses");
    }
}

#[tokio::test]
async fn generated_columns_are_computed() {
    let (_database, client) = migrated().await;
    super::populate(&client, "t").await;
    let row = client.query_typed_one("SELECT cost_cents, duration_ms FROM aos_trace_steps", &[]).await.unwrap();
    assert_eq!((row.get::<_, f64>(0), row.get::<_, f64>(1)), (2.5, 1.5));
}
