//! The embedded store: one SQLite file, one writer thread in the process that holds the engine lock, any number of
//! readers in any process.

mod apply;
mod claim;
mod forge;
mod ledger;
mod ports;
mod read;
mod retention;
mod verify_state;
mod writer;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use runproof_engine::ports::StoreError;
use runproof_proof::event::Actor;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::Notary;
use crate::migrate::{self, MigrateError};
use writer::{Batch, Job, Writer};

pub use forge::forge_cost;
pub use verify_state::VerifyState;

/// How long a statement waits for a lock that another process holds.
const BUSY: Duration = Duration::from_secs(10);

/// Why the embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no database; only `init` and `demo` make one.
    #[error("there is no database at `{0}`")]
    Missing(PathBuf),
    /// SQLite refused.
    #[error("cannot open `{path}`: {source}")]
    Sqlite {
        /// Database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("cannot open `{path}`: {source}")]
    Io {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The schema is not at head.
    #[error("`{path}` has schema version {}, this program needs {}", .status.current.map_or("none".to_owned(), |current| current.to_string()), .status.head)]
    NotMigrated {
        /// Database file.
        path: PathBuf,
        /// Where it stands.
        status: migrate::Status,
    },
    /// The schema cannot be read or brought to head.
    #[error("`{path}`: {source}")]
    Migrate {
        /// Database file.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
    /// `init` has not finished: the ledger has no origin.
    #[error("`{0}` has no ledger")]
    NoLedger(PathBuf),
    /// Another process is the engine.
    #[error("another process is the engine of `{0}`")]
    Busy(PathBuf),
    /// The key is not the one that the ledger was made with.
    #[error("the log key is `{key}`, but the ledger was made with `{ledger}`")]
    OtherKey {
        /// Key of this process.
        key: String,
        /// Key of the ledger.
        ledger: String,
    },
    /// The database is older than the last checkpoint that was kept.
    #[error(
        "the database has {found} leaves, but a checkpoint of {kept} leaves was signed: it was rolled back or replaced"
    )]
    RolledBack {
        /// Leaves in the database.
        found: u64,
        /// Leaves in the kept checkpoint.
        kept: u64,
    },
    /// There is no rollback to acknowledge.
    #[error("the newest checkpoint that was kept is in the ledger: nothing was rolled back")]
    NotRolledBack,
    /// The ledger cannot be continued.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The embedded store.
pub struct SqliteStore {
    path: PathBuf,
    log: String,
    reader: Mutex<Connection>,
    engine: Option<Engine>,
    /// The last tenant whose runs a claim looked at.
    looked_at: Arc<Mutex<String>>,
}

/// What the writer has made durable since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commits {
    /// Transactions that held work.
    pub transactions: u64,
    /// Jobs in them: appends, claims and commands, the refused ones too.
    pub jobs: u64,
}

/// [`Commits`] while they are counted.
#[derive(Default)]
struct Counters {
    transactions: AtomicU64,
    jobs: AtomicU64,
}

/// What only the engine has: the queue to the writer, the writer, and the lock.
struct Engine {
    counters: Arc<Counters>,
    jobs: Option<Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
    _lock: Lock,
}

impl Drop for Engine {
    /// Lets the writer finish what it has taken, sign, and stop.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            // The writer panicked: what was acknowledged is durable, and the next start recovers the rest.
        }
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sqlite)?;
    connection.busy_timeout(BUSY).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Creates the database file if it is missing, and brings it to head.
///
/// # Errors
/// [`OpenError`].
pub fn create(path: &Path, now: &str) -> Result<migrate::Status, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // SQLite does not wait for another process that makes the same switch, whatever the timeout says.
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            switched => break switched.map_err(sqlite)?,
        }
    }
    migrate::apply(&mut connection, now).map_err(|source| OpenError::Migrate { path: path.to_owned(), source })
}

/// Where the database at `path` stands.
///
/// # Errors
/// [`OpenError`].
pub fn status(path: &Path) -> Result<migrate::Status, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let read = migrate::status(&connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
    read.map_err(|error| match error {
        // Nothing was migrated here: what SQLite said is about opening the file.
        MigrateError::Sqlite(source) => OpenError::Sqlite { path: path.to_owned(), source },
        MigrateError::Postgres(_) | MigrateError::Checksum(_) | MigrateError::Newer { .. } => {
            OpenError::Migrate { path: path.to_owned(), source: error }
        }
    })
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".engine-lock");
    PathBuf::from(name)
}

/// The lock on being the engine.
struct Lock(File);

