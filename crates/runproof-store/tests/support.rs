//! The stores under test, and what every test needs around them: a key, a clock, runs, proofs, and the audit of a whole
//! ledger that ends a story.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use runproof_engine::admission::{Admitted, RunRequest, admit};
use runproof_engine::audit::{self, RawRow};
use runproof_engine::decide::{Command, Context, Decision, Refusal, decide};
use runproof_engine::driver::{DriveError, Driver, Left};
use runproof_engine::ports::{
    Always, Append, Blind, Claim, Claimed, Clock as _, Entropy as _, Journal, KeyValues, StoreError,
};
use runproof_engine::run::{CallId, Run};
use runproof_engine::skill::{EffectClass, Guard, Skill, Skills, Write};
use runproof_engine::{projection, replay};
use runproof_proof::bundle::{Anchor, Bundle, Entry, Header, Record};
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::event::{AttemptOutcome, Body, Event};
use runproof_proof::finding::Verdict;
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::{Note, NoteSigner};
use runproof_proof::payload::PayloadLine;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use runproof_proof::verify::{examine, verify};
use runproof_store::memory::MemoryStore;
use runproof_store::sqlite::{self, SqliteStore};
use runproof_store::{Evidence, Notary, Opened, Stamp, Store, TenantChange, TransitionRow, fold};
use serde_json::{Value, json};

use crate::doubles::{Answer, Cancel, FakeClock, START, Scripted, Seeds, Vault, block_on, operator};

pub(crate) const LOG: &str = "example.org/log";
pub(crate) const TENANT: &str = "t_1";
pub(crate) const OTHER: &str = "t_2";
pub(crate) const AGENT: &str = "a_1";
pub(crate) const WORKER: &str = "w_1";

/// Keeps the newest head outside of the store, and lets tests wait for it.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Kept>);

struct Kept {
    seed: [u8; 32],
    last: Mutex<Option<Checkpoint>>,
    moved: Condvar,
    broken: Mutex<bool>,
}

struct KeeperNotary {
    keeper: Keeper,
    signer: NoteSigner,
}

impl Keeper {
    pub(crate) fn new(seed: u8, last: Option<Checkpoint>) -> Self {
        Self(Arc::new(Kept {
            seed: [seed; 32],
            last: Mutex::new(last),
            moved: Condvar::new(),
            broken: Mutex::new(false),
        }))
    }

    pub(crate) fn signer(&self) -> NoteSigner {
        NoteSigner::from_seed(LOG, &self.0.seed).unwrap()
    }

    pub(crate) fn notary(&self) -> Box<dyn Notary> {
        Box::new(KeeperNotary { keeper: self.clone(), signer: self.signer() })
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::in_key("test", self.signer().verifier())
    }

    pub(crate) fn last(&self) -> Option<Checkpoint> {
        self.0.last.lock().unwrap().clone()
    }

    /// From now on the other medium cannot be written.
    pub(crate) fn break_down(&self) {
        *self.0.broken.lock().unwrap() = true;
    }

    /// The first head that covers `size` leaves.
    pub(crate) fn wait_for(&self, size: u64) -> Checkpoint {
        let last = self.0.last.lock().unwrap();
        let covers = |last: &mut Option<Checkpoint>| last.as_ref().is_none_or(|last| last.size < size);
        self.0.moved.wait_while(last, covers).unwrap().clone().unwrap()
    }
}

impl Notary for KeeperNotary {
    fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    fn keep(&self, note: &str, lost: Option<&Checkpoint>) -> Result<(), String> {
        if *self.keeper.0.broken.lock().unwrap() {
            return Err("the other medium is gone".to_owned());
        }
        let mut last = self.keeper.0.last.lock().unwrap();
        let new = read_note(note);
        if last.as_ref().is_none_or(|last| last.size < new.size || Some(last) == lost) {
            *last = Some(new);
        }
        drop(last);
        self.keeper.0.moved.notify_all();
        Ok(())
    }

    fn last(&self) -> Option<Checkpoint> {
        self.keeper.last()
    }

    fn now(&self) -> u64 {
        START
    }
}

pub(crate) fn read_note(note: &str) -> Checkpoint {
    Checkpoint::parse(&Note::parse(note.as_bytes()).unwrap().text).unwrap()
}

