//! What happens in a trial: plans, when they are opened, and faults. A function of the seed and the options.

use std::net::SocketAddr;
use std::time::Duration;

use runproof_proof::event::EffectClass;
use serde_json::{Value, json};

use super::dice::Dice;

/// Runs for which there is one tenant; there are two at least.
const RUNS_OF_TENANT: u32 = 100;
/// The agent of each tenant.
pub const AGENT: &str = "monkey";
/// Counters that the transactional steps of a tenant share.
pub const COUNTERS: u64 = 3;
/// Runs are opened together, so often.
const BURST_MS: u64 = 2_000;
/// No fault in the first and the last hundredths of the time: runs have to be there.
const QUIET_PERCENT: u64 = 4;

/// What decides a trial, beside the seed.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Runs.
    pub runs: u32,
    /// Worker processes.
    pub workers: u32,
    /// How long runs are opened and faults injected.
    pub lasts: Duration,
    /// How long the lease of a worker is; `None` where the engine's lock is the lease, and only kills are injected.
    pub lease: Option<Duration>,
    /// Whether the servers are the trial's own.
    pub servers: bool,
    /// Whether there is a pooler.
    pub pooler: bool,
}

/// The tenants of so many runs.
pub fn tenants(runs: u32) -> Vec<String> {
    (0..(runs / RUNS_OF_TENANT).max(2)).map(|number| format!("chaos-{number}")).collect()
}

/// A whole trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Runs, in the order in which they are opened.
    pub runs: Vec<PlannedRun>,
    /// Faults, in the order in which they are injected.
    pub faults: Vec<(Duration, Fault)>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRun {
    /// Its number, from 0: the receiver knows it by that.
    pub number: u32,
    /// Tenant.
    pub tenant: String,
    /// When it is opened.
    pub at: Duration,
    /// Steps.
    pub steps: Vec<PlannedStep>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// Effect class of its call.
    pub class: EffectClass,
    /// Positions of the steps that have to be done first.
    pub needs: Vec<usize>,
    /// Whether the run goes on when it fails.
    pub goes_on: bool,
    /// Delay before the second attempt, in milliseconds.
    pub delay_ms: u64,
    /// Which counter, of a transactional step.
    pub counter: u64,
}

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a worker; it is started again.
    Kill {
        /// Which.
        worker: u32,
    },
    /// A worker stands still for longer than its lease, and then goes on as if nothing had happened.
    Freeze {
        /// Which.
        worker: u32,
        /// For how long.
        lasts_ms: u64,
    },
    /// A connection to the database ends.
    Cut {
        /// Which of those that there are.
        pick: u64,
    },
    /// The next COMMIT reaches the server and its answer does not come back.
    LoseReply,
    /// The next COMMIT does not reach the server.
    LoseCommit,
    /// Everything between workers and database takes longer for a while.
    Slow {
        /// How much longer, each way.
        delay_ms: u64,
        /// For how long.
        lasts_ms: u64,
    },
    /// Postgres ends as in a crash, and is started again.
    CrashPostgres,
    /// The pooler is killed and started again.
    CrashPooler,
}

impl Fault {
    /// What it is called in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill { .. } => "worker killed",
            Self::Freeze { .. } => "worker frozen",
            Self::Cut { .. } => "connection cut",
            Self::LoseReply => "commit reply lost",
            Self::LoseCommit => "commit lost",
            Self::Slow { .. } => "network slowed",
            Self::CrashPostgres => "postgres crashed",
            Self::CrashPooler => "pooler killed",
        }
    }
}

impl Scenario {
    /// The trial of a seed.
    pub fn new(seed: u64, size: &Size) -> Self {
        let (mut dice, tenants) = (Dice::named(seed, "runs"), tenants(size.runs));
        let mut runs: Vec<PlannedRun> =
            (0..size.runs).map(|number| run(&mut dice, number, &tenants, size.lasts)).collect();
        runs.sort_by_key(|run| (run.at, run.number));
        Self { runs, faults: faults(&mut Dice::named(seed, "faults"), size) }
    }
}

