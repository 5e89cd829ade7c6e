//! The engine of one process: carries out commands, drives runs, and answers requests that other processes leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::decide::{Command as RunCommand, Context, Decision, Refusal, decide};
use runproof_engine::driver::{Asked, Driver, Left, Signals, Wish};
use runproof_engine::ports::{Append, BoxFuture, Claim, Claimed, Journal};
use runproof_engine::projection;
use runproof_engine::run::{CallId, Run};
use runproof_proof::event::{Actor, Resolution};
use runproof_proof::finding::printable;
use runproof_store::sqlite::SqliteStore;
use runproof_store::{Stamp, Store, TenantChange};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::error::{AppError, Code};
use crate::runtime;

/// When a run that could not be driven on is tried again, in microseconds.
const RETRY_AFTER: u64 = 1_000_000;
/// How long somebody who pauses a run or lets it go on waits until that is on record, and how often they look.
const ON_RECORD: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// The engine of one process.
pub struct Engine {
    /// The store.
    pub store: Arc<SqliteStore>,
    /// The loop.
    pub driver: Driver,
    /// Name of this process in claims.
    pub worker: String,
    active: Mutex<BTreeMap<String, Arc<Signal>>>,
}

impl Engine {
    /// An engine over an opened store.
    pub fn new(store: Arc<SqliteStore>, driver: Driver, worker: String) -> Self {
        Self { store, driver, worker, active: Mutex::new(BTreeMap::new()) }
    }

    /// Runs that are being driven.
    pub fn active(&self) -> usize {
        self.active.lock().map_or(0, |active| active.len())
    }

    fn stamp(&self, actor: Actor) -> Stamp {
        Stamp { now: runtime::now(), seed: runtime::random(), actor }
    }