/// A store under test.
pub(crate) trait Subject: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;
    fn keeper(&self) -> &Keeper;
    /// Ends the process that has the store and starts another one. Nothing else may hold the store.
    fn restart(&mut self);
    /// The key-value space that transactional skills write.
    fn key_values(&self) -> Arc<dyn KeyValues>;
    /// Somebody goes past the engine and writes to the events of a run.
    fn rewrite(&self, tenant: &str, run_id: &str, from: &str, to: &str);
    /// As if a version that knows this level had written to a run that is queued.
    fn set_format(&self, tenant: &str, run_id: &str, level: u32);
}

pub(crate) struct InMemory {
    store: Arc<MemoryStore>,
    keeper: Keeper,
}

impl InMemory {
    /// An empty ledger.
    pub(crate) fn begin() -> Box<dyn Subject> {
        let keeper = Keeper::new(7, None);
        let store = Arc::new(MemoryStore::new(keeper.notary(), [1; 32]).unwrap());
        Box::new(Self { store, keeper })
    }
}

impl Subject for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn restart(&mut self) {
        self.store.reclaim();
    }

    fn rewrite(&self, tenant: &str, run_id: &str, from: &str, to: &str) {
        self.store.rewrite(tenant, run_id, from, to);
    }

    fn set_format(&self, tenant: &str, run_id: &str, level: u32) {
        self.store.set_format(tenant, run_id, level);
    }

    fn key_values(&self) -> Arc<dyn KeyValues> {
        Arc::clone(&self.store) as _
    }
}

/// A SQLite file of its own, with the engine on it.
pub(crate) struct OnDisk {
    pub(crate) store: Option<Arc<SqliteStore>>,
    pub(crate) keeper: Keeper,
    pub(crate) path: PathBuf,
    _dir: tempfile::TempDir,
}

/// A migrated file with a ledger, made once and copied for every test.
fn template() -> &'static (Vec<u8>, Checkpoint) {
    static TEMPLATE: OnceLock<(Vec<u8>, Checkpoint)> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runproof.db");
        let keeper = Keeper::new(7, None);
        sqlite::create(&path, "2027-01-15T08:00:00.000000Z").unwrap();
        SqliteStore::create_ledger(&path, keeper.notary(), [1; 32]).unwrap();
        (std::fs::read(&path).unwrap(), keeper.last().unwrap())
    })
}

impl OnDisk {
    pub(crate) fn new() -> Self {
        let (bytes, last) = template();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runproof.db");
        std::fs::write(&path, bytes).unwrap();
        let keeper = Keeper::new(7, Some(last.clone()));
        let store = SqliteStore::open_engine(&path, keeper.notary()).unwrap();
        Self { store: Some(Arc::new(store)), keeper, path, _dir: dir }
    }

    /// An empty ledger.
    pub(crate) fn begin() -> Box<dyn Subject> {
        Box::new(Self::new())
    }

    pub(crate) fn sqlite(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    /// Ends the process that has the store.
    pub(crate) fn close(&mut self) {
        let store = self.store.take().expect("the store is open");
        assert_eq!(Arc::strong_count(&store), 1, "something else still holds the store");
    }

    /// A connection of somebody who goes past the engine.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        raw(&self.path)
    }
}

pub(crate) fn raw(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection
}

impl Subject for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        self.sqlite() as _
    }

    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn restart(&mut self) {
        self.close();
        self.store = Some(Arc::new(SqliteStore::open_engine(&self.path, self.keeper.notary()).unwrap()));
    }

    fn rewrite(&self, tenant: &str, run_id: &str, from: &str, to: &str) {
        let connection = self.raw();
        let trigger: String = connection
            .query_row("SELECT sql FROM sqlite_master WHERE name = 'transitions_update'", [], |row| row.get(0))
            .unwrap();
        connection.execute_batch("DROP TRIGGER transitions_update").unwrap();
        let sql = "UPDATE transitions SET events = replace(events, ?3, ?4) WHERE tenant_id = ?1 AND stream = ?2";
        connection.execute(sql, (tenant, format!("run/{run_id}"), from, to)).unwrap();
        connection.execute_batch(&trigger).unwrap();
    }

    fn set_format(&self, tenant: &str, run_id: &str, level: u32) {
        let sql = "UPDATE run_queue SET format = ?3 WHERE tenant_id = ?1 AND run_id = ?2";
        assert_eq!(self.raw().execute(sql, (tenant, run_id, level)).unwrap(), 1);
    }

    fn key_values(&self) -> Arc<dyn KeyValues> {
        self.sqlite() as _
    }
}

