//! `log inclusion`, `log check` and `log consistency`: proofs that others can check, made and checked.

use std::path::{Path, PathBuf};

use clap::Args;
use runproof_proof::bundle;
use runproof_proof::canonical;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::trust::Trust;
use runproof_store::Snapshot;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::super::verify::{TrustArgs, read_file, trust_from_environment};
use super::unsigned;
use crate::app::App;
use crate::engine::no_run;
use crate::error::{AppError, Code};
use crate::ledger::proofs::{self, Asked, State};
use crate::ledger::report::Findings;
use crate::output::Output;

/// Longest files that are read: a proof, a checkpoint, an event with its newline, a consistency proof.
const MAX_PROOF: usize = 128 * 1024;
const MAX_NOTE: usize = 64 * 1024;
const MAX_EVENT: usize = 16 * 1024 + 1;
const MAX_CONSISTENCY: usize = 16 * 1024;

/// Proves that the log holds an event of a run, against the newest checkpoint.
#[derive(Args)]
pub(in crate::cli) struct Inclusion {
    /// Run id
    run_id: String,
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Which event of the run (default: the last, which is the seal once the run is over)
    #[arg(long)]
    seq: Option<u64>,
    /// Write the proof to this file (default: print it)
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write the event to this file, so that somebody else can hash it
    #[arg(long)]
    event_out: Option<PathBuf>,
}

impl Inclusion {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = App::from_environment()?.reader().await?;
        let asked = block_in_place(|| {
            let snapshot = store.snapshot()?;
            proofs::inclusion(snapshot.as_ref(), &self.tenant_id, &self.run_id, self.seq)
        })?;
        let made = match asked {
            Asked::Made(made) => made,
            Asked::NoEvent => return Err(self.no_event()),
            Asked::Unsigned => {
                let message = "no signed checkpoint covers the event yet, nothing was written";
                return Err(AppError::new(Code::InclusionUnsigned, message).hint("try again in a moment"));
            }
        };
        let text = made.proof.encode();
        let verdict = made.findings.verdict();
        if verdict.exit_code() != 0 {
            // A proof that leads nowhere helps nobody; the finding says what is wrong here.
            print(output, &made.findings, json!({}), "the tiles do not lead from this event to the checkpoint");
            return Ok(verdict.exit_code());
        }
        if let Some(path) = &self.event_out {
            write(path, made.bytes.as_bytes())?;
        }
        if let Some(path) = &self.out {
            write(path, text.as_bytes())?;
        }
        let value = json!({
            "proof": text, "leaf": made.leaf, "index": made.proof.index, "run_id": self.run_id,
            "seq": made.event.seq, "kind": made.event.body.kind(), "event": made.bytes, "out": self.out,
        });
        output.note(&format!("event {} ({}) has the leaf hash {}", made.event.seq, made.event.body.kind(), made.leaf));
        output.print(&value, || match &self.out {
            Some(path) => format!("runproof log check {} --leaf {} --key VKEY\n", path.display(), made.leaf),
            None => text.clone(),
        });
        Ok(0)
    }

    fn no_event(&self) -> AppError {
        match self.seq {
            None => no_run(&self.tenant_id, &self.run_id),
            Some(seq) => {
                let message = format!("tenant `{}` has no run `{}` with an event {seq}", self.tenant_id, self.run_id);
                AppError::new(Code::EventMissing, message).hint("runproof list-runs")
            }
        }
    }
}

/// Checks a tlog-proof file offline.
#[derive(Args)]
pub(in crate::cli) struct Check {
    /// Proof file
    file: PathBuf,
    /// Leaf hash of the event, in hex
    #[arg(long, required_unless_present = "event", conflicts_with = "event")]
    leaf: Option<String>,
    /// File that holds the event, byte for byte; a newline at its end does not count
    #[arg(long)]
    event: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Check {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let trust = self.trust.read(trust_from_environment)?;
        let leaf = self.leaf()?;
        let checked = proofs::check_inclusion(&read_file(&self.file, MAX_PROOF)?, &leaf, &trust);
        let said = checked.said.as_ref();
        let more = json!({
            "leaf": leaf, "index": said.map(|(index, _)| index), "log": said.map(|(_, checkpoint)| &checkpoint.origin),
            "tree_size": said.map(|(_, checkpoint)| checkpoint.size),
            "root": said.map(|(_, checkpoint)| checkpoint.root),
        });
        let what = match said {
            Some((index, checkpoint)) => {
                format!("{}: leaf {index} of {} is {leaf}", checkpoint.origin, checkpoint.size)
            }
            None => "this is no tlog-proof file".to_owned(),
        };
        print(output, &checked.findings, more, &what);
        Ok(checked.findings.verdict().exit_code())
    }

