//! `proof`: compares what the database holds about a run with its evidence, and builds the bundle from it.
//!
//! The judging is in `runproof-proof` (evidence) and `runproof-engine` (decisions, rows); this puts them together.

mod columns;
mod kept;
mod shared;
pub(crate) mod whole;

use std::collections::BTreeMap;

use runproof_engine::audit;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::{self, Cell, Row, rfc3339};
use runproof_engine::{replay, run::Run};
use runproof_proof::bundle::{Anchor, Bundle, Consistency, Entry, Header, Record};
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::event::{Body, Event};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::Note;
use runproof_proof::payload::PayloadLine;
use runproof_proof::report::{Check, Report};
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use runproof_store::{Evidence, Leaves, Store, TombstoneRow, TransitionRow, fold};

/// A report with the bundle that it is about.
pub struct Proof {
    /// The report.
    pub report: Report,
    /// The bundle, when the evidence could be read.
    pub bundle: Option<Bundle>,
    /// What the database keeps of the run.
    pub kept: Kept,
    /// Places of its events, when all have one.
    pub leaves: Option<Leaves>,
}

/// What a database keeps of a run.
pub enum Kept {
    /// Its rows. The archive may be there already.
    Rows,
    /// Its archive, since that time.
    Archive {
        /// As the row says.
        archived_at: String,
    },
    /// Its tombstone.
    Tombstone(Box<Stone>),
}

/// A tombstone, with the proof that the seal is in the log.
pub struct Stone {
    /// The row.
    pub row: TombstoneRow,
    /// The seal in the newest checkpoint; `None`: none covers it.
    pub proof: Option<InclusionProof>,
}

/// One event with its place in the ledger, as the database has it.
struct Placed {
    entry: Entry,
    /// None yet, where places are given out after the commit.
    leaf_index: Option<u64>,
    /// What names the row that holds it.
    key: String,
    /// What names the columns that give it this place.
    columns: String,
    /// That row is one of `archives`, not of `transitions`.
    in_archive: bool,
}

/// Proves a run. `None` when the tenant has no such run. `since` asks for a consistency proof from that tree size.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn prove(
    store: &dyn Store,
    tenant: &str,
    run_id: &str,
    trust: &Trust,
    since: Option<u64>,
) -> Result<Option<Proof>, StoreError> {
    let evidence = store.evidence(tenant, run_id).await?;
    let mut findings = Vec::new();
    let (ours, others) = tenant_events(&evidence, tenant, run_id);
    let placed = match &evidence.archive {
        Some(archive) if evidence.transitions.is_empty() => {
            let (placed, found) = kept::read(run_id, archive, trust);
            findings.extend(found);
            placed
        }
        Some(_) | None => read(run_id, &evidence.transitions, (tenant, &format!("run/{run_id}")), 0, &mut findings),
    };
    if evidence.transitions.is_empty() && evidence.archive.is_none() {
        if evidence.tombstone.is_some() {
            return kept::prove_stone(store, &evidence, (tenant, run_id), (ours, others), trust).await;
        }
        return Ok(without_events(&evidence, &ours.placed, tenant, run_id, trust));
    }
    let said = kept::Said::of(run_id, tenant, &ours.placed);
    findings.extend(kept::rows(&evidence, &said, &placed, run_id, trust));
    let kept = kept_as(&evidence);
    let leaves = placed.iter().map(|item| item.leaf_index).collect::<Option<Vec<u64>>>().and_then(Leaves::of);
    findings.extend(columns::missing_end(&evidence, &placed, tenant, run_id));
    findings.extend(columns::places(run_id, &evidence.transitions, evidence.settled_id, None));
    let checkpoint = checkpoint(&evidence);
    let signed = checkpoint.as_ref().map(|(_, checkpoint)| checkpoint);
    findings.extend(columns::leaves(store, run_id, &placed, signed).await?);
    findings.extend(columns::leaves(store, run_id, &ours.placed, signed).await?);
    let opened = check_opened(run_id, &placed, &ours.placed);
    let payloads = columns::payloads(run_id, &placed, &ours.placed);
    if opened.is_some() || columns::lacks_record(&evidence, &ours.placed, tenant, &payloads) {
        // A record about this run is in a row that can no longer be read as such: any that is not sound may be it.
        findings.extend(others.findings);
        findings.extend(columns::leaves(store, run_id, &others.placed, signed).await?);
    }
    findings.extend(ours.findings);
    findings.extend(opened);
    findings.extend(payloads);
    let size = since.or(known_size(trust, &evidence));
    let bundle = build(store, &evidence, tenant, run_id, placed, &ours.placed, checkpoint.as_ref(), size).await?;
    let mut report = examine(&bundle, trust);
    replay::check(&bundle, &mut report);
    if bundle.anchor.is_none() {
        report.find(Check::Heads, columns::rolled_back(&evidence, run_id, trust));
    }
    findings.extend(columns::ledger(store, &evidence, run_id, trust).await?);
    findings.extend(rows(&evidence, &bundle, &ours.placed, tenant, run_id));
    let tenant_events: Vec<&Placed> = ours.placed.iter().chain(&others.placed).collect();
    findings.extend(shared::compare(&evidence, &bundle, &tenant_events, run_id));
    report.find(Check::Rows, findings);
    Ok(Some(Proof { report, bundle: Some(bundle), kept, leaves }))
}

