//! The runs that the vectors are made of: what an honest engine would record, event by event.

use runproof_proof::event::*;
use runproof_proof::hash::{Hash, tagged};
use runproof_proof::{canonical, merkle};
use serde_json::{Value, json};

use crate::journal::{Journal, Values};
use crate::samples::LOG;

pub(crate) const TENANT: &str = "t_acme";
pub(crate) const RUN: &str = "r_1";

/// One attempt of a step: what it is called with, what came of it, and what that cost.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) params: Value,
    pub(crate) outcome: AttemptOutcome,
    pub(crate) answer: Option<Value>,
    pub(crate) cost: u64,
}

/// A run that is being written.
pub(crate) struct Run<'a> {
    pub(crate) journal: &'a mut Journal,
    pub(crate) stream: Stream,
    tenant: String,
    run_id: String,
    created_at: u64,
    pub(crate) settled: u64,
    pub(crate) totals: Totals,
    intents: u64,
    outcomes: u64,
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// A call is written as its step, or as its step, `#` and its item.
fn step_and_item(call: &str) -> (String, Option<String>) {
    call.split_once('#').map_or_else(|| (text(call), None), |(step_id, item)| (text(step_id), Some(text(item))))
}

fn operator() -> Actor {
    Actor { authenticated_by: text("api_key"), id: Some(text("key_7")), actor_type: ActorType::Human }
}

fn engine() -> Engine {
    Engine { build: text("test"), version: text("0.1.0") }
}

/// `idempotency_key` of `docs/spec/README.md`.
pub(crate) fn idempotency_key(tenant: &str, run_id: &str, step_id: &str, item: &str, binding: &str) -> String {
    let fields = [tenant, run_id, step_id, item, binding];
    let framed: Vec<u8> =
        fields.iter().flat_map(|field| [&(field.len() as u32).to_be_bytes(), field.as_bytes()].concat()).collect();
    data_encoding::BASE32_NOPAD.encode(&tagged("runproof.dev/idempotency/v1", &framed).0).to_lowercase()
}

/// `plan_digest` of `docs/spec/README.md`.
pub(crate) fn plan_digest(plan: &Value) -> Hash {
    tagged("runproof.dev/plan/v1", &canonical::to_bytes(plan).unwrap())
}

/// A ledger with a tenant, an agent and somebody else's run, as every scenario begins.
pub(crate) fn ledger() -> Journal {
    begin(Journal::new(LOG))
}

/// The same on a journal that alters events.
pub(crate) fn begin(mut journal: Journal) -> Journal {
    let vkey = crate::journal::signer().verifier().vkey();
    journal.append(&Stream::Log, "", |_| LogCreated { engine: engine(), vkey });
    for tenant in [TENANT, "t_other"] {
        let stream = Stream::Tenant(text(tenant));
        journal.append(&stream, tenant, |_| TenantCreated { actor: operator() });
        journal.append(&stream, tenant, |values| TenantAgentCreated {
            actor: operator(),
            agent_id: text("agent_1"),
            name: values.commit("name", json!("Refunds")),
        });
    }
    strangers(&mut journal, "r_before");
    journal
}

/// A short run of another tenant: leaves that have nothing to do with the run in question.
pub(crate) fn strangers(journal: &mut Journal, run_id: &str) {
    let mut run = Run::create(journal, "t_other", run_id, json!("unrelated"));
    run.step("s_1", 0, &[attempt(json!({"q": 1}), AttemptOutcome::Done, json!(1))]);
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
}

pub(crate) fn attempt(params: Value, outcome: AttemptOutcome, answer: Value) -> Attempt {
    Attempt { params, outcome, answer: Some(answer), cost: 250 }
}

impl<'a> Run<'a> {
    /// `tenant.run_opened` and `run.created`.
    pub(crate) fn create(journal: &'a mut Journal, tenant: &str, run_id: &str, goal: Value) -> Self {
        let of_tenant = Stream::Tenant(text(tenant));
        journal.append(&of_tenant, tenant, |_| TenantRunOpened { run_id: text(run_id), run_no: 1 });
        let stream = Stream::Run(text(run_id));
        let created_at = journal.at;
        journal.append(&stream, tenant, |values| RunCreated {
            actor: operator(),
            agent: text("agent_1"),
            beacon: None,
            engine: engine(),
            goal: values.commit("goal", goal),
            origin_system_id: text("crm"),
            parent_run_id: None,
            plan_digest: None,
            planner: Versioned { name: text("static"), version: text("1") },
            policy_set: text("builtin/empty@1"),
            retry_of: None,
            run_id: text(run_id),
            run_no: 1,
            synthetic_scenario_id: None,
        });
        let totals = Totals { attempts: 0, cost_microcents: 0, duration_us: 0, resolved: 0, unknown: 0 };
        let (tenant, run_id) = (text(tenant), text(run_id));
        Self { journal, stream, tenant, run_id, created_at, settled: 0, totals, intents: 0, outcomes: 0 }
    }

