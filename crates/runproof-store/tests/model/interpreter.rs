//! The reference interpreter: `docs/spec/plan.md` once more, written from that page and not from the engine.
//!
//! It is told what came of every call, in some order, and says each time what has to happen next.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::calls::{Call, CallId, Heard, Phase, Then, Trouble, lasts};
use super::plan::{OnError, Plan, Source, Step};
use super::values::Scope;

/// A row of the steps, but for the time and the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) plan_index: usize,
    pub(crate) step_id: String,
    pub(crate) item: Option<String>,
    pub(crate) status: String,
    pub(crate) category: String,
    pub(crate) code: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) cost_microcents: u64,
}

/// Something that the engine does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Move {
    Expand { step: usize, items: Value },
    Intend { call: CallId, attempt: u32, params: Value },
    Settle(Row),
    Seal { status: &'static str, reason: &'static str },
}

#[derive(Clone)]
enum Progress {
    Ahead,
    Begun,
    Expanded(Vec<Value>),
    Done,
}

/// A run as it goes on.
#[derive(Clone)]
pub(crate) struct Interpreter<'a> {
    plan: &'a Plan,
    progress: Vec<Progress>,
    calls: BTreeMap<CallId, Call>,
    scope: Scope<'a>,
    broken: bool,
    paused: bool,
    sealed: bool,
    /// Nothing breaks the run: what every step would come to.
    unbreakable: bool,
}