fn kept_as(evidence: &Evidence) -> Kept {
    match &evidence.archive {
        Some(archive) if evidence.transitions.is_empty() => Kept::Archive { archived_at: archive.archived_at.clone() },
        Some(_) | None => Kept::Rows,
    }
}

/// Some events of a stream, with what is wrong with their rows.
#[derive(Default)]
struct Events {
    placed: Vec<Placed>,
    findings: Vec<Finding>,
}

/// The events of the tenant's stream: those about this run, and the others, whose trouble is theirs.
fn tenant_events(evidence: &Evidence, tenant: &str, run_id: &str) -> (Events, Events) {
    let stream = format!("tenant/{tenant}");
    let (mut ours, mut others) = (Events::default(), Events::default());
    let last = columns::last_placed(&evidence.tenant_transitions);
    for row in &evidence.tenant_transitions {
        let mut findings = Vec::new();
        let seq = own_seq(row).unwrap_or(row.first_seq);
        let placed = read(run_id, std::slice::from_ref(row), (tenant, &stream), seq, &mut findings);
        findings.extend(columns::places(run_id, std::slice::from_ref(row), evidence.settled_id, last));
        let side =
            if placed.iter().any(|placed| concerns(&placed.entry.event, run_id)) { &mut ours } else { &mut others };
        side.placed.extend(placed);
        side.findings.extend(findings);
    }
    (ours, others)
}

/// The newest checkpoint, as text and as what it says.
fn checkpoint(evidence: &Evidence) -> Option<(String, Checkpoint)> {
    let note = evidence.checkpoint.as_ref()?;
    let parsed = Note::parse(note.as_bytes()).ok()?;
    Some((note.clone(), Checkpoint::parse(&parsed.text).ok()?))
}

/// The size of the head that the trust brings, so that the proof can show that the log grew from it.
fn known_size(trust: &Trust, evidence: &Evidence) -> Option<u64> {
    trust.heads.iter().find(|head| head.origin == evidence.log).map(|head| head.size)
}

