//! Stories of one run, told in a small language and checked against everything that came to be recorded.
//!
//! ```text
//! skill NAME EFFECT: ANSWER | ANSWER …   what it does when it is called; the last answer is repeated
//!                                        (`after MS JSON`: done, but later; `pauses MS MS`, `resumes MS MS`: after
//!                                        MS somebody pauses the run or lets it go on; done MS later)
//! probe NAME: done | not_done | unknown | hang
//! step ID SKILL {…}                      a step, with further members of its JSON
//! plan {…}                               further members of the plan
//! secret NAME VALUE                      a secret that the worker has
//! ---
//! drive                                  claim it if it is due, and drive it until it ends or waits for somebody
//! once                                   the same, and stop where it waits for a time
//! cancel                                 somebody cancels it while nobody drives it
//! pause, resume                          somebody pauses it, or lets it go on, while nobody drives it
//! resolve STEP done|not_done             somebody says what came of a step
//! die N                                  once, and die instead of making the Nth append; another process takes over
//! lapse N                                the lease does not last the next N times that the driver asks
//! reap                                   the same, once, and another process is given the run meanwhile
//! stale N                                others write the same key before each of the next N appends with writes
//! clock N                                the clock goes back by N milliseconds
//! later N                                N milliseconds pass
//! ```
//! Times are milliseconds since the run was created. After each story the whole record is examined and replayed.

mod cancel;
mod crash;
mod lease;
mod pause;
mod retry;
mod unknown;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use runproof_engine::admission::{RunRequest, StreamHead, admit, open};
use runproof_engine::decide::{Command, Context, Decision, decide};
use runproof_engine::driver::{DriveError, Driver, Left, Wish};
use runproof_engine::ports::{Append, Blind, Claim, Claimed, Clock as _, Entropy as _, Journal as _, Lease};
use runproof_engine::run::{CallId, Run, WaitReason};
use runproof_engine::skill::{EffectClass, Guard, Probe, Skills, Write};
use runproof_engine::{projection, replay};
use runproof_proof::event::{Body, Event, Resolution};
use runproof_proof::finding::{Code, Verdict};
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use serde_json::{Map, Value, json};

use crate::book::Book;
use crate::doubles::{Answer, Cancel, FakeClock, START, Scripted, Seeds, Vault, block_on, operator};

/// A story that is being told.
pub(crate) struct Story {
    pub(crate) book: Arc<Book>,
    clock: Arc<FakeClock>,
    seeds: Arc<Seeds>,
    cancel: Arc<Cancel>,
    lease: Arc<Lapsing>,
    pub(crate) skills: BTreeMap<String, Arc<Scripted>>,
    driver: Driver,
    told: usize,
    /// What it told so far.
    pub(crate) out: String,
}

/// A lease that does not always last.
struct Lapsing {
    book: Arc<Book>,
    times: AtomicU32,
    reaped: AtomicBool,
}

impl Lease for Lapsing {
    fn may_begin(&self) -> bool {
        if self.reaped.swap(false, Ordering::SeqCst) {
            self.book.give_back();
            return false;
        }
        self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_err()
    }
}

/// Plays a story and compares what it told with what was expected, line by line, without indentation.
pub(crate) fn check(script: &str, expected: &str) -> Ended {
    let lines = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let story = play(script);
    let (told, expected) = (lines(&story.out), lines(expected));
    assert!(told == expected, "told:\n{told}\n\nexpected:\n{expected}\n");
    audit(&story.book);
    Ended { run: story.book.load(), skills: story.skills, book: story.book }
}

/// What is left when a story is over.
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) skills: BTreeMap<String, Arc<Scripted>>,
    book: Arc<Book>,
}

