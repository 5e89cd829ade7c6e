//! `migrate`: brings a database to the schema of this version, and shows where it stands.

mod gate;

use std::path::Path;

use clap::Args;
use runproof_engine::projection::rfc3339;
use runproof_store::migrate::{Migration, SQLITE, Status};
use runproof_store::postgres::protections::Protections;
use runproof_store::{postgres, sqlite};
use serde_json::{Value, json};

use crate::app::postgres::Address;
use crate::app::{App, Database, variable};
use crate::error::AppError;
use crate::output::Output;
use crate::runtime;
use gate::{Gate, no_database};

/// Brings the database to the schema of this version. Only this command changes a schema.
#[derive(Args)]
pub(super) struct Migrate {
    /// Only print the version of the database and of this program; exit 0 when they are equal
    #[arg(long)]
    status: bool,
    /// Only print what would be applied; with -v also the SQL
    #[arg(long, conflicts_with = "status")]
    dry_run: bool,
}

impl Migrate {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let place = app.database.to_string();
        match (&app.database, self.status, self.dry_run) {
            (Database::Sqlite(path), true, _) => Ok(print_status(output, &place, &sqlite::status(path)?, None)),
            (Database::Postgres(address), true, _) => {
                let (status, found) = (postgres::status(address).await?, postgres::check_protections(address).await?);
                Ok(print_status(output, &place, &status, Some(&found)))
            }
            (Database::Sqlite(path), false, true) => {
                let status = sqlite::status(path)?;
                let missing: Vec<_> = SQLITE.iter().filter(|migration| Some(migration.0) > status.current).collect();
                print_missing(output, &place, &missing);
                Ok(0)
            }
            (Database::Postgres(address), false, true) => {
                print_missing(output, &place, &postgres::missing(address).await?);
                Ok(0)
            }
            (Database::Sqlite(path), false, false) => {
                let status = apply_to_file(path)?;
                Ok(print_status(output, &place, &status, None))
            }
            (Database::Postgres(address), false, false) => {
                let status = apply_to_server(address, output).await?;
                Ok(print_status(output, &place, &status, None))
            }
        }
    }
}

/// A file has no gate: whoever may write to it may also replace it.
fn apply_to_file(path: &Path) -> Result<Status, AppError> {
    if variable("DATABASE_URL")?.is_none() && variable("DB_ROLE")?.is_some() {
        // Whoever names a role means a server: the embedded store must not stand in for it.
        Gate::from_environment()?;
        return Err(no_database());
    }
    sqlite::status(path)?;
    Ok(sqlite::create(path, &rfc3339(runtime::now()))?)
}

async fn apply_to_server(address: &Address, output: Output) -> Result<Status, AppError> {
    let gate = Gate::from_environment()?;
    let status = postgres::status(address).await?;
    output.note(&format!(
        "migrating {}\n  role       {}\n  authority  {}\n  current    {}\n  head       {}",
        address.place(),
        gate.role(),
        crate::output::harmless(gate.authority()),
        version(status.current),
        version(Some(status.head)),
    ));
    for warning in address.hosts().iter().filter_map(|host| gate.warning(host)) {
        output.note(&format!("warning: {warning}"));
    }
    Ok(postgres::create(address, &rfc3339(runtime::now())).await?)
}

fn version(version: Option<u32>) -> String {
    version.map_or("none".to_owned(), |version| format!("{version:04}"))
}

/// Prints where a database stands. Answers the exit code: 0 only at head.
fn print_status(output: Output, place: &str, status: &Status, found: Option<&Protections>) -> u8 {
    let (current, head) = (version(status.current), version(Some(status.head)));
    let mut value = json!({ "current": current, "head": head, "at_head": status.is_head(), "database": place });
    let mut text = format!("database {place}\ncurrent  {current}\nhead     {head}\n");
    if let Some(Protections { missing, given_up, role }) = found {
        value["role"] = json!(role.name);
        value["given_up"] = json!(given_up);
        text.push_str(&lines("given up", given_up));
        if status.is_head() {
            value["missing"] = json!(missing);
            text.push_str(&lines("missing ", missing));
        }
    }
    output.print(&value, || text);
    match status.current {
        Some(current) if current > status.head => {
            output.note("hint: use the version of runproof that migrated it");
        }
        Some(_) | None if !status.is_head() => output.note("hint: runproof migrate"),
        Some(_) | None => {}
    }
    if status.is_head() { 0 } else { 8 }
}

fn lines(head: &str, sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("{head} {sentence}\n")).collect()
}

fn print_missing(output: Output, place: &str, missing: &[&Migration]) {
    let shown: Vec<Value> = missing
        .iter()
        .map(|(number, name, sql)| {
            let mut migration = json!({ "version": version(Some(*number)), "name": name });
            if output.verbose {
                migration["sql"] = json!(sql);
            }
            migration
        })
        .collect();
    output.print(&json!({ "database": place, "would_apply": shown }), || {
        let mut text = format!("database {place}\n");
        if missing.is_empty() {
            text.push_str("nothing to apply\n");
        }
        for (number, name, sql) in missing {
            text.push_str(&format!("would apply {}_{name}\n", version(Some(*number))));
            if output.verbose {
                text.push_str(&format!("\n{sql}\n"));
            }
        }
        text
    });
}
