//! Driving runs: the signal by which people reach a run that is driven here, and the promise that outlives a driving.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runproof_engine::driver::{Asked, Left, Signals, Wish};
use runproof_engine::ports::{BoxFuture, Claimed};
use runproof_engine::run::{Run, WaitReason};
use tokio::sync::Notify;

use super::command::RunKey;
use super::{Command, Engine, POLL, encode};
use crate::error::{AppError, Code};
use crate::runtime;
use crate::worker::pace::Pace;

/// Longest pause between two looks at a run that somebody else has.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// When a run that could not be driven on is tried again, in microseconds.
const RETRY_AFTER: u64 = 1_000_000;

/// Tells a driven run what people want of it.
#[derive(Default)]
pub struct Signal {
    asked: Mutex<Option<Asked>>,
    notify: Notify,
}

impl Signal {
    pub(super) fn ask(&self, new: Asked) {
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

impl Engine {
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

    pub(super) async fn drive_until(&self, claimed: Claimed, signal: &Signal) -> Result<(Run, Left), AppError> {
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
