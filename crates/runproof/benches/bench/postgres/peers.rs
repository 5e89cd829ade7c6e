//! Two other engines of durable steps on the same cluster: `benches/peers` measures them, here they come beside ours.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::Plan;
use super::server::repository;
use crate::Outcome;
use crate::table::Table;

/// One measurement of a peer, as it printed it.
pub(super) struct Peer(Value);

/// Runs `benches/peers/run` with the same load.
pub(super) fn measure(url: &str, plan: &Plan<'_>) -> Outcome<Vec<Peer>> {
    let runs: Vec<String> = plan.concurrency.iter().map(ToString::to_string).collect();
    let seconds = plan.time.as_secs_f64().ceil() as u64;
    let output = Command::new(repository().join("benches/peers/run"))
        .arg(url.trim_end_matches('/'))
        .args(["--seconds", &seconds.to_string(), "--concurrency", &runs.join(","), "--value-bytes", "64,600"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("benches/peers/run ended with {}", output.status).into());
    }
    // A table for people follows the lines.
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| Ok(Peer(serde_json::from_str(line)?))).collect()
}

/// Adds what was measured with values of this size.
pub(super) fn show(peers: &[Peer], bytes: usize, table: &mut Table) {
    for Peer(line) in peers.iter().filter(|Peer(line)| line["value_bytes"] == bytes) {
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}, {}", word("peer"), word("version"), word("mode"));
        let measures = [
            ("runs_per_second", "runs of 5 steps", "/s"),
            ("steps_per_second", "steps", "/s"),
            ("p50_ms", "run, p50", "ms"),
            ("transactions_per_run", "transactions for a run", ""),
        ];
        for (field, measure, unit) in measures {
            let label = format!("direct {}", line["concurrency"]);
            table.cell(&format!("{name}: {measure}"), unit, label, line[field].as_f64().unwrap_or(f64::NAN), "");
        }
    }
}
