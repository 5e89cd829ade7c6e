//! `migrate`: the gate, what it shows, and twice at once.

use serde_json::json;

use super::{PASSWORD, Scene, WAYS, Way, ended, ran, started};
use crate::support::{Home, TENANT};

const APPLIED: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";

#[test]
fn the_gate_speaks_as_the_first_system_did_and_nothing_is_applied() {
    let scene = Scene::empty(Way::Pooled);
    for (variables, code, text) in [
        (&[][..], "migrate.role_missing", "DB_ROLE must be set (staging|prod|replica)"),
        (&[("DB_ROLE", "")], "migrate.role_missing", "DB_ROLE must be set (staging|prod|replica)"),
        (&[("DB_ROLE", "dev")], "migrate.role_invalid", "DB_ROLE=dev is not valid. Use: staging|prod|replica"),
        (&[("DB_ROLE", "replica")], "migrate.replica", "DB_ROLE=replica does not allow migrations (read-only)"),
        (
            &[("DB_ROLE", "prod")],
            "migrate.unconfirmed",
            "DB_ROLE=prod requires CONFIRM_PROD_MIGRATIONS=true for safety",
        ),
        (
            &[("DB_ROLE", "prod"), ("CONFIRM_PROD_MIGRATIONS", "yes")],
            "migrate.unconfirmed",
            "DB_ROLE=prod requires CONFIRM_PROD_MIGRATIONS=true for safety",
        ),
    ] {
        let mut command = scene.home.command(&["migrate"]);
        command.envs(variables.iter().copied());
        assert_eq!(scene.refused(&mut command, 7, code), text);
    }
    assert_eq!(scene.number(APPLIED), 0);
}