/// The record is what an honest engine writes: a verifier finds nothing but what the record itself admits.
pub(crate) fn audit(book: &Book) {
    let bundle = book.bundle();
    let mut report = examine(&bundle, &Trust::default());
    let replayed = replay::check(&bundle, &mut report);
    assert!(replayed.findings.is_empty(), "replay: {:#?}", replayed.findings);
    assert_eq!(replayed.skipped, 0);
    let unexpected: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| {
            !matches!(finding.code, Code::OutcomeUnknown | Code::CheckpointMissing | Code::RunOpen | Code::RunNoSteps)
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_ne!(report.verdict(), Verdict::Tampered);
}

/// Plays a story to its end.
pub(crate) fn play(script: &str) -> Story {
    let (setting, acts) = script.split_once("---").expect("a story has a setting and acts");
    let cancel = Arc::new(Cancel::default());
    let mut skills: BTreeMap<String, Arc<Scripted>> = BTreeMap::new();
    let (mut steps, mut secrets, mut plan) = (Vec::new(), BTreeMap::new(), json!({"schema": "runproof.plan/v1"}));
    for line in setting.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "skill" => {
                let (head, answers) = rest.split_once(": ").unwrap();
                let (name, effect) = head.split_once(' ').unwrap();
                let answers = answers.split(" | ").map(answer).collect();
                let skill = Scripted::new(name, EffectClass::parse(effect).unwrap(), answers, &cancel);
                skills.insert(name.to_owned(), skill);
            }
            "probe" => {
                let (name, probes) = rest.split_once(": ").unwrap();
                skills[name].probes(probes.split(" | ").map(probe).collect());
            }
            "step" => steps.push(step(rest)),
            "plan" => plan.as_object_mut().unwrap().extend(serde_json::from_str::<Map<_, _>>(rest).unwrap()),
            "secret" => {
                let (name, value) = rest.split_once(' ').unwrap();
                secrets.insert(name.to_owned(), value.to_owned());
            }
            other => panic!("no such setting: {other}"),
        }
    }
    plan["steps"] = Value::Array(steps);
    let mut story = begin(plan, skills, Vault(secrets), cancel);
    for act in acts.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.act(act);
    }
    story
}

fn answer(text: &str) -> Answer {
    let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let json = || if rest.is_empty() { Value::Null } else { serde_json::from_str(rest).unwrap() };
    match word {
        "done" => Answer::Done(json()),
        "after" => {
            let (ms, json) = rest.split_once(' ').unwrap_or((rest, "null"));
            Answer::After(ms.parse().unwrap(), serde_json::from_str(json).unwrap())
        }
        "writes" => Answer::Writes(
            json(),
            vec![Write::Put { key: "k".to_owned(), value: b"1".to_vec(), expires_at: None, guard: Guard::Any }],
        ),
        "failed" => Answer::Failed { retryable: false, retry_after_ms: None },
        "busy" => Answer::Failed { retryable: true, retry_after_ms: rest.parse().ok() },
        "says" => Answer::Says(rest.replace("\\0", "\0")),
        "costs" => Answer::Costs(rest.parse().unwrap()),
        "not_done" => Answer::NotDone,
        "unknown" => Answer::Unknown,
        "hang" => Answer::Hangs,
        "cancelled" => Answer::Cancelled,
        "pauses" | "resumes" => {
            let (before, after) = rest.split_once(' ').unwrap();
            let wish = if word == "pauses" { Wish::Pause } else { Wish::Resume };
            Answer::Pressed(wish, before.parse().unwrap(), after.parse().unwrap())
        }
        other => panic!("no such answer: {other}"),
    }
}

fn probe(text: &str) -> Option<Probe> {
    match text.trim() {
        "done" => Some(Probe::Done { output: json!({"probed": true}) }),
        "not_done" => Some(Probe::NotDone),
        "unknown" => Some(Probe::Unknown),
        "hang" => None,
        other => panic!("no such answer of a receiver: {other}"),
    }
}

