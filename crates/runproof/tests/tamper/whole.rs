//! Whole rows removed, added, put in another order or place; the ledger's own tables; older copies; erasures.

use runproof_engine::projection;
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle;
use runproof_proof::trust::Trust;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};

use super::rows::{RowKey, columns, rows_of};
use super::scene::{Copy, Fault, OTHER, Said, erase, none_of, scene, seq_of, snapshot};
use crate::support::{Home, TENANT, sample_steps, text};

/// Runs one change on a fresh copy and judges what `proof` says about the run.
struct Cases {
    copy: Copy,
    faults: Vec<Fault>,
    count: usize,
}

impl Cases {
    fn new() -> Self {
        Self { copy: scene().copy(), faults: Vec::new(), count: 0 }
    }

    fn try_change(
        &mut self,
        name: &str,
        table: &str,
        case: &str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> bool {
        self.copy.reset(&scene().database);
        let changed = change(&self.copy.open());
        if !matches!(changed, Ok(1..)) {
            return false;
        }
        self.count += 1;
        let said = self.copy.prove(scene().ids(name));
        self.faults.extend(said.fault(table, &format!("{name}: {case}"), said.names_table(table)));
        true
    }

    fn change(&mut self, name: &str, table: &str, sql: &str) {
        let case = sql.to_owned();
        assert!(
            self.try_change(name, table, &case, |connection| connection.execute(sql, [])),
            "nothing was changed: {sql}"
        );
    }

    fn end(&self, least: usize) {
        none_of(&self.faults, self.count, least);
    }
}

#[test]
fn a_deleted_row_is_found_and_named() {
    let mut cases = Cases::new();
    for name in scene().runs.keys() {
        for row in rows_of(&scene().copy().open(), scene().ids(name)) {
            let sql = format!("DELETE FROM {} WHERE {}", row.table, row.condition(1));
            assert!(cases.try_change(name, &row.table, &row.label(), |connection| {
                connection.execute(&sql, params_from_iter(&row.values))
            }));
        }
    }
    cases.end(60);
}

/// Inserts a copy of a row with one column changed.
fn duplicate(connection: &Connection, row: &RowKey, column: &str, value: &str) -> rusqlite::Result<usize> {
    let columns = columns(connection, &row.table);
    let values: Vec<&str> = columns.iter().map(|name| if name == column { value } else { name.as_str() }).collect();
    let mut sql = format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} WHERE {}",
        row.table,
        columns.join(", "),
        values.join(", "),
        row.table,
        row.condition(1)
    );
    if row.table == "transitions" && column == "first_seq" {
        sql = sql.replacen("SELECT first_leaf", "SELECT first_leaf + 100000", 1);
    }
    connection.execute(&sql, params_from_iter(&row.values))
}

#[test]
fn a_row_that_is_there_twice_is_found_and_named() {
    let mut cases = Cases::new();
    for name in scene().runs.keys() {
        for row in rows_of(&scene().copy().open(), scene().ids(name)) {
            let twins: &[(&str, &str)] = match row.table.as_str() {
                "aos_traces" => &[("trace_id", "trace_id || 'x'"), ("tenant_id", "'ghost'")],
                "aos_trace_steps" => {
                    &[("step_index", "step_index + 100"), ("tenant_id", "'ghost'"), ("trace_id", "'other'")]
                }
                "erasures" => &[
                    ("seq", "seq + 1"),
                    ("field", "'plan'"),
                    ("part_index", "part_index + 1"),
                    ("tenant_id", "'ghost'"),
                ],
                "transitions" => &[("first_seq", "first_seq + 1000")],
                _ => &[("tenant_id", "'ghost'")],
            };
            for (column, value) in twins {
                let case = format!("{} again with {column} = {value}", row.label());
                assert!(
                    cases.try_change(name, &row.table, &case, |connection| duplicate(connection, &row, column, value)),
                    "{case}"
                );
            }
        }
    }
    cases.end(80);
}

