//! `Run::apply` is total: whatever events come in whatever order, it takes them in or refuses them, and never panics.

use proptest::prelude::*;
use runproof_engine::decide::{Command, Context, Outcome, decide};
use runproof_engine::projection;
use runproof_engine::run::{CallId, Item, Run, Values};
use runproof_engine::skill::Skills;
use runproof_proof::commit::{Commitment, Division};
use runproof_proof::event::*;
use runproof_proof::hash::{Hash, sha256};
use serde_json::{Value, json};

use crate::doubles::operator;

const LOG: &str = "example.org/log";

/// Choices from which one event is made; what they mean depends on the kind.
#[derive(Clone, Copy, Debug)]
struct Dice {
    kind: u8,
    /// 0: the event has a wrong identity.
    identity: u8,
    /// The event fits the step that is being worked on, if there is one.
    fits: bool,
    a: u8,
    b: u8,
    c: u8,
}

fn dice() -> impl Strategy<Value = Dice> {
    (0u8..19, 0u8..12, prop::bool::weighted(0.8), any::<u8>(), any::<u8>(), any::<u8>())
        .prop_map(|(kind, identity, fits, a, b, c)| Dice { kind, identity, fits, a, b, c })
}

fn pick<T: Copy>(all: &[T], die: u8) -> T {
    all[usize::from(die) % all.len()]
}

fn commitment() -> Commitment {
    Commitment { division: Division::Whole, macs: vec![sha256(b"value")] }
}

fn plan() -> Value {
    json!({"schema": "runproof.plan/v1", "steps": [
        {"id": "s_0", "skill": "look"},
        {"id": "s_1", "skill": "pay", "on_error": "continue", "on_unknown": "retry"},
        {"id": "s_2", "skill": "pay", "on_error": "fallback", "fallback": {"skill": "look"}},
    ]})
}

/// The event that the dice make of a run.
fn event(run: &Run, dice: Dice) -> (Event, Values) {
    let (body, values) = body(run, dice);
    let mut event = Event {
        log: LOG.to_owned(),
        stream: Stream::Run("r_1".to_owned()),
        tenant: Some("t_1".to_owned()),
        seq: run.next_seq,
        prev: run.head,
        at: run.last_at + u64::from(dice.c % 3),
        body,
    };
    if dice.identity == 0 {
        match dice.a % 5 {
            0 => event.seq += 1,
            1 => event.prev = sha256(b"elsewhere"),
            2 => event.at = event.at.saturating_sub(10),
            3 => event.tenant = Some("t_2".to_owned()),
            _ => event.stream = Stream::Run("r_2".to_owned()),
        }
    }
    (event, values)
}

