//! What the engine of one process promises to those who ask something of it, at moments that only a test can choose.

use std::sync::{Arc, OnceLock, Weak};

use runproof::engine::{Command, Engine};
use runproof::runtime::{EnvSecrets, SystemClock, SystemEntropy};
use runproof::worker::member::Member;
use runproof_engine::admission::{RunRequest, system_actor};
use runproof_engine::draft::Line;
use runproof_engine::driver::{Driver, Left};
use runproof_engine::ports::Observer;
use runproof_engine::run::Run;
use runproof_proof::event::EndStatus;
use runproof_skills::registry::{Options, Ports, builtin};
use runproof_store::Store;
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use runproof_store::sqlite::SqliteStore;
use serde_json::json;

use crate::support::{AGENT, Home, TENANT, runtime};

/// Cancels the run at a moment of its own, before whoever drives it knows.
struct Cancels {
    engine: OnceLock<Weak<Engine>>,
    now: fn(&Run) -> bool,
}

impl Observer for Cancels {
    fn committed(&self, run: &Run, _lines: &[Line]) {
        if !(self.now)(run) || run.cancel.is_some() || run.seal.is_some() {
            return;
        }
        let engine = self.engine.get().unwrap().upgrade().unwrap();
        let (tenant, run_id) = (run.tenant.clone(), run.id.clone());
        let command = Command::Cancel { tenant, run_id, actor: system_actor(), reason: None };
        // A thread of its own: the engine answers on others than the one that drives.
        let asked = std::thread::spawn(move || runtime().block_on(engine.execute(command)).unwrap());
        assert_eq!(asked.join().unwrap().status.as_deref(), Some("cancelling"));
    }
}

/// Drives a run over a store, cancels it at that moment, and answers where it was left.
fn driven(store: Arc<dyn Store>, now: fn(&Run) -> bool) -> Left {
    let member = Member::new(Arc::clone(&store));
    let options = Options { test_skills: true, ..Options::default() };
    let ports = Ports { key_values: Arc::clone(&store) as _, clock: Arc::new(SystemClock) };
    let observer = Arc::new(Cancels { engine: OnceLock::new(), now });
    let driver = Driver {
        journal: Arc::clone(&store) as _,
        skills: builtin(&options, &ports).unwrap(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        secrets: Arc::new(EnvSecrets),
        lease: Arc::clone(&member) as _,
        observer: Arc::clone(&observer) as _,
    };
    let engine = Arc::new(Engine::new(store, driver, member));
    observer.engine.set(Arc::downgrade(&engine)).unwrap();
    let step = json!({"id": "a", "skill": "__fail_trigger__", "with": {"error_code": "SKILL_ERROR", "effect": "read"},
        "retry": {"initial_delay_ms": 60_000, "max_delay_ms": 60_000}});
    let request = RunRequest {
        run_id: "r_1".to_owned(),
        tenant: TENANT.to_owned(),
        agent: AGENT.to_owned(),
        goal: "wait".to_owned(),
        plan: Some(json!({"schema": "runproof.plan/v1", "steps": [step]})),
        inputs: None,
        origin_system_id: "tests".to_owned(),
        actor: system_actor(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    };
    runtime().block_on(async {
        let (_, claimed, _) = engine.open(request, true).await.unwrap();
        engine.drive_once(claimed.unwrap()).await.unwrap().1
    })
}

fn sqlite(home: &Home) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open_engine(&home.database(), home.home().notary().unwrap()).unwrap())
}

#[test]
fn a_cancellation_that_was_promised_while_the_run_was_given_back_happens() {
    let home = Home::initialised();
    let left = driven(sqlite(&home), |run| run.wait_since().is_some());
    assert_eq!(left, Left::Ended(EndStatus::Cancelled));
}

#[test]
fn a_cancellation_that_was_promised_happens_when_the_store_fails() {
    for fault in [Fault::Before, Fault::After] {
        let home = Home::initialised();
        // Opening is the first write and the intent the second: the third is what would have told of the cancellation.
        let plan = FaultPlan::new(3, fault);
        let left = driven(Arc::new(Faulty::new(sqlite(&home), Arc::clone(&plan))), |run| run.active.len() == 1);
        assert!(plan.fired(), "{fault:?}");
        assert_eq!(left, Left::Ended(EndStatus::Cancelled), "{fault:?}");
    }
}
