//! The writer thread: takes whatever is ready, commits it together, acknowledges after the commit, then signs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use runproof_engine::admission::{StreamHead, engine};
use runproof_engine::draft::{Committer, Line};
use runproof_engine::ports::StoreError;
use runproof_engine::projection::rfc3339;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{Actor, LogCreated, LogRollbackAcknowledged, Stream};
use rusqlite::Connection;

use super::{Counters, OpenError, read, unavailable};
use crate::{Notary, Tree};

/// Most jobs in one transaction.
const MAX_BATCH: usize = 256;
/// How long the writer waits for more work before it signs what is not signed.
const SIGN_AFTER: Duration = Duration::from_millis(20);
/// Under load a checkpoint is signed once in this time: signing syncs the disk more often than a transaction does.
const SIGN_EVERY: Duration = Duration::from_millis(200);

/// Work for the writer.
pub(super) trait Job: Send {
    /// Writes, and says whether it is to be kept. Called again, from the state before, when the transaction has to be
    /// done anew.
    fn write(&mut self, batch: &mut Batch<'_>) -> bool;
    /// Told once, whether the transaction that held the job is durable.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// The transaction that jobs write to.
pub(super) struct Batch<'a> {
    /// Connection, inside a transaction.
    pub(super) connection: &'a Connection,
    /// Origin of the log.
    pub(super) log: &'a str,
    /// Whether a run was sealed: its checkpoint is wanted at once.
    pub(super) sealed: bool,
    tree: &'a mut Tree,
}

impl Batch<'_> {
    /// Leaf index that the next event gets.
    pub(super) fn next_leaf(&self) -> u64 {
        self.tree.size()
    }

    /// Appends what commits together in one stream, and gives it its place in the ledger.
    pub(super) fn transition(
        &mut self,
        tenant: &str,
        stream: &Stream,
        first_seq: u64,
        lines: &[Line],
    ) -> Result<(), StoreError> {
        let first_leaf = self.tree.size();
        let (mut events, mut payloads) = (Vec::new(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                events.push(b'\n');
                payloads.push(b'\n');
            }
            events.extend_from_slice(&line.bytes);
            payloads.extend_from_slice(line.payload.as_deref().unwrap_or_default());
            self.tree.push(line.leaf);
        }
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| StoreError::Unavailable(error.to_string()));
        let mut statement = self
            .connection
            .prepare_cached(include_str!("../../sql/sqlite/insert_transition.sql"))
            .map_err(unavailable)?;
        statement
            .execute((first_leaf, tenant, stream.name(), first_seq, lines.len(), text(events)?, text(payloads)?))
            .map_err(unavailable)?;
        Ok(())
    }
}

/// Everything that the thread owns.
pub(super) struct Writer {
    connection: Connection,
    log: String,
    tree: Tree,
    notary: Box<dyn Notary>,
    /// Size of the newest signed checkpoint, and when this process signed it.
    signed: (u64, Option<Instant>),
    /// When the oldest leaf that is not signed was written.
    unsigned_since: Option<Instant>,
    /// Signing stopped, and why.
    mute: Option<String>,
    pub(super) counters: Arc<Counters>,
}

impl Writer {
    fn new(connection: Connection, log: &str, tree: Tree, notary: Box<dyn Notary>) -> Self {
        let counters = Arc::default();
        let log = log.to_owned();
        Self { connection, log, tree, notary, signed: (0, None), unsigned_since: None, mute: None, counters }
    }

    pub(super) fn start(connection: Connection, log: &str, notary: Box<dyn Notary>) -> Result<Self, OpenError> {
        let verifier = notary.signer().verifier();
        let ledger = read::ledger(&connection)?;
        if let Some((_, vkey)) = ledger
            && vkey != verifier.vkey()
        {
            return Err(OpenError::OtherKey { key: verifier.vkey(), ledger: vkey });
        }
        let tree = read::tree(&connection)?;
        if let Some(kept) = lost(&connection, &tree, notary.as_ref())? {
            // A database behind what was signed must not sign by itself: that would be a second history.
            return Err(OpenError::RolledBack { found: tree.size(), kept: kept.size });
        }
        // Only now is this process the engine: a refused one has written nothing.
        connection.execute(include_str!("../../sql/sqlite/reclaim_all.sql"), []).map_err(|source| {
            let path = connection.path().unwrap_or_default().into();
            OpenError::Sqlite { path, source }
        })?;
        let signed = read::checkpoint_size(&connection)?;
        let mut writer = Self::new(connection, log, tree, notary);
        writer.signed.0 = signed;
        writer.sign(None);
        Ok(writer)
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self, queue: &Receiver<Box<dyn Job>>) {
        loop {
            let job = if self.tree.size() == self.signed.0 || self.mute.is_some() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(SIGN_AFTER)
            };
            match job {
                Ok(job) => {
                    let sealed = self.batch(job, queue);
                    if self.is_due(sealed) {
                        self.sign(None);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sign(None),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sign(None);
                    return;
                }
            }
        }
    }

