//! The file is everybody's: Debian's own SQLite program reads it, and the reports' SQL runs there as it stands.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::ended_run;

/// What `sqlite3` prints for the statements; a missing program is a failure, not a reason to look away.
fn sqlite3(path: &Path, sql: &str) -> String {
    let program = Command::new("sqlite3")
        .arg("-batch")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut program = program.expect("the program `sqlite3` is missing: apt-get install sqlite3");
    program.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{sql}");
    assert!(output.status.success(), "{sql}");
    String::from_utf8(output.stdout).unwrap()
}

/// Acceptance 3, word for word, but for the run's id.
#[test]
fn the_sql_of_the_reports_runs_in_the_sqlite_program() {
    let disk = ended_run();
    let check = |sql: &str, expected: &str| assert_eq!(sqlite3(&disk.path, sql), format!("{expected}\n"), "{sql}");
    let at = "2027-01-15T08:00:00.000000Z";
    check(
        "SELECT run_id, tenant_id, started_at, status FROM aos_traces ORDER BY started_at DESC LIMIT 1;",
        &format!("r_1|t_1|{at}|completed"),
    );
    check("SELECT COUNT(*) AS step_count FROM aos_trace_steps WHERE trace_id='trace_r_1';", "5");
    check(
        "SELECT id, tenant_id, origin_system_id, status, plan_json IS NOT NULL AS has_plan FROM runs WHERE id = 'r_1';",
        "r_1|t_1|tests|succeeded|1",
    );
    check(
        "SELECT trace_id, run_id, status, started_at, completed_at FROM aos_traces WHERE run_id = 'r_1';",
        &format!("trace_r_1|r_1|completed|{at}|{at}"),
    );
    check(
        "SELECT step_index, skill_name, status, duration_ms, cost_cents, source, level FROM aos_trace_steps WHERE trace_id = 'trace_r_1';",
        "0|look|success|0.0|0.00025|engine|INFO\n1|sum|success|0.0|0.00025|engine|INFO\n2|note|success|0.0|0.00025|engine|INFO\n3|gone|failure|0.0|0.0|engine|ERROR\n4|pay|success|0.0|0.00025|engine|INFO",
    );
    check("SELECT version_num FROM alembic_version;", "0004");
}

#[test]
fn the_sqlite_program_finds_the_file_whole_and_meets_its_rules() {
    let disk = ended_run();
    assert_eq!(sqlite3(&disk.path, "PRAGMA integrity_check; PRAGMA foreign_key_check;"), "ok\n");
    let schema = sqlite3(&disk.path, ".schema");
    assert!(schema.contains("CREATE TRIGGER transitions_delete"), "{schema}");
    let output = Command::new("sqlite3").arg(&disk.path).arg("DELETE FROM runs;").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("runs: direct DELETE not allowed"), "{output:?}");
    assert_eq!(sqlite3(&disk.path, "SELECT count(*) FROM runs;"), "1\n");
}
