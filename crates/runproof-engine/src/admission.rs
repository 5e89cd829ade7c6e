//! Admits a run, or refuses it with everything that is wrong, before anything is written.

use std::collections::BTreeMap;

use runproof_proof::event::{
    Actor, ActorType, Body, Engine, Event, RunCreated, Stream, TenantRunOpened, Versioned, is_id,
};
use runproof_proof::hash::Hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decide::{Command, Context, Decision, Refusal, decide};
use crate::draft::{Committer, Draft, DraftError, Line, encode};
use crate::gate::BUILTIN_POLICY_SET;
use crate::plan::{self, PlanFinding, Prepared};
use crate::planner;
use crate::redact;
use crate::run::Run;
use crate::skill::Skills;

/// Longest goal, in characters.
pub const MAX_GOAL: usize = 10_000;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Run id, made by whoever asks so that asking twice is recognisable.
    pub run_id: String,
    /// Tenant.
    pub tenant: String,
    /// Agent.
    pub agent: String,
    /// What the run is for.
    pub goal: String,
    /// The plan, if there is one; otherwise the stub planner makes it.
    pub plan: Option<Value>,
    /// Values of the plan's inputs: an object, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    /// The system that asks.
    pub origin_system_id: String,
    /// Who asks.
    pub actor: Actor,
    /// Set on synthetic runs only.
    pub synthetic_scenario_id: Option<String>,
    /// The same key never makes a second run.
    pub idempotency_key: Option<String>,
    /// Which runs of the tenant go first: 9 before 0.
    #[serde(default = "usual_priority")]
    pub priority: u8,
}

/// Priority of a run that nobody gave one.
pub const USUAL_PRIORITY: u8 = 5;

fn usual_priority() -> u8 {
    USUAL_PRIORITY
}

/// A request that was admitted; what it asks for can be recorded.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The request, with private values removed from the goal.
    pub request: RunRequest,
    /// Name and version of the planner.
    pub planner: Versioned,
    /// The plan, or why there is none. Always of this version: one of the first system is converted.
    pub plan: Result<Prepared, String>,
    /// Values of the plan's inputs with their defaults; `None` when it has none.
    pub inputs: Option<Value>,
    /// Warnings about the plan. They refuse nothing.
    pub warnings: Vec<PlanFinding>,
    /// Digest over what the request asks for; an idempotency key is bound to it.
    pub digest: Hash,
}

/// Head of a tenant's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Seq of the next event.
    pub next_seq: u64,
    /// Leaf hash of the last event.
    pub head: Hash,
    /// Time of the last event.
    pub last_at: u64,
}

impl Default for StreamHead {
    fn default() -> Self {
        Self { next_seq: 0, head: Hash::ZERO, last_at: 0 }
    }
}

impl StreamHead {
    /// Writes the next event of a stream that is not a run's.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn write(
        &mut self,
        log: &str,
        stream: Stream,
        now: u64,
        body: Body,
        committer: Committer,
    ) -> Result<Line, DraftError> {
        let tenant = match &stream {
            Stream::Tenant(id) => Some(id.clone()),
            Stream::Run(_) | Stream::Log => None,
        };
        let at = now.max(self.last_at);
        let event = Event { log: log.to_owned(), stream, tenant, seq: self.next_seq, prev: self.head, at, body };
        let (line, _) = encode(&event, committer)?;
        *self = Self { next_seq: self.next_seq + 1, head: line.leaf, last_at: at };
        Ok(line)
    }
}

/// The events that open a run, in two streams and one transaction.
#[derive(Debug)]
pub struct Opening {
    /// Event of the tenant's stream.
    pub tenant_line: Line,
    /// Head of the tenant's stream afterwards.
    pub tenant_head: StreamHead,
    /// Events of the run.
    pub lines: Vec<Line>,
    /// The run.
    pub run: Run,
}

