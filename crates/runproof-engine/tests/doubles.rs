//! Stand-ins for the world: a clock that moves when somebody waits, countable seeds, a cancel button, scripted skills.
//!
//! Also a module of the tests of `runproof-store`, which includes it by path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::driver::{Asked, Signals, Wish};
use runproof_engine::ports::{BoxFuture, Clock, Entropy, Secrets};
use runproof_engine::skill::{
    Attempt, AttemptResult, CostModel, Dispatch, EffectClass, ErrorCategory, Failure, Idempotency, Limits, Manifest,
    ParamFinding, Probe, Skill, Write,
};
use runproof_proof::event::{Actor, ActorType};
use runproof_proof::hash::sha256;
use serde_json::{Value, json};

/// Microseconds at which every story begins.
pub(crate) const START: u64 = 1_800_000_000_000_000;

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A clock that stands still until everybody sleeps; then it is the time of whoever wakes first.
pub(crate) struct FakeClock {
    now: AtomicU64,
    /// Who sleeps: until when, and a number of its own.
    sleepers: Mutex<BTreeSet<(u64, u64)>>,
    slept: AtomicU64,
}

/// Somebody who sleeps, until the sleep is over or dropped.
struct Sleeper<'a>(&'a FakeClock, (u64, u64));

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.sleepers.lock().unwrap().remove(&self.1);
    }
}

impl FakeClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(START), sleepers: Mutex::default(), slept: AtomicU64::new(0) })
    }

    pub(crate) fn move_to(&self, at: u64) {
        self.now.fetch_max(at, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, at: u64) {
        self.now.store(at, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn sleep(&self, microseconds: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let until = self.now() + microseconds;
            let key = (until, self.slept.fetch_add(1, Ordering::SeqCst));
            self.sleepers.lock().unwrap().insert(key);
            let sleeper = Sleeper(self, key);
            // Others that wait at the same time are asked first: the time passes only if nothing else happens.
            let mut asked = 0;
            poll_fn(|context| {
                let first = self.sleepers.lock().unwrap().first() == Some(&sleeper.1);
                if self.now() >= until && asked > 0 || first && asked > 1 {
                    return Poll::Ready(());
                }
                asked += 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            self.move_to(until);
        })
    }
}

/// Seeds that are all different and the same in every test run.
#[derive(Default)]
pub(crate) struct Seeds(AtomicU64);

impl Entropy for Seeds {
    fn seed(&self) -> [u8; 32] {
        sha256(&self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes()).0
    }
}

/// Secrets by name, the same for every tenant.
#[derive(Default)]
pub(crate) struct Vault(pub(crate) BTreeMap<String, String>);

impl Secrets for Vault {
    fn get(&self, _tenant: &str, name: &str) -> Option<zeroize::Zeroizing<String>> {
        self.0.get(name).cloned().map(zeroize::Zeroizing::new)
    }
}

/// Somebody who watches a run, and may press cancel, pause or resume while it is driven.
#[derive(Default)]
pub(crate) struct Cancel(Mutex<Option<Wish>>);

impl Cancel {
    pub(crate) fn ask(&self) {
        self.press(Wish::Cancel);
    }

    pub(crate) fn press(&self, wish: Wish) {
        let mut pressed = self.0.lock().unwrap();
        if *pressed != Some(Wish::Cancel) {
            *pressed = Some(wish);
        }
    }

    /// What was pressed counts for the run as it was driven; whoever takes it next is not told.
    pub(crate) fn let_go(&self) {
        let mut pressed = self.0.lock().unwrap();
        *pressed = pressed.filter(|wish| *wish == Wish::Cancel);
    }
}

impl Signals for Cancel {
    fn asked(&self) -> Option<Asked> {
        let wish = (*self.0.lock().unwrap())?;
        Some(Asked { wish, actor: operator(), reason: Some("no longer wanted".to_owned()) })
    }

    fn other_than(&self, wish: Option<Wish>) -> BoxFuture<'_, ()> {
        // Everything that could ask does so while the same task is polled, so nobody has to be woken.
        Box::pin(poll_fn(move |_| if *self.0.lock().unwrap() == wish { Poll::Pending } else { Poll::Ready(()) }))
    }
}

pub(crate) fn operator() -> Actor {
    Actor { authenticated_by: "local_user".to_owned(), id: Some("olga".to_owned()), actor_type: ActorType::Human }
}

/// What a scripted skill does when it is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done(Value),
    /// Done, after so many milliseconds.
    After(u64, Value),
    Writes(Value, Vec<Write>),
    Failed {
        retryable: bool,
        retry_after_ms: Option<u64>,
    },
    Says(String),
    Costs(u64),
    NotDone,
    Unknown,
    Hangs,
    /// Somebody presses cancel while the call is under way.
    Cancelled,
    /// Somebody presses something so many milliseconds into the call, which takes so many more.
    Pressed(Wish, u64, u64),
}