#[test]
fn a_role_without_a_database_does_not_migrate_the_embedded_store_in_its_place() {
    let home = Home::empty();
    for (role, code, text) in [
        ("staging", "migrate.no_database", "DATABASE_URL must be set for migrations"),
        ("replica", "migrate.replica", "DB_ROLE=replica does not allow migrations (read-only)"),
    ] {
        let ran = ran(home.command(&["migrate", "--json"]).env("DB_ROLE", role));
        assert_eq!(
            (ran.code, &ran.json()["error"]["code"], &ran.json()["error"]["message"]),
            (7, &json!(code), &json!(text))
        );
    }
    assert_eq!(std::fs::read_dir(home.folder()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn the_embedded_store_has_no_gate_and_shows_the_same() {
    let home = Home::initialised();
    home.open().execute("DELETE FROM schema_migrations WHERE version = 4", []).unwrap();
    let (code, status) = home.run_json(&["migrate", "--status"]);
    assert_eq!((code, &status["current"], &status["head"]), (8, &json!("0003"), &json!("0004")));
    let missing = home.ok(&["migrate", "--dry-run"]);
    assert_eq!(missing["would_apply"], json!([{ "version": "0004", "name": "retention" }]));
    let home = Home::initialised();
    assert_eq!(home.ok(&["migrate", "--dry-run"])["would_apply"], json!([]));
    assert_eq!(home.ok(&["migrate"])["at_head"], true);
    assert_eq!(home.ok(&["migrate", "--status"])["at_head"], true);
}

#[test]
fn status_and_dry_run_need_no_gate_and_write_nothing() {
    for way in WAYS {
        let scene = Scene::empty(way);
        let status = scene.ran(&mut scene.home.command(&["migrate", "--status"]));
        assert_eq!(status.code, 8, "{status:?}");
        let status = status.json();
        assert_eq!((&status["current"], &status["head"]), (&json!("none"), &json!("0004")));
        let place = status["database"].as_str().unwrap();
        assert!(place.starts_with("postgres://runproof@127.0.0.1:"), "{place}");
        assert!(status["given_up"][0].as_str().unwrap().contains("superuser"), "{status:#}");

        let missing = scene.ok(&mut scene.home.command(&["migrate", "--dry-run"]));
        let names: Vec<_> = missing["would_apply"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["init", "kv_expiry", "workers", "retention"]);
        let spoken = ran(&mut scene.home.command(&["migrate", "--dry-run", "-v"]));
        assert!(spoken.stdout.contains("would apply 0001_init") && spoken.stdout.contains("CREATE TABLE public.runs"));
        assert_eq!(scene.number(APPLIED), 0, "nothing was written");

        scene.ok(&mut scene.migrating(&[]));
        let status = scene.ok(&mut scene.home.command(&["migrate", "--status"]));
        assert_eq!((&status["current"], &status["missing"]), (&json!("0004"), &json!([])));
        assert_eq!(scene.ok(&mut scene.home.command(&["migrate", "--dry-run"]))["would_apply"], json!([]));
        assert_eq!(scene.sql("SELECT version_num FROM alembic_version;"), [["0004"]]);
    }
}

#[test]
fn before_it_migrates_it_says_what_and_where_without_the_password() {
    let scene = Scene::empty(Way::Direct);
    let mut command = scene.home.command(&["migrate"]);
    command.envs([("DB_ROLE", "prod"), ("DB_AUTHORITY", "neon"), ("CONFIRM_PROD_MIGRATIONS", "true")]);
    let first = ran(&mut command);
    assert_eq!(first.code, 0, "{first:?}");
    let place = scene.url.replace(&format!(":{PASSWORD}"), "");
    let banner =
        format!("migrating {place}\n  role       prod\n  authority  neon\n  current    none\n  head       0004\n");
    assert!(first.stderr.starts_with(&banner), "{}", first.stderr);
    assert!(first.stderr.contains("warning: DB_ROLE=prod, but `127.0.0.1` is this machine"), "{}", first.stderr);
    let again = ran(&mut scene.migrating(&[]));
    assert!(
        again.code == 0 && again.stderr.contains("current    0004") && !again.stderr.contains("warning"),
        "{again:?}"
    );
}

#[test]
fn twice_at_once_is_once() {
    for way in WAYS {
        let scene = Scene::empty(way);
        let children: Vec<_> = (0..4).map(|_| started(&mut scene.migrating(&["--json"]))).collect();
        for child in children {
            let ran = ended(child);
            assert_eq!((ran.code, &ran.json()["current"]), (0, &json!("0004")), "{way:?}: {ran:?}");
        }
        assert_eq!(scene.sql("SELECT version FROM schema_migrations ORDER BY 1"), [["1"], ["2"], ["3"], ["4"]]);
    }
}

#[test]
fn every_command_refuses_another_schema_and_says_what_to_do() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let commands = [
        &["run", "--tenant-id", TENANT, "--agent-id", "scout", "--goal", "g"][..],
        &["worker", "--drain"],
        &["create-tenant", "--id", "other"],
        &["list-runs"],
        &["proof", "r", "--tenant-id", TENANT],
        &["log", "verify"],
        &["init"],
    ];
    let before = scene.rows();
    for (statement, code, hint) in [
        ("DELETE FROM schema_migrations WHERE version = 4", "store.not_migrated", "runproof migrate"),
        ("INSERT INTO schema_migrations VALUES (99, 'later', '', '')", "store.schema", "newer"),
        ("DROP VIEW alembic_version; DROP TABLE schema_migrations", "store.not_migrated", "runproof migrate"),
    ] {
        scene.sql(statement);
        for command in commands {
            scene.refused(&mut scene.home.command(command), 8, code);
            let spoken = ran(&mut scene.home.command(command));
            assert!(spoken.stderr.contains("hint: ") && spoken.stderr.contains(hint), "{command:?}: {spoken:?}");
        }
    }
    assert_eq!(scene.rows(), before, "nothing was written");
}

#[test]
fn a_migration_that_the_server_refuses_says_why_and_applies_nothing() {
    let scene = Scene::empty(Way::Direct);
    scene.sql("CREATE TABLE public.workers (id text)");
    let said = scene.refused(&mut scene.migrating(&[]), 8, "migrate.failed");
    assert!(said.contains("relation \"workers\" already exists"), "{said}");
    assert_eq!(scene.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"), [["workers"]]);
}
