//! The Postgres store: any number of processes on one database, directly or through a pooler in transaction mode.
//!
//! How it keeps what one writer keeps in the embedded store: docs/design/0015.

mod append;
mod claim;
mod connect;
mod held;
mod open;
mod session;
mod tenant;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deadpool_postgres::Pool;
use runproof_engine::draft::Line;
use runproof_engine::ports::StoreError;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, mpsc};

pub use connect::Address;

/// Types of the columns of `runs`, in the order of the projection: `t` is text, `i` an integer.
const RUN: &str = "ttitttttttttttttittittttiittt";
/// The same of `aos_traces`.
const TRACE: &str = "tttttttttittt";
/// The same of `run_seals`.
const SEAL: &str = "ttttiittiiiiit";

/// What the tasks of a store share.
struct Shared {
    pool: Pool,
    log: String,
    held: held::Held,
    /// Told when a transaction was committed: there is something to place.
    committed: Notify,
    /// Told when a run was sealed: its checkpoint is wanted soon.
    sealed: Notify,
    transactions: AtomicU64,
    jobs: AtomicU64,
}

impl Shared {
    fn committed(&self, sealed: bool) {
        self.committed.notify_one();
        if sealed {
            self.sealed.notify_one();
        }
    }

    fn count(&self, jobs: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
    }
}

/// Events and payloads of a transition, one a line.
fn texts(lines: &[Line]) -> (String, String) {
    let join = |of: fn(&Line) -> &[u8]| {
        let lines: Vec<&[u8]> = lines.iter().map(of).collect();
        String::from_utf8_lossy(&lines.join(&b'\n')).into_owned()
    };
    (join(|line| &line.bytes), join(|line| line.payload.as_deref().unwrap_or_default()))
}
