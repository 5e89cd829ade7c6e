//! Who may open a file, and what everybody else is told.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;

use runproof_store::sqlite::{self, OpenError, SqliteStore};
use runproof_store::{Store, TenantChange};

use super::ended_run;
use crate::doubles::block_on;
use crate::support::*;

/// Opening as the engine fails with this text, where `{}` stands for the path.
fn refuses(path: &Path, keeper: &Keeper, expected: &str) {
    let said = SqliteStore::open_engine(path, keeper.notary()).err().map(|error| error.to_string());
    assert_eq!(said, Some(expected.replace("{}", &path.display().to_string())));
}

fn reopen(disk: &mut OnDisk) {
    disk.store = Some(Arc::new(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap()));
}

#[test]
fn there_is_one_engine_while_readers_work() {
    let disk = OnDisk::new();
    populate(disk.sqlite().as_ref());
    refuses(&disk.path, &disk.keeper, "another process is the engine of `{}`");
    let created = SqliteStore::create_ledger(&disk.path, disk.keeper.notary(), [2; 32]);
    assert!(matches!(created, Err(OpenError::Busy(_))), "{created:?}");
    let reader = SqliteStore::open_reader(&disk.path).unwrap();
    assert!(!reader.is_engine());
    assert_eq!(block_on(reader.list_agents(None)).unwrap().len(), 2);
    let written = block_on(reader.change_tenant("t_3", TenantChange::Create, stamp(0)));
    assert_eq!(written.unwrap_err().to_string(), "the store is not available: this process is not the engine");
    driven(&disk.store(), TENANT, "r_1", mixed_plan());
    assert!(block_on(reader.load_run(TENANT, "r_1")).unwrap().expect("a run that the engine wrote").seal.is_some());
}

#[test]
fn the_next_engine_opens_when_the_last_one_is_gone() {
    let mut disk = OnDisk::new();
    disk.close();
    let engine = SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap();
    refuses(&disk.path, &disk.keeper, "another process is the engine of `{}`");
    drop(engine);
    drop(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap());
}

#[test]
fn a_database_behind_the_kept_checkpoint_is_refused() {
    let mut disk = OnDisk::new();
    disk.close();
    let older = std::fs::read(&disk.path).unwrap();
    reopen(&mut disk);
    populate(disk.sqlite().as_ref());
    disk.close();
    let kept = disk.keeper.last().unwrap().size;
    std::fs::write(&disk.path, older).unwrap();
    let text = format!(
        "the database has 1 leaves, but a checkpoint of {kept} leaves was signed: it was rolled back or replaced"
    );
    refuses(&disk.path, &disk.keeper, &text);
    assert_eq!(kept, 5);
}

#[test]
fn another_history_of_the_kept_size_is_refused() {
    let (mut one, mut other) = (OnDisk::new(), OnDisk::new());
    for disk in [&mut one, &mut other] {
        populate(disk.sqlite().as_ref()); // under other salts: other leaves
        disk.close();
    }
    let kept = one.keeper.last().unwrap();
    assert_eq!(kept.size, other.keeper.last().unwrap().size);
    refuses(
        &other.path,
        &one.keeper,
        "the database has 5 leaves, but a checkpoint of 5 leaves was signed: it was rolled back or replaced",
    );
    // It stays refused when it has grown past the kept size.
    reopen(&mut other);
    change(other.sqlite().as_ref(), "t_3", TenantChange::Create);
    other.close();
    refuses(
        &other.path,
        &one.keeper,
        "the database has 6 leaves, but a checkpoint of 5 leaves was signed: it was rolled back or replaced",
    );
    assert_eq!(one.keeper.last(), Some(kept), "nothing was signed");
}

#[test]
fn another_key_is_refused() {
    let mut disk = OnDisk::new();
    disk.close();
    let stranger = Keeper::new(8, None);
    let key = |keeper: &Keeper| keeper.notary().signer().verifier().vkey();
    let text = format!("the log key is `{}`, but the ledger was made with `{}`", key(&stranger), key(&disk.keeper));
    refuses(&disk.path, &stranger, &text);
    assert_eq!(stranger.last(), None, "nothing was signed with it");
    drop(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap());
}

