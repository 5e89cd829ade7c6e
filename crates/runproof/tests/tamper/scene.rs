//! One database with two tenants and runs of every kind, kept as bytes: each case works on a fresh copy of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use runproof::app::local_actor;
use runproof::prove::prove;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use runproof_store::sqlite::SqliteStore;
use runproof_store::{Stamp, Store as _, TenantChange};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{AGENT, Home, Receiver, TENANT, runtime, sample_steps, text};

pub(super) const OTHER: &str = "zen";
/// Runs that put leaves before, so that the tree has tiles above the first level.
const CROWD: usize = 30;

pub(super) struct Scene {
    /// The database without its triggers, one file.
    pub(super) database: Vec<u8>,
    /// The same without NOT NULL and STRICT.
    pub(super) relaxed: Vec<u8>,
    /// As it was when only the first of the runs below was over.
    pub(super) older: Vec<u8>,
    pub(super) trust: Trust,
    /// Names, with tenant and run id.
    pub(super) runs: BTreeMap<&'static str, (String, String)>,
}

/// What `proof` says.
pub(super) enum Said {
    /// A report.
    Report(Box<Report>),
    /// The tenant has no such run.
    NotFound,
    /// The store cannot be read, and says so.
    Error(String),
}

/// A copy of the database that can be changed.
pub(super) struct Copy {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    trust: Trust,
}

pub(super) fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(build)
}