impl Drop for Lock {
    /// Closing is not enough: a child that another thread forks holds the open file until it runs its own program.
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

/// Takes the lock on being the engine. Readers never need it.
fn lock(path: &Path) -> Result<Lock, OpenError> {
    let lock_path = lock_path(path);
    let io = |source| OpenError::Io { path: lock_path.clone(), source };
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Busy(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(io(error)),
    }
}

impl SqliteStore {
    /// Opens for reading, and for leaving requests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_reader(path: &Path) -> Result<Self, OpenError> {
        let status = status(path)?;
        if !status.is_head() {
            return Err(OpenError::NotMigrated { path: path.to_owned(), status });
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        let ledger = read::ledger(&reader)?.ok_or_else(|| OpenError::NoLedger(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            log: ledger.0,
            reader: Mutex::new(reader),
            engine: None,
            looked_at: Arc::default(),
        })
    }

    /// Opens as the engine: takes the lock, gives back the claims of the process before, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]; a database behind the last kept checkpoint is refused.
    pub fn open_engine(path: &Path, notary: Box<dyn Notary>) -> Result<Self, OpenError> {
        let mut store = Self::open_reader(path)?;
        let lock = lock(path)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
        // What takes back a statement stays in memory: a file for it would be written with every step.
        connection.pragma_update(None, "temp_store", "MEMORY").map_err(sqlite)?;
        // An erased value must not stay readable in a free page.
        connection.pragma_update(None, "secure_delete", "ON").map_err(sqlite)?;
        let writer = Writer::start(connection, &store.log, notary)?;
        let counters = Arc::clone(&writer.counters);
        let (jobs, queue) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let handle = thread.spawn(move || writer.run(&queue)).map_err(io)?;
        store.engine = Some(Engine { counters, jobs: Some(jobs), writer: Some(handle), _lock: lock });
        Ok(store)
    }

    /// Makes the ledger: its first event names the key. Called once, by `init`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn create_ledger(path: &Path, notary: Box<dyn Notary>, seed: [u8; 32]) -> Result<(), OpenError> {
        let lock = lock(path)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        writer::create_ledger(connection, notary, seed)?;
        drop(lock);
        Ok(())
    }

    /// Puts on record that the ledger goes on from a state that is older than what was signed. Whoever knows the newer
    /// head still sees that it was lost.
    ///
    /// # Errors
    /// [`OpenError::NotRolledBack`] when nothing was lost; the others when it cannot be recorded.
    pub fn acknowledge_rollback(
        path: &Path,
        notary: Box<dyn Notary>,
        actor: Actor,
        seed: [u8; 32],
    ) -> Result<(), OpenError> {
        let lock = lock(path)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        writer::acknowledge_rollback(connection, notary, actor, seed)?;
        drop(lock);
        Ok(())
    }

    /// Database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process is the engine.
    pub fn is_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// What this process has made durable; nothing when it is not the engine.
    pub fn commits(&self) -> Commits {
        let count = |of: fn(&Counters) -> &AtomicU64| {
            self.engine.as_ref().map_or(0, |engine| of(&engine.counters).load(Ordering::Relaxed))
        };
        Commits { transactions: count(|counters| &counters.transactions), jobs: count(|counters| &counters.jobs) }
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.reader.lock().map_err(|_| StoreError::Unavailable("a reader panicked".to_owned()))?;
        read(&connection)
    }

    /// Hands work to the writer; ends when the transaction that holds it is durable, or certainly is not. The work may
    /// be done more than once; only the last time counts.
    async fn submit<T, E>(&self, work: impl FnMut(&mut Batch<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let not_engine = || E::from(StoreError::Unavailable("this process is not the engine".to_owned()));
        let jobs = self.engine.as_ref().and_then(|engine| engine.jobs.as_ref()).ok_or_else(not_engine)?;
        let (reply, answer) = oneshot::channel();
        let gone = || E::from(StoreError::OutcomeUnknown("the writer stopped".to_owned()));
        jobs.send(Box::new(Submitted { work, result: None, reply })).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Work that somebody waits for.
struct Submitted<W, T, E> {
    work: W,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Submitted<W, T, E>
where
    W: FnMut(&mut Batch<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn write(&mut self, batch: &mut Batch<'_>) -> bool {
        self.result.insert((self.work)(batch)).is_ok()
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(E::from(error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(E::from(StoreError::Unavailable("no transaction could begin".to_owned()))),
        };
        if self.reply.send(result).is_err() {
            // Whoever asked is gone; what was written stays written, and the next load finds it.
        }
    }
}

/// What SQLite said, when nothing was written.
fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