fn step(text: &str) -> Value {
    let mut words = text.splitn(3, ' ');
    let mut step = json!({"id": words.next().unwrap(), "skill": words.next().unwrap()});
    let more: Value = words.next().map_or_else(|| json!({}), |json| serde_json::from_str(json).unwrap());
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn request(plan: Option<Value>) -> RunRequest {
    RunRequest {
        run_id: "r_1".to_owned(),
        tenant: "t_1".to_owned(),
        agent: "a_1".to_owned(),
        goal: "tell a story".to_owned(),
        plan,
        inputs: None,
        origin_system_id: "tests".to_owned(),
        actor: operator(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    }
}

fn begin(plan: Value, skills: BTreeMap<String, Arc<Scripted>>, vault: Vault, cancel: Arc<Cancel>) -> Story {
    let (clock, seeds) = (FakeClock::new(), Arc::new(Seeds::default()));
    let admitted = admit(request(Some(plan))).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let opening = open(&admitted, "example.org/log", &StreamHead::default(), 1, clock.now(), seeds.seed()).unwrap();
    let book = Arc::new(Book::new(&opening.run, opening.lines));
    let lease = Arc::new(Lapsing { book: Arc::clone(&book), times: AtomicU32::new(0), reaped: AtomicBool::new(false) });
    let mut registry = Skills::default();
    for skill in skills.values() {
        skill.clock.set(Arc::clone(&clock)).ok();
        registry.register(Arc::clone(skill) as _).unwrap();
    }
    let driver = Driver {
        journal: Arc::clone(&book) as _,
        skills: registry,
        clock: Arc::clone(&clock) as _,
        entropy: Arc::clone(&seeds) as _,
        secrets: Arc::new(vault),
        lease: Arc::clone(&lease) as _,
        observer: Arc::new(Blind),
    };
    Story { book, clock, seeds, cancel, lease, skills, driver, told: 2, out: String::new() }
}

impl Story {
    fn act(&mut self, act: &str) {
        let words: Vec<&str> = act.split(' ').collect();
        match words.as_slice() {
            ["drive"] => while self.once() {},
            ["once"] => {
                self.once();
            }
            ["die", nth] => {
                self.book.die_at(nth.parse().unwrap());
                self.once();
                self.book.give_back();
            }
            ["stale", times] => self.book.stale(times.parse().unwrap()),
            ["lapse", times] => self.lease.times.store(times.parse().unwrap(), Ordering::SeqCst),
            ["reap"] => self.lease.reaped.store(true, Ordering::SeqCst),
            ["clock", back] => self.clock.set(self.clock.now() - back.parse::<u64>().unwrap() * 1000),
            ["later", ms] => self.clock.move_to(self.clock.now() + ms.parse::<u64>().unwrap() * 1000),
            ["cancel"] => {
                self.cancel.ask();
                let claimed = block_on(self.book.claim_run("w_1", "t_1", "r_1")).unwrap();
                self.run(claimed);
            }
            ["pause"] => self.say(Command::Pause { actor: operator(), reason: Some("look first".to_owned()) }),
            ["resume"] => self.say(Command::Resume { actor: operator(), reason: None }),
            ["resolve", step, resolution] => self.say(Command::Resolve {
                call: CallId::parse(step).unwrap(),
                resolution: Resolution::parse(resolution).unwrap(),
                actor: operator(),
                reason: "asked them".to_owned(),
            }),
            other => panic!("no such act: {other:?}"),
        }
    }

    /// Drives once; answers whether only time stands in the way of going on.
    fn once(&mut self) -> bool {
        let claimed = block_on(self.book.claim("w_1", self.clock.now(), 1)).unwrap().taken;
        match self.run(claimed.into_iter().next()) {
            Some(Left::Until(at)) => {
                self.clock.move_to(at);
                true
            }
            Some(Left::Ended(_) | Left::Waiting(_)) | None => false,
        }
    }

    fn run(&mut self, claimed: Option<Claimed>) -> Option<Left> {
        let Some(claimed) = claimed else {
            self.out.push_str("nothing to do\n");
            return None;
        };
        let driven = block_on(self.driver.drive(claimed, self.cancel.as_ref()));
        self.cancel.let_go();
        self.tell();
        let (run, left) = match driven {
            Ok(driven) => driven,
            Err(DriveError::Store(error)) => {
                writeln!(self.out, "= {error}").unwrap();
                return None;
            }
            Err(error) => panic!("{error}\n{}", self.out),
        };
        assert_eq!(format!("{run:?}"), format!("{:?}", self.book.load()), "what was driven is what is stored");
        match &left {
            Left::Ended(status) => writeln!(self.out, "= {status}"),
            Left::Until(at) => writeln!(self.out, "= until {}", ms(*at)),
            Left::Waiting(WaitReason::Resolution(step)) => writeln!(self.out, "= waiting for a resolution of {step}"),
            Left::Waiting(WaitReason::Paused) => writeln!(self.out, "= paused"),
            Left::Waiting(other) => writeln!(self.out, "= waiting: {other:?}"),
        }
        .unwrap();
        Some(left)
    }

    /// Somebody says something about the run while nobody drives it.
    fn say(&mut self, command: Command) {
        let claimed = block_on(self.book.claim_run("w_1", "t_1", "r_1")).unwrap();
        let Some(Claimed { run, fence }) = claimed else {
            self.out.push_str("nothing to do\n");
            return;
        };
        let context = Context { now: self.clock.now(), seed: self.seeds.seed(), facts: &self.driver.skills };
        let decided = decide(&run, command, &context);
        let (lines, after, claim) = match decided {
            Ok(Decision { lines, run, next, .. }) => (lines, run, next.leave(context.now)),
            Err(refusal) => {
                writeln!(self.out, "refused: {refusal}").unwrap();
                (Vec::new(), run.clone(), Claim::Release(context.now))
            }
        };
        let append = Append {
            tenant: run.tenant.clone(),
            run_id: run.id.clone(),
            fence,
            expected_seq: run.next_seq,
            expected_head: run.head,
            rows: projection::changes(&run, &after),
            lines: lines.into(),
            writes: Vec::new(),
            claim,
        };
        block_on(self.book.append(append)).unwrap();
        self.tell();
    }

    /// Tells the events that are new.
    fn tell(&mut self) {
        let lines = self.book.lines();
        for line in &lines[self.told..] {
            let event = Event::decode(&line.bytes).unwrap();
            writeln!(self.out, "{} {}", ms(event.at), told(&event.body)).unwrap();
        }
        self.told = lines.len();
    }
}

fn ms(at: u64) -> String {
    let passed = at - START;
    if passed.is_multiple_of(1000) {
        (passed / 1000).to_string()
    } else {
        format!("{}.{:03}", passed / 1000, passed % 1000)
    }
}

fn told(body: &Body) -> String {
    let name = |step: &str, item: &Option<String>| {
        item.as_ref().map_or_else(|| step.to_owned(), |item| format!("{step}/{item}"))
    };
    let word = |word: Option<&str>| word.map(|word| format!(" {word}")).unwrap_or_default();
    #[expect(clippy::wildcard_enum_match_arm, reason = "what these stories never hold is told by its kind")]
    match body {
        Body::RunClaimed(body) => format!("claimed {}", body.epoch),
        Body::RunCancelRequested(_) => "cancel requested".to_owned(),
        Body::RunPaused(_) => "paused".to_owned(),
        Body::RunResumed(_) => "resumed".to_owned(),
        Body::StepIntended(body) => {
            format!("intended {}#{} {}", name(&body.step_id, &body.item), body.attempt, body.skill)
        }
        Body::StepReturned(body) => {
            let retry = body.retry_at.map(|at| format!(" at {}", ms(at))).unwrap_or_default();
            let (code, via) = (word(body.code.as_deref()), body.via);
            format!(
                "{} of {}#{} by {via}{code}, {}{retry}",
                body.outcome,
                name(&body.step_id, &body.item),
                body.attempt,
                body.then
            )
        }
        Body::StepResolved(body) => {
            format!("resolved {}#{} {}", name(&body.step_id, &body.item), body.attempt, body.resolution)
        }
        Body::StepSettled(body) => {
            let code = word(body.code.as_deref());
            format!(
                "settled {} {} {} {}{code}",
                body.step_index,
                name(&body.step_id, &body.item),
                body.status,
                body.category
            )
        }
        Body::StepExpanded(body) => format!("expanded {} to {}", body.step_id, body.count),
        Body::RunSealed(body) => format!("sealed {} {}", body.status, body.reason),
        other => other.kind().to_owned(),
    }
}
