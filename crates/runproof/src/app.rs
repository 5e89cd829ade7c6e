//! The composition root: environment in, a home, a database and an engine out.

pub mod postgres;

use std::env::VarError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runproof_engine::draft::Line;
use runproof_engine::driver::Driver;
use runproof_engine::ports::{Journal, KeyValues, Lease, Observer};
use runproof_engine::run::Run;
use runproof_engine::skill::Skills;
use runproof_proof::event::{Actor, ActorType, Body, Event};
use runproof_skills::egress::Egress;
use runproof_skills::registry::{Options, Ports, builtin};
use runproof_store::Store;
use runproof_store::sqlite::{OpenError, SqliteStore};

use crate::engine::Engine;
use crate::error::{AppError, Code};
use crate::home::Home;
use crate::output::Output;
use crate::runtime::{EnvSecrets, SystemClock, SystemEntropy};
use crate::worker::member::Member;
use postgres::Address;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A Postgres database, which many processes may work on.
    Postgres(Box<Address>),
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(address) => f.write_str(&address.place()),
        }
    }
}

/// Where things are, from the environment.
#[derive(Clone, Debug)]
pub struct App {
    /// `RUNPROOF_HOME`.
    pub home: Home,
    /// From `DATABASE_URL`, or a file below the home.
    pub database: Database,
    /// `RUNPROOF_EGRESS_ALLOW`.
    pub egress: Egress,
    /// `RUNPROOF_TEST_SKILLS=true`.
    pub test_skills: bool,
}

impl App {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`AppError`] names the variable that is wrong. Nothing is replaced by something else.
    pub fn from_environment() -> Result<Self, AppError> {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = match (path("RUNPROOF_HOME"), path("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(&home).join(".runproof"),
            (None, None) => {
                return Err(AppError::new(Code::HomeUnknown, "neither RUNPROOF_HOME nor HOME is set")
                    .hint("export RUNPROOF_HOME=/path/to/a/folder"));
            }
        };
        let url = variable("DATABASE_URL")?;
        let database = match &url {
            None => Database::Sqlite(folder.join("runproof.db")),
            Some(url) => database(url)?,
        };
        let postgres_asked = variable("USE_POSTGRES_TRACES")?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if postgres_asked && matches!(database, Database::Sqlite(_)) {
            return Err(AppError::new(
                Code::DatabaseContradiction,
                "USE_POSTGRES_TRACES=true, but the database is SQLite",
            )
            .hint("unset USE_POSTGRES_TRACES: the store is the one that DATABASE_URL names"));
        }
        let egress = Egress::parse(&variable("RUNPROOF_EGRESS_ALLOW")?.unwrap_or_default()).map_err(|error| {
            AppError::new(Code::EgressInvalid, format!("RUNPROOF_EGRESS_ALLOW: {error}"))
                .hint("a list of host, host:port or CIDR")
        })?;
        let test_skills = match variable("RUNPROOF_TEST_SKILLS")?.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(AppError::new(
                    Code::SkillsInvalid,
                    format!("RUNPROOF_TEST_SKILLS is `{other}`, expected true or false"),
                )
                .hint("leave it unset, except for tests"));
            }
        };
        Ok(Self { home: Home::at(folder), database, egress, test_skills })
    }

    /// The skills of this process, over a store's key-value space.
    ///
    /// # Errors
    /// [`AppError`] when a skill cannot be set up.
    pub fn skills(&self, key_values: Arc<dyn KeyValues>) -> Result<Skills, AppError> {
        let options = Options { egress: self.egress.clone(), test_skills: self.test_skills };
        let ports = Ports { key_values, clock: Arc::new(SystemClock) };
        builtin(&options, &ports).map_err(|error| {
            AppError::new(Code::SkillsSetup, format!("the skills cannot be set up: {error}"))
                .hint("see that the machine's certificates can be read")
        })
    }

    /// Opens the store for reading, and for leaving requests.
    ///
    /// # Errors
    /// [`AppError`] with the next command.
    pub async fn reader(&self) -> Result<Arc<dyn Store>, AppError> {
        match &self.database {
            Database::Sqlite(path) => Ok(Arc::new(SqliteStore::open_reader(path)?)),
            Database::Postgres(address) => postgres::reader(address).await,
        }
    }

    /// The same, for what is asked about one tenant, or about all.
    ///
    /// # Errors
    /// As [`App::reader`]; and when all are meant and the role of the database sees one at a time: it would see nothing,
    /// and that must not look like an empty database.
    pub async fn reader_of(&self, tenant: Option<&str>) -> Result<Arc<dyn Store>, AppError> {
        match (&self.database, tenant) {
            (Database::Postgres(address), None) => postgres::reader_of_all(address).await,
            (Database::Postgres(_) | Database::Sqlite(_), _) => self.reader().await,
        }
    }

    /// Opens the store as an engine. `None` when another process is the only one that may be.
    ///
    /// # Errors
    /// [`AppError`] with the next command.
    pub async fn engine(&self, output: Output) -> Result<Option<Engine>, AppError> {
        let mut remarks = Vec::new();
        let store: Arc<dyn Store> = match &self.database {
            Database::Sqlite(path) => {
                // The database first: "there is none" says more than "there is no key".
                drop(SqliteStore::open_reader(path)?);
                match SqliteStore::open_engine(path, self.home.notary()?) {
                    Ok(store) => Arc::new(store),
                    Err(OpenError::Busy(_)) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            Database::Postgres(address) => {
                let opened = postgres::engine(address, &self.home).await?;
                remarks = opened.remarks;
                opened.store
            }
        };
        let member = Member::new(Arc::clone(&store));
        let driver = Driver {
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            skills: self.skills(Arc::clone(&store) as Arc<dyn KeyValues>)?,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(EnvSecrets),
            lease: Arc::clone(&member) as Arc<dyn Lease>,
            observer: Arc::new(Progress { output }),
        };
        Ok(Some(Engine::new(store, driver, member).remarking(remarks).at_home(self.home.clone())))
    }
}

/// A variable that is set to something.
///
/// # Errors
/// [`AppError`] when it is no text.
pub fn variable(name: &str) -> Result<Option<String>, AppError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(AppError::new(Code::EnvironmentEncoding, format!("{name} is not valid UTF-8"))
                .hint(format!("set {name} again, or unset it")))
        }
    }
}