fn swap(connection: &Connection, first: &RowKey, second: &RowKey, column: &str) -> rusqlite::Result<usize> {
    let (tenant, parking) = (Cell::Text("parked".to_owned()), Cell::Integer(-7));
    let read = |row: &RowKey| -> rusqlite::Result<Cell> {
        let sql = format!("SELECT {column} FROM {} WHERE {}", row.table, row.condition(1));
        connection.query_row(&sql, params_from_iter(&row.values), |row| row.get(0))
    };
    let write = |row: &RowKey, value: &Cell| {
        let sql = format!("UPDATE {} SET {column} = ?1 WHERE {}", row.table, row.condition(2));
        connection.execute(&sql, params_from_iter(std::iter::once(value).chain(&row.values)))
    };
    let (one, two) = (read(first)?, read(second)?);
    if one == two {
        return Ok(0);
    }
    let parked = if matches!(one, Cell::Integer(_)) { parking } else { tenant };
    write(first, &parked)?;
    write(second, &one)?;
    // The key of the first row may be what was parked.
    let at = first.columns.iter().position(|key| key == column);
    let mut moved = first.clone();
    if let Some(at) = at {
        moved.values[at] = parked;
    }
    write(&moved, &two)
}

#[test]
fn rows_in_another_order_are_found_and_named() {
    let mut cases = Cases::new();
    for name in ["mixed", "other", "resolved", "cancelled", "graph"] {
        let all = rows_of(&scene().copy().open(), scene().ids(name));
        for (table, columns) in [
            ("aos_trace_steps", &["step_index", "skill_name", "duration_us", "step_id"][..]),
            ("transitions", &["first_seq", "first_leaf", "events", "payloads", "stream"][..]),
        ] {
            let rows: Vec<&RowKey> = all.iter().filter(|row| row.table == table).collect();
            for (index, pair) in rows.windows(2).enumerate() {
                for column in columns {
                    let case = format!("{column} of {table} {index} and {} swapped", index + 1);
                    cases.try_change(name, table, &case, |connection| swap(connection, pair[0], pair[1], column));
                }
            }
        }
    }
    cases.end(60);
}

#[test]
fn rows_swapped_between_runs_and_tenants_are_found_in_both() {
    let mut cases = Cases::new();
    let pairs =
        [("mixed", "failed"), ("failed", "cancelled"), ("mixed", "other"), ("resolved", "erased"), ("graph", "mixed")];
    for (first, second) in pairs {
        let (one, two) = (scene().ids(first), scene().ids(second));
        let pairs: &[(&str, &[&str])] = &[
            ("runs", &["id", "goal", "run_no", "plan_json", "agent_id", "trace_id", "tenant_id", "created_at"]),
            ("aos_traces", &["run_id", "trace_id", "status", "metadata", "tenant_id"]),
            ("run_seals", &["run_id", "run_root", "seal_hash", "event_count", "tenant_id"]),
            ("transitions", &["events", "payloads", "stream", "first_leaf", "tenant_id"]),
        ];
        let connection = scene().copy().open();
        let (ours, theirs) = (rows_of(&connection, one), rows_of(&connection, two));
        for (table, columns) in pairs {
            let of = |rows: &[RowKey]| rows.iter().rfind(|row| row.table == *table).cloned().unwrap();
            let (mine, yours) = (of(&ours), of(&theirs));
            for column in *columns {
                for name in [first, second] {
                    let case = format!("{table}.{column} swapped between {first} and {second}");
                    cases.try_change(name, table, &case, |connection| swap(connection, &mine, &yours, column));
                }
            }
        }
    }
    cases.end(100);
}