/// A run of which the database has no events.
fn without_events(
    evidence: &Evidence,
    tenant_events: &[Placed],
    tenant: &str,
    run_id: &str,
    trust: &Trust,
) -> Option<Proof> {
    let mut report = Report::new(tenant, run_id, trust);
    let opened = tenant_events.iter().any(|placed| concerns(&placed.entry.event, run_id));
    let of_tenant = |row: &&audit::RawRow| row.get("tenant_id") == Some(&Cell::Text(tenant.to_owned()));
    let mine: Vec<(&str, usize)> = evidence
        .rows
        .iter()
        .map(|(table, rows)| (*table, rows.iter().filter(of_tenant).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    if opened {
        let finding = Finding::new(Code::RunMissing, run_id, "transitions");
        report.find(Check::Rows, [finding.differs("the events of a run that was opened", "none")]);
    } else if mine.is_empty() {
        return None;
    }
    let traced = mine.iter().any(|(table, _)| *table != "runs");
    if traced && !opened {
        let extra = mine.iter().map(|(table, count)| {
            Finding::new(Code::RowExtra, run_id, *table).differs("no row", format!("{count} rows without events"))
        });
        report.find(Check::Rows, extra.collect::<Vec<_>>());
    } else if !opened {
        report.find(Check::Rows, [Finding::new(Code::RunNoTrace, run_id, "aos_traces").differs("a trace", "none")]);
    }
    let said = kept::Said::of(run_id, tenant, tenant_events);
    report.find(Check::Rows, kept::rows(evidence, &said, &[], run_id, trust));
    Some(Proof { report, bundle: None, kept: Kept::Rows, leaves: None })
}

/// Whether an event of the tenant's stream is about this run.
fn concerns(event: &Event, run_id: &str) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "other events are about no run")]
    match &event.body {
        Body::TenantRunOpened(body) => body.run_id == run_id,
        Body::TenantValueErased(body) => body.run_id == run_id,
        Body::TenantRunArchived(body) => body.run_id == run_id,
        Body::TenantRunPurged(body) => body.run_id == run_id,
        Body::TenantHoldPlaced(body) => body.run_id == run_id,
        Body::TenantHoldLifted(body) => body.run_id == run_id,
        _ => false,
    }
}

/// Reads the rows of a stream into events; every column has to agree with the events in the row.
fn read(
    run_id: &str,
    transitions: &[TransitionRow],
    (tenant, stream): (&str, &str),
    mut seq: u64,
    findings: &mut Vec<Finding>,
) -> Vec<Placed> {
    let mut placed = Vec::new();
    for row in transitions {
        let place = |column: &str| format!("transitions.{column}[{}]", row.key());
        let differs = |column: &str, expected: &dyn ToString, got: &dyn ToString| {
            Finding::new(Code::RowChanged, run_id, place(column)).differs(expected.to_string(), got.to_string())
        };
        if row.tenant != tenant {
            findings.push(differs("tenant_id", &tenant, &row.tenant));
        }
        if row.stream != stream {
            findings.push(differs("stream", &stream, &row.stream));
        }
        let first = own_seq(row).unwrap_or(seq);
        if row.first_seq != first {
            findings.push(differs("first_seq", &first, &row.first_seq));
        } else if first != seq {
            findings.push(columns::gap(run_id, stream, seq, first));
        }
        let lines: Vec<&str> = row.events.split('\n').collect();
        if lines.len() as u64 != row.event_count {
            findings.push(differs("event_count", &lines.len(), &row.event_count));
        }
        let payloads: Vec<&str> = row.payloads.split('\n').collect();
        if payloads.len() != lines.len() {
            findings.push(differs("payloads", &format!("{} lines", lines.len()), &format!("{} lines", payloads.len())));
        }
        for (index, line) in lines.iter().enumerate() {
            let payload = payloads.get(index).copied().unwrap_or_default();
            match entry(line.as_bytes(), payload.as_bytes()) {
                Ok(entry) => {
                    if entry.payload.is_some() && payload.is_empty() {
                        findings.push(differs("payloads", &"a payload", &"none").at(entry.event.seq));
                    }
                    placed.push(Placed {
                        entry,
                        leaf_index: row.first_leaf.map(|first| first.saturating_add(index as u64)),
                        key: row.key(),
                        columns: columns::of_place(row),
                        in_archive: false,
                    });
                }
                Err((column, problem)) => {
                    let finding = Finding::new(Code::EventMalformed, run_id, place(column)).at(first + index as u64);
                    findings.push(finding.differs("what was recorded", problem));
                }
            }
        }
        seq = first.saturating_add(lines.len() as u64);
    }
    placed
}