    /// Whether to sign without waiting for a pause: at once for a run that was sealed, but once in a while under load.
    fn is_due(&mut self, sealed: bool) -> bool {
        let long_ago = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() >= SIGN_EVERY);
        if self.tree.size() > self.signed.0 {
            self.unsigned_since.get_or_insert_with(Instant::now);
        }
        long_ago(self.unsigned_since) || (sealed && self.signed.1.is_none_or(|at| long_ago(Some(at))))
    }

    /// One transaction over whatever is ready. A job that fails takes nothing with it.
    fn batch(&mut self, first: Box<dyn Job>, queue: &Receiver<Box<dyn Job>>) -> bool {
        let before = self.tree.clone();
        let mut jobs = vec![first];
        let mut outcome = self.write_all(&mut jobs, queue, &before);
        if outcome.is_ok() {
            outcome = outcome.and_then(|sealed| self.write_tiles().map(|()| sealed));
            outcome = outcome.and_then(|sealed| self.execute("COMMIT").map(|()| sealed).map_err(uncertain));
        }
        if outcome.is_err() {
            // What is in the file now is what counts, also when the answer to the COMMIT was lost.
            self.execute("ROLLBACK").ok();
            self.tree = read::tree(&self.connection).unwrap_or(before);
        } else {
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
            self.counters.jobs.fetch_add(jobs.len() as u64, Ordering::Relaxed);
        }
        let committed = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        for job in jobs {
            job.finish(committed.clone());
        }
        outcome.unwrap_or(false)
    }

    /// Begins the transaction and writes the jobs in it, and those that become ready meanwhile. Answers whether a run
    /// was sealed.
    fn write_all(
        &mut self,
        jobs: &mut Vec<Box<dyn Job>>,
        queue: &Receiver<Box<dyn Job>>,
        before: &Tree,
    ) -> Result<bool, StoreError> {
        self.execute("BEGIN IMMEDIATE").map_err(unavailable)?;
        // A savepoint for each job would copy every page that the job changes. Jobs hardly ever fail after they have
        // written something: then the transaction is done anew, with savepoints.
        let (mut done, mut sealed, mut careful) = (0, false, false);
        loop {
            while let Some(job) = jobs.get_mut(done) {
                match self.perform(job.as_mut(), careful)? {
                    Some(job_sealed) => sealed |= job_sealed,
                    None => {
                        self.execute("ROLLBACK").and_then(|()| self.execute("BEGIN IMMEDIATE")).map_err(unavailable)?;
                        self.tree = before.clone();
                        (done, sealed, careful) = (0, false, true);
                        continue;
                    }
                }
                done += 1;
            }
            if jobs.len() >= MAX_BATCH {
                return Ok(sealed);
            }
            match queue.try_recv() {
                Ok(job) => jobs.push(job),
                Err(_) => return Ok(sealed),
            }
        }
    }

    /// Writes one job. Answers whether it sealed a run; `None` when it failed and left something behind.
    fn perform(&mut self, job: &mut dyn Job, careful: bool) -> Result<Option<bool>, StoreError> {
        let before = careful.then(|| self.tree.clone());
        let (size, changes) = (self.tree.size(), self.connection.total_changes());
        if careful {
            self.execute("SAVEPOINT job").map_err(unavailable)?;
        }
        let mut batch = Batch { connection: &self.connection, log: &self.log, sealed: false, tree: &mut self.tree };
        let keep = job.write(&mut batch);
        let sealed = batch.sealed;
        if self.connection.is_autocommit() {
            // SQLite took the whole transaction back by itself (disk full, I/O error): what follows must not be
            // written without what went before.
            return Err(StoreError::Unavailable("the transaction was taken back".to_owned()));
        }
        if let Some(before) = before {
            if !keep {
                self.execute("ROLLBACK TO job").map_err(unavailable)?;
                self.tree = before;
            }
            self.execute("RELEASE job").map_err(unavailable)?;
        } else if !keep && (self.tree.size() > size || self.connection.total_changes() > changes) {
            return Ok(None);
        }
        Ok(Some(sealed && keep))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn write_tiles(&mut self) -> Result<(), StoreError> {
        for ((level, tile), hashes) in self.tree.take_dirty() {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            let mut statement =
                self.connection.prepare_cached(include_str!("../../sql/sqlite/write_tile.sql")).map_err(unavailable)?;
            statement.execute((level, tile, bytes)).map_err(unavailable)?;
        }
        Ok(())
    }

    /// Signs the head that is durable now, stores the checkpoint, and then keeps it on the other medium, in place of the
    /// `lost` one if there is any.
    fn sign(&mut self, lost: Option<&Checkpoint>) {
        let size = self.tree.size();
        if size == self.signed.0 || self.mute.is_some() {
            return;
        }
        let root = self.tree.root();
        let note = Checkpoint { origin: self.log.clone(), size, root }.sign(self.notary.signer());
        let row = (size, root.hex(), note.as_str());
        let insert = self.connection.prepare_cached(include_str!("../../sql/sqlite/insert_checkpoint.sql"));
        let stored = insert.and_then(|mut statement| statement.execute(row));
        let kept = stored.map_err(|error| error.to_string()).and_then(|_| self.notary.keep(&note, lost));
        match kept {
            Ok(()) => {
                self.signed = (size, Some(Instant::now()));
                self.unsigned_since = None;
            }
            Err(error) => self.mute = Some(error), // unsigned runs are UNANCHORED and say so; the next start tries again
        }
    }
}

