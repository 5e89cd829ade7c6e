//! The same comparison for a verification of the whole ledger, which has looked at leaves, tiles and checkpoints itself.

use runproof_engine::projection::Row;
use runproof_engine::replay;
use runproof_proof::bundle::{Bundle, Header};
use runproof_proof::event::Event;
use runproof_proof::finding::{Code, Finding, Verdict};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use runproof_store::{Evidence, TransitionRow};

use super::{Placed, check_opened, columns, kept, read, rows, shared, tenant_events};

/// What one transition of a stream that is no run's says.
pub(crate) struct Told {
    /// Its events, with their leaf hashes.
    pub(crate) events: Vec<(Event, Hash)>,
    /// Rows of `tenants` and `agents` that they call for.
    pub(crate) rows: Vec<Row>,
    /// What is wrong with its columns and values.
    pub(crate) findings: Vec<Finding>,
}

/// Reads one transition of a stream of which `seq` comes next.
pub(crate) fn transition(row: &TransitionRow, (tenant, stream): (&str, &str), seq: u64) -> Told {
    let mut findings = Vec::new();
    let placed = read("", std::slice::from_ref(row), (tenant, stream), seq, &mut findings);
    findings.extend(columns::places("", std::slice::from_ref(row), None, None));
    findings.extend(columns::payloads("", &placed, &[]));
    let rows = placed.iter().filter_map(shared::any_row).collect();
    Told { events: placed.into_iter().map(|placed| (placed.entry.event, placed.entry.leaf)).collect(), rows, findings }
}

/// What is wrong with the events, values and rows of one run, and whether it is over. What a run recorded against
/// itself, such as an outcome that nobody knows, is no fault of the ledger.
///
/// An archived run is read from its archive; `hashes` gives the leaves that it names, as the tiles have them.
pub(crate) fn run(
    evidence: &Evidence,
    tenant: &str,
    run_id: &str,
    trust: &Trust,
    hashes: impl FnOnce(&[Range]) -> Option<Vec<Hash>>,
) -> (Vec<Finding>, bool) {
    let mut findings = Vec::new();
    let placed = match &evidence.archive {
        Some(archive) if evidence.transitions.is_empty() => {
            let (placed, found) = kept::read(run_id, archive, trust);
            findings.extend(found);
            findings.extend(archived_leaves(run_id, &placed, hashes));
            placed
        }
        Some(_) | None => read(run_id, &evidence.transitions, (tenant, &format!("run/{run_id}")), 0, &mut findings),
    };
    let (ours, _) = tenant_events(evidence, tenant, run_id);
    findings.extend(columns::places(run_id, &evidence.transitions, evidence.settled_id, None));
    findings.extend(columns::missing_end(evidence, &placed, tenant, run_id));
    findings.extend(check_opened(run_id, &placed, &ours.placed));
    findings.extend(columns::payloads(run_id, &placed, &ours.placed));
    let header = Header {
        anchored: false,
        events: placed.len() as u64,
        log: evidence.log.clone(),
        records: 0,
        run_id: run_id.to_owned(),
        since: None,
        tenant: tenant.to_owned(),
    };
    let said = kept::Said::of(run_id, tenant, &ours.placed);
    findings.extend(kept::rows(evidence, &said, &placed, run_id, trust));
    let entries = placed.into_iter().map(|placed| placed.entry).collect();
    let bundle = Bundle { header, entries, records: Vec::new(), consistency: None, anchor: None };
    let mut report = examine(&bundle, &Trust::default());
    replay::check(&bundle, &mut report);
    let is_over = report.run_status.is_some();
    findings.extend(report.findings.into_iter().filter(|finding| finding.code.verdict() == Verdict::Tampered));
    findings.extend(rows(evidence, &bundle, &ours.placed, tenant, run_id));
    (findings, is_over)
}

/// The leaves that an archive names have to be its events.
fn archived_leaves(
    run_id: &str,
    placed: &[Placed],
    hashes: impl FnOnce(&[Range]) -> Option<Vec<Hash>>,
) -> Vec<Finding> {
    let indexes: Vec<u64> = placed.iter().filter_map(|item| item.leaf_index).collect();
    let ranges: Vec<Range> = indexes.iter().map(|index| Range { start: *index, end: index + 1 }).collect();
    let Some(hashes) = hashes(&ranges) else {
        let finding = Finding::new(Code::RowChanged, run_id, "ledger_tiles.hashes");
        return vec![finding.differs("the leaves of the run", "a missing or short tile")];
    };
    let wrong = placed.iter().zip(&hashes).filter(|(item, hash)| item.entry.leaf != **hash);
    let finding = |(item, hash): (&Placed, &Hash)| {
        let place = format!("archives.bundle or leaves[{}]", item.key);
        Finding::new(Code::RowChanged, run_id, place).at(item.entry.event.seq).differs(hash, item.entry.leaf)
    };
    wrong.map(finding).collect()
}

/// What is wrong with the tombstone of a run. `hashes` gives the leaves that it names, as the tiles have them.
pub(crate) fn tombstone(
    evidence: &Evidence,
    tenant: &str,
    run_id: &str,
    hashes: impl FnOnce(&[Range]) -> Option<Vec<Hash>>,
) -> Vec<Finding> {
    let (ours, _) = tenant_events(evidence, tenant, run_id);
    let said = kept::Said::of(run_id, tenant, &ours.placed);
    kept::stone(evidence, tenant, run_id, &said, hashes)
}
