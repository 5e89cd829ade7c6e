//! Rows that a run shares with others: its tenant, its agent, and the checkpoint that covers it.

use runproof_engine::audit::{self, RawRow};
use runproof_engine::projection::{Cell, Row, rfc3339};
use runproof_proof::bundle::Bundle;
use runproof_proof::event::Body;
use runproof_proof::finding::Finding;

use super::{Evidence, Placed};

/// Compares them with what the tenant's stream and the signed note say. A store without such rows has none to compare.
pub(super) fn compare(evidence: &Evidence, bundle: &Bundle, tenant_events: &[&Placed], run_id: &str) -> Vec<Finding> {
    let agent = bundle.entries.first().and_then(|entry| {
        let Body::RunCreated(body) = &entry.event.body else { return None };
        Some(body.agent.clone())
    });
    let mut expected: Vec<Row> = tenant_events.iter().filter_map(|placed| row(placed, agent.as_deref())).collect();
    expected.extend(super::checkpoint(evidence).map(|(note, checkpoint)| {
        let size = Cell::Int(i64::try_from(checkpoint.size).unwrap_or(i64::MAX));
        let cells = vec![("size", size), ("root", Cell::Text(checkpoint.root.hex())), ("note", Cell::Text(note))];
        Row { table: "checkpoints", key: &["note"], cells }
    }));
    let is_ours =
        |table: &str, raw: &&RawRow| table != "agents" || raw.get("id") == agent.clone().map(Cell::Text).as_ref();
    let mut findings = Vec::new();
    for (table, got) in &evidence.shared {
        let expected: Vec<Row> = expected.iter().filter(|row| row.table == *table).cloned().collect();
        let got: Vec<RawRow> = got.iter().filter(|raw| is_ours(table, raw)).cloned().collect();
        // Without a readable checkpoint there is nothing to compare with: another check says so.
        if *table != "checkpoints" || !expected.is_empty() {
            findings.extend(audit::compare(run_id, table, &expected, &got));
        }
    }
    findings
}

/// The row of `tenants` or `agents` that an event of the tenant's stream calls for.
fn row(placed: &Placed, agent: Option<&str>) -> Option<Row> {
    let event = &placed.entry.event;
    let (tenant, at) = (Cell::Text(event.tenant.clone()?), Cell::Text(rfc3339(event.at)));
    if matches!(event.body, Body::TenantCreated(_)) {
        return Some(Row { table: "tenants", key: &["id"], cells: vec![("id", tenant), ("created_at", at)] });
    }
    let Body::TenantAgentCreated(body) = &event.body else { return None };
    let opened = placed.entry.payload.as_ref().and_then(|payload| payload.open(&event.commitments()).ok())?;
    let name = Cell::Text(opened.values.get("name")?.as_str()?.to_owned());
    let id = Cell::Text(body.agent_id.clone());
    let cells = vec![("tenant_id", tenant), ("id", id), ("name", name), ("created_at", at)];
    (agent == Some(body.agent_id.as_str())).then_some(Row { table: "agents", key: &["id"], cells })
}

/// The row of `tenants` or `agents` that an event calls for, whatever run is asked about.
pub(super) fn any_row(placed: &Placed) -> Option<Row> {
    let Body::TenantAgentCreated(body) = &placed.entry.event.body else { return row(placed, None) };
    row(placed, Some(&body.agent_id))
}