/// Judges a request. Unknown skills are admitted: the step fails on the record.
///
/// # Errors
/// Every finding at once; nothing is written.
pub fn admit(mut request: RunRequest) -> Result<Admitted, Vec<PlanFinding>> {
    let mut findings = who_and_where_from(&request);
    findings.extend(goal(&request.goal));
    let mut warnings = Vec::new();
    let inputs = match judged_plan(&mut request, &mut warnings) {
        Ok(given) => {
            let none = BTreeMap::new();
            let declared = given.as_ref().map_or(&none, |given| &given.plan.inputs);
            plan::inputs::bind(declared, request.inputs.as_ref()).map(|inputs| (given, inputs))
        }
        Err(more) => Err(more),
    };
    let (given, inputs) = match inputs {
        Ok(judged) if findings.is_empty() => judged,
        Ok(_) => return Err(findings),
        Err(more) => {
            findings.extend(more);
            return Err(findings);
        }
    };
    // Redacted first, so that a request that another process carries out has the same digest.
    request.goal = redact::redact_text(&request.goal).into_owned();
    let digest = request_digest(&request, given.as_ref().map(|given| &given.json), inputs.as_ref());
    let (planner, plan) = match given {
        Some(plan) => (planner::STATIC, Ok(plan)),
        None => (planner::STUB, stub(&request.goal)),
    };
    let planner = Versioned { name: planner.0.to_owned(), version: planner.1.to_owned() };
    Ok(Admitted { request, planner, plan, inputs, warnings, digest })
}

/// Reads the plan of a request, converted if it is one of the first system.
fn judged_plan(
    request: &mut RunRequest,
    warnings: &mut Vec<PlanFinding>,
) -> Result<Option<Prepared>, Vec<PlanFinding>> {
    let Some(given) = request.plan.take() else { return Ok(None) };
    let json = if plan::legacy::is_legacy(&given) { plan::legacy::convert(&given)? } else { given };
    let (plan, found) = plan::check(&json);
    let Some(plan) = plan else { return Err(found) };
    warnings.extend(found);
    Prepared::of(json, plan).map(Some)
}

/// The plan that the stub planner makes.
pub(crate) fn stub(goal: &str) -> Result<Prepared, String> {
    Prepared::new(planner::stub(goal)?).map_err(|findings| {
        findings.iter().map(|finding| format!("{} {}", finding.path, finding.message)).collect::<Vec<_>>().join("; ")
    })
}

/// What is wrong with the ids of a request.
fn who_and_where_from(request: &RunRequest) -> Vec<PlanFinding> {
    const ID: &str = "1 to 64 of A-Z a-z 0-9 _ . : -";
    let mut findings = Vec::new();
    let mut find =
        |code, path: &str, message: String, hint: &str| findings.push(PlanFinding::error(code, path, message, hint));
    for (name, id) in [("run_id", &request.run_id), ("tenant", &request.tenant), ("agent", &request.agent)] {
        if !is_id(id) {
            find("request.id", name, format!("`{}` is not an id", runproof_proof::finding::printable(id)), ID);
        }
    }
    let origin = &request.origin_system_id;
    if origin == "legacy-migration" {
        find(
            "request.origin",
            "origin_system_id",
            "origin_system_id cannot be 'legacy-migration' for new runs (use real system identifier)".to_owned(),
            "name the system that asks for the run",
        );
    } else if !is_id(origin) {
        find(
            "request.origin",
            "origin_system_id",
            "origin_system_id is blank or not an id".to_owned(),
            "name the system that asks for the run",
        );
    }
    if request.agent == "legacy-unknown" {
        find(
            "request.agent",
            "agent",
            "agent_id cannot be 'legacy-unknown' for new runs (use real agent identifier)".to_owned(),
            "create an agent first",
        );
    }
    for (name, value) in
        [("idempotency_key", &request.idempotency_key), ("synthetic_scenario_id", &request.synthetic_scenario_id)]
    {
        if value.as_ref().is_some_and(|value| !is_id(value)) {
            find("request.id", name, format!("{name} is blank or not an id"), ID);
        }
    }
    findings
}

/// What is wrong with a goal.
fn goal(goal: &str) -> Vec<PlanFinding> {
    let mut findings = Vec::new();
    let mut find = |code, message: String, hint: &str| findings.push(PlanFinding::error(code, "goal", message, hint));
    if goal.trim().is_empty() {
        find("request.goal", "the goal is blank".to_owned(), "say what the run is for");
    }
    if goal.chars().count() > MAX_GOAL || goal.contains('\0') {
        find("request.goal", format!("the goal has more than {MAX_GOAL} characters, or U+0000"), "shorten it");
    }
    for secret in redact::literal_secrets_in_text(goal) {
        let hint = "use secret://NAME in a plan and set RUNPROOF_SECRET_NAME where the worker runs";
        find("goal.literal_secret", format!("a literal {}", secret.kind), hint);
    }
    findings
}

