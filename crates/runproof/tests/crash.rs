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

/// Runs of steps in a line.
const RUNS: usize = 12;
/// Runs with steps side by side.
const GRAPHS: usize = 6;
const KILLS: u32 = 24;
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

/// A step that calls the receiver at the path of its id.
fn call(address: std::net::SocketAddr, id: &str, method: &str, extra: Value) -> Value {
    let mut with = json!({ "url": format!("http://{address}/{id}"), "method": method });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let retry = json!({ "max_attempts": 20, "initial_delay_ms": 1, "max_delay_ms": 5 });
    json!({ "id": id, "skill": "http_call", "with": with, "retry": retry })
}

fn line(address: std::net::SocketAddr) -> Value {
    let call = |id: &str, method: &str, extra: Value| call(address, id, method, extra);
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

/// Unsafe, idempotent and transactional calls under way at once, a list of calls that must not be repeated, and a join.
fn graph(address: std::net::SocketAddr) -> Value {
    let call = |id: &str, method: &str, extra: Value, more: Value| {
        let mut step = call(address, id, method, extra);
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let probe = format!("http://{address}/probe");
    json!({ "schema": "runproof.plan/v1", "max_parallel": 4, "steps": [
        call("unsafe_side", "POST", json!({ "text": "x" }), json!({ "needs": [] })),
        call("idempotent_side", "PUT", json!({ "text": "x" }), json!({ "needs": [] })),
        { "id": "count", "needs": [], "skill": "kv_store", "with": { "operation": "incr", "key": "counted" } },
        call("unsafe_each", "POST", json!({ "text": "{{ item }}" }),
             json!({ "needs": ["count"], "foreach": { "items": ["a", "b", "c"], "concurrency": 2 }, "on_error": "continue" })),
        call("probeable_side", "POST", json!({ "text": "x", "probe_url": probe }), json!({ "needs": ["unsafe_side"] })),
        { "id": "count_again", "needs": ["idempotent_side", "unsafe_each", "probeable_side"],
          "skill": "kv_store", "with": { "operation": "incr", "key": "counted" } },
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
    run(home, &["init"]);
    run(home, &["create-tenant", "--id", "t"]);
    run(home, &["create-agent", "--name", "a", "--tenant-id", "t"]);
    let queue = |plan: Value| {
        let file = home.join("plan.json");
        std::fs::write(&file, plan.to_string()).unwrap();
        let plan = file.to_str().unwrap();
        let (code, value) = run(home, &["run", "--tenant-id", "t", "--agent-id", "a", "--plan", plan, "--no-wait"]);
        assert_eq!(code, Some(0), "{value}");
        value["run_id"].as_str().unwrap().to_owned()
    };
    // In turn, so that kills meet both.
    let is_graph = |place: usize| place.is_multiple_of(RUNS / GRAPHS + 1);
    let plans =
        (0..RUNS + GRAPHS).map(|place| if is_graph(place) { graph(receiver.address) } else { line(receiver.address) });
    let runs: Vec<String> = plans.map(queue).collect();
    let mut resolved = Vec::new();
    for round in 0..KILLS {
        kill_one(home, round, &receiver);
        if round % 6 == 5 {
            resolved.extend(resolve_what_waits(home, &runs, &receiver)); // what goes on then is killed as well
        }
    }
    resolved.extend(settle(home, &runs, &receiver));
    for plan in ["unsafe", "unsafe_side", "unsafe_each#"] {
        let met = resolved.iter().any(|call| *call == plan || plan.ends_with('#') && call.starts_with(plan));
        assert!(met, "no kill fell between `{plan}` and its record: the test shows too little: {resolved:?}");
    }
    audit(home, &runs, &receiver, resolved.len() as u64);
}

/// Drains, and resolves what waits, until all runs are over. Answers the calls that were resolved.
fn settle(home: &Path, runs: &[String], receiver: &Receiver) -> Vec<String> {
    let mut resolved = Vec::new();
    loop {
        assert_eq!(run(home, &["worker", "--drain"]).0, Some(0));
        let calls = resolve_what_waits(home, runs, receiver);
        if calls.is_empty() {
            return resolved;
        }
        resolved.extend(calls);
    }
}

/// A person answers every unknown by looking at the receiver. Answers the calls, as `STEP` or `STEP#ITEM`.
fn resolve_what_waits(home: &Path, runs: &[String], receiver: &Receiver) -> Vec<String> {
    let mut resolved = Vec::new();
    for id in runs {
        loop {
            let shown = run(home, &["get-run", id]).1;
            if shown["status"] != "waiting" {
                break;
            }
            assert_eq!(shown["wait_reason"], "resolution", "{shown}");
            let call = shown["wait_ref"].as_str().unwrap();
            let happened = receiver.effects.lock().unwrap().get(&key(home, id, call)).is_some_and(|count| *count > 0);
            let word = if happened { "done" } else { "not-done" };
            let (code, answer) = run(home, &["resolve", id, call, word, "--reason", "looked at the receiver"]);
            assert_eq!(code, Some(0), "{answer}");
            resolved.push(call.to_owned());
        }
    }
    resolved
}

/// The idempotency key of a call, from the journal.
fn key(home: &Path, run_id: &str, call: &str) -> String {
    let database = rusqlite::Connection::open(home.join("runproof.db")).unwrap();
    let mut statement = database.prepare("SELECT events FROM transitions WHERE stream = ?1").unwrap();
    let rows = statement.query_map([format!("run/{run_id}")], |row| row.get::<_, String>(0)).unwrap();
    let lines: Vec<String> = rows.flat_map(|row| row.unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (step, item) = call.split_once('#').map_or((call, None), |(step, item)| (step, Some(item)));
    let is_it = |event: &Value| {
        let body = &event["body"];
        event["kind"] == "step.intended" && body["step_id"] == step && body.get("item").and_then(Value::as_str) == item
    };
    let intent = events.find(is_it).unwrap();
    intent["body"]["idempotency_key"].as_str().unwrap().to_owned()
}

fn audit(home: &Path, runs: &[String], receiver: &Receiver, resolved: u64) {
    let (mut attested, mut counted) = (0, 0);
    for id in runs {
        let (_, value) = run(home, &["get-run", id]);
        assert!(matches!(value["status"].as_str(), Some("succeeded" | "failed")), "every run has ended: {value}");
        for step in value["steps"].as_array().unwrap() {
            check_step(home, receiver, id, step);
            let counts = step["step_id"].as_str().unwrap().starts_with("count");
            counted += i64::from(counts && step["status"] == "success");
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
    let item = step["item"].as_str();
    let whole_list = id == "unsafe_each" && item.is_none();
    if matches!(id, "read" | "pure") || id.starts_with("count") || whole_list {
        return;
    }
    let call = item.map_or_else(|| id.to_owned(), |item| format!("{id}#{item}"));
    let count = receiver.effects.lock().unwrap().get(&key(home, run_id, &call)).copied().unwrap_or(0);
    if status == "success" {
        assert!(count >= 1, "{call} of {run_id} is a success that never happened");
    }
    if id.starts_with("unsafe") || id.starts_with("probeable") {
        assert!(count <= 1, "{call} of {run_id} happened {count} times");
    }
}
