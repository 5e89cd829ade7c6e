//! What the Postgres store promises beyond the suite for all stores: places in the ledger among processes that know
//! nothing of each other, and reads of what they left.

/// One test of every claim for each way to the server.
macro_rules! both_ways {
    ($($claim:ident),+ $(,)?) => {
        mod direct {
            $(#[test] fn $claim() { super::$claim(super::Way::Direct); })+
        }
        mod pooled {
            $(#[test] fn $claim() { super::$claim(super::Way::Pooled); })+
        }
    };
}
use both_ways;

mod faults;
mod fences;
mod places;
mod proxy;
mod reads;
mod rollback;
mod settling;
mod turns;

use std::ops::ControlFlow;

use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle;
use runproof_store::Tree;
use runproof_store::postgres::sequencer::{Placed, SequenceError, Sequencer};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::cluster::{self, Database};
use crate::on_postgres::{Way, runtime, template};
use crate::support::{Keeper, LOG, read_note};

/// A database with a ledger and without a store on it: what is placed is placed by a test.
struct Ledger {
    database: Database,
    keeper: Keeper,
}

impl Ledger {
    /// A ledger of one leaf.
    fn new() -> Self {
        let (name, last) = template();
        Self { database: cluster::copy_of(name), keeper: Keeper::new(7, Some(last.clone())) }
    }

    async fn connect(&self, way: Way) -> Client {
        let url = match way {
            Way::Direct => self.database.direct_url(),
            Way::Pooled => self.database.pooled_url(),
        };
        cluster::connect(&url).await.unwrap()
    }

    /// A process that holds the log key, and keeps its checkpoints with this ledger.
    fn sequencer(&self) -> Sequencer {
        Sequencer::new(LOG, self.keeper.notary())
    }
}

/// Writes a transition of so many events; returns when it is written, which is not yet committed.
async fn insert(client: &Client, stream: &str, first_seq: i64, events: &str) {
    let sql = "INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
               VALUES ('t_1', $1, $2, $3, $4, '')";
    let count = i64::try_from(events.split('\n').count()).unwrap();
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&stream, Type::TEXT), (&first_seq, Type::INT8), (&count, Type::INT8), (&events, Type::TEXT)];
    assert_eq!(client.execute_typed(sql, &params).await.unwrap(), 1);
}

/// Writes and commits transitions of one event each, in streams of their own.
async fn insert_many(client: &Client, name: &str, count: i64) {
    let sql = "INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
               SELECT 't_1', 'run/' || $1 || n, 0, 1, $1 || n, '' FROM generate_series(1, $2) AS n";
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] = [(&name, Type::TEXT), (&count, Type::INT8)];
    client.execute_typed(sql, &params).await.unwrap();
}

/// Passes until there is nothing more to do; the head is signed then.
async fn place_all(sequencer: &mut Sequencer, client: &Client) -> Result<u64, SequenceError> {
    let mut placed = 0;
    loop {
        match sequencer.place(client).await? {
            Placed::Nothing => return Ok(placed),
            Placed::Here { transitions, .. } => placed += transitions,
        }
    }
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_typed_one(sql, &[]).await.unwrap().get(0)
}

async fn settled(client: &Client) -> i64 {
    number(client, "SELECT settled_id FROM public.ledger_head").await
}

/// Streams in the order of their places, each with the seq of its first event.
async fn order(client: &Client) -> Vec<(String, i64)> {
    let sql = "SELECT stream, first_seq FROM public.leaves ORDER BY first_leaf";
    client.query_typed(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Checks everything that holds for a ledger in which nothing waits for its place: places have no gaps, each transition
/// has one, streams are in order, tiles hold the tree, and every checkpoint is signed and leads to it. Returns the root.
async fn audit(ledger: &Ledger, client: &Client) -> Hash {
    let missing = "SELECT count(*) FROM public.transitions FULL JOIN public.leaves USING (tenant_id, stream, first_seq)
                   WHERE id IS NULL OR first_leaf IS NULL OR id <> transition_id";
    assert_eq!(number(client, missing).await, 0, "transitions without a place, or places without their transition");
    let disorder = "SELECT count(*) FROM (
                        SELECT first_leaf, lag(first_leaf) OVER (PARTITION BY tenant_id, stream ORDER BY first_seq) AS before
                        FROM public.leaves) AS l WHERE before >= first_leaf";
    assert_eq!(number(client, disorder).await, 0, "transitions before the one that they follow");
    let sql =
        "SELECT first_leaf, events FROM public.leaves JOIN public.transitions USING (tenant_id, stream, first_seq)
               ORDER BY first_leaf";
    let (mut tree, mut leaves) = (Tree::default(), Vec::new());
    let mut tiles = std::collections::BTreeMap::new();
    for row in client.query_typed(sql, &[]).await.unwrap() {
        assert_eq!(row.get::<_, i64>(0), i64::try_from(tree.size()).unwrap(), "a gap");
        for line in row.get::<_, &str>(1).split('\n') {
            leaves.push(leaf(line.as_bytes()));
            tree.push(*leaves.last().unwrap());
        }
        tiles.extend(tree.take_dirty());
    }
    let stored = client.query_typed("SELECT level, tile, hashes FROM public.ledger_tiles", &[]).await.unwrap();
    assert_eq!(stored.len(), tiles.len());
    for row in stored {
        let id = (u32::try_from(row.get::<_, i64>(0)).unwrap(), u64::try_from(row.get::<_, i64>(1)).unwrap());
        let hashes: Vec<u8> = tiles[&id].iter().flat_map(|hash| hash.0).collect();
        assert_eq!(row.get::<_, &[u8]>(2), hashes, "tile {id:?}");
    }
    let size = number(client, "SELECT size FROM public.ledger_head").await;
    assert_eq!(size, i64::try_from(leaves.len()).unwrap());
    let notes = client.query_typed("SELECT size, root, note FROM public.checkpoints", &[]).await.unwrap();
    for row in &notes {
        let size = usize::try_from(row.get::<_, i64>(0)).unwrap();
        let checkpoint = read_note(row.get(2));
        let expected = Checkpoint { origin: LOG.to_owned(), size: size as u64, root: merkle::root(&leaves[..size]) };
        assert_eq!(checkpoint, expected);
        assert_eq!(row.get::<_, &str>(1), expected.root.hex());
        assert_eq!(row.get::<_, &str>(2), expected.sign(ledger.keeper.notary().signer()), "one note for each size");
    }
    assert!(notes.iter().any(|row| row.get::<_, i64>(0) == size), "the head is not signed");
    tree.root()
}