fn body(run: &Run, dice: Dice) -> (Body, Values) {
    let none = Values::new();
    let current = run.active.first().filter(|_| dice.fits);
    let item = |die: u8| {
        let items =
            [None, None, None, Some("fallback"), Some("0"), Some("1"), Some("0.fallback"), Some("01"), Some("9")];
        items[usize::from(die) % items.len()].map(str::to_owned)
    };
    let step_id = current.map_or_else(|| format!("s_{}", dice.a % 4), |current| current.intent.step_id.clone());
    let item = current.map_or_else(|| item(dice.b), |current| current.intent.item.clone());
    let attempt = current.map_or(u32::from(dice.c % 3), |current| current.intent.attempt);
    let number = [0, 1, 7, u64::MAX >> 11][usize::from(dice.c) % 4];
    let shown = dice.c.is_multiple_of(2);
    let value =
        |field: &str, value: Value| if shown { Values::from([(field.to_owned(), value)]) } else { Values::new() };
    match dice.kind {
        0 => (created(dice).into(), value("goal", json!("a goal"))),
        1 => {
            let plan = if dice.a.is_multiple_of(8) { json!("no plan") } else { plan() };
            (
                RunPlanned { inputs: None, plan: commitment(), plan_digest: sha256(b"plan"), step_count: 3 }.into(),
                value("plan", plan),
            )
        }
        2 => (RunClaimed { epoch: run.epoch.wrapping_add(u64::from(dice.a % 3)), worker: "w".to_owned() }.into(), none),
        3 => (RunPaused { actor: operator(), reason: None }.into(), none),
        4 => (RunResumed { actor: operator(), reason: Some(commitment()) }.into(), value("reason", json!("why"))),
        5 if dice.a.is_multiple_of(4) => (RunCancelRequested { actor: operator(), reason: None }.into(), none),
        18 => {
            let count = u32::from(dice.a % 4);
            let expanded = StepExpanded { count, items: commitment(), plan_index: u32::from(dice.b % 5), step_id };
            (expanded.into(), value("items", json!([1, 2])))
        }
        6..=8 => {
            let attempt = if dice.fits { current.map_or(1, |_| attempt + 1) } else { attempt };
            (intended(dice, step_id, item, attempt).into(), value("params", json!({"n": dice.a})))
        }
        9..=11 => (returned(dice, step_id, item, attempt, number).into(), value("output", json!([1, null]))),
        12 => {
            let resolution = pick(Resolution::ALL, dice.a);
            (StepResolved { actor: operator(), attempt, item, reason: commitment(), resolution, step_id }.into(), none)
        }
        13 | 14 => {
            let attempts = if dice.fits && current.is_none() { 0 } else { attempt };
            (settled(dice, step_id, item, attempts, number).into(), value("error", json!({"text": 1})))
        }
        15 if dice.a.is_multiple_of(6) => (sealed(run, dice, number).into(), value("error", json!("over"))),
        16 => (GapRecorded { count: Some(number), gap: pick(GapKind::ALL, dice.a) }.into(), none),
        17 if dice.a.is_multiple_of(2) => (TenantCreated { actor: operator() }.into(), none),
        _ => (BudgetGranted { scope: pick(Scope::ALL, dice.a), scope_id: "b".to_owned() }.into(), none),
    }
}

fn created(dice: Dice) -> RunCreated {
    RunCreated {
        actor: operator(),
        agent: "a_1".to_owned(),
        beacon: None,
        engine: Engine { build: "test".to_owned(), version: "0".to_owned() },
        goal: commitment(),
        origin_system_id: "tests".to_owned(),
        parent_run_id: None,
        plan_digest: None,
        planner: Versioned { name: "static".to_owned(), version: "1".to_owned() },
        policy_set: if dice.a.is_multiple_of(8) { "unknown@1".to_owned() } else { "builtin/empty@1".to_owned() },
        retry_of: None,
        run_id: "r_1".to_owned(),
        run_no: 1,
        synthetic_scenario_id: dice.b.is_multiple_of(2).then(|| "sc".to_owned()),
    }
}

fn intended(dice: Dice, step_id: String, item: Option<String>, attempt: u32) -> StepIntended {
    StepIntended {
        attempt,
        cost_limit_microcents: 0,
        effect: pick(EffectClass::ALL, dice.a),
        gate: GateRecord::new(Decision::Allow, "builtin/empty@1"),
        idempotency_key: "key".to_owned(),
        item,
        params: commitment(),
        plan_index: u32::from(dice.b % 5),
        skill: "pay".to_owned(),
        skill_version: "1".to_owned(),
        step_id,
        timeout_us: 1,
    }
}

fn returned(dice: Dice, step_id: String, item: Option<String>, attempt: u32, number: u64) -> StepReturned {
    let then = pick(Then::ALL, dice.b);
    StepReturned {
        attempt,
        category: (!dice.a.is_multiple_of(3)).then(|| pick(ErrorCategory::ALL, dice.c)),
        code: None,
        cost_microcents: number,
        duration_us: number,
        error: None,
        evidence: EvidenceClass::Executed,
        item,
        output: Some(commitment()),
        outcome: pick(AttemptOutcome::ALL, dice.a),
        retry_after_us: None,
        retry_at: (then == Then::Retry && !dice.a.is_multiple_of(5)).then_some(number),
        retryable: dice.c.is_multiple_of(2),
        step_id,
        then,
        via: pick(Via::ALL, dice.c),
    }
}

