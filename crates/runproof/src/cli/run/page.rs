//! What `run` and `get-run` print of a run: the object, and the page for people.

use std::collections::BTreeSet;

use runproof_engine::projection::{rfc3339, trace_id};
use runproof_engine::run::{ActiveCall, Run, RunStatus, Settled, WaitReason};
use runproof_proof::event::{Actor, EndStatus, StepStatus};
use runproof_proof::finding::printable;
use runproof_store::{CommandError, Store};
use serde_json::{Value, json};

use super::errors::{Errors, errors};
use crate::engine::no_run;
use crate::error::AppError;
use crate::output::{Output, harmless, json as json_text, table};

/// Most characters of a step's error that the page shows.
const ERROR_CHARACTERS: usize = 300;
/// Most lines of a named output that the page shows, and most characters of each.
const OUTPUT_LINES: usize = 20;
const OUTPUT_CHARACTERS: usize = 160;

/// A run, with what its attempts said when they failed.
pub(in crate::cli) struct Shown {
    /// The run.
    pub(in crate::cli) run: Run,
    errors: Errors,
}

impl Shown {
    /// Reads a run of a tenant.
    pub(in crate::cli) async fn load(store: &dyn Store, tenant: &str, run_id: &str) -> Result<Self, AppError> {
        let Some(run) = store.load_run(tenant, run_id).await? else {
            let kept = store.list_kept(Some(tenant)).await?;
            let is_purged = kept.iter().any(|kept| kept.run_id == run_id && kept.state == "purged");
            let purged = || AppError::from(CommandError::Purged(run_id.to_owned()));
            return Err(if is_purged { purged() } else { no_run(tenant, run_id) });
        };
        let errors = errors(store, &run)?;
        Ok(Self { run, errors })
    }

    /// The object that `run` and `get-run` print.
    pub(in crate::cli) fn json(&self, proof: Option<&Value>) -> Value {
        let run = &self.run;
        let header = run.header.as_deref();
        let seal = run.seal.as_ref().map(|(seal, _)| seal);
        let wait = run.wait_since().map(|(reason, _)| match reason {
            WaitReason::RetryAt(_) => ("retry", None),
            WaitReason::Resolution(call) => ("resolution", Some(call.to_string())),
            WaitReason::Paused => ("paused", None),
        });
        let mut value = json!({
            "run_id": run.id,
            "run_no": header.map(|header| header.run_no),
            "tenant_id": run.tenant,
            "agent_id": header.map(|header| &header.agent),
            "origin_system_id": header.map(|header| &header.origin_system_id),
            "status": run.status().word(),
            "termination_reason": seal.map(|seal| seal.reason),
            "wait_reason": wait.as_ref().map(|(reason, _)| reason),
            "wait_ref": wait.as_ref().and_then(|(_, reference)| reference.clone()),
            "paused": paused(run).map(|(by, since)| json!({ "by": by, "since": rfc3339(*since) })),
            "held": held(run).map(held_json).collect::<Vec<_>>(),
            "planner": header.map(|header| &header.planner.name),
            "plan_stored": run.plan_json.is_some(),
            "attempts": run.epoch,
            "duration_ms": seal.map(|seal| seal.totals.duration_us as f64 / 1000.0),
            "error": error_text(run),
            "trace_id": trace_id(&run.id),
            "steps": run.steps.iter().map(|settled| self.step_json(settled)).collect::<Vec<_>>(),
            "outputs": named_outputs(run).map(|(key, _, output)| (key, output.clone())).collect::<Value>(),
        });
        if let (Some(proof), Some(members)) = (proof, value.as_object_mut()) {
            members.insert("proof".to_owned(), proof.clone());
        }
        value
    }