#[test]
fn everything_of_two_runs_swapped_is_found_in_both() {
    for (first, second) in [("mixed", "failed"), ("mixed", "other"), ("graph", "mixed")] {
        let ((tenant, one), (other, two)) = (scene().ids(first), scene().ids(second));
        let mut sql = String::new();
        for (table, column, prefix) in [
            ("runs", "id", ""),
            ("aos_traces", "run_id", ""),
            ("aos_traces", "trace_id", "trace_"),
            ("aos_trace_steps", "run_id", ""),
            ("aos_trace_steps", "trace_id", "trace_"),
            ("run_seals", "run_id", ""),
            ("transitions", "stream", "run/"),
        ] {
            for (from, to) in [
                (format!("{prefix}{one}"), "parked".to_owned()),
                (format!("{prefix}{two}"), format!("{prefix}{one}")),
                ("parked".to_owned(), format!("{prefix}{two}")),
            ] {
                sql.push_str(&format!("UPDATE {table} SET {column} = '{to}' WHERE {column} = '{from}';"));
            }
        }
        for table in ["runs", "aos_traces", "aos_trace_steps", "run_seals"] {
            let column = if table == "runs" { "id" } else { "run_id" };
            sql.push_str(&format!("UPDATE {table} SET tenant_id = iif({column} = '{one}', '{tenant}', '{other}') WHERE {column} IN ('{one}', '{two}');"));
        }
        sql.push_str(&format!("UPDATE transitions SET tenant_id = iif(stream = 'run/{one}', '{tenant}', '{other}') WHERE stream IN ('run/{one}', 'run/{two}');"));
        let copy = scene().copy();
        copy.open()
            .execute_batch(&format!("DROP TABLE IF EXISTS none; {}", sql.replace("UPDATE", "UPDATE OR IGNORE")))
            .unwrap();
        for ids in [(tenant, one), (other, two)] {
            let said = copy.prove(ids);
            assert_eq!(said.word(), "TAMPERED", "{:?}", said.places());
            assert!(said.places().iter().any(|place| place == "$.stream"), "{:?}", said.places());
        }
    }
}

/// Writes the rows that the events that are left call for, as somebody would who wants to hide the cut.
fn align_rows(connection: &Connection, (tenant, run_id): (&str, &str), log: &str) {
    let sql = "SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads FROM transitions WHERE stream = ?1 ORDER BY first_seq";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([format!("run/{run_id}")], |row| {
        Ok(runproof_store::TransitionRow {
            first_leaf: Some(row.get(0)?),
            arrival: None,
            tenant: row.get(1)?,
            stream: row.get(2)?,
            first_seq: row.get(3)?,
            event_count: row.get(4)?,
            events: row.get(5)?,
            payloads: row.get(6)?,
        })
    });
    let transitions: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    let run = runproof_store::fold(log, tenant, run_id, &transitions).unwrap().unwrap();
    connection.execute("DELETE FROM run_seals WHERE run_id = ?1", [run_id]).unwrap();
    connection
        .execute("DELETE FROM aos_trace_steps WHERE run_id = ?1 AND step_index >= ?2", (run_id, run.steps.len()))
        .unwrap();
    for row in [projection::run_row(&run), projection::trace_row(&run)] {
        let key = if row.table == "runs" { "id" } else { "run_id" };
        for (column, cell) in &row.cells {
            let value = match cell {
                projection::Cell::Null => Cell::Null,
                projection::Cell::Int(number) => Cell::Integer(*number),
                projection::Cell::Text(text) => Cell::Text(text.clone()),
            };
            connection
                .execute(&format!("UPDATE {} SET {column} = ?1 WHERE {key} = ?2", row.table), (value, run_id))
                .unwrap();
        }
    }
}

