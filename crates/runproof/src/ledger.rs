//! The whole ledger against itself: leaves, tree, checkpoints, streams, and the rows of every run, in one snapshot.
//!
//! Reads row by row and keeps what it has to remember in a [`VerifyState`]: memory is bounded by the largest run, not by
//! the ledger. What it cannot see is a ledger that was written again as a whole with the key; a head that somebody else
//! keeps shows that.

mod checkpoints;
mod end;
mod leaves;
pub mod proofs;
pub mod report;
mod runs;
mod streams;

use std::ops::ControlFlow;

use runproof_engine::ports::StoreError;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::finding::{Code, Finding, Verdict, counted};
use runproof_proof::hash::Hash;
use runproof_proof::trust::Trust;
use runproof_store::sqlite::VerifyState;
use runproof_store::{Leaves, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use report::Findings;

/// Format name of what a state file holds.
const FORMAT: &str = "runproof.log-verify/v1";
/// Rows or runs after which what was done so far is made to count.
const SAVE_EVERY: u64 = 1000;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// `leaves` or `runs`.
    pub what: &'static str,
    /// Done.
    pub done: u64,
    /// Of how many; an estimate for runs.
    pub total: u64,
}

/// Told after every transition and run; a break interrupts the verification.
pub type Tick<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Leaves of the tree.
    pub leaves: u64,
    /// Rows of `transitions`.
    pub transitions: u64,
    /// Signed checkpoints.
    pub checkpoints: u64,
    /// Runs.
    pub runs: u64,
    /// Runs among them that are not over.
    pub open_runs: u64,
    /// Runs that were read from their archives.
    #[serde(default)]
    pub archived_runs: u64,
    /// Leaves that only archives hold.
    #[serde(default)]
    pub archived_leaves: u64,
    /// Tombstones.
    #[serde(default)]
    pub purged_runs: u64,
    /// Leaves that nobody can look into, because their runs were purged.
    #[serde(default)]
    pub purged_leaves: u64,
}

/// How far a verification came. Everything before it is believed when it is taken up again, but not blindly: the tiles
/// have to lead to the same root of the first `size` leaves as they did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    format: String,
    log: String,
    /// Key of the last transition.
    after: i64,
    /// Leaves in the tree so far, its root, and the last tile of every level.
    size: u64,
    root: Hash,
    edge: Vec<Vec<Hash>>,
    /// The root that the stored tiles gave; none when they were damaged.
    tiles_root: Option<Hash>,
    /// Size of the last checkpoint that was looked at, and of the last one that counts.
    checkpoint: i64,
    signed: u64,
    /// The first checkpoint that counts and does not fit the tree: size, its root, the tree's.
    disagrees: Option<(u64, Hash, Hash)>,
    /// Runs with no row from this leaf on were done in an earlier verification that was complete.
    runs_since: u64,
    /// Leaves that were there when the runs up to `last_run` were looked at.
    runs_size: u64,
    /// Tenant and id of the last run that was looked at; empty: none.
    last_run: (String, String),
    /// Nothing is left to do up to `size`.
    complete: bool,
    /// Leaf from which this verification began; above 0 with `--since-last`.
    since: u64,
    counts: Counts,
    omitted: u64,
}

impl Position {
    fn start(log: &str) -> Self {
        Self {
            format: FORMAT.to_owned(),
            log: log.to_owned(),
            after: i64::MIN,
            size: 0,
            root: runproof_proof::merkle::root(&[]),
            edge: Vec::new(),
            tiles_root: None,
            checkpoint: i64::MIN,
            signed: 0,
            disagrees: None,
            runs_since: 0,
            runs_size: 0,
            last_run: (String::new(), String::new()),
            complete: false,
            since: 0,
            counts: Counts::default(),
            omitted: 0,
        }
    }
}

/// What came of a verification.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It came to its end.
    Done(Box<LedgerReport>),
    /// It was told to stop after so many leaves; the state says how to go on.
    Interrupted {
        /// Leaves that were done.
        leaves: u64,
    },
}

/// The report about a ledger.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    /// Origin.
    pub log: String,
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Size of the newest checkpoint that counts.
    pub signed: u64,
    /// Leaf from which was verified; what was before was verified earlier, and believed.
    pub since: u64,
    /// Where the keys came from.
    pub trust: String,
    /// What was looked at.
    pub counts: Counts,
    /// What was found.
    pub findings: Findings,
}

