//! Takes events into a run, one after another. What is not refused leaves a state that makes sense.

use std::sync::Arc;

use runproof_proof::event::{
    AttemptOutcome, Body, Event, StepExpanded, StepIntended, StepReturned, StepSettled, StepStatus, Stream,
};
use runproof_proof::hash::Hash;
use serde_json::Value;

use super::call::{ActiveCall, Item, Settled};
use super::{FoldError, Run, Values, sum};
use crate::plan;

impl Run {
    /// Takes in the next event.
    ///
    /// # Errors
    /// [`FoldError`] when the event cannot follow; the run is unchanged.
    pub fn apply(&mut self, event: &Event, leaf: Hash, values: &Values) -> Result<(), FoldError> {
        self.check_identity(event)?;
        self.check_order(event).map_err(|problem| FoldError::Order {
            kind: event.body.kind(),
            seq: event.seq,
            problem,
        })?;
        let value = |field: &str| values.get(field).cloned().map(Arc::new);
        #[expect(clippy::wildcard_enum_match_arm, reason = "later versions record what does not move the run")]
        match &event.body {
            Body::RunCreated(body) => {
                self.header = Some(Arc::new((**body).clone()));
                self.created_at = event.at;
                self.goal = value("goal");
            }
            Body::RunPlanned(body) => {
                self.plan_json = value("plan");
                self.plan = match self.offered.take() {
                    Some((digest, plan)) if digest == body.plan_digest => Some(plan),
                    Some(_) | None => self.plan_json.as_ref().and_then(|json| plan::parse(json).ok()).map(Arc::new),
                };
                self.plan_digest = Some(body.plan_digest);
                self.inputs = value("inputs");
            }
            Body::RunClaimed(body) => {
                self.epoch = body.epoch;
                self.started_at.get_or_insert(event.at);
            }
            Body::RunPaused(body) => self.paused = Some((body.actor.clone(), event.at)),
            Body::RunResumed(_) => self.paused = None,
            Body::RunCancelRequested(body) => self.cancel = Some(body.actor.clone()),
            Body::StepExpanded(body) => self.expand(body, value("items")),
            Body::StepIntended(body) => self.intend(body, event.at, value("params")),
            Body::StepReturned(body) => self.record(body, event.at, value("output"), value("error")),
            Body::StepResolved(body) => {
                self.sums.resolved += 1;
                let resolution = body.resolution;
                self.with_call(&body.step_id, body.item.as_deref(), |call| call.resolution = Some(resolution));
            }
            Body::StepSettled(body) => self.settle(body, event.at, value("error")),
            Body::RunSealed(body) => {
                self.seal = Some(((**body).clone(), event.at));
                self.error = value("error");
            }
            _ => {}
        }
        self.next_seq += 1;
        self.head = leaf;
        self.last_at = event.at;
        self.frontier.push(leaf);
        Ok(())
    }

    fn check_identity(&self, event: &Event) -> Result<(), FoldError> {
        let ours = event.stream == Stream::Run(self.id.clone())
            && event.tenant.as_deref() == Some(self.tenant.as_str())
            && event.seq == self.next_seq
            && event.prev == self.head
            && event.at >= self.last_at;
        if ours {
            return Ok(());
        }
        Err(FoldError::Identity {
            run: self.id.clone(),
            stream: event.stream.name(),
            seq: event.seq,
            next_seq: self.next_seq,
        })
    }

