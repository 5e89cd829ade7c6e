//! The writer thread: takes whatever is ready, commits it together, acknowledges after the commit, then signs.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use runproof_engine::admission::{StreamHead, engine};
use runproof_engine::draft::{Committer, Line};
use runproof_engine::ports::StoreError;
use runproof_engine::projection::rfc3339;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{LogCreated, Stream};
use rusqlite::Connection;

use super::{OpenError, read, unavailable};
use crate::{Notary, Tree};

/// Most jobs in one transaction.
const MAX_BATCH: usize = 256;
/// How long the writer waits for more work before it signs, unless a run was sealed.
const SIGN_AFTER: Duration = Duration::from_millis(20);
/// Under steady load a checkpoint is signed at least this often, in microseconds.
const SIGN_EVERY: u64 = 200_000;

/// Told whether the transaction that held a job is durable.
pub(super) type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Work inside a transaction: says whether it is to be kept. Without a transaction it only gives back its `Finish`.
pub(super) type Job = Box<dyn FnOnce(Option<&mut Batch<'_>>) -> (bool, Finish) + Send>;

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
    /// Size of the newest signed checkpoint, and when it was signed.
    signed: (u64, u64),
    /// Signing stopped, and why.
    mute: Option<String>,
}

impl Writer {
    pub(super) fn start(connection: Connection, log: &str, notary: Box<dyn Notary>) -> Result<Self, OpenError> {
        let verifier = notary.signer().verifier();
        let ledger = read::ledger(&connection)?;
        if let Some((_, vkey)) = ledger
            && vkey != verifier.vkey()
        {
            return Err(OpenError::OtherKey { key: verifier.vkey(), ledger: vkey });
        }
        let tree = read::tree(&connection)?;
        if let Some(kept) = notary.last() {
            // A database behind what was signed must never sign again: that would be a second history.
            if kept.size > tree.size() || read::root_at(&connection, kept.size)? != kept.root {
                return Err(OpenError::RolledBack { found: tree.size(), kept: kept.size });
            }
        }
        // Only now is this process the engine: a refused one has written nothing.
        connection.execute(include_str!("../../sql/sqlite/reclaim_all.sql"), []).map_err(|source| {
            let path = connection.path().unwrap_or_default().into();
            OpenError::Sqlite { path, source }
        })?;
        let signed = read::checkpoint_size(&connection)?;
        let mut writer = Self { connection, log: log.to_owned(), tree, notary, signed: (signed, 0), mute: None };
        writer.sign();
        Ok(writer)
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let job = if self.tree.size() == self.signed.0 || self.mute.is_some() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(SIGN_AFTER)
            };
            match job {
                Ok(job) => {
                    let sealed = self.batch(job, queue);
                    if sealed || self.notary.now().saturating_sub(self.signed.1) > SIGN_EVERY {
                        self.sign();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sign(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sign();
                    return;
                }
            }
        }
    }

    /// One transaction over whatever is ready. A job that fails takes nothing with it.
    fn batch(&mut self, first: Job, queue: &Receiver<Job>) -> bool {
        let before = self.tree.clone();
        let mut finishes = Vec::new();
        let mut sealed = false;
        let mut outcome = self.connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable);
        let mut next = Some(first);
        while let Some(job) = next.take() {
            let (finish, job_sealed) = match &outcome {
                Ok(()) => self.perform(job),
                Err(_) => (job(None).1, false),
            };
            sealed |= job_sealed;
            finishes.push(finish);
            if outcome.is_ok() && self.connection.is_autocommit() {
                // SQLite took the whole transaction back by itself (disk full, I/O error): what follows must not be
                // written without what went before.
                outcome = Err(StoreError::Unavailable("the transaction was taken back".to_owned()));
            }
            if finishes.len() < MAX_BATCH && outcome.is_ok() {
                next = queue.try_recv().ok();
            }
        }
        if outcome.is_ok() {
            outcome = self.write_tiles().and_then(|()| self.connection.execute_batch("COMMIT").map_err(uncertain));
        }
        if outcome.is_err() {
            // What is in the file now is what counts, also when the answer to the COMMIT was lost.
            self.connection.execute_batch("ROLLBACK").ok();
            self.tree = read::tree(&self.connection).unwrap_or(before);
        }
        for finish in finishes {
            finish(outcome.clone());
        }
        sealed && outcome.is_ok()
    }

    fn perform(&mut self, job: Job) -> (Finish, bool) {
        let before = self.tree.clone();
        let savepoint = self.connection.execute_batch("SAVEPOINT job");
        let mut batch = Batch { connection: &self.connection, log: &self.log, sealed: false, tree: &mut self.tree };
        let (ok, finish) = job(Some(&mut batch));
        let sealed = batch.sealed;
        let end = if ok { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        let ended = savepoint.and_then(|()| self.connection.execute_batch(end));
        if !ok {
            self.tree = before;
        }
        match ended {
            Ok(()) => (finish, sealed && ok),
            Err(error) => {
                let error = unavailable(error);
                (Box::new(move |committed| finish(committed.and(Err(error)))), false)
            }
        }
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

    /// Signs the head that is durable now, stores the checkpoint, and then keeps it on the other medium.
    fn sign(&mut self) {
        let size = self.tree.size();
        if size == self.signed.0 || self.mute.is_some() {
            return;
        }
        let root = self.tree.root();
        let note = Checkpoint { origin: self.log.clone(), size, root }.sign(self.notary.signer());
        let now = self.notary.now();
        let row = (size, root.hex(), note.as_str());
        let stored = self.connection.execute(include_str!("../../sql/sqlite/insert_checkpoint.sql"), row);
        let kept = stored.map_err(|error| error.to_string()).and_then(|_| self.notary.keep(&note));
        match kept {
            Ok(()) => self.signed = (size, now),
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
    let tree = Tree::default();
    let mut writer = Writer { connection, log, tree, notary, signed: (0, 0), mute: None };
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
    writer.sign();
    match writer.mute {
        Some(error) => Err(OpenError::Store(StoreError::Unavailable(error))),
        None => Ok(()),
    }
}
