//! The key-value space of a tenant: what guards hold a write to, versions, and keys that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use runproof_engine::ports::{Append, Claim, KeyValues, StoreError, Stored};
use runproof_engine::skill::{Guard, Write};
use runproof_store::Store;

use super::append::{endless, first_append, writes_nothing};
use crate::doubles::{START, block_on};
use crate::support::*;

fn put(key: &str, value: &str, guard: Guard) -> Write {
    Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), expires_at: None, guard }
}

fn expiring(key: &str, expires_at: u64) -> Write {
    Write::Put { key: key.to_owned(), value: b"1".to_vec(), expires_at: Some(expires_at), guard: Guard::Any }
}

fn delete(key: &str, guard: Guard) -> Write {
    Write::Delete { key: key.to_owned(), guard }
}

/// An append of a new run that brings these writes.
fn bringing(store: &dyn Store, tenant: &str, writes: Vec<Write>) -> Append {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run_id = format!("r_kv_{}", RUNS.fetch_add(1, Ordering::SeqCst));
    let (append, _) = first_append(&claimed(open(store, tenant, &run_id, endless())), Claim::Keep);
    Append { writes, ..append }
}

fn write(store: &dyn Store, tenant: &str, writes: Vec<Write>) -> Result<(), StoreError> {
    block_on(store.append(bringing(store, tenant, writes)))
}

fn written(store: &dyn Store, writes: Vec<Write>) {
    write(store, TENANT, writes).unwrap();
}

fn read(values: &dyn KeyValues, tenant: &str, key: &str) -> Option<Stored> {
    block_on(values.read(tenant, key)).unwrap()
}

fn version(values: &dyn KeyValues, key: &str) -> u64 {
    read(values, TENANT, key).expect("a key that is stored").version
}

fn stale(key: &str) -> StoreError {
    StoreError::Stale { key: key.to_owned() }
}