fn build() -> Scene {
    let (home, receiver) = (Home::initialised(), Receiver::standard());
    home.ok(&["create-tenant", "--id", OTHER]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", OTHER]);
    for _ in 0..CROWD {
        home.ok(&["run", "--tenant-id", OTHER, "--agent-id", AGENT, "--goal", "one of many", "--no-wait"]);
    }
    home.ok(&["worker", "--drain"]);
    let mut runs = BTreeMap::new();
    let mut keep = |name, run: &Value| {
        runs.insert(name, (text(&run["tenant_id"]), text(&run["run_id"])));
    };
    keep("mixed", &mixed(&home, &receiver));
    let older = snapshot(&home);
    let broken = json!([{ "id": "only", "skill": "no_such_skill" }]);
    keep("failed", &home.run_plan(broken, &[]).1);
    let queued = home.run_goal("never mind", &["--no-wait"]).1;
    home.ok(&["cancel", &text(&queued["run_id"]), "--reason", "no longer needed"]);
    keep("cancelled", &queued);
    keep("resolved", &resolved(&home));
    keep("erased", &erased(&home));
    let (code, graph) = home.run_graph(&[]);
    assert_eq!(code, 0, "{graph:#}");
    keep("graph", &graph);
    let plan = home.plan(sample_steps());
    let other = ["run", "--tenant-id", OTHER, "--agent-id", AGENT, "--plan", &plan, "--synthetic", "drill"];
    keep("other", &home.ok(&other));
    let (database, trust) = (snapshot(&home), home.home().trust().unwrap());
    let scene = Scene { relaxed: relaxed(&database, &trust), database, older, trust, runs };
    for bytes in [&scene.database, &scene.relaxed] {
        for (name, (tenant, run)) in &scene.runs {
            let said = Copy::new(bytes, &scene.trust).prove((tenant, run));
            assert_eq!(said.word(), "VERIFIED", "{name}: the scene itself is sound: {:?}", said.places());
        }
    }
    scene
}

fn mixed(home: &Home, receiver: &Receiver) -> Value {
    let mut steps = sample_steps();
    let call = json!({ "id": "call", "skill": "http_call", "retry": { "max_attempts": 2, "initial_delay_ms": 1 },
                       "with": { "url": receiver.url("fail/1"), "headers": { "x-note": "one" } } });
    steps.as_array_mut().unwrap().insert(0, call);
    let (code, run) = home.run_plan(steps, &["--goal", "a bit of everything"]);
    assert_eq!(code, 0, "{run:#}");
    run
}

fn resolved(home: &Home) -> Value {
    let step = json!([{ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!(code, 5, "{run:#}");
    home.ok(&["resolve", &text(&run["run_id"]), "pay", "done", "--reason", "the receiver says so"]);
    home.ok(&["worker", "--drain"]);
    run
}

/// A run of which one member of the parameters and one output were erased, with a record.
fn erased(home: &Home) -> Value {
    let step = json!([{ "id": "note", "skill": "json_transform", "with": { "payload": { "who": "somebody" }, "mapping": { "name": "who" } } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!(code, 0, "{run:#}");
    let id = text(&run["run_id"]);
    for (kind, field, index) in [("step.intended", "params", Some(1)), ("step.returned", "output", None)] {
        let seq = seq_of(&home.open(), &id, kind);
        erase(home, &id, seq, field, index).unwrap();
    }
    run
}

pub(crate) fn erase(home: &Home, run_id: &str, seq: u64, field: &str, index: Option<u32>) -> Result<(), String> {
    let store = SqliteStore::open_engine(&home.database(), home.home().notary().unwrap()).unwrap();
    let change = TenantChange::Erase {
        run_id: run_id.to_owned(),
        seq,
        field: field.to_owned(),
        index,
        reason: "asked for".to_owned(),
    };
    let stamp = Stamp { now: runproof::runtime::now(), seed: runproof::runtime::random(), actor: local_actor() };
    runtime().block_on(store.change_tenant(TENANT, change, stamp)).map_err(|error| error.to_string())
}

/// The seq of the first event of a kind.
pub(crate) fn seq_of(connection: &Connection, run_id: &str, kind: &str) -> u64 {
    let mut statement =
        connection.prepare("SELECT events FROM transitions WHERE stream = 'run/' || ?1 ORDER BY first_seq").unwrap();
    let rows: Vec<String> = statement.query_map([run_id], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut events = rows.iter().flat_map(|row| row.lines()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.find(|event| event["kind"] == kind).unwrap()["seq"].as_u64().unwrap()
}

/// The database as one file, without triggers.
pub(crate) fn snapshot(home: &Home) -> Vec<u8> {
    let path = home.folder().join("snapshot.db");
    home.open().execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(triggers.len() > 15);
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    drop(statement);
    drop(connection);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

/// The same file without NOT NULL and STRICT: whoever owns the file can change the schema as well.
pub(crate) fn relaxed(database: &[u8], trust: &Trust) -> Vec<u8> {
    let copy = Copy::new(database, trust);
    let connection = copy.open();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = replace(replace(replace(replace(sql, 'IS NOT NULL', 'IS_SET'), ' NOT NULL', ''), 'IS_SET', 'IS NOT NULL'), ') STRICT', ')')
                 WHERE type = 'table';
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    drop(connection);
    std::fs::read(copy.path()).unwrap()
}

impl Scene {
    pub(super) fn copy(&self) -> Copy {
        Copy::new(&self.database, &self.trust)
    }

    pub(super) fn ids(&self, name: &str) -> (&str, &str) {
        let (tenant, run) = &self.runs[name];
        (tenant, run)
    }
}

impl Copy {
    pub(super) fn new(bytes: &[u8], trust: &Trust) -> Self {
        let copy = Self { folder: TempDir::new().unwrap(), runtime: runtime(), trust: trust.clone() };
        copy.reset(bytes);
        copy
    }

    /// Makes it a fresh copy again.
    pub(super) fn reset(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    /// A connection that nothing stops.
    pub(super) fn open(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON;",
            )
            .unwrap();
        connection
    }

    pub(super) fn execute(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(super) fn prove(&self, (tenant, run): (&str, &str)) -> Said {
        let store = SqliteStore::open_reader(&self.path()).unwrap();
        match self.runtime.block_on(prove(&store, tenant, run, &self.trust, None)) {
            Ok(Some(proof)) => Said::Report(Box::new(proof.report)),
            Ok(None) => Said::NotFound,
            Err(error) => Said::Error(error.to_string()),
        }
    }
}

impl Said {
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Report(report) => report.verdict().word(),
            Self::NotFound => "not found",
            Self::Error(_) => "error",
        }
    }

    pub(super) fn places(&self) -> Vec<String> {
        match self {
            Self::Report(report) => report.findings.iter().map(|finding| finding.place.clone()).collect(),
            Self::NotFound => Vec::new(),
            Self::Error(error) => vec![error.clone()],
        }
    }

    /// Whether a finding names the column of the table.
    pub(super) fn names(&self, table: &str, column: &str) -> bool {
        self.places().iter().any(|place| {
            place.starts_with(&format!("{table}.{column}"))
                || place.contains(&format!(" or {column}["))
                || place.contains(&format!(" or {table}.{column}["))
        })
    }

    /// Whether a finding names the table, by a row or a column of it.
    pub(super) fn names_table(&self, table: &str) -> bool {
        self.places().iter().any(|place| {
            place.starts_with(&format!("{table}["))
                || place.starts_with(&format!("{table}."))
                || place.contains(&format!(" or {table}."))
                || place == table
        })
    }

    /// What is wrong with what was said about a change, if anything is.
    pub(super) fn fault(&self, kind: &str, case: &str, named: bool) -> Option<Fault> {
        let fault =
            |what: &str| Some(Fault { kind: format!("{kind}: {what}"), case: case.to_owned(), places: self.places() });
        match self {
            _ if self.word() == "VERIFIED" => fault("VERIFIED"),
            Self::Report(_) if !named => fault("another place is named"),
            Self::Report(_) | Self::NotFound | Self::Error(_) => None,
        }
    }
}

/// A change that was not caught, or not named.
pub(super) struct Fault {
    kind: String,
    case: String,
    places: Vec<String>,
}

/// Fails with every kind of fault, and one example of it.
pub(super) fn none_of(faults: &[Fault], cases: usize, least: usize) {
    let mut kinds: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(&fault.kind).or_default().push(fault);
    }
    let lines = kinds
        .iter()
        .map(|(kind, all)| format!("{} x {kind}\n    {}\n    {}", all.len(), all[0].case, all[0].places.join(", ")));
    let lines: Vec<String> = lines.collect();
    assert!(faults.is_empty(), "{} of {cases} cases:\n{}", faults.len(), lines.join("\n"));
    assert!(cases >= least, "only {cases} cases: the test has lost its subject");
}