/// Verifies the ledger, going on from the state where it may. `since_last` lets it begin where the last complete
/// verification ended.
///
/// # Errors
/// [`StoreError`] when the database or the state cannot be read.
pub fn verify(
    snapshot: &dyn Snapshot,
    state: &VerifyState,
    trust: &Trust,
    since_last: bool,
    tick: Tick<'_>,
) -> Result<Outcome, StoreError> {
    let mut work = Work::begin(snapshot, state, trust, since_last)?;
    let size = leaves::verify(&mut work, tick)?;
    if let ControlFlow::Continue(()) = size
        && let ControlFlow::Continue(()) = runs::verify(&mut work, tick)?
        && let ControlFlow::Continue(()) = runs::kept(&mut work, tick)?
    {
        work.position.complete = true;
        work.save()?;
        return Ok(Outcome::Done(Box::new(work.conclude()?)));
    }
    work.save()?;
    Ok(Outcome::Interrupted { leaves: work.position.size })
}

/// A verification under way.
struct Work<'a> {
    snapshot: &'a dyn Snapshot,
    state: &'a VerifyState,
    trust: &'a Trust,
    /// Known heads of this log, smallest first.
    heads: Vec<Checkpoint>,
    position: Position,
    /// Leaves that were done before: of them only the root is checked.
    began: u64,
    findings: Findings,
    unsaved: u64,
}

impl<'a> Work<'a> {
    fn begin(
        snapshot: &'a dyn Snapshot,
        state: &'a VerifyState,
        trust: &'a Trust,
        since_last: bool,
    ) -> Result<Self, StoreError> {
        let of_log = trust.heads.iter().filter(|head| head.origin == snapshot.log());
        let mut heads: Vec<Checkpoint> = of_log.cloned().collect();
        heads.sort_by_key(|head| head.size);
        let position = Position::start(snapshot.log());
        let mut work =
            Self { snapshot, state, trust, heads, position, began: 0, findings: Findings::default(), unsaved: 0 };
        if !work.take_up(since_last)? {
            state.clear()?;
        }
        work.note_kept()?;
        Ok(work)
    }

