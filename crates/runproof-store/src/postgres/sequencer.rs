//! The sequencer: gives committed transitions their places in the ledger, and signs the head.
//!
//! Any process that holds the log key may be it; whoever holds the lock on the head of the ledger is, for one
//! transaction. A process that stops anywhere leaves nothing behind: what is in the database says what is to be done.
//! The tree is read anew for each pass: three tiles, and no memory that a restored database could contradict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runproof_engine::ports::StoreError;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::{Note, NoteVerifier};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::places::{Batch, Tiles};
use super::read::{self, Wanted, column, natural, tiles_corrupt};
use super::session::{Failure, Param, by_keys, in_time};
use crate::tree::{edge_of, subtree_root, tiles_of};
use crate::{Notary, Tree};

/// Most transitions in one transaction.
pub const MAX_PLACED: usize = 4096;
/// What begins a transaction of the sequencer. It sees the log's own stream and no tenant. What the server acknowledges
/// before it is on disk must not be signed.
pub(super) const BEGIN: &str = concat!(
    "BEGIN; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '10s'; ",
    by_keys!(),
    "; SET LOCAL runproof.tenants = ','; SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') = 'off'"
);

/// Why nothing is placed or signed. After any of these the connection may be in the middle of a transaction: it must be
/// closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The newest checkpoint that this process knows is not in the database's tree.
    #[error(
        "the database has {found} leaves and not the ones of the signed checkpoint of {kept} leaves: it was rolled back \
         or replaced; nothing is placed or signed before `runproof log acknowledge-rollback`"
    )]
    RolledBack {
        /// Leaves in the database.
        found: u64,
        /// Leaves in the kept checkpoint.
        kept: u64,
    },
    /// There is nothing to acknowledge: the newest checkpoint that this process knows is in the database's tree.
    #[error("the database holds the newest checkpoint that was kept here: there is no rollback to acknowledge")]
    NotRolledBack,
    /// The ledger was made with another key.
    #[error("the log key is `{key}`, but the ledger was made with `{ledger}`")]
    OtherKey {
        /// Key of this process.
        key: String,
        /// Key of the ledger.
        ledger: String,
    },
    /// The signed checkpoint is in the database, but not on the other medium. The next pass tries again.
    #[error("the checkpoint could not be kept: {0}")]
    NotKept(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for SequenceError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.unavailable())
    }
}

