//! What the attempts of a run said when they failed. The fold keeps what a decision needs, and these texts are not.

use std::collections::BTreeMap;

use runproof_engine::ports::StoreError;
use runproof_engine::run::Run;
use runproof_proof::event::{Body, Event, StepStatus};
use runproof_proof::payload::PayloadLine;
use runproof_store::{Store, TransitionRow};

/// Text of the last attempt, by step and item, where it is shown.
pub(super) type Errors = BTreeMap<(String, Option<String>), String>;

/// Reads them, if there is a call that has one.
pub(super) fn errors(store: &dyn Store, run: &Run) -> Result<Errors, StoreError> {
    let failed = run.steps.iter().any(|settled| settled.step.status == StepStatus::Failure && settled.error.is_none());
    if !failed && !run.active.iter().any(|call| call.is_held()) {
        return Ok(Errors::new());
    }
    let mut found = Errors::new();
    let evidence = tokio::task::block_in_place(|| store.snapshot()?.evidence(&run.tenant, &run.id, &[]))?;
    for transition in evidence.transitions {
        gather(&mut found, &transition)
            .map_err(|problem| StoreError::Corrupt { at: format!("transitions[{}]", transition.key()), problem })?;
    }
    Ok(found)
}

fn gather(found: &mut Errors, transition: &TransitionRow) -> Result<(), String> {
    for (line, payload) in transition.events.split('\n').zip(transition.payloads.split('\n')) {
        let event = Event::decode(line.as_bytes()).map_err(|error| error.to_string())?;
        let Body::StepReturned(body) = &event.body else { continue };
        let call = (body.step_id.clone(), body.item.clone());
        found.remove(&call);
        if payload.is_empty() {
            continue;
        }
        let opened = PayloadLine::parse(payload.as_bytes())?.open(&event.commitments());
        let values = opened.map_err(|wrong| format!("payload does not match: {}", wrong[0].path))?.values;
        if let Some(error) = values.get("error").and_then(|error| error.as_str()) {
            found.insert(call, error.to_owned());
        }
    }
    Ok(())
}