    fn leaf(&self) -> Result<Hash, AppError> {
        match (&self.leaf, &self.event) {
            (Some(text), _) => Hash::from_hex(text)
                .ok_or_else(|| AppError::new(Code::LeafInvalid, "--leaf is not 64 lower-case hexadecimal digits")),
            (None, Some(path)) => {
                let bytes = read_file(path, MAX_EVENT)?;
                Ok(leaf(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
            }
            (None, None) => Err(AppError::new(Code::LeafMissing, "give --leaf or --event")),
        }
    }
}

/// Checks that the log grew from an older state.
#[derive(Args)]
pub(in crate::cli) struct Consistency {
    /// The checkpoint that you hold: a signed note, as `log checkpoint` prints it
    #[arg(required_unless_present = "size", conflicts_with = "size")]
    old: Option<PathBuf>,
    /// The checkpoint that should extend it (default: the newest of the database)
    new: Option<PathBuf>,
    /// Size of the older state, instead of a file
    #[arg(long, requires = "root")]
    size: Option<u64>,
    /// Root of the older state, in hex
    #[arg(long, requires = "size")]
    root: Option<String>,
    /// Take the proof from this file instead of the database: nothing else is read
    #[arg(long, requires = "new")]
    proof: Option<PathBuf>,
    /// Write the proof to this file
    #[arg(long, conflicts_with = "proof")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Consistency {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let (trust, new, proof) = match &self.proof {
            Some(path) => {
                let new = checkpoint_file(self.new.as_deref().unwrap_or(Path::new("")))?;
                (self.trust.read(trust_from_environment)?, new, read_consistency(path)?)
            }
            None => self.with_database().await?,
        };
        let old = self.old(&new.checkpoint)?;
        let proof = proof.filter(|proof| proof.since == old.checkpoint.size);
        let findings = proofs::check_consistency(&old, &new, proof.as_ref(), &trust);
        if let (Some(path), Some(proof)) = (&self.out, &proof) {
            let bytes = canonical::to_bytes(&json!(proof))
                .map_err(|error| AppError::new(Code::EngineFault, error.to_string()))?;
            write(path, &[bytes, vec![b'\n']].concat())?;
        }
        let (before, after) = (&old.checkpoint, &new.checkpoint);
        let side = |checkpoint: &Checkpoint| json!({ "tree_size": checkpoint.size, "root": checkpoint.root });
        let more = json!({ "log": after.origin, "old": side(before), "new": side(after), "proof": proof });
        print(output, &findings, more, &format!("{}: from {} to {} leaves", after.origin, before.size, after.size));
        Ok(findings.verdict().exit_code())
    }

    /// Trust, the newer state and the proof, as the database has them.
    async fn with_database(&self) -> Result<(Trust, State, Option<bundle::Consistency>), AppError> {
        let app = App::from_environment()?;
        let trust = self.trust.read(|| app.home.trust())?;
        let store = app.reader().await?;
        block_in_place(|| self.read_snapshot(trust, store.snapshot()?.as_ref()))
    }

    fn read_snapshot(
        &self,
        trust: Trust,
        snapshot: &dyn Snapshot,
    ) -> Result<(Trust, State, Option<bundle::Consistency>), AppError> {
        let new = match &self.new {
            Some(path) => checkpoint_file(path)?,
            None => {
                let (_, note, checkpoint) = proofs::newest(snapshot)?.ok_or_else(unsigned)?;
                State { checkpoint, note: Some(note) }
            }
        };
        let since = self.old(&new.checkpoint)?.checkpoint.size;
        let proof = proofs::consistency(snapshot, since, new.checkpoint.size);
        Ok((trust, new, proof))
    }

    /// The older state; where only size and root are known, it is one of the same log.
    fn old(&self, new: &Checkpoint) -> Result<State, AppError> {
        let (Some(size), Some(root)) = (self.size, &self.root) else {
            return checkpoint_file(self.old.as_deref().unwrap_or(Path::new("")));
        };
        let root = Hash::from_hex(root)
            .ok_or_else(|| AppError::new(Code::RootInvalid, "--root is not 64 lower-case hexadecimal digits"))?;
        Ok(State { checkpoint: Checkpoint { origin: new.origin.clone(), size, root }, note: None })
    }
}

fn checkpoint_file(path: &Path) -> Result<State, AppError> {
    let bytes = read_file(path, MAX_NOTE)?;
    let (note, checkpoint) = proofs::read_checkpoint(&bytes).map_err(|error| {
        AppError::new(Code::CheckpointInvalid, format!("`{}`: {error}", path.display()))
            .hint("a signed checkpoint, as `runproof log checkpoint` prints it")
    })?;
    Ok(State { checkpoint, note: Some(note) })
}

/// A consistency proof, spelled the one allowed way.
fn read_consistency(path: &Path) -> Result<Option<bundle::Consistency>, AppError> {
    let bytes = read_file(path, MAX_CONSISTENCY)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let read: Option<bundle::Consistency> = serde_json::from_slice(line).ok();
    let same = |proof: &bundle::Consistency| canonical::to_bytes(&json!(proof)).is_ok_and(|bytes| bytes == line);
    let invalid = || AppError::new(Code::ProofInvalid, format!("`{}` holds no consistency proof", path.display()));
    read.filter(same).map(Some).ok_or_else(invalid)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AppError> {
    std::fs::write(path, bytes)
        .map_err(|error| AppError::new(Code::FileUnwritable, format!("cannot write `{}`: {error}", path.display())))
}

/// Prints the verdict, what it is about, and what was found.
fn print(output: Output, findings: &Findings, more: Value, what: &str) {
    let mut value = findings.to_json();
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    let word = findings.verdict().word();
    output.print(&value, || format!("{word}  {}\n{}", runproof_proof::finding::printable(what), findings.to_text()));
}