impl From<SequenceError> for StoreError {
    fn from(error: SequenceError) -> Self {
        let problem = error.to_string();
        match error {
            SequenceError::Store(error) => error,
            SequenceError::RolledBack { .. } => Self::Corrupt { at: "ledger_head".to_owned(), problem },
            SequenceError::NotRolledBack | SequenceError::OtherKey { .. } | SequenceError::NotKept(_) => {
                Self::Unavailable(problem)
            }
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Nothing: there is nothing to place or to sign, or another process is at it.
    Nothing,
    /// The transitions have their places, and the head is signed.
    Here {
        /// Transitions that got a place.
        transitions: u64,
        /// Leaves in the ledger now.
        size: u64,
        /// There may be more to place at once: the pass was as large as one may be.
        more: bool,
    },
}

/// Places and signs for one process.
pub struct Sequencer {
    pub(super) log: String,
    notary: Arc<Mutex<Box<dyn Notary>>>,
    verifier: NoteVerifier,
    settling: Settling,
}

/// How `ledger_head.settled_id` moves: up to where no id can appear any more.
///
/// A pass reads the id that was given out last, and then takes a transaction number of its own. Whoever inserts takes a
/// number before it is given an id (trigger `transitions_number`), and sessions keep no ids for later (the sequence has no
/// cache). So every transaction that has one of those ids has a lower number than the pass. Once all transactions below
/// that number are over, what they committed is seen by every statement that begins then, and nothing else can appear up
/// to that id. The pass that finds this, and places everything that it sees up to there, settles it.
///
/// Nothing of this is stored, and nothing is taken over: another process, or this one after a restart, begins anew. It
/// settles later at worst.
#[derive(Default)]
struct Settling {
    /// An id that is settled once every transaction below this number is over.
    awaited: Option<(i64, i64)>,
}

impl Settling {
    /// The id that a pass may settle, or 0. `given` was given out before the pass took the number `own`; below `oldest`
    /// all transactions were over before the pass began to read what it places.
    fn id(&mut self, given: i64, own: i64, oldest: i64) -> i64 {
        let (id, number) = *self.awaited.get_or_insert((given, own));
        if oldest < number {
            return 0;
        }
        self.awaited = (id < given).then_some((given, own));
        id
    }
}

/// The ledger as a pass finds it, checked against what is known.
pub(super) struct Found {
    pub(super) tree: Tree,
    settled: i64,
    /// The newest checkpoint in the database, with its note.
    stored: Option<(Checkpoint, String)>,
}

impl Sequencer {
    /// A sequencer of this log, with the key that signs.
    pub fn new(log: &str, notary: Box<dyn Notary>) -> Self {
        let verifier = notary.signer().verifier();
        Self { log: log.to_owned(), notary: Arc::new(Mutex::new(notary)), verifier, settling: Settling::default() }
    }

    /// Whether this process may go on: the newest checkpoint that it has kept is in the database's tree. The newest one
    /// in the database becomes known. To be asked when the process starts. The future must run to its end.
    ///
    /// # Errors
    /// [`SequenceError`].
    pub async fn check(&self, client: &Client) -> Result<(), SequenceError> {
        // Another process of this home may sign and keep a newer one at any time, which is in no state read before.
        let kept = self.kept();
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '30s'";
        let sql = include_str!("../../sql/postgres/ledger_head.sql");
        let head = in_time(async {
            let (begun, head) = tokio::join!(biased; client.batch_execute(begin), client.query_typed_one(sql, &[]));
            begun?;
            head
        });
        let found = self.find(client, &head.await?, kept).await?;
        in_time(client.batch_execute("COMMIT")).await?;
        self.keep(found.stored, None).await
    }

    /// One pass: places what is committed and has no place, as much as one transaction may hold, and signs the head.
    /// Where there is nothing to do, it only learns what others have signed. The future must run to its end.
    ///
    /// # Errors
    /// [`SequenceError`]. When the answer to the commit was lost, the next pass finds out what became of it.
    pub async fn place(&mut self, client: &Client) -> Result<Placed, SequenceError> {
        let kept = self.kept();
        let given = in_time(async {
            let sql = include_str!("../../sql/postgres/last_id.sql");
            let (begun, given) = tokio::join!(biased; client.batch_execute(BEGIN), client.query_typed_one(sql, &[]));
            begun?;
            given
        });
        let given: i64 = column(&given.await?, 0)?;
        let sql = include_str!("../../sql/postgres/lock_ledger.sql");
        let Some(head) = in_time(client.query_typed_opt(sql, &[(&given, Type::INT8)])).await? else {
            in_time(client.batch_execute("COMMIT")).await?;
            self.check(client).await?;
            return Ok(Placed::Nothing);
        };
        let settles = self.settling.id(given, column(&head, 2)?, column(&head, 3)?);
        let mut found = self.find(client, &head, kept).await?;
        let (transitions, more) = self.append(client, &mut found, settles).await?;
        let newest = self.sign(client, &mut found).await?;
        self.keep(newest, None).await?;
        Ok(Placed::Here { transitions, size: found.tree.size(), more })
    }

    /// Reads the tree at a head, and refuses a database that does not hold what is known to be signed: its own newest
    /// checkpoint, and the one that was `kept` before the head was read.
    pub(super) async fn find(
        &self,
        client: &Client,
        head: &Row,
        kept: Option<Checkpoint>,
    ) -> Result<Found, SequenceError> {
        let (size, settled) = (natural(head, 0)?, column(head, 1)?);
        let sql = include_str!("../../sql/postgres/newest_checkpoint.sql");
        let stored = in_time(client.query_typed_opt(sql, &[])).await?;
        let stored = stored.map(|row| self.stored(&row)).transpose()?;
        let known = [kept.as_ref(), stored.as_ref().map(|(stored, _)| stored)];
        let ranges: Vec<Range> = known
            .iter()
            .flatten()
            .filter(|known| known.size > 0 && known.size <= size)
            .map(|known| Range { start: 0, end: known.size })
            .collect();
        let mut wanted = tiles_of(&ranges);
        let edge = edge_of(size);
        wanted.extend(edge.keys());
        let sql = include_str!("../../sql/postgres/read_tiles.sql");
        let rows = in_time(client.query_typed(sql, &Wanted::tiles(wanted).params())).await?;
        let tiles = read::tiles(&rows);
        let last = |id| Some(tiles.get(&id)?.get(..*edge.get(&id)?)?.to_vec());
        let tree = Tree::load(size, last).ok_or_else(tiles_corrupt)?;
        let root_at = |known: &Checkpoint| match known.size {
            0 => Some(merkle::root(&[])),
            end if end > size => None,
            end => subtree_root(Range { start: 0, end }, &mut |id| tiles.get(&id).cloned()),
        };
        if let Some(kept) = kept.filter(|kept| root_at(kept) != Some(kept.root)) {
            return Err(SequenceError::RolledBack { found: size, kept: kept.size });
        }
        if let Some((stored, _)) = stored.as_ref().filter(|(stored, _)| root_at(stored) != Some(stored.root)) {
            return Err(wrong_checkpoint(stored.size, "the tree of the ledger has another root at this size").into());
        }
        Ok(Found { tree, settled, stored })
    }

    /// A row of `newest_checkpoint`, which has to be signed by the log's key.
    fn stored(&self, row: &Row) -> Result<(Checkpoint, String), StoreError> {
        let (size, text) = (natural(row, 0)?, column::<String>(row, 1)?);
        let checkpoint = Note::parse(text.as_bytes()).ok().and_then(|note| {
            let is_ours = note.signatures.iter().any(|signature| self.verifier.verifies(&note.text, signature));
            Checkpoint::parse(&note.text).ok().filter(|checkpoint| is_ours && checkpoint.origin == self.log)
        });
        match checkpoint {
            Some(checkpoint) if checkpoint.size == size => Ok((checkpoint, text)),
            Some(_) | None => Err(wrong_checkpoint(size, "the note is not one of this log at this size")),
        }
    }

    /// Places what has no place, up to the limits of one transaction, and commits. Answers how many transitions, and
    /// whether there may be more.
    pub(super) async fn append(
        &self,
        client: &Client,
        found: &mut Found,
        settles: i64,
    ) -> Result<(u64, bool), SequenceError> {
        let most = i32::try_from(MAX_PLACED).unwrap_or(i32::MAX);
        let sql = include_str!("../../sql/postgres/read_unplaced.sql");
        let unplaced = in_time(client.query_typed(sql, &[(&most, Type::INT4)])).await?;
        let batch = Batch::read(client, &unplaced).await?;
        let old_size = int(found.tree.size());
        let leaves = batch.leaves(&mut found.tree)?;
        let all = leaves.ids.len() == unplaced.len();
        let more = !all || unplaced.len() == MAX_PLACED;
        // What is placed is the beginning of what was to be placed: beyond it, something may be left.
        let settles = if more { settles.min(leaves.ids.last().copied().unwrap_or(0)) } else { settles };
        if !leaves.ids.is_empty() || settles > found.settled {
            let tiles = Tiles::of(&mut found.tree);
            let (places, tiles) = (leaves.params(), tiles.params());
            let size = int(found.tree.size());
            let head: [Param<'_>; 3] = [(&old_size, Type::INT8), (&size, Type::INT8), (&settles, Type::INT8)];
            let moved = in_time(async {
                let (placed, tiles, moved) = tokio::join!(biased;
                    client.execute_typed(include_str!("../../sql/postgres/insert_leaves.sql"), &places),
                    client.execute_typed(include_str!("../../sql/postgres/write_tiles.sql"), &tiles),
                    client.execute_typed(include_str!("../../sql/postgres/move_ledger.sql"), &head)
                );
                placed?;
                tiles?;
                moved
            });
            if moved.await? != 1 {
                return Err(StoreError::Unavailable("the head of the ledger moved under its lock".to_owned()).into());
            }
        }
        in_time(client.batch_execute("COMMIT")).await?;
        Ok((leaves.ids.len() as u64, more))
    }

    /// Signs the head, now that it is durable, and stores the checkpoint. Answers the newest one.
    pub(super) async fn sign(
        &self,
        client: &Client,
        found: &mut Found,
    ) -> Result<Option<(Checkpoint, String)>, SequenceError> {
        let size = found.tree.size();
        if size <= found.stored.as_ref().map_or(0, |(stored, _)| stored.size) {
            return Ok(found.stored.take());
        }
        let checkpoint = Checkpoint { origin: self.log.clone(), size, root: found.tree.root() };
        let note = checkpoint.sign(self.notary().signer());
        let (size, root, tiles) = (int(size), checkpoint.root.hex(), Tiles::edge(&found.tree));
        let mut params: Vec<Param<'_>> = vec![(&size, Type::INT8), (&root, Type::TEXT), (&note, Type::TEXT)];
        params.extend(tiles.params());
        let stored = in_time(async {
            let (begun, inserted, stored, ended) = tokio::join!(biased;
                client.batch_execute(BEGIN),
                client.execute_typed(include_str!("../../sql/postgres/insert_checkpoint.sql"), &params),
                client.query_typed_opt(include_str!("../../sql/postgres/read_checkpoint.sql"), &params[..1]),
                client.batch_execute("COMMIT")
            );
            begun?;
            inserted?;
            ended?;
            stored
        });
        let Some(row) = stored.await? else {
            let problem = "the database lost the head that was to be signed: it was rolled back or replaced";
            return Err(StoreError::Unavailable(problem.to_owned()).into());
        };
        if column::<String>(&row, 0)? != root || column::<String>(&row, 1)? != note {
            return Err(wrong_checkpoint(checkpoint.size, "the head of this size is signed with something else").into());
        }
        Ok(Some((checkpoint, note)))
    }

    /// Keeps the newest checkpoint on the other medium, now that it is durable; in place of a `lost` one, if an operator
    /// has given that up.
    pub(super) async fn keep(
        &self,
        newest: Option<(Checkpoint, String)>,
        lost: Option<&Checkpoint>,
    ) -> Result<(), SequenceError> {
        let Some((_, note)) = newest else { return Ok(()) };
        let (notary, lost) = (Arc::clone(&self.notary), lost.cloned());
        let keeping = move || notary.lock().unwrap_or_else(PoisonError::into_inner).keep(&note, lost.as_ref());
        // It waits for a disk.
        let kept = tokio::task::spawn_blocking(keeping).await;
        kept.map_err(|error| error.to_string()).and_then(|kept| kept).map_err(SequenceError::NotKept)
    }

    pub(super) fn notary(&self) -> MutexGuard<'_, Box<dyn Notary>> {
        self.notary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kept(&self) -> Option<Checkpoint> {
        self.notary().last()
    }
}

pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn wrong_checkpoint(size: u64, problem: &str) -> StoreError {
    StoreError::Corrupt { at: format!("checkpoints[size={size}]"), problem: problem.to_owned() }
}
