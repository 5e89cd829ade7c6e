//! Every run against its rows, and rows that no event explains.

use std::ops::ControlFlow;

use runproof_engine::ports::StoreError;
use runproof_proof::finding::{Code, Finding};
use runproof_proof::merkle::Range;
use runproof_store::{KeptRun, RunStream};

use super::report::Findings;
use super::{Progress, Tick, Work};
use crate::prove::whole;

/// Looks at every run that has something new since it was looked at last. A run is always looked at as a whole.
pub(super) fn verify(work: &mut Work<'_>, tick: Tick<'_>) -> Result<ControlFlow<()>, StoreError> {
    let (before, last) = (work.position.runs_size, work.position.last_run.clone());
    let total = work.snapshot.run_count()?;
    let mut done = 0;
    let snapshot = work.snapshot;
    let end = snapshot.run_streams(("", ""), &mut |run| {
        let records = work.state.records(&run.tenant, &format!("run/{}", run.run_id))?;
        let newest = records.last().copied().unwrap_or(0).max(run.last_leaf);
        let key = (run.tenant.clone(), run.run_id.clone());
        // What was done before an interruption counts only for the leaves that were there then.
        let is_done = key <= last;
        done += 1;
        let is_due = newest >= if is_done { before } else { work.position.runs_since };
        if is_done && !is_due {
            return Ok(ControlFlow::Continue(()));
        }
        if is_due {
            look_at(work, &run, &records)?;
        }
        if !is_done {
            work.position.last_run = key;
            work.position.runs_size = work.position.size;
        }
        work.step()?;
        Ok(tick(Progress { what: "runs", done, total: total.max(done) }))
    })?;
    if end.is_continue() {
        work.position.runs_size = work.position.size;
    }
    Ok(end)
}

fn look_at(work: &mut Work<'_>, run: &RunStream, records: &[u64]) -> Result<(), StoreError> {
    let evidence = work.snapshot.evidence(&run.tenant, &run.run_id, records)?;
    let snapshot = work.snapshot;
    let hashes = |ranges: &[Range]| snapshot.subtree_roots(ranges);
    let (findings, is_over) = whole::run(&evidence, &run.tenant, &run.run_id, work.trust, hashes);
    work.position.counts.runs += 1;
    work.position.counts.open_runs += u64::from(!is_over);
    work.find_all(findings)
}

/// Looks at every archive and every tombstone. What is found here is found again each time, and not kept in the state.
pub(super) fn kept(work: &mut Work<'_>, tick: Tick<'_>) -> Result<ControlFlow<()>, StoreError> {
    let snapshot = work.snapshot;
    let hashes = |ranges: &[Range]| snapshot.subtree_roots(ranges);
    let (mut done, mut counts) = (0, (0, 0));
    let (state, findings, trust) = (work.state, &mut work.findings, work.trust);
    let end = snapshot.kept(&mut |run| {
        let KeptRun { tenant_id, run_id, .. } = &run;
        let records = state.records(tenant_id, &format!("run/{run_id}"))?;
        let evidence = snapshot.evidence(tenant_id, run_id, &records)?;
        let found = if run.state == "purged" {
            counts.1 += 1;
            whole::tombstone(&evidence, tenant_id, run_id, hashes)
        } else if evidence.transitions.is_empty() {
            counts.0 += 1;
            whole::run(&evidence, tenant_id, run_id, trust, hashes).0
        } else {
            Vec::new() // its rows are still there, and were looked at with them
        };
        for finding in found {
            findings.add(finding);
        }
        done += 1;
        Ok(tick(Progress { what: "archived and purged runs", done, total: done }))
    })?;
    (work.position.counts.archived_runs, work.position.counts.purged_runs) = counts;
    Ok(end)
}

/// Rows of projections, tenants and agents that are about something of which the ledger has no event.
pub(super) fn rows_without_events(work: &Work<'_>) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings::default();
    let extra = |table: &str, id: &str, tenant: &str| {
        let place = format!("{table}[tenant_id={tenant}, id={id}]");
        let run_id =
            if matches!(table, "tenants" | "agents" | "leaves") { "" } else { id.trim_start_matches("trace_") };
        Finding::new(Code::RowExtra, run_id, place).differs("no row", "a row without events")
    };
    work.snapshot.rows_without_events(&mut |table, tenant, id| {
        findings.add(extra(table, id, tenant));
    })?;
    let mut failed = None;
    work.snapshot.agents(&mut |tenant, id| match work.state.records(tenant, &format!("agent/{id}")) {
        Ok(records) if records.is_empty() => {
            findings.add(extra("agents", id, tenant));
        }
        Ok(_) => {}
        Err(error) => failed = Some(error),
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(findings.list().to_vec()),
    }
}
