//! `kill -9` of the real binary in a loop, with the effects counted outside of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const RUNS: usize = 12;
const KILLS: u32 = 20;
/// How long the receiver takes to answer: the window in which a kill leaves an effect without a record.
const ANSWER_AFTER: Duration = Duration::from_millis(20);

/// How often each effect happened, by idempotency key.
type Effects = Arc<Mutex<BTreeMap<String, u32>>>;

struct Receiver {
    address: std::net::SocketAddr,
    effects: Effects,
    /// Calls of the steps that must not be repeated.
    unsafe_effects: Arc<AtomicU32>,
}

/// A receiver that counts what reaches it, by idempotency key; `/probe` answers whether a key took effect.
fn receiver() -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let effects = Effects::default();
    let unsafe_effects = Arc::new(AtomicU32::new(0));
    let (counted, dangerous) = (Arc::clone(&effects), Arc::clone(&unsafe_effects));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (counted, dangerous) = (Arc::clone(&counted), Arc::clone(&dangerous));
            std::thread::spawn(move || answer(stream, &counted, &dangerous));
        }
    });
    Receiver { address, effects, unsafe_effects }
}

fn answer(stream: TcpStream, effects: &Effects, unsafe_effects: &AtomicU32) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut key, mut length) = (String::new(), 0usize);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let status = if path == "/probe" {
        let known = effects.lock().ok()?.contains_key(&key);
        if known { "200 OK" } else { "404 Not Found" }
    } else {
        if method != "GET" {
            *effects.lock().ok()?.entry(key).or_default() += 1;
        }
        if path.starts_with("/unsafe") {
            unsafe_effects.fetch_add(1, Ordering::SeqCst);
        }
        // The effect has happened; the answer takes its time, so that kills fall between the two.
        std::thread::sleep(ANSWER_AFTER);
        "200 OK"
    };
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    reader.get_mut().write_all(text.as_bytes()).ok()
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.env_clear().env("RUNPROOF_HOME", home).env("RUNPROOF_EGRESS_ALLOW", "127.0.0.1").stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = command(home).args(arguments).arg("--json").output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&stderr)));
    (status.code(), value)
}

fn plan(address: std::net::SocketAddr) -> Value {
    let call = |id: &str, method: &str, extra: Value| {
        let mut with = json!({ "url": format!("http://{address}/{id}"), "method": method });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let retry = json!({ "max_attempts": 20, "initial_delay_ms": 1, "max_delay_ms": 5 });
        json!({ "id": id, "skill": "http_call", "with": with, "retry": retry })
    };
    json!({ "schema": "runproof.plan/v1", "steps": [
        call("read", "GET", json!({})),
        call("idempotent", "PUT", json!({ "text": "x" })),
        call("unsafe", "POST", json!({ "text": "x" })),
        call("probeable", "POST", json!({ "text": "x", "probe_url": format!("http://{address}/probe") })),
        call("keyed", "POST", json!({ "text": "x", "idempotent": true })),
        { "id": "pure", "skill": "json_transform", "with": { "payload": { "a": 1 }, "mapping": { "b": "a" } } },
        { "id": "count", "skill": "kv_store", "with": { "operation": "incr", "key": "counted" } },
        call("unsafe_again", "POST", json!({ "text": "x" })),
    ]})
}

/// Starts a worker and kills it: after a while, the whiles spread over the length of a run; or, every second time, the
/// moment an unsafe effect has happened and the receiver has not answered yet.
fn kill_one(home: &Path, round: u32, receiver: &Receiver) {
    let before = receiver.unsafe_effects.load(Ordering::SeqCst);
    let mut worker =
        command(home).args(["worker", "--drain"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    if round.is_multiple_of(2) {
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 110) + 12));
    } else {
        let started = Instant::now();
        let waits =
            || receiver.unsafe_effects.load(Ordering::SeqCst) == before && started.elapsed() < Duration::from_secs(3);
        while waits() && worker.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    worker.kill().unwrap(); // SIGKILL, by the child's own id
    worker.wait().unwrap();
}