    fn step_json(&self, settled: &Settled) -> Value {
        let step = &settled.step;
        json!({
            "step_index": step.step_index, "step_id": step.step_id, "item": step.item, "skill_name": step.skill,
            "status": step.status, "outcome_category": step.category, "outcome_code": step.code,
            "retry_count": step.attempts.saturating_sub(1), "duration_ms": step.duration_us as f64 / 1000.0,
            "cost_cents": step.cost_microcents as f64 / 1_000_000.0,
            "error": self.step_error(settled),
        })
    }

    /// Why a step failed: before an attempt, or what the last one said.
    fn step_error<'a>(&'a self, settled: &'a Settled) -> Option<&'a str> {
        let step = &settled.step;
        let own = settled.error.as_deref().and_then(Value::as_str);
        let failed = step.status == StepStatus::Failure;
        own.or_else(|| {
            self.errors.get(&(step.step_id.clone(), step.item.clone())).filter(|_| failed).map(String::as_str)
        })
    }

    /// The page that `run` and `get-run` print.
    pub(in crate::cli) fn text(&self, proof: &Value, output: Output) -> String {
        let run = &self.run;
        let number = run.header.as_ref().map_or(0, |header| header.run_no);
        let mut out = format!("Run ID:  {} (no. {number})\nStatus:  {}\n", run.id, run.status().word());
        if let Some(error) = error_text(run) {
            out.push_str(&format!("Error:   {}\n", printable(&error)));
        }
        if let Some(verdict) = proof["verdict"].as_str() {
            let paint = |code: &str| {
                if output.colour() { format!("\u{1b}[{code}m{verdict}\u{1b}[0m") } else { verdict.to_owned() }
            };
            out.push_str(&format!("Proof:   {}\n", paint(if verdict == "VERIFIED" { "1;32" } else { "1;33" })));
        }
        if let Some((by, since)) = paused(run) {
            let by = by.id.as_deref().map_or(String::new(), |id| format!(" by {}", printable(id)));
            let next = format!("go on with: runproof resume {}", run.id);
            out.push_str(&format!("Paused:  since {}{by}; {next}\n", rfc3339(*since)));
        }
        let waiting: Vec<String> = held(run).map(|call| format!("`{}`", call.id())).collect();
        if !waiting.is_empty() {
            out.push_str(&format!("Waits:   for somebody to say what came of {}\n", waiting.join(", ")));
        }
        out.push_str(&format!("Steps executed: {}\n", run.steps.len()));
        if !run.steps.is_empty() {
            out.push('\n');
            out.push_str(&steps_table(run));
        }
        out.push_str(&self.failures());
        out.extend(held(run).map(|call| self.held_text(call)));
        out.extend(named_outputs(run).map(|(key, step_id, value)| output_text(&run.id, key, step_id, value)));
        out
    }

    /// Why steps failed, a line for each; where a code comes first, how to read more about it.
    fn failures(&self) -> String {
        let mut out = String::new();
        let mut hinted = BTreeSet::new();
        let failed = |settled: &&Settled| settled.step.status == StepStatus::Failure;
        for settled in in_order(&self.run).into_iter().filter(failed) {
            let code = settled.step.code.as_deref().unwrap_or(&settled.step.category);
            let error = self.step_error(settled).unwrap_or(code);
            out.push_str(&format!("{}: {}\n", name(settled), cut(error, ERROR_CHARACTERS)));
            if settled.step.code.is_some() && hinted.insert(code) {
                out.push_str(&format!("    hint: runproof explain {}\n", harmless(code)));
            }
        }
        if out.is_empty() { out } else { format!("\n{out}") }
    }

    /// What somebody has to find out about a call, and how to say it.
    fn held_text(&self, call: &ActiveCall) -> String {
        let (id, intent, since) = (call.id(), &call.intent, rfc3339(call.returned_at));
        let error = self.errors.get(&(intent.step_id.clone(), intent.item.clone()));
        let why = error.map(|error| format!(": {}", cut(error, ERROR_CHARACTERS))).unwrap_or_default();
        let resolve = |word: &str| format!("runproof resolve {} {id} {word} --reason 'how you know it'", self.run.id);
        format!(
            "\n{id}: nobody knows what came of attempt {} of {}, since {since}{why}\n    \
                 ask the receiver for the idempotency key {}\n    \
                 it took effect:  {}\n    \
                 it did not:      {}\n",
            intent.attempt,
            printable(&intent.skill),
            intent.idempotency_key,
            resolve("done"),
            resolve("not-done"),
        )
    }
}

