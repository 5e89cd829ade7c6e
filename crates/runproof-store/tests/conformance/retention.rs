//! Archives, holds and tombstones: what a step writes, what it removes, and what keeps it off.

use runproof_engine::ports::StoreError;
use runproof_engine::run::Run;
use runproof_proof::event::Body;
use runproof_proof::hash::{leaf, sha256};
use runproof_store::{CommandError, Leaves, NewArchive, Retention, Store, TenantChange};

use crate::doubles::{START, block_on};
use crate::support::*;

/// What would be archived of a run as it stands now.
fn new_archive(store: &dyn Store, tenant: &str, run_id: &str) -> NewArchive {
    let bundle = bundle(store, tenant, run_id);
    let Body::RunSealed(seal) = &bundle.entries.last().unwrap().event.body else { panic!("a run that is over") };
    let Body::RunCreated(created) = &bundle.entries[0].event.body else { panic!("a run that begins") };
    NewArchive {
        run_id: run_id.to_owned(),
        run_no: created.run_no,
        leaves: Leaves::of(placed(&evidence(store, tenant, run_id).transitions).iter().map(|placed| placed.index))
            .unwrap(),
        run_root: seal.run_root,
        erasures: bundle.records.len() as u64,
        bundle: bundle.encode().unwrap(),
    }
}

fn archive(store: &dyn Store, tenant: &str, new: &NewArchive) -> Result<(), CommandError> {
    block_on(store.retain(tenant, Retention::Archive(Box::new(new.clone())), stamp(START)))
}

fn remove(store: &dyn Store, tenant: &str, run_id: &str) -> Result<(), CommandError> {
    block_on(store.retain(tenant, Retention::Remove { run_id: run_id.to_owned() }, stamp(START)))
}

fn purge(store: &dyn Store, tenant: &str, run_id: &str) -> Result<(), CommandError> {
    block_on(store.retain(tenant, Retention::Purge { run_id: run_id.to_owned() }, stamp(START)))
}

fn hold(store: &dyn Store, tenant: &str, run_id: &str) -> Result<(), CommandError> {
    let change = TenantChange::PlaceHold { run_id: run_id.to_owned(), reason: "a lawsuit".to_owned() };
    block_on(store.change_tenant(tenant, change, stamp(START)))
}

fn lift(store: &dyn Store, tenant: &str, run_id: &str) -> Result<(), CommandError> {
    let change = TenantChange::LiftHold { run_id: run_id.to_owned(), reason: "it is over".to_owned() };
    block_on(store.change_tenant(tenant, change, stamp(START)))
}

fn erase_goal(store: &dyn Store, run_id: &str) -> Result<(), CommandError> {
    let (field, reason) = ("goal".to_owned(), "asked for".to_owned());
    let change = TenantChange::Erase { run_id: run_id.to_owned(), seq: 0, field, index: None, reason };
    block_on(store.change_tenant(TENANT, change, stamp(START)))
}

/// A run that is over, and what would be archived of it.
fn over(subject: &dyn Subject, run_id: &str) -> (Run, NewArchive) {
    let store = subject.store();
    let (run, _) = driven(&store, TENANT, run_id, mixed_plan());
    let last = placed(&evidence(store.as_ref(), TENANT, run_id).transitions).last().unwrap().index;
    subject.keeper().wait_for(last + 1);
    (run, new_archive(store.as_ref(), TENANT, run_id))
}

fn last_event(store: &dyn Store) -> Body {
    placed(&evidence(store, TENANT, "none").tenant_transitions).pop().unwrap().entry.event.body
}

