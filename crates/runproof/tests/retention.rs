//! Runs on their way out, as the operator sees it: archived, held, purged, and proved all the while. On both stores.

use std::sync::Arc;

use runproof::app::local_actor;
use runproof::retention::{Wanted, archive};
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use runproof_store::sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::cluster::{Database, connect, fresh_database};
use crate::support::{AGENT, Home, TENANT, runtime, text};

/// A home over one of the stores.
struct Scene {
    home: Home,
    postgres: Option<Database>,
}

impl Scene {
    fn sqlite() -> Self {
        Self { home: Home::initialised(), postgres: None }
    }

    fn postgres(url: impl Fn(&Database) -> String) -> Self {
        let database = fresh_database();
        let home = Home::empty().with("DATABASE_URL", &url(&database));
        let migrated = home.command(&["migrate"]).env("DB_ROLE", "staging").env("DB_AUTHORITY", "local").output();
        assert!(migrated.unwrap().status.success());
        home.ok(&["init"]);
        home.ok(&["create-tenant", "--id", TENANT]);
        home.ok(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]);
        Self { home, postgres: Some(database) }
    }

    /// A statement past the program; what the database says when it refuses.
    fn sql(&self, statement: &str) -> Result<(), String> {
        let Some(database) = &self.postgres else {
            return self.home.open().execute_batch(statement).map_err(|error| error.to_string());
        };
        runtime().block_on(async {
            let client = connect(&database.direct_url()).await.unwrap();
            client.batch_execute(statement).await.map_err(|error| error.as_db_error().unwrap().message().to_owned())
        })
    }

    /// A statement that no trigger stops.
    fn forge(&self, table: &str, statement: &str) {
        let off = match &self.postgres {
            Some(_) => format!("ALTER TABLE {table} DISABLE TRIGGER {table}_update"),
            None => format!("DROP TRIGGER {table}_update"),
        };
        self.sql(&off).unwrap();
        self.sql(statement).unwrap();
        if self.postgres.is_some() {
            self.sql(&format!("ALTER TABLE {table} ENABLE TRIGGER {table}_update")).unwrap();
        }
    }

    fn number(&self, query: &str) -> i64 {
        let Some(database) = &self.postgres else {
            return self.home.open().query_row(query, [], |row| row.get(0)).unwrap();
        };
        runtime().block_on(async {
            let client = connect(&database.direct_url()).await.unwrap();
            client.query_typed_one(query, &[]).await.unwrap().get(0)
        })
    }

    fn run(&self) -> String {
        let (code, run) = self.home.run_goal("say hello", &[]);
        assert_eq!(code, 0, "{run:#}");
        text(&run["run_id"])
    }

    fn tenant(&self, arguments: &[&str]) -> (i32, Value) {
        self.home.run_json(&[arguments, &["--tenant-id", TENANT]].concat())
    }

    fn ok(&self, arguments: &[&str]) -> Value {
        let (code, value) = self.tenant(arguments);
        assert_eq!(code, 0, "{arguments:?}: {value:#}");
        value
    }

    fn refused(&self, arguments: &[&str], error: &str) {
        let (code, value) = self.tenant(arguments);
        assert_eq!((code, text(&value["error"]["code"]).as_str()), (7, error), "{arguments:?}: {value:#}");
    }

    /// Rows of a run in the tables of runs.
    fn rows(&self, run: &str) -> i64 {
        let count = |table: &str, column: &str, value: &str| {
            self.number(&format!("SELECT count(*) FROM {table} WHERE {column} = '{value}'"))
        };
        count("transitions", "stream", &format!("run/{run}"))
            + count("runs", "id", run)
            + count("aos_traces", "run_id", run)
            + count("aos_trace_steps", "run_id", run)
            + count("run_seals", "run_id", run)
    }

    fn log_verify(&self) -> (i32, Value) {
        self.home.run_json(&["log", "verify"])
    }

    fn places(report: &Value) -> String {
        format!("{:#}", report["findings"])
    }
}

