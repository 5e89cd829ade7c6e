//! One database with tiles above the first level, two tenants, and runs that are over, erased, open and queued.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use runproof::ledger::{LedgerReport, Outcome, verify};
use runproof_proof::trust::Trust;
use runproof_store::Store;
use runproof_store::sqlite::{SqliteStore, VerifyState};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{AGENT, Home, Ran, sample_steps, text};
use crate::tamper::scene::{erase, relaxed, seq_of, snapshot};

pub(super) const OTHER: &str = "zen";
const CROWD: usize = 40;

pub(super) struct Scene {
    pub(super) home: Home,
    /// The database without its triggers.
    pub(super) database: Vec<u8>,
    /// As it was when it held three runs.
    pub(super) older: Vec<u8>,
    /// Without NOT NULL and STRICT.
    pub(super) relaxed: Vec<u8>,
    pub(super) trust: Trust,
    /// Run that is over, in the standard tenant.
    pub(super) sealed: String,
    /// Run that waits for a person.
    pub(super) open: String,
}

pub(super) fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(build)
}

fn build() -> Scene {
    let home = Home::initialised();
    home.ok(&["create-tenant", "--id", OTHER]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", OTHER]);
    let sealed = text(&home.run_plan(sample_steps(), &[]).1["run_id"]);
    let note = json!([{ "id": "note", "skill": "json_transform", "with": { "payload": { "who": "somebody" }, "mapping": { "name": "who" } } }]);
    let erased = text(&home.run_plan(note, &[]).1["run_id"]);
    erase(&home, &erased, seq_of(&home.open(), &erased, "step.returned"), "output", None).unwrap();
    let held = json!([{ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } }]);
    let (code, open) = home.run_plan(held, &[]);
    assert_eq!(code, 5, "{open:#}");
    let older = snapshot(&home);
    let (code, graph) = home.run_graph(&[]);
    assert_eq!(code, 0, "{graph:#}");
    crowd(&home, CROWD);
    home.run_goal("nobody has begun this", &["--no-wait"]);
    let (database, trust) = (snapshot(&home), home.home().trust().unwrap());
    let relaxed = relaxed(&database, &trust);
    Scene { database, older, relaxed, trust, sealed, open: text(&open["run_id"]), home }
}

/// Runs that are over, in the other tenant.
pub(super) fn crowd(home: &Home, count: usize) {
    for _ in 0..count {
        home.ok(&["run", "--tenant-id", OTHER, "--agent-id", AGENT, "--goal", "one of many", "--no-wait"]);
    }
    home.ok(&["worker", "--drain"]);
}

/// A copy of the database that can be changed.
pub(super) struct Copy {
    folder: TempDir,
}

impl Copy {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let copy = Self { folder: TempDir::new().unwrap() };
        copy.reset(bytes);
        copy
    }

    pub(super) fn reset(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
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

    /// What `log verify` says about the copy, with the home of the scene.
    pub(super) fn verify(&self, arguments: &[&str]) -> Said {
        let mut command = scene().home.command(&[&["log", "verify", "--json"], arguments].concat());
        command.env("DATABASE_URL", format!("sqlite://{}", self.path().display()));
        let ran: Ran = crate::support::ran(&mut command);
        Said { code: ran.code, report: ran.json() }
    }

    /// The same by the library, which is faster.
    pub(super) fn report(&self) -> LedgerReport {
        let state = VerifyState::open(None).unwrap();
        match self.verify_until(&state, false, u64::MAX) {
            Outcome::Done(report) => *report,
            Outcome::Interrupted { leaves } => panic!("stopped at {leaves}"),
        }
    }

    /// Verifies until so many rows and runs were looked at.
    pub(super) fn verify_until(&self, state: &VerifyState, since_last: bool, mut steps: u64) -> Outcome {
        let snapshot = SqliteStore::open_reader(&self.path()).unwrap().snapshot().unwrap();
        let mut tick = |_| {
            steps -= 1;
            if steps == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        verify(snapshot.as_ref(), state, &scene().trust, since_last, &mut tick).unwrap()
    }

    pub(super) fn state(&self, name: &str) -> VerifyState {
        VerifyState::open(Some(Path::new(&self.file(name)))).unwrap()
    }
}

/// What the program said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) report: Value,
}

impl Said {
    pub(super) fn places(&self) -> Vec<String> {
        let findings = self.report["findings"].as_array().unwrap_or_else(|| panic!("{:#}", self.report));
        findings.iter().map(|finding| format!("{} {}", text(&finding["code"]), text(&finding["place"]))).collect()
    }

    pub(super) fn names(&self, code: &str, place: &str) -> bool {
        self.places().iter().any(|found| found.starts_with(&format!("{code} {place}")))
    }
}
