//! Databases that went back, or were changed: refused, and gone on from only on the record.

use super::*;
use crate::doubles::operator;
use runproof_proof::event::{Body, Event};
use runproof_proof::note::NoteSigner;
use runproof_store::Notary;
use std::sync::Arc;

impl Ledger {
    /// The same database as it is now, as if it were put back later. Nobody may be connected to it.
    fn backup(&self) -> Ledger {
        Ledger { database: cluster::copy_of(&self.database.name), keeper: self.keeper.clone() }
    }
}

/// A ledger whose database is older than its newest checkpoint: the backup has 2 leaves, 4 were signed.
fn rolled_back() -> (Ledger, Checkpoint) {
    let ledger = Ledger::new();
    write(&ledger, &["before"]);
    let backup = ledger.backup();
    write(&ledger, &["lost", "lost too"]);
    let lost = ledger.keeper.last().unwrap();
    assert_eq!(lost.size, 4);
    (backup, lost)
}

/// Writes, places and signs, and disconnects.
fn write(ledger: &Ledger, streams: &[&str]) {
    runtime().block_on(async {
        let (client, ended) = connect_until_dropped(&ledger.database.direct_url()).await;
        for stream in streams {
            insert(&client, &format!("run/{stream}"), 0, stream).await;
        }
        place_all(&mut ledger.sequencer(), &client).await.unwrap();
        drop(client);
        ended.await.unwrap();
    });
}

/// A session, and the end of its connection: only then may the database be copied.
async fn connect_until_dropped(url: &str) -> (Client, tokio::task::JoinHandle<()>) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    (client, tokio::spawn(async move { connection.await.unwrap() }))
}

async fn log_events(client: &Client) -> Vec<Body> {
    let sql = "SELECT events FROM public.transitions WHERE stream = 'log' ORDER BY first_seq";
    let rows = client.query_typed(sql, &[]).await.unwrap();
    rows.iter().map(|row| Event::decode(row.get::<_, &str>(0).as_bytes()).unwrap().body).collect()
}

#[test]
fn a_database_that_went_back_is_neither_placed_in_nor_signed() {
    let (ledger, lost) = rolled_back();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert(&client, "run/new", 0, "new").await;
        for _ in 0..2 {
            let refused = SequenceError::RolledBack { found: 2, kept: 4 };
            assert_eq!(ledger.sequencer().check(&ledger.connect(Way::Direct).await).await, Err(refused.clone()));
            assert_eq!(ledger.sequencer().place(&ledger.connect(Way::Pooled).await).await, Err(refused.clone()));
            assert!(refused.to_string().contains("`runproof log acknowledge-rollback`"));
        }
        assert_eq!(number(&client, "SELECT size FROM public.ledger_head").await, 2);
        assert_eq!(ledger.keeper.last(), Some(lost));
    });
}

#[test]
fn another_history_of_the_same_size_is_refused_too() {
    let (ledger, lost) = rolled_back();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert_many(&client, "other", 2).await;
        // Another process that knows nothing of what was lost goes on.
        let stranger = Keeper::new(7, None);
        assert_eq!(place_all(&mut Sequencer::new(LOG, stranger.notary()), &client).await, Ok(2));
        let refused = SequenceError::RolledBack { found: 4, kept: 4 };
        assert_eq!(ledger.sequencer().place(&ledger.connect(Way::Direct).await).await, Err(refused));
        assert_eq!(ledger.keeper.last(), Some(lost));
    });
}

#[test]
fn a_rollback_goes_on_the_record_before_anything_is_signed() {
    let (ledger, lost) = rolled_back();
    runtime().block_on(async {
        let client = ledger.connect(Way::Pooled).await;
        insert_many(&client, "new", 5000).await; // more than one pass takes
        let mut sequencer = ledger.sequencer();
        let placed = sequencer.acknowledge_rollback(&client, operator(), [3; 32]).await;
        assert_eq!(placed, Ok(Placed::Here { transitions: 5001, size: 5003, more: false }));
        let bodies = log_events(&client).await;
        let [Body::LogCreated(_), Body::LogRollbackAcknowledged(body)] = bodies.as_slice() else {
            panic!("{bodies:?}")
        };
        assert_eq!((body.lost_size, body.lost_root, body.size), (4, lost.root, 2));
        let sizes = "SELECT count(*) FROM public.checkpoints WHERE size > 2";
        assert_eq!(number(&client, sizes).await, 1, "nothing between was signed without the record");
        insert(&client, "run/after", 0, "after").await;
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(1));
        assert_eq!(ledger.keeper.last().unwrap().size, 5004);
        audit(&ledger, &client).await;
        let again = sequencer.acknowledge_rollback(&client, operator(), [4; 32]).await;
        assert_eq!(again, Err(SequenceError::NotRolledBack));
    });
}

#[test]
fn an_acknowledgement_that_was_cut_off_is_recorded_once() {
    let (ledger, _) = rolled_back();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let broken = Keeper::new(7, ledger.keeper.last());
        broken.break_down();
        let ended = Sequencer::new(LOG, broken.notary()).acknowledge_rollback(&client, operator(), [3; 32]).await;
        assert!(matches!(ended, Err(SequenceError::NotKept(_))), "{ended:?}");
        let refused = ledger.sequencer().place(&ledger.connect(Way::Direct).await).await;
        assert_eq!(
            refused,
            Err(SequenceError::RolledBack { found: 3, kept: 4 }),
            "the lost head is still the kept one"
        );
        ledger.sequencer().acknowledge_rollback(&client, operator(), [4; 32]).await.unwrap();
        assert_eq!(log_events(&client).await.len(), 2);
        assert_eq!(ledger.keeper.last().unwrap().size, 3);
        audit(&ledger, &client).await;
    });
}