/// When, by whom, and under a salt that differs from one call to the next.
pub(crate) fn stamp(now: u64) -> Stamp {
    static SEEDS: OnceLock<Seeds> = OnceLock::new();
    Stamp { now, seed: SEEDS.get_or_init(Seeds::default).seed(), actor: operator() }
}

pub(crate) fn change(store: &dyn Store, tenant: &str, change: TenantChange) {
    block_on(store.change_tenant(tenant, change, stamp(START))).unwrap();
}

/// Two tenants, each with an agent of the same name.
pub(crate) fn populate(store: &dyn Store) {
    for tenant in [TENANT, OTHER] {
        change(store, tenant, TenantChange::Create);
        change(store, tenant, TenantChange::CreateAgent { id: AGENT.to_owned(), name: format!("agent of {tenant}") });
    }
}

pub(crate) fn plan(steps: Value) -> Value {
    json!({"schema": "runproof.plan/v1", "steps": steps})
}

/// A plan of every class of effect but the ones that wait, with references between steps.
pub(crate) fn mixed_plan() -> Value {
    plan(json!([
        {"id": "look", "skill": "look"},
        {"id": "sum", "skill": "sum", "with": {"n": "{{ steps.look.output.n }}"}},
        {"id": "note", "skill": "note"},
        {"id": "gone", "skill": "gone", "on_error": "continue"},
        {"id": "pay", "skill": "pay", "with": {"sum": "{{ steps.sum.output }}", "goal": "{{ goal }}"}},
    ]))
}

pub(crate) fn request(tenant: &str, run_id: &str, plan: Option<Value>) -> RunRequest {
    RunRequest {
        run_id: run_id.to_owned(),
        tenant: tenant.to_owned(),
        agent: AGENT.to_owned(),
        goal: "look around".to_owned(),
        plan,
        inputs: None,
        origin_system_id: "tests".to_owned(),
        actor: operator(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    }
}

pub(crate) fn admitted(tenant: &str, run_id: &str, plan: Option<Value>) -> Admitted {
    admit(request(tenant, run_id, plan)).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// A process: a clock, skills and a driver on some store.
pub(crate) struct Process {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) seeds: Arc<Seeds>,
    pub(crate) driver: Driver,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) cancel: Arc<Cancel>,
}

