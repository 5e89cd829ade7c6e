//! The engine of one process: carries out commands, drives runs, and answers requests that other processes leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::decide::{Command as RunCommand, Context, Decision, Refusal, decide};
use runproof_engine::driver::{Asked, Driver, Left, Signals, Wish};
use runproof_engine::ports::{Append, BoxFuture, Claim, Claimed};
use runproof_engine::projection;
use runproof_engine::run::{CallId, Run, WaitReason};
use runproof_proof::event::{Actor, Resolution};
use runproof_proof::finding::printable;
use runproof_proof::trust::Trust;
use runproof_store::{Request, Stamp, Store, TenantChange};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::error::{AppError, Code};
use crate::home::Home;
use crate::retention::{self, Wanted};
use crate::runtime;
use crate::worker::member::Member;
use crate::worker::pace::Pace;

/// How long somebody waits for the answer of another process.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest pause between two looks at something that another process changes.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest pause between two looks at whether a worker that was asked still has the run.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Longest pause between two looks at a run that somebody else has.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long somebody who pauses a run or lets it go on waits until whoever drives it here has put that on record.
const ON_RECORD: Duration = Duration::from_secs(5);
/// When a run that could not be driven on is tried again, in microseconds.
const RETRY_AFTER: u64 = 1_000_000;

/// Something that changes the store: done by the engine, wherever it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Changes a tenant.
    Tenant {
        /// Tenant.
        tenant: String,
        /// What changes.
        change: TenantChange,
        /// Who asks.
        actor: Actor,
    },
    /// Sets the most runs of a tenant, or of an agent, that workers hold at once.
    Limit {
        /// Tenant.
        tenant: String,
        /// Agent; `None`: all runs of the tenant.
        agent: Option<String>,
        /// Most runs; `None`: any number.
        max_running: Option<u32>,
    },
    /// Moves a run that is over into its archive.
    Archive {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Least time since the seal, in microseconds.
        min_age: u64,
        /// Who asks.
        actor: Actor,
    },
    /// Puts a tombstone in place of an archive.
    Purge {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Least time since the archiving, in microseconds.
        min_age: u64,
        /// Who asks.
        actor: Actor,
    },
    /// Opens a run.
    Run(Box<RunRequest>),
    /// Cancels a run.
    Cancel {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Lets a run begin nothing more until it is resumed.
    Pause {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Lets a paused run go on.
    Resume {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Says what came of an unknown attempt.
    Resolve {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Step, or `STEP#ITEM`.
        step_id: String,
        /// What they say.
        resolution: Resolution,
        /// Who says so.
        actor: Actor,
        /// How they know.
        reason: String,
    },
}

/// What became of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The run, when there is one.
    pub run_id: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// It existed before.
    pub existing: bool,
}

/// Tells a driven run what people want of it.
#[derive(Default)]
pub struct Signal {
    asked: Mutex<Option<Asked>>,
    notify: Notify,
}

impl Signal {
    fn ask(&self, new: Asked) {
        if let Ok(mut asked) = self.asked.lock()
            && asked.as_ref().is_none_or(|asked| asked.wish != Wish::Cancel)
        {
            *asked = Some(new);
        }
        self.notify.notify_waiters();
    }
}

impl Signals for Signal {
    fn asked(&self) -> Option<Asked> {
        self.asked.lock().ok().and_then(|asked| asked.clone())
    }

    fn other_than(&self, wish: Option<Wish>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let notified = self.notify.notified();
                if self.asked().map(|asked| asked.wish) != wish {
                    return;
                }
                notified.await;
            }
        })
    }
}

/// Tenant and run.
type RunKey = (String, String);

/// The engine of one process.
pub struct Engine {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The loop.
    pub driver: Driver,
    /// This process in claims.
    pub member: Arc<Member>,
    /// What people have to know about how this process works on the store.
    pub remarks: Vec<String>,
    home: Option<Home>,
    active: Mutex<BTreeMap<RunKey, Arc<Signal>>>,
    /// What was promised by a driving that was broken off.
    promised: Mutex<Vec<Command>>,
}

