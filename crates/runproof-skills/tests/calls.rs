//! Builds skills and authorised calls, and writes an attempt as one line to compare with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runproof_engine::gate::{BUILTIN_POLICY_SET, Verdict, judge};
use runproof_engine::ports::{BoxFuture, Clock};
use runproof_engine::skill::{Attempt, AttemptResult, Call, Dispatch, Failure, Skill};
use runproof_skills::egress::Egress;
use runproof_skills::registry::{NoKeyValues, Options, Ports, builtin};
use serde_json::Value;

/// The idempotency key of every call here.
pub(crate) const KEY: &str = "MZXW6YTBOI";

/// A clock that stands still until somebody sets it.
#[derive(Default)]
pub(crate) struct StillClock(AtomicU64);

impl StillClock {
    pub(crate) fn set(&self, at: u64) {
        self.0.store(at, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn sleep(&self, _microseconds: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Ports of a process without a store.
pub(crate) fn no_ports() -> Ports {
    Ports { key_values: Arc::new(NoKeyValues), clock: Arc::new(StillClock::default()) }
}

/// A skill of a process whose allow-list is `egress`, test skills included.
pub(crate) fn skill(name: &str, egress: &str) -> Arc<dyn Skill> {
    let egress = Egress::parse(egress).expect("an allow-list");
    registered(name, &Options { egress, test_skills: true }, &no_ports())
}

/// A skill of a process with these ports.
pub(crate) fn registered(name: &str, options: &Options, ports: &Ports) -> Arc<dyn Skill> {
    let skills = builtin(options, ports).expect("skills");
    Arc::clone(skills.get(name).expect("a registered skill"))
}

/// `http_call`, allowed to reach the loopback.
pub(crate) fn http() -> Arc<dyn Skill> {
    skill("http_call", "127.0.0.0/8")
}

/// A call as the gate and the driver would hand it over.
pub(crate) fn dispatch(skill: &str, params: Value) -> Dispatch {
    dispatch_with(skill, params, 1, Duration::from_secs(30))
}

/// A call with its attempt number and timeout.
pub(crate) fn dispatch_with(skill: &str, params: Value, attempt: u32, timeout: Duration) -> Dispatch {
    let call = Call {
        tenant: "t1".to_owned(),
        run_id: "r1".to_owned(),
        step_id: "s1".to_owned(),
        item: None,
        attempt,
        skill: skill.to_owned(),
        params: params.clone(),
        idempotency_key: KEY.to_owned(),
        timeout,
    };
    match judge(BUILTIN_POLICY_SET, call) {
        Verdict::Allowed(authorized, _) => Dispatch::new(authorized, params),
        Verdict::Refused(_) | Verdict::Halted(_) => panic!("the empty policy set allows everything"),
    }
}

/// Calls `http_call` on the loopback.
pub(crate) async fn call(params: Value) -> Attempt {
    http().invoke(&dispatch("http_call", params)).await
}

/// An attempt in one line, such as `failed http.not_found not_found final`.
pub(crate) fn line(attempt: &Attempt) -> String {
    match &attempt.result {
        AttemptResult::Done { .. } => "done".to_owned(),
        AttemptResult::NotDone(failure) => format!("not done: {}", failure_line(failure)),
        AttemptResult::Failed(failure) => format!("failed: {}", failure_line(failure)),
        AttemptResult::Unknown(failure) => format!("unknown: {}", failure_line(failure)),
    }
}

fn failure_line(failure: &Failure) -> String {
    let retry = if failure.retryable { "retryable" } else { "final" };
    format!("{} {:?} {retry}", failure.code, failure.category)
}

/// The failure of an attempt that has one.
pub(crate) fn failure(attempt: &Attempt) -> &Failure {
    match &attempt.result {
        AttemptResult::NotDone(failure) | AttemptResult::Failed(failure) | AttemptResult::Unknown(failure) => failure,
        AttemptResult::Done { output } => panic!("done with {output}"),
    }
}

/// The output of an attempt that has one.
pub(crate) fn output(attempt: &Attempt) -> &Value {
    match &attempt.result {
        AttemptResult::Done { output } => output,
        AttemptResult::NotDone(failure) | AttemptResult::Failed(failure) | AttemptResult::Unknown(failure) => {
            panic!("{failure:?}")
        }
    }
}