/// What a failed COMMIT says: when the disk fails after the log was written, the next start may find it whole.
fn uncertain(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => unavailable(error),
        Some(_) | None => StoreError::OutcomeUnknown(error.to_string()),
    }
}

/// Writes the first event of a ledger.
pub(super) fn create_ledger(connection: Connection, notary: Box<dyn Notary>, seed: [u8; 32]) -> Result<(), OpenError> {
    let verifier = notary.signer().verifier();
    let log = verifier.name().to_owned();
    if read::ledger(&connection)?.is_some() {
        return Ok(());
    }
    let now = notary.now();
    let mut head = StreamHead::default();
    let body = LogCreated { engine: engine(), vkey: verifier.vkey() }.into();
    let line = head
        .write(&log, Stream::Log, now, body, Committer::new(&seed, 0))
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let row = (log.clone(), verifier.vkey(), rfc3339(now));
    let mut writer = Writer::new(connection, &log, Tree::default(), notary);
    let steps = |writer: &mut Writer| -> Result<(), StoreError> {
        writer.connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable)?;
        writer
            .connection
            .execute("INSERT INTO ledger (only, origin, vkey, created_at) VALUES (1, ?1, ?2, ?3)", row)
            .map_err(unavailable)?;
        let mut batch =
            Batch { connection: &writer.connection, log: &writer.log, sealed: false, tree: &mut writer.tree };
        batch.transition("", &Stream::Log, 0, &[line])?;
        super::apply::write_head(&writer.connection, "", &Stream::Log, &head, 0)?;
        writer.write_tiles()?;
        writer.connection.execute_batch("COMMIT").map_err(unavailable)
    };
    steps(&mut writer)?;
    writer.sign(None);
    match writer.mute {
        Some(error) => Err(OpenError::Store(StoreError::Unavailable(error))),
        None => Ok(()),
    }
}

/// The newest checkpoint that was kept, when it is not in the tree.
fn lost(connection: &Connection, tree: &Tree, notary: &dyn Notary) -> Result<Option<Checkpoint>, StoreError> {
    let Some(kept) = notary.last() else { return Ok(None) };
    let holds = kept.size <= tree.size() && read::root_at(connection, kept.size)? == kept.root;
    Ok((!holds).then_some(kept))
}

/// Puts on record that the ledger goes on from a state that is older than what was signed, and signs it.
pub(super) fn acknowledge_rollback(
    connection: Connection,
    notary: Box<dyn Notary>,
    actor: Actor,
    seed: [u8; 32],
) -> Result<(), OpenError> {
    let verifier = notary.signer().verifier();
    let (log, vkey) =
        read::ledger(&connection)?.ok_or_else(|| StoreError::Unavailable("there is no ledger".to_owned()))?;
    if vkey != verifier.vkey() {
        return Err(OpenError::OtherKey { key: verifier.vkey(), ledger: vkey });
    }
    let tree = read::tree(&connection)?;
    let kept = lost(&connection, &tree, notary.as_ref())?.ok_or(OpenError::NotRolledBack)?;
    let (mut head, runs) = super::apply::read_head(&connection, "", &Stream::Log)?.unwrap_or_default();
    let body = LogRollbackAcknowledged {
        actor,
        lost_root: kept.root,
        lost_size: kept.size,
        root: tree.root(),
        size: tree.size(),
    };
    let seq = head.next_seq;
    let line = head
        .write(&log, Stream::Log, notary.now(), body.into(), Committer::new(&seed, 0))
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut writer = Writer::new(connection, &log, tree, notary);
    writer.execute("BEGIN IMMEDIATE").map_err(unavailable)?;
    let mut batch = Batch { connection: &writer.connection, log: &writer.log, sealed: false, tree: &mut writer.tree };
    batch.transition("", &Stream::Log, seq, &[line])?;
    super::apply::write_head(&writer.connection, "", &Stream::Log, &head, runs)?;
    writer.write_tiles()?;
    writer.execute("COMMIT").map_err(uncertain)?;
    writer.sign(Some(&kept));
    match writer.mute {
        Some(error) => Err(OpenError::Store(StoreError::Unavailable(error))),
        None => Ok(()),
    }
}