/// What came of reaching for a run that somebody acts on.
enum Reached {
    /// Nobody had it: now this process does.
    Claimed(Box<Claimed>),
    /// Whoever has it did what was asked.
    Answered(Done),
}

impl Engine {
    /// An engine over an opened store.
    pub fn new(store: Arc<dyn Store>, driver: Driver, member: Arc<Member>) -> Self {
        Self {
            store,
            driver,
            member,
            remarks: Vec::new(),
            home: None,
            active: Mutex::default(),
            promised: Mutex::default(),
        }
    }

    /// The same, with the home whose trust judges runs before anything of them is removed.
    #[must_use]
    pub fn at_home(self, home: Home) -> Self {
        Self { home: Some(home), ..self }
    }

    fn trust(&self) -> Result<Trust, AppError> {
        let none = || AppError::new(Code::EngineRefused, "this engine has no home, so it trusts no key");
        self.home.as_ref().ok_or_else(none)?.trust()
    }

    /// The same, with what people have to know.
    #[must_use]
    pub fn remarking(self, remarks: Vec<String>) -> Self {
        Self { remarks, ..self }
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<RunKey, Arc<Signal>>> {
        // An entry is put in or taken out as a whole: a panic elsewhere leaves nothing half done.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self, actor: Actor) -> Stamp {
        Stamp { now: runtime::now(), seed: runtime::random(), actor }
    }

    /// What was promised and is not on record, because the driving was broken off: whoever takes it carries it out.
    pub fn take_promised(&self) -> Vec<Command> {
        self.promised.lock().map(|mut promised| std::mem::take(&mut *promised)).unwrap_or_default()
    }

    /// Says the last word of a process that does nothing more: what is committed gets its place, and what is held is
    /// given back.
    ///
    /// # Errors
    /// [`AppError`]: others do it, a little later.
    pub async fn close(&self) -> Result<(), AppError> {
        if self.store.lease().is_some() {
            while self.store.sequence().await? {}
            self.member.leave().await?;
        }
        Ok(())
    }

    /// Opens a run and takes it, so that the caller can drive it.
    ///
    /// # Errors
    /// [`AppError`]; nothing is written.
    pub async fn open(&self, request: RunRequest, take: bool) -> Result<(Run, Option<Claimed>, bool), AppError> {
        let actor = request.actor.clone();
        let admitted = admit(request)?;
        if take {
            self.member.join(1).await?;
        }
        let owner = take.then(|| self.member.name());
        let opened = self.store.open_run(admitted, owner, self.stamp(actor)).await?;
        let claimed = opened.fence.map(|fence| Claimed { run: opened.run.clone(), fence });
        Ok((opened.run, claimed, opened.existing))
    }

    /// Carries out a command; where another worker holds the run that it is about, that one is asked.
    ///
    /// # Errors
    /// [`AppError`]; nothing is written.
    pub async fn execute(&self, command: Command) -> Result<Done, AppError> {
        let Some((tenant, run_id)) = command.run() else { return self.carry_out(command, None).await };
        self.member.join(1).await?;
        if let Some(done) = self.ask_driver(&command).await? {
            return Ok(done);
        }
        self.judge(&command).await?;
        match self.reach(&command, &tenant, &run_id).await? {
            Reached::Claimed(claimed) => self.carry_out(command, Some(*claimed)).await,
            Reached::Answered(done) => Ok(done),
        }
    }

    /// Carries out a command that another process has left. `None`: it is about a run that another worker holds.
    async fn answer(&self, command: Command) -> Result<Option<Done>, AppError> {
        let Some((tenant, run_id)) = command.run() else { return self.carry_out(command, None).await.map(Some) };
        if let Some(done) = self.ask_driver(&command).await? {
            return Ok(Some(done));
        }
        self.judge(&command).await?;
        if self.store.lease().is_none() {
            return match self.reach(&command, &tenant, &run_id).await? {
                Reached::Claimed(claimed) => self.carry_out(command, Some(*claimed)).await.map(Some),
                Reached::Answered(done) => Ok(Some(done)),
            };
        }
        match self.claim(&tenant, &run_id).await? {
            Some(claimed) => self.carry_out(command, Some(claimed)).await.map(Some),
            None if self.is_driving(&tenant, &run_id) => Err(busy(&run_id)),
            None => {
                refuse_over(&command, &self.load(&tenant, &run_id).await?)?;
                Ok(None)
            }
        }
    }

    /// Does what a command says, once the run that it is about is claimed.
    async fn carry_out(&self, command: Command, claimed: Option<Claimed>) -> Result<Done, AppError> {
        match (command, claimed) {
            (Command::Tenant { tenant, change, actor }, _) => {
                self.store.change_tenant(&tenant, change, self.stamp(actor)).await?;
                Ok(Done::default())
            }
            (Command::Limit { tenant, agent, max_running }, _) => {
                self.store.set_limit(&tenant, agent.as_deref(), max_running).await?;
                Ok(Done::default())
            }
            (Command::Archive { tenant, run_id, min_age, actor }, _) => {
                let wanted = Wanted { tenant: &tenant, run_id: &run_id, min_age };
                retention::archive(self.store.as_ref(), &self.trust()?, wanted, actor).await?;
                Ok(Done { run_id: Some(run_id), ..Done::default() })
            }
            (Command::Purge { tenant, run_id, min_age, actor }, _) => {
                let wanted = Wanted { tenant: &tenant, run_id: &run_id, min_age };
                retention::purge(self.store.as_ref(), &self.trust()?, wanted, actor).await?;
                Ok(Done { run_id: Some(run_id), ..Done::default() })
            }
            (Command::Run(request), _) => {
                let (run, _, existing) = self.open(*request, false).await?;
                Ok(done(&run, existing))
            }
            (Command::Cancel { actor, reason, .. }, Some(claimed)) => {
                let signal = Signal::default();
                signal.ask(Asked { wish: Wish::Cancel, actor, reason });
                let (run, _) = self.drive_until(claimed, &signal).await?;
                Ok(done(&run, false))
            }
            (Command::Resolve { step_id, resolution, actor, reason, .. }, Some(claimed)) => {
                let call = call(&claimed.run, &step_id);
                let command = call.map(|call| RunCommand::Resolve { call, resolution, actor, reason });
                self.apply(claimed, command).await
            }
            (Command::Pause { actor, reason, .. }, Some(claimed)) => {
                self.apply(claimed, Ok(RunCommand::Pause { actor, reason })).await
            }
            (Command::Resume { actor, reason, .. }, Some(claimed)) => {
                self.apply(claimed, Ok(RunCommand::Resume { actor, reason })).await
            }
            (
                Command::Cancel { run_id, .. }
                | Command::Pause { run_id, .. }
                | Command::Resume { run_id, .. }
                | Command::Resolve { run_id, .. },
                None,
            ) => Err(busy(&run_id)),
        }
    }

    /// Tells whoever drives the run in this process what is wanted of it. `None`: nobody here does.
    async fn ask_driver(&self, command: &Command) -> Result<Option<Done>, AppError> {
        let Some(((tenant, run_id), asked)) = command.wish() else { return Ok(None) };
        if !self.is_driving(&tenant, &run_id) {
            return Ok(None);
        }
        let run = self.load(&tenant, &run_id).await?;
        possible(asked.wish, &run)?;
        let wish = asked.wish;
        {
            // Under the lock: whoever drives the run looks for the signal before it takes the entry out.
            let active = self.active();
            let Some(signal) = active.get(&(tenant.clone(), run_id.clone())) else { return Ok(None) };
            signal.ask(asked);
        }
        match wish {
            Wish::Cancel => Ok(Some(Done { status: Some("cancelling".to_owned()), ..done(&run, false) })),
            Wish::Pause => self.on_record(&tenant, &run_id, wish, "pausing").await,
            Wish::Resume => self.on_record(&tenant, &run_id, wish, "resuming").await,
        }
    }

    /// Waits until what was asked of a driven run is on its record. `None`: the run is no longer driven, and it is not.
    async fn on_record(
        &self,
        tenant: &str,
        run_id: &str,
        wish: Wish,
        under_way: &str,
    ) -> Result<Option<Done>, AppError> {
        let started = Instant::now();
        let mut pace = Pace::new(POLL, ASK_AGAIN);
        loop {
            let driven = self.is_driving(tenant, run_id);
            let run = self.load(tenant, run_id).await?;
            if wish.is_met(&run) {
                return Ok(Some(done(&run, false)));
            }
            if !driven {
                return Ok(None);
            }
            if started.elapsed() >= ON_RECORD {
                return Ok(Some(Done { status: Some(under_way.to_owned()), ..done(&run, false) }));
            }
            pace.wait().await;
        }
    }

    /// Judges a command before a run is claimed for it: a refusal leaves no trace.
    async fn judge(&self, command: &Command) -> Result<(), AppError> {
        match command {
            Command::Resolve { tenant, run_id, step_id, .. } => {
                call(&self.load(tenant, run_id).await?, step_id).map(drop)
            }
            Command::Pause { tenant, run_id, .. } => possible(Wish::Pause, &self.load(tenant, run_id).await?),
            Command::Resume { tenant, run_id, .. } => possible(Wish::Resume, &self.load(tenant, run_id).await?),
            Command::Cancel { .. }
            | Command::Tenant { .. }
            | Command::Limit { .. }
            | Command::Archive { .. }
            | Command::Purge { .. }
            | Command::Run(_) => Ok(()),
        }
    }

    fn is_driving(&self, tenant: &str, run_id: &str) -> bool {
        self.active().contains_key(&(tenant.to_owned(), run_id.to_owned()))
    }

    /// Claims a run that somebody acts on, or has the worker that holds it do what was asked.
    async fn reach(&self, command: &Command, tenant: &str, run_id: &str) -> Result<Reached, AppError> {
        let started = Instant::now();
        let mut asked = None;
        let mut pace = Pace::new(POLL, ASK_AGAIN);
        while started.elapsed() < ANSWER_TIMEOUT {
            if let Some(claimed) = self.claim(tenant, run_id).await? {
                let Some(id) = asked else { return Ok(Reached::Claimed(Box::new(claimed))) };
                if self.store.withdraw_request(tenant, id).await? {
                    return Ok(Reached::Claimed(Box::new(claimed)));
                }
                // Whoever had it has answered, and then gave it back.
                self.store.give_back(tenant, run_id, &claimed.fence, runtime::now()).await?;
            } else if let Some(done) = self.ask_driver(command).await? {
                return Ok(Reached::Answered(done)); // it was claimed here a moment ago
            } else if asked.is_none() {
                refuse_over(command, &self.load(tenant, run_id).await?)?;
                if self.store.lease().is_some() {
                    asked = Some(self.store.leave_request(tenant, Some(run_id), &encode(command)?).await?);
                } else if matches!(command, Command::Resolve { .. }) {
                    return Err(busy(run_id));
                }
            }
            if let Some(id) = asked
                && let Some(answer) = self.store.take_answer(tenant, id).await?
            {
                return decode(id, &answer).map(Reached::Answered);
            }
            pace.wait().await;
        }
        let withdrawn = match asked {
            Some(id) => self.store.withdraw_request(tenant, id).await?,
            None => true,
        };
        let rest = if withdrawn { "nothing was written" } else { "its answer came too late to be read" };
        Err(AppError::new(
            Code::RequestUnanswered,
            format!("the worker that holds run `{run_id}` does not answer; {rest}"),
        )
        .hint("runproof list-workers shows who is alive; try again in a moment"))
    }

    async fn load(&self, tenant: &str, run_id: &str) -> Result<Run, AppError> {
        let run = self.store.load_run(tenant, run_id).await?;
        run.ok_or_else(|| no_run(tenant, run_id))
    }

    async fn claim(&self, tenant: &str, run_id: &str) -> Result<Option<Claimed>, AppError> {
        Ok(self.store.claim_run(&self.member.name(), tenant, run_id).await?)
    }

    /// Puts a command on the record of a run that nobody drives, and gives the run back.
    async fn apply(&self, claimed: Claimed, command: Result<RunCommand, AppError>) -> Result<Done, AppError> {
        let Claimed { run, fence } = claimed;
        let context = Context { now: runtime::now(), seed: runtime::random(), facts: &self.driver.skills };
        let decided = command.and_then(|command| decide(&run, command, &context).map_err(|refusal| refused(&refusal)));
        let (lines, after, claim) = match &decided {
            Ok(Decision { lines, run, next, .. }) => (lines.clone(), run, next.leave(context.now)),
            Err(_) => (Vec::new(), &run, Claim::Release(context.now)), // nothing to write: only the claim is given back
        };
        let append = Append {
            tenant: run.tenant.clone(),
            run_id: run.id.clone(),
            fence,
            expected_seq: run.next_seq,
            expected_head: run.head,
            rows: projection::changes(&run, after),
            lines: lines.into(),
            writes: Vec::new(),
            claim,
        };
        self.store.append(append).await?;
        decided.map(|decision| done(&decision.run, false))
    }

    /// Sees a run through until it is over or waits for somebody: drives it when it is due and nobody has it, and waits
    /// while somebody else does.
    ///
    /// # Errors
    /// [`AppError`] when the store or the engine refuses; whoever claims the run next goes on.
    pub async fn see_through(
        &self,
        tenant: &str,
        run_id: &str,
        mut claimed: Option<Claimed>,
    ) -> Result<(Run, Left), AppError> {
        let shared = self.store.lease().is_some();
        let mut pace = Pace::new(POLL, LOOK_AGAIN);
        loop {
            if let Some(current) = claimed.take() {
                match self.drive_once(current).await {
                    Ok((_, Left::Until(_))) => pace.reset(),
                    // Somebody took the run from this process: that one drives it now.
                    Err(error) if shared && error.code == Code::StoreConflict => {}
                    ended => return ended,
                }
            }
            if shared {
                self.store.reap().await?;
            }
            let run = self.load(tenant, run_id).await?;
            match (&run.seal, run.wait_since().map(|(reason, _)| reason.clone())) {
                (Some((seal, _)), _) => {
                    let status = seal.status;
                    return Ok((run, Left::Ended(status)));
                }
                (None, Some(WaitReason::RetryAt(at))) if at > runtime::now() => {
                    let until = Duration::from_micros(at.saturating_sub(runtime::now()));
                    tokio::time::sleep(until.min(LOOK_AGAIN)).await;
                    continue;
                }
                (None, Some(reason @ (WaitReason::Resolution(_) | WaitReason::Paused))) => {
                    return Ok((run, Left::Waiting(reason)));
                }
                (None, Some(WaitReason::RetryAt(_)) | None) => {}
            }
            self.member.join(1).await?;
            claimed = self.claim(tenant, run_id).await?;
            if claimed.is_none() {
                pace.wait().await;
            }
        }
    }

    /// Drives a claimed run until it is over, waits, or is given back.
    ///
    /// # Errors
    /// [`AppError`] when the store or the engine refuses; whoever claims the run next goes on.
    pub async fn drive_once(&self, claimed: Claimed) -> Result<(Run, Left), AppError> {
        let signal = Arc::new(Signal::default());
        let key = (claimed.run.tenant.clone(), claimed.run.id.clone());
        self.active().insert(key.clone(), Arc::clone(&signal));
        let mut driven = Driven { engine: self, key: key.clone(), signal: Arc::clone(&signal), kept: false };
        let left = self.drive_until(claimed, &signal).await;
        let asked = {
            let mut active = self.active();
            if signal.asked().is_none() {
                active.remove(&key); // nobody finds the signal any more: who asks now claims the run
            }
            signal.asked()
        };
        let left = match (left, asked) {
            (left, None) => left,
            (Ok((run, left)), Some(asked)) if asked.wish.is_met(&run) => Ok((run, left)),
            // Promised, and not on record: asked for while the run was given back, or the store failed.
            (Ok(_) | Err(_), Some(asked)) => self.keep_promise(&key, &signal, asked).await,
        };
        driven.kept = true;
        left
    }

    /// Sees to it that what was promised is on record, however long the store cannot be reached.
    async fn keep_promise(&self, key: &RunKey, signal: &Signal, promised: Asked) -> Result<(Run, Left), AppError> {
        let (tenant, run_id) = key;
        let mut pace = Pace::new(POLL, LOOK_AGAIN);
        let mut asked = false;
        loop {
            let claimed = match self.claim(tenant, run_id).await {
                Ok(Some(claimed)) => Some(claimed),
                Ok(None) => None,
                Err(error) if !passes(&error) => return Err(error),
                Err(_) => {
                    pace.wait().await;
                    continue;
                }
            };
            if let Some(claimed) = claimed {
                match self.drive_until(claimed, signal).await {
                    Err(error) if passes(&error) => {}
                    ended => return ended,
                }
            } else if let Ok(run) = self.load(tenant, run_id).await {
                if let Some((seal, _)) = &run.seal {
                    let status = seal.status;
                    return Ok((run, Left::Ended(status)));
                }
                if promised.wish.is_met(&run) {
                    return Ok((run, Left::Until(runtime::now())));
                }
                if !asked && self.store.lease().is_some() {
                    // Another worker has it now. Nobody waits for the answer: the promise is kept once it is asked.
                    let body = encode(&Command::asking(key.clone(), promised.clone()))?;
                    asked = self.store.leave_request(tenant, Some(run_id), &body).await.is_ok();
                }
            }
            pace.wait().await;
        }
    }

    async fn drive_until(&self, claimed: Claimed, signal: &Signal) -> Result<(Run, Left), AppError> {
        let (tenant, run_id, fence) = (claimed.run.tenant.clone(), claimed.run.id.clone(), claimed.fence.clone());
        match self.driver.drive(claimed, signal).await {
            Ok(left) => Ok(left),
            Err(error) => {
                // What is stored is whole; the claim is given back so that the run goes on once the cause is gone.
                let given = self.store.give_back(&tenant, &run_id, &fence, runtime::now() + RETRY_AFTER).await;
                let mut error = AppError::from(error);
                if let Err(kept) = given {
                    error.message.push_str(&format!("; and run `{run_id}` could not be given back: {kept}"));
                }
                Err(error)
            }
        }
    }

    /// Answers the requests that other processes have left. Answers how many there were.
    ///
    /// # Errors
    /// [`AppError`] when the store cannot be read or written.
    pub async fn answer_requests(&self) -> Result<usize, AppError> {
        let mut answered = 0;
        for request in self.store.open_requests(&self.member.name()).await? {
            let Request { id, tenant, body } = &request;
            let answer = match serde_json::from_str::<Command>(body) {
                Ok(command) if command.tenant() == tenant => match self.answer(command).await {
                    Ok(None) => continue, // whoever holds the run by now will see it
                    Ok(Some(done)) => Ok(done),
                    Err(error) => Err(error),
                },
                Ok(other) => Err(AppError::new(
                    Code::RequestTenant,
                    format!(
                        "request {id} is for tenant `{}`, its row for `{}`",
                        printable(other.tenant()),
                        printable(tenant)
                    ),
                )
                .hint("somebody wrote this request past `runproof`; look who can write to the database")),
                Err(error) => Err(AppError::new(
                    Code::RequestUnreadable,
                    format!("request {id} cannot be read: {}", printable(&error.to_string())),
                )
                .hint("both processes have to be the same version of runproof")),
            };
            let text = serde_json::to_string(&answer).map_err(|error| {
                AppError::new(Code::RequestAnswer, format!("the answer to request {id} cannot be written: {error}"))
            })?;
            self.store.answer_request(&request, &text).await?;
            answered += 1;
        }
        Ok(answered)
    }
}

/// A run that is driven here; whatever ends the driving, it is no longer.
struct Driven<'a> {
    engine: &'a Engine,
    key: RunKey,
    signal: Arc<Signal>,
    /// What was promised is on record, or cannot be.
    kept: bool,
}