#[test]
fn a_checkpoint_that_is_missing_is_signed_again_and_one_that_differs_stops_signing() {
    let ledger = Ledger::new();
    write(&ledger, &["a"]);
    let past_the_triggers = |statement: &'static str| {
        runtime().block_on(async {
            let client = ledger.connect(Way::Direct).await;
            client.batch_execute("SET session_replication_role = replica").await.unwrap();
            client.batch_execute(statement).await.unwrap();
        });
    };
    past_the_triggers("DELETE FROM public.checkpoints WHERE size = 2");
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let signed = ledger.sequencer().place(&client).await;
        assert_eq!(signed, Ok(Placed::Here { transitions: 0, size: 2, more: false }));
        audit(&ledger, &client).await;
    });
    for (statement, problem) in [
        (
            "UPDATE public.checkpoints SET note = 'no note' WHERE size = 2",
            "the note is not one of this log at this size",
        ),
        (
            "UPDATE public.checkpoints SET note = (SELECT note FROM public.checkpoints WHERE size = 1) WHERE size = 2",
            "the note is not one of this log at this size",
        ),
        (
            "UPDATE public.checkpoints SET note = replace(note, '\n2\n', '\n3\n') WHERE size = 2",
            "the note is not one of this log at this size",
        ),
    ] {
        past_the_triggers(statement);
        runtime().block_on(async {
            let client = ledger.connect(Way::Direct).await;
            let at = "checkpoints[size=2]".to_owned();
            let corrupt = runproof_engine::ports::StoreError::Corrupt { at, problem: problem.to_owned() };
            assert_eq!(ledger.sequencer().check(&client).await, Err(SequenceError::Store(corrupt)), "{statement}");
        });
    }
}

/// Two processes that sign what another history holds: the second one finds that the size is signed already.
#[test]
fn a_size_is_signed_with_one_root() {
    let (ledger, lost) = rolled_back();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert_many(&client, "other", 2).await;
        // What was lost is put back as a checkpoint only: no tree leads to it.
        let note = lost.sign(ledger.keeper.notary().signer());
        let sql = "INSERT INTO public.checkpoints (size, root, note) VALUES (4, $1, $2)";
        client.execute_typed(sql, &[(&lost.root.hex(), Type::TEXT), (&note, Type::TEXT)]).await.unwrap();
        let stranger = Keeper::new(7, None);
        let refused = Sequencer::new(LOG, stranger.notary()).place(&ledger.connect(Way::Direct).await).await;
        let at = "checkpoints[size=4]".to_owned();
        let problem = "the tree of the ledger has another root at this size".to_owned();
        let corrupt = runproof_engine::ports::StoreError::Corrupt { at, problem };
        assert_eq!(refused, Err(SequenceError::Store(corrupt)));
        assert_eq!(number(&client, "SELECT size FROM public.ledger_head").await, 2);
    });
}

/// As when a replica that lost the last commits takes over between the commit and the signature.
#[test]
fn a_head_is_signed_only_while_the_database_still_has_its_tree() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        client
            .batch_execute(
                "CREATE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     SET LOCAL session_replication_role = replica;
                     UPDATE public.ledger_tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40));
                     RETURN NULL;
                 END $$;
                 CREATE CONSTRAINT TRIGGER lose AFTER UPDATE ON public.ledger_head DEFERRABLE INITIALLY DEFERRED
                     FOR EACH ROW WHEN (NEW.size = 2) EXECUTE FUNCTION public.lose();",
            )
            .await
            .unwrap();
        insert(&client, "run/a", 0, "a0").await;
        let refused = ledger.sequencer().place(&ledger.connect(Way::Direct).await).await;
        let text = "the database lost the head that was to be signed: it was rolled back or replaced".to_owned();
        let unavailable = runproof_engine::ports::StoreError::Unavailable(text);
        assert_eq!(refused, Err(SequenceError::Store(unavailable)));
        assert_eq!(number(&client, "SELECT max(size) FROM public.checkpoints").await, 1);
        assert_eq!(ledger.keeper.last().unwrap().size, 1);
    });
}

/// Two processes of one home: the other one signs and keeps a head whenever this one asks for what was kept.
struct Overtaken {
    ledger: Arc<Ledger>,
    signer: NoteSigner,
    other: Box<dyn Notary>,
}

impl Notary for Overtaken {
    fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    fn keep(&self, note: &str, lost: Option<&Checkpoint>) -> Result<(), String> {
        self.other.keep(note, lost)
    }

    fn last(&self) -> Option<Checkpoint> {
        let ledger = Arc::clone(&self.ledger);
        let overtake = async move {
            let client = ledger.connect(Way::Direct).await;
            let stream = format!("run/{}", number(&client, "SELECT count(*) FROM public.transitions").await);
            insert(&client, &stream, 0, "event").await;
            place_all(&mut ledger.sequencer(), &client).await.unwrap();
        };
        std::thread::spawn(|| runtime().block_on(overtake)).join().unwrap();
        self.ledger.keeper.last()
    }

    fn now(&self) -> u64 {
        self.other.now()
    }
}

#[test]
fn a_head_that_another_process_of_the_home_signs_meanwhile_is_no_rollback() {
    let ledger = Arc::new(Ledger::new());
    let (signer, other) = (ledger.keeper.signer(), ledger.keeper.notary());
    let notary = Box::new(Overtaken { ledger: Arc::clone(&ledger), signer, other });
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        assert_eq!(Sequencer::new(LOG, notary).check(&client).await, Ok(()));
        audit(&ledger, &client).await;
    });
}
