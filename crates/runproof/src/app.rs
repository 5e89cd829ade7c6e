//! The composition root: environment in, a home, a database and an engine out.

use std::env::VarError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runproof_engine::draft::Line;
use runproof_engine::driver::Driver;
use runproof_engine::ports::{Always, KeyValues, Observer};
use runproof_engine::run::Run;
use runproof_engine::skill::Skills;
use runproof_proof::event::{Actor, ActorType, Body, Event};
use runproof_skills::egress::Egress;
use runproof_skills::registry::{Options, Ports, builtin};
use runproof_store::sqlite::{OpenError, SqliteStore};

use crate::engine::Engine;
use crate::error::{AppError, Code};
use crate::home::Home;
use crate::output::Output;
use crate::runtime::{self, EnvSecrets, SystemClock, SystemEntropy};

/// Where things are, from the environment.
#[derive(Clone, Debug)]
pub struct App {
    /// `RUNPROOF_HOME`.
    pub home: Home,
    /// Database file, from `DATABASE_URL` or below the home.
    pub database: PathBuf,
    /// Whether the database was chosen by default.
    pub default_database: bool,
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
            None => folder.join("runproof.db"),
            Some(url) => sqlite_path(url)?,
        };
        if variable("USE_POSTGRES_TRACES")?.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
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
        Ok(Self { home: Home::at(folder), database, default_database: url.is_none(), egress, test_skills })
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
    pub fn reader(&self) -> Result<SqliteStore, AppError> {
        Ok(SqliteStore::open_reader(&self.database)?)
    }

    /// Opens the store as the engine. `None` when another process is the engine.
    ///
    /// # Errors
    /// [`AppError`] with the next command.
    pub fn engine(&self, output: Output) -> Result<Option<Engine>, AppError> {
        // The database first: "there is none" says more than "there is no key".
        drop(self.reader()?);
        let store = match SqliteStore::open_engine(&self.database, self.home.notary()?) {
            Ok(store) => Arc::new(store),
            Err(OpenError::Busy(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let driver = Driver {
            journal: Arc::clone(&store) as Arc<dyn runproof_engine::ports::Journal>,
            skills: self.skills(Arc::clone(&store) as Arc<dyn KeyValues>)?,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(EnvSecrets),
            lease: Arc::new(Always),
            observer: Arc::new(Progress { output }),
        };
        Ok(Some(Engine::new(store, driver, format!("worker-{}", runtime::new_id()))))
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Result<Option<String>, AppError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(AppError::new(Code::EnvironmentEncoding, format!("{name} is not valid UTF-8"))
                .hint(format!("set {name} again, or unset it")))
        }
    }
}

fn sqlite_path(url: &str) -> Result<PathBuf, AppError> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        let path = path.split('?').next().unwrap_or_default();
        if path.is_empty() {
            return Err(
                AppError::new(Code::DatabaseUrl, "DATABASE_URL names no file").hint("sqlite:///path/to/runproof.db")
            );
        }
        return Ok(PathBuf::from(path));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Err(AppError::new(
            Code::DatabaseUnsupported,
            "DATABASE_URL names a Postgres database, which this version has no store for; nothing was written elsewhere",
        )
        .hint("use sqlite://PATH, or unset DATABASE_URL for the embedded store"));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    Err(AppError::new(Code::DatabaseUrl, format!("DATABASE_URL has the scheme `{scheme}`, expected sqlite://PATH"))
        .hint("sqlite:///path/to/runproof.db, or unset DATABASE_URL for the embedded store"))
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
