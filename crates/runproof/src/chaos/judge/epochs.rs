//! Whether everything in a run was written under the newest claim.

use std::collections::BTreeMap;

use runproof_proof::event::{Body, Event, Via};

/// What a worker wrote that another one had overtaken. An event names no claim; but whoever claims a run says of every
/// attempt that is open that it was interrupted, so an answer to a call that began under an older claim was written by
/// its old owner.
pub(super) fn stale(events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    let mut epoch = 0;
    let mut open: BTreeMap<(&str, Option<&str>), u64> = BTreeMap::new();
    for event in events {
        let seq = event.seq;
        #[expect(clippy::wildcard_enum_match_arm, reason = "other events carry nothing of a claim")]
        match &event.body {
            Body::RunClaimed(body) => {
                if body.epoch == epoch {
                    found.push(format!("epoch {epoch} was claimed twice, again at {seq} by {}", body.worker));
                } else if body.epoch < epoch {
                    found.push(format!("epoch {} was claimed at {seq}, after epoch {epoch}", body.epoch));
                }
                epoch = epoch.max(body.epoch);
            }
            Body::StepIntended(body) => {
                if epoch == 0 {
                    found.push(format!("{} was intended at {seq}, before any claim", body.step_id));
                }
                open.insert((&body.step_id, body.item.as_deref()), epoch);
            }
            Body::StepReturned(body) => {
                let began = open.remove(&(body.step_id.as_str(), body.item.as_deref()));
                if let Some(began) = began.filter(|began| *began != epoch && body.via == Via::Call) {
                    let id = &body.step_id;
                    found.push(format!(
                        "{id} began under epoch {began}, and its answer is at {seq}, after the claim of epoch {epoch}"
                    ));
                }
            }
            _ => {}
        }
    }
    found
}
