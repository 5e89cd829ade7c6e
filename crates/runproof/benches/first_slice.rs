//! Prints ratios measured in one run: verification against raw SHA-256, first sealed run, idle memory, bytes on disk.
//!
//! `cargo bench -p runproof`. Machines are noisy: read the ratios, not the times, and never test them.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runproof_engine::replay;
use runproof_proof::bundle::Bundle;
use runproof_proof::finding::Verdict;
use runproof_proof::hash::sha256;
use runproof_proof::note::NoteVerifier;
use runproof_proof::trust::Trust;
use runproof_proof::verify;
use serde_json::{Value, json};

const STEPS: usize = 100;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let home = folder.path();
    run(home, &["init"]);
    run(home, &["create-tenant", "--id", "bench"]);
    run(home, &["create-agent", "--name", "bench", "--tenant-id", "bench"]);

    println!("{:<52} {:>12}  aim", "measure", "value");
    let mut starts: Vec<Duration> = (0..9).map(|_| start_to_seal(home)).collect();
    starts.sort();
    println!(
        "{:<52} {:>9.1} ms  <= 200 ms",
        "start of process to first sealed run (median of 9)",
        starts[4].as_secs_f64() * 1e3
    );
    println!("{:<52} {:>9.1} MB  <= 60 MB", "idle memory of a worker (resident)", idle_memory(home));

    for (name, size) in [("64 B", 64), ("600 B", 600), ("8 KiB", 8192)] {
        let before = disk(home);
        let file = home.join(format!("{size}.runproof"));
        let events = big_run(home, size, &file);
        let per_step = (disk(home) - before) as f64 / STEPS as f64;
        println!("{:<52} {per_step:>10.0} B", format!("disk per step, values of {name}"));
        verification(home, &file, name, events);
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.env_clear().env("RUNPROOF_HOME", home).stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Value {
    let output = command(home).args(arguments).arg("--json").output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

fn start_to_seal(home: &Path) -> Duration {
    let started = Instant::now();
    let value = run(home, &["run", "--tenant-id", "bench", "--agent-id", "bench", "--goal", "say hello"]);
    let elapsed = started.elapsed();
    assert_eq!(value["proof"]["verdict"], "VERIFIED");
    elapsed
}

/// Resident memory of a worker with nothing to do, in megabytes.
fn idle_memory(home: &Path) -> f64 {
    let mut worker =
        command(home).arg("worker").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a worker starts");
    std::thread::sleep(Duration::from_secs(1)); // long enough to be idle; nothing depends on the exact moment
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap_or_default();
    worker.kill().expect("the worker is ours");
    worker.wait().expect("the worker is ours");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Bytes of the database with everything that belongs to it.
fn disk(home: &Path) -> u64 {
    run(home, &["worker", "--drain"]); // the last process closes the write-ahead log into the file
    let files = std::fs::read_dir(home).expect("the home is there").flatten();
    let sizes = files.filter(|file| file.file_name().to_string_lossy().starts_with("runproof.db"));
    sizes.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
}

/// A run of many local steps with values of a size. Answers the number of events.
fn big_run(home: &Path, size: usize, file: &Path) -> u64 {
    let text = "The quick brown fox. ".repeat(size / 21 + 1)[..size].to_owned();
    let step = |index: usize| {
        json!({ "id": format!("s{index}"), "skill": "json_transform",
                "with": { "payload": { "text": format!("{index} {text}") }, "mapping": { "copy": "text" } } })
    };
    let steps: Vec<Value> = (0..STEPS).map(step).collect();
    let plan = home.join("plan.json");
    let text = json!({ "schema": "runproof.plan/v1", "steps": steps }).to_string();
    // A plan is one value of at most 1 MiB; larger values come from outside, so the biggest case has fewer steps.
    assert!(text.len() < 4 * 1024 * 1024);
    std::fs::write(&plan, text).expect("the plan can be written");
    let plan = plan.to_string_lossy().into_owned();
    let value = run(home, &["run", "--tenant-id", "bench", "--agent-id", "bench", "--plan", &plan]);
    let id = value["run_id"].as_str().expect("a run id").to_owned();
    let proof = run(home, &["proof", &id, "--tenant-id", "bench", "--bundle", &file.to_string_lossy()]);
    proof["event_count"].as_u64().expect("a number of events")
}

/// Time of the fastest of several rounds.
fn fastest(mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..15).map(round).min().unwrap_or_default()
}

fn verification(home: &Path, file: &Path, name: &str, events: u64) {
    let bytes = std::fs::read(file).expect("the bundle is there");
    let key = run(home, &["key", "show"])["vkey"].as_str().expect("a key").to_owned();
    let trust = Trust::in_key("--key", NoteVerifier::parse(&key).expect("a key"));
    let raw = fastest(|| assert_ne!(sha256(&bytes).0[0..4], [0; 4]));
    let evidence = fastest(|| assert_eq!(verify::verify(&bytes, &trust).verdict(), Verdict::Verified));
    let all = fastest(|| {
        let bundle = Bundle::parse(&bytes).expect("a bundle");
        let mut report = verify::examine(&bundle, &trust);
        replay::check(&bundle, &mut report);
        assert_eq!(report.verdict(), Verdict::Verified);
    });
    let share = |time: Duration| 100.0 * raw.as_secs_f64() / time.as_secs_f64();
    let speed = events as f64 / evidence.as_secs_f64();
    println!("{:<52} {:>10.1} %  >= 15 %", format!("verify against raw SHA-256, values of {name}"), share(evidence));
    println!("{:<52} {:>10.1} %", format!("verify and replay against raw SHA-256, values of {name}"), share(all));
    println!("{:<52} {speed:>10.0} /s", format!("events verified, values of {name} ({} bytes a bundle)", bytes.len()));
}