#[test]
fn a_cut_tail_is_found_and_named_and_is_not_verified_even_when_the_rows_are_made_to_fit() {
    let copy = scene().copy();
    let log: String = copy.open().query_row("SELECT origin FROM ledger", [], |row| row.get(0)).unwrap();
    for name in ["mixed", "failed", "resolved", "other", "graph"] {
        let ids = scene().ids(name);
        let stream = format!("run/{}", ids.1);
        let count: i64 = copy
            .open()
            .query_row("SELECT count(*) FROM transitions WHERE stream = ?1", [&stream], |row| row.get(0))
            .unwrap();
        for cut in 1..count {
            let sql = "DELETE FROM transitions WHERE first_leaf IN (SELECT first_leaf FROM transitions WHERE stream = ?1 ORDER BY first_seq DESC LIMIT ?2)";
            copy.reset(&scene().database);
            copy.open().execute(sql, (&stream, cut)).unwrap();
            let said = copy.prove(ids);
            assert_eq!(
                (said.word(), said.names_table("transitions")),
                ("TAMPERED", true),
                "{name} -{cut}: {:?}",
                said.places()
            );
            align_rows(&copy.open(), ids, &log);
            let said = copy.prove(ids);
            assert!(
                matches!(said.word(), "OPEN" | "UNSUPPORTED"),
                "{name} -{cut}: {} {:?}",
                said.word(),
                said.places()
            );
            assert_eq!(said.places(), ["run.sealed"], "nothing but the end is missing");
        }
        copy.reset(&scene().database);
    }
}

fn delete_run(connection: &Connection, run_id: &str) {
    for (table, column) in [
        ("runs", "id"),
        ("aos_traces", "run_id"),
        ("aos_trace_steps", "run_id"),
        ("run_seals", "run_id"),
        ("erasures", "run_id"),
    ] {
        connection.execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), [run_id]).unwrap();
    }
    connection.execute("DELETE FROM transitions WHERE stream = 'run/' || ?1", [run_id]).unwrap();
}

#[test]
fn a_run_whose_rows_are_all_gone_is_missing_where_the_tenant_knows_it_and_else_not_found() {
    for name in scene().runs.keys() {
        let ids = scene().ids(name);
        let copy = scene().copy();
        delete_run(&copy.open(), ids.1);
        let Said::Report(report) = copy.prove(ids) else { panic!("{name}: no report") };
        let finding = report.decisive().unwrap();
        assert_eq!(
            (report.verdict().word(), finding.code.word(), finding.place.as_str()),
            ("INCOMPLETE", "run.missing", "transitions")
        );
        copy.open().execute("DELETE FROM transitions WHERE instr(events, ?1) > 0", [ids.1]).unwrap();
        assert_eq!(copy.prove(ids).word(), "not found", "{name}");
    }
}

#[test]
fn a_deleted_last_run_rolls_the_log_back_for_every_other_run() {
    let copy = scene().copy();
    let (_, last) = scene().ids("other");
    let connection = copy.open();
    delete_run(&connection, last);
    connection.execute("DELETE FROM transitions WHERE instr(events, ?1) > 0", [last]).unwrap();
    let size: i64 =
        connection.query_row("SELECT max(first_leaf + event_count) FROM transitions", [], |row| row.get(0)).unwrap();
    connection.execute("DELETE FROM checkpoints WHERE size > ?1", [size]).unwrap();
    connection
        .execute(
            "UPDATE ledger_tiles SET hashes = substr(hashes, 1, (?1 % 256) * 32) WHERE level = 0 AND tile = ?1 / 256",
            [size],
        )
        .unwrap();
    for name in ["mixed", "failed", "cancelled", "resolved"] {
        let said = copy.prove(scene().ids(name));
        assert_eq!(said.word(), "ROLLED_BACK", "{name}: {:?}", said.places());
    }
}

#[test]
fn an_older_copy_of_the_database_is_rolled_back() {
    let scene = scene();
    let copy = Copy::new(&scene.older, &scene.trust);
    assert_eq!(copy.prove(scene.ids("mixed")).word(), "ROLLED_BACK");
    assert_eq!(copy.prove(scene.ids("failed")).word(), "not found");
}