/// The position that the first event of a row names itself.
fn own_seq(row: &TransitionRow) -> Option<u64> {
    Event::decode(row.events.split('\n').next()?.as_bytes()).ok().map(|event| event.seq)
}

fn entry(bytes: &[u8], payload: &[u8]) -> Result<Entry, (&'static str, String)> {
    let event = Event::decode(bytes).map_err(|error| ("events", error.to_string()))?;
    let has_values = !event.commitments().is_empty();
    let payload = match (has_values, payload.is_empty()) {
        (true, false) => Some(PayloadLine::parse(payload).map_err(|error| ("payloads", error))?),
        (true, true) => Some(PayloadLine::withheld()),
        (false, true) => None,
        (false, false) => return Err(("payloads", "a payload for an event without values".to_owned())),
    };
    Ok(Entry { event, leaf: leaf(bytes), payload })
}

/// The tenant's stream has to have given out this run's number, once.
fn check_opened(run_id: &str, placed: &[Placed], ours: &[Placed]) -> Option<Finding> {
    let number = placed.first().and_then(|placed| {
        let Body::RunCreated(body) = &placed.entry.event.body else { return None };
        Some(body.run_no)
    });
    let numbers = ours.iter().filter_map(|placed| {
        let Body::TenantRunOpened(body) = &placed.entry.event.body else { return None };
        Some(body.run_no)
    });
    let opened: Vec<u64> = numbers.collect();
    if opened.len() == 1 && number == opened.first().copied() {
        return None;
    }
    let finding = Finding::new(Code::ChainIdentity, run_id, "transitions[tenant.run_opened].run_no");
    Some(finding.differs(number.map_or("no number".to_owned(), |number| number.to_string()), format!("{opened:?}")))
}

#[expect(clippy::too_many_arguments, reason = "the parts of one file; a struct would only repeat its fields")]
async fn build(
    store: &dyn Store,
    evidence: &Evidence,
    tenant: &str,
    run_id: &str,
    placed: Vec<Placed>,
    ours: &[Placed],
    checkpoint: Option<&(String, Checkpoint)>,
    since: Option<u64>,
) -> Result<Bundle, StoreError> {
    let last = placed.last().and_then(|placed| placed.leaf_index);
    let covered = |index: u64| checkpoint.filter(|(_, checkpoint)| index < checkpoint.size);
    let mut anchor = None;
    if let Some(index) = last
        && let Some((note, checkpoint)) = covered(index)
    {
        let hashes = inclusion(store, index, checkpoint.size).await?;
        let proof = InclusionProof { index, hashes, note: note.clone() };
        anchor = Anchor::parse(proof.encode().as_bytes()).ok();
    }
    let mut records = Vec::new();
    for item in ours.iter().filter(|placed| matches!(placed.entry.event.body, Body::TenantValueErased(_))) {
        if let Some(index) = item.leaf_index
            && let (Some((_, checkpoint)), true) = (covered(index), anchor.is_some())
        {
            let hashes = inclusion(store, index, checkpoint.size).await?;
            records.push(Record { event: item.entry.event.clone(), index, hashes });
        }
    }
    let consistency = match (since, &anchor) {
        (Some(since), Some(anchor)) => consistency(store, since, anchor.checkpoint.size).await?,
        (_, _) => None,
    };
    let header = Header {
        anchored: anchor.is_some(),
        events: placed.len() as u64,
        log: evidence.log.clone(),
        records: records.len() as u64,
        run_id: run_id.to_owned(),
        since: consistency.as_ref().map(|consistency: &Consistency| consistency.since),
        tenant: tenant.to_owned(),
    };
    Ok(Bundle {
        header,
        entries: placed.into_iter().map(|placed| placed.entry).collect(),
        records,
        consistency,
        anchor,
    })
}