/// Who paused a run that is not over, and since when.
fn paused(run: &Run) -> Option<&(Actor, u64)> {
    run.paused.as_ref().filter(|_| run.seal.is_none())
}

fn held_json(call: &ActiveCall) -> Value {
    json!({
        "step": call.intent.step_id, "item": call.intent.item, "skill": call.intent.skill,
        "idempotency_key": call.intent.idempotency_key, "attempt": call.intent.attempt,
        "since": rfc3339(call.returned_at),
    })
}

fn error_text(run: &Run) -> Option<String> {
    run.error
        .as_ref()
        .filter(|_| !matches!(run.status(), RunStatus::Ended(EndStatus::Succeeded)))
        .and_then(|error| error.as_str().map(str::to_owned))
}

/// The calls that somebody has to resolve, in the order of the plan.
fn held(run: &Run) -> impl Iterator<Item = &ActiveCall> {
    let calls = run.active.iter().map(AsRef::as_ref);
    calls.filter(|call| run.seal.is_none() && call.is_held())
}

/// The outputs to which the plan gives a name: that name, the step, the output.
fn named_outputs(run: &Run) -> impl Iterator<Item = (&str, &str, &Value)> {
    let steps = run.plan.iter().flat_map(|plan| &plan.steps);
    steps.filter_map(|step| Some((step.output_key.as_deref()?, step.id.as_str(), run.output(&step.id)?)))
}

/// The settled steps as a table: in the order of the plan, the elements of a list before the step as a whole.
pub(in crate::cli) fn steps_table(run: &Run) -> String {
    let rows: Vec<Vec<String>> = in_order(run)
        .into_iter()
        .map(|settled| {
            let step = &settled.step;
            vec![
                step.step_index.to_string(),
                name(settled),
                step.skill.clone(),
                step.status.word().to_owned(),
                step.code.clone().unwrap_or_else(|| step.category.clone()),
                step.attempts.saturating_sub(1).to_string(),
                format!("{:.1}", step.duration_us as f64 / 1000.0),
                format!("{:.4}", step.cost_microcents as f64 / 1_000_000.0),
            ]
        })
        .collect();
    table(&["#", "STEP", "SKILL", "STATUS", "OUTCOME", "RETRIES", "MS", "CENTS"], &rows)
}

fn in_order(run: &Run) -> Vec<&Settled> {
    let mut steps: Vec<&Settled> = run.steps.iter().map(AsRef::as_ref).collect();
    steps.sort_by_key(|settled| (settled.step.plan_index, settled.item.element.is_none(), settled.item));
    steps
}

fn name(settled: &Settled) -> String {
    let step = &settled.step;
    step.item.as_ref().map_or_else(|| step.step_id.clone(), |item| format!("{} ({item})", step.step_id))
}

/// A named output, as much of it as a page can hold.
fn output_text(run_id: &str, key: &str, step_id: &str, value: &Value) -> String {
    let whole = json_text(value);
    let lines: Vec<String> = whole.lines().take(OUTPUT_LINES).map(|line| cut(line, OUTPUT_CHARACTERS)).collect();
    let shown = format!("{}\n", lines.join("\n"));
    let more = if shown == whole {
        String::new()
    } else {
        format!("all of it: runproof get-run {run_id} --output {step_id}\n")
    };
    format!("\n{key}:\n{shown}{more}")
}

/// The beginning of a text that somebody else wrote.
fn cut(text: &str, characters: usize) -> String {
    let mut shown = harmless(&text.chars().take(characters).collect::<String>());
    if text.chars().nth(characters).is_some() {
        shown.push('…');
    }
    shown
}