#[test]
fn a_changed_checkpoint_is_found_and_named() {
    let copy = scene().copy();
    let note: String =
        copy.open().query_row("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1", [], |row| row.get(0)).unwrap();
    let ids = scene().ids("mixed");
    let judge = |note: &str, case: &str| {
        copy.reset(&scene().database);
        copy.open()
            .execute("UPDATE checkpoints SET note = ?1 WHERE size = (SELECT max(size) FROM checkpoints)", [note])
            .unwrap();
        let said = copy.prove(ids);
        assert_ne!(said.word(), "VERIFIED", "{case}");
        let named = said.places().iter().any(|place| place.starts_with("checkpoint"));
        assert!(named, "{case}: {} {:?}", said.word(), said.places());
    };
    for at in 0..note.len() {
        if !note.is_char_boundary(at) || !note.is_char_boundary(at + 1) {
            continue;
        }
        let other = if &note[at..=at] == "1" { "2" } else { "1" };
        judge(&format!("{}{other}{}", &note[..at], &note[at + 1..]), &format!("byte {at}"));
    }
    judge("", "empty");
    judge(&note.replace('\n', "\r\n"), "other line ends");
    judge(&note[..note.len() - 1], "cut");
    let older: String =
        copy.open().query_row("SELECT note FROM checkpoints ORDER BY size LIMIT 1", [], |row| row.get(0)).unwrap();
    judge(&older, "an older note in the newest row");
}

#[test]
fn deleted_checkpoints_are_found() {
    let copy = scene().copy();
    copy.execute("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)");
    let said = copy.prove(scene().ids("mixed"));
    assert_eq!(said.word(), "ROLLED_BACK", "{:?}", said.places());
    copy.execute("DELETE FROM checkpoints");
    let said = copy.prove(scene().ids("mixed"));
    assert_eq!(said.word(), "ROLLED_BACK", "{:?}", said.places());
    let kept = scene().trust.clone();
    let stranger = Trust { heads: Vec::new(), ..kept };
    let said = Copy::new(&std::fs::read(copy.path()).unwrap(), &stranger).prove(scene().ids("mixed"));
    assert_eq!(said.word(), "UNANCHORED", "who knows no head cannot know more: {:?}", said.places());
}

