//! The one loop: decide, append, perform. Everything that a run does to the world happens here.

mod perform;
mod signals;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt};
use runproof_proof::event::{EffectClass, EndStatus};
pub use signals::{Asked, Signals, Wish};
use signals::{unmet, wanted};

use crate::decide::{Command, Context, Decision, Next, Outcome, Refusal, go_on};
use crate::draft::{Intended, Line};
use crate::ports::{
    Append, BoxFuture, Claim, Claimed, Clock, Entropy, Fence, Journal, Lease, Observer, Secrets, StoreError,
};
use crate::projection;
use crate::run::{CallId, Run, WaitReason};
use crate::skill::{Skills, Write};

/// Delays up to this long are waited for without giving the run back, in microseconds.
const INLINE_DELAY: u64 = 1_000_000;

/// Bytes that may wait for the next append while pure calls are made. Beyond, what there is is written first.
const MAX_PENDING: usize = 1024 * 1024;

/// Everything that the loop needs.
pub struct Driver {
    /// Where runs are kept.
    pub journal: Arc<dyn Journal>,
    /// Skills.
    pub skills: Skills,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Whether this process may still begin effects.
    pub lease: Arc<dyn Lease>,
    /// Told of every write.
    pub observer: Arc<dyn Observer>,
}

/// Where a driven run was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Ended(EndStatus),
    /// It goes on at this time, in microseconds.
    Until(u64),
    /// It waits for somebody.
    Waiting(WaitReason),
}

/// Why a run could not be driven on.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine refused: a fault of the engine.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The plan cannot be read any more.
    #[error("run `{0}` has no plan that can be read")]
    NoPlan(String),
}

/// An attempt to be made.
struct Takeoff {
    intended: Intended,
    /// When it was first made, in microseconds.
    started: u64,
    /// It was made before, and its writes came too late.
    again: bool,
}

/// A call whose attempt is over, or was found open.
struct Landed {
    call: CallId,
    outcome: Outcome,
    writes: Vec<Write>,
    /// How it began, unless another process began it.
    takeoff: Option<Takeoff>,
}

/// Attempts that this process has under way.
type Flights<'a> = FuturesUnordered<BoxFuture<'a, Landed>>;

/// What is written with the next append.
#[derive(Default)]
struct Pending {
    lines: Vec<Line>,
    writes: Vec<Write>,
}

impl Pending {
    fn is_full(&self) -> bool {
        let bytes = |line: &Line| line.bytes.len() + line.payload.as_ref().map_or(0, Vec::len);
        self.lines.iter().map(bytes).sum::<usize>() >= MAX_PENDING
    }
}

impl Driver {
    /// Drives a claimed run until it is over, waits, or is given back.
    ///
    /// # Errors
    /// [`DriveError`]: the run must be forgotten; whoever claims it next goes on from what is stored.
    pub async fn drive(&self, claimed: Claimed, signals: &dyn Signals) -> Result<(Run, Left), DriveError> {
        let Claimed { mut run, fence } = claimed;
        let mut stored = run.clone();
        let mut pending = Pending::default();
        let mut intended: Vec<Intended> = Vec::new();
        let mut flights = Flights::new();
        let mut landed = None;
        // What the stored run waits for beside its flights.
        let mut due = Next::Open(None);
        for call in run.open() {
            // Left by a process that ended: what can be known of them is found out beside everything else.
            flights.push(Box::pin(self.recover(run.tenant.clone(), run.id.clone(), Arc::clone(call))));
        }
        let mut command = Command::Claim { worker: fence.owner.clone(), epoch: fence.epoch };
        loop {
            let Decision { lines, run: after, calls, next } = self.step(run, command, &mut pending, signals)?;
            run = after;
            pending.lines.extend(lines);
            intended.extend(calls);
            let pure = intended.iter().position(|intended| intended.effect == EffectClass::Pure);
            if let Some(pure) = pure.filter(|_| !pending.is_full()) {
                // Nothing outside this process can see a pure call: its intent and outcome commit together.
                let takeoff = self.takeoff(intended.remove(pure));
                let Landed { call, outcome, .. } = self.invoke(takeoff, run.deadline(), signals).await;
                command = Command::Record(call, outcome);
                continue;
            }
            if next == Next::NeedsPlan {
                return Err(DriveError::NoPlan(run.id));
            }
            let (claim, left) = self.claim_after(&next);
            match (self.commit(&stored, &run, &fence, &mut pending, claim).await, landed.take()) {
                (Err(StoreError::Stale { .. }), Some(takeoff)) => {
                    // Nothing of it is on record: the attempt is still open, and is made again over what is stored now.
                    run = stored.clone();
                    intended.clear();
                    flights.push(Box::pin(self.invoke(Takeoff { again: true, ..takeoff }, run.deadline(), signals)));
                    command = self.wait(&mut flights, &due, &mut pending, &mut landed, (&run, signals)).await;
                    continue;
                }
                (committed, _) => committed?,
            }
            // Certain from here on: the intents are durable. A crash before an outcome is found as an open attempt.
            if let Some(left) = left {
                return Ok((run, left));
            }
            stored = run.clone();
            due = next.clone();
            for call in intended.drain(..) {
                flights.push(Box::pin(self.invoke(self.takeoff(call), run.deadline(), signals)));
            }
            command = self.wait(&mut flights, &next, &mut pending, &mut landed, (&run, signals)).await;
        }
    }

