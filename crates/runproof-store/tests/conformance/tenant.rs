//! Tenants: what they own, what they cannot see, and what they may destroy.

use runproof_proof::event::Body;
use runproof_proof::finding::Verdict;
use runproof_proof::payload::Payload;
use runproof_store::{CommandError, Store, TenantChange};
use serde_json::{Value, json};

use crate::doubles::{START, block_on};
use crate::support::*;

fn create_agent(store: &dyn Store, tenant: &str, id: &str) -> Result<(), CommandError> {
    block_on(store.change_tenant(
        tenant,
        TenantChange::CreateAgent { id: id.to_owned(), name: "n".to_owned() },
        stamp(START),
    ))
}

fn erase(
    store: &dyn Store,
    tenant: &str,
    run_id: &str,
    seq: u64,
    field: &str,
    index: Option<u32>,
) -> Result<(), CommandError> {
    let reason = "asked for by the person".to_owned();
    let change = TenantChange::Erase { run_id: run_id.to_owned(), seq, field: field.to_owned(), index, reason };
    block_on(store.change_tenant(tenant, change, stamp(START)))
}

/// Seq of the first event of a kind.
fn seq_of(store: &dyn Store, tenant: &str, run_id: &str, kind: &str) -> u64 {
    let events = placed(&evidence(store, tenant, run_id).transitions);
    events.iter().find(|placed| placed.entry.event.body.kind() == kind).unwrap().entry.event.seq
}

pub(crate) fn tenants_and_agents_are_created_once(subject: &mut dyn Subject) {
    let store = subject.store();
    let again = block_on(store.change_tenant(TENANT, TenantChange::Create, stamp(START)));
    assert_eq!(again, Err(CommandError::TenantExists(TENANT.to_owned())));
    assert_eq!(create_agent(store.as_ref(), TENANT, AGENT), Err(CommandError::AgentExists(AGENT.to_owned())));
    assert_eq!(create_agent(store.as_ref(), "t_9", AGENT), Err(CommandError::NoTenant("t_9".to_owned())));
    create_agent(store.as_ref(), TENANT, "a_2").unwrap();
    let kinds: Vec<&str> = placed(&evidence(store.as_ref(), TENANT, "none").tenant_transitions)
        .iter()
        .map(|placed| placed.entry.event.body.kind())
        .collect();
    assert_eq!(
        kinds,
        ["tenant.created", "tenant.agent_created", "tenant.agent_created"],
        "what was refused is not on record"
    );
}

pub(crate) fn no_tenant_sees_anything_of_another(subject: &mut dyn Subject) {
    let store = subject.store();
    // The same ids on both sides, so that nothing but the tenant tells them apart.
    for (tenant, word) in [(TENANT, "mine-alone"), (OTHER, "theirs-alone")] {
        let steps = json!([{"id": word, "skill": "pay", "with": {"word": word}}]);
        driven(&store, tenant, "r_1", plan(steps));
        let seq = seq_of(store.as_ref(), tenant, "r_1", "run.created");
        erase(store.as_ref(), tenant, "r_1", seq, "goal", None).unwrap();
    }
    driven(&store, OTHER, "r_2", mixed_plan());
    for (tenant, other, word, strange) in
        [(TENANT, OTHER, "mine-alone", "theirs-alone"), (OTHER, TENANT, "theirs-alone", "mine-alone")]
    {
        let evidence = evidence(store.as_ref(), tenant, "r_1");
        let text = format!("{evidence:?}");
        assert!(text.contains(word) && !text.contains(strange) && !text.contains(&format!("\"{other}\"")), "{text}");
        assert_rows(&evidence, &load(store.as_ref(), tenant, "r_1"));
        assert_eq!(evidence.rows["erasures"].len(), 1);
        assert!(!format!("{:?}", load(store.as_ref(), tenant, "r_1")).contains(strange));
        let runs = block_on(store.list_runs(Some(tenant), 10)).unwrap();
        assert!(runs.iter().all(|run| run.tenant_id == tenant));
        assert!(block_on(store.list_agents(Some(tenant))).unwrap().iter().all(|agent| agent.tenant_id == tenant));
        // The erasure is recorded after the run, and is part of its proof.
        subject.keeper().wait_for(1 + placed(&evidence.tenant_transitions).last().unwrap().index);
        assert_eq!(prove(subject, tenant, "r_1").step_count, 1);
    }
    assert!(block_on(store.load_run(TENANT, "r_2")).unwrap().is_none());
    let strange = evidence(store.as_ref(), TENANT, "r_2");
    assert!(strange.transitions.is_empty() && strange.rows.values().all(Vec::is_empty), "{strange:?}");
    assert!(block_on(store.claim_run(WORKER, TENANT, "r_2")).unwrap().is_none());
    let no_run = CommandError::NoRun { tenant: TENANT.to_owned(), run_id: "r_2".to_owned() };
    assert_eq!(erase(store.as_ref(), TENANT, "r_2", 0, "goal", None), Err(no_run));
}

