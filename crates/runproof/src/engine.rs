//! The engine of one process: carries out commands, drives runs, and answers requests that other processes leave.

mod command;
mod drive;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::decide::{Command as RunCommand, Context, Decision, decide};
use runproof_engine::driver::{Asked, Driver, Wish};
use runproof_engine::ports::{Append, Claim, Claimed};
use runproof_engine::projection;
use runproof_engine::run::Run;
use runproof_proof::event::Actor;
use runproof_proof::finding::printable;
use runproof_proof::trust::Trust;
use runproof_store::{Request, Stamp, Store};

use crate::error::{AppError, Code};
use crate::home::Home;
use crate::retention::{self, Wanted};
use crate::runtime;
use crate::worker::member::Member;
use crate::worker::pace::Pace;

pub use command::{Command, Done, decode, encode, no_run};
use command::{RunKey, busy, call, done, possible, refuse_over, refused};
pub use drive::Signal;

/// How long somebody waits for the answer of another process.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest pause between two looks at something that another process changes.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest pause between two looks at whether a worker that was asked still has the run.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long somebody who pauses a run or lets it go on waits until whoever drives it here has put that on record.
const ON_RECORD: Duration = Duration::from_secs(5);

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
