//! When a lane begins a transaction: what every transaction costs is shared by all that is in it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

/// Most jobs in one transaction.
const MAX_BATCH: usize = 128;
/// Longest time that a job waits for others. A transaction that hangs must not hold up the other lanes.
const PATIENCE: Duration = Duration::from_millis(5);

/// The appends of a store that are under way.
#[derive(Default)]
pub(super) struct Turns {
    under_way: AtomicUsize,
    ended: Notify,
}

impl Turns {
    /// Takes jobs from a queue; none when it is closed. They need not wait for more when no append is under way, or as soon
    /// as one has ended, or `enough` are there.
    pub(super) async fn gather<J>(&self, queue: &mut UnboundedReceiver<J>, enough: usize) -> Vec<J> {
        let mut jobs = Vec::new();
        if queue.recv_many(&mut jobs, MAX_BATCH).await == 0 {
            return jobs;
        }
        let mut ended = pin!(self.ended.notified());
        ended.as_mut().enable();
        let mut late = pin!(tokio::time::sleep(PATIENCE));
        while jobs.len() < enough && self.under_way.load(Ordering::SeqCst) > 0 {
            let room = MAX_BATCH - jobs.len();
            tokio::select! {
                () = &mut ended => break,
                () = &mut late => break,
                more = queue.recv_many(&mut jobs, room) => if more == 0 { break },
            }
        }
        jobs
    }

    /// An append is under way until the answer is dropped.
    pub(super) fn begin(&self) -> Turn<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Turn(self)
    }
}

/// An append that is under way.
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}