fn settled(dice: Dice, step_id: String, item: Option<String>, attempts: u32, number: u64) -> StepSettled {
    StepSettled {
        attempts,
        category: "execution".to_owned(),
        code: None,
        cost_microcents: number,
        duration_us: number,
        error: Some(commitment()),
        item,
        plan_index: u32::from(dice.b % 5),
        skill: "pay".to_owned(),
        status: pick(StepStatus::ALL, dice.a),
        step_id,
        step_index: number,
    }
}

fn sealed(run: &Run, dice: Dice, number: u64) -> RunSealed {
    let totals =
        Totals { attempts: number, cost_microcents: number, duration_us: number, resolved: number, unknown: number };
    RunSealed {
        error: Some(commitment()),
        event_count: run.next_seq,
        reason: pick(EndReason::ALL, dice.b),
        run_root: run.frontier.root(),
        status: pick(EndStatus::ALL, dice.c),
        step_count: number,
        totals,
    }
}

/// Everything about a run; two runs are the same iff this is.
fn all_of(run: &Run) -> String {
    format!("{run:?}")
}

/// Commands that could come at any time: each is decided or refused, and what is decided can follow.
fn decides(run: &Run) {
    let skills = Skills::default();
    let commands = [
        Command::Advance,
        Command::Claim { worker: "w".to_owned(), epoch: run.epoch + 1 },
        Command::Record(CallId { step_id: "s_1".to_owned(), item: Item::OWN }, Outcome::interrupted()),
        Command::Cancel { actor: operator(), reason: None },
        Command::Resolve {
            call: CallId { step_id: "s_1".to_owned(), item: Item::OWN },
            resolution: Resolution::Done,
            actor: operator(),
            reason: "r".to_owned(),
        },
        Command::Plan(plan()),
        Command::PlannerFailed { message: "none".to_owned() },
    ];
    for command in commands {
        let context = Context { now: run.last_at, seed: [1; 32], facts: &skills };
        if let Ok(decision) = decide(run, command, &context) {
            assert_eq!(decision.run.next_seq, run.next_seq + decision.lines.len() as u64);
        }
    }
}

/// Writes changed rows over those that were written so far.
fn write(written: &mut Vec<projection::Row>, changes: projection::RowChanges) {
    for row in changes.run.into_iter().chain(changes.trace) {
        let place = written.iter().position(|old| old.table == row.table).unwrap();
        written[place] = row;
    }
    written.extend(changes.steps.into_iter().chain(changes.seal));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_is_folded_or_refused_and_folds_the_same_again(rolls in prop::collection::vec(dice(), 1..60)) {
        let mut run = Run::new(LOG, "t_1", "r_1");
        let mut accepted: Vec<(Vec<u8>, Values)> = Vec::new();
        let mut written = projection::rows(&run);
        // Every story gets a beginning, or most would be nothing but refusals.
        let opening = [Dice { kind: 0, identity: 1, fits: true, a: 1, b: 1, c: 0 }, Dice { kind: 1, identity: 1, fits: true, a: 1, b: 1, c: 0 }];
        let skip = usize::from(rolls[0].a.is_multiple_of(3));
        for roll in opening.into_iter().skip(skip).chain(rolls) {
            let (event, values) = event(&run, roll);
            let (before, stood) = (all_of(&run), run.clone());
            let leaf = event.leaf_hash();
            match run.apply(&event, leaf, &values) {
                Ok(()) => {
                    accepted.push((event.encode(), values));
                    write(&mut written, projection::changes(&stood, &run));
                    prop_assert_eq!(&written, &projection::rows(&run), "after {}", event.body.kind());
                }
                Err(_) => prop_assert_eq!(before, all_of(&run), "a refused event changes nothing"),
            }
            prop_assert!(run.seal.is_none() || (run.wait_since().is_none() && run.open().next().is_none()), "{}", run.status().word());
        }
        let mut again = Run::new(LOG, "t_1", "r_1");
        for (bytes, values) in &accepted {
            let event = Event::decode(bytes).unwrap();
            again.apply(&event, event.leaf_hash(), values).unwrap();
        }
        prop_assert_eq!(all_of(&run), all_of(&again));
        prop_assert_eq!(run.next_seq, accepted.len() as u64);
        prop_assert_eq!(run.head == Hash::ZERO, accepted.is_empty());
        if run.header.is_some() {
            prop_assert!(projection::rows(&run).len() >= 2 + run.steps.len());
            decides(&run);
        }
    }
}