/// A call as it reached a scripted skill.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) attempt: u32,
    pub(crate) key: String,
    pub(crate) params: Value,
}

/// A skill that does what its script says; the last line of the script is repeated.
pub(crate) struct Scripted {
    manifest: Manifest,
    answers: Mutex<VecDeque<Answer>>,
    probes: Mutex<VecDeque<Option<Probe>>>,
    cancel: Arc<Cancel>,
    pub(crate) clock: OnceLock<Arc<FakeClock>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

/// A manifest of a test skill.
pub(crate) fn manifest(name: &str, effect: EffectClass) -> Manifest {
    Manifest {
        name: Box::leak(name.to_owned().into_boxed_str()),
        version: "1.0.0",
        description: "does what the test says",
        input_schema: json!({}),
        output_schema: json!({}),
        effects: Box::leak(vec![effect].into_boxed_slice()),
        idempotency: Idempotency::None,
        cost: CostModel::PerAttempt(250),
        secret_params: &["*"],
        limits: Limits {
            max_input_bytes: 1 << 20,
            max_output_bytes: 1 << 20,
            default_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_secs(60),
        },
        errors: &[],
        test_only: true,
    }
}

pub(crate) fn failure(code: &'static str, category: ErrorCategory, retryable: bool) -> Failure {
    Failure { code, category, retryable, message: format!("the test says {code}"), retry_after: None }
}

impl Scripted {
    pub(crate) fn new(name: &str, effect: EffectClass, answers: Vec<Answer>, cancel: &Arc<Cancel>) -> Arc<Self> {
        Arc::new(Self {
            manifest: manifest(name, effect),
            answers: Mutex::new(answers.into()),
            probes: Mutex::new(VecDeque::new()),
            cancel: Arc::clone(cancel),
            clock: OnceLock::new(),
            seen: Mutex::new(Vec::new()),
        })
    }

    /// What the receiver answers when it is asked; `None`: nothing, ever.
    pub(crate) fn probes(self: &Arc<Self>, probes: Vec<Option<Probe>>) {
        *self.probes.lock().unwrap() = probes.into();
    }
}

fn next<T: Clone>(script: &Mutex<VecDeque<T>>) -> Option<T> {
    let mut script = script.lock().unwrap();
    if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
}

#[async_trait]
impl Skill for Scripted {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, _params: &Value) -> EffectClass {
        self.manifest.effects[0]
    }

    fn check(&self, params: &Value) -> Vec<ParamFinding> {
        let wrong = params.get("wrong").is_some();
        let finding = ParamFinding { path: "wrong".to_owned(), message: "is not wanted here".to_owned() };
        if wrong { vec![finding] } else { Vec::new() }
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        let call = dispatch.call();
        let seen = Seen { attempt: call.attempt, key: call.idempotency_key.clone(), params: dispatch.params().clone() };
        self.seen.lock().unwrap().push(seen);
        let mut cost_microcents = 250;
        let (result, writes) = match next(&self.answers).unwrap_or(Answer::Done(Value::Null)) {
            Answer::Done(output) => (AttemptResult::Done { output }, Vec::new()),
            Answer::After(ms, output) => {
                self.clock.get().expect("the story has a clock").sleep(ms * 1000).await;
                (AttemptResult::Done { output }, Vec::new())
            }
            Answer::Writes(output, writes) => (AttemptResult::Done { output }, writes),
            Answer::Failed { retryable, retry_after_ms } => {
                let mut failure = failure("test.server", ErrorCategory::Server, retryable);
                failure.retry_after = retry_after_ms.map(Duration::from_millis);
                (AttemptResult::Failed(failure), Vec::new())
            }
            Answer::Says(message) => (
                AttemptResult::Failed(Failure { message, ..failure("test.said", ErrorCategory::Client, false) }),
                Vec::new(),
            ),
            Answer::Costs(cost) => {
                cost_microcents = cost;
                (AttemptResult::Done { output: Value::Null }, Vec::new())
            }
            Answer::NotDone => {
                (AttemptResult::NotDone(failure("test.refused", ErrorCategory::Network, true)), Vec::new())
            }
            Answer::Unknown => {
                (AttemptResult::Unknown(failure("test.reset", ErrorCategory::Network, true)), Vec::new())
            }
            Answer::Hangs => std::future::pending().await,
            Answer::Pressed(wish, before, after) => {
                let clock = self.clock.get().expect("the story has a clock");
                clock.sleep(before * 1000).await;
                self.cancel.press(wish);
                clock.sleep(after * 1000).await;
                (AttemptResult::Done { output: Value::Null }, Vec::new())
            }
            Answer::Cancelled => {
                self.cancel.ask();
                std::future::pending().await
            }
        };
        Attempt { result, cost_microcents, writes }
    }

    async fn probe(&self, _dispatch: &Dispatch) -> Probe {
        match next(&self.probes).unwrap_or(Some(Probe::Unknown)) {
            Some(probe) => probe,
            None => std::future::pending().await,
        }
    }
}
