//! `key show` and `log …`: the ledger's key, its newest head, proofs from it, and all of it verified.

mod proofs;
mod rollback;
mod whole;

use clap::Subcommand;
use serde_json::json;

use crate::app::App;
use crate::error::{AppError, Code};
use crate::output::{Output, shown};

/// The log's key.
#[derive(Subcommand)]
pub(super) enum Key {
    /// Print the verification key, for whoever verifies your runs
    Show,
}

impl Key {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let Self::Show = self;
        let app = App::from_environment()?;
        let verifier = app.home.signer()?.verifier();
        let value = json!({ "vkey": verifier.vkey(), "origin": verifier.name(), "key_id": verifier.key_id(), "trust": shown(&app.home.trust_path()) });
        output.print(&value, || format!("{}\n", verifier.vkey()));
        Ok(0)
    }
}

/// The ledger.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Print the newest signed checkpoint; whoever keeps it can later tell a rollback
    Checkpoint,
    /// Verify all of it: leaves, tree, checkpoints, streams, and the rows of every run
    Verify(whole::Verify),
    /// Prove that the log holds an event of a run, as a C2SP tlog-proof file
    Inclusion(proofs::Inclusion),
    /// Check a tlog-proof file offline, with a key that you got elsewhere
    Check(proofs::Check),
    /// Check that the log grew from an older state that you hold
    Consistency(proofs::Consistency),
    /// Go on from a database that is older than what was signed, and put that on record
    AcknowledgeRollback(rollback::AcknowledgeRollback),
}

impl Log {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        match self {
            Self::Checkpoint => checkpoint(output).await,
            Self::Verify(command) => command.run(output).await,
            Self::Inclusion(command) => command.run(output).await,
            Self::Check(command) => command.run(output),
            Self::Consistency(command) => command.run(output).await,
            Self::AcknowledgeRollback(command) => command.run(output).await,
        }
    }
}

async fn checkpoint(output: Output) -> Result<u8, AppError> {
    let app = App::from_environment()?;
    let note = app.reader().await?.checkpoint().await?.ok_or_else(unsigned)?;
    output.print(&json!({ "checkpoint": note }), || note.clone());
    Ok(0)
}

fn unsigned() -> AppError {
    AppError::new(Code::LogUnsigned, "no checkpoint has been signed yet").hint("runproof worker --drain")
}
