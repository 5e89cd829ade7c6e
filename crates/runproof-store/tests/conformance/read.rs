//! What can be read back.

use std::sync::Arc;

use runproof_engine::driver::Left;
use runproof_engine::run::RunStatus;
use runproof_proof::event::EndStatus;
use serde_json::{Value, json};

use crate::doubles::{START, block_on};
use crate::support::*;

/// Runs in every state in which a run can be left, by id.
fn stories() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("r_succeeded", "succeeded", mixed_plan()),
        ("r_failed", "failed", plan(json!([{"id": "gone", "skill": "gone"}, {"id": "pay", "skill": "pay"}]))),
        ("r_waiting", "waiting", plan(json!([{"id": "look", "skill": "look"}, {"id": "doubt", "skill": "doubt"}]))),
    ]
}

pub(crate) fn a_loaded_run_is_the_run_that_was_driven(subject: &mut dyn Subject) {
    let store = subject.store();
    for (run_id, status, plan) in stories() {
        let opened = open(store.as_ref(), TENANT, run_id, plan);
        assert_same(&opened.run, &load(store.as_ref(), TENANT, run_id));
        assert_eq!(opened.run.status().word(), "queued");
        let (run, _) = Process::plain(Arc::clone(&store) as _).drive(claimed(opened)).unwrap();
        assert_eq!(run.status().word(), status);
        assert_same(&run, &load(store.as_ref(), TENANT, run_id));
    }
}

pub(crate) fn rows_say_what_the_events_say(subject: &mut dyn Subject) {
    let store = subject.store();
    let queued = open(store.as_ref(), TENANT, "r_queued", mixed_plan());
    assert_rows(&evidence(store.as_ref(), TENANT, "r_queued"), &queued.run);
    for (run_id, _, plan) in stories() {
        let (run, left) = driven(&store, TENANT, run_id, plan);
        let evidence = evidence(store.as_ref(), TENANT, run_id);
        assert_rows(&evidence, &run);
        assert_eq!(evidence.rows["aos_trace_steps"].len(), run.steps.len());
        assert_eq!(evidence.rows["run_seals"].len(), usize::from(matches!(left, Left::Ended(_))));
    }
}

pub(crate) fn runs_are_listed_newest_first(subject: &mut dyn Subject) {
    let store = subject.store();
    let times = [(TENANT, "r_1", 1), (OTHER, "o_1", 2), (TENANT, "r_3", 3), (TENANT, "r_2", 3)];
    for (tenant, run_id, at) in times {
        block_on(store.open_run(admitted(tenant, run_id, Some(mixed_plan())), None, stamp(START + at))).unwrap();
    }
    let ids = |tenant: Option<&str>, limit: usize| {
        let runs = block_on(store.list_runs(tenant, limit)).unwrap();
        runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 10), ["r_3", "r_2", "o_1", "r_1"]);
    assert_eq!(ids(Some(TENANT), 2), ["r_3", "r_2"]);
    assert_eq!(ids(Some(OTHER), 10), ["o_1"]);
    assert!(ids(Some("t_9"), 10).is_empty() && ids(None, 0).is_empty());
    let listed = block_on(store.list_runs(Some(OTHER), 1)).unwrap().remove(0);
    assert_eq!((listed.tenant_id.as_str(), listed.agent_id.as_str(), listed.status.as_str()), (OTHER, AGENT, "queued"));
    assert_eq!((listed.run_no, listed.created_at.as_str()), (Some(1), "2027-01-15T08:00:00.000002Z"));
    assert_eq!((listed.wait_reason, listed.wait_ref, listed.completed_at), (None, None, None));
    let (_, _) = driven(&store, OTHER, "o_2", plan(json!([{"id": "doubt", "skill": "doubt"}])));
    let waiting = block_on(store.list_runs(Some(OTHER), 10)).unwrap();
    let waiting = waiting.iter().find(|run| run.run_id == "o_2").unwrap();
    assert_eq!((waiting.wait_reason.as_deref(), waiting.wait_ref.as_deref()), (Some("resolution"), Some("doubt")));
}

pub(crate) fn agents_are_listed_by_tenant_and_id(subject: &mut dyn Subject) {
    let store = subject.store();
    let create = |tenant: &str, id: &str| {
        change(
            store.as_ref(),
            tenant,
            runproof_store::TenantChange::CreateAgent { id: id.to_owned(), name: "n".to_owned() },
        );
    };
    create(TENANT, "b");
    create(TENANT, "a");
    let listed = |tenant: Option<&str>| {
        let agents = block_on(store.list_agents(tenant)).unwrap();
        agents.into_iter().map(|agent| format!("{}/{}/{}", agent.tenant_id, agent.id, agent.name)).collect::<Vec<_>>()
    };
    assert_eq!(listed(Some(TENANT)), ["t_1/a/n", "t_1/a_1/agent of t_1", "t_1/b/n"]);
    assert_eq!(listed(None), ["t_1/a/n", "t_1/a_1/agent of t_1", "t_1/b/n", "t_2/a_1/agent of t_2"]);
    assert!(listed(Some("t_9")).is_empty());
}

pub(crate) fn what_is_not_there_is_read_as_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    assert!(block_on(store.load_run(TENANT, "r_9")).unwrap().is_none());
    let none = evidence(store.as_ref(), TENANT, "r_9");
    assert!(none.transitions.is_empty() && none.rows.values().all(Vec::is_empty));
    assert_eq!(
        none.rows.keys().copied().collect::<Vec<_>>(),
        ["aos_trace_steps", "aos_traces", "erasures", "holds", "run_seals", "runs"]
    );
    assert_eq!(none.log, LOG);
    assert_eq!(none.tenant_transitions.len(), 2, "the tenant's own stream is there");
}

pub(crate) fn everything_is_still_there_after_a_restart(subject: &mut dyn Subject) {
    let before = {
        let store = subject.store();
        for (run_id, _, plan) in stories() {
            driven(&store, TENANT, run_id, plan);
        }
        stories().iter().map(|(run_id, ..)| load(store.as_ref(), TENANT, run_id)).collect::<Vec<_>>()
    };
    subject.restart();
    let store = subject.store();
    for run in &before {
        assert_same(run, &load(store.as_ref(), TENANT, &run.id));
    }
    let (run, _) = driven(&store, TENANT, "r_after", mixed_plan());
    assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded));
    assert_eq!(run.header.as_ref().map(|header| header.run_no), Some(4));
}
