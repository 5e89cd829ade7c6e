//! Places: order, gaps, several sequencers at once, and ends at every point.

use super::*;

#[test]
fn a_place_is_given_once_and_in_order_also_through_the_pooler() {
    for way in [Way::Direct, Way::Pooled] {
        let ledger = Ledger::new();
        runtime().block_on(async {
            let client = ledger.connect(way).await;
            let mut sequencer = ledger.sequencer();
            insert(&client, "run/a", 0, "a0\na1").await;
            insert(&client, "run/b", 0, "b0").await;
            insert(&client, "run/a", 2, "a2").await;
            assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 3, size: 5, more: false }));
            assert_eq!(place_all(&mut sequencer, &client).await, Ok(0));
            let expected = [("log", 0), ("run/a", 0), ("run/b", 0), ("run/a", 2)];
            assert_eq!(order(&client).await, expected.map(|(stream, seq)| (stream.to_owned(), seq)));
            audit(&ledger, &client).await;
            assert_eq!(ledger.keeper.last().unwrap().size, 5);
        });
    }
}

#[test]
fn tiles_are_right_across_their_borders() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let mut sequencer = ledger.sequencer();
        let mut size = 1;
        for (transition, until) in
            [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000].into_iter().enumerate()
        {
            let events: Vec<String> = (size..until).map(|n| format!("{n}")).collect();
            insert(&client, &format!("run/{transition}"), 0, &events.join("\n")).await;
            size = until;
            assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 1, size, more: false }));
        }
        audit(&ledger, &client).await;
    });
}

#[test]
fn a_pass_is_bounded_in_transitions_and_in_bytes() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let mut sequencer = ledger.sequencer();
        insert_many(&client, "small", 5000).await;
        assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 4096, size: 4097, more: true }));
        assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 904, size: 5001, more: false }));
        let large = "x".repeat(9 * 1024 * 1024);
        for stream in ["run/1", "run/2", "run/3"] {
            insert(&client, stream, 0, &large).await;
        }
        assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 2, size: 5003, more: true }));
        assert_eq!(sequencer.place(&client).await, Ok(Placed::Here { transitions: 1, size: 5004, more: false }));
        audit(&ledger, &client).await;
    });
}