    /// Any event of the run.
    pub(crate) fn append<B: Into<Body>>(&mut self, body: impl FnOnce(&Values) -> B) {
        self.journal.append(&self.stream, &self.tenant, body);
    }

    pub(crate) fn plan(&mut self, plan: &Value) {
        let steps = plan["steps"].as_array().unwrap().len() as u64;
        let digest = plan_digest(plan);
        self.append(|values| RunPlanned {
            inputs: None,
            plan: values.commit("plan", plan.clone()),
            plan_digest: digest,
            step_count: steps,
        });
        self.append(|_| RunClaimed { epoch: 1, worker: text("w_1") });
    }

    /// The list of a step.
    pub(crate) fn expand(&mut self, step_id: &str, plan_index: u32, count: u32) {
        let (items, step_id) = (json!((0..count).collect::<Vec<_>>()), text(step_id));
        self.append(|values| StepExpanded { count, items: values.commit("items", items), plan_index, step_id });
    }

    pub(crate) fn intend(&mut self, call: &str, plan_index: u32, number: u32, params: Value) {
        self.intents += 1;
        self.totals.attempts += 1;
        let (step_id, item) = step_and_item(call);
        let key =
            idempotency_key(&self.tenant, &self.run_id, &step_id, item.as_deref().unwrap_or_default(), "http_call");
        self.append(|values| StepIntended {
            attempt: number,
            cost_limit_microcents: 1_000,
            effect: EffectClass::Idempotent,
            gate: GateRecord::new(Decision::Allow, "builtin/empty@1"),
            idempotency_key: key,
            item,
            params: values.commit("params", params),
            plan_index,
            skill: text("http_call"),
            skill_version: text("1.0.0"),
            step_id,
            timeout_us: 30_000_000,
        });
    }

    pub(crate) fn returned(&mut self, call: &str, number: u32, attempt: &Attempt, then: Then) {
        self.outcomes += 1;
        let (step_id, item) = step_and_item(call);
        self.totals.cost_microcents += attempt.cost;
        let retry_at = (then == Then::Retry).then_some(self.journal.at + 500);
        let done = attempt.outcome == AttemptOutcome::Done;
        let answer = attempt.answer.clone();
        let attempt = attempt.clone();
        self.append(|values| StepReturned {
            attempt: number,
            category: (!done).then_some(ErrorCategory::Server),
            code: (!done).then(|| text("http_503")),
            cost_microcents: attempt.cost,
            duration_us: 400,
            error: answer.clone().filter(|_| !done).map(|answer| values.commit("error", answer)),
            evidence: EvidenceClass::Executed,
            item,
            outcome: attempt.outcome,
            output: answer.filter(|_| done).map(|answer| values.commit("output", answer)),
            retry_after_us: None,
            retry_at,
            retryable: !done,
            step_id,
            then,
            via: Via::Call,
        });
    }

    /// One step with all its attempts, and its settling.
    pub(crate) fn step(&mut self, call: &str, plan_index: u32, attempts: &[Attempt]) {
        for (number, attempt) in (1u32..).zip(attempts) {
            let then = if number as usize == attempts.len() { Then::Settle } else { Then::Retry };
            self.intend(call, plan_index, number, attempt.params.clone());
            self.returned(call, number, attempt, then);
        }
        let status = match attempts.last().map(|attempt| attempt.outcome) {
            Some(AttemptOutcome::Done) => StepStatus::Success,
            Some(AttemptOutcome::NotDone | AttemptOutcome::Failed) => StepStatus::Failure,
            Some(AttemptOutcome::Unknown) => StepStatus::Unknown,
            None => StepStatus::Skipped,
        };
        let cost = attempts.iter().map(|attempt| attempt.cost).sum();
        self.settle(call, plan_index, attempts.len() as u32, cost, status);
    }

    pub(crate) fn settle(&mut self, call: &str, plan_index: u32, attempts: u32, cost: u64, status: StepStatus) {
        let (step_id, item) = step_and_item(call);
        let category = match status {
            StepStatus::Success => "execution",
            StepStatus::Failure | StepStatus::Unknown => "server",
            StepStatus::Skipped => "skipped",
        };
        self.totals.unknown += u64::from(status == StepStatus::Unknown);
        let step_index = self.settled;
        self.settled += 1;
        self.append(|_| StepSettled {
            attempts,
            category: text(category),
            code: None,
            cost_microcents: cost,
            duration_us: u64::from(attempts) * 400,
            error: None,
            item,
            plan_index,
            skill: text("http_call"),
            status,
            step_id,
            step_index,
        });
    }

    pub(crate) fn pause(&mut self) {
        self.append(|_| RunPaused { actor: operator(), reason: None });
    }

    pub(crate) fn resume(&mut self) {
        self.append(|_| RunResumed { actor: operator(), reason: None });
    }

    pub(crate) fn cancel(&mut self) {
        self.append(|_| RunCancelRequested { actor: operator(), reason: None });
    }

    pub(crate) fn resolve(&mut self, step_id: &str, number: u32, resolution: Resolution) {
        self.totals.resolved += 1;
        self.append(|values| StepResolved {
            actor: operator(),
            attempt: number,
            item: None,
            reason: values.commit("reason", json!("the receiver shows the booking")),
            resolution,
            step_id: text(step_id),
        });
    }