pub(crate) fn an_archived_run_is_read_from_its_archive(subject: &mut dyn Subject) {
    let (run, new) = over(subject, "r_1");
    let (other, _) = over(subject, "r_2");
    let store = subject.store();
    let store = store.as_ref();
    archive(store, TENANT, &new).unwrap();
    assert!(
        matches!(last_event(store), Body::TenantRunArchived(body) if body.run_id == "r_1" && body.run_root == new.run_root)
    );
    let between = evidence(store, TENANT, "r_1");
    let kept = between.archive.unwrap();
    assert_eq!((kept.bundle_digest, kept.run_no), (sha256(&new.bundle).hex(), new.run_no));
    assert!(kept.bundle == new.bundle && kept.leaves == new.leaves.to_string());
    assert!(!between.transitions.is_empty(), "the rows stay until they are removed");
    for table in ["aos_traces", "aos_trace_steps"] {
        let archived = runproof_engine::projection::Cell::Text(kept.archived_at.clone());
        assert!(between.rows[table].iter().all(|row| row["archived_at"] == archived), "{table}");
    }
    assert_same(&load(store, TENANT, "r_1"), &run);

    remove(store, TENANT, "r_1").unwrap();
    remove(store, TENANT, "r_1").unwrap(); // a removal whose answer was lost is made again
    let after = evidence(store, TENANT, "r_1");
    assert!(after.transitions.is_empty() && after.rows.values().all(Vec::is_empty), "{:?}", after.rows);
    assert!(after.archive.unwrap().bundle == new.bundle);
    assert_same(&load(store, TENANT, "r_1"), &run);
    assert_same(&load(store, TENANT, "r_2"), &other);
    assert_rows(&evidence(store, TENANT, "r_2"), &other);
    let kept = block_on(store.list_kept(None)).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].run_id.as_str(), kept[0].state, kept[0].run_no), ("r_1", "archived", new.run_no));
    assert_eq!(block_on(store.list_runs(Some(TENANT), 9)).unwrap().len(), 1);
    let again = block_on(store.open_run(admitted(TENANT, "r_1", Some(mixed_plan())), None, stamp(START)));
    assert!(matches!(again, Err(CommandError::Refused(_))), "a run id is used once, whatever became of the run");
}

pub(crate) fn a_purged_run_leaves_its_tombstone(subject: &mut dyn Subject) {
    let (run, new) = over(subject, "r_1");
    let store = subject.store();
    let store = store.as_ref();
    archive(store, TENANT, &new).unwrap();
    remove(store, TENANT, "r_1").unwrap();
    purge(store, TENANT, "r_1").unwrap();
    let seal = run.seal.as_ref().unwrap();
    assert!(matches!(last_event(store), Body::TenantRunPurged(body)
        if body.run_id == "r_1" && body.run_root == new.run_root && body.event_count == seal.0.event_count));
    let after = evidence(store, TENANT, "r_1");
    let tombstone = after.tombstone.unwrap();
    assert_eq!(after.archive, None);
    assert_eq!((tombstone.run_no, tombstone.leaves), (new.run_no, new.leaves.to_string()));
    assert_eq!((leaf(tombstone.seal.as_bytes()), tombstone.run_root), (run.head, new.run_root.hex()));
    assert!(block_on(store.load_run(TENANT, "r_1")).unwrap().is_none());
    assert_eq!(block_on(store.list_kept(Some(TENANT))).unwrap()[0].state, "purged");
    let purged = || CommandError::Purged("r_1".to_owned());
    assert_eq!(archive(store, TENANT, &new), Err(purged()));
    assert_eq!(remove(store, TENANT, "r_1"), Err(purged()));
    assert_eq!(purge(store, TENANT, "r_1"), Err(purged()));
    assert_eq!(hold(store, TENANT, "r_1"), Err(purged()));
    let again = block_on(store.open_run(admitted(TENANT, "r_1", Some(mixed_plan())), None, stamp(START)));
    assert!(matches!(again, Err(CommandError::Refused(_))), "{again:?}");
}

pub(crate) fn nothing_of_a_held_run_is_removed(subject: &mut dyn Subject) {
    let (_, new) = over(subject, "r_1");
    let store = subject.store();
    let store = store.as_ref();
    let held = || Err(CommandError::Held("r_1".to_owned()));
    let holds = || block_on(store.list_holds(TENANT)).unwrap();
    assert_eq!(lift(store, TENANT, "r_1"), Err(CommandError::NotHeld("r_1".to_owned())));
    hold(store, TENANT, "r_1").unwrap();
    assert_eq!(hold(store, TENANT, "r_1"), held());
    assert_eq!(archive(store, TENANT, &new), held());
    lift(store, TENANT, "r_1").unwrap();
    archive(store, TENANT, &new).unwrap();
    hold(store, TENANT, "r_1").unwrap();
    assert_eq!(remove(store, TENANT, "r_1"), held());
    lift(store, TENANT, "r_1").unwrap();
    remove(store, TENANT, "r_1").unwrap();
    hold(store, TENANT, "r_1").unwrap();
    assert_eq!(purge(store, TENANT, "r_1"), held());
    assert_eq!(holds().iter().map(|hold| hold.lifted_at.is_some()).collect::<Vec<_>>(), [true, true, false]);
    assert!(holds().iter().all(|hold| hold.reason == "a lawsuit" && hold.run_id == "r_1"));
    assert_eq!(evidence(store, TENANT, "r_1").rows["holds"].len(), 3);
    lift(store, TENANT, "r_1").unwrap();
    purge(store, TENANT, "r_1").unwrap();
    assert!(block_on(store.list_holds(OTHER)).unwrap().is_empty());
}

