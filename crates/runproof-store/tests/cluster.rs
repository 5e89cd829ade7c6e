//! The Postgres and the PgBouncer that tests run against: those that the environment names, or an own pair for a test
//! that stops, fills or breaks them. Holds no test, because more than one crate uses it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use tempfile::TempDir;
use tokio_postgres::{Client, Config, Error, NoTls};

const POSTGRES: &str = "RUNPROOF_TEST_POSTGRES";
const PGBOUNCER: &str = "RUNPROOF_TEST_PGBOUNCER";

/// Where Postgres itself serves `database`.
pub(crate) fn direct_url(database: &str) -> String {
    format!("{}/{database}", given(POSTGRES))
}

/// Where PgBouncer serves `database`.
pub(crate) fn pooled_url(database: &str) -> String {
    format!("{}/{database}", given(PGBOUNCER))
}

fn given(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("`{variable}` is not set; run `scripts/test`, or `scripts/postgres start DIR` and then `. DIR/env`")
    })
}

/// A session of the URL. Whoever uses it learns of its end: every statement fails from then on.
pub(crate) async fn connect(url: &str) -> Result<Client, Error> {
    let mut config: Config = url.parse()?;
    let (client, connection) = config.connect_timeout(Duration::from_secs(30)).connect(NoTls).await?;
    drop(tokio::spawn(connection));
    Ok(client)
}

/// A database of one test. It goes when this is dropped, whoever is connected to it.
pub(crate) struct Database {
    /// Its name, which no other database has.
    pub(crate) name: String,
}

/// Makes an empty database.
pub(crate) fn fresh_database() -> Database {
    let name = format!("t_{:016x}", RandomState::new().build_hasher().finish());
    execute(&format!("CREATE DATABASE {name}"));
    Database { name }
}

/// Makes a copy of a database that nobody is connected to.
pub(crate) fn copy_of(template: &str) -> Database {
    let name = format!("t_{:016x}", RandomState::new().build_hasher().finish());
    execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
    Database { name }
}

impl Database {
    /// Where Postgres itself serves it.
    pub(crate) fn direct_url(&self) -> String {
        direct_url(&self.name)
    }

    /// Where PgBouncer serves it.
    pub(crate) fn pooled_url(&self) -> String {
        pooled_url(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// Carries out a statement that is not for one database. On a thread of its own, because the caller may be a future.
fn execute(statement: &str) {
    let url = direct_url("postgres");
    let carry_out = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let all = async { connect(&url).await?.batch_execute(statement).await };
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), all).await })
    };
    let ended = thread::scope(|scope| scope.spawn(carry_out).join());
    // A second panic would end the process, and hide the first.
    if !thread::panicking() {
        ended
            .expect("no panic")
            .expect("an answer within a minute")
            .unwrap_or_else(|error| panic!("`{statement}`: {error}"));
    }
}

/// A Postgres and a PgBouncer of one test. Both end when this is dropped. Database `runproof` is there, and empty.
pub(crate) struct Own {
    directory: TempDir,
    direct: String,
    pooled: String,
}

impl Own {
    /// Starts both, with options of `scripts/postgres start`.
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the cluster");
        script("start", directory.path(), options);
        let settings = fs::read_to_string(directory.path().join("env")).expect("the file with the URLs");
        let url = |variable: &str| {
            let prefix = format!("export {variable}=");
            settings.lines().find_map(|line| line.strip_prefix(&prefix)).expect("a URL for each server").to_owned()
        };
        Self { direct: url(POSTGRES), pooled: url(PGBOUNCER), directory }
    }

    /// Where Postgres itself serves `database`.
    pub(crate) fn direct_url(&self, database: &str) -> String {
        format!("{}/{database}", self.direct)
    }

    /// Where PgBouncer serves `database`.
    pub(crate) fn pooled_url(&self, database: &str) -> String {
        format!("{}/{database}", self.pooled)
    }

    /// Ends Postgres in good order: sessions are told, and everything is on disk.
    pub(crate) fn stop_postgres(&self) {
        self.run("stop-postgres", &[]);
    }

    /// Ends Postgres at once, as a crash would: the next start recovers.
    pub(crate) fn kill_postgres(&self) {
        self.run("stop-postgres", &["--immediate"]);
    }

    /// Starts Postgres again, where it was.
    pub(crate) fn start_postgres(&self) {
        self.run("start-postgres", &[]);
    }

    /// Ends Postgres in good order and starts it again.
    pub(crate) fn restart_postgres(&self) {
        self.run("restart", &[]);
    }

    /// Ends PgBouncer, and with it what its clients had open.
    pub(crate) fn stop_pooler(&self) {
        self.run("stop-pooler", &[]);
    }

    /// Kills PgBouncer.
    pub(crate) fn kill_pooler(&self) {
        self.run("stop-pooler", &["--immediate"]);
    }

    /// Starts PgBouncer again, where it was.
    pub(crate) fn start_pooler(&self) {
        self.run("start-pooler", &[]);
    }

    /// Ends PgBouncer and starts it again.
    pub(crate) fn restart_pooler(&self) {
        self.stop_pooler();
        self.start_pooler();
    }

    fn run(&self, verb: &str, options: &[&str]) {
        script(verb, self.directory.path(), options);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.run("stop", &["--immediate"]);
    }
}

fn script(verb: &str, directory: &Path, options: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres");
    let output =
        Command::new(path).arg(verb).arg(directory).args(options).output().expect("scripts/postgres can be run");
    // A second panic would end the process, and hide the first.
    if !thread::panicking() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
