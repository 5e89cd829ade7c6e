//! What the tables refuse and allow about runs, traces and steps, with the texts that people search for.

use rusqlite::Connection;

use super::{count, ended_run, other_values, refused, taken};
use crate::support::*;

const TRACE_UPDATE: &str = "S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. UPDATE rejected. Only archival (archived_at: NULL -> timestamp) or completion (status/completed_at/metadata only) is permitted.";
const TRACE_DELETE: &str =
    "S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces().";
const STEP_INSERT: &str =
    "S6_IMMUTABILITY_VIOLATION: aos_trace_steps INSERT rejected. The trace does not exist or is not running.";
const STEP_UPDATE: &str = "S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. UPDATE rejected. Only archival (archived_at: NULL -> timestamp) is permitted.";
const STEP_DELETE: &str = "S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival.";
const RUN_OVER: &str = "runs: a run that is over cannot be changed";
const RUN_FIXED: &str = "runs: who, what and where from cannot be changed";

/// What never changes in a run.
const FIXED: [&str; 11] = [
    "tenant_id",
    "id",
    "run_no",
    "agent_id",
    "origin_system_id",
    "actor_type",
    "actor_id",
    "goal",
    "is_synthetic",
    "synthetic_scenario_id",
    "created_at",
];

fn insert_run(id: &str, agent: &str, origin: &str, more: (&str, &str)) -> String {
    format!(
        "INSERT INTO runs (tenant_id, id, agent_id, origin_system_id, goal{}) VALUES ('t_1', '{id}', {agent}, {origin}, 'g'{})",
        more.0, more.1
    )
}

fn insert_trace(run_id: &str, status: &str) -> String {
    format!(
        "INSERT INTO aos_traces (tenant_id, trace_id, run_id, status, schema_version, started_at, created_at) VALUES ('t_1', 'trace_{run_id}', '{run_id}', '{status}', 'x', 'now', 'now')"
    )
}

fn insert_step(run_id: &str, index: u32, status: &str, source: &str, level: &str) -> String {
    format!(
        "INSERT INTO aos_trace_steps (tenant_id, trace_id, step_index, run_id, step_id, plan_index, skill_id, skill_name, status,
             outcome_category, cost_microcents, duration_us, retry_count, source, level, timestamp)
         VALUES ('t_1', 'trace_{run_id}', {index}, '{run_id}', 's{index}', {index}, 'k', 'k', '{status}', 'c', 0, 0, 0, '{source}', '{level}', 'now')"
    )
}

/// A trace `trace_h_1` that somebody wrote by hand, running, with one step.
fn by_hand(connection: &Connection) {
    taken(connection, &insert_run("h_1", "'a_1'", "'by-hand'", ("", "")));
    taken(connection, &insert_trace("h_1", "running"));
    taken(connection, &insert_step("h_1", 0, "success", "external", "INFO"));
}

/// The statement breaks the CHECK that begins so.
fn breaks(connection: &Connection, sql: &str, check: &str) {
    let said = connection.execute(sql, []).map(drop).map_err(|error| error.to_string());
    assert!(
        said.as_ref().is_err_and(|text| text.starts_with(&format!("CHECK constraint failed: {check}"))),
        "{said:?}\n{sql}"
    );
}

#[test]
fn a_run_without_an_origin_is_refused() {
    let disk = OnDisk::new();
    let db = disk.raw();
    let without = "INSERT INTO runs (tenant_id, id, agent_id, goal) VALUES ('t_1', 'h_1', 'a_1', 'g')";
    refused(&db, without, "NOT NULL constraint failed: runs.origin_system_id");
    refused(&db, &insert_run("h_1", "'a_1'", "NULL", ("", "")), "NOT NULL constraint failed: runs.origin_system_id");
    let text = "origin_system_id cannot be 'legacy-migration' for new runs (use real system identifier)";
    refused(&db, &insert_run("h_1", "'a_1'", "'legacy-migration'", ("", "")), text);
    let text = "agent_id cannot be 'legacy-unknown' for new runs (use real agent identifier)";
    refused(&db, &insert_run("h_1", "'legacy-unknown'", "'s'", ("", "")), text);
    for blank in ["''", "' '", "'    '", "char(9)", "char(10)", "' ' || char(9, 32, 13, 10)"] {
        breaks(&db, &insert_run("h_1", "'a_1'", blank, ("", "")), "trim(origin_system_id");
    }
    for blank in ["''", "'  '"] {
        breaks(&db, &insert_run("h_1", blank, "'s'", ("", "")), "trim(agent_id)");
    }
    assert_eq!(count(&db, "SELECT count(*) FROM runs"), 0);
    taken(&db, &insert_run("h_1", "'a_1'", "'run-proof-v4'", ("", "")));
}