impl<'a> Interpreter<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            progress: vec![Progress::Ahead; plan.steps.len()],
            calls: BTreeMap::new(),
            scope: Scope::new(plan),
            broken: false,
            paused: false,
            sealed: false,
            unbreakable: false,
        }
    }

    pub(crate) fn unbreakable(plan: &'a Plan) -> Self {
        Self { unbreakable: true, ..Self::new(plan) }
    }

    /// Whether a failure broke the run.
    pub(crate) fn broke(&self) -> bool {
        self.broken
    }

    /// Calls that could have left something behind, and nobody knows whether they did.
    pub(crate) fn doubts(&self) -> usize {
        let lasting = |(id, call): &(&CallId, &Call)| call.doubt && lasts(self.step(**id).effect);
        self.calls.iter().filter(lasting).count()
    }

    /// Whether an attempt of the call waits for its outcome.
    pub(crate) fn is_open(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Open))
    }

    pub(crate) fn is_held(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Held))
    }

    /// The call in events and rows.
    pub(crate) fn name(&self, id: CallId) -> (String, Option<String>) {
        (self.step(id).id.clone(), id.item())
    }

    fn step(&self, id: CallId) -> &'a Step {
        &self.plan.steps[id.step]
    }

    /// An attempt ended: what follows. A retry is due at `retry_at`.
    pub(crate) fn hear(&mut self, id: CallId, heard: Heard, cost_microcents: u64, retry_at: u64) -> Then {
        let step = self.step(id);
        let call = self.calls.get_mut(&id).expect("a call that is under way");
        call.cost_microcents += cost_microcents;
        call.hear(step, heard, retry_at)
    }

    /// How long to wait before the next attempt.
    pub(crate) fn delay_us(&self, id: CallId) -> RangeInclusive<u64> {
        self.calls[&id].delay_us(self.step(id))
    }

    /// A person said what came of a call that is held.
    pub(crate) fn resolve(&mut self, id: CallId, done: bool) {
        self.calls.get_mut(&id).expect("a call that is held").resolve(done);
    }

    /// Somebody paused the run, or let it go on.
    pub(crate) fn pause(&mut self, paused: bool) {
        assert_ne!(self.paused, paused, "a run is paused once, and then resumed");
        self.paused = paused;
    }

    /// What happens next, at this time; nothing: the run waits, or is over.
    pub(crate) fn next(&mut self, now: u64) -> Option<Move> {
        if self.sealed {
            return None;
        }
        if self.broken && !self.unbreakable {
            return self.end();
        }
        if self.paused {
            return self.settle().or_else(|| self.finish());
        }
        self.settle().or_else(|| self.try_again(now)).or_else(|| self.begin()).or_else(|| self.finish())
    }

    fn end(&mut self) -> Option<Move> {
        for (id, call) in &mut self.calls {
            // What the plan says about an unknown effect is for runs that go on.
            if matches!(call.phase, Phase::RetryAt(_)) || call.doubt && matches!(call.phase, Phase::Ready(..)) {
                let unknown = call.doubt && lasts(self.plan.steps[id.step].effect);
                call.phase = Phase::Ready(if unknown { "unknown" } else { "failure" }, call.category(), None);
            }
        }
        let ready = self.calls.iter().find(|(_, call)| matches!(call.phase, Phase::Ready(..))).map(|(id, _)| *id);
        if let Some(id) = ready {
            return Some(self.settle_call(id));
        }
        if self.under_way(|_| true) > 0 {
            return None;
        }
        self.sealed = true;
        Some(Move::Seal { status: "failed", reason: "step_failed" })
    }

    fn settle(&mut self) -> Option<Move> {
        for place in 0..self.plan.steps.len() {
            let ids: Vec<CallId> = self.calls.keys().copied().filter(|id| id.step == place).collect();
            for id in ids {
                if let Phase::Ready(..) = self.calls[&id].phase {
                    return Some(self.settle_call(id));
                }
            }
            if let Progress::Expanded(items) = &self.progress[place] {
                let last: Option<Vec<CallId>> =
                    (0..items.len()).map(|element| self.settled_for_good(place, element)).collect();
                if let Some(last) = last {
                    return Some(self.settle_foreach(place, &last));
                }
            }
        }
        None
    }

    /// Whether no fallback follows when this call fails.
    fn is_final(&self, id: CallId) -> bool {
        id.fallback || !matches!(self.step(id).on_error, OnError::Fallback(_))
    }

    /// The last call for an element, once nothing follows it.
    fn settled_for_good(&self, step: usize, element: usize) -> Option<CallId> {
        let id = CallId::of(step, element);
        [id, id.its_fallback()].into_iter().find(|id| match self.calls.get(id).map(|call| &call.phase) {
            Some(Phase::Settled(_, output)) => output.is_some() || self.is_final(*id),
            Some(Phase::Open | Phase::RetryAt(_) | Phase::Held | Phase::Ready(..)) | None => false,
        })
    }

    fn settle_foreach(&mut self, place: usize, last: &[CallId]) -> Move {
        let (mut outputs, mut failed) = (Vec::new(), None);
        for id in last {
            let Phase::Settled(category, output) = &self.calls[id].phase else { unreachable!("it has settled") };
            if output.is_none() {
                failed.get_or_insert(category.clone());
            }
            outputs.push(output.clone().unwrap_or_default());
        }
        let (status, code) =
            if failed.is_some() { ("failure", Some("foreach.items_failed")) } else { ("success", None) };
        self.done(place, status, Some(Value::Array(outputs)));
        self.row(CallId::own(place), status, failed.as_deref().unwrap_or("execution"), code)
    }

    fn settle_call(&mut self, id: CallId) -> Move {
        let call = self.calls.get_mut(&id).expect("a call that is ready");
        let Phase::Ready(status, category, output) = call.phase.clone() else { unreachable!("it is ready") };
        let code = call.trouble.as_ref().map(|trouble| trouble.code.clone());
        call.phase = Phase::Settled(category.clone(), output.clone());
        let for_good = output.is_some() || self.is_final(id);
        if for_good && id.element.is_none() {
            self.done(id.step, status, output);
        } else if for_good {
            self.may_break(id.step, status);
        }
        self.row(id, status, &category, code.as_deref())
    }

    fn done(&mut self, place: usize, status: &'static str, output: Option<Value>) {
        self.progress[place] = Progress::Done;
        self.scope.done(place, status, output);
        self.may_break(place, status);
    }

    /// A failure breaks the run: of a call that nothing follows, of an element, or of a step that could not begin.
    fn may_break(&mut self, place: usize, status: &str) {
        self.broken |= status == "failure" && self.plan.steps[place].on_error != OnError::Continue;
    }

    fn row(&self, id: CallId, status: &str, category: &str, code: Option<&str>) -> Move {
        let call = self.calls.get(&id);
        Move::Settle(Row {
            plan_index: id.step,
            step_id: self.step(id).id.clone(),
            item: id.item(),
            status: status.to_owned(),
            category: category.to_owned(),
            code: code.map(str::to_owned),
            attempts: call.map_or(0, |call| call.attempts),
            cost_microcents: call.map_or(0, |call| call.cost_microcents),
        })
    }

    fn try_again(&mut self, now: u64) -> Option<Move> {
        let due = |call: &Call| matches!(call.phase, Phase::RetryAt(at) if at <= now);
        let (id, call) = self.calls.iter_mut().find(|(_, call)| due(call))?;
        call.phase = Phase::Open;
        call.attempts += 1;
        let (call, attempt) = (*id, call.attempts);
        let params = self.params(call).expect("the values of the first attempt");
        Some(Move::Intend { call, attempt, params })
    }

    fn begin(&mut self) -> Option<Move> {
        (0..self.plan.steps.len()).find_map(|place| {
            let mut ids = match &self.progress[place] {
                Progress::Ahead if self.is_ready(place) => return self.begin_step(place),
                Progress::Begun => vec![CallId::own(place)],
                Progress::Expanded(items) => (0..items.len()).map(|element| CallId::of(place, element)).collect(),
                Progress::Ahead | Progress::Done => return None,
            };
            let most = self.plan.steps[place].foreach.as_ref().and_then(|(_, most)| *most);
            if !self.has_room() || most.is_some_and(|most| self.under_way(|id| id.step == place) >= most) {
                return None;
            }
            ids.retain(|id| !self.calls.contains_key(id) || self.wants_fallback(*id));
            let id = *ids.first()?;
            Some(self.start(if self.calls.contains_key(&id) { id.its_fallback() } else { id }))
        })
    }

    /// Whether a call has failed and its fallback has not begun.
    fn wants_fallback(&self, id: CallId) -> bool {
        let failed = self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Settled(_, None)));
        failed && !self.is_final(id) && !self.calls.contains_key(&id.its_fallback())
    }

    fn is_ready(&self, place: usize) -> bool {
        self.plan.needs(place).iter().all(|before| matches!(self.progress[*before], Progress::Done))
    }

    fn begin_step(&mut self, place: usize) -> Option<Move> {
        let step = &self.plan.steps[place];
        let own = CallId::own(place);
        let (status, category, code) =
            match step.when.as_ref().map_or(Ok(json!(true)), |when| self.scope.condition(when)) {
                Ok(Value::Bool(false)) => ("skipped", "skipped", "when.false"),
                Ok(Value::Bool(true)) => match step.foreach.as_ref().map(|(items, _)| self.scope.template(items, None))
                {
                    None if self.has_room() => return Some(self.start(own)),
                    None => return None,
                    Some(Ok(Value::Array(items))) => {
                        self.progress[place] = Progress::Expanded(items.clone());
                        return Some(Move::Expand { step: place, items: Value::Array(items) });
                    }
                    Some(Ok(_)) => ("failure", "validation", "foreach.not_a_list"),
                    Some(Err(code)) => ("failure", "reference", code),
                },
                Ok(_) | Err(_) => ("failure", "reference", "when.failed"),
            };
        if code == "when.failed" && step.foreach.is_none() {
            return Some(self.fail_untried(own, code));
        }
        self.done(place, status, None);
        Some(self.row(own, status, category, Some(code)))
    }

    /// Intends the first attempt of a call, or settles it when it cannot even be tried.
    fn start(&mut self, id: CallId) -> Move {
        match self.params(id) {
            Ok(params) => {
                if id.element.is_none() {
                    self.progress[id.step] = Progress::Begun;
                }
                self.calls.insert(id, Call { attempts: 1, ..Call::default() });
                Move::Intend { call: id, attempt: 1, params }
            }
            Err(code) => self.fail_untried(id, code),
        }
    }

    fn fail_untried(&mut self, id: CallId, code: &str) -> Move {
        if id.element.is_none() {
            self.progress[id.step] = Progress::Begun;
        }
        let trouble = Trouble { category: "reference".to_owned(), code: code.to_owned(), retryable: false };
        let phase = Phase::Ready("failure", trouble.category.clone(), None);
        self.calls.insert(id, Call { phase, trouble: Some(trouble), ..Call::default() });
        self.settle_call(id)
    }

    fn params(&self, id: CallId) -> Result<Value, &'static str> {
        let step = self.step(id);
        let sources: &[Source] = match &step.on_error {
            OnError::Fallback(sources) if id.fallback => sources,
            OnError::Abort | OnError::Continue | OnError::Fallback(_) => &step.with,
        };
        let items: &[Value] = if let Progress::Expanded(items) = &self.progress[id.step] { items } else { &[] };
        let item = id.element.map(|element| (element, &items[element]));
        let values: Result<Vec<Value>, _> = sources.iter().map(|source| self.scope.template(source, item)).collect();
        Ok(json!({"values": values?}))
    }

    fn has_room(&self) -> bool {
        self.under_way(|_| true) < self.plan.max_parallel.unwrap_or(8)
    }

    fn under_way(&self, of: impl Fn(&CallId) -> bool) -> usize {
        self.calls.iter().filter(|(id, call)| of(id) && !matches!(call.phase, Phase::Settled(..))).count()
    }

    fn finish(&mut self) -> Option<Move> {
        self.sealed = self.progress.iter().all(|progress| matches!(progress, Progress::Done));
        self.sealed.then_some(Move::Seal { status: "succeeded", reason: "plan_completed" })
    }
}
