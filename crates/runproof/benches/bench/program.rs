//! The program as a person meets it: start to proof, memory at rest, bytes on disk, speed of verification.

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

use crate::Outcome;
use crate::table::Table;

const STEPS: usize = 100;

/// Runs the real binary in a home of its own.
pub(crate) fn measure(parent: &Path, rounds: usize, table: &mut Table) -> Outcome<()> {
    let folder = tempfile::tempdir_in(parent)?;
    let home = folder.path();
    run(home, &["init"])?;
    run(home, &["create-tenant", "--id", "bench"])?;
    run(home, &["create-agent", "--name", "bench", "--tenant-id", "bench"])?;

    let mut starts = (0..rounds).map(|_| start_to_seal(home)).collect::<Outcome<Vec<Duration>>>()?;
    starts.sort();
    let median = starts[starts.len() / 2].as_secs_f64() * 1e3;
    table.one("start of the process to a sealed and verified run, median", "ms", median, "<= 200");
    table.one("idle memory of a worker (resident)", "MB", idle_memory(home)?, "<= 60");
    for (name, size) in [("64 B", 64), ("600 B", 600), ("8 KiB", 8192)] {
        let before = disk(home)?;
        let file = home.join(format!("{size}.runproof"));
        big_run(home, size, &file)?;
        let per_step = (disk(home)? - before) as f64 / STEPS as f64;
        table.one(&format!("disk for each local step, values of {name}"), "B", per_step, "");
        verification(home, &file, name, table)?;
    }
    Ok(())
}

/// The real program, with nothing from the environment.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.env_clear().env("RUNPROOF_HOME", home).stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Outcome<Value> {
    let output = command(home).args(arguments).arg("--json").output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stdout)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn start_to_seal(home: &Path) -> Outcome<Duration> {
    let started = Instant::now();
    let value = run(home, &["run", "--tenant-id", "bench", "--agent-id", "bench", "--goal", "say hello"])?;
    let elapsed = started.elapsed();
    if value["proof"]["verdict"] != "VERIFIED" {
        return Err(format!("the run is {}", value["proof"]["verdict"]).into());
    }
    Ok(elapsed)
}

/// Resident memory of a worker with nothing to do, in megabytes.
fn idle_memory(home: &Path) -> Outcome<f64> {
    let mut worker = command(home).arg("worker").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(500)); // long enough to be idle; nothing depends on the exact moment
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id()))?;
    worker.kill()?;
    worker.wait()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).ok_or("the worker had memory")?.parse::<f64>()? / 1024.0)
}

/// Bytes of the database with everything that belongs to it.
fn disk(home: &Path) -> Outcome<u64> {
    run(home, &["worker", "--drain"])?; // the last process closes the write-ahead log into the file
    let files = std::fs::read_dir(home)?.flatten();
    let sizes = files.filter(|file| file.file_name().to_string_lossy().starts_with("runproof.db"));
    Ok(sizes.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum())
}

/// A run of many local steps with values of a size, and its bundle.
fn big_run(home: &Path, size: usize, file: &Path) -> Outcome<()> {
    let text = "The quick brown fox. ".repeat(size / 21 + 1)[..size].to_owned();
    let step = |index: usize| {
        json!({ "id": format!("s{index}"), "skill": "json_transform",
                "with": { "payload": { "text": format!("{index} {text}") }, "mapping": { "copy": "text" } } })
    };
    let steps: Vec<Value> = (0..STEPS).map(step).collect();
    let plan = home.join("plan.json");
    std::fs::write(&plan, json!({ "schema": "runproof.plan/v1", "steps": steps }).to_string())?;
    let value = run(home, &["run", "--tenant-id", "bench", "--agent-id", "bench", "--plan", &plan.to_string_lossy()])?;
    let id = value["run_id"].as_str().ok_or("a run id")?;
    run(home, &["proof", id, "--tenant-id", "bench", "--bundle", &file.to_string_lossy()])?;
    Ok(())
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

fn verification(home: &Path, file: &Path, name: &str, table: &mut Table) -> Outcome<()> {
    let bytes = std::fs::read(file)?;
    let key = run(home, &["key", "show"])?["vkey"].as_str().ok_or("a key")?.to_owned();
    let trust = Trust::in_key("--key", NoteVerifier::parse(&key)?);
    let mut verdicts = Vec::new();
    let raw = fastest(|| assert_ne!(sha256(&bytes).0, [0; 32]));
    let evidence = fastest(|| verdicts.push(verify::verify(&bytes, &trust).verdict()));
    let all = fastest(|| {
        if let Ok(bundle) = Bundle::parse(&bytes) {
            let mut report = verify::examine(&bundle, &trust);
            replay::check(&bundle, &mut report);
            verdicts.push(report.verdict());
        }
    });
    if verdicts.len() != 30 || verdicts.iter().any(|verdict| *verdict != Verdict::Verified) {
        return Err(format!("the run of values of {name} does not verify").into());
    }
    let share = |time: Duration| 100.0 * raw.as_secs_f64() / time.as_secs_f64();
    table.one(&format!("verify against raw SHA-256, values of {name}"), "%", share(evidence), ">= 15");
    table.one(&format!("verify and replay against raw SHA-256, values of {name}"), "%", share(all), "");
    Ok(())
}