/// The whole way of a run.
fn a_run_leaves_in_two_steps(scene: &Scene) {
    let (one, other) = (scene.run(), scene.run());
    scene.refused(&["archive", "--run", &one], "run.too_young");
    scene.ok(&["hold", &one, "--reason", "lawsuit 4711"]);
    scene.refused(&["archive", "--run", &one, "--min-age", "0"], "run.held");
    assert_eq!(scene.ok(&["archive", "--older-than", "0", "--min-age", "0", "--dry-run"])["runs"], json!([one, other]));
    let done = scene.ok(&["archive", "--older-than", "0", "--min-age", "0"]);
    assert_eq!(done["archived"], json!([other]));
    assert_eq!(
        (text(&done["skipped"][0]["run_id"]), text(&done["skipped"][0]["code"])),
        (one.clone(), "run.held".into())
    );
    assert_eq!(text(&scene.ok(&["holds"])["holds"][0]["reason"]), "lawsuit 4711");
    scene.ok(&["release-hold", &one, "--reason", "settled"]);
    assert_eq!(scene.ok(&["holds"])["holds"], json!([]));
    scene.ok(&["archive", "--run", &one, "--min-age", "0"]);

    for run in [&one, &other] {
        assert_eq!(scene.rows(run), 0, "rows of an archived run");
        let bundle = scene.home.path("run.runproof");
        let proof = scene.ok(&["proof", run, "--bundle", &bundle]);
        assert!(proof["verdict"] == "VERIFIED" && proof["archived_at"].is_string(), "{proof:#}");
        let offline = scene.home.ok(&["verify", &bundle, "--key", &scene.home.vkey()]);
        assert_eq!(offline["verdict"], "VERIFIED");
        assert_eq!(scene.ok(&["get-run", run])["status"], "succeeded");
    }
    let listed = scene.ok(&["list-runs"]);
    assert_eq!((&listed["runs"], &listed["archived"]), (&json!([]), &json!(2)));
    assert_eq!(scene.ok(&["list-runs", "--all"])["kept"].as_array().unwrap().len(), 2);
    assert_eq!(text(&scene.ok(&["last"])["proof"]["run_id"]), other);
    scene.refused(&["archive", "--run", &one, "--min-age", "0"], "run.archived");
    let (code, report) = scene.log_verify();
    assert_eq!((code, &report["checked"]["archived_runs"]), (0, &json!(2)), "{report:#}");
    assert!(report["checked"]["archived_leaves"].as_u64() > Some(8), "{report:#}");

    scene.refused(&["purge", "--run", &one], "run.too_young");
    scene.ok(&["hold", &one, "--reason", "once more"]);
    scene.refused(&["purge", "--run", &one, "--min-age", "0"], "run.held");
    scene.ok(&["release-hold", &one, "--reason", "settled"]);
    scene.ok(&["purge", "--run", &one, "--min-age", "0"]);
    let (code, proof) = scene.tenant(&["proof", &one]);
    assert_eq!((code, text(&proof["verdict"])), (13, "INCOMPLETE".to_owned()), "{proof:#}");
    assert_eq!(proof["findings"].as_array().unwrap().len(), 1, "{proof:#}");
    assert_eq!(text(&proof["findings"][0]["code"]), "run.purged");
    assert_eq!(
        (text(&proof["run_status"]), text(&proof["anchor"]["level"])),
        ("succeeded".into(), "checkpoint".into())
    );
    let seal = text(&proof["tombstone"]["seal"]);
    assert!(seal.contains("run.sealed") && !seal.contains("say hello"), "{seal}");
    let inclusion = scene.home.file("seal.tlog-proof", &text(&proof["tombstone"]["inclusion_proof"]));
    let leaf = text(&proof["events"][0]["leaf_hash"]);
    let check = ["log", "check", &inclusion, "--leaf", &leaf, "--key", &scene.home.vkey()];
    assert_eq!(scene.home.ok(&check)["verdict"], "VERIFIED");
    scene.refused(&["get-run", &one], "run.gone");
    scene.refused(&["purge", "--run", &one, "--min-age", "0"], "run.gone");
    let (code, report) = scene.log_verify();
    assert_eq!((code, &report["checked"]["purged_runs"]), (0, &json!(1)), "{report:#}");
    assert!(report["checked"]["purged_leaves"].as_u64() > Some(4), "{report:#}");
}