impl Drop for Driven<'_> {
    /// Where the driving was broken off, a promise outlives it.
    fn drop(&mut self) {
        self.engine.active().retain(|_, signal| !Arc::ptr_eq(signal, &self.signal));
        let asked = self.signal.asked().filter(|_| !self.kept);
        if let (Some(asked), Ok(mut promised)) = (asked, self.engine.promised.lock()) {
            promised.push(Command::asking(self.key.clone(), asked));
        }
    }
}

/// Whether the same may work a little later.
fn passes(error: &AppError) -> bool {
    let at_the_store = matches!(
        error.code,
        Code::StoreUnavailable | Code::StoreOutcomeUnknown | Code::StoreConflict | Code::StoreStale
    );
    at_the_store || error.code.is_of_a_server()
}

impl Command {
    /// Tenant that the command is about.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Tenant { tenant, .. }
            | Self::Limit { tenant, .. }
            | Self::Archive { tenant, .. }
            | Self::Purge { tenant, .. }
            | Self::Cancel { tenant, .. }
            | Self::Pause { tenant, .. }
            | Self::Resume { tenant, .. }
            | Self::Resolve { tenant, .. } => tenant,
            Self::Run(request) => &request.tenant,
        }
    }

    /// The run that has to be claimed for it.
    fn run(&self) -> Option<RunKey> {
        match self {
            Self::Cancel { tenant, run_id, .. }
            | Self::Pause { tenant, run_id, .. }
            | Self::Resume { tenant, run_id, .. }
            | Self::Resolve { tenant, run_id, .. } => Some((tenant.clone(), run_id.clone())),
            Self::Tenant { .. } | Self::Limit { .. } | Self::Archive { .. } | Self::Purge { .. } | Self::Run(_) => None,
        }
    }

    /// What it wants of a run that is driven.
    fn wish(&self) -> Option<(RunKey, Asked)> {
        let (wish, actor, reason) = match self {
            Self::Cancel { actor, reason, .. } => (Wish::Cancel, actor, reason),
            Self::Pause { actor, reason, .. } => (Wish::Pause, actor, reason),
            Self::Resume { actor, reason, .. } => (Wish::Resume, actor, reason),
            Self::Tenant { .. }
            | Self::Limit { .. }
            | Self::Archive { .. }
            | Self::Purge { .. }
            | Self::Run(_)
            | Self::Resolve { .. } => return None,
        };
        Some((self.run()?, Asked { wish, actor: actor.clone(), reason: reason.clone() }))
    }

    /// The command that asks for it.
    fn asking((tenant, run_id): RunKey, Asked { wish, actor, reason }: Asked) -> Self {
        match wish {
            Wish::Cancel => Self::Cancel { tenant, run_id, actor, reason },
            Wish::Pause => Self::Pause { tenant, run_id, actor, reason },
            Wish::Resume => Self::Resume { tenant, run_id, actor, reason },
        }
    }
}

