//! Each thing that somebody can do to the file, past every trigger, is found and named by `log verify`.

use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::finding::Verdict;
use runproof_proof::note::{Note, NoteSigner};
use rusqlite::Connection;
use serde_json::json;

use super::scene::{Copy, OTHER, Said, crowd, scene};
use crate::support::{Home, TENANT};
use crate::tamper::KINDS;

/// Changes a fresh copy and expects this exit code and a finding at a place that begins so.
fn check(change: impl FnOnce(&Connection), exit_code: i32, code: &str, place: &str) -> Said {
    let copy = Copy::of(&scene().database);
    change(&copy.open());
    let said = copy.verify(&[]);
    assert_eq!(said.code, exit_code, "{place}: {:?}", said.places());
    assert!(said.names(code, place), "{code} {place}: {:?}", said.places());
    said
}

fn execute(sql: impl Into<String>) -> impl FnOnce(&Connection) {
    let sql = sql.into();
    move |connection| {
        connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(connection.changes() > 0, "nothing was changed: {sql}");
    }
}

/// One number from the intact database.
fn number(sql: &str) -> i64 {
    let copy = Copy::of(&scene().database);
    copy.open().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Key of a row of a run that is over, in the middle of the ledger.
fn middle() -> i64 {
    number(
        "SELECT first_leaf FROM transitions WHERE tenant_id = 'zen' AND first_seq > 0 AND first_leaf > 120 AND stream LIKE 'run/%' ORDER BY 1 LIMIT 1",
    )
}

fn last() -> i64 {
    number("SELECT max(first_leaf) FROM transitions")
}

#[test]
fn an_intact_ledger_of_hundreds_of_runs_is_verified() {
    let home = Home::initialised();
    home.ok(&["create-tenant", "--id", OTHER]);
    home.ok(&["create-agent", "--name", "scout", "--tenant-id", OTHER]);
    crowd(&home, 250);
    let (code, report) = home.run_json(&["log", "verify"]);
    assert_eq!((code, &report["verdict"]), (0, &json!("VERIFIED")), "{report:#}");
    assert_eq!((&report["checked"]["runs"], &report["checked"]["open_runs"]), (&json!(250), &json!(0)));
    assert_eq!(report["checked"]["leaves"], report["tree_size"]);
    assert_eq!(report["signed_size"], report["tree_size"]);
    let page = home.run(&["log", "verify"]);
    assert!(page.stdout.starts_with("VERIFIED"), "{page:?}");
    assert_eq!(page.stderr, "", "the bar is for terminals");
}

#[test]
fn open_queued_and_erased_runs_are_no_fault_of_the_ledger() {
    let said = Copy::of(&scene().database).verify(&[]);
    assert_eq!((said.code, &said.report["checked"]["open_runs"]), (0, &json!(2)), "{:#}", said.report);
    let relaxed = Copy::of(&scene().relaxed).report();
    assert_eq!(relaxed.verdict(), Verdict::Verified, "{:?}", relaxed.findings.list());
}

#[test]
fn without_a_key_the_best_is_unpinned_and_with_another_key_it_is_invalid() {
    let copy = Copy::of(&scene().database);
    let stranger = NoteSigner::from_seed(&log(&copy), &[7; 32]).unwrap().verifier();
    let said = copy.verify(&["--key", &stranger.vkey()]);
    assert_eq!(said.code, 23, "{:?}", said.places());
    assert!(said.names("checkpoint.key", "checkpoints.note[size="), "{:?}", said.places());
}

fn log(copy: &Copy) -> String {
    copy.open().query_row("SELECT origin FROM ledger", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_changed_event_is_named_once_by_its_row_and_leaf() {
    let at = middle();
    let sql =
        format!("UPDATE transitions SET events = replace(events, '\"at\":1', '\"at\":2') WHERE first_leaf = {at}");
    let said = check(
        execute(sql),
        20,
        "row.changed",
        &format!("transitions.events or first_leaf[first_leaf={at}, leaf {at}]"),
    );
    let signed = |place: &String| place.contains("checkpoints") || place.contains("ledger_tiles");
    assert!(!said.places().iter().any(signed), "the tree goes on with what was signed: {:?}", said.places());
}

#[test]
fn a_changed_tile_is_named_at_every_level_and_nothing_else_is() {
    let flip = |level: u32, tile: u32, at: u32| {
        format!(
            "UPDATE ledger_tiles SET hashes = CAST(substr(hashes, 1, {at} * 32) || zeroblob(32) || substr(hashes, {at} * 32 + 33) AS BLOB) WHERE level = {level} AND tile = {tile}"
        )
    };
    let said = check(execute(flip(0, 0, 130)), 20, "row.changed", "ledger_tiles.hashes[leaf 130]");
    assert_eq!(said.places().len(), 1, "{:?}", said.places());
    let said = check(execute(flip(0, 1, 3)), 20, "row.changed", "ledger_tiles.hashes[leaf 259]");
    assert_eq!(said.places().len(), 1, "{:?}", said.places());
    let said = check(execute(flip(1, 0, 0)), 20, "row.changed", "ledger_tiles.hashes[level=1, tile=0");
    assert_eq!(said.places().len(), 1, "{:?}", said.places());
    for (sql, code, place) in [
        ("DELETE FROM ledger_tiles WHERE level = 0 AND tile = 0", "row.missing", "ledger_tiles[level=0, tile=0]"),
        ("DELETE FROM ledger_tiles WHERE level = 1", "row.missing", "ledger_tiles[level=1, tile=0]"),
        (
            "UPDATE ledger_tiles SET hashes = substr(hashes, 1, 40) WHERE level = 0",
            "row.changed",
            "ledger_tiles.hashes[level=0, tile=0]",
        ),
        (
            "UPDATE ledger_tiles SET hashes = substr(hashes, 1, 640) WHERE level = 0 AND tile = 0",
            "row.changed",
            "ledger_tiles.hashes[level=0, tile=0]",
        ),
        ("INSERT INTO ledger_tiles VALUES (0, 99, zeroblob(32))", "row.extra", "ledger_tiles[level=0, tile=99]"),
        ("INSERT INTO ledger_tiles VALUES (2, 0, zeroblob(32))", "row.extra", "ledger_tiles[level=2, tile=0]"),
        ("INSERT INTO ledger_tiles VALUES (-1, 0, x'')", "row.extra", "ledger_tiles[level=-1, tile=0]"),
    ] {
        check(execute(sql), 20, code, place);
    }
}

#[test]
fn a_deleted_row_is_named_in_the_middle_and_at_the_tail() {
    let (middle, last) = (middle(), last());
    for at in [middle, last] {
        let sql = format!("DELETE FROM transitions WHERE first_leaf = {at}");
        check(execute(sql), 20, "row.missing", &format!("transitions[first_leaf={at}]"));
    }
}

#[test]
fn a_tail_that_was_cut_with_all_rows_made_to_fit_is_named() {
    let last = last();
    // The last run was only queued: it goes, with all that speaks of it, but for the leaves in the tiles.
    let cut = format!(
        "DELETE FROM transitions WHERE first_leaf >= {last} - 1;
         DELETE FROM runs WHERE status = 'queued'; DELETE FROM aos_traces WHERE run_id NOT IN (SELECT id FROM runs);
         DELETE FROM checkpoints WHERE size > {last} - 1;"
    );
    let said = check(execute(cut.clone()), 20, "row.missing", &format!("transitions[first_leaf={}]", last - 1));
    assert!(said.names("head.rolled_back", "checkpoints.size"), "{:?}", said.places());
    // With the tiles cut as well, only the head that was kept elsewhere knows.
    let tile = format!(
        "{cut} UPDATE ledger_tiles SET hashes = substr(hashes, 1, (({last} - 1) % 256) * 32) WHERE level = 0 AND tile = ({last} - 1) / 256"
    );
    let said = check(execute(tile), 22, "head.rolled_back", "checkpoints.size");
    assert_eq!(said.places().len(), 1, "{:?}", said.places());
}

#[test]
fn swapped_moved_and_inserted_rows_are_named() {
    let at = middle();
    let other = number(&format!("SELECT min(first_leaf) FROM transitions WHERE first_leaf > {at}"));
    let swap = format!(
        "CREATE TEMP TABLE kept AS SELECT * FROM transitions WHERE first_leaf IN ({at}, {other});
         DELETE FROM transitions WHERE first_leaf IN ({at}, {other});
         UPDATE kept SET first_leaf = {at} + {other} - first_leaf;
         INSERT INTO transitions SELECT * FROM kept;"
    );
    check(execute(swap), 20, "row.changed", &format!("transitions.events or first_leaf[first_leaf={at}"));
    let move_far = format!("UPDATE transitions SET first_leaf = 4611686018427387904 WHERE first_leaf = {at}");
    let said = check(execute(move_far), 20, "row.missing", &format!("transitions[first_leaf={at}]"));
    assert!(said.names("row.changed", "transitions.first_leaf[first_leaf=4611686018427387904]"), "{:?}", said.places());
    let negative = format!("UPDATE transitions SET first_leaf = -5 WHERE first_leaf = {at}");
    check(execute(negative), 20, "row.changed", "transitions.first_leaf[first_leaf=-5]");
    let twice = format!(
        "UPDATE transitions SET events = events || char(10) || events, payloads = payloads || char(10) || payloads WHERE first_leaf = {at}"
    );
    check(execute(twice), 20, "row.changed", &format!("transitions.event_count[first_leaf={at}]"));
}

#[test]
fn a_forged_checkpoint_and_one_by_another_key_are_named() {
    let copy = Copy::of(&scene().database);
    let (log, connection) = (log(&copy), copy.open());
    let sizes: Vec<i64> = {
        let mut statement = connection.prepare("SELECT size FROM checkpoints ORDER BY size").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (old, chosen) = (sizes[1], sizes[sizes.len() / 2]);
    let read = |size: i64| -> (String, String) {
        let sql = "SELECT root, note FROM checkpoints WHERE size = ?1";
        connection.query_row(sql, [size], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let ((old_root, old_note), (root, note)) = (read(old), read(chosen));
    let parsed = Checkpoint::parse(&Note::parse(note.as_bytes()).unwrap().text).unwrap();
    assert_eq!(parsed.root.hex(), root);
    let write = |root: String, note: String| {
        move |connection: &Connection| {
            let sql = "UPDATE checkpoints SET root = ?2, note = ?3 WHERE size = ?1";
            assert_eq!(connection.execute(sql, (chosen, root, note)).unwrap(), 1);
        }
    };
    // An old root under a new size: the signature was made for another text.
    let forged = old_note.replacen(&format!("\n{old}\n"), &format!("\n{chosen}\n"), 1);
    let said =
        check(write(old_root.clone(), forged), 20, "checkpoint.signature", &format!("checkpoints.note[size={chosen}]"));
    assert!(said.names("row.changed", &format!("checkpoints.note[size={chosen}]")), "its root: {:?}", said.places());
    // The old note as it is.
    check(write(old_root, old_note), 20, "row.changed", &format!("checkpoints.size[size={chosen}]"));
    // The right text, signed by somebody else.
    let stranger = NoteSigner::from_seed(&log, &[7; 32]).unwrap();
    let said = check(
        write(root.clone(), parsed.sign(&stranger)),
        23,
        "checkpoint.key",
        &format!("checkpoints.note[size={chosen}]"),
    );
    assert_eq!(said.places().len(), 1, "{:?}", said.places());
    check(write("0".repeat(64), note), 20, "row.changed", &format!("checkpoints.root[size={chosen}]"));
}

#[test]
fn two_signed_histories_are_a_fork() {
    let copy = Copy::of(&scene().database);
    let (log, size) = (log(&copy), number("SELECT size FROM checkpoints ORDER BY size LIMIT 1 OFFSET 3"));
    let signer = scene().home.home().signer().unwrap();
    let other = Checkpoint {
        origin: log,
        size: u64::try_from(size).unwrap(),
        root: runproof_proof::hash::leaf(b"another history"),
    };
    let note = other.sign(&signer);
    let change = move |connection: &Connection| {
        let sql = "UPDATE checkpoints SET root = ?2, note = ?3 WHERE size = ?1";
        connection.execute(sql, (size, other.root.hex(), note)).unwrap();
    };
    check(change, 21, "head.forked", &format!("checkpoints.root[size={size}]"));
}

#[test]
fn a_deleted_checkpoint_that_is_known_elsewhere_is_named() {
    let newest = number("SELECT max(size) FROM checkpoints");
    let sql = format!("DELETE FROM checkpoints WHERE size = {newest}");
    check(execute(sql), 20, "row.missing", &format!("checkpoints[size={newest}]"));
}

#[test]
fn a_run_that_was_deleted_with_all_its_rows_is_named() {
    let run = &scene().sealed;
    let sql = format!(
        "DELETE FROM runs WHERE id = '{run}'; DELETE FROM aos_trace_steps WHERE run_id = '{run}';
         DELETE FROM aos_traces WHERE run_id = '{run}'; DELETE FROM run_seals WHERE run_id = '{run}';
         DELETE FROM transitions WHERE stream = 'run/{run}';"
    );
    let said = check(execute(sql), 20, "run.missing", "transitions");
    assert!(said.names("row.missing", "transitions[first_leaf="), "{:?}", said.places());
    let run_ids: Vec<&serde_json::Value> =
        said.report["findings"].as_array().unwrap().iter().map(|finding| &finding["run_id"]).collect();
    assert!(run_ids.contains(&&json!(run)), "{run_ids:?}");
}

#[test]
fn rows_that_no_event_explains_are_named_in_every_table() {
    let copied = |table: &str, column: &str, value: &str| {
        format!(
            "CREATE TEMP TABLE kept AS SELECT * FROM {table} LIMIT 1; UPDATE kept SET {column} = {value};
             INSERT INTO {table} SELECT * FROM kept;"
        )
    };
    let with_generated = |table: &str, key: &str, more: &str| {
        let connection = Copy::of(&scene().database);
        let connection = connection.open();
        let mut statement = connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0").unwrap();
        let names: Vec<String> = statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let (into, from): (Vec<&str>, Vec<&str>) = names
            .iter()
            .map(|name| {
                let value = if name == key {
                    more
                } else if name == "run_no" {
                    "NULL"
                } else {
                    name
                };
                (name.as_str(), value)
            })
            .unzip();
        format!("INSERT INTO {table} ({}) SELECT {} FROM {table} LIMIT 1", into.join(", "), from.join(", "))
    };
    for (sql, place) in [
        (with_generated("runs", "id", "'by-hand'"), "runs["),
        (with_generated("aos_traces", "trace_id", "'trace_by-hand'"), "aos_traces["),
        (with_generated("aos_trace_steps", "trace_id", "'elsewhere'"), "aos_trace_steps["),
        (with_generated("aos_trace_steps", "step_index", "77"), "aos_trace_steps["),
        (copied("run_seals", "run_id", "'by-hand'"), "run_seals["),
        (copied("erasures", "run_id", "'by-hand'"), "erasures["),
        (copied("tenants", "id", "'nobody'"), "tenants["),
        (copied("agents", "id", "'nobody'"), "agents["),
    ] {
        let said = check(execute(sql), 20, "row.extra", place);
        assert_eq!(said.places().len(), 1, "{:?}", said.places());
    }
}

#[test]
fn a_changed_column_of_an_open_run_is_named() {
    let open = &scene().open;
    let said = check(
        execute(format!("UPDATE runs SET wait_ref = 'other' WHERE id = '{open}'")),
        20,
        "row.changed",
        "runs.wait_ref[",
    );
    assert_eq!(said.report["findings"][0]["run_id"], json!(open));
    check(execute(format!("UPDATE runs SET status = 'queued' WHERE id = '{open}'")), 20, "row.changed", "runs.status[");
}

#[test]
fn an_older_database_is_rolled_back() {
    let copy = Copy::of(&scene().older);
    let said = copy.verify(&[]);
    assert_eq!((said.code, said.places()), (22, vec!["head.rolled_back checkpoints.size".to_owned()]));
}

#[test]
fn the_kept_head_counts_whatever_runproof_trust_names() {
    let copy = Copy::of(&scene().older);
    let trust = scene().home.home().trust_path();
    let mut command = scene().home.command(&["log", "verify", "--json"]);
    command.env("DATABASE_URL", format!("sqlite://{}", copy.path().display())).env("RUNPROOF_TRUST", &trust);
    assert_eq!(crate::support::ran(&mut command).code, 22);
    let said = copy.verify(&["--trust", trust.to_str().unwrap()]);
    assert_eq!(said.code, 0, "who brings keys brings the heads as well: {:?}", said.places());
}

#[test]
fn every_column_of_every_table_of_evidence_and_projections_counts() {
    let copy = Copy::of(&scene().older);
    let mut cases = 0;
    // Nothing is archived, purged or held here: `retention` changes every column of these.
    let elsewhere = ["archives", "tombstones", "holds"];
    for (table, kind) in KINDS.iter().filter(|(table, kind)| *kind != "operational" && !elsewhere.contains(table)) {
        for (column, of_type) in columns(&copy.open(), table) {
            let other = match of_type.as_str() {
                "INTEGER" => format!("coalesce({column}, 0) + 1000000"),
                "BLOB" => "zeroblob(length(hashes))".to_owned(),
                _ => format!("coalesce({column}, '') || 'x'"),
            };
            copy.reset(&scene().older);
            change_one_row(&copy.open(), table, &column, &other);
            let report = copy.report();
            let places: Vec<&str> = report.findings.list().iter().map(|finding| finding.place.as_str()).collect();
            assert_eq!(report.verdict(), Verdict::Tampered, "{kind} {table}.{column}: {places:?}");
            assert!(places.iter().any(|place| place.contains(table)), "{table}.{column}: {places:?}");
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} columns");
}

/// Names and types.
fn columns(connection: &Connection, table: &str) -> Vec<(String, String)> {
    let mut statement = connection.prepare("SELECT name, type FROM pragma_table_info(?1)").unwrap();
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn change_one_row(connection: &Connection, table: &str, column: &str, value: &str) {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0").unwrap();
    let key: Vec<String> = statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let key = key.join(", ");
    let sql = format!("UPDATE {table} SET {column} = {value} WHERE ({key}) = (SELECT {key} FROM {table} LIMIT 1)");
    let changed = connection.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(changed, 1, "{sql}");
}

#[test]
fn a_journal_column_that_is_null_negative_or_of_another_type_is_named() {
    let copy = Copy::of(&scene().relaxed);
    let at = middle();
    let mut cases = 0;
    for column in ["tenant_id", "stream", "first_seq", "event_count", "events", "payloads"] {
        for value in ["NULL", "-1", "9223372036854775807", "1.5", "x'00ff'", "'x'"] {
            copy.reset(&scene().relaxed);
            copy.execute(&format!("UPDATE transitions SET {column} = {value} WHERE first_leaf = {at}"));
            let report = copy.report();
            let places: Vec<&str> = report.findings.list().iter().map(|finding| finding.place.as_str()).collect();
            assert_eq!(report.verdict(), Verdict::Tampered, "{column} = {value}: {places:?}");
            let named =
                |place: &&str| place.starts_with(&format!("transitions.{column}")) || place.contains("stream=run/");
            assert!(places.iter().any(named), "{column} = {value}: {places:?}");
            cases += 1;
        }
    }
    assert_eq!(cases, 36);
}

#[test]
fn proof_names_a_journal_column_that_is_null_or_out_of_range() {
    let copy = Copy::of(&scene().relaxed);
    let run = &scene().sealed;
    for column in ["first_seq", "event_count", "events", "payloads"] {
        for value in ["NULL", "-1", "'x'"] {
            copy.reset(&scene().relaxed);
            copy.execute(&format!(
                "UPDATE transitions SET {column} = {value} WHERE stream = 'run/{run}' AND first_seq = 0"
            ));
            let mut command = scene().home.command(&["proof", run, "--tenant-id", TENANT, "--json"]);
            command.env("DATABASE_URL", format!("sqlite://{}", copy.path().display()));
            let ran = crate::support::ran(&mut command);
            let said = Said { code: ran.code, report: ran.json() };
            assert_eq!(said.code, 20, "{column} = {value}: {ran:?}");
            let named = said.places().iter().any(|place| place.contains(&format!("transitions.{column}")));
            assert!(named, "{column} = {value}: {:?}", said.places());
        }
    }
}
