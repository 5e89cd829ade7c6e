//! `chaos` itself, small: real workers, servers of its own, every kind of fault; and that a changed record is noticed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use runproof::chaos::history::{Recorded, read};
use runproof::chaos::judge::{Promise, Seen, judge};
use runproof::chaos::scenario::{Scenario, Size};
use runproof_proof::finding::Verdict;
use runproof_proof::note::NoteVerifier;
use runproof_proof::trust::Trust;
use runproof_store::Store;
use runproof_store::sqlite::SqliteStore;
use rusqlite::Connection;
use serde_json::Value;

/// Runs `chaos`, and answers its exit code and what it printed.
fn chaos(arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    let ended = command.arg("chaos").args(arguments).arg("--json").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&ended.stderr)));
    (ended.status.code(), value)
}

/// Every promise was kept, every run was opened and is over.
fn assert_clean((code, report): &(Option<i32>, Value), runs: u64) {
    assert_eq!(*code, Some(0), "{report:#}");
    assert_eq!(report["breaches"], Value::Array(Vec::new()));
    assert_eq!(report["runs"]["opened"], runs);
    let statuses = report["runs"]["by_status"].as_object().unwrap();
    assert!(statuses.keys().all(|status| status == "succeeded" || status == "failed"), "{report:#}");
    assert_eq!(statuses.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), runs, "{report:#}");
    assert_eq!(report["ledger"]["verdict"], "VERIFIED");
    assert!(report["receiver"]["effects"].as_u64().unwrap() > 0, "{report:#}");
}

fn happened(report: &Value, fault: &str) -> u64 {
    report["faults"][fault].as_u64().unwrap_or(0)
}

#[test]
fn nothing_is_lost_and_nothing_unsafe_repeated_on_postgres_behind_a_pooler() {
    let folder = tempfile::tempdir_in("/tmp").unwrap(); // where the user of the servers can reach it
    let keep = folder.path().join("trial");
    let keep = keep.to_str().unwrap();
    let ended =
        chaos(&["--seed", "11", "--runs", "40", "--workers", "3", "--seconds", "10", "--pooler", "on", "--keep", keep]);
    let report = &ended.1;
    assert_clean(&ended, 40);
    for fault in [
        "worker killed",
        "worker frozen",
        "connection cut",
        "commit lost",
        "commit reply lost",
        "network slowed",
        "postgres crashed",
        "pooler killed",
        "receiver's reply lost",
    ] {
        assert!(happened(report, fault) > 0, "no {fault}: the trial shows too little: {report:#}");
    }
    assert!(report["recovery"]["runs"].as_u64().unwrap() > 0, "no run lost its worker: {report:#}");
    let kept: Value = serde_json::from_slice(&std::fs::read(Path::new(keep).join("report.json")).unwrap()).unwrap();
    assert_eq!(kept, *report);
}

#[test]
fn nothing_is_lost_and_nothing_unsafe_repeated_on_the_embedded_store() {
    let ended = chaos(&["--store", "sqlite", "--seed", "3", "--runs", "40", "--seconds", "6"]);
    assert_clean(&ended, 40);
    assert!(happened(&ended.1, "worker killed") > 3, "{:#}", ended.1);
    assert!(ended.1["recovery"]["runs"].as_u64().unwrap() > 0, "no run lost its worker: {:#}", ended.1);
    assert_eq!(ended.1["left_out"].as_array().unwrap().len(), 1, "what it does not show is said");
}