/// The call of a run that waits for somebody's word.
fn call(run: &Run, step_id: &str) -> Result<CallId, AppError> {
    let call = CallId::parse(step_id).filter(|call| run.held(call).is_some());
    let nothing = || Refusal::NothingToResolve { run: run.id.clone(), call: step_id.to_owned() };
    call.ok_or_else(|| not_waiting(nothing().to_string()))
}

/// A run that is over is not steered.
fn refuse_over(command: &Command, run: &Run) -> Result<(), AppError> {
    if run.seal.is_some() && command.wish().is_some() { Err(over(run)) } else { Ok(()) }
}

/// Whether a run can be paused, or can go on. A cancellation is judged by whoever carries it out.
fn possible(wish: Wish, run: &Run) -> Result<(), AppError> {
    let id = &run.id;
    if wish == Wish::Cancel {
        return Ok(());
    }
    match (&run.seal, &run.cancel, &run.paused, wish) {
        (Some(_), ..) => Err(over(run)),
        (_, Some(_), ..) => Err(refused(&Refusal::CancelRequested(id.clone()))),
        (_, _, Some(_), Wish::Pause) => Err(refused(&Refusal::Paused(id.clone()))),
        (_, _, None, Wish::Resume) => Err(refused(&Refusal::NotPaused(id.clone()))),
        (_, _, Some(_) | None, Wish::Cancel | Wish::Pause | Wish::Resume) => Ok(()),
    }
}