pub(crate) fn an_erased_value_is_gone_and_the_run_is_still_proved(subject: &mut dyn Subject) {
    let store = subject.store();
    let (run, _) = driven(&store, TENANT, "r_1", mixed_plan());
    let events = placed(&evidence(store.as_ref(), TENANT, "r_1").transitions);
    let returned =
        events.iter().rfind(|placed| placed.entry.event.body.kind() == "step.returned").unwrap().entry.event.seq;
    for (seq, field) in [(0, "goal"), (1, "plan"), (returned, "output")] {
        erase(store.as_ref(), TENANT, "r_1", seq, field, None).unwrap();
    }
    let stored = evidence(store.as_ref(), TENANT, "r_1");
    let payloads: String = stored.transitions.iter().map(|row| row.payloads.as_str()).collect();
    assert!(!payloads.contains("receipt"), "the erased output is gone");
    assert!(!payloads.contains("steps"), "the erased plan is gone");
    let rows = format!("{:?}", stored.rows);
    assert!(!rows.contains("look around") && !rows.contains("skill\\\":"), "no copy of an erased value stays: {rows}");
    assert_rows(&stored, &load(store.as_ref(), TENANT, "r_1"));
    let events = |rows: &[runproof_store::TransitionRow]| {
        placed(rows).iter().map(|placed| placed.entry.leaf).collect::<Vec<_>>()
    };
    assert_eq!(events(&stored.transitions).last(), Some(&run.head), "the events are as they were");
    subject.keeper().wait_for(1 + placed(&stored.tenant_transitions).last().unwrap().index);
    let report = prove(subject, TENANT, "r_1");
    assert_verdict(&report, Verdict::Verified);
    assert_eq!(
        report.events.iter().map(|row| (row.withheld, row.erased)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (4, 4)
    );
    assert_eq!(prove_without_records(subject), (4, 0), "without its record an erasure is a hole");
}

/// Withheld and erased parts, as somebody sees them who did not get the records.
fn prove_without_records(subject: &dyn Subject) -> (u64, u64) {
    let mut bundle = bundle(subject.store().as_ref(), TENANT, "r_1");
    bundle.records.clear();
    let report = runproof_proof::verify::examine(&bundle, &subject.keeper().trust());
    report.events.iter().map(|row| (row.withheld, row.erased)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}

pub(crate) fn one_part_of_a_value_is_erased_and_the_others_stay(subject: &mut dyn Subject) {
    let store = subject.store();
    driven(
        &store,
        TENANT,
        "r_1",
        plan(json!([{"id": "pay", "skill": "pay", "with": {"a": "keep-a", "b": "drop-b", "c": "keep-c"}}])),
    );
    let seq = seq_of(store.as_ref(), TENANT, "r_1", "step.intended");
    let shown = || -> Vec<Value> {
        let events = placed(&evidence(store.as_ref(), TENANT, "r_1").transitions);
        match events[seq as usize].entry.payload.as_ref().unwrap().decode() {
            Payload::Whole { values, .. } => values["params"].as_object().unwrap().values().cloned().collect(),
            Payload::Parts(parts) => parts.get("params").into_iter().flatten().map(|part| part.value.clone()).collect(),
        }
    };
    assert_eq!(shown(), ["keep-a", "drop-b", "keep-c"]);
    erase(store.as_ref(), TENANT, "r_1", seq, "params", Some(1)).unwrap();
    assert_eq!(shown(), ["keep-a", "keep-c"]);
    erase(store.as_ref(), TENANT, "r_1", seq, "params", None).unwrap();
    assert!(shown().is_empty());
    let records = placed(&evidence(store.as_ref(), TENANT, "r_1").tenant_transitions);
    let erased: Vec<Option<u32>> = records
        .iter()
        .filter_map(
            |placed| if let Body::TenantValueErased(body) = &placed.entry.event.body { Some(body.index) } else { None },
        )
        .collect();
    assert_eq!(erased, [Some(1), None]);
    subject.keeper().wait_for(1 + records.last().unwrap().index);
    assert_verdict(&prove(subject, TENANT, "r_1"), Verdict::Verified);
}

pub(crate) fn what_cannot_be_erased_is_refused_and_nothing_is_written(subject: &mut dyn Subject) {
    let store = subject.store();
    driven(&store, TENANT, "r_1", mixed_plan());
    driven(&store, TENANT, "r_open", plan(json!([{"id": "doubt", "skill": "doubt"}])));
    erase(store.as_ref(), TENANT, "r_1", 0, "goal", None).unwrap();
    let read = || {
        let runs = ["r_1", "r_open"].map(|run_id| evidence(store.as_ref(), TENANT, run_id));
        format!("{:?}", runs.map(|run| (run.transitions, run.tenant_transitions, run.rows)))
    };
    let before = read();
    assert_eq!(
        erase(store.as_ref(), TENANT, "r_open", 0, "goal", None),
        Err(CommandError::RunOpen("r_open".to_owned()))
    );
    let no_run = CommandError::NoRun { tenant: OTHER.to_owned(), run_id: "r_1".to_owned() };
    assert_eq!(erase(store.as_ref(), OTHER, "r_1", 0, "goal", None), Err(no_run));
    assert_eq!(erase(store.as_ref(), "t_9", "r_1", 0, "goal", None), Err(CommandError::NoTenant("t_9".to_owned())));
    let params = seq_of(store.as_ref(), TENANT, "r_1", "step.intended");
    for (seq, field, index) in [
        (0, "goal", None),             // erased before
        (0, "goal", Some(0)),          // erased before
        (1, "plan", Some(9)),          // no such part
        (0, "plan", None),             // no such value in this event
        (2, "worker", None),           // not a committed value
        (999, "goal", None),           // no such event
        ((1 << 53) - 1, "goal", None), // no such event
        (params, "output", None),      // a value of another event
    ] {
        let no_value = CommandError::NoValue { run_id: "r_1".to_owned(), seq, field: field.to_owned() };
        assert_eq!(erase(store.as_ref(), TENANT, "r_1", seq, field, index), Err(no_value), "{seq} {field} {index:?}");
    }
    assert_eq!(before, read());
}
