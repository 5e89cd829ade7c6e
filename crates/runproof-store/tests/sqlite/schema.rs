//! The schema: how a file comes to it, what it is exactly, and that `docs/spec/tables.md` describes all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Barrier};

use runproof_engine::ports::Stored;
use runproof_proof::hash::sha256;
use runproof_store::migrate::{MigrateError, SQLITE, Status};
use runproof_store::sqlite::{self, OpenError, SqliteStore};
use rusqlite::Connection;

use super::{count, taken};
use crate::doubles::block_on;
use crate::support::*;

const NOW: &str = "2027-01-15T08:00:00.000000Z";
const HEAD: Status = Status { current: Some(4), head: 4 };

pub(crate) fn spec() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/tables.md")).unwrap()
}

fn names(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn migrating_again_changes_nothing() {
    let disk = OnDisk::new();
    let schema = |db: &Connection| names(db, "SELECT coalesce(sql, name) FROM sqlite_master ORDER BY 1");
    let before = schema(&disk.raw());
    assert_eq!(sqlite::create(&disk.path, "later").unwrap(), HEAD);
    assert_eq!(sqlite::status(&disk.path).unwrap(), HEAD);
    assert_eq!(schema(&disk.raw()), before);
    assert_eq!(names(&disk.raw(), "SELECT applied_at FROM schema_migrations"), [NOW, NOW, NOW, NOW]);
    assert_eq!(names(&disk.raw(), "SELECT version_num FROM alembic_version"), ["0004"]);
}

#[test]
fn migrating_from_many_threads_at_once_migrates_once() {
    for _ in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runproof.db");
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(sqlite::create(&path, NOW).unwrap(), HEAD);
                });
            }
        });
        assert_eq!(count(&raw(&path), "SELECT count(*) FROM schema_migrations"), 4);
    }
}

#[test]
fn a_migration_with_another_text_is_refused() {
    let disk = OnDisk::new();
    taken(&disk.raw(), "UPDATE schema_migrations SET checksum = 'another' WHERE version = 1");
    let error = sqlite::create(&disk.path, NOW).unwrap_err();
    assert!(matches!(error, OpenError::Migrate { source: MigrateError::Checksum(1), .. }), "{error:?}");
    let text = "migration 0001 was applied with another text: the schema is not the one that this version knows";
    assert_eq!(error.to_string(), format!("`{}`: {text}", disk.path.display()));
}

#[test]
fn a_newer_schema_is_refused() {
    let mut disk = OnDisk::new();
    disk.close();
    taken(&disk.raw(), "INSERT INTO schema_migrations VALUES (5, 'next', 'x', 'now')");
    let error = sqlite::create(&disk.path, NOW).unwrap_err();
    let text = format!("`{}`: the database is at version 5, this program knows 4", disk.path.display());
    assert_eq!(error.to_string(), text);
    let text = format!("`{}` has schema version 5, this program needs 4", disk.path.display());
    let error = SqliteStore::open_engine(&disk.path, disk.keeper.notary()).err().unwrap();
    assert_eq!(error.to_string(), text);
    assert_eq!(SqliteStore::open_reader(&disk.path).err().unwrap().to_string(), text);
    assert_eq!(names(&disk.raw(), "SELECT version_num FROM alembic_version"), ["0005"]);
}

/// A database of the first release: its schema, its ledger, and nothing of what came later.
fn of_the_first_release() -> (OnDisk, u64) {
    let (version, name, sql) = SQLITE[0];
    let checksum = sha256(sql.as_bytes()).hex();
    assert_eq!(
        (version, checksum.as_str()),
        (1, "206d39fbf79b8f5aa24ceba1bde94b6e6c30146d73cc939eabb7717985d89b26"),
        "every database has this checksum"
    );
    let mut disk = OnDisk::new();
    disk.close();
    for left_over in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{left_over}", disk.path.display())).ok();
    }
    let db = raw(&disk.path);
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    let table = "version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL";
    db.execute_batch(&format!("CREATE TABLE schema_migrations ({table}) STRICT; {sql}")).unwrap();
    db.execute("INSERT INTO schema_migrations VALUES (?1, ?2, ?3, ?4)", (version, name, checksum, NOW)).unwrap();
    disk.keeper = Keeper::new(7, None);
    SqliteStore::create_ledger(&disk.path, disk.keeper.notary(), [1; 32]).unwrap();
    taken(&db, "INSERT INTO kv (tenant_id, key, value, version) VALUES ('t_1', 'k', '7', 1)");
    let leaves = disk.keeper.last().unwrap().size;
    (disk, leaves)
}