    /// The records that end a run, and the seal.
    pub(crate) fn seal(mut self, status: EndStatus, reason: EndReason) {
        let succeeded = status == EndStatus::Succeeded;
        let outcome = if succeeded { "success" } else { "failure" };
        let severity = if succeeded { "none" } else { "medium" };
        self.append(|_| IncidentRecorded {
            category: format!("execution_{outcome}"),
            code: None,
            incident_id: text("i_1"),
            outcome: text(outcome),
            severity: text(severity),
        });
        let cost_microcents = self.totals.cost_microcents;
        self.append(|_| UsageRecorded {
            cost_microcents,
            input_tokens: 0,
            model: None,
            output_tokens: 0,
            provider: None,
        });
        let (intents, outcomes) = (self.intents, self.outcomes);
        self.append(|_| EvidenceSummarized { gaps: 0, intents, outcomes, weakest: EvidenceClass::Executed });
        let leaves: Vec<Hash> = self
            .journal
            .stored
            .iter()
            .filter(|stored| stored.event.stream == self.stream)
            .map(|stored| stored.event.leaf_hash())
            .collect();
        let totals = Totals { duration_us: self.journal.at - self.created_at, ..self.totals.clone() };
        let step_count = self.settled;
        self.append(|values| RunSealed {
            error: (!succeeded).then(|| values.commit("error", json!("the run did not reach its goal"))),
            event_count: leaves.len() as u64,
            reason,
            run_root: merkle::root(&leaves),
            status,
            step_count,
            totals,
        });
    }
}

fn plan() -> Value {
    json!({
        "format": "runproof.plan/v1",
        "steps": [
            {"id": "fetch", "skill": "http_call", "with": {"method": "GET", "url": "https://crm.example.org/invoices/4711"}},
            {"id": "refund", "needs": ["fetch"], "skill": "http_call", "with": {"amount": {"$ref": "fetch.amount"}}},
        ],
    })
}

/// A run with two steps; the first attempt of the first one fails.
pub(crate) fn with_retry(journal: &mut Journal) {
    let mut run = two_steps(journal);
    run.step(
        "refund",
        1,
        &[attempt(refund(), AttemptOutcome::Done, json!({"id": "rf_1", "state": "booked \u{2713}"}))],
    );
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
}

/// The same run before its second step.
pub(crate) fn two_steps(journal: &mut Journal) -> Run<'_> {
    let mut run = Run::create(journal, TENANT, RUN, json!("Refund invoice 4711 of Zo\u{eb} \u{1f600}"));
    run.plan(&plan());
    let params = json!({"method": "GET", "url": "https://crm.example.org/invoices/4711"});
    let answer = json!({"amount": 1999, "currency": "EUR", "email": "zoe@example.org", "lines": [1, 2, null, true]});
    run.step(
        "fetch",
        0,
        &[
            attempt(params.clone(), AttemptOutcome::Failed, json!("503 from crm.example.org\n\"try later\"")),
            attempt(params, AttemptOutcome::Done, answer),
        ],
    );
    run
}

pub(crate) fn refund() -> Value {
    json!({"amount": 1999, "currency": "EUR", "email": "zoe@example.org"})
}

/// A run whose planner failed: sealed without a step.
pub(crate) fn planner_failed(journal: &mut Journal) {
    Run::create(journal, TENANT, RUN, json!("Refund invoice 4711")).seal(EndStatus::Failed, EndReason::PlannerFailed);
}

/// A run whose one attempt has an unknown outcome; `resolution` is what a person said, if anybody did.
pub(crate) fn unknown(journal: &mut Journal, resolution: Option<Resolution>) {
    let mut run = Run::create(journal, TENANT, RUN, json!("Refund invoice 4711"));
    run.plan(&plan());
    let lost = attempt(refund(), AttemptOutcome::Unknown, json!("no answer within 30 s"));
    run.intend("refund", 1, 1, lost.params.clone());
    run.returned("refund", 1, &lost, Then::Hold);
    match resolution {
        Some(resolution) => {
            run.resolve("refund", 1, resolution);
            let done = resolution == Resolution::Done;
            run.settle("refund", 1, 1, lost.cost, if done { StepStatus::Success } else { StepStatus::Failure });
            run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
        }
        None => {
            run.settle("refund", 1, 1, lost.cost, StepStatus::Unknown);
            run.cancel();
            run.seal(EndStatus::Cancelled, EndReason::CancelRequested);
        }
    }
}

/// `tenant.value_erased` for a part of the run.
pub(crate) fn erase(journal: &mut Journal, seq: u64, field: &str, index: Option<u32>) -> u64 {
    journal.append(&Stream::Tenant(text(TENANT)), TENANT, |values| TenantValueErased {
        actor: operator(),
        field: text(field),
        index,
        reason: values.commit("reason", json!("request of the person concerned")),
        run_id: text(RUN),
        seq,
    })
}
