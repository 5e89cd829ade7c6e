//! Rows of the tables that people query, as functions of a run's events (`docs/spec/tables.md`).
//!
//! The store writes them in the transaction that appends the events; `proof` computes them again and compares. No
//! column here knows anything that the events do not say.

use runproof_proof::event::{EndStatus, StepStatus};
use serde_json::Value;

use crate::run::{Run, RunStatus, Settled, WaitReason};

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer; booleans are 0 and 1.
    Int(i64),
    /// Text.
    Text(String),
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// One row, its columns in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the table.
    pub table: &'static str,
    /// Columns that tell this row from others of the same run.
    pub key: &'static [&'static str],
    /// Columns and values.
    pub cells: Vec<(&'static str, Cell)>,
}

impl Row {
    /// The value of a column.
    pub fn get(&self, column: &str) -> &Cell {
        self.cells.iter().find(|(name, _)| *name == column).map_or(&Cell::Null, |(_, cell)| cell)
    }
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn maybe(value: Option<impl Into<String>>) -> Cell {
    value.map_or(Cell::Null, |value| Cell::Text(value.into()))
}

fn int(number: u64) -> Cell {
    Cell::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn time(at: u64) -> Cell {
    text(rfc3339(at))
}

/// Microseconds since 1970 as `2026-01-31T12:00:00.000000Z`.
pub fn rfc3339(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
    at.map_or_else(|| "9999-12-31T23:59:59.999999Z".to_owned(), |at| format!("{at:.6}"))
}

/// A string as itself, anything else as canonical JSON; NULL when it is not shown.
fn shown(value: Option<&Value>) -> Cell {
    match value {
        None => Cell::Null,
        Some(Value::String(inner)) => text(inner),
        Some(other) => {
            let bytes = runproof_proof::canonical::to_bytes(other).unwrap_or_default();
            text(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

/// Trace id of a run.
pub fn trace_id(run_id: &str) -> String {
    format!("trace_{run_id}")
}

/// The row of `runs`.
pub fn run_row(run: &Run) -> Row {
    let header = run.header.as_deref();
    let seal = run.seal.as_ref();
    let wait = run.wait_since();
    let (reason, reference) = match &wait {
        Some((WaitReason::RetryAt(at), _)) => (Some("retry"), Some(rfc3339(*at))),
        Some((WaitReason::Resolution(step), _)) => (Some("resolution"), Some(step.to_string())),
        Some((WaitReason::Paused, _)) => (Some("paused"), None),
        None => (None, None),
    };
    let scenario = header.and_then(|header| header.synthetic_scenario_id.clone());
    let cells = vec![
        ("tenant_id", text(&run.tenant)),
        ("id", text(&run.id)),
        ("run_no", int(header.map_or(0, |header| header.run_no))),
        ("agent_id", maybe(header.map(|header| &header.agent))),
        ("origin_system_id", maybe(header.map(|header| &header.origin_system_id))),
        ("actor_type", maybe(header.map(|header| header.actor.actor_type.word()))),
        ("actor_id", maybe(header.and_then(|header| header.actor.id.clone()))),
        ("goal", shown(run.goal.as_deref())),
        ("status", text(run.status().word())),
        ("planner", maybe(header.map(|header| &header.planner.name))),
        ("planner_version", maybe(header.map(|header| &header.planner.version))),
        ("plan_json", shown(run.plan_json.as_deref())),
        ("plan_digest", maybe(run.plan_digest.map(|digest| digest.hex()))),
        ("policy_set", maybe(header.map(|header| &header.policy_set))),
        ("parent_run_id", maybe(header.and_then(|header| header.parent_run_id.clone()))),
        ("retry_of", maybe(header.and_then(|header| header.retry_of.clone()))),
        ("is_synthetic", Cell::Int(i64::from(scenario.is_some()))),
        ("synthetic_scenario_id", maybe(scenario)),
        ("trace_id", text(trace_id(&run.id))),
        ("attempts", int(run.epoch)),
        ("wait_reason", maybe(reason)),
        ("wait_ref", maybe(reference)),
        ("wait_since", wait.map_or(Cell::Null, |(_, since)| time(since))),
        ("termination_reason", maybe(seal.map(|(seal, _)| seal.reason.word()))),
        ("cost_microcents", seal.map_or(Cell::Null, |(seal, _)| int(seal.totals.cost_microcents))),
        ("duration_us", seal.map_or(Cell::Null, |(seal, _)| int(seal.totals.duration_us))),
        ("created_at", time(run.created_at)),
        ("started_at", run.started_at.map_or(Cell::Null, time)),
        ("completed_at", seal.map_or(Cell::Null, |(_, at)| time(*at))),
    ];
    Row { table: "runs", key: &["id"], cells }
}

/// The row of `aos_traces`.
pub fn trace_row(run: &Run) -> Row {
    let header = run.header.as_deref();
    let status = match run.status() {
        RunStatus::Ended(EndStatus::Succeeded) => "completed",
        RunStatus::Ended(EndStatus::Failed) => "failed",
        RunStatus::Ended(EndStatus::Halted | EndStatus::Cancelled) => "aborted",
        RunStatus::Queued | RunStatus::Running | RunStatus::Retry | RunStatus::PendingApproval | RunStatus::Waiting => {
            "running"
        }
    };
    let metadata = run.seal.as_ref().map(|(seal, _)| {
        format!(
            "{{\"event_count\":{},\"reason\":\"{}\",\"run_root\":\"{}\"}}",
            seal.event_count, seal.reason, seal.run_root
        )
    });
    let scenario = header.and_then(|header| header.synthetic_scenario_id.clone());
    let cells = vec![
        ("tenant_id", text(&run.tenant)),
        ("trace_id", text(trace_id(&run.id))),
        ("run_id", text(&run.id)),
        ("agent_id", maybe(header.map(|header| &header.agent))),
        ("status", text(status)),
        ("schema_version", text("runproof/1")),
        ("started_at", time(run.created_at)),
        ("completed_at", run.seal.as_ref().map_or(Cell::Null, |(_, at)| time(*at))),
        ("metadata", maybe(metadata)),
        ("is_synthetic", Cell::Int(i64::from(scenario.is_some()))),
        ("synthetic_scenario_id", maybe(scenario)),
        ("created_at", time(run.created_at)),
        ("archived_at", Cell::Null),
    ];
    Row { table: "aos_traces", key: &["trace_id"], cells }
}

/// The row of `aos_trace_steps` for a settled step.
pub fn step_row(run: &Run, settled: &Settled) -> Row {
    let step = &settled.step;
    let scenario = run.header.as_ref().and_then(|header| header.synthetic_scenario_id.clone());
    let level = match step.status {
        StepStatus::Failure => "ERROR",
        StepStatus::Unknown => "WARN",
        StepStatus::Success | StepStatus::Skipped => "INFO",
    };
    let skill_id = match &settled.skill_version {
        Some(version) => format!("{}@{version}", step.skill),
        None => step.skill.clone(),
    };
    let cells = vec![
        ("tenant_id", text(&run.tenant)),
        ("trace_id", text(trace_id(&run.id))),
        ("step_index", int(step.step_index)),
        ("run_id", text(&run.id)),
        ("step_id", text(&step.step_id)),
        ("item", maybe(step.item.clone())),
        ("plan_index", int(u64::from(step.plan_index))),
        ("skill_id", text(skill_id)),
        ("skill_name", text(&step.skill)),
        ("status", text(step.status.word())),
        ("outcome_category", text(&step.category)),
        ("outcome_code", maybe(step.code.clone())),
        ("cost_microcents", int(step.cost_microcents)),
        ("duration_us", int(step.duration_us)),
        ("retry_count", int(u64::from(step.attempts.saturating_sub(1)))),
        ("idempotency_key", maybe(settled.idempotency_key.clone())),
        ("source", text("engine")),
        ("level", text(level)),
        ("is_synthetic", Cell::Int(i64::from(scenario.is_some()))),
        ("synthetic_scenario_id", maybe(scenario)),
        ("timestamp", time(settled.at)),
        ("archived_at", Cell::Null),
    ];
    Row { table: "aos_trace_steps", key: &["step_index"], cells }
}

/// The row of `run_seals`, once the run is over.
pub fn seal_row(run: &Run) -> Option<Row> {
    let (seal, at) = run.seal.as_ref()?;
    let cells = vec![
        ("tenant_id", text(&run.tenant)),
        ("run_id", text(&run.id)),
        ("status", text(seal.status.word())),
        ("reason", text(seal.reason.word())),
        ("event_count", int(seal.event_count)),
        ("step_count", int(seal.step_count)),
        ("run_root", text(seal.run_root.hex())),
        ("seal_hash", text(run.head.hex())),
        ("attempts", int(seal.totals.attempts)),
        ("cost_microcents", int(seal.totals.cost_microcents)),
        ("duration_us", int(seal.totals.duration_us)),
        ("resolved", int(seal.totals.resolved)),
        ("unknown", int(seal.totals.unknown)),
        ("sealed_at", time(*at)),
    ];
    Some(Row { table: "run_seals", key: &["run_id"], cells })
}

/// Every row that a run's events call for.
pub fn rows(run: &Run) -> Vec<Row> {
    let mut rows = vec![run_row(run), trace_row(run)];
    rows.extend(run.steps.iter().map(|settled| step_row(run, settled)));
    rows.extend(seal_row(run));
    rows
}

/// What changes in the tables when a run goes from `before` to `after`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// New row of `runs`, when a column changed.
    pub run: Option<Row>,
    /// New row of `aos_traces`, when a column changed.
    pub trace: Option<Row>,
    /// New rows of `aos_trace_steps`.
    pub steps: Vec<Row>,
    /// The row of `run_seals`.
    pub seal: Option<Row>,
}

/// Computes what changes. The rows are made only where something that they are made of changed.
pub fn changes(before: &Run, after: &Run) -> RowChanges {
    let begun = |run: &Run| (run.header.is_some(), run.seal.is_some());
    let stands = |run: &Run| (begun(run), run.plan_digest, run.status(), run.epoch, run.started_at, run.wait_since());
    RowChanges {
        run: (stands(before) != stands(after)).then(|| run_row(after)),
        trace: (begun(before) != begun(after)).then(|| trace_row(after)),
        steps: after.steps[before.steps.len()..].iter().map(|settled| step_row(after, settled)).collect(),
        seal: if before.seal.is_none() { seal_row(after) } else { None },
    }
}