#[test]
fn a_folder_in_which_something_is_and_stores_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "").unwrap();
    let keep = folder.path().to_str().unwrap();
    for arguments in
        [&["--store", "sqlite", "--keep", keep][..], &["--store", "sqlite", "--database-url", "postgres://x/y"]]
    {
        let (code, refusal) = chaos(arguments);
        assert_eq!((code, &refusal["error"]["code"]), (Some(2), &"chaos.failed".into()), "{refusal}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_trial_that_is_interrupted_leaves_no_worker_behind() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("trial");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.args(["chaos", "--store", "sqlite", "--seed", "3", "--runs", "20", "--seconds", "60", "--keep"]).arg(&keep);
    let mut trial = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(trial.stderr.take().unwrap()).lines();
    let under_way = lines.map_while(Result::ok).any(|line| line.contains("faults to come"));
    assert!(under_way, "the trial ended by itself");
    let home = runproof::home::Home::at(keep.join("home"));
    let engine = || SqliteStore::open_engine(&keep.join("runproof.db"), home.notary().unwrap());
    let signal = format!("kill -s TERM {}", trial.id());
    assert!(Command::new("sh").args(["-c", &signal]).status().unwrap().success());
    assert_eq!(trial.wait().unwrap().code(), Some(6));
    assert_eq!(engine().err().map(|error| error.to_string()), None, "a worker holds the lock of the engine");
}

/// The runs that a kept trial recorded, read and proved again.
fn recorded(database: &Path, trust: &Trust) -> Vec<Recorded> {
    let store = SqliteStore::open_reader(database).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut runs = Vec::new();
        for listed in store.list_runs(None, 100).await.unwrap() {
            let loaded = store.load_run(&listed.tenant_id, &listed.run_id).await.unwrap().unwrap();
            let goal = loaded.goal.as_deref().and_then(Value::as_str).unwrap().to_owned();
            let number = goal.rsplit(' ').next().unwrap().parse().unwrap();
            runs.push(read(&store, number, &listed.tenant_id, &listed.run_id, trust).await.unwrap());
        }
        runs
    })
}

/// What is said of these runs, as far as the record alone can say it.
fn broken(scenario: &Scenario, runs: Vec<Recorded>) -> Vec<(Promise, String)> {
    let judgement =
        judge(&Seen { planned: scenario.runs.clone(), runs, ledger: Some(Verdict::Verified), ..Seen::default() });
    let by_record = [Promise::NothingLost, Promise::ChainsWhole, Promise::NothingStale];
    let breaches = judgement.breaches.into_iter().filter(|breach| by_record.contains(&breach.promise));
    breaches.map(|breach| (breach.promise, breach.run_id)).collect()
}

#[test]
fn a_record_that_was_changed_afterwards_is_a_broken_promise() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("trial");
    let (code, report) =
        chaos(&["--store", "sqlite", "--seed", "5", "--runs", "6", "--seconds", "5", "--keep", keep.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report:#}");
    let size = Size { runs: 6, workers: 1, lasts: Duration::from_secs(5), lease: None, servers: false, pooler: false };
    let scenario = Scenario::new(5, &size);
    let home = runproof::home::Home::at(keep.join("home"));
    let key = NoteVerifier::parse(&home.signer().unwrap().verifier().vkey()).unwrap();
    let trust = Trust::in_key("outside", key);
    let database = keep.join("runproof.db");
    let honest = recorded(&database, &trust);
    assert_eq!(broken(&scenario, honest.clone()), []);

    let (changed, gone) = (honest[0].run_id.clone(), honest[1].run_id.clone());
    forge(&database, &changed, &gone);
    let mut expected = vec![(Promise::NothingLost, gone), (Promise::ChainsWhole, changed)];
    expected.sort();
    let mut found = broken(&scenario, again(&honest, &database, &trust));
    found.sort();
    assert_eq!(found, expected);
}

/// The same runs, as the database has them now.
fn again(before: &[Recorded], database: &Path, trust: &Trust) -> Vec<Recorded> {
    let store = SqliteStore::open_reader(database).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let one = |run: &Recorded| runtime.block_on(read(&store, run.number, &run.tenant, &run.run_id, trust)).unwrap();
    before.iter().map(one).collect()
}

/// Changes what the end of one run says, and removes the events of another, as somebody can who owns the file.
fn forge(database: &Path, changed: &str, gone: &str) {
    let connection = Connection::open(database).unwrap();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'transitions'";
    let mut statement = connection.prepare(sql).unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    for trigger in triggers {
        connection.execute(&format!("DROP TRIGGER {trigger}"), []).unwrap();
    }
    let sql = "UPDATE transitions SET events = replace(events, '\"reason\":\"plan_completed\"', '\"reason\":\"limit_reached\"')
               WHERE stream = ?1";
    connection.execute(sql, [format!("run/{changed}")]).unwrap();
    let removed = connection.execute("DELETE FROM transitions WHERE stream = ?1", [format!("run/{gone}")]).unwrap();
    assert!(removed > 0);
}