fn run(dice: &mut Dice, number: u32, tenants: &[String], lasts: Duration) -> PlannedRun {
    let count = dice.between(1, 6);
    let in_line = dice.percent(50);
    let steps = (0..count).map(|place| {
        let place = usize::try_from(place).unwrap_or(0);
        let class = EffectClass::ALL[usize::try_from(dice.below(EffectClass::ALL.len() as u64)).unwrap_or(0)];
        let needs = match place {
            0 => Vec::new(),
            _ if in_line => vec![place - 1],
            _ => (0..place).filter(|_| dice.percent(30)).collect(),
        };
        // Some wait for so long that the run is given back meanwhile.
        let delay_ms = if dice.percent(10) { 1500 } else { dice.between(5, 60) };
        PlannedStep { class, needs, goes_on: dice.percent(60), delay_ms, counter: dice.below(COUNTERS) }
    });
    let steps = steps.collect();
    // In bursts, so that a worker that dies has several runs.
    let at = Duration::from_millis(dice.below(whole_ms(lasts) * 9 / 10) / BURST_MS * BURST_MS);
    PlannedRun { number, tenant: tenants[number as usize % tenants.len()].clone(), at, steps }
}

/// How often each fault is injected: at least so often, and about so often in a minute.
fn faults(dice: &mut Dice, size: &Size) -> Vec<(Duration, Fault)> {
    let lasts = whole_ms(size.lasts);
    let mut all = Vec::new();
    let mut add = |dice: &mut Dice, least: u64, in_a_minute: u64, make: &dyn Fn(&mut Dice) -> Fault| {
        for _ in 0..least.max(in_a_minute * lasts / 60_000) {
            let at = dice.between(lasts * QUIET_PERCENT / 100, lasts * (100 - QUIET_PERCENT) / 100);
            let fault = make(dice);
            all.push((Duration::from_millis(at), fault));
        }
    };
    let workers = u64::from(size.workers);
    let which = move |dice: &mut Dice| u32::try_from(dice.below(workers)).unwrap_or(0);
    let Some(lease) = size.lease else {
        add(dice, 8, 180, &|dice| Fault::Kill { worker: which(dice) });
        all.sort();
        return all;
    };
    let lease = whole_ms(lease);
    add(dice, 3, 15, &|dice| Fault::Kill { worker: which(dice) });
    if size.workers > 1 {
        add(dice, 1, 3, &|dice| Fault::Freeze { worker: which(dice), lasts_ms: lease + dice.between(2000, 4000) });
    }
    add(dice, 10, 90, &|dice| Fault::Cut { pick: dice.number() });
    add(dice, 5, 40, &|_| Fault::LoseReply);
    add(dice, 5, 40, &|_| Fault::LoseCommit);
    add(dice, 1, 6, &|dice| Fault::Slow { delay_ms: dice.between(5, 40), lasts_ms: dice.between(300, 1500) });
    if size.servers {
        add(dice, 1, 2, &|_| Fault::CrashPostgres);
        if size.pooler {
            add(dice, 1, 2, &|_| Fault::CrashPooler);
        }
    }
    all.sort();
    all
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Id of a step of a plan.
pub fn step_id(place: usize) -> String {
    format!("s{place}")
}

impl PlannedRun {
    /// The plan, whose calls go to the receiver at this address.
    pub fn plan(&self, receiver: SocketAddr) -> Value {
        let steps = self.steps.iter().enumerate();
        let steps: Vec<Value> = steps.map(|(place, step)| step.json(place, self.number, receiver)).collect();
        json!({ "schema": "runproof.plan/v1", "name": format!("chaos {}", self.number), "steps": steps })
    }
}

impl PlannedStep {
    fn json(&self, place: usize, number: u32, receiver: SocketAddr) -> Value {
        let (id, class) = (step_id(place), self.class.word());
        let url = format!("http://{receiver}/{class}/{number}/{id}");
        let (skill, with) = match self.class {
            EffectClass::Pure => ("json_transform", json!({ "payload": { "run": number, "step": id } })),
            EffectClass::Transactional => {
                ("kv_store", json!({ "operation": "incr", "key": counter_key(self.counter) }))
            }
            EffectClass::Read => ("http_call", json!({ "url": url })),
            EffectClass::Idempotent => {
                ("http_call", json!({ "url": url, "method": "POST", "body": { "run": number }, "idempotent": true }))
            }
            EffectClass::Probeable => {
                let probe = format!("http://{receiver}/probe/{number}/{id}");
                ("http_call", json!({ "url": url, "method": "POST", "body": { "run": number }, "probe_url": probe }))
            }
            EffectClass::Unsafe => ("http_call", json!({ "url": url, "method": "POST", "body": { "run": number } })),
        };
        let needs: Vec<String> = self.needs.iter().map(|place| step_id(*place)).collect();
        json!({
            "id": id, "skill": skill, "with": with, "needs": needs, "timeout_ms": 5000,
            "on_error": if self.goes_on { "continue" } else { "abort" },
            "retry": { "max_attempts": 20, "initial_delay_ms": self.delay_ms, "max_delay_ms": self.delay_ms * 4 },
        })
    }
}

/// Key of a counter, as plans name it.
pub fn counter_key(counter: u64) -> String {
    format!("count-{counter}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use runproof_engine::plan;

    use super::*;

    const SIZE: Size = Size {
        runs: 200,
        workers: 4,
        lasts: Duration::from_secs(60),
        lease: Some(Duration::from_secs(10)),
        servers: true,
        pooler: true,
    };

    #[test]
    fn the_same_seed_is_the_same_trial_and_another_is_another() {
        assert_eq!(Scenario::new(7, &SIZE), Scenario::new(7, &SIZE));
        assert_ne!(Scenario::new(7, &SIZE), Scenario::new(8, &SIZE));
    }

    #[test]
    fn every_plan_is_one_that_the_engine_takes_and_all_classes_and_shapes_occur() {
        let scenario = Scenario::new(1, &SIZE);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (mut classes, mut counts, mut joins) = (BTreeSet::new(), BTreeSet::new(), 0);
        for run in &scenario.runs {
            assert_eq!(plan::parse(&run.plan(address)).err(), None, "{run:?}");
            classes.extend(run.steps.iter().map(|step| step.class));
            counts.insert(run.steps.len());
            joins += run.steps.iter().filter(|step| step.needs.len() > 1).count();
        }
        assert_eq!(classes.len(), EffectClass::ALL.len());
        assert_eq!(counts, (1..=6).collect());
        assert!(joins > 0);
    }

    #[test]
    fn faults_fit_what_there_is() {
        let kinds = |size: &Size| -> BTreeSet<&str> {
            Scenario::new(3, size).faults.iter().map(|(_, fault)| fault.word()).collect()
        };
        assert_eq!(kinds(&SIZE).len(), 8);
        assert!(!kinds(&Size { pooler: false, ..SIZE }).contains("pooler killed"));
        assert!(!kinds(&Size { servers: false, ..SIZE }).contains("postgres crashed"));
        assert_eq!(kinds(&Size { lease: None, ..SIZE }), BTreeSet::from(["worker killed"]));
        assert!(!kinds(&Size { workers: 1, ..SIZE }).contains("worker frozen"), "nobody would be left to take over");
    }

    #[test]
    fn a_freeze_is_longer_than_the_lease() {
        let faults = Scenario::new(5, &SIZE).faults;
        let mut freezes = faults.iter().filter_map(|(_, fault)| match fault {
            Fault::Freeze { lasts_ms, .. } => Some(*lasts_ms),
            Fault::Kill { .. } | Fault::Cut { .. } | Fault::LoseReply | Fault::LoseCommit | Fault::Slow { .. } => None,
            Fault::CrashPostgres | Fault::CrashPooler => None,
        });
        assert!(freezes.all(|lasts| lasts > 10_000));
    }
}