/// Writers in several streams, and two processes that place what they write, one of them through the pooler.
#[test]
fn sequencers_that_race_make_one_ledger() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let mut writers = Vec::new();
        for writer in 0..4 {
            let client = ledger.connect(if writer % 2 == 0 { Way::Direct } else { Way::Pooled }).await;
            writers.push(tokio::spawn(async move {
                for seq in 0..500 {
                    let (first, stream) = (seq * 2, format!("run/{writer}"));
                    insert(&client, &stream, first, &format!("{stream} {first}\n{stream} {}", first + 1)).await;
                    if seq % 50 == 0 {
                        insert_many(&client, &format!("{writer}-{seq}-"), 40).await;
                    }
                }
            }));
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut racers = Vec::new();
        for (way, keeper) in [(Way::Direct, ledger.keeper.clone()), (Way::Pooled, Keeper::new(7, None))] {
            let (client, stopped) = (ledger.connect(way).await, stopped.clone());
            racers.push(tokio::spawn(async move {
                let mut sequencer = Sequencer::new(LOG, keeper.notary());
                let mut placed = 0;
                loop {
                    let last = *stopped.borrow();
                    match sequencer.place(&client).await.unwrap() {
                        Placed::Here { transitions, .. } => placed += transitions,
                        Placed::Nothing if last => return (placed, keeper.last()),
                        Placed::Nothing => tokio::task::yield_now().await,
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        stop.send(true).unwrap();
        let (mut placed, mut kept) = (0, Vec::new());
        for racer in racers {
            let (by_one, last) = racer.await.unwrap();
            assert!(by_one > 0, "only one of them got to place anything");
            placed += by_one;
            kept.push(last.unwrap());
        }
        assert_eq!(placed, 4 * (500 + 10 * 40));
        let client = ledger.connect(Way::Direct).await;
        let root = audit(&ledger, &client).await;
        assert_eq!(kept[0].size.max(kept[1].size), 1 + 4 * (2 * 500 + 10 * 40));
        assert!(kept.iter().all(|kept| kept.size < 5601 || kept.root == root));
        assert!(number(&client, "SELECT count(*) FROM public.checkpoints").await > 2, "they did not race");
    });
}

#[test]
fn a_head_that_nobody_came_to_sign_is_signed_by_the_next_one() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        // The process ends after its commit: what would come next is refused.
        client
            .batch_execute("ALTER TABLE public.checkpoints ADD CONSTRAINT dead CHECK (size < 2) NOT VALID")
            .await
            .unwrap();
        insert(&client, "run/a", 0, "a0").await;
        let mut dying = ledger.sequencer();
        let ended = dying.place(&ledger.connect(Way::Direct).await).await;
        assert!(matches!(ended, Err(SequenceError::Store(_))), "{ended:?}");
        assert_eq!(number(&client, "SELECT size FROM public.ledger_head").await, 2);
        assert_eq!(ledger.keeper.last().unwrap().size, 1);
        client.batch_execute("ALTER TABLE public.checkpoints DROP CONSTRAINT dead").await.unwrap();
        let next = ledger.sequencer().place(&client).await;
        assert_eq!(next, Ok(Placed::Here { transitions: 0, size: 2, more: false }));
        assert_eq!(ledger.keeper.last().unwrap().size, 2);
        audit(&ledger, &client).await;
    });
}

#[test]
fn a_pass_that_is_cut_off_before_its_commit_leaves_nothing() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        client
            .batch_execute("ALTER TABLE public.ledger_head ADD CONSTRAINT dead CHECK (size < 2) NOT VALID")
            .await
            .unwrap();
        insert(&client, "run/a", 0, "a0").await;
        let mut sequencer = ledger.sequencer();
        let ended = sequencer.place(&ledger.connect(Way::Pooled).await).await;
        assert!(matches!(ended, Err(SequenceError::Store(_))), "{ended:?}");
        assert_eq!(order(&client).await.len(), 1);
        client.batch_execute("ALTER TABLE public.ledger_head DROP CONSTRAINT dead").await.unwrap();
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(1));
        audit(&ledger, &client).await;
    });
}

#[test]
fn a_checkpoint_that_cannot_be_kept_is_kept_by_the_next_pass() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert(&client, "run/a", 0, "a0").await;
        let broken = Keeper::new(7, ledger.keeper.last());
        broken.break_down();
        let ended = Sequencer::new(LOG, broken.notary()).place(&client).await;
        assert_eq!(ended, Err(SequenceError::NotKept("the other medium is gone".to_owned())));
        assert_eq!(place_all(&mut ledger.sequencer(), &client).await, Ok(0));
        assert_eq!(ledger.keeper.last().unwrap().size, 2, "what another process signed becomes known");
        audit(&ledger, &client).await;
    });
}

#[test]
fn a_ledger_is_made_once_by_whoever_comes_first() {
    use runproof_store::postgres::{self, Address, OpenError};
    let database = cluster::fresh_database();
    let keepers = [Keeper::new(7, None), Keeper::new(7, None)];
    runtime().block_on(async {
        let address = Address::parse(&database.direct_url()).unwrap();
        postgres::create(&address, "2027-01-15T08:00:00.000000Z").await.unwrap();
        let [first, second] =
            keepers.each_ref().map(|keeper| postgres::create_ledger(&address, keeper.notary(), [1; 32]));
        let (first, second) = tokio::join!(first, second);
        first.unwrap();
        second.unwrap();
        postgres::create_ledger(&address, keepers[0].notary(), [2; 32]).await.unwrap();
        let other = postgres::create_ledger(&address, Keeper::new(8, None).notary(), [1; 32]).await;
        assert!(matches!(other, Err(OpenError::Sequence(SequenceError::OtherKey { .. }))), "{other:?}");
    });
    let ledger = Ledger { database, keeper: keepers[0].clone() };
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        assert_eq!(order(&client).await, [("log".to_owned(), 0)]);
        audit(&ledger, &client).await;
    });
}