#[test]
fn a_run_leaves_in_two_steps_and_is_proved_all_the_while() {
    a_run_leaves_in_two_steps(&Scene::sqlite());
}

#[test]
fn a_run_leaves_in_two_steps_on_postgres() {
    a_run_leaves_in_two_steps(&Scene::postgres(Database::direct_url));
}

#[test]
fn a_run_leaves_in_two_steps_through_a_pooler() {
    a_run_leaves_in_two_steps(&Scene::postgres(Database::pooled_url));
}

/// Whoever changes what is kept is found, and nothing more of the run is removed.
fn forgeries_are_found(scene: &Scene) {
    let (archived, purged) = (scene.run(), scene.run());
    for run in [&archived, &purged] {
        scene.ok(&["archive", "--run", run, "--min-age", "0"]);
    }
    scene.ok(&["purge", "--run", &purged, "--min-age", "0"]);
    let longer = if scene.postgres.is_some() { "bundle || bundle" } else { "CAST(bundle || bundle AS BLOB)" };
    let cells = [
        ("archives", "bundle", longer.to_owned(), &archived),
        ("archives", "bundle_digest", "'ab'".to_owned(), &archived),
        ("archives", "leaves", "'1-2'".to_owned(), &archived),
        ("archives", "run_no", "run_no + 1".to_owned(), &archived),
        ("archives", "archived_at", "'2001-01-01T00:00:00.000000Z'".to_owned(), &archived),
        ("tombstones", "leaves", "'1-2'".to_owned(), &purged),
        ("tombstones", "run_no", "run_no + 1".to_owned(), &purged),
        ("tombstones", "seal", "replace(seal, 'succeeded', 'cancelled')".to_owned(), &purged),
        ("tombstones", "run_root", "replace(run_root, substr(run_root, 1, 1), '_')".to_owned(), &purged),
        ("tombstones", "purged_at", "'2001-01-01T00:00:00.000000Z'".to_owned(), &purged),
    ];
    scene.sql("CREATE TABLE kept_archives AS SELECT * FROM archives").unwrap();
    scene.sql("CREATE TABLE kept_tombstones AS SELECT * FROM tombstones").unwrap();
    for table in ["archives", "tombstones"] {
        scene.forge(table, "SELECT 1");
    }
    let without_rules = |table: &str, statement: &str| match &scene.postgres {
        Some(_) => scene.forge(table, statement),
        None => scene.sql(statement).unwrap(),
    };
    for (table, column, value, run) in cells {
        without_rules(table, &format!("UPDATE {table} SET {column} = {value}"));
        let (code, proof) = scene.tenant(&["proof", run]);
        assert_eq!(code, 20, "{table}.{column}: {proof:#}");
        assert!(Scene::places(&proof).contains(&format!("{table}.")), "{table}.{column}: {:#}", proof["findings"]);
        let (code, report) = scene.log_verify();
        assert_eq!(code, 20, "{table}.{column}: {report:#}");
        assert!(Scene::places(&report).contains(&format!("{table}.")), "{table}.{column}: {:#}", report["findings"]);
        if table == "archives" {
            scene.refused(&["purge", "--run", run, "--min-age", "0"], "archive.unverified");
        }
        without_rules(table, &format!("UPDATE {table} SET {column} = (SELECT {column} FROM kept_{table})"));
    }
    assert_eq!(scene.log_verify().0, 0);
    assert_eq!(scene.tenant(&["proof", &archived]).0, 0);
}

#[test]
fn a_changed_cell_of_what_is_kept_is_found_and_named() {
    forgeries_are_found(&Scene::sqlite());
}

#[test]
fn a_changed_cell_of_what_is_kept_is_found_and_named_on_postgres() {
    forgeries_are_found(&Scene::postgres(Database::direct_url));
}

