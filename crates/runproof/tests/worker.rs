//! The worker as a process: how it stops, whose turn it is, and runs that it cannot read.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use crate::support::{AGENT, Answer, Home, Receiver, TENANT, eventually, text};

/// A worker that a test tells to stop.
struct Stopped {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Stopped {
    fn start(home: &Home, more: &[&str]) -> Self {
        let mut child = home
            .command(&[&["worker"][..], more].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut worker = Self { child, stderr };
        worker.said("working on");
        worker
    }

    /// Waits for a line that begins so.
    fn said(&mut self, words: &str) {
        let mut line = String::new();
        while !line.starts_with(words) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended and never said `{words}`");
        }
    }

    fn terminate(&self) {
        let status = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(status.success());
    }

    /// Exit code, and what it said since.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// A receiver that says when it was asked, and answers only when it is told to.
fn gated() -> (Receiver, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let (asked, arrivals) = mpsc::channel();
    let (gate, asked) = (Mutex::new(gate), Mutex::new(asked));
    let receiver = Receiver::start(move |_, _| {
        asked.lock().unwrap().send(()).unwrap();
        gate.lock().unwrap().recv().ok()?;
        Some(Answer::json(200, &json!({ "ok": true })))
    });
    (receiver, arrivals, open)
}

/// A home whose queue holds a run of calls to the receiver, one after the other.
fn queued(receiver: &Receiver, calls: usize) -> (Home, String) {
    let home = Home::initialised();
    let step =
        |number| json!({ "id": format!("call_{number}"), "skill": "http_call", "with": { "url": receiver.url("x") } });
    let (code, run) = home.run_plan((0..calls).map(step).collect(), &["--no-wait"]);
    assert_eq!(code, 0, "{run:#}");
    let id = text(&run["run_id"]);
    (home, id)
}

fn status(home: &Home, run_id: &str) -> Value {
    home.ok(&["get-run", run_id])["status"].clone()
}

#[test]
fn a_stopped_worker_finishes_what_is_under_way_and_takes_nothing_new() {
    let (receiver, arrivals, open) = gated();
    let (home, first) = queued(&receiver, 2);
    let mut worker = Stopped::start(&home, &[]);
    arrivals.recv().unwrap();
    worker.terminate();
    worker.said("stopping: waiting for what is under way");
    // A request is still answered, and what it opens is left for another worker.
    let second = text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(worker.ended().0, Some(0));
    assert_eq!((status(&home, &first), status(&home, &second)), (json!("succeeded"), json!("queued")));
    home.ok(&["worker", "--drain"]);
    assert_eq!(status(&home, &second), json!("succeeded"));
}

#[test]
fn after_its_time_a_stopped_worker_gives_runs_back_at_their_next_step() {
    let (receiver, arrivals, open) = gated();
    let (home, run_id) = queued(&receiver, 2);
    let mut worker = Stopped::start(&home, &["--drain-timeout", "0"]);
    arrivals.recv().unwrap();
    worker.terminate();
    worker.said("stopping: giving back what is not done");
    open.send(()).unwrap();
    assert_eq!(worker.ended().0, Some(0));
    assert!(arrivals.try_recv().is_err(), "the second call was not made");
    let run = home.ok(&["get-run", &run_id]);
    assert_eq!((&run["status"], run["steps"].as_array().unwrap().len()), (&json!("retry"), 1), "{run:#}");
    open.send(()).unwrap();
    home.ok(&["worker", "--drain"]);
    let (code, proof) = home.proof(&home.ok(&["get-run", &run_id]));
    assert_eq!((code, &proof["verdict"], &proof["run_status"]), (0, &json!("VERIFIED"), &json!("succeeded")));
}

#[test]
fn a_second_signal_ends_a_worker_at_once() {
    let (receiver, arrivals, _open) = gated();
    let (home, run_id) = queued(&receiver, 1);
    let mut worker = Stopped::start(&home, &[]);
    arrivals.recv().unwrap();
    worker.terminate();
    worker.said("stopping");
    worker.terminate();
    let (code, said) = worker.ended();
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("stopped at once, with 1 run under way"), "{said}");
    assert_eq!(status(&home, &run_id), json!("running"), "whoever is the engine next goes on with it");
}

#[test]
fn a_run_that_cannot_be_read_is_named_and_stops_no_other() {
    let home = Home::initialised();
    let queue = || text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    let (damaged, whole) = (queue(), queue());
    home.sql(&format!(
        "DROP TRIGGER transitions_update;
         UPDATE transitions SET events = replace(events, 'run.created', 'run.dreamed') WHERE stream = 'run/{damaged}'"
    ));
    let ran = home.run(&["worker", "--drain"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let said = format!("run `{damaged}` of tenant `{TENANT}` cannot be read and is left alone");
    assert_eq!(ran.stderr.matches(&said).count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("unknown event kind `run.dreamed`"), "{}", ran.stderr);
    assert_eq!(status(&home, &whole), json!("succeeded"));
    assert_eq!(home.sql(&format!("SELECT epoch FROM run_queue WHERE run_id = '{damaged}'")), [["0"]]);
}

#[test]
fn runs_of_a_higher_priority_go_first() {
    let home = Home::initialised();
    let queue = |priority: &str| text(&home.run_goal("say hello", &["--no-wait", "--priority", priority]).1["run_id"]);
    let (low, high) = (queue("0"), queue("9"));
    home.ok(&["worker", "--drain", "--concurrency", "1"]);
    let order = home.sql("SELECT run_id FROM aos_traces ORDER BY completed_at");
    assert_eq!(order, [[high], [low]]);
    assert_eq!(home.run_goal("say hello", &["--priority", "10"]).0, 2);
}

#[test]
fn a_limit_holds_runs_back_until_it_is_lifted() {
    let home = Home::initialised();
    let set = |more: &[&str]| home.ok(&[&["set-limit", "--tenant-id", TENANT][..], more].concat());
    set(&["--agent-id", AGENT, "--max-running", "0"]);
    let limits = home.ok(&["limits", "--tenant-id", TENANT]);
    let limit = json!({ "tenant_id": TENANT, "agent_id": AGENT, "max_running": 0, "running": 0 });
    assert_eq!(limits, json!({ "limits": [limit] }));
    let held = text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    let _worker = home.worker();
    home.ok(&["create-agent", "--name", "second", "--tenant-id", TENANT]);
    let free = ["run", "--tenant-id", TENANT, "--agent-id", "second", "--goal", "say hello"];
    assert_eq!(home.ok(&free)["status"], "succeeded");
    assert_eq!(status(&home, &held), json!("queued"), "a later run of another agent was done meanwhile");
    set(&["--agent-id", AGENT, "--max-running", "none"]);
    eventually("the worker takes it", || (status(&home, &held) == json!("succeeded")).then_some(()));
    for (arguments, error) in [
        (["--tenant-id", "nobody", "--max-running", "1"], "tenant.missing"),
        (["--tenant-id", TENANT, "--max-running", "few"], "usage.argument"),
    ] {
        let refused = home.run(&[&["set-limit", "--json"][..], &arguments].concat());
        assert_eq!(refused.error_code(), error, "{refused:?}");
    }
}

#[test]
fn the_embedded_store_keeps_no_list_of_workers() {
    let home = Home::initialised();
    assert_eq!(home.ok(&["list-workers"]), json!({ "workers": [] }));
    assert!(home.run(&["list-workers"]).stderr.contains("one worker at most"));
}