    /// Opens a run and takes it, so that the caller can drive it.
    ///
    /// # Errors
    /// [`AppError`]; nothing is written.
    pub async fn open(&self, request: RunRequest, take: bool) -> Result<(Run, Option<Claimed>, bool), AppError> {
        let actor = request.actor.clone();
        let admitted = admit(request)?;
        let owner = take.then(|| self.worker.clone());
        let opened = self.store.open_run(admitted, owner, self.stamp(actor)).await?;
        let claimed = opened.fence.map(|fence| Claimed { run: opened.run.clone(), fence });
        Ok((opened.run, claimed, opened.existing))
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// [`AppError`]; nothing is written.
    pub async fn execute(&self, command: Command) -> Result<Done, AppError> {
        match command {
            Command::Tenant { tenant, change, actor } => {
                self.store.change_tenant(&tenant, change, self.stamp(actor)).await?;
                Ok(Done { run_id: None, status: None, existing: false })
            }
            Command::Run(request) => {
                let (run, _, existing) = self.open(*request, false).await?;
                Ok(done(&run, existing))
            }
            Command::Cancel { tenant, run_id, actor, reason } => {
                self.cancel(&tenant, &run_id, Asked { wish: Wish::Cancel, actor, reason }).await
            }
            Command::Pause { tenant, run_id, actor, reason } => {
                self.steer(&tenant, &run_id, Asked { wish: Wish::Pause, actor, reason }).await
            }
            Command::Resume { tenant, run_id, actor, reason } => {
                self.steer(&tenant, &run_id, Asked { wish: Wish::Resume, actor, reason }).await
            }
            Command::Resolve { tenant, run_id, step_id, resolution, actor, reason } => {
                let run = self.load(&tenant, &run_id).await?;
                // Judged before the run is claimed: a refusal leaves no trace.
                let call = CallId::parse(&step_id).filter(|call| run.held(call).is_some());
                let Some(call) = call else {
                    return Err(not_waiting(Refusal::NothingToResolve { run: run_id, call: step_id }.to_string()));
                };
                let command = RunCommand::Resolve { call, resolution, actor, reason };
                self.apply(&tenant, &run_id, command).await
            }
        }
    }

    async fn load(&self, tenant: &str, run_id: &str) -> Result<Run, AppError> {
        let run = self.store.load_run(tenant, run_id).await?;
        run.ok_or_else(|| no_run(tenant, run_id))
    }

    fn signal(&self, run_id: &str) -> Option<Arc<Signal>> {
        self.active.lock().ok().and_then(|active| active.get(run_id).cloned())
    }

    async fn cancel(&self, tenant: &str, run_id: &str, asked: Asked) -> Result<Done, AppError> {
        if let Some(signal) = self.signal(run_id) {
            let run = self.load(tenant, run_id).await?;
            signal.ask(asked);
            return Ok(Done { status: Some("cancelling".to_owned()), ..done(&run, false) });
        }
        let Some(claimed) = self.claim(tenant, run_id).await? else {
            let run = self.load(tenant, run_id).await?;
            return Err(over(&run));
        };
        let signal = Signal::default();
        signal.ask(asked);
        let (run, _) = self.drive_until(claimed, &signal).await?;
        Ok(done(&run, false))
    }

    /// Pauses a run, or lets it go on: here when nobody drives it, otherwise by whoever does.
    async fn steer(&self, tenant: &str, run_id: &str, asked: Asked) -> Result<Done, AppError> {
        let mut run = self.load(tenant, run_id).await?;
        // Judged before the run is told or claimed: a refusal leaves no trace.
        possible(asked.wish, &run)?;
        let late = Instant::now() + ON_RECORD;
        loop {
            let signal = self.signal(run_id);
            if let Some(signal) = &signal {
                signal.ask(asked.clone());
            } else if let Some(claimed) = self.claim(tenant, run_id).await? {
                return self.put_on_record(claimed, asked.into()).await;
            }
            if Instant::now() >= late {
                let word = if asked.wish == Wish::Pause { "pausing" } else { "resuming" };
                let taken = || {
                    AppError::new(Code::RunTaken, format!("run `{run_id}` is worked on by somebody else"))
                        .hint(format!("runproof get-run {run_id}"))
                };
                return signal.map(|_| Done { status: Some(word.to_owned()), ..done(&run, false) }).ok_or_else(taken);
            }
            tokio::time::sleep(LOOK).await;
            run = self.load(tenant, run_id).await?;
            if asked.wish.is_met(&run) {
                return Ok(done(&run, false));
            }
        }
    }

    async fn claim(&self, tenant: &str, run_id: &str) -> Result<Option<Claimed>, AppError> {
        Ok(self.store.claim_run(&self.worker, tenant, run_id).await?)
    }

    /// Puts a command on the record of a run that nobody drives, and gives the run back.
    async fn apply(&self, tenant: &str, run_id: &str, command: RunCommand) -> Result<Done, AppError> {
        match self.claim(tenant, run_id).await? {
            Some(claimed) => self.put_on_record(claimed, command).await,
            None => Err(not_waiting(format!("run `{run_id}` is being worked on: other steps of it are under way"))),
        }
    }

    async fn put_on_record(&self, Claimed { run, fence }: Claimed, command: RunCommand) -> Result<Done, AppError> {
        let context = Context { now: runtime::now(), seed: runtime::random(), facts: &self.driver.skills };
        let decided = decide(&run, command, &context);
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
        match &decided {
            Ok(decision) => Ok(done(&decision.run, false)),
            Err(error) => Err(refused(error)),
        }
    }

    /// Drives a claimed run until it is over or waits for somebody; waits for the times of retries.
    ///
    /// # Errors
    /// [`AppError`] when the store or the engine refuses; whoever claims the run next goes on.
    pub async fn drive(&self, claimed: Claimed) -> Result<(Run, Left), AppError> {
        let (tenant, run_id) = (claimed.run.tenant.clone(), claimed.run.id.clone());
        let mut claimed = Some(claimed);
        loop {
            let Some(current) = claimed.take() else {
                let run = self.load(&tenant, &run_id).await?;
                return Err(AppError::new(
                    Code::RunTaken,
                    format!("run `{run_id}` is {} and somebody else has it", run.status().word()),
                )
                .hint(format!("runproof get-run {run_id}")));
            };
            match self.drive_once(current).await? {
                (_, Left::Until(at)) => {
                    tokio::time::sleep(Duration::from_micros(at.saturating_sub(runtime::now()))).await;
                    claimed = self.claim(&tenant, &run_id).await?;
                }
                left => return Ok(left),
            }
        }
    }

    /// Drives a claimed run until it is over, waits, or is given back.
    ///
    /// # Errors
    /// As [`Engine::drive`].
    pub async fn drive_once(&self, claimed: Claimed) -> Result<(Run, Left), AppError> {
        let signal = Arc::new(Signal::default());
        let run_id = claimed.run.id.clone();
        if let Ok(mut active) = self.active.lock() {
            active.insert(run_id.clone(), Arc::clone(&signal));
        }
        let tenant = claimed.run.tenant.clone();
        let left = self.drive_until(claimed, &signal).await;
        if let Ok(mut active) = self.active.lock() {
            active.remove(&run_id);
        }
        let (run, left) = left?;
        let missed = signal.asked().is_some_and(|asked| !asked.wish.is_met(&run));
        if missed && let Some(claimed) = self.claim(&tenant, &run_id).await? {
            // Asked for while the run was being given back, and promised: from now on, nobody else knows of it.
            return self.drive_until(claimed, &signal).await;
        }
        Ok((run, left))
    }

    async fn drive_until(&self, claimed: Claimed, signal: &Signal) -> Result<(Run, Left), AppError> {
        let (tenant, run_id, fence) = (claimed.run.tenant.clone(), claimed.run.id.clone(), claimed.fence.clone());
        let left = self.driver.drive(claimed, signal).await;
        if left.is_err() {
            // What is stored is whole; the claim is given back so that the run goes on once the cause is gone.
            self.store.give_back(&tenant, &run_id, &fence, runtime::now() + RETRY_AFTER).await.ok();
        }
        Ok(left?)
    }

    /// Answers the requests that other processes have left. Answers how many there were.
    ///
    /// # Errors
    /// [`AppError`] when the store cannot be read or written.
    pub async fn answer_requests(&self) -> Result<usize, AppError> {
        let requests = self.store.open_requests()?;
        for (id, tenant, body) in &requests {
            let answer = match serde_json::from_str::<Command>(body) {
                Ok(command) if command.tenant() == tenant => self.execute(command).await,
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
            self.store.answer_request(*id, text).await?;
        }
        Ok(requests.len())
    }
}

impl Command {
    /// Tenant that the command is about.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Tenant { tenant, .. }
            | Self::Cancel { tenant, .. }
            | Self::Pause { tenant, .. }
            | Self::Resume { tenant, .. }
            | Self::Resolve { tenant, .. } => tenant,
            Self::Run(request) => &request.tenant,
        }
    }
}

/// Whether a run can be paused, or can go on.
fn possible(wish: Wish, run: &Run) -> Result<(), AppError> {
    let id = &run.id;
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