/// Damaged tiles give a proof that does not verify, which is what the report then says.
async fn inclusion(store: &dyn Store, index: u64, size: u64) -> Result<Vec<Hash>, StoreError> {
    let ranges = merkle::inclusion_ranges(index, size).unwrap_or_default();
    match store.subtree_roots(ranges).await {
        Err(StoreError::Corrupt { .. }) => Ok(Vec::new()),
        roots => roots,
    }
}

async fn consistency(store: &dyn Store, since: u64, size: u64) -> Result<Option<Consistency>, StoreError> {
    let Some(ranges) = merkle::consistency_ranges(since, size) else { return Ok(None) };
    let proof = async {
        let hashes = store.subtree_roots(ranges).await?;
        let roots = store.subtree_roots(vec![Range { start: 0, end: since }]).await?;
        Ok(roots.first().map(|root| Consistency { hashes, root: *root, since }))
    };
    match proof.await {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        proof => proof,
    }
}

/// Compares every table with the rows that the events call for.
fn rows(evidence: &Evidence, bundle: &Bundle, ours: &[Placed], tenant: &str, run_id: &str) -> Vec<Finding> {
    let Ok(Some(run)) = refold(evidence, tenant, run_id, bundle) else {
        // The events do not fold: other checks say where. Without a run there is nothing to compare rows with.
        return Vec::new();
    };
    let said = kept::Said::of(run_id, tenant, ours);
    if evidence.transitions.is_empty() {
        return kept::only_holds(evidence, &said, run_id);
    }
    let mut expected: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    let erasures = ours.iter().filter_map(|placed| erasure_row(placed, tenant));
    for mut row in projection::rows(&run).into_iter().chain(erasures).chain(said.holds().iter().cloned()) {
        if let Some(at) = said.archived_at()
            && let Some((_, cell)) = row.cells.iter_mut().find(|(column, _)| *column == "archived_at")
        {
            *cell = Cell::Text(at.clone());
        }
        expected.entry(row.table).or_default().push(row);
    }
    let none = Vec::new();
    evidence
        .rows
        .iter()
        .flat_map(|(table, got)| audit::compare(run_id, table, expected.get(table).unwrap_or(&none), got))
        .collect()
}

fn refold(evidence: &Evidence, tenant: &str, run_id: &str, bundle: &Bundle) -> Result<Option<Run>, StoreError> {
    if !evidence.transitions.is_empty()
        && let Ok(Some(run)) = fold(&evidence.log, tenant, run_id, &evidence.transitions)
    {
        return Ok(Some(run));
    }
    // A damaged payload must not hide a damaged row: fold what still opens.
    let mut run = Run::new(&evidence.log, tenant, run_id);
    for entry in &bundle.entries {
        let opened = entry.payload.as_ref().and_then(|payload| payload.open(&entry.event.commitments()).ok());
        let values = opened.map(|opened| opened.values).unwrap_or_default();
        if run.apply(&entry.event, entry.leaf, &values).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(run))
}

fn erasure_row(placed: &Placed, tenant: &str) -> Option<Row> {
    let Body::TenantValueErased(body) = &placed.entry.event.body else { return None };
    let int = |number: u64| Cell::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let cells = vec![
        ("tenant_id", Cell::Text(tenant.to_owned())),
        ("run_id", Cell::Text(body.run_id.clone())),
        ("seq", int(body.seq)),
        ("field", Cell::Text(body.field.clone())),
        ("part_index", body.index.map_or(Cell::Int(-1), |index| int(u64::from(index)))),
        ("erased_at", Cell::Text(rfc3339(placed.entry.event.at))),
    ];
    Some(Row { table: "erasures", key: &["seq", "field", "part_index"], cells })
}