#[test]
fn the_vocabularies_are_closed() {
    let disk = OnDisk::new();
    let db = disk.raw();
    for status in ["", "paused", "completed", "SUCCEEDED"] {
        breaks(&db, &insert_run("h_1", "'a_1'", "'s'", (", status", &format!(", '{status}'"))), "status IN (");
    }
    for status in
        ["queued", "running", "retry", "pending_approval", "waiting", "succeeded", "failed", "halted", "cancelled"]
    {
        taken(&db, &insert_run(status, "'a_1'", "'s'", (", status", &format!(", '{status}'"))));
    }
    breaks(&db, &insert_run("h_1", "'a_1'", "'s'", (", actor_type", ", 'robot'")), "actor_type IN (");
    breaks(&db, &insert_run("h_1", "'a_1'", "'s'", (", actor_type", ", 'human'")), "actor_type <> 'human'");
    breaks(&db, &insert_run("h_1", "'a_1'", "'s'", (", is_synthetic", ", 1")), "(is_synthetic = 1) =");
    breaks(&db, &insert_run("h_1", "'a_1'", "'s'", (", synthetic_scenario_id", ", 'x'")), "(is_synthetic = 1) =");
    breaks(&db, &insert_trace("h_1", "succeeded"), "status IN (");
    by_hand(&db);
    for status in ["", "succeeded", "failed", "completed", "running"] {
        breaks(&db, &insert_step("h_1", 1, status, "external", "INFO"), "status IN (");
    }
    for source in ["engine", "external"] {
        breaks(&db, &insert_step("h_1", 1, "retry", source, "INFO"), "status <> 'retry' OR source = 'import'");
    }
    breaks(&db, &insert_step("h_1", 1, "success", "somewhere", "INFO"), "source IN (");
    breaks(&db, &insert_step("h_1", 1, "success", "external", "DEBUG"), "level IN (");
    for (index, status) in [(1, "success"), (2, "failure"), (3, "skipped"), (4, "unknown"), (5, "retry")] {
        taken(&db, &insert_step("h_1", index, status, "import", "WARN"));
    }
}

#[test]
fn a_running_trace_is_completed_once() {
    let disk = OnDisk::new();
    let db = disk.raw();
    for status in ["completed", "failed", "aborted"] {
        let run = format!("h_{status}");
        taken(&db, &insert_trace(&run, "running"));
        let one = format!("WHERE trace_id = 'trace_{run}'");
        refused(&db, &format!("UPDATE aos_traces SET metadata = '{{}}' {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE aos_traces SET completed_at = 'now' {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE aos_traces SET status = 'running' {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE aos_traces SET archived_at = 'now' {one}"), TRACE_UPDATE);
        let complete = format!("UPDATE aos_traces SET status = '{status}', completed_at = 'now', metadata = '{{}}'");
        for (column, value) in other_values(&db, "aos_traces") {
            if !["status", "completed_at", "metadata"].contains(&column.as_str()) {
                refused(&db, &format!("{complete}, {column} = {value} {one}"), TRACE_UPDATE);
            }
        }
        taken(&db, &format!("{complete} {one}"));
        refused(&db, &format!("{complete} {one}"), TRACE_UPDATE);
        for after in ["running", "completed", "failed", "aborted"] {
            refused(&db, &format!("UPDATE aos_traces SET status = '{after}' {one}"), TRACE_UPDATE);
        }
        refused(&db, &format!("UPDATE aos_traces SET completed_at = 'later' {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE aos_traces SET completed_at = NULL {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE aos_traces SET metadata = NULL {one}"), TRACE_UPDATE);
        refused(&db, &format!("UPDATE OR IGNORE aos_traces SET metadata = NULL {one}"), TRACE_UPDATE);
        refused(&db, &format!("DELETE FROM aos_traces {one}"), TRACE_DELETE);
    }
    refused(&db, "DELETE FROM aos_traces", TRACE_DELETE);
}