/// What the database itself refuses.
fn rows_go_in_order_only(scene: &Scene) {
    let (rows, kept) = (scene.run(), scene.run());
    scene.ok(&["archive", "--run", &kept, "--min-age", "0"]);
    for (table, column, value) in [
        ("aos_trace_steps", "run_id", rows.clone()),
        ("aos_traces", "run_id", rows.clone()),
        ("run_seals", "run_id", rows.clone()),
        ("runs", "id", rows.clone()),
        ("transitions", "stream", format!("run/{rows}")),
        ("transitions", "stream", format!("tenant/{TENANT}")),
        ("archives", "run_id", kept.clone()),
    ] {
        let said = scene.sql(&format!("DELETE FROM {table} WHERE {column} = '{value}'")).expect_err(table);
        assert!(said.contains(table) && !said.contains("syntax"), "{table}: {said}");
    }
    scene.ok(&["purge", "--run", &kept, "--min-age", "0"]);
    for statement in ["DELETE FROM tombstones", "UPDATE tombstones SET run_no = 9"] {
        assert!(scene.sql(statement).expect_err(statement).contains("S6_IMMUTABILITY_VIOLATION"), "{statement}");
    }
    assert_eq!(scene.log_verify().0, 0);
}

#[test]
fn rows_that_have_no_archive_cannot_be_deleted_nor_tombstones_ever() {
    rows_go_in_order_only(&Scene::sqlite());
}

#[test]
fn rows_that_have_no_archive_cannot_be_deleted_nor_tombstones_ever_on_postgres() {
    rows_go_in_order_only(&Scene::postgres(Database::direct_url));
}

#[test]
fn a_run_that_is_not_verified_is_never_removed() {
    for scene in [Scene::sqlite(), Scene::postgres(Database::direct_url)] {
        let (good, bad) = (scene.run(), scene.run());
        let forged = format!("UPDATE aos_trace_steps SET cost_microcents = cost_microcents + 1 WHERE run_id = '{bad}'");
        scene.forge("aos_trace_steps", &forged);
        scene.refused(&["archive", "--run", &bad, "--min-age", "0"], "archive.unverified");
        let (code, done) = scene.tenant(&["archive", "--older-than", "0", "--min-age", "0"]);
        assert_eq!((code, &done["archived"]), (7, &json!([good])), "{done:#}");
        assert_eq!(text(&done["skipped"][0]["run_id"]), bad);
        assert!(scene.rows(&bad) > 4 && scene.rows(&good) == 0);
        assert_eq!(scene.number("SELECT count(*) FROM archives"), 1);
    }
}

#[test]
fn what_a_crash_left_between_the_two_transactions_is_finished_later() {
    for (nth, fault) in [(1, Fault::After), (2, Fault::Before), (2, Fault::After)] {
        let scene = Scene::sqlite();
        let run = scene.run();
        runtime().block_on(async {
            let home = scene.home.home();
            let store = SqliteStore::open_engine(&scene.home.database(), home.notary().unwrap()).unwrap();
            let faulty = Faulty::new(Arc::new(store), FaultPlan::new(nth, fault));
            let wanted = Wanted { tenant: TENANT, run_id: &run, min_age: 0 };
            archive(&faulty, &home.trust().unwrap(), wanted, local_actor()).await.unwrap_err();
        });
        let is_done = (nth, fault) == (2, Fault::After);
        assert_eq!((scene.rows(&run) == 0, scene.number("SELECT count(*) FROM archives")), (is_done, 1));
        assert_eq!(scene.ok(&["proof", &run])["verdict"], "VERIFIED");
        assert_eq!(scene.log_verify().0, 0);
        if !is_done {
            scene.refused(&["purge", "--run", &run, "--min-age", "0"], "run.not_archived");
            assert_eq!(scene.ok(&["archive", "--older-than", "0", "--min-age", "0"])["archived"], json!([run]));
        }
        assert_eq!(scene.rows(&run), 0);
        assert_eq!(scene.ok(&["proof", &run])["verdict"], "VERIFIED");
        assert_eq!(scene.number("SELECT count(*) FROM transitions WHERE events LIKE '%run_archived%'"), 1);
        assert_eq!(scene.log_verify().0, 0);
    }
}