#[test]
fn the_dice_reach_every_state_of_a_run() {
    let mut seen = std::collections::BTreeSet::new();
    let mut kinds = std::collections::BTreeSet::new();
    let mut state = 1u64;
    let mut die = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    for _ in 0..400 {
        let mut run = Run::new(LOG, "t_1", "r_1");
        for count in 0..60 {
            let kind = if count < 2 { count } else { die() % 19 };
            let roll = Dice { kind, identity: 1, fits: !die().is_multiple_of(5), a: die(), b: die(), c: die() };
            let (event, values) = event(&run, roll);
            if run.apply(&event, event.leaf_hash(), &values).is_ok() {
                kinds.insert(event.body.kind());
            }
            seen.insert(run.status().word());
        }
    }
    let statuses = ["cancelled", "failed", "halted", "queued", "retry", "running", "succeeded", "waiting"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), statuses);
    for kind in ["run.sealed", "step.resolved", "step.settled", "step.returned", "run.resumed"] {
        assert!(kinds.contains(kind), "{kind} is never accepted: {kinds:?}");
    }
}

/// A run with a plan, and the next event of it.
fn planned() -> Run {
    let mut run = Run::new(LOG, "t_1", "r_1");
    let roll = Dice { kind: 0, identity: 1, fits: true, a: 1, b: 1, c: 0 };
    for kind in [0, 1] {
        let (event, values) = event(&run, Dice { kind, ..roll });
        run.apply(&event, event.leaf_hash(), &values).unwrap();
    }
    run
}

fn follows(run: &mut Run, body: impl Into<Body>) -> bool {
    let (mut event, _) = event(run, Dice { kind: 16, identity: 1, fits: true, a: 1, b: 1, c: 0 });
    event.body = body.into();
    run.apply(&event, event.leaf_hash(), &Values::new()).is_ok()
}

const ROLL: Dice = Dice { kind: 0, identity: 1, fits: true, a: 0, b: 0, c: 0 };

#[test]
fn no_step_stands_where_no_plan_has_one() {
    for (place, may) in [(255, true), (256, false), (u32::MAX, false)] {
        let step = "s".to_owned();
        let expanded = StepExpanded { count: 1000, items: commitment(), plan_index: place, step_id: step.clone() };
        assert_eq!(follows(&mut planned(), expanded), may, "expanded at {place}");
        let intended = StepIntended { plan_index: place, ..intended(ROLL, step.clone(), None, 1) };
        assert_eq!(follows(&mut planned(), intended), may, "intended at {place}");
        let settled = StepSettled { plan_index: place, ..settled(ROLL, step, None, 0, 0) };
        assert_eq!(follows(&mut planned(), settled), may, "settled at {place}");
    }
}

#[test]
fn no_more_calls_are_under_way_than_any_plan_allows() {
    let mut run = planned();
    for number in 0..64 {
        assert!(follows(&mut run, intended(ROLL, format!("s_{number}"), None, 1)), "call {number}");
    }
    assert!(!follows(&mut run, intended(ROLL, "s_64".to_owned(), None, 1)));
    assert_eq!(run.active.len(), 64);
}
