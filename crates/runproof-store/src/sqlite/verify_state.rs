//! What a verification of the whole ledger remembers: in a file, so that it can go on later, or in a file without a
//! name that is gone afterwards. Never in the database that is judged.

use std::path::Path;

use runproof_engine::ports::StoreError;
use rusqlite::{Connection, OptionalExtension};

use super::unavailable;

/// The memory of a verification. Changes count together at [`VerifyState::commit`].
pub struct VerifyState {
    connection: Connection,
}

impl VerifyState {
    /// Opens the file, or makes it; without a path, a file that nobody else sees.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the file cannot be written, is in use, or is something else.
    pub fn open(path: Option<&Path>) -> Result<Self, StoreError> {
        let connection = Connection::open(path.unwrap_or(Path::new(""))).map_err(unavailable)?;
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE").map_err(unavailable)?;
        connection.execute_batch(include_str!("../../sql/sqlite/verify_state.sql")).map_err(unavailable)?;
        Ok(Self { connection })
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear(&self) -> Result<(), StoreError> {
        let sql = "DELETE FROM progress; DELETE FROM heads; DELETE FROM records; DELETE FROM findings";
        self.connection.execute_batch(sql).map_err(unavailable)
    }

    /// Makes everything since the last call count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commit(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT; BEGIN IMMEDIATE").map_err(unavailable)
    }

    /// How far it came, as the verifier wrote it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn progress(&self) -> Result<Option<String>, StoreError> {
        let row = self.connection.query_row("SELECT text FROM progress", [], |row| row.get(0));
        row.optional().map_err(unavailable)
    }

    /// Replaces how far it came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_progress(&self, text: &str) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO progress VALUES (1, ?1)", [text])
    }

    /// Head of a stream that is not a run's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head(&self, tenant: &str, stream: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT text FROM heads WHERE tenant_id = ?1 AND stream = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.query_row((tenant, stream), |row| row.get(0)).optional().map_err(unavailable)
    }

    /// Moves a head.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_head(&self, tenant: &str, stream: &str, text: &str) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO heads VALUES (?1, ?2, ?3)", (tenant, stream, text))
    }

    /// Notes that the transition with this key speaks of `subject`, such as `run/<id>` or `agent/<id>`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_record(&self, tenant: &str, subject: &str, first_leaf: u64) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)", (tenant, subject, first_leaf))
    }

    /// Keys of the transitions that speak of a subject, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records(&self, tenant: &str, subject: &str) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT first_leaf FROM records WHERE tenant_id = ?1 AND subject = ?2 ORDER BY first_leaf";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let rows = statement.query_map((tenant, subject), |row| row.get(0)).map_err(unavailable)?;
        rows.collect::<Result<_, _>>().map_err(unavailable)
    }

    /// Forgets what is archived and purged: it is read anew each time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_kept(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("DELETE FROM kept; DELETE FROM absent").map_err(unavailable)
    }

    /// Notes that a run has an archive or a tombstone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_kept(&self, tenant: &str, run_id: &str) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2)", [tenant, run_id])
    }

    /// Whether a run has an archive or a tombstone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_kept(&self, tenant: &str, run_id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM kept WHERE tenant_id = ?1 AND run_id = ?2)";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.query_row((tenant, run_id), |row| row.get(0)).map_err(unavailable)
    }

    /// Notes that a leaf is one of an archive, or of a tombstone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_absent(&self, leaf: u64, is_purged: bool) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO absent VALUES (?1, ?2)", (leaf, is_purged))
    }

    /// Whether a leaf is one of an archive (`false`) or of a tombstone (`true`).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn absent(&self, leaf: u64) -> Result<Option<bool>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT is_purged FROM absent WHERE leaf = ?1").map_err(unavailable)?;
        statement.query_row([leaf], |row| row.get(0)).optional().map_err(unavailable)
    }

    /// Keeps a finding.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_finding(&self, text: &str) -> Result<(), StoreError> {
        self.execute("INSERT INTO findings (text) VALUES (?1)", [text])
    }

    /// The findings, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn findings(&self) -> Result<Vec<String>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT text FROM findings ORDER BY number").map_err(unavailable)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(unavailable)?;
        rows.collect::<Result<_, _>>().map_err(unavailable)
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.execute(values).map_err(unavailable)?;
        Ok(())
    }
}