    /// What may follow what.
    fn check_order(&self, event: &Event) -> Result<(), &'static str> {
        let refuse_if = |wrong: bool, problem| if wrong { Err(problem) } else { Ok(()) };
        refuse_if(self.seal.is_some(), "the run is sealed")?;
        let first = matches!(event.body, Body::RunCreated(_));
        refuse_if(self.header.is_some() == first, "a run is created once, first")?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is not refused may follow anywhere in a run")]
        match &event.body {
            Body::RunPlanned(_) => refuse_if(self.plan_digest.is_some(), "the run has a plan"),
            Body::RunClaimed(body) => refuse_if(body.epoch <= self.epoch, "the claim is older than the last one"),
            Body::RunPaused(_) => refuse_if(self.paused.is_some(), "the run is paused"),
            Body::RunResumed(_) => refuse_if(self.paused.is_none(), "the run is not paused"),
            Body::RunCancelRequested(_) => refuse_if(self.cancel.is_some(), "the run is being cancelled"),
            Body::StepExpanded(body) => {
                refuse_if(self.plan_digest.is_none(), "the run has no plan")?;
                refuse_if(body.count as usize > plan::MAX_ELEMENTS, "the list is longer than a list may be")?;
                check_place(body.plan_index)?;
                let begun = self.progress.contains_key(&body.plan_index);
                let active = self.active.iter().any(|call| call.intent.plan_index == body.plan_index);
                refuse_if(begun || active, "the step has begun")
            }
            Body::StepIntended(body) => self.check_intent(body),
            Body::StepReturned(body) => {
                let call = self.call(&body.step_id, body.item.as_deref());
                let open = call.is_some_and(|call| call.is_open() && call.intent.attempt == body.attempt);
                refuse_if(!open, "no such attempt is open")
            }
            Body::StepResolved(body) => {
                let unknown = self.call(&body.step_id, body.item.as_deref()).is_some_and(|call| {
                    call.resolution.is_none()
                        && call.outcome() == Some(AttemptOutcome::Unknown)
                        && call.intent.attempt == body.attempt
                });
                refuse_if(!unknown, "no such attempt is unknown")
            }
            Body::StepSettled(body) => self.check_settlement(body),
            Body::RunSealed(_) => refuse_if(!self.active.is_empty(), "a step is not settled"),
            body if body.kind().starts_with("tenant.") || body.kind().starts_with("log.") => {
                Err("not an event of a run")
            }
            _ => Ok(()),
        }
    }

    fn check_intent(&self, body: &StepIntended) -> Result<(), &'static str> {
        if self.plan_digest.is_none() {
            return Err("the run has no plan");
        }
        match self.call(&body.step_id, body.item.as_deref()) {
            Some(call) if call.is_open() => Err("an attempt is open"),
            Some(call) if call.intent.plan_index != body.plan_index => Err("the step has another place in the plan"),
            Some(call) if call.intent.attempt.checked_add(1) == Some(body.attempt) => Ok(()),
            None if self.active.len() >= plan::MAX_PARALLEL as usize => Err("too many calls are under way"),
            None if body.attempt == 1 => self.check_new(body.plan_index, body.item.as_deref()),
            Some(_) | None => Err("attempts are numbered from 1"),
        }
    }

    fn check_settlement(&self, body: &StepSettled) -> Result<(), &'static str> {
        if self.plan_digest.is_none() {
            return Err("the run has no plan");
        }
        match self.call(&body.step_id, body.item.as_deref()) {
            None if body.attempts == 0 => self.check_new(body.plan_index, body.item.as_deref()),
            Some(call)
                if !call.is_open()
                    && call.intent.attempt == body.attempts
                    && call.intent.plan_index == body.plan_index =>
            {
                Ok(())
            }
            Some(_) | None => Err("the step cannot settle"),
        }
    }

    /// Whether a call that nothing is known of may begin or settle.
    fn check_new(&self, plan_index: u32, item: Option<&str>) -> Result<(), &'static str> {
        check_place(plan_index)?;
        let item = Item::parse(item).ok_or("no such item")?;
        let progress = self.progress.get(&plan_index);
        if progress.is_some_and(|progress| progress.calls.contains_key(&item)) {
            return Err("the call has settled");
        }
        let expansion = progress.and_then(|progress| progress.expansion.as_ref());
        match item.element {
            Some(element) if expansion.is_none_or(|expansion| element >= expansion.count) => Err("no such element"),
            Some(_) | None => Ok(()),
        }
    }

    /// A call that is under way.
    pub(super) fn call(&self, step_id: &str, item: Option<&str>) -> Option<&ActiveCall> {
        let item = Item::parse(item)?;
        self.active.iter().map(Arc::as_ref).find(|call| call.is(step_id, item))
    }

    fn with_call(&mut self, step_id: &str, item: Option<&str>, change: impl FnOnce(&mut ActiveCall)) {
        let Some(item) = Item::parse(item) else { return };
        if let Some(call) = self.active.iter_mut().find(|call| call.is(step_id, item)) {
            change(Arc::make_mut(call));
        }
    }

    fn expand(&mut self, body: &StepExpanded, items: Option<Arc<Value>>) {
        let progress = self.progress.entry(body.plan_index).or_default();
        Arc::make_mut(progress).expand(body.count, items);
    }

    fn intend(&mut self, body: &StepIntended, at: u64, params: Option<Arc<Value>>) {
        self.sums.attempts += 1;
        let Some(item) = Item::parse(body.item.as_deref()) else { return };
        if let Some(call) = self.active.iter_mut().find(|call| call.is(&body.step_id, item)) {
            return Arc::make_mut(call).again(body.clone(), at, params);
        }
        if let Some(progress) = self.progress.get_mut(&body.plan_index) {
            Arc::make_mut(progress).begin(item);
        }
        let place = self.active.partition_point(|call| (call.intent.plan_index, call.item) < (body.plan_index, item));
        self.active.insert(place, Arc::new(ActiveCall::new(item, body.clone(), at, params)));
    }

    fn record(&mut self, body: &StepReturned, at: u64, output: Option<Arc<Value>>, error: Option<Arc<Value>>) {
        self.sums.cost_microcents = sum(self.sums.cost_microcents, body.cost_microcents);
        self.error = error.or(self.error.take());
        self.with_call(&body.step_id, body.item.as_deref(), |call| call.record(body, at, output));
    }

    fn settle(&mut self, body: &StepSettled, at: u64, error: Option<Arc<Value>>) {
        let Some(item) = Item::parse(body.item.as_deref()) else { return };
        let place = self.active.iter().position(|call| call.is(&body.step_id, item));
        let call = place.map(|place| self.active.remove(place));
        if body.status == StepStatus::Unknown {
            self.sums.unknown += 1;
        }
        let output = call.as_ref().and_then(|call| call.output.clone());
        Arc::make_mut(self.progress.entry(body.plan_index).or_default()).settle(item, body.status, output);
        self.error = error.clone().or(self.error.take());
        if body.status == StepStatus::Failure {
            self.failures.push(self.steps.len());
        }
        self.steps.push(Arc::new(Settled {
            step: body.clone(),
            item,
            at,
            skill_version: call.as_ref().map(|call| call.intent.skill_version.clone()),
            idempotency_key: call.map(|call| call.intent.idempotency_key.clone()),
            error,
        }));
    }
}

/// Refuses a place that no plan has: what a run keeps for each step stays small, whoever wrote the events.
fn check_place(plan_index: u32) -> Result<(), &'static str> {
    if plan_index as usize >= plan::MAX_STEPS { Err("no plan has so many steps") } else { Ok(()) }
}