#[test]
fn a_database_of_the_first_release_is_refused_migrated_and_then_works() {
    let (mut disk, leaves) = of_the_first_release();
    let text = format!("`{}` has schema version 1, this program needs 4", disk.path.display());
    assert_eq!(SqliteStore::open_reader(&disk.path).err().unwrap().to_string(), text);
    assert_eq!(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).err().unwrap().to_string(), text);
    assert_eq!(sqlite::create(&disk.path, "later").unwrap(), HEAD);
    let kept = names(&disk.raw(), "SELECT version || ' ' || applied_at FROM schema_migrations ORDER BY version");
    assert_eq!(kept, [format!("1 {NOW}"), "2 later".to_owned(), "3 later".to_owned(), "4 later".to_owned()]);
    disk.store = Some(Arc::new(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap()));
    assert_eq!(block_on(disk.store().tree_size()).unwrap(), leaves, "the ledger goes on where it was");
    populate(disk.sqlite().as_ref());
    driven(&disk.store(), TENANT, "r_1", mixed_plan());
    let old = block_on(disk.key_values().read(TENANT, "k")).unwrap();
    assert_eq!(old, Some(Stored { value: b"7".to_vec(), version: 1, expires_at: None }));
    audit_ledger(&disk);
}

#[test]
fn a_migrated_database_has_the_schema_of_a_new_one() {
    let (disk, _) = of_the_first_release();
    sqlite::create(&disk.path, NOW).unwrap();
    let schema = |db: &Connection| {
        let objects = "type IN ('table', 'index', 'trigger', 'view') AND name <> 'schema_migrations'";
        names(db, &format!("SELECT coalesce(sql, name) FROM sqlite_master WHERE {objects} ORDER BY 1"))
    };
    assert_eq!(schema(&disk.raw()), schema(&OnDisk::new().raw()));
}

/// Every release has to open every file: a change here is a new migration, not another text of an old one.
#[test]
fn the_schema_is_the_one_in_the_snapshot() {
    let disk = OnDisk::new();
    let objects = names(
        &disk.raw(),
        "SELECT type || ' ' || name || ' on ' || tbl_name || coalesce(char(10) || sql, '') FROM sqlite_master ORDER BY type, name",
    );
    let schema = objects.join("\n\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sqlite/schema.snapshot");
    if std::env::var_os("RUNPROOF_UPDATE").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == schema, "the schema differs from {}; RUNPROOF_UPDATE=1 writes it anew", path.display());
}

/// A column as the page describes it: name, type.
pub(crate) type Column = (String, String);

/// Which store the page is asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// SQLite.
    Embedded,
    /// Postgres.
    Postgres,
}

impl Place {
    /// Whether a heading or a type is of this store: what is of one store only says so.
    fn has(self, text: &str) -> bool {
        match self {
            Self::Embedded => !text.contains("Postgres only"),
            Self::Postgres => !text.contains("embedded only"),
        }
    }
}

/// Tables of the page with their columns; a table is a heading of the third level.
pub(crate) fn described(place: Place) -> BTreeMap<String, Vec<Column>> {
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    let (mut table, mut in_columns) = (None, false);
    for line in spec().lines() {
        in_columns = !line.is_empty() && (in_columns || line.starts_with("| column |"));
        if line.starts_with('#') {
            let heading = line.strip_prefix("### `").filter(|rest| place.has(rest));
            table = heading.and_then(|rest| rest.split('`').next()).map(str::to_owned);
            if let Some(name) = &table {
                assert!(tables.insert(name.clone(), Vec::new()).is_none(), "`{name}` is described twice");
            }
        } else if let (Some(table), Some(row)) = (&table, line.strip_prefix("| `").filter(|_| in_columns)) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let kind = cells[1].split(',').next().unwrap();
            if !place.has(cells[1]) {
                continue;
            }
            tables.get_mut(table).unwrap().push((cells[0].trim_end_matches('`').to_owned(), kind.to_owned()));
        }
    }
    tables
}

pub(crate) fn columns(db: &Connection, table: &str) -> Vec<Column> {
    // Generated columns are hidden from `pragma_table_info`. The column of a view has no type: it is text.
    let mut statement = db.prepare("SELECT name, type FROM pragma_table_xinfo(?1)").unwrap();
    let typed = |kind: String| match kind.trim_end_matches(" GENERATED ALWAYS") {
        "" => "text".to_owned(),
        kind => kind.to_lowercase(),
    };
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, typed(row.get(1)?)))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Every table and view.
pub(crate) fn tables(db: &Connection) -> BTreeSet<String> {
    names(db, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").into_iter().collect()
}

#[test]
fn every_table_and_column_is_described_and_nothing_else() {
    let disk = OnDisk::new();
    let db = disk.raw();
    let described = described(Place::Embedded);
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), tables(&db));
    for (table, described) in described {
        assert_eq!(described, columns(&db, &table), "columns of `{table}`");
    }
}

#[test]
fn every_trigger_is_described() {
    let spec = spec();
    let disk = OnDisk::new();
    for trigger in names(&disk.raw(), "SELECT name FROM sqlite_master WHERE type = 'trigger'") {
        assert!(spec.contains(&format!("`{trigger}`")), "docs/spec/tables.md does not say what `{trigger}` refuses");
    }
}