pub(crate) fn what_is_written_is_read(subject: &mut dyn Subject) {
    {
        let (store, values) = (subject.store(), subject.key_values());
        assert_eq!(read(values.as_ref(), TENANT, "k"), None);
        written(store.as_ref(), vec![put("k", r#"{"a":1}"#, Guard::Absent), expiring("e", START + 5)]);
    }
    subject.restart();
    let values = subject.key_values();
    let stored = read(values.as_ref(), TENANT, "k").unwrap();
    assert_eq!((stored.value.as_slice(), stored.expires_at), (&br#"{"a":1}"#[..], None));
    let expiring = read(values.as_ref(), TENANT, "e").unwrap();
    assert_eq!((expiring.version, expiring.expires_at), (stored.version, Some(START + 5)), "one append, one version");
}

pub(crate) fn a_guard_is_about_what_is_stored(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let (store, values) = (store.as_ref(), values.as_ref());
    written(store, vec![put("k", "0", Guard::Any)]);
    let first = version(values, "k");
    written(store, vec![put("k", "1", Guard::Version(first))]);
    let second = version(values, "k");
    for (guard, holds) in [
        (Guard::Absent, false),
        (Guard::Version(first), false),
        (Guard::Version(second + 1), false),
        (Guard::Any, true),
    ] {
        for attempted in [delete("k", guard), put("k", "2", guard)] {
            let now = version(values, "k");
            let expected = if holds { Ok(()) } else { Err(stale("k")) };
            assert_eq!(write(store, TENANT, vec![attempted.clone()]), expected, "{attempted:?}");
            if holds {
                written(store, vec![put("k", "3", Guard::Any)]);
            } else {
                assert_eq!(version(values, "k"), now);
            }
        }
    }
    let now = version(values, "k");
    written(store, vec![delete("k", Guard::Version(now))]);
    assert_eq!(read(values, TENANT, "k"), None);
    for (guard, holds) in [(Guard::Version(now), false), (Guard::Any, true), (Guard::Absent, true)] {
        let expected = if holds { Ok(()) } else { Err(stale("k")) };
        assert_eq!(write(store, TENANT, vec![delete("k", guard)]), expected, "{guard:?}");
    }
}

pub(crate) fn a_stale_append_writes_nothing_at_all(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    written(store.as_ref(), vec![put("k", "1", Guard::Absent), expiring("old", START)]);
    let (kept, old) = (read(values.as_ref(), TENANT, "k"), read(values.as_ref(), TENANT, "old"));
    let good = vec![put("other", "1", Guard::Absent), Write::DeleteExpired { until: START }];
    for late in [put("k", "2", Guard::Absent), delete("k", Guard::Version(0))] {
        let append = bringing(store.as_ref(), TENANT, [good.clone(), vec![late]].concat());
        writes_nothing(store.as_ref(), append.clone(), stale("k"));
        assert_eq!(read(values.as_ref(), TENANT, "k"), kept);
        assert_eq!(read(values.as_ref(), TENANT, "old"), old);
        assert_eq!(read(values.as_ref(), TENANT, "other"), None);
        // Whoever reads again and writes what follows from it goes on from the same head.
        block_on(store.append(Append { writes: Vec::new(), ..append })).unwrap();
    }
    // Somebody without the claim learns that first.
    let append = bringing(store.as_ref(), TENANT, vec![put("k", "2", Guard::Absent)]);
    let run_id = append.run_id.clone();
    writes_nothing(
        store.as_ref(),
        Append { expected_seq: append.expected_seq + 1, ..append },
        StoreError::Conflict(run_id),
    );
}

pub(crate) fn writes_of_one_append_follow_each_other(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    written(
        store.as_ref(),
        vec![
            put("k", "1", Guard::Absent),
            delete("k", Guard::Any),
            put("k", "2", Guard::Absent),
            delete("none", Guard::Absent),
        ],
    );
    assert_eq!(read(values.as_ref(), TENANT, "k").unwrap().value, b"2");
    let twice = vec![put("n", "1", Guard::Absent), put("n", "2", Guard::Absent)];
    assert_eq!(write(store.as_ref(), TENANT, twice), Err(stale("n")));
    assert_eq!(read(values.as_ref(), TENANT, "n"), None);
}

pub(crate) fn a_version_is_never_used_twice(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let mut seen = Vec::new();
    for round in 0..12 {
        if round % 3 == 2 {
            written(store.as_ref(), vec![delete("k", Guard::Any)]);
        }
        written(store.as_ref(), vec![put("k", "1", Guard::Any)]);
        seen.push(version(values.as_ref(), "k"));
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
}

pub(crate) fn a_version_names_the_transition_that_wrote_it(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let append = bringing(store.as_ref(), TENANT, vec![put("k", "1", Guard::Absent)]);
    let run_id = append.run_id.clone();
    block_on(store.append(append)).unwrap();
    let transitions = evidence(store.as_ref(), TENANT, &run_id).transitions;
    assert_eq!(version(values.as_ref(), "k"), version_of(transitions.last().unwrap()));
}

pub(crate) fn no_tenant_reads_or_writes_keys_of_another(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let (store, values) = (store.as_ref(), values.as_ref());
    written(store, vec![put("k", "1", Guard::Absent), expiring("e", START)]);
    let ours = version(values, "k");
    assert_eq!(read(values, OTHER, "k"), None);
    assert_eq!(write(store, OTHER, vec![put("k", "2", Guard::Version(ours))]), Err(stale("k")));
    // Of the same names, theirs go and ours stay.
    write(store, OTHER, vec![expiring("k", START), expiring("e", START)]).unwrap();
    write(store, OTHER, vec![delete("k", Guard::Any), Write::DeleteExpired { until: u64::MAX >> 1 }]).unwrap();
    assert_eq!((read(values, OTHER, "k"), read(values, OTHER, "e")), (None, None));
    assert!(read(values, TENANT, "e").is_some());
    write(store, OTHER, vec![expiring("k", START)]).unwrap();
    written(store, vec![Write::DeleteExpired { until: START }]);
    assert_eq!(read(values, TENANT, "e"), None);
    write(store, OTHER, vec![delete("k", Guard::Any)]).unwrap();
    write(store, OTHER, vec![put("k", "2", Guard::Absent)]).unwrap();
    assert_eq!(read(values, TENANT, "k").unwrap().value, b"1");
    assert_eq!(read(values, OTHER, "k").unwrap().value, b"2");
}

pub(crate) fn an_expired_key_is_stored_until_somebody_writes(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let (store, values) = (store.as_ref(), values.as_ref());
    written(store, vec![expiring("k", START)]);
    let old = version(values, "k");
    // The guard asks what is stored, not what the time is.
    assert_eq!(write(store, TENANT, vec![put("k", "2", Guard::Absent)]), Err(stale("k")));
    written(store, vec![put("k", "2", Guard::Version(old))]);
    assert_eq!(read(values, TENANT, "k").unwrap().expires_at, None, "a new value brings its own time");
}

pub(crate) fn the_longest_expired_go_first_up_to_the_limit(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    let (store, values) = (store.as_ref(), values.as_ref());
    let most = Write::MOST_EXPIRED;
    let key = |number: u64| format!("k_{number:02}");
    written(store, (0..most + 3).rev().map(|number| expiring(&key(number), START + number)).collect());
    written(store, vec![put("for ever", "1", Guard::Any)]);
    let left = || (0..most + 3).filter(|number| read(values, TENANT, &key(*number)).is_some()).collect::<Vec<_>>();
    let sweep = |until| written(store, vec![Write::DeleteExpired { until }]);
    sweep(START - 1);
    assert_eq!(left().len() as u64, most + 3);
    sweep(START + 1);
    assert_eq!(left(), (2..most + 3).collect::<Vec<_>>(), "at its time a key has expired");
    sweep(START + most);
    assert_eq!(left(), [most + 1, most + 2]);
    sweep(START + 1_000_000);
    assert!(left().is_empty() && read(values, TENANT, "for ever").is_some());
    written(store, (0..most + 3).map(|number| expiring(&key(number), START)).collect());
    sweep(START);
    assert_eq!(left(), [most, most + 1, most + 2], "no write does more than it must");
}

pub(crate) fn of_many_that_write_under_one_version_one_does(subject: &mut dyn Subject) {
    let (store, values) = (subject.store(), subject.key_values());
    written(store.as_ref(), vec![put("k", "0", Guard::Absent)]);
    let mut was = version(values.as_ref(), "k");
    for round in 0..4 {
        let appends: Vec<Append> = (0..8)
            .map(|_| bringing(store.as_ref(), TENANT, vec![put("k", &format!("{round}"), Guard::Version(was))]))
            .collect();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = appends
                .into_iter()
                .map(|append| {
                    let store = Arc::clone(&store);
                    scope.spawn(move || block_on(store.append(append)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|error| *error == stale("k")));
        let now = version(values.as_ref(), "k");
        assert!(now > was);
        was = now;
    }
}