#[test]
fn a_changed_hash_tile_is_found_and_named() {
    let mut cases = Cases::new();
    let connection = scene().copy().open();
    let sql = "SELECT min(first_leaf), max(first_leaf + event_count - 1) FROM transitions WHERE stream = 'run/' || ?1";
    let (first, last): (i64, i64) =
        connection.query_row(sql, [scene().ids("failed").1], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert!(first > 256, "the tree has a second level");
    for at in first % 256 - 3..=last % 256 + 1 {
        let case = format!("a bit of the hash of leaf {}", first / 256 * 256 + at);
        let flip = |connection: &Connection| {
            let mut hashes: Vec<u8> = connection.query_row(
                "SELECT hashes FROM ledger_tiles WHERE level = 0 AND tile = ?1",
                [first / 256],
                |row| row.get(0),
            )?;
            hashes[usize::try_from(at * 32 + 5).unwrap()] ^= 1;
            connection
                .execute("UPDATE ledger_tiles SET hashes = ?2 WHERE level = 0 AND tile = ?1", (first / 256, hashes))
        };
        assert!(cases.try_change("failed", "ledger_tiles", &case, flip));
    }
    for change in [
        "UPDATE ledger_tiles SET hashes = zeroblob(32) WHERE level = 1",
        "UPDATE ledger_tiles SET hashes = substr(hashes, 1, length(hashes) - 32) WHERE level = 0 AND tile = 1",
        "UPDATE ledger_tiles SET hashes = substr(hashes, 1, length(hashes) - 1) WHERE level = 0 AND tile = 1",
        "UPDATE ledger_tiles SET hashes = x'' WHERE level = 0 AND tile = 1",
        "DELETE FROM ledger_tiles WHERE level = 0 AND tile = 1",
        "DELETE FROM ledger_tiles WHERE level = 1",
        "DELETE FROM ledger_tiles",
        "UPDATE ledger_tiles SET tile = tile + 5 WHERE level = 0 AND tile = 1",
        "UPDATE ledger_tiles SET level = level + 5 WHERE level = 1",
    ] {
        cases.change("failed", "ledger_tiles", change);
    }
    cases.end(12);
}

#[test]
fn a_changed_schema_is_found_and_named() {
    let copy = scene().copy();
    for (change, table, column) in [
        ("ALTER TABLE aos_trace_steps ADD COLUMN note TEXT", "aos_trace_steps", "note"),
        ("ALTER TABLE runs ADD COLUMN note TEXT", "runs", "note"),
        ("ALTER TABLE run_seals RENAME COLUMN unknown TO known", "run_seals", "unknown"),
        ("ALTER TABLE aos_traces DROP COLUMN archived_at", "aos_traces", "archived_at"),
    ] {
        copy.reset(&scene().database);
        copy.execute(change);
        let said = copy.prove(scene().ids("mixed"));
        assert_eq!((said.word(), said.names(table, column)), ("TAMPERED", true), "{change}: {:?}", said.places());
    }
}

/// Rewrites the history of a run as somebody can who has everything but the key: events, links, seal, tiles and rows.
#[test]
fn a_history_rewritten_with_everything_but_the_key_is_found() {
    let copy = scene().copy();
    let (tenant, run_id) = scene().ids("failed");
    let connection = copy.open();
    let log: String = connection.query_row("SELECT origin FROM ledger", [], |row| row.get(0)).unwrap();
    let mut statement = connection
        .prepare("SELECT first_leaf, events FROM transitions WHERE stream = 'run/' || ?1 ORDER BY first_seq")
        .unwrap();
    let rows: Vec<(i64, String)> =
        statement.query_map([run_id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let (mut prev, mut hashes) = (Hash::ZERO, Vec::new());
    for (first_leaf, events) in rows {
        let mut lines = Vec::new();
        for (index, line) in events.lines().enumerate() {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["prev"] = json!(prev);
            if event["kind"] == "run.created" {
                event["body"]["origin_system_id"] = json!("somebody-else");
            }
            if event["kind"] == "run.sealed" {
                event["body"]["run_root"] = json!(merkle::root(&hashes));
            }
            let bytes = runproof_proof::canonical::to_bytes(&event).unwrap();
            prev = leaf(&bytes);
            hashes.push(prev);
            lines.push(String::from_utf8(bytes).unwrap());
            let at = first_leaf + i64::try_from(index).unwrap();
            let sql = "UPDATE ledger_tiles SET hashes = CAST(substr(hashes, 1, ?1) || ?2 || substr(hashes, ?1 + 33) AS BLOB) WHERE level = 0 AND tile = ?3";
            connection.execute(sql, (at % 256 * 32, prev.0.to_vec(), at / 256)).unwrap();
        }
        connection
            .execute("UPDATE transitions SET events = ?2 WHERE first_leaf = ?1", (first_leaf, lines.join("\n")))
            .unwrap();
    }
    let seal: (String, String) = (merkle::root(&hashes[..hashes.len() - 1]).hex(), prev.hex());
    connection
        .execute("UPDATE run_seals SET run_root = ?2, seal_hash = ?3 WHERE run_id = ?1", (run_id, seal.0, seal.1))
        .unwrap();
    let row: Vec<Cell> = connection
        .query_row("SELECT status, reason, event_count, step_count, run_root, seal_hash, attempts, cost_microcents, duration_us, resolved, unknown, sealed_at FROM run_seals WHERE run_id = ?1", [run_id], |row| {
            (0..12).map(|index| row.get(index)).collect()
        })
        .unwrap();
    align_rows(&connection, (tenant, run_id), &log);
    let values = std::iter::once(Cell::Text(tenant.to_owned())).chain([Cell::Text(run_id.to_owned())]).chain(row);
    connection
        .execute(
            "INSERT INTO run_seals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            params_from_iter(values),
        )
        .unwrap();
    drop(statement);
    drop(connection);
    let said = copy.prove((tenant, run_id));
    assert_eq!(said.word(), "TAMPERED", "{:?}", said.places());
    let all = said.places();
    let signed =
        |place: &String| place == "tlog-proof" || place == "consistency" || place.starts_with("ledger_tiles.hashes");
    assert!(all.iter().all(signed), "only the key was missing: {all:?}");
}

#[test]
fn an_erased_value_is_verified_with_its_record_and_listed_as_not_shown() {
    let copy = scene().copy();
    let Said::Report(report) = copy.prove(scene().ids("erased")) else { panic!("no report") };
    assert_eq!(report.verdict().word(), "VERIFIED");
    let listed = report.does_not_show().join("\n");
    assert!(listed.contains("2 withheld values (2 of them erased, with a record)"), "{listed}");
}

#[test]
fn an_erased_goal_and_plan_are_gone_from_the_tables_and_the_run_is_still_verified() {
    let home = Home::initialised();
    let step = json!([{ "id": "note", "skill": "json_transform", "with": { "payload": { "x": "the plan of the unwise" }, "mapping": { "y": "x" } } }]);
    let (_, run) = home.run_plan(step, &["--goal", "the goal of the unwise"]);
    let id = text(&run["run_id"]);
    for (kind, field) in
        [("run.created", "goal"), ("run.planned", "plan"), ("step.intended", "params"), ("step.returned", "output")]
    {
        let seq = seq_of(&home.open(), &id, kind);
        erase(&home, &id, seq, field, None).unwrap();
    }
    assert_eq!(home.sql("SELECT goal IS NULL, plan_json IS NULL FROM runs"), [["1", "1"]]);
    assert!(!home.dump().contains("unwise"));
    let path = home.path("erased.runproof");
    let (code, proof) = home.run_json(&["proof", &id, "--tenant-id", TENANT, "--bundle", &path]);
    assert_eq!((code, &proof["verdict"]), (0, &json!("VERIFIED")), "{:#}", proof["findings"]);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("unwise"));
    assert_eq!(home.ok(&["verify", &path, "--key", &home.vkey()])["verdict"], "VERIFIED");
}

#[test]
fn a_value_removed_without_a_record_and_one_put_back_in_spite_of_it_are_found() {
    let home = Home::initialised();
    let (_, run) = home.run_plan(sample_steps(), &[]);
    let id = text(&run["run_id"]);
    let seq = seq_of(&home.open(), &id, "step.intended");
    let sql = "SELECT first_leaf, payloads FROM transitions WHERE stream = 'run/' || ?1 AND first_seq <= ?2 AND first_seq + event_count > ?2";
    let before: (i64, String) = home.open().query_row(sql, (&id, seq), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let refused = home.sqlite3(&format!("UPDATE transitions SET payloads = '' WHERE first_leaf = {}", before.0));
    assert!(refused.stderr.contains("S6_IMMUTABILITY_VIOLATION: transitions is append-only"), "{refused:?}");
    erase(&home, &id, seq, "params", None).unwrap();
    assert_eq!(home.proof(&run).0, 0);
    let again = erase(&home, &id, seq, "params", None);
    assert!(again.is_err(), "a value is erased once");
    // Put back, which the trigger permits because a record exists.
    home.open().execute("UPDATE transitions SET payloads = ?2 WHERE first_leaf = ?1", before).unwrap();
    let (code, proof) = home.proof(&run);
    assert_eq!(
        (code, &proof["findings"][0]["expected"]),
        (20, &json!("no value: it was erased")),
        "{:#}",
        proof["findings"]
    );
    // Taken away where no record says so.
    let copy = Copy::new(&snapshot(&home), &home.home().trust().unwrap());
    let whole = "UPDATE transitions SET payloads = '{\"parts\":{}}' WHERE payloads LIKE '{\"seed\"%' AND instr(payloads, char(10)) = 0 AND stream LIKE 'run/%'";
    assert!(copy.open().execute(whole, []).unwrap() > 0);
    let said = copy.prove((TENANT, &id));
    assert_eq!((said.word(), said.names("transitions", "payloads")), ("TAMPERED", true), "{:?}", said.places());
}

#[test]
fn the_program_says_where_a_digit_was_changed() {
    let home = Home::initialised();
    let (_, run) = home.run_plan(sample_steps(), &[]);
    let copy = home.folder().join("copy.db");
    std::fs::write(&copy, snapshot(&home)).unwrap();
    Connection::open(&copy)
        .unwrap()
        .execute("UPDATE aos_trace_steps SET cost_microcents = 42 WHERE step_id = 'sum'", [])
        .unwrap();
    let elsewhere = home.with("DATABASE_URL", &format!("sqlite://{}", copy.display()));
    let (code, proof) = elsewhere.proof(&run);
    let finding = &proof["findings"][0];
    assert_eq!((code, &proof["verdict"], &proof["verification_status"]), (20, &json!("TAMPERED"), &json!("FAILED")));
    assert_eq!(proof["findings"].as_array().unwrap().len(), 1);
    assert!(text(&finding["place"]).starts_with("aos_trace_steps.cost_microcents["), "{finding}");
    assert_eq!(
        (&finding["code"], &finding["expected"], &finding["got"]),
        (&json!("row.changed"), &json!("0"), &json!("42"))
    );
    let page = elsewhere.run(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT]);
    assert_eq!(page.code, 20);
    for words in ["TAMPERED", "aos_trace_steps.cost_microcents[", "expected", "42"] {
        assert!(page.stdout.contains(words), "{words}: {}", page.stdout);
    }
}

#[test]
fn a_database_restored_from_before_is_named_by_proof_and_refused_by_the_engine() {
    let home = Home::initialised();
    let (_, run) = home.run_goal("the first", &[]);
    let older = snapshot(&home);
    home.run_goal("the second", &[]);
    for name in ["runproof.db-wal", "runproof.db-shm"] {
        std::fs::remove_file(home.folder().join(name)).ok();
    }
    std::fs::write(home.database(), older).unwrap();
    assert_eq!(home.proof(&run).0, 22);
    let refused = home.run(&["run", "--tenant-id", TENANT, "--agent-id", "scout", "--goal", "the third", "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (8, "store.rolled_back"));
}

#[test]
fn an_older_database_goes_on_once_the_loss_is_on_record() {
    let home = Home::initialised();
    home.run_goal("the first", &[]);
    let older = snapshot(&home);
    let lost = home.run_goal("the second", &[]).1;
    let newer = home.file("newer", &text(&home.ok(&["log", "checkpoint"])["checkpoint"]));
    let size = home.ok(&["log", "verify"])["tree_size"].as_u64().unwrap();
    let acknowledge =
        |size: u64| home.run(&["log", "acknowledge-rollback", "--lost-size", &size.to_string(), "--json"]);
    assert_eq!(acknowledge(size).error_code(), "store.not_rolled_back");
    for name in ["runproof.db-wal", "runproof.db-shm"] {
        std::fs::remove_file(home.folder().join(name)).ok();
    }
    std::fs::write(home.database(), older).unwrap();
    assert_eq!(acknowledge(size + 1).error_code(), "usage.argument", "who acknowledges knows what is lost");
    assert_eq!(acknowledge(size).code, 0);
    assert_eq!(acknowledge(size).error_code(), "usage.argument", "from now on the newest checkpoint is another one");
    let (code, run) = home.run_goal("the third", &[]);
    assert_eq!((code, text(&run["proof"]["verdict"])), (0, "VERIFIED".to_owned()), "{run:#}");
    let whole = home.ok(&["log", "verify"]);
    assert_eq!(text(&whole["verdict"]), "VERIFIED");
    let record = home.sql("SELECT events FROM transitions WHERE stream = 'log' ORDER BY first_seq DESC LIMIT 1");
    assert!(record[0][0].contains(&format!("\"lost_size\":{size}")), "{record:?}");
    assert_eq!(home.proof(&lost).0, 2, "what was lost is not found");
    // Whoever kept the newer head is not told otherwise.
    let since = home.run(&["log", "consistency", &newer, "--json"]);
    assert!([21, 22].contains(&since.code), "{since:?}");
}

#[test]
fn a_run_of_another_tenant_stays_out_of_reach_by_its_id() {
    let (_, run_id) = scene().ids("mixed");
    assert_eq!(scene().copy().prove((OTHER, run_id)).word(), "not found");
}