pub(crate) fn steps_out_of_order_write_nothing(subject: &mut dyn Subject) {
    let (_, new) = over(subject, "r_1");
    let store = subject.store();
    driven(&store, TENANT, "r_open", plan(serde_json::json!([{"id": "doubt", "skill": "doubt"}])));
    let store = store.as_ref();
    let not_archived = || Err(CommandError::NotArchived("r_1".to_owned()));
    let no_run = |tenant: &str| Err(CommandError::NoRun { tenant: tenant.to_owned(), run_id: "r_1".to_owned() });
    let before = placed(&evidence(store, TENANT, "none").tenant_transitions).len();
    assert_eq!(remove(store, TENANT, "r_1"), not_archived());
    assert_eq!(purge(store, TENANT, "r_1"), not_archived());
    let open = NewArchive { run_id: "r_open".to_owned(), ..new.clone() };
    assert_eq!(archive(store, TENANT, &open), Err(CommandError::RunOpen("r_open".to_owned())));
    assert_eq!(archive(store, OTHER, &new), no_run(OTHER));
    assert_eq!(hold(store, OTHER, "r_1"), no_run(OTHER));
    archive(store, "t_9", &new).unwrap_err();
    assert_eq!(placed(&evidence(store, TENANT, "none").tenant_transitions).len(), before);
    archive(store, TENANT, &new).unwrap();
    assert_eq!(archive(store, TENANT, &new), Err(CommandError::Archived("r_1".to_owned())));
    assert_eq!(purge(store, TENANT, "r_1"), not_archived());
    assert_eq!(purge(store, OTHER, "r_1"), no_run(OTHER));
    assert_eq!(placed(&evidence(store, TENANT, "none").tenant_transitions).len(), before + 1);
    remove(store, TENANT, "r_1").unwrap();
    assert_eq!(remove(store, OTHER, "r_1"), no_run(OTHER));
    assert!(evidence(store, TENANT, "r_1").archive.is_some());
}

pub(crate) fn an_archive_never_holds_a_value_that_was_erased(subject: &mut dyn Subject) {
    let (_, new) = over(subject, "r_1");
    let store = subject.store();
    let store = store.as_ref();
    erase_goal(store, "r_1").unwrap();
    assert_eq!(archive(store, TENANT, &new), Err(CommandError::Store(StoreError::Conflict("r_1".to_owned()))));
    let last = placed(&evidence(store, TENANT, "r_1").tenant_transitions).last().unwrap().index;
    subject.keeper().wait_for(last + 1);
    let new = new_archive(store, TENANT, "r_1");
    archive(store, TENANT, &new).unwrap();
    let archived = || Err(CommandError::Archived("r_1".to_owned()));
    assert_eq!(erase_goal(store, "r_1"), archived());
    remove(store, TENANT, "r_1").unwrap();
    assert_eq!(erase_goal(store, "r_1"), archived());
    assert_eq!(load(store, TENANT, "r_1").goal, None, "the archive has no goal to show");
}

pub(crate) fn runs_are_offered_by_the_time_of_their_end(subject: &mut dyn Subject) {
    let store = subject.store();
    for run_id in ["r_1", "r_2"] {
        driven(&store, TENANT, run_id, mixed_plan());
    }
    driven(&store, TENANT, "r_open", plan(serde_json::json!([{"id": "doubt", "skill": "doubt"}])));
    let listed = block_on(store.list_runs(Some(TENANT), 9)).unwrap();
    let mut ends: Vec<String> = listed.into_iter().filter_map(|run| run.completed_at).collect();
    ends.sort();
    let offered = |time: &str, limit| block_on(store.over_before(TENANT, time, limit)).unwrap();
    assert_eq!(offered(&ends[1], 9), ["r_1", "r_2"]);
    assert_eq!(offered(&ends[1], 1), ["r_1"]);
    assert!(offered("2001-01-01T00:00:00.000000Z", 9).is_empty());
    assert!(block_on(store.over_before(OTHER, &ends[1], 9)).unwrap().is_empty());
}