/// What an idempotency key is bound to: everything that is asked for, and nothing that differs between two calls.
fn request_digest(request: &RunRequest, plan: Option<&Value>, inputs: Option<&Value>) -> Hash {
    let mut value = vec![
        json!(request.tenant),
        json!(request.agent),
        json!(request.goal),
        json!(plan),
        json!(request.origin_system_id),
        json!(request.synthetic_scenario_id),
    ];
    // Only where there are any: keys of earlier versions stay bound to what they were bound to.
    value.extend(inputs.cloned());
    // A canonical list, written member by member: each has been found recordable, and may be as deep as a value may be,
    // which a list around it could not hold.
    let members: Vec<Vec<u8>> =
        value.iter().map(|member| runproof_proof::canonical::to_bytes(member).unwrap_or_default()).collect();
    let bytes = [b"[".as_slice(), &members.join(&b','), b"]"].concat();
    runproof_proof::hash::tagged("runproof.dev/request/v1", &bytes)
}

/// Writes the events that open an admitted run. Pure: `now` and `seed` are arguments.
///
/// # Errors
/// [`Refusal`] when an event cannot be written.
pub fn open(
    admitted: &Admitted,
    log: &str,
    tenant_head: &StreamHead,
    run_no: u64,
    now: u64,
    seed: [u8; 32],
) -> Result<Opening, Refusal> {
    let request = &admitted.request;
    let mut tenant_head = tenant_head.clone();
    let body = TenantRunOpened { run_id: request.run_id.clone(), run_no }.into();
    let committer = Committer::new(&seed, u32::MAX);
    let stream = Stream::Tenant(request.tenant.clone());
    let tenant_line = tenant_head.write(log, stream, now, body, committer)?;
    let mut draft = Draft::new(Run::new(log, &request.tenant, &request.run_id), now, seed);
    let goal = Value::String(request.goal.clone());
    let plan_digest = match &admitted.plan {
        Ok(plan) if admitted.planner.name == planner::STATIC.0 => Some(plan.digest),
        Ok(_) | Err(_) => None,
    };
    draft.push(|c| {
        Ok(RunCreated {
            actor: request.actor.clone(),
            agent: request.agent.clone(),
            beacon: None,
            engine: engine(),
            goal: c.commit("goal", &goal)?,
            origin_system_id: request.origin_system_id.clone(),
            parent_run_id: None,
            plan_digest,
            planner: admitted.planner.clone(),
            policy_set: BUILTIN_POLICY_SET.to_owned(),
            retry_of: None,
            run_id: request.run_id.clone(),
            run_no,
            synthetic_scenario_id: request.synthetic_scenario_id.clone(),
        })
    })?;
    let mut lines = draft.lines;
    let Decision { lines: planned, run, .. } = plan_run(&draft.run, admitted, now, seed)?;
    lines.extend(planned);
    Ok(Opening { tenant_line, tenant_head, lines, run })
}

/// Adds the plan, or seals the run when there is none.
fn plan_run(run: &Run, admitted: &Admitted, now: u64, mut seed: [u8; 32]) -> Result<Decision, Refusal> {
    seed[0] ^= 0xff; // another seed than the event before: salts are never shared between events
    let context = Context { now, seed, facts: &Skills::default() };
    match &admitted.plan {
        Ok(plan) => crate::decide::plan_only(run, plan, admitted.inputs.as_ref(), &context),
        Err(message) => decide(run, Command::PlannerFailed { message: message.clone() }, &context),
    }
}

/// The program that records, as written into every run.
pub fn engine() -> Engine {
    let build = option_env!("RUNPROOF_BUILD").unwrap_or("dev").to_owned();
    Engine { build, version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// The actor of commands that nobody in particular gave.
pub fn system_actor() -> Actor {
    Actor { authenticated_by: "none".to_owned(), id: None, actor_type: ActorType::System }
}