/// The database that a URL names.
pub(crate) fn database(url: &str) -> Result<Database, AppError> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        let path = path.split('?').next().unwrap_or_default();
        if path.is_empty() {
            return Err(
                AppError::new(Code::DatabaseUrl, "DATABASE_URL names no file").hint("sqlite:///path/to/runproof.db")
            );
        }
        return Ok(Database::Sqlite(PathBuf::from(path)));
    }
    if let Some(address) = postgres::address(url)? {
        return Ok(Database::Postgres(Box::new(address)));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    Err(AppError::new(
        Code::DatabaseUrl,
        format!("DATABASE_URL has the scheme `{scheme}`, expected sqlite://PATH or postgres://…"),
    )
    .hint("sqlite:///path/to/runproof.db, postgres://USER@HOST/DATABASE, or unset DATABASE_URL for the embedded store"))
}

/// The person at the command line.
pub fn local_actor() -> Actor {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    match user.filter(|user| runproof_proof::event::is_id(user)) {
        Some(user) => Actor { authenticated_by: "local_user".to_owned(), id: Some(user), actor_type: ActorType::Human },
        None => Actor { authenticated_by: "none".to_owned(), id: None, actor_type: ActorType::System },
    }
}

/// Shows what is written, to people who asked for it.
struct Progress {
    output: Output,
}

impl Observer for Progress {
    fn committed(&self, run: &Run, lines: &[Line]) {
        if !self.output.verbose && !self.output.progress() {
            return;
        }
        for event in lines.iter().filter_map(|line| Event::decode(&line.bytes).ok()) {
            self.output.detail(&format!("run {}  {:>4}  {}", run.id, event.seq, event.body.kind()));
            if let Body::StepSettled(step) = &event.body
                && !self.output.verbose
            {
                let total = run.plan.as_ref().map_or(0, |plan| plan.steps.len());
                let word = step.code.as_deref().unwrap_or(&step.category);
                let place = step.plan_index + 1;
                self.output.note(&format!("[{place}/{total}] {} {} ({word})", step.step_id, step.status));
            }
        }
    }
}