impl Process {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        skills: Vec<Arc<dyn Skill>>,
        clock: &Arc<FakeClock>,
        seeds: &Arc<Seeds>,
    ) -> Self {
        let mut registry = Skills::default();
        for skill in skills {
            registry.register(skill).unwrap();
        }
        let driver = Driver {
            journal: Arc::clone(&journal),
            skills: registry,
            clock: Arc::clone(clock) as _,
            entropy: Arc::clone(seeds) as _,
            secrets: Arc::new(Vault::default()),
            lease: Arc::new(Always),
            observer: Arc::new(Blind),
        };
        Self {
            clock: Arc::clone(clock),
            seeds: Arc::clone(seeds),
            driver,
            journal,
            cancel: Arc::new(Cancel::default()),
        }
    }

    /// A process with the skills of [`mixed_plan`].
    pub(crate) fn plain(journal: Arc<dyn Journal>) -> Self {
        let cancel = Arc::new(Cancel::default());
        let write = Write::Put {
            key: "noted".to_owned(),
            value: b"{\"by\":\"note\"}".to_vec(),
            expires_at: None,
            guard: Guard::Any,
        };
        let skills: Vec<Arc<dyn Skill>> = vec![
            Scripted::new("look", EffectClass::Read, vec![Answer::Done(json!({"n": 7, "secret": "s"}))], &cancel),
            Scripted::new("sum", EffectClass::Pure, vec![Answer::Done(json!([1, 2, {"three": 3}]))], &cancel),
            Scripted::new("note", EffectClass::Transactional, vec![Answer::Writes(Value::Null, vec![write])], &cancel),
            Scripted::new("pay", EffectClass::Unsafe, vec![Answer::Done(json!({"receipt": "r-1"}))], &cancel),
            Scripted::new("doubt", EffectClass::Unsafe, vec![Answer::Unknown], &cancel),
            Scripted::new(
                "busy",
                EffectClass::Read,
                vec![Answer::Failed { retryable: true, retry_after_ms: Some(60_000) }],
                &cancel,
            ),
        ];
        Self::new(journal, skills, &FakeClock::new(), &Arc::new(Seeds::default()))
    }

    /// Drives a claimed run until it ends, waits for somebody, or the store fails.
    pub(crate) fn drive(&self, claimed: Claimed) -> Result<(Run, Left), StoreError> {
        let mut claimed = claimed;
        loop {
            let (tenant, run_id) = (claimed.run.tenant.clone(), claimed.run.id.clone());
            let (run, left) = block_on(self.driver.drive(claimed, self.cancel.as_ref())).map_err(store_error)?;
            let Left::Until(at) = left else { return Ok((run, left)) };
            self.clock.move_to(at);
            claimed =
                block_on(self.journal.claim_run(WORKER, &tenant, &run_id))?.expect("a run that waits for its time");
        }
    }

    /// Takes and drives whatever is due, now or at any time, until nothing is.
    pub(crate) fn drive_all_due(&self) {
        loop {
            let due = block_on(self.journal.claim(WORKER, u64::MAX >> 1, 16)).unwrap().taken;
            if due.is_empty() {
                return;
            }
            for claimed in due {
                self.drive(claimed).unwrap();
            }
        }
    }

    /// Puts a command on the record of a run that nobody drives.
    pub(crate) fn apply(
        &self,
        tenant: &str,
        run_id: &str,
        command: Command,
    ) -> Result<Result<Run, Refusal>, StoreError> {
        let Claimed { run, fence } =
            block_on(self.journal.claim_run(WORKER, tenant, run_id))?.expect("a run that nobody holds");
        let context = Context { now: self.clock.now(), seed: self.seeds.seed(), facts: &self.driver.skills };
        let (lines, after) = match decide(&run, command, &context) {
            Ok(Decision { lines, run, .. }) => (lines, run),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let append = Append {
            tenant: tenant.to_owned(),
            run_id: run_id.to_owned(),
            fence,
            expected_seq: run.next_seq,
            expected_head: run.head,
            rows: projection::changes(&run, &after),
            lines: lines.into(),
            writes: Vec::new(),
            claim: Claim::Release(self.clock.now()),
        };
        block_on(self.journal.append(append))?;
        Ok(Ok(after))
    }
}

fn store_error(error: DriveError) -> StoreError {
    match error {
        DriveError::Store(error) => error,
        other @ (DriveError::Refusal(_) | DriveError::NoPlan(_)) => panic!("{other}"),
    }
}

pub(crate) fn open(store: &dyn Store, tenant: &str, run_id: &str, plan: Value) -> Opened {
    block_on(store.open_run(admitted(tenant, run_id, Some(plan)), Some(WORKER.to_owned()), stamp(START))).unwrap()
}

pub(crate) fn claimed(opened: Opened) -> Claimed {
    Claimed { run: opened.run, fence: opened.fence.expect("opened for somebody") }
}

/// Opens a run and drives it as far as it goes.
pub(crate) fn driven(store: &Arc<dyn Store>, tenant: &str, run_id: &str, plan: Value) -> (Run, Left) {
    let process = Process::plain(Arc::clone(store) as _);
    process.drive(claimed(open(store.as_ref(), tenant, run_id, plan))).unwrap()
}

/// The run is the same in every respect.
pub(crate) fn assert_same(one: &Run, other: &Run) {
    assert_eq!(format!("{one:#?}"), format!("{other:#?}"));
}

pub(crate) fn load(store: &dyn Store, tenant: &str, run_id: &str) -> Run {
    block_on(store.load_run(tenant, run_id)).unwrap().expect("a run of the tenant")
}

