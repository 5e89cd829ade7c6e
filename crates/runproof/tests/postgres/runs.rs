//! The customer's command on Postgres, from the run to a file that somebody else checks.

use serde_json::{Value, json};

use super::{GOAL, Scene, WAYS, Way, ended, ran, started};
use crate::support::{AGENT, Home, Receiver, TENANT, text};

#[test]
fn the_customers_command_is_proved_without_any_worker() {
    for way in WAYS {
        let scene = Scene::empty(way).initialised();
        let run = scene.ok(&mut scene.run_command(&["--origin-system-id", "run-proof-v4"]));
        for (field, expected) in [
            ("run_no", json!(1)),
            ("tenant_id", json!(TENANT)),
            ("agent_id", json!(AGENT)),
            ("origin_system_id", json!("run-proof-v4")),
            ("status", json!("succeeded")),
            ("planner", json!("stub")),
            ("plan_stored", json!(true)),
            ("error", Value::Null),
        ] {
            assert_eq!(run[field], expected, "{way:?} {field}: {run:#}");
        }
        assert_eq!(run["proof"]["verdict"], "VERIFIED", "{way:?}: {:#}", run["proof"]);

        let id = text(&run["run_id"]);
        let listed = scene.ok(&mut scene.home.command(&["list-runs", "--tenant-id", TENANT]));
        assert_eq!(listed["runs"][0]["run_id"], run["run_id"]);
        assert_eq!(scene.ok(&mut scene.home.command(&["list-agents"]))["agents"][0]["id"], AGENT);
        let shown = scene.ok(&mut scene.home.command(&["get-run", &id]));
        for field in ["run_id", "status", "steps", "trace_id", "plan_stored", "duration_ms"] {
            assert_eq!(shown[field], run[field], "get-run shows the same {field}");
        }
        let other = scene.home.command(&["proof", &id, "--tenant-id", "another"]);
        scene.refused(&mut { other }, 2, "run.not_found");
        somebody_else_checks_the_bundle(&scene, &id);
        what_the_reports_ask_is_answered(&scene, &id);
        assert_eq!(scene.every_run_is_whole(), 1);
    }
}

fn somebody_else_checks_the_bundle(scene: &Scene, id: &str) {
    let path = scene.home.path("it.runproof");
    let proof = scene.ok(&mut scene.home.command(&["proof", id, "--tenant-id", TENANT, "--bundle", &path]));
    for (field, expected) in [
        ("integrity_model", json!("HASH_CHAIN")),
        ("verification_status", json!("VERIFIED")),
        ("chain_length", json!(1)),
        ("step_count", json!(1)),
        ("trace_count", json!(1)),
    ] {
        assert_eq!(proof[field], expected, "{field}: {proof:#}");
    }
    let key = scene.home.vkey();
    let stranger = Home::empty(); // no database, no key of its own
    let verified = stranger.ok(&["verify", &path, "--key", &key]);
    assert_eq!((&verified["verdict"], &verified["root_hash"]), (&json!("VERIFIED"), &proof["root_hash"]));
}

/// The SQL of the first system's reports, as it stands there.
fn what_the_reports_ask_is_answered(scene: &Scene, id: &str) {
    let newest =
        scene.sql("SELECT run_id, tenant_id, started_at, status FROM aos_traces ORDER BY started_at DESC LIMIT 1;");
    assert_eq!((newest[0][0].as_str(), newest[0][1].as_str(), newest[0][3].as_str()), (id, TENANT, "completed"));
    let count = format!("SELECT COUNT(*) AS step_count FROM aos_trace_steps WHERE trace_id='trace_{id}';");
    assert_eq!(scene.sql(&count), [["1"]]);
    let run = format!(
        "SELECT id, tenant_id, origin_system_id, status, plan_json IS NOT NULL AS has_plan FROM runs WHERE id = '{id}';"
    );
    assert_eq!(scene.sql(&run), [[id, TENANT, "run-proof-v4", "succeeded", "t"]]);
    let trace =
        format!("SELECT trace_id, run_id, status, started_at, completed_at FROM aos_traces WHERE run_id = '{id}';");
    assert!(scene.sql(&trace)[0].iter().all(|cell| cell != "NULL"));
    let steps = format!(
        "SELECT step_index, skill_name, status, duration_ms, cost_cents, source, level FROM aos_trace_steps WHERE trace_id = 'trace_{id}';"
    );
    assert_eq!(scene.sql(&steps)[0][..3], ["0", "json_transform", "success"]);
}

#[test]
fn a_step_that_fails_fails_the_run_which_is_proved_all_the_same() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let url = format!("http://{}/", crate::support::dead_address());
    let steps = json!([{ "id": "fetch", "skill": "http_call", "on_error": "abort", "with": { "url": url } }]);
    let plan = scene.home.plan(steps);
    let command = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "--json"];
    let run = ran(&mut scene.home.command(&command));
    assert_eq!((run.code, &run.json()["proof"]["verdict"]), (3, &json!("VERIFIED")), "{run:?}");
}

#[test]
fn processes_that_share_a_home_work_at_once_and_one_ledger_comes_of_it() {
    for way in WAYS {
        let scene = Scene::empty(way).initialised();
        let runs: Vec<_> = (0..4).map(|_| started(&mut scene.run_command(&["--json"]))).collect();
        for run in runs {
            let run = ended(run);
            assert_eq!((run.code, &run.json()["proof"]["verdict"]), (0, &json!("VERIFIED")), "{way:?}: {run:?}");
        }
        assert_eq!(scene.sql("SELECT run_no FROM runs ORDER BY run_no"), [["1"], ["2"], ["3"], ["4"]]);
        assert_eq!(scene.every_run_is_whole(), 4);
    }
}

#[test]
fn a_run_that_is_not_waited_for_is_done_by_a_worker() {
    let (scene, receiver) = (Scene::empty(Way::Pooled).initialised(), Receiver::standard());
    let goal = format!("fetch {} and report", receiver.url("report"));
    let command = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", &goal, "--no-wait"];
    assert_eq!(scene.ok(&mut scene.home.command(&command))["status"], "queued");
    assert_eq!(receiver.count("/report"), 0);
    assert_eq!(scene.every_run_is_whole(), 1);
    assert_eq!(receiver.count("/report"), 1, "one step, one effect");
}

#[test]
fn nothing_is_written_elsewhere_and_the_output_names_the_place() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let ran = ran(&mut scene.run_command(&["-v"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Proof:   VERIFIED") && ran.stderr.contains("run.sealed"), "{GOAL}: {ran:?}");
    assert!(!scene.home.database().exists(), "there is no embedded store beside it");
    let worker = super::ran(&mut scene.home.command(&["worker", "--drain"]));
    let place = scene.url.replace(&format!(":{}", super::PASSWORD), "");
    assert!(worker.stderr.starts_with(&format!("working on {place}\n")), "{worker:?}");
}