#[test]
fn what_is_no_database_of_ours_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(7, None);
    let path = dir.path().join("missing.db");
    refuses(&path, &keeper, "there is no database at `{}`");
    assert!(matches!(SqliteStore::open_reader(&path), Err(OpenError::Missing(_))));
    assert!(matches!(sqlite::status(&path), Err(OpenError::Missing(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "asking makes nothing");

    let path = dir.path().join("strange.db");
    raw(&path).execute_batch("CREATE TABLE mine (x)").unwrap();
    refuses(&path, &keeper, "`{}` has schema version none, this program needs 4");
    let path = dir.path().join("unfinished.db");
    sqlite::create(&path, "now").unwrap();
    refuses(&path, &keeper, "`{}` has no ledger");
    let path = dir.path().join("text.db");
    std::fs::write(&path, "this is no database, and long enough to be taken for one".repeat(40)).unwrap();
    refuses(&path, &keeper, "cannot open `{}`: file is not a database");
    let of_a_directory = format!("cannot open `{}`: ", dir.path().display());
    for said in [SqliteStore::open_reader(dir.path()).err(), sqlite::create(dir.path(), "now").err()] {
        let said = said.expect("an error").to_string();
        assert!(said.starts_with(&of_a_directory), "{said}");
    }
    assert!(
        sqlite::create(&dir.path().join("none/runproof.db"), "now")
            .unwrap_err()
            .to_string()
            .starts_with("cannot open `")
    );
}

/// The user that may write anywhere is stopped by no mode: for him the test runs once more, as somebody else.
const NOBODY: u32 = 65_534;

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    if let Some(dir) = std::env::var_os("RUNPROOF_READ_ONLY_DIR") {
        return read_only(Path::new(&dir));
    }
    let disk = ended_run();
    let dir = disk.path.parent().unwrap();
    let is_root = std::fs::metadata(dir).unwrap().uid() == 0;
    if !is_root {
        return read_only(dir);
    }
    for entry in std::fs::read_dir(dir).unwrap() {
        chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    // The folder of the build may be for one user alone.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut again = std::process::Command::new(program);
    again
        .args(["--exact", "sqlite::open::what_cannot_be_written_is_refused_by_name"])
        .env("RUNPROOF_READ_ONLY_DIR", dir)
        .uid(NOBODY)
        .gid(NOBODY);
    let output = again.output().expect("the test program, as a user who is not root");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn read_only(dir: &Path) {
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let path = dir.join("runproof.db");
    let keeper = Keeper::new(7, None);
    let named = |said: Option<OpenError>| {
        let text = said.expect("an error").to_string();
        assert!(text.starts_with(&format!("cannot open `{}", path.display())), "{text}");
    };
    // A file that cannot be written, in a directory that can.
    mode(&path, 0o444);
    named(SqliteStore::open_engine(&path, keeper.notary()).err());
    let reader = SqliteStore::open_reader(&path).expect("reading needs no right to write the file");
    assert_eq!(block_on(reader.list_runs(None, 10)).unwrap().len(), 1);
    let left = block_on(reader.leave_request(TENANT, None, "{}")).unwrap_err().to_string();
    assert!(left.contains("readonly"), "{left}");
    drop(reader);
    mode(&path, 0o644);
    // A directory in which nothing can be made.
    for left_over in ["runproof.db-wal", "runproof.db-shm", "runproof.db.engine-lock"] {
        std::fs::remove_file(dir.join(left_over)).ok();
    }
    mode(dir, 0o555);
    named(SqliteStore::open_engine(&path, keeper.notary()).err());
    if let Err(error) = SqliteStore::open_reader(&path) {
        named(Some(error)); // SQLite needs its index beside the file even to read it
    }
    let new = sqlite::create(&dir.join("new.db"), "now").unwrap_err().to_string();
    assert!(new.starts_with("cannot open `") && new.contains("new.db"), "{new}");
    mode(dir, 0o755);
    drop(SqliteStore::open_engine(&path, keeper.notary()).unwrap());
}
