//! `key show` and `log checkpoint`.

use clap::Subcommand;
use runproof_store::Store;
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
}

impl Log {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let Self::Checkpoint = self;
        let app = App::from_environment()?;
        let note = app.reader()?.checkpoint().await?;
        let note = note.ok_or_else(|| {
            AppError::new(
                Code::LogUnsigned,
                format!("no checkpoint has been signed yet in `{}`", app.database.display()),
            )
            .hint("runproof worker --drain")
        })?;
        output.print(&json!({ "checkpoint": note }), || note.clone());
        Ok(0)
    }
}