/// Everything about a run, once what is committed has its place: a process that ended a moment ago may be at it still.
pub(crate) fn evidence(store: &dyn Store, tenant: &str, run_id: &str) -> Evidence {
    loop {
        block_on(store.sequence()).unwrap();
        let evidence = block_on(store.evidence(tenant, run_id)).unwrap();
        let mut all = evidence.transitions.iter().chain(&evidence.tenant_transitions);
        if all.all(|row| row.first_leaf.is_some()) {
            return evidence;
        }
    }
}

/// The version of a key that this transition wrote: its id, or its leaf where it has one from the start.
pub(crate) fn version_of(row: &TransitionRow) -> u64 {
    row.arrival.map_or(row.first_leaf, |(id, _)| u64::try_from(id).ok()).expect("a place")
}

/// One event with its place in the ledger.
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) entry: Entry,
}

/// The events of stored transitions.
pub(crate) fn placed(transitions: &[TransitionRow]) -> Vec<Placed> {
    let mut out = Vec::new();
    for row in transitions {
        let mut payloads = row.payloads.split('\n');
        for (offset, line) in (0u64..).zip(row.events.split('\n')) {
            let event = Event::decode(line.as_bytes()).unwrap();
            let payload = payloads.next().unwrap_or_default();
            let payload = (!payload.is_empty()).then(|| PayloadLine::parse(payload.as_bytes()).unwrap());
            let entry = Entry { event, leaf: leaf(line.as_bytes()), payload };
            out.push(Placed { index: row.first_leaf.expect("a place") + offset, entry });
        }
        assert!(payloads.next().is_none(), "a payload line without an event");
    }
    out
}

/// First leaf of the transition that says that a step's skill did what it should.
pub(crate) fn returned_at(store: &dyn Store, tenant: &str, run_id: &str, call: &str) -> Option<u64> {
    let call = CallId::parse(call).unwrap();
    let transitions = evidence(store, tenant, run_id).transitions;
    let says_so = |placed: &Placed| {
        matches!(&placed.entry.event.body, Body::StepReturned(body)
            if body.step_id == call.step_id && body.item == call.item.text() && body.outcome == AttemptOutcome::Done)
    };
    let row = transitions.iter().find(|row| placed(std::slice::from_ref(row)).iter().any(says_so));
    row.map(version_of)
}

/// Roots of the subtrees that a proof calls for.
pub(crate) fn roots(store: &dyn Store, ranges: Option<Vec<Range>>) -> Vec<Hash> {
    block_on(store.subtree_roots(ranges.expect("a proof for a place in the tree"))).unwrap()
}

/// The proof bundle of a run, as the newest checkpoint of the store shows it.
pub(crate) fn bundle(store: &dyn Store, tenant: &str, run_id: &str) -> Bundle {
    let evidence = evidence(store, tenant, run_id);
    let note = evidence.checkpoint.clone().expect("a checkpoint");
    let checkpoint = read_note(&note);
    let entries = placed(&evidence.transitions);
    let anchor = entries.last().filter(|last| last.index < checkpoint.size).map(|last| {
        let hashes = roots(store, merkle::inclusion_ranges(last.index, checkpoint.size));
        Anchor::parse(InclusionProof { index: last.index, hashes, note: note.clone() }.encode().as_bytes()).unwrap()
    });
    let erasures = placed(&evidence.tenant_transitions);
    let erasures = erasures
        .into_iter()
        .filter(|placed| matches!(&placed.entry.event.body, Body::TenantValueErased(body) if body.run_id == run_id));
    let records: Vec<Record> = erasures
        .map(|placed| {
            let hashes = roots(store, merkle::inclusion_ranges(placed.index, checkpoint.size));
            Record { event: placed.entry.event, index: placed.index, hashes }
        })
        .collect();
    let header = Header {
        anchored: anchor.is_some(),
        events: entries.len() as u64,
        log: evidence.log,
        records: records.len() as u64,
        run_id: run_id.to_owned(),
        since: None,
        tenant: tenant.to_owned(),
    };
    Bundle {
        header,
        entries: entries.into_iter().map(|placed| placed.entry).collect(),
        records,
        consistency: None,
        anchor,
    }
}