fn over(run: &Run) -> AppError {
    AppError::new(Code::RunOver, format!("run `{}` is {}", run.id, run.status().word()))
        .hint("a run that is over stays as it is; `runproof get-run` shows how it ended")
}

fn refused(refusal: &Refusal) -> AppError {
    let code = match refusal {
        Refusal::Paused(_) => Code::RunPaused,
        Refusal::NotPaused(_) => Code::RunNotPaused,
        Refusal::CancelRequested(_) => Code::RunCancelling,
        Refusal::Ended { .. }
        | Refusal::NothingToResolve { .. }
        | Refusal::NothingOpen { .. }
        | Refusal::Stuck(_)
        | Refusal::Plan(_)
        | Refusal::Draft(_) => return not_waiting(refusal.to_string()),
    };
    AppError::new(code, refusal.to_string()).hint("runproof get-run shows where the run stands")
}

/// A command as it is left for another process.
///
/// # Errors
/// [`AppError`] when it cannot be written as JSON.
pub fn encode(command: &Command) -> Result<String, AppError> {
    serde_json::to_string(command)
        .map_err(|error| AppError::new(Code::RequestAnswer, format!("the request cannot be written: {error}")))
}

/// What another process answered.
///
/// # Errors
/// [`AppError`]: the answer, or that it cannot be read.
pub fn decode(id: i64, answer: &str) -> Result<Done, AppError> {
    let unreadable = |error: serde_json::Error| {
        AppError::new(Code::RequestAnswer, format!("the answer to request {id} cannot be read: {error}"))
            .hint("the engine is another version of runproof: see with `runproof list-runs` what it did")
    };
    serde_json::from_str::<Result<Done, AppError>>(answer).map_err(unreadable)?
}

fn busy(run_id: &str) -> AppError {
    not_waiting(format!("run `{run_id}` is being worked on: other steps of it are under way"))
}

fn not_waiting(message: String) -> AppError {
    AppError::new(Code::RunNotWaiting, message).hint("runproof get-run shows what a run waits for")
}

fn done(run: &Run, existing: bool) -> Done {
    Done { run_id: Some(run.id.clone()), status: Some(run.status().word().to_owned()), existing }
}

/// The tenant has no such run.
pub fn no_run(tenant: &str, run_id: &str) -> AppError {
    let shown = printable(run_id);
    let message = match tenant {
        "*" => format!("run `{shown}` not found in any tenant"),
        tenant => format!("run `{shown}` not found in tenant `{}`", printable(tenant)),
    };
    AppError::new(Code::RunNotFound, message).hint("runproof list-runs")
}
