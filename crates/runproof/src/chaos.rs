//! `chaos`: proves on this machine that nothing is lost when processes, connections and servers die.
//!
//! Runs of all effect classes go through the real program while worker processes are killed and frozen, connections are
//! cut, and the servers of the database crash. What happened in the world is counted outside of every process that can
//! die, and compared with what is recorded. Reading order: [`scenario`] (what happens, from a seed), [`receiver`] (the
//! world), [`proxy`] (the network), [`servers`] and [`workers`] (processes), [`trial`] (all of it at once), [`history`]
//! and [`judge`] (what came of it), [`report`].

pub mod dice;
pub mod history;
pub mod judge;
pub mod proxy;
pub mod receiver;
pub mod report;
pub mod scenario;
pub mod servers;
pub mod trial;
pub mod workers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{AppError, Code};

/// The trial could not be set up, or not be carried to its end.
pub(crate) fn failed(what: impl std::fmt::Display) -> AppError {
    AppError::new(Code::ChaosFailed, what.to_string()).hint("runproof explain chaos.failed")
}

/// What a mutex holds: counters stay meaningful whatever the thread that held them did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