/// Verifies and replays the bundle of a run, from its bytes.
pub(crate) fn prove(subject: &dyn Subject, tenant: &str, run_id: &str) -> Report {
    let store = subject.store();
    let bytes = bundle(store.as_ref(), tenant, run_id).encode().unwrap();
    let bundle = Bundle::parse(&bytes).unwrap();
    let mut report = examine(&bundle, &subject.keeper().trust());
    assert_eq!(report, verify(&bytes, &subject.keeper().trust()));
    replay::check(&bundle, &mut report);
    report
}

pub(crate) fn assert_verdict(report: &Report, verdict: Verdict) {
    assert_eq!(report.verdict(), verdict, "{:#?}", report.findings);
}

/// The rows of the projections and of the seal are what the run's events say, column by column.
pub(crate) fn assert_rows(evidence: &Evidence, run: &Run) {
    let rows = projection::rows(run);
    for table in ["runs", "aos_traces", "aos_trace_steps", "run_seals"] {
        let expected: Vec<projection::Row> = rows.iter().filter(|row| row.table == table).cloned().collect();
        let got: &[RawRow] = evidence.rows.get(table).map(Vec::as_slice).expect("every table of a run");
        let findings = audit::compare(&run.id, table, &expected, got);
        assert!(findings.is_empty(), "{findings:#?}");
        assert_eq!(expected.len(), got.len());
    }
}

/// Everything that the store holds fits together: streams, runs, rows, leaves, tiles and the signed head.
pub(crate) fn audit_ledger(subject: &dyn Subject) {
    let store = subject.store();
    let store = store.as_ref();
    let runs = block_on(store.list_runs(None, usize::MAX >> 1)).unwrap();
    let mut leaves: BTreeMap<u64, Hash> =
        BTreeMap::from([(0, roots(store, Some(vec![Range { start: 0, end: 1 }]))[0])]);
    let mut put = |transitions: &[TransitionRow]| {
        let (mut seq, mut head) = (0, Hash::ZERO);
        for row in transitions {
            assert_eq!((row.first_seq, row.event_count), (seq, row.events.split('\n').count() as u64));
            seq += row.event_count;
        }
        for placed in placed(transitions) {
            assert_eq!(placed.entry.event.prev, head);
            head = placed.entry.leaf;
            assert_eq!(leaves.insert(placed.index, placed.entry.leaf), None, "two events at leaf {}", placed.index);
        }
    };
    let mut tenants: Vec<String> =
        block_on(store.list_agents(None)).unwrap().into_iter().map(|agent| agent.tenant_id).collect();
    tenants.dedup();
    for tenant in &tenants {
        put(&evidence(store, tenant, "none").tenant_transitions);
    }
    for listed in &runs {
        let (tenant, run_id) = (&listed.tenant_id, &listed.run_id);
        let evidence = evidence(store, tenant, run_id);
        put(&evidence.transitions);
        let run = fold(LOG, tenant, run_id, &evidence.transitions).unwrap().unwrap();
        assert_same(&run, &load(store, tenant, run_id));
        assert_rows(&evidence, &run);
        assert_eq!(
            (listed.status.as_str(), listed.run_no),
            (run.status().word(), run.header.as_ref().map(|header| header.run_no))
        );
    }
    for run in block_on(store.list_kept(None)).unwrap() {
        for index in runproof_store::Leaves::parse(&run.leaves).unwrap().indexes() {
            let hash = roots(store, Some(vec![Range { start: index, end: index + 1 }]))[0];
            assert_eq!(leaves.insert(index, hash), None, "leaf {index} is of two runs, or still in rows");
        }
    }
    let size = leaves.len() as u64;
    assert_eq!(leaves.keys().copied().collect::<Vec<_>>(), (0..size).collect::<Vec<_>>(), "the ledger has no gaps");
    let singles: Vec<Range> = (0..size).map(|index| Range { start: index, end: index + 1 }).collect();
    let leaves: Vec<Hash> = leaves.into_values().collect();
    assert_eq!(roots(store, Some(singles)), leaves, "every leaf is in its tile");
    let head = subject.keeper().wait_for(size);
    let note = block_on(store.checkpoint()).unwrap().unwrap();
    assert_eq!(read_note(&note), head, "the store has the head that was kept");
    assert_eq!((head.size, head.root), (size, merkle::root(&leaves)), "the head is signed over exactly these leaves");
    assert!(Trust::add_head(&mut subject.keeper().trust(), note.as_bytes()).is_ok());
}
