//! `init` and `migrate`: the only commands that make or change a schema.

use std::path::Path;

use clap::Args;
use runproof_engine::projection::rfc3339;
use runproof_store::Store;
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
    check_ledger(app, path).await?;
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

/// One key signs one history: a home that has signed does not begin another one, and a database keeps its key.
async fn check_ledger(app: &App, path: &Path) -> Result<(), AppError> {
    let ledger = match SqliteStore::open_reader(path) {
        Ok(store) => store.ledger_key().await?,
        Err(OpenError::Missing(_) | OpenError::NoLedger(_)) => None,
        Err(OpenError::NotMigrated { status, .. }) if status.current.is_none() => None,
        Err(error) => return Err(error.into()),
    };
    let Some(ledger) = ledger else {
        if !app.home.checkpoint_path().exists() {
            return Ok(());
        }
        let message = format!(
            "`{}` has signed a ledger that is not in `{}`, nothing was made",
            app.home.folder().display(),
            path.display()
        );
        return Err(AppError::new(Code::InitLedgerMissing, message)
            .hint("put the database back, or begin anew in another RUNPROOF_HOME"));
    };
    let key =
        app.home.key_path().exists().then(|| app.home.signer()).transpose()?.map(|signer| signer.verifier().vkey());
    match key {
        Some(key) if key == ledger => Ok(()),
        key => Err(OpenError::OtherKey { key: key.unwrap_or("missing".to_owned()), ledger }.into()),
    }
}

/// Brings the database to the schema of this version.
#[derive(Args)]
pub(super) struct Migrate {
    /// Only print the version of the database and of this program
    #[arg(long)]
    status: bool,
}

impl Migrate {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let status = match &app.database {
            Database::Sqlite(path) => {
                let status = sqlite::status(path)?;
                if self.status { status } else { sqlite::create(path, &rfc3339(runtime::now()))? }
            }
            Database::Postgres(address) => postgres::schema(address, !self.status).await?,
        };
        let current = status.current.map_or("none".to_owned(), |current| format!("{current:04}"));
        let value = json!({ "current": current, "head": format!("{:04}", status.head), "at_head": status.is_head(), "database": app.database.to_string() });
        output.print(&value, || format!("current {current}\nhead    {:04}\n", status.head));
        if !status.is_head() {
            output.note("hint: runproof migrate");
        }
        Ok(if status.is_head() { 0 } else { 8 })
    }
}
