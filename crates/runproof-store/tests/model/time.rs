//! Time that passes only when nothing else can happen, and a store for which it stands still.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use runproof_engine::ports::{Append, BoxFuture, Claimed, Claims, Clock, Journal, StoreError};
use runproof_store::Store;

use crate::doubles::START;

/// Time that moves on to whatever is due first, and only when nothing else can happen.
pub(crate) struct Time {
    sleepers: Mutex<Sleepers>,
    /// Writes that are under way: no time passes meanwhile.
    writes: AtomicUsize,
}

struct Sleepers {
    now: u64,
    /// Who is to be woken, by time and then by number.
    waiting: BTreeMap<(u64, u64), Waker>,
    numbers: u64,
}

impl Time {
    pub(crate) fn new() -> Arc<Self> {
        let sleepers = Sleepers { now: START, waiting: BTreeMap::new(), numbers: 0 };
        Arc::new(Self { sleepers: Mutex::new(sleepers), writes: AtomicUsize::new(0) })
    }

    pub(crate) fn move_to(&self, at: u64) {
        let mut sleepers = self.sleepers.lock().unwrap();
        sleepers.now = sleepers.now.max(at);
    }

    /// Runs a future. Time passes when it waits for nothing but time.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let woken = Arc::new(Woken { woken: AtomicBool::new(false), thread: std::thread::current() });
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            while !woken.woken.swap(false, Ordering::SeqCst) {
                if self.writes.load(Ordering::SeqCst) > 0 || !self.wake_next() {
                    std::thread::park(); // for the store, which works on another thread
                }
            }
        }
    }

    fn wake_next(&self) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap();
        let Some(((at, _), waker)) = sleepers.waiting.pop_first() else { return false };
        sleepers.now = sleepers.now.max(at);
        drop(sleepers);
        waker.wake();
        true
    }
}

struct Woken {
    woken: AtomicBool,
    thread: std::thread::Thread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Clock for Time {
    fn now(&self) -> u64 {
        self.sleepers.lock().unwrap().now
    }

    fn sleep(&self, microseconds: u64) -> BoxFuture<'_, ()> {
        Box::pin(Sleep { time: self, until: self.now() + microseconds, number: None })
    }
}

struct Sleep<'a> {
    time: &'a Time,
    until: u64,
    number: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.time.sleepers.lock().unwrap();
        if sleepers.now >= self.until {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or(sleepers.numbers);
        sleepers.numbers = sleepers.numbers.max(number + 1);
        sleepers.waiting.insert((self.until, number), context.waker().clone());
        drop(sleepers);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.time.sleepers.lock().unwrap().waiting.remove(&(self.until, number));
        }
    }
}

/// A store that writes while time stands still.
pub(crate) struct Instant {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) time: Arc<Time>,
}

struct Write<'a>(&'a AtomicUsize);

impl<'a> Write<'a> {
    fn begin(time: &'a Time) -> Self {
        time.writes.fetch_add(1, Ordering::SeqCst);
        Self(&time.writes)
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Journal for Instant {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        let _write = Write::begin(&self.time);
        self.store.append(append).await
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        let _write = Write::begin(&self.time);
        self.store.claim(owner, now, limit).await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        let _write = Write::begin(&self.time);
        self.store.claim_run(owner, tenant, run_id).await
    }
}