    fn takeoff(&self, intended: Intended) -> Takeoff {
        Takeoff { intended, started: self.clock.now(), again: false }
    }

    /// Waits until an attempt is over, the time of something has come, or somebody wants something of the run. An attempt
    /// under way sees a cancellation itself, and is over soon.
    async fn wait(
        &self,
        flights: &mut Flights<'_>,
        next: &Next,
        pending: &mut Pending,
        from: &mut Option<Takeoff>,
        (run, signals): (&Run, &dyn Signals),
    ) -> Command {
        let until = match next {
            Next::Open(until) => *until,
            Next::Sleep(until) => Some(*until),
            Next::Wait(..) | Next::NeedsPlan | Next::Ended(_) => None,
        };
        let due = async {
            match until {
                Some(until) => self.clock.sleep(until.saturating_sub(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        let landed = async {
            match flights.next().await {
                Some(landed) => landed,
                None => std::future::pending().await,
            }
        };
        let landed = either(landed, first(due, wanted(signals, run))).await;
        match landed {
            Some(Landed { call, outcome, writes, takeoff }) => {
                pending.writes = writes;
                *from = takeoff;
                Command::Record(call, outcome)
            }
            None => Command::Advance,
        }
    }

    /// Decides on a command; when somebody wants something of the run, that goes on record first.
    fn step(
        &self,
        mut run: Run,
        command: Command,
        pending: &mut Pending,
        signals: &dyn Signals,
    ) -> Result<Decision, Refusal> {
        if let Some(asked) = unmet(signals, &run) {
            let decision = self.decide(run, asked.into())?;
            if decision.run.seal.is_some() {
                return Ok(decision);
            }
            pending.lines.extend(decision.lines);
            run = decision.run;
        }
        self.decide(run, command)
    }

    fn decide(&self, run: Run, command: Command) -> Result<Decision, Refusal> {
        let context = Context { now: self.clock.now(), seed: self.entropy.seed(), facts: &self.skills };
        go_on(run, command, &context)
    }

    /// What becomes of the claim, and where the run is left, if it is.
    fn claim_after(&self, next: &Next) -> (Claim, Option<Left>) {
        let now = self.clock.now();
        match next {
            Next::Open(_) | Next::NeedsPlan => (Claim::Keep, None),
            Next::Sleep(until) if until.saturating_sub(now) <= INLINE_DELAY => (Claim::Keep, None),
            Next::Sleep(until) => (next.leave(now), Some(Left::Until(*until))),
            Next::Wait(reason, _) => (next.leave(now), Some(Left::Waiting(reason.clone()))),
            Next::Ended(status) => (next.leave(now), Some(Left::Ended(*status))),
        }
    }

    async fn commit(
        &self,
        before: &Run,
        after: &Run,
        fence: &Fence,
        pending: &mut Pending,
        claim: Claim,
    ) -> Result<(), StoreError> {
        if pending.lines.is_empty() && claim == Claim::Keep {
            return Ok(());
        }
        let Pending { lines, writes } = std::mem::take(pending);
        let lines: Arc<[Line]> = lines.into();
        let append = Append {
            tenant: after.tenant.clone(),
            run_id: after.id.clone(),
            fence: fence.clone(),
            expected_seq: before.next_seq,
            expected_head: before.head,
            rows: projection::changes(before, after),
            lines: Arc::clone(&lines),
            writes,
            claim,
        };
        self.journal.append(append).await?;
        self.observer.committed(after, &lines);
        Ok(())
    }
}

/// The value of `future`, or `None` when `stop` ends first. A value that is ready wins.
async fn either<T>(future: impl Future<Output = T>, stop: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut stop) = (pin!(future), pin!(stop));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => stop.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Ends with the first of two.
async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    either(one, other).await;
}