#[test]
fn a_trace_of_the_engine_changes_by_archival_only() {
    let disk = ended_run();
    let db = disk.raw();
    for (column, value) in other_values(&db, "aos_traces") {
        if column != "archived_at" {
            refused(&db, &format!("UPDATE aos_traces SET {column} = {value}"), TRACE_UPDATE);
            refused(&db, &format!("UPDATE aos_traces SET archived_at = 'now', {column} = {value}"), TRACE_UPDATE);
        }
    }
    taken(&db, "UPDATE aos_traces SET archived_at = 'now'");
    refused(&db, "UPDATE aos_traces SET archived_at = 'later'", TRACE_UPDATE);
    refused(&db, "UPDATE aos_traces SET archived_at = NULL", TRACE_UPDATE);
    refused(&db, "DELETE FROM aos_traces", TRACE_DELETE);
}

#[test]
fn a_step_changes_by_archival_only_and_after_its_trace_ended() {
    let disk = ended_run();
    let db = disk.raw();
    by_hand(&db);
    refused(&db, "UPDATE aos_trace_steps SET archived_at = 'now' WHERE run_id = 'h_1'", STEP_UPDATE);
    for run in ["h_1", "r_1"] {
        let one = format!("WHERE run_id = '{run}' AND step_index = 0");
        for (column, value) in other_values(&db, "aos_trace_steps") {
            if column != "archived_at" {
                refused(&db, &format!("UPDATE aos_trace_steps SET {column} = {value} {one}"), STEP_UPDATE);
                refused(
                    &db,
                    &format!("UPDATE aos_trace_steps SET archived_at = 'now', {column} = {value} {one}"),
                    STEP_UPDATE,
                );
            }
        }
        refused(&db, &format!("DELETE FROM aos_trace_steps {one}"), STEP_DELETE);
    }
    taken(&db, "UPDATE aos_trace_steps SET archived_at = 'now' WHERE run_id = 'r_1' AND step_index = 0");
    refused(&db, "UPDATE aos_trace_steps SET archived_at = NULL WHERE run_id = 'r_1' AND step_index = 0", STEP_UPDATE);
    refused(&db, "DELETE FROM aos_trace_steps", STEP_DELETE);
}

#[test]
fn a_trace_that_is_not_running_takes_no_step() {
    let disk = ended_run();
    let db = disk.raw();
    refused(&db, &insert_step("r_1", 99, "success", "external", "INFO"), STEP_INSERT);
    refused(&db, &insert_step("nowhere", 0, "success", "external", "INFO"), STEP_INSERT);
    by_hand(&db);
    let of_another = insert_step("h_1", 1, "success", "external", "INFO").replacen("'t_1'", "'t_2'", 1);
    refused(&db, &of_another, STEP_INSERT);
    taken(&db, "UPDATE aos_traces SET status = 'aborted' WHERE run_id = 'h_1'");
    refused(&db, &insert_step("h_1", 1, "success", "external", "INFO"), STEP_INSERT);
}

#[test]
fn a_run_that_is_over_cannot_be_changed() {
    let disk = ended_run();
    let db = disk.raw();
    for (column, value) in other_values(&db, "runs") {
        let text = if FIXED.contains(&column.as_str()) && column != "goal" { RUN_FIXED } else { RUN_OVER };
        refused(&db, &format!("UPDATE runs SET {column} = {value}"), text);
    }
    refused(&db, "DELETE FROM runs", "runs: direct DELETE not allowed");
    by_hand(&db);
    let fixed = other_values(&db, "runs").into_iter().filter(|(column, _)| FIXED.contains(&column.as_str()));
    for (column, value) in fixed {
        refused(&db, &format!("UPDATE runs SET {column} = {value} WHERE id = 'h_1'"), RUN_FIXED);
    }
    for over in ["succeeded", "failed", "halted", "cancelled"] {
        taken(&db, &insert_run(over, "'a_1'", "'s'", ("", "")));
        taken(&db, &format!("UPDATE runs SET status = '{over}' WHERE id = '{over}'"));
        refused(&db, &format!("UPDATE runs SET status = 'running' WHERE id = '{over}'"), RUN_OVER);
        refused(&db, &format!("DELETE FROM runs WHERE id = '{over}'"), "runs: direct DELETE not allowed");
    }
}
