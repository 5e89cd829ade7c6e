//! `log acknowledge-rollback`: goes on from an older database, and says so for ever.

use clap::Args;
use runproof_store::postgres;
use runproof_store::sqlite::SqliteStore;
use serde_json::json;

use crate::app::{App, Database, local_actor};
use crate::error::{AppError, Code};
use crate::output::Output;
use crate::runtime;

/// Puts on record that the newest signed state is lost, and goes on from what there is. Whoever holds a newer head sees
/// `ROLLED_BACK` or `FORKED` from then on: that stays true.
#[derive(Args)]
pub(in crate::cli) struct AcknowledgeRollback {
    /// Leaves of the lost state, as the refusal names them: shows that you know what is given up
    #[arg(long, value_name = "LEAVES")]
    lost_size: u64,
}

impl AcknowledgeRollback {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let notary = app.home.notary()?;
        let kept = notary.last().map(|kept| kept.size);
        if kept != Some(self.lost_size) {
            let newest = kept.map_or("none".to_owned(), |size| format!("one of {size} leaves"));
            let message = format!("the newest checkpoint that was kept here is {newest}, not {}", self.lost_size);
            return Err(AppError::new(Code::UsageArgument, message)
                .hint("`runproof worker` names the lost state when it refuses to start"));
        }
        match &app.database {
            Database::Sqlite(path) => {
                SqliteStore::acknowledge_rollback(path, notary, local_actor(), runtime::random())?;
            }
            Database::Postgres(address) => {
                postgres::acknowledge_rollback(address, notary, local_actor(), runtime::random()).await?;
            }
        }
        let size = app.reader().await?.tree_size().await?;
        output.print(&json!({ "lost_size": self.lost_size, "tree_size": size }), || {
            format!(
                "recorded that the state of {} leaves is lost; the ledger has {size} leaves and goes on\n\
                 next: tell whoever holds a newer head, and give them the new one: runproof log checkpoint\n",
                self.lost_size
            )
        });
        Ok(0)
    }
}
