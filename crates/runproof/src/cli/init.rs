//! `init`: makes the home, the log key and the ledger; of the embedded store also the file with its schema.

use clap::Args;
use runproof_engine::projection::rfc3339;
use runproof_store::Store;
use runproof_store::postgres::check_protections;
use runproof_store::sqlite::{self, OpenError, SqliteStore};
use serde_json::json;

use crate::app::{App, Database, postgres};
use crate::error::{AppError, Code};
use crate::output::{Output, shown};
use crate::runtime;

/// Makes the home, the log key and the database. Safe to repeat: what is there stays.
#[derive(Args)]
pub(super) struct Init {
    /// Name of the log in checkpoints, such as example.com/agents (default: a random local name)
    #[arg(long)]
    origin: Option<String>,
}

impl Init {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let made = initialise(&app, self.origin.as_deref()).await?;
        if let Database::Postgres(address) = &app.database {
            for remark in postgres::given_up(&check_protections(address).await?.given_up) {
                output.note(&format!("note: {remark}"));
            }
        }
        let verifier = app.home.signer()?.verifier();
        let value = json!({
            "home": shown(app.home.folder()), "database": app.database.to_string(), "origin": verifier.name(), "vkey": verifier.vkey(),
            "trust": shown(&app.home.trust_path()), "created": made,
        });
        output.print(&value, || {
            let word = if made { "initialised" } else { "already initialised" };
            format!(
                "{word}\n  home      {}\n  database  {}\n  log       {}\n  key       {}\n\nGive the key to whoever verifies your runs.\nnext: runproof create-tenant --id NAME\n",
                app.home.folder().display(), app.database, verifier.name(), verifier.vkey()
            )
        });
        Ok(0)
    }
}

/// Makes everything that is missing.
pub(super) async fn initialise(app: &App, origin: Option<&str>) -> Result<bool, AppError> {
    let random = data_encoding::HEXLOWER.encode(&runtime::random()[..8]);
    let origin = origin.map_or_else(|| format!("runproof.local/{random}"), str::to_owned);
    let path = match &app.database {
        Database::Sqlite(path) => path,
        Database::Postgres(address) => return postgres::initialise(address, &app.home, &origin).await,
    };
    let ledger = match SqliteStore::open_reader(path) {
        Ok(store) => store.ledger_key().await?,
        Err(OpenError::Missing(_) | OpenError::NoLedger(_)) => None,
        Err(OpenError::NotMigrated { status, .. }) if status.current.is_none() => None,
        Err(error) => return Err(error.into()),
    };
    app.home.check_ledger(ledger, &app.database)?;
    let made = app.home.create(&origin)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| {
            AppError::new(Code::StoreUnavailable, format!("cannot create `{}`: {error}", parent.display()))
                .hint("check the path, the permissions and the disk")
        })?;
    }
    sqlite::create(path, &rfc3339(runtime::now()))?;
    SqliteStore::create_ledger(path, app.home.notary()?, runtime::random())?;
    Ok(made)
}
