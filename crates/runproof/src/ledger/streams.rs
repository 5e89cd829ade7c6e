//! Streams that are not runs: the log's own and one for each tenant. They grow with the ledger, so they are read in its
//! order, one transition at a time; of each only the head is kept.

use runproof_engine::audit;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Cell, Row};
use runproof_proof::event::{Body, Event, Stream};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::Hash;
use runproof_store::TransitionRow;
use serde::{Deserialize, Serialize};

use super::Work;
use crate::prove::whole;

/// Where a stream stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Head {
    next_seq: u64,
    head: Option<Hash>,
    at: u64,
    /// Run numbers given out.
    runs: u64,
}

/// Takes in a transition of a stream that is no run's.
pub(super) fn transition(work: &mut Work<'_>, row: &TransitionRow) -> Result<(), StoreError> {
    let first = row.events.split('\n').next().and_then(|line| Event::decode(line.as_bytes()).ok());
    // Where the columns and the events disagree, the events say whose they are.
    let (tenant, stream) = match &first {
        Some(event) => (event.tenant.clone().unwrap_or_default(), event.stream.name()),
        None => (row.tenant.clone(), row.stream.clone()),
    };
    if stream.starts_with("run/") {
        let finding = Finding::new(Code::RowChanged, "", format!("transitions.stream[{}]", row.key()));
        return work.find(finding.differs(&stream, &row.stream));
    }
    let kept = work.state.head(&tenant, &stream)?;
    let mut head: Head = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let told = whole::transition(row, (&tenant, &stream), head.next_seq);
    work.find_all(told.findings)?;
    for (event, leaf) in &told.events {
        follow(work, (&tenant, &stream), &head, event)?;
        record(work, &tenant, &mut head, event, row.first_leaf.unwrap_or(u64::MAX))?;
        head.next_seq = event.seq.saturating_add(1);
        head.head = Some(*leaf);
        head.at = head.at.max(event.at);
    }
    for row in told.rows {
        shared_row(work, &row)?;
    }
    let text = serde_json::to_string(&head).expect("numbers and hashes always encode");
    work.state.set_head(&tenant, &stream, &text)
}

/// An event has to follow the one before it.
fn follow(work: &mut Work<'_>, (tenant, stream): (&str, &str), head: &Head, event: &Event) -> Result<(), StoreError> {
    let find = |code, path: &str| Finding::new(code, "", format!("{stream} $.{path}")).at(event.seq);
    let mut findings = Vec::new();
    let prev = head.head.unwrap_or(Hash::ZERO);
    if event.prev != prev {
        findings.push(find(Code::ChainLink, "prev").differs(prev, event.prev));
    }
    if event.seq != head.next_seq {
        findings.push(find(Code::ChainLink, "seq").differs(head.next_seq, event.seq));
    }
    if event.at < head.at {
        findings.push(find(Code::ChainTime, "at").differs(format!("at least {}", head.at), event.at));
    }
    if event.log != work.snapshot.log() {
        findings.push(find(Code::ChainIdentity, "log").differs(work.snapshot.log(), &event.log));
    }
    let owner = match &event.stream {
        Stream::Tenant(id) => id.as_str(),
        Stream::Log | Stream::Run(_) => "",
    };
    if event.stream.name() != stream || event.tenant.as_deref().unwrap_or_default() != tenant || owner != tenant {
        findings.push(find(Code::ChainIdentity, "stream").differs(stream, event.stream.name()));
    }
    let is_first = matches!(event.body, Body::TenantCreated(_) | Body::LogCreated(_));
    if is_first != (event.seq == 0) {
        findings.push(find(Code::StructureOrder, "kind").differs("a creation, and only there", event.body.kind()));
    }
    work.find_all(findings)
}

/// Remembers what an event says about runs and agents, until they are looked at.
fn record(
    work: &mut Work<'_>,
    tenant: &str,
    head: &mut Head,
    event: &Event,
    first_leaf: u64,
) -> Result<(), StoreError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "other events of a tenant call for no row")]
    match &event.body {
        Body::TenantRunOpened(body) => {
            head.runs += 1;
            if body.run_no != head.runs {
                let finding =
                    Finding::new(Code::StructureOrder, &body.run_id, format!("tenant/{tenant} $.body.run_no"));
                work.find(finding.at(event.seq).differs(head.runs, body.run_no))?;
                head.runs = body.run_no;
            }
            let stream = format!("run/{}", body.run_id);
            if !work.snapshot.has_stream(tenant, &stream)? && !work.state.is_kept(tenant, &body.run_id)? {
                let finding = Finding::new(Code::RunMissing, &body.run_id, "transitions");
                work.find(finding.differs("the events of a run that was opened", "none"))?;
            }
            work.state.add_record(tenant, &stream, first_leaf)
        }
        Body::TenantValueErased(body) => work.state.add_record(tenant, &format!("run/{}", body.run_id), first_leaf),
        Body::TenantHoldPlaced(body) => work.state.add_record(tenant, &format!("run/{}", body.run_id), first_leaf),
        Body::TenantHoldLifted(body) => work.state.add_record(tenant, &format!("run/{}", body.run_id), first_leaf),
        Body::TenantRunArchived(body) => kept(work, tenant, &body.run_id, "archives", first_leaf),
        Body::TenantRunPurged(body) => kept(work, tenant, &body.run_id, "tombstones", first_leaf),
        Body::TenantAgentCreated(body) => {
            work.state.add_record(tenant, &format!("agent/{}", body.agent_id), first_leaf)
        }
        _ => Ok(()),
    }
}

/// A run that was archived or purged has a row that says so, or what came after it.
fn kept(work: &mut Work<'_>, tenant: &str, run_id: &str, table: &str, first_leaf: u64) -> Result<(), StoreError> {
    if !work.state.is_kept(tenant, run_id)? {
        let finding = Finding::new(Code::RowMissing, run_id, format!("{table}[run_id={run_id}]"));
        work.find(finding.differs("a row", "none"))?;
    }
    work.state.add_record(tenant, &format!("run/{run_id}"), first_leaf)
}

/// The row of `tenants` or `agents` that an event calls for.
fn shared_row(work: &mut Work<'_>, row: &Row) -> Result<(), StoreError> {
    let text = |column: &str| match row.get(column) {
        Cell::Text(text) => Some(text.as_str()),
        Cell::Null | Cell::Int(_) => None,
    };
    let key: Vec<&str> = ["tenant_id", "id"].into_iter().filter_map(text).collect();
    let got = work.snapshot.shared_rows(row.table, &key)?;
    work.find_all(audit::compare("", row.table, std::slice::from_ref(row), &got))
}