#[test]
fn killing_the_worker_again_and_again_loses_nothing_and_repeats_nothing_unsafe() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let receiver = receiver();
    let plan_file = home.join("plan.json");
    run(home, &["init"]);
    run(home, &["create-tenant", "--id", "t"]);
    run(home, &["create-agent", "--name", "a", "--tenant-id", "t"]);
    std::fs::write(&plan_file, plan(receiver.address).to_string()).unwrap();
    let plan_file = plan_file.to_str().unwrap();
    let queue = ["run", "--tenant-id", "t", "--agent-id", "a", "--plan", plan_file, "--no-wait"];
    let runs: Vec<String> = (0..RUNS)
        .map(|_| {
            let (code, value) = run(home, &queue);
            assert_eq!(code, Some(0));
            value["run_id"].as_str().unwrap().to_owned()
        })
        .collect();
    for round in 0..KILLS {
        kill_one(home, round, &receiver);
    }
    let resolved = settle(home, &runs, &receiver);
    assert!(resolved > 0, "no kill fell between an unsafe effect and its record: the test shows nothing");
    audit(home, &runs, &receiver, resolved);
}

/// Drains; a person answers every unknown by looking at the receiver, until all runs are over. Answers how many.
fn settle(home: &Path, runs: &[String], receiver: &Receiver) -> u64 {
    let mut resolved = 0;
    loop {
        assert_eq!(run(home, &["worker", "--drain"]).0, Some(0));
        let all = runs.iter().map(|id| run(home, &["get-run", id]).1);
        let waiting: Vec<Value> = all.filter(|run| run["status"] == "waiting").collect();
        if waiting.is_empty() {
            return resolved;
        }
        for waiting_run in &waiting {
            assert_eq!(waiting_run["wait_reason"], "resolution", "{waiting_run}");
            let id = waiting_run["run_id"].as_str().unwrap();
            let step = waiting_run["wait_ref"].as_str().unwrap();
            let happened = receiver.effects.lock().unwrap().get(&key(home, id, step)).is_some_and(|count| *count > 0);
            let word = if happened { "done" } else { "not-done" };
            let (code, answer) = run(home, &["resolve", id, step, word, "--reason", "looked at the receiver"]);
            assert_eq!(code, Some(0), "{answer}");
            resolved += 1;
        }
    }
}

/// The idempotency key of a step, from the journal.
fn key(home: &Path, run_id: &str, step: &str) -> String {
    let database = rusqlite::Connection::open(home.join("runproof.db")).unwrap();
    let mut statement = database.prepare("SELECT events FROM transitions WHERE stream = ?1").unwrap();
    let rows = statement.query_map([format!("run/{run_id}")], |row| row.get::<_, String>(0)).unwrap();
    let lines: Vec<String> = rows.flat_map(|row| row.unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let intent = events.find(|event| event["kind"] == "step.intended" && event["body"]["step_id"] == step).unwrap();
    intent["body"]["idempotency_key"].as_str().unwrap().to_owned()
}

fn audit(home: &Path, runs: &[String], receiver: &Receiver, resolved: u64) {
    let (mut attested, mut counted) = (0, 0);
    for id in runs {
        let (_, value) = run(home, &["get-run", id]);
        assert!(matches!(value["status"].as_str(), Some("succeeded" | "failed")), "every run has ended: {value}");
        for step in value["steps"].as_array().unwrap() {
            check_step(home, receiver, id, step);
            counted += i64::from(step["step_id"] == "count" && step["status"] == "success");
        }
        let (code, proof) = run(home, &["proof", id, "--tenant-id", "t"]);
        assert_eq!((code, proof["verdict"].as_str()), (Some(0), Some("VERIFIED")), "{proof:#}");
        attested += proof["resolved"].as_u64().unwrap();
    }
    assert!(counted > 0, "no run got as far as the counter");
    assert_eq!(stored_count(home), counted, "the counter is incremented once for every step that succeeded");
    assert_eq!(attested, resolved, "every answer of a person is on record, and nothing else is");
    let listed = run(home, &["list-runs"]).1;
    assert_eq!(listed["runs"].as_array().unwrap().len(), runs.len(), "no run is lost or added");
}

/// The number that the runs share.
fn stored_count(home: &Path) -> i64 {
    let database = rusqlite::Connection::open(home.join("runproof.db")).unwrap();
    let sql = "SELECT CAST(value AS INTEGER) FROM kv WHERE tenant_id = 't' AND key = 'default:counted'";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn check_step(home: &Path, receiver: &Receiver, run_id: &str, step: &Value) {
    let (id, status) = (step["step_id"].as_str().unwrap(), step["status"].as_str().unwrap());
    if matches!(id, "read" | "pure" | "count") {
        return;
    }
    let count = receiver.effects.lock().unwrap().get(&key(home, run_id, id)).copied().unwrap_or(0);
    if status == "success" {
        assert!(count >= 1, "{id} of {run_id} is a success that never happened");
    }
    if id.starts_with("unsafe") || id == "probeable" {
        assert!(count <= 1, "{id} of {run_id} happened {count} times");
    }
}
