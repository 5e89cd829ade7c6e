//! What the first system's reports ran, and what must hold here: acceptance.md, sections 1 to 6, on the embedded store, on
//! Postgres, and on Postgres through PgBouncer. Section 7 is in `tamper`.
//!
//! The program is the real one, and SQL is given to `sqlite3` or `psql`, as the reports did.

use serde_json::{Value, json};

use crate::support::{AGENT, Home, Leg, Receiver, TENANT, dead_address, text};

const GOAL: &str = "Run proof v4 validation run";

fn ids(run: &Value) -> (String, String) {
    let id = text(&run["run_id"]);
    (id.clone(), format!("trace_{id}"))
}

fn held(home: &Home) -> Value {
    let step = json!([{ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!((code, text(&run["status"]).as_str()), (5, "waiting"), "{run:#}");
    run
}

// Section 1 ----------------------------------------------------------------------------------------------------------

fn the_preconditions_of_the_reports_hold(leg: Leg) {
    let home = Home::on(leg);
    let status = home.ok(&["migrate", "--status"]);
    assert_eq!((&status["current"], &status["head"]), (&json!("0004"), &json!("0004")), "{status:#}");
    assert_eq!(status["database"], json!(home.place()), "what is used is named");
    let skills = home.ok(&["list-skills"]);
    assert_eq!(skills["store"], Value::Null, "skills are the program's, not a store's");
    let refused = |home: &Home, arguments: &[&str], code: i32, error: &str| {
        let ran = home.run(&[arguments, &["--json"]].concat());
        assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{ran:?}");
    };
    let run = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", GOAL];
    if leg == Leg::Sqlite {
        refused(&home.with("USE_POSTGRES_TRACES", "true"), &run, 2, "database.contradiction");
        return;
    }
    let gate = home.command(&["migrate"]).env_remove("DB_ROLE").output().unwrap();
    let said = String::from_utf8(gate.stderr).unwrap();
    assert!(!gate.status.success() && said.contains("DB_ROLE must be set (staging|prod|replica)"), "{said}");
    home.ok(&run);
    let before = home.dump();
    let away = home.place().replace(&home.postgres.as_ref().unwrap().name, "no_such_database");
    let nowhere = home.with("DATABASE_URL", &away).with("USE_POSTGRES_TRACES", "true");
    refused(&nowhere, &run, 8, "database.unknown");
    assert!(!nowhere.database().exists(), "nothing is written elsewhere");
    assert_eq!(nowhere.dump(), before);
}

// Section 2 ----------------------------------------------------------------------------------------------------------

fn the_customers_command_runs_and_is_proved(leg: Leg) {
    let home = Home::on(leg);
    let command =
        ["run", "--agent-id", AGENT, "--goal", GOAL, "--tenant-id", TENANT, "--origin-system-id", "run-proof-v4"];
    let run = home.ok(&command);
    let (id, trace) = ids(&run);
    for (field, expected) in [
        ("run_no", json!(1)),
        ("tenant_id", json!(TENANT)),
        ("agent_id", json!(AGENT)),
        ("origin_system_id", json!("run-proof-v4")),
        ("status", json!("succeeded")),
        ("planner", json!("stub")),
        ("plan_stored", json!(true)),
        ("attempts", json!(1)),
        ("error", Value::Null),
        ("trace_id", json!(trace)),
    ] {
        assert_eq!(run[field], expected, "{field}: {run:#}");
    }
    assert!(run["duration_ms"].is_number());
    let step = &run["steps"][0];
    for (field, expected) in [
        ("step_index", json!(0)),
        ("step_id", json!("note")),
        ("skill_name", json!("json_transform")),
        ("status", json!("success")),
        ("retry_count", json!(0)),
        ("cost_cents", json!(0.0)),
    ] {
        assert_eq!(step[field], expected, "{field}: {step:#}");
    }
    assert!(step["duration_ms"].is_number());
    assert_eq!(run["proof"]["verdict"], "VERIFIED");
    let shown = home.ok(&["get-run", &id]);
    for field in ["run_id", "status", "steps", "trace_id", "plan_stored", "duration_ms"] {
        assert_eq!(shown[field], run[field], "get-run shows the same {field}");
    }
}

fn the_customers_command_speaks_to_people_as_well(leg: Leg) {
    let home = Home::on(leg);
    let ran = home.run(&["run", "--agent-id", AGENT, "--goal", GOAL, "--tenant-id", TENANT, "-v"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Status:  succeeded") && ran.stdout.contains("Proof:   VERIFIED"), "{}", ran.stdout);
    assert!(ran.stderr.contains("run.sealed"), "-v shows the events on stderr: {}", ran.stderr);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "no colours without a terminal");
    assert_eq!(home.sql("SELECT origin_system_id FROM runs"), [["cus-cli"]]);
}

fn a_run_that_is_not_waited_for_is_queued_with_its_plan_and_done_by_a_worker(leg: Leg) {
    let home = Home::on(leg);
    let (code, queued) = home.run_goal(GOAL, &["--no-wait"]);
    assert_eq!((code, text(&queued["status"]).as_str()), (0, "queued"));
    let (id, _) = ids(&queued);
    assert_eq!(
        home.sql(&format!("SELECT status, plan_json IS NOT NULL FROM runs WHERE id = '{id}'")),
        [["queued", home.yes()]]
    );
    home.ok(&["worker", "--drain"]);
    assert_eq!(home.ok(&["get-run", &id])["status"], "succeeded");
    assert_eq!(home.proof(&queued).0, 0);
}

fn the_lists_name_what_was_made(leg: Leg) {
    let home = Home::on(leg);
    let agents = home.ok(&["list-agents"]);
    assert_eq!((&agents["agents"][0]["id"], &agents["agents"][0]["tenant_id"]), (&json!(AGENT), &json!(TENANT)));
    let skills = home.ok(&["list-skills"]);
    let names: Vec<String> = skills["skills"].as_array().unwrap().iter().map(|skill| text(&skill["name"])).collect();
    assert!(names.contains(&"http_call".to_owned()) && names.contains(&"json_transform".to_owned()), "{names:?}");
    let plain = home.run(&["list-skills"]).stdout;
    assert!(names.iter().all(|name| plain.contains(name.as_str())), "both faces list the same skills");
}

fn a_goal_that_names_a_loopback_url_succeeds_and_is_proved(leg: Leg) {
    let (home, receiver) = (Home::on(leg), Receiver::standard());
    let (code, run) = home.run_goal(&format!("fetch {} and report", receiver.url("report")), &[]);
    assert_eq!((code, &run["proof"]["verdict"]), (0, &json!("VERIFIED")), "{run:#}");
    assert_eq!((&run["steps"][0]["skill_name"], &run["steps"][0]["status"]), (&json!("http_call"), &json!("success")));
    assert_eq!(receiver.count("/report"), 1, "one step, one effect");
    let (_, trace) = ids(&run);
    let rows = home.sql(&format!("SELECT status, completed_at IS NOT NULL FROM aos_traces WHERE trace_id = '{trace}'"));
    assert_eq!(rows, [["completed", home.yes()]]);
}

fn a_step_that_fails_on_a_dead_port_fails_the_run_which_is_proved_all_the_same(leg: Leg) {
    let home = Home::on(leg);
    let step = json!([{ "id": "fetch", "skill": "http_call", "on_error": "abort", "retry": { "max_attempts": 2, "initial_delay_ms": 1 },
                        "with": { "url": format!("http://{}/", dead_address()) } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!((code, text(&run["status"]).as_str()), (3, "failed"));
    let step = &run["steps"][0];
    assert_eq!(
        (&step["status"], &step["retry_count"], &step["outcome_code"]),
        (&json!("failure"), &json!(1), &json!("http.connect_refused"))
    );
    assert!(text(&run["error"]).contains("fetch"), "{run:#}");
    let (code, proof) = home.proof(&run);
    assert_eq!((code, &proof["verdict"], &proof["run_status"]), (0, &json!("VERIFIED"), &json!("failed")));
    let (_, trace) = ids(&run);
    assert_eq!(home.sql(&format!("SELECT status FROM aos_traces WHERE trace_id = '{trace}'")), [["failed"]]);
}

fn waiting_ends_when_somebody_has_to_act_and_not_for_the_time_of_a_retry(leg: Leg) {
    let home = Home::on(leg);
    let run = held(&home);
    assert_eq!((&run["wait_reason"], &run["wait_ref"]), (&json!("resolution"), &json!("pay")));
    let retry = json!({ "max_attempts": 2, "initial_delay_ms": 1100, "max_delay_ms": 1100 });
    let step = json!([{ "id": "later", "skill": "__fail_trigger__", "retry": retry,
                        "with": { "error_code": "SKILL_ERROR", "fail_attempts": 1, "effect": "read" } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!((code, &run["status"], &run["steps"][0]["retry_count"]), (0, &json!("succeeded"), &json!(1)), "{run:#}");
}

// Section 3 ----------------------------------------------------------------------------------------------------------

fn the_sql_of_the_reports_gives_what_the_reports_expect(leg: Leg) {
    let (home, receiver) = (Home::on(leg), Receiver::standard());
    let (_, run) = home.run_goal(&format!("fetch {}", receiver.url("a")), &["--origin-system-id", "run-proof-v4"]);
    let (id, trace) = ids(&run);
    let rows =
        home.sql("SELECT run_id, tenant_id, started_at, status FROM aos_traces ORDER BY started_at DESC LIMIT 1;");
    assert_eq!((rows[0][0].as_str(), rows[0][1].as_str(), rows[0][3].as_str()), (id.as_str(), TENANT, "completed"));
    let rows = home.sql(&format!("SELECT COUNT(*) AS step_count FROM aos_trace_steps WHERE trace_id='{trace}';"));
    assert_eq!(rows, [["1"]]);
    let rows = home.sql(&format!(
        "SELECT id, tenant_id, origin_system_id, status, plan_json IS NOT NULL AS has_plan FROM runs WHERE id = '{id}';"
    ));
    assert_eq!(rows, [[id.as_str(), TENANT, "run-proof-v4", "succeeded", home.yes()]]);
    let rows = home.sql(&format!(
        "SELECT trace_id, run_id, status, started_at, completed_at FROM aos_traces WHERE run_id = '{id}';"
    ));
    assert_eq!(rows[0][..3], [trace.as_str(), id.as_str(), "completed"]);
    assert!(rows[0][4] >= rows[0][3] && rows[0][3].starts_with("20") && rows[0][3].ends_with('Z'), "{rows:?}");
    let rows = home.sql(&format!(
        "SELECT step_index, skill_name, status, duration_ms, cost_cents, source, level FROM aos_trace_steps WHERE trace_id = '{trace}';"
    ));
    let step = &run["steps"][0];
    let numbers: Vec<f64> = rows[0][3..5].iter().map(|number| number.parse().unwrap()).collect();
    assert_eq!(rows[0][..3], ["0", "http_call", "success"]);
    assert_eq!(numbers, [step["duration_ms"].as_f64().unwrap(), step["cost_cents"].as_f64().unwrap()]);
    assert_eq!(rows[0][5..], ["engine", "INFO"]);
    assert_eq!(home.sql("SELECT version_num FROM alembic_version;"), [["0004"]]);
}

// Section 4 ----------------------------------------------------------------------------------------------------------

/// Expects the database to refuse with all of this text.
fn refused(home: &Home, sql: &str, expected: &[&str]) {
    let ran = home.client(sql);
    assert_ne!(ran.code, 0, "was not refused: {sql}");
    for text in expected {
        assert!(ran.stderr.contains(text), "{sql}\nexpected {text}\ngot {}", ran.stderr);
    }
}

fn a_run_needs_a_real_origin_in_the_database_too(leg: Leg) {
    let home = Home::on(leg);
    let insert = |columns: &str, values: &str| {
        format!("INSERT INTO runs (id, tenant_id, agent_id, goal{columns}) VALUES ('x', 'acme', 'scout', 'g'{values})")
    };
    let (null, check, blanks): (&[&str], _, _) = if leg == Leg::Sqlite {
        (&["NOT NULL constraint failed: runs.origin_system_id"], "CHECK", ["''", "' '", "char(9)", "char(10, 13, 32)"])
    } else {
        let null = &["null value in column \"origin_system_id\"", "violates not-null constraint"];
        (null, "violates check constraint", ["''", "' '", "chr(9)", "E'\\n\\r '"])
    };
    refused(&home, &insert("", ""), null);
    refused(&home, &insert(", origin_system_id", ", NULL"), null);
    let text = "origin_system_id cannot be 'legacy-migration' for new runs (use real system identifier)";
    refused(&home, &insert(", origin_system_id", ", 'legacy-migration'"), &[text]);
    for blank in blanks {
        refused(&home, &insert(", origin_system_id", &format!(", {blank}")), &[check]);
    }
    let text = "agent_id cannot be 'legacy-unknown' for new runs";
    refused(
        &home,
        "INSERT INTO runs (id, tenant_id, agent_id, goal, origin_system_id) VALUES ('x', 'acme', 'legacy-unknown', 'g', 'o')",
        &[text],
    );
    assert_eq!(home.sql("SELECT count(*) FROM runs"), [["0"]]);
}

fn a_run_made_by_hand_is_reported_and_never_verified(leg: Leg) {
    let home = Home::on(leg);
    home.sql("INSERT INTO runs (id, tenant_id, agent_id, goal, origin_system_id) VALUES ('byhand', 'acme', 'scout', 'g', 'o')");
    let (code, proof) = home.run_json(&["proof", "byhand", "--tenant-id", TENANT]);
    assert_eq!(
        (code, &proof["verification_status"], &proof["failure_reason"]),
        (31, &json!("UNSUPPORTED"), &json!("No trace found for run"))
    );
    assert_eq!(
        (&proof["integrity_model"], &proof["chain_length"], &proof["trace_count"]),
        (&json!("NONE"), &json!(0), &json!(0))
    );
    home.sql(
        "INSERT INTO aos_traces (tenant_id, trace_id, run_id, status, schema_version, started_at, created_at)
         VALUES ('acme', 'trace_byhand', 'byhand', 'running', 'runproof/1', '2026-01-01', '2026-01-01')",
    );
    let (code, proof) = home.run_json(&["proof", "byhand", "--tenant-id", TENANT]);
    assert_eq!((code, &proof["verdict"]), (20, &json!("TAMPERED")));
    assert!(proof["findings"].to_string().contains("aos_traces"), "{proof:#}");
}

// Postgres says which row as well, in the middle.
const S6_TRACE: &[&str] = &[
    "S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. UPDATE rejected",
    ". Only archival (archived_at: NULL -> timestamp) or completion (status/completed_at/metadata only) is permitted.",
];
const S6_TRACE_DELETE: &[&str] =
    &["S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces()."];
const S6_STEP: &[&str] = &[
    "S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. UPDATE rejected",
    ". Only archival (archived_at: NULL -> timestamp) is permitted.",
];
const S6_STEP_DELETE: &[&str] =
    &["S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival."];
const S6_STEP_INSERT: &[&str] = &["S6_IMMUTABILITY_VIOLATION: aos_trace_steps INSERT rejected"];

/// The columns of a table that are not computed.
fn written_columns(home: &Home, table: &str) -> Vec<String> {
    let sql = match home.postgres {
        None => format!("SELECT name FROM pragma_table_info('{table}')"),
        Some(_) => format!(
            "SELECT column_name FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{table}' AND is_generated = 'NEVER'"
        ),
    };
    home.sql(&sql).into_iter().map(|mut row| row.remove(0)).collect()
}

#[expect(clippy::too_many_lines, reason = "one row of the acceptance table after another")]
fn a_completed_trace_and_its_steps_cannot_be_changed_through_the_database(leg: Leg) {
    let home = Home::on(leg);
    let (_, run) = home.run_goal(GOAL, &[]);
    let before = home.dump();
    for change in [
        "status = 'running'",
        "status = 'running', completed_at = NULL",
        "status = 'failed'",
        "completed_at = '2030-01-01'",
        "completed_at = NULL",
        "metadata = '{}'",
        "trace_id = 'x'",
        "run_id = 'x'",
        "tenant_id = 'x'",
        "agent_id = 'x'",
        "schema_version = 'x'",
        "started_at = 'x'",
        "created_at = 'x'",
        "is_synthetic = 1, synthetic_scenario_id = 'x'",
        "archived_at = '2030-01-01', metadata = 'x'",
    ] {
        refused(&home, &format!("UPDATE aos_traces SET {change}"), S6_TRACE);
    }
    for column in written_columns(&home, "aos_trace_steps").iter().filter(|column| *column != "archived_at") {
        let refusal = if leg == Leg::Sqlite { &[] } else { S6_STEP }; // a type refuses some of them on SQLite
        refused(&home, &format!("UPDATE aos_trace_steps SET {column} = '7'"), refusal);
    }
    for change in [
        "status = 'failure'",
        "cost_microcents = 1",
        "skill_name = 'x'",
        "duration_us = 0",
        "archived_at = '2030', level = 'WARN'",
    ] {
        refused(&home, &format!("UPDATE aos_trace_steps SET {change}"), S6_STEP);
    }
    refused(&home, "DELETE FROM aos_traces", S6_TRACE_DELETE);
    refused(&home, "DELETE FROM aos_trace_steps", S6_STEP_DELETE);
    let insert = format!(
        "INSERT INTO aos_trace_steps (tenant_id, trace_id, step_index, run_id, step_id, plan_index, skill_id, skill_name, status,
             outcome_category, cost_microcents, duration_us, retry_count, source, level, timestamp)
         VALUES ('acme', '{}', 1, '{}', 'late', 1, 's', 's', 'success', 'execution', 0, 0, 0, 'engine', 'INFO', '2030')",
        ids(&run).1, ids(&run).0
    );
    refused(&home, &insert, S6_STEP_INSERT);
    let again = insert.replace("', 1, '", "', 0, '");
    refused(&home, &again, &[]);
    if leg == Leg::Sqlite {
        refused(&home, &again.replace("INSERT", "INSERT OR REPLACE"), &["S6_IMMUTABILITY_VIOLATION"]);
    }
    for table in ["transitions", "run_seals", "checkpoints"] {
        refused(
            &home,
            &format!("DELETE FROM {table}"),
            &[&format!("S6_IMMUTABILITY_VIOLATION: {table} is append-only. DELETE rejected.")],
        );
    }
    refused(
        &home,
        "DELETE FROM ledger_tiles",
        &["S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. DELETE rejected."],
    );
    let zeros =
        if leg == Leg::Sqlite { "zeroblob(length(hashes))" } else { "decode(repeat('00', length(hashes)), 'hex')" };
    refused(
        &home,
        &format!("UPDATE ledger_tiles SET hashes = {zeros}"),
        &["S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. UPDATE rejected."],
    );
    refused(
        &home,
        "UPDATE transitions SET events = events || ' '",
        &["S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected."],
    );
    refused(
        &home,
        "UPDATE transitions SET payloads = ''",
        &["S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected."],
    );
    refused(
        &home,
        "UPDATE run_seals SET status = 'failed'",
        &["S6_IMMUTABILITY_VIOLATION: run_seals is append-only. UPDATE rejected."],
    );
    refused(
        &home,
        "UPDATE checkpoints SET root = 'x'",
        &["S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. UPDATE rejected."],
    );
    refused(&home, "UPDATE runs SET status = 'running'", &["runs: a run that is over cannot be changed"]);
    refused(&home, "DELETE FROM runs", &["runs: direct DELETE not allowed"]);
    for table in [
        "transitions",
        "run_seals",
        "checkpoints",
        "tenants",
        "agents",
        "runs",
        "aos_traces",
        "aos_trace_steps",
        "ledger_tiles",
    ] {
        if leg == Leg::Sqlite {
            let columns = written_columns(&home, table).join(", ");
            let replace = format!("INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}");
            refused(&home, &replace, &[]); // REPLACE deletes without the triggers of DELETE
        } else {
            refused(&home, &format!("TRUNCATE {table}"), &[]);
        }
    }
    assert_eq!(home.dump(), before, "nothing was changed");
    assert_eq!(home.proof(&run).0, 0);
}

fn a_running_trace_can_be_completed_once_and_a_hand_made_completion_is_found(leg: Leg) {
    let home = Home::on(leg);
    let run = held(&home);
    let (_, trace) = ids(&run);
    let now = "2030-01-01T00:00:00.000000Z";
    refused(&home, "UPDATE aos_traces SET agent_id = 'x'", S6_TRACE);
    refused(&home, "UPDATE aos_traces SET archived_at = '2030'", S6_TRACE);
    refused(&home, "DELETE FROM aos_traces", S6_TRACE_DELETE);
    home.sql(&format!("UPDATE aos_traces SET status = 'completed', completed_at = '{now}', metadata = '{{}}' WHERE trace_id = '{trace}'"));
    refused(&home, "UPDATE aos_traces SET status = 'failed'", S6_TRACE);
    refused(&home, "UPDATE aos_traces SET completed_at = '2031'", S6_TRACE);
    let (code, proof) = home.proof(&run);
    assert_ne!(code, 0);
    let places: Vec<String> =
        proof["findings"].as_array().unwrap().iter().map(|finding| text(&finding["place"])).collect();
    for column in ["status", "completed_at", "metadata"] {
        assert!(places.iter().any(|place| place.starts_with(&format!("aos_traces.{column}["))), "{column}: {places:?}");
    }
}

fn steps_of_a_completed_trace_can_be_archived_once_and_nothing_else(leg: Leg) {
    let home = Home::on(leg);
    home.run_goal(GOAL, &[]);
    home.sql("UPDATE aos_trace_steps SET archived_at = '2030-01-01'");
    refused(&home, "UPDATE aos_trace_steps SET archived_at = '2031-01-01'", S6_STEP);
    refused(&home, "UPDATE aos_trace_steps SET archived_at = NULL", S6_STEP);
    home.sql("UPDATE aos_traces SET archived_at = '2030-01-01'");
    refused(&home, "UPDATE aos_traces SET archived_at = '2031-01-01'", S6_TRACE);
}

// Section 5 ----------------------------------------------------------------------------------------------------------

fn the_proof_of_a_completed_run_counts_what_the_tables_count(leg: Leg) {
    let home = Home::on(leg);
    let (code, run) = home.run_plan(crate::support::sample_steps(), &[]);
    assert_eq!(code, 0, "{run:#}");
    let (code, proof) = home.proof(&run);
    let steps: usize = home.sql(&format!("SELECT count(*) FROM aos_trace_steps WHERE trace_id = '{}'", ids(&run).1))[0]
        [0]
    .parse()
    .unwrap();
    assert_eq!((code, steps), (0, run["steps"].as_array().unwrap().len()));
    for (field, expected) in [
        ("integrity_model", json!("HASH_CHAIN")),
        ("verification_status", json!("VERIFIED")),
        ("verdict", json!("VERIFIED")),
        ("chain_length", json!(steps)),
        ("step_count", json!(steps)),
        ("trace_count", json!(1)),
        ("findings", json!([])),
        ("trust", json!("local")),
        ("failure_reason", Value::Null),
    ] {
        assert_eq!(proof[field], expected, "{field}: {proof:#}");
    }
    let seal = home.sql(&format!("SELECT run_root, event_count FROM run_seals WHERE run_id = '{}'", ids(&run).0));
    assert_eq!(text(&proof["root_hash"]), seal[0][0]);
    assert_eq!(
        proof["event_count"].as_u64().unwrap(),
        seal[0][1].parse::<u64>().unwrap() + 1,
        "the seal itself is an event"
    );
    assert_eq!(proof["anchor"]["level"], "checkpoint");
    assert!(proof["covers"].as_array().is_some_and(|covers| !covers.is_empty()));
    assert!(proof["does_not_show"].to_string().contains("no other run was withheld"));
    assert_eq!(run["proof"]["root_hash"], proof["root_hash"], "`run` and `proof` say the same");
}

fn the_proof_of_a_run_with_steps_side_by_side_counts_what_the_tables_count(leg: Leg) {
    let home = Home::on(leg);
    let (code, run) = home.run_graph(&[]);
    assert_eq!((code, &run["status"]), (0, &json!("succeeded")), "{run:#}");
    let (id, trace) = ids(&run);
    let (code, proof) = home.proof(&run);
    assert_eq!((code, &proof["verification_status"], &proof["verdict"]), (0, &json!("VERIFIED"), &json!("VERIFIED")));
    let of_trace =
        |columns: &str| home.sql(&format!("SELECT {columns} FROM aos_trace_steps WHERE trace_id = '{trace}'"));
    let mut rows = of_trace("step_id, item, status, outcome_category, outcome_code, retry_count");
    rows.sort();
    // Every call has a row of its own, then the list as a whole; what was skipped has one too.
    let expected = [
        ["count", "", "success", "execution", "", "0"],
        ["each", "", "success", "execution", "", "0"],
        ["each", "0", "success", "execution", "", "0"],
        ["each", "1", "failure", "validation", "json.path_not_found", "0"],
        ["each", "1.fallback", "success", "execution", "", "0"],
        ["get", "", "success", "execution", "", "0"],
        ["join", "", "success", "execution", "", "0"],
        ["never", "", "skipped", "skipped", "when.false", "0"],
        ["set", "", "success", "execution", "", "0"],
        ["some", "", "failure", "client", "foreach.items_failed", "0"],
        ["some", "0", "success", "execution", "", "0"],
        ["some", "1", "failure", "client", "fail_trigger.step_failure", "0"],
    ];
    assert_eq!(rows, expected);
    for field in ["chain_length", "step_count"] {
        assert_eq!(proof[field], json!(expected.len()), "{field}: {proof:#}");
    }
    assert_eq!(run["steps"].as_array().unwrap().len(), expected.len());
    assert_eq!(of_trace("min(step_index), max(step_index), count(DISTINCT step_index)"), [["0", "11", "12"]]);
    assert_eq!(of_trace("count(DISTINCT idempotency_key)"), [["9"]], "one for each call that was made");
    let seal =
        home.sql(&format!("SELECT run_root, step_count, event_count, attempts FROM run_seals WHERE run_id = '{id}'"));
    assert_eq!((text(&proof["root_hash"]), &seal[0][1]), (seal[0][0].clone(), &"12".to_owned()));
    assert_eq!(proof["event_count"], json!(seal[0][2].parse::<u64>().unwrap() + 1), "the seal itself is an event");
    let traces = home.sql(&format!("SELECT status, completed_at IS NOT NULL FROM aos_traces WHERE run_id = '{id}'"));
    assert_eq!((traces, &proof["trace_count"]), (vec![vec!["completed".to_owned(), home.yes().to_owned()]], &json!(1)));
    let events = proof["events"].as_array().unwrap();
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((count("step.expanded"), count("step.intended"), count("step.settled")), (2, 9, 12));
    assert_eq!(
        (&proof["findings"], &proof["failure_reason"], &proof["trust"]),
        (&json!([]), &Value::Null, &json!("local"))
    );
    assert_eq!(run["proof"]["root_hash"], proof["root_hash"], "`run` and `proof` say the same");
    assert_eq!(home.ok(&["get-run", &id])["steps"], run["steps"]);
}

fn what_has_no_steps_yet_is_unsupported_and_what_is_not_over_is_open(leg: Leg) {
    let home = Home::on(leg);
    let (_, queued) = home.run_goal(GOAL, &["--no-wait"]);
    let (code, proof) = home.proof(&queued);
    assert_eq!(
        (code, &proof["verification_status"], &proof["failure_reason"]),
        (31, &json!("UNSUPPORTED"), &json!("No steps to verify"))
    );
    let first =
        json!({ "id": "first", "skill": "json_transform", "with": { "payload": { "a": 1 }, "mapping": { "b": "a" } } });
    let pay = json!({ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } });
    let (code, run) = home.run_plan(json!([first, pay]), &[]);
    assert_eq!(code, 5);
    let (code, proof) = home.proof(&run);
    assert_eq!((code, &proof["verdict"], &proof["step_count"]), (10, &json!("OPEN"), &json!(1)));
}

fn the_ten_behaviours_of_the_coordinator_hold_against_real_data(leg: Leg) {
    let home = Home::on(leg);
    let (_, run) = home.run_goal(GOAL, &[]);
    let (id, _) = ids(&run);
    // 1 evidence composed, 3 proof verified: every event is in the report, in order.
    let proof = home.proof(&run).1;
    let kinds: Vec<String> = proof["events"].as_array().unwrap().iter().map(|event| text(&event["kind"])).collect();
    assert_eq!(
        kinds,
        ["run.created", "run.planned", "run.claimed", "step.intended", "step.returned", "step.settled", "run.sealed"]
    );
    // 2 evidence empty, 5 no steps.
    let (_, queued) = home.run_goal(GOAL, &["--no-wait"]);
    assert_eq!(home.proof(&queued).1["failure_reason"], "No steps to verify");
    // 4 no trace: a run that nobody knows is not found; one without events has no trace.
    let missing = home.run(&["proof", "nobody", "--tenant-id", TENANT, "--json"]);
    assert_eq!((missing.code, missing.error_code().as_str()), (2, "run.not_found"));
    // 6 the tenant is passed on: another tenant's run is not found, in the same words as one that does not exist.
    home.ok(&["create-tenant", "--id", "other"]);
    let foreign = home.run(&["proof", &id, "--tenant-id", "other", "--json"]);
    assert_eq!((foreign.code, foreign.error_code().as_str()), (2, "run.not_found"));
    assert_eq!(foreign.stdout.replace(&id, "nobody").replace("other", TENANT), missing.stdout);
    // 7 without a tenant: the proof asks for one, the look-up finds it.
    assert_eq!(home.run(&["proof", &id]).code, 2);
    assert_eq!(home.ok(&["get-run", &id])["tenant_id"], TENANT);
    // 8, 9 feedback found and none: findings are there exactly when something is wrong.
    assert_eq!(proof["findings"], json!([]));
    assert_ne!(home.proof(&queued).1["findings"], json!([]));
    // 10 configuration, boundary, storage: the store that was asked for is the one that was used, and is named.
    assert_eq!(home.ok(&["migrate", "--status"])["database"], json!(home.place()));
}

/// One test of every claim for each store.
macro_rules! on_every_store {
    ($($claim:ident),+ $(,)?) => {
        on_every_store! { @ sqlite Sqlite $($claim)+ }
        on_every_store! { @ postgres Postgres $($claim)+ }
        on_every_store! { @ pooled Pooled $($claim)+ }
    };
    (@ $store:ident $leg:ident $($claim:ident)+) => {
        mod $store {
            $(
                #[test]
                fn $claim() {
                    super::$claim(super::Leg::$leg);
                }
            )+
        }
    };
}

on_every_store!(
    the_preconditions_of_the_reports_hold,
    the_customers_command_runs_and_is_proved,
    the_customers_command_speaks_to_people_as_well,
    a_run_that_is_not_waited_for_is_queued_with_its_plan_and_done_by_a_worker,
    the_lists_name_what_was_made,
    a_goal_that_names_a_loopback_url_succeeds_and_is_proved,
    a_step_that_fails_on_a_dead_port_fails_the_run_which_is_proved_all_the_same,
    waiting_ends_when_somebody_has_to_act_and_not_for_the_time_of_a_retry,
    the_sql_of_the_reports_gives_what_the_reports_expect,
    a_run_needs_a_real_origin_in_the_database_too,
    a_run_made_by_hand_is_reported_and_never_verified,
    a_completed_trace_and_its_steps_cannot_be_changed_through_the_database,
    a_running_trace_can_be_completed_once_and_a_hand_made_completion_is_found,
    steps_of_a_completed_trace_can_be_archived_once_and_nothing_else,
    the_proof_of_a_completed_run_counts_what_the_tables_count,
    the_proof_of_a_run_with_steps_side_by_side_counts_what_the_tables_count,
    what_has_no_steps_yet_is_unsupported_and_what_is_not_over_is_open,
    the_ten_behaviours_of_the_coordinator_hold_against_real_data,
);

// Section 6 ----------------------------------------------------------------------------------------------------------

#[test]
fn the_digests_of_the_four_reports_are_reproduced() {
    let home = Home::empty();
    let file = format!("{}/tests/data/legacy-roots.json", env!("CARGO_MANIFEST_DIR"));
    let roots = home.ok(&["legacy-root", &file]);
    let runs = roots["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| run["matches"] == true), "{roots:#}");
    let changed = std::fs::read_to_string(&file).unwrap().replace("process_data", "process_date");
    let (code, roots) = home.run_json(&["legacy-root", &home.file("changed.json", &changed)]);
    let matching = roots["runs"].as_array().unwrap().iter().filter(|run| run["matches"] == true).count();
    assert_eq!((code, matching), (20, 3), "one changed word is noticed");
}

#[test]
fn the_legacy_digest_of_a_run_is_shown_beside_the_real_root() {
    let home = Home::initialised();
    let (_, run) = home.run_goal(GOAL, &[]);
    let input = json!([{ "run_id": run["run_id"], "steps": [[0, "json_transform", "success"]], "root_hash": run["proof"]["legacy_root_hash"] }]);
    let roots = home.ok(&["legacy-root", &home.file("mine.json", &input.to_string())]);
    assert_eq!(roots["runs"][0]["matches"], true);
    assert_ne!(run["proof"]["legacy_root_hash"], run["proof"]["root_hash"]);
}