    /// Notes the leaves that archives and tombstones name, as they are in this snapshot.
    fn note_kept(&mut self) -> Result<(), StoreError> {
        self.state.forget_kept()?;
        let (state, size) = (self.state, self.snapshot.size()?);
        let end = self.snapshot.kept(&mut |run| {
            state.add_kept(&run.tenant_id, &run.run_id)?;
            let leaves = Leaves::parse(&run.leaves).filter(|leaves| leaves.count() <= size);
            for index in leaves.iter().flat_map(Leaves::indexes) {
                state.add_absent(index, run.state == "purged")?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        debug_assert!(end.is_continue());
        Ok(())
    }

    /// Takes up what the state holds, if it holds something that can be gone on from.
    fn take_up(&mut self, since_last: bool) -> Result<bool, StoreError> {
        let Some(text) = self.state.progress()? else { return Ok(false) };
        let Ok(mut position) = serde_json::from_str::<Position>(&text) else { return Ok(false) };
        let is_ours = position.format == FORMAT && position.log == self.snapshot.log();
        if !is_ours || (position.complete && !since_last) || leaves::taken_up(self.snapshot, &position).is_none() {
            return Ok(false);
        }
        let lines = self.state.findings()?;
        let findings: Option<Vec<Finding>> = lines.iter().map(|line| report::from_line(line)).collect();
        let Some(findings) = findings else { return Ok(false) };
        for finding in findings {
            self.findings.add(finding);
        }
        self.findings.omit(position.omitted);
        if position.complete {
            position.since = position.size;
            position.counts = Counts::default();
            position.runs_since = position.runs_size;
            position.last_run = (String::new(), String::new());
            position.complete = false;
        }
        self.began = position.size;
        self.position = position;
        Ok(true)
    }

    /// Keeps a finding, in the state as well.
    fn find(&mut self, finding: Finding) -> Result<(), StoreError> {
        let line = report::to_line(&finding);
        if self.findings.add(finding) {
            self.state.add_finding(&line)?;
        }
        Ok(())
    }

    fn find_all(&mut self, findings: impl IntoIterator<Item = Finding>) -> Result<(), StoreError> {
        findings.into_iter().try_for_each(|finding| self.find(finding))
    }

    /// Makes what was done count, every so often.
    fn step(&mut self) -> Result<(), StoreError> {
        self.unsaved += 1;
        if self.unsaved >= SAVE_EVERY { self.save() } else { Ok(()) }
    }

    fn save(&mut self) -> Result<(), StoreError> {
        self.unsaved = 0;
        self.position.omitted = self.findings.omitted();
        let text = serde_json::to_string(&self.position).expect("strings and numbers always encode");
        self.state.set_progress(&text)?;
        self.state.commit()
    }

    /// The report. What is found here is found again each time, and not kept in the state.
    fn conclude(mut self) -> Result<LedgerReport, StoreError> {
        let tree = end::findings(&self)?;
        let rows = runs::rows_without_events(&self)?;
        for finding in tree.into_iter().chain(rows) {
            self.findings.add(finding);
        }
        if self.trust.keys.is_empty() {
            let finding = Finding::new(Code::CheckpointUnpinned, "", "checkpoints.note");
            self.findings.add(finding.differs("a key from outside", "none"));
        }
        let Position { size, root, signed, since, counts, .. } = self.position;
        let trust = if self.trust.keys.is_empty() { "none".to_owned() } else { self.trust.source.clone() };
        Ok(LedgerReport {
            log: self.snapshot.log().to_owned(),
            size,
            root,
            signed,
            since,
            trust,
            counts,
            findings: self.findings,
        })
    }
}

impl LedgerReport {
    /// The verdict; a ledger without leaves is never VERIFIED.
    pub fn verdict(&self) -> Verdict {
        if self.size == 0 { self.findings.verdict().max(Verdict::Unsupported) } else { self.findings.verdict() }
    }

    /// What a report of this kind does not show, whatever its verdict.
    pub fn does_not_show(&self) -> Vec<String> {
        let mut out = vec![
            "that what a tool answered is true, or that nothing happened outside the engine".to_owned(),
            "that nobody with the key wrote the ledger again; a head that somebody else keeps shows that".to_owned(),
        ];
        if self.counts.purged_leaves > 0 {
            out.push(format!(
                "what is in {} of purged runs: that they are those of the seals is checked",
                counted(self.counts.purged_leaves, "leaf", "leaves")
            ));
        }
        if self.since > 0 {
            out.push(format!(
                "leaves before {}: an earlier verification is believed, only their root is checked",
                self.since
            ));
        }
        out
    }

    /// The JSON object that `log verify` prints.
    pub fn to_json(&self) -> Value {
        let mut value = self.findings.to_json();
        let verdict = self.verdict();
        let more = json!({
            "log": self.log,
            "tree_size": self.size,
            "root": self.root,
            "signed_size": self.signed,
            "since": self.since,
            "trust": self.trust,
            "checked": self.counts,
            "does_not_show": self.does_not_show(),
            "verdict": verdict,
            "verification_status": verdict.status(),
            "exit_code": verdict.exit_code(),
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }

    /// The page for people.
    pub fn to_text(&self) -> String {
        let verdict = self.verdict();
        let meaning = if verdict == Verdict::Verified {
            "everything that is stored matches the signed ledger"
        } else {
            verdict.meaning()
        };
        let Counts { leaves, transitions, checkpoints, runs, open_runs, .. } = self.counts;
        let since = if self.since > 0 { format!(", from leaf {} on", self.since) } else { String::new() };
        let mut out = format!("{}  {meaning}\n\n", verdict.word());
        let size = counted(self.size, "leaf", "leaves");
        out.push_str(&format!("  log       {}: {size}, signed up to {}\n", self.log, self.signed));
        out.push_str(&format!("  root      {}\n", self.root));
        out.push_str(&format!(
            "  checked   {} in {}, {}, {} ({open_runs} not over){since}\n",
            counted(leaves, "leaf", "leaves"),
            counted(transitions, "row", "rows"),
            counted(checkpoints, "checkpoint", "checkpoints"),
            counted(runs, "run", "runs"),
        ));
        let Counts { archived_runs, archived_leaves, purged_runs, purged_leaves, .. } = self.counts;
        if archived_runs + purged_runs > 0 {
            out.push_str(&format!(
                "  kept      {} in archives ({}), {} as tombstones ({})\n",
                counted(archived_runs, "run", "runs"),
                counted(archived_leaves, "leaf", "leaves"),
                counted(purged_runs, "run", "runs"),
                counted(purged_leaves, "leaf", "leaves"),
            ));
        }
        out.push_str(&format!("  trust     {}\n", self.trust));
        if !self.findings.list().is_empty() {
            out.push_str("\nFindings\n");
            out.push_str(&self.findings.to_text());
        }
        out.push_str("\nThis does not show\n");
        for line in self.does_not_show() {
            out.push_str(&format!("  {line}\n"));
        }
        out
    }
}
