//! The bundles of the vectors: honest ones, and what people might do to them, each with its verdict.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use runproof_proof::bundle::{Bundle, Entry};
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::commit::Division;
use runproof_proof::event::*;
use runproof_proof::finding::{Code, Verdict};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Frontier;
use runproof_proof::note::NoteSigner;
use runproof_proof::payload::{Payload, PayloadLine};
use runproof_proof::trust::Trust;
use serde_json::json;

use crate::journal::{Journal, entry, line, other_signer, signer};
use crate::runs::{self, RUN, Run, TENANT, attempt};
use crate::samples::LOG;

/// A bundle, the trust file to verify it with, and what must come out.
pub(crate) struct Case {
    pub(crate) file: &'static str,
    pub(crate) what: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) key: Option<&'static str>,
    pub(crate) verdict: Verdict,
    /// The decisive finding; none when the verdict is VERIFIED.
    pub(crate) code: Option<Code>,
}

fn case(file: &'static str, what: &'static str, bytes: Vec<u8>, verdict: Verdict, code: Option<Code>) -> Case {
    Case { file, what, bytes, key: Some("trust.json"), verdict, code }
}

fn verified(file: &'static str, what: &'static str, bundle: &Bundle) -> Case {
    case(file, what, bundle.encode().unwrap(), Verdict::Verified, None)
}

/// A bundle in which something is wrong: the code says which verdict follows.
fn wrong(file: &'static str, what: &'static str, code: Code, bundle: &Bundle) -> Case {
    case(file, what, bundle.encode().unwrap(), code.verdict(), Some(code))
}

fn bytes_wrong(file: &'static str, what: &'static str, code: Code, bytes: Vec<u8>) -> Case {
    case(file, what, bytes, code.verdict(), Some(code))
}

/// Trust files by name.
pub(crate) fn trust_files() -> BTreeMap<&'static str, String> {
    let file = |vkey: String, rest: serde_json::Value| {
        let mut key = json!({ "vkey": vkey });
        if let Some(size) = rest.get("last_size") {
            key["last_size"] = size.clone();
        }
        let mut file = json!({"format": "runproof.trust/v1", "keys": [key]});
        if let Some(head) = rest.get("head") {
            file["heads"] = json!([head]);
        }
        format!("{}\n", String::from_utf8(runproof_proof::canonical::to_bytes(&file).unwrap()).unwrap())
    };
    let vkey = || signer().verifier().vkey();
    let journal = honest_journal();
    let size = journal.leaves.len() as u64;
    let head = |checkpoint: Checkpoint| json!({ "head": checkpoint.sign(&signer()) });
    let forked = |size| Checkpoint { root: Hash([7; 32]), ..journal.checkpoint(size) };
    let newer = Checkpoint { size: size + 1, ..forked(size) };
    BTreeMap::from([
        ("trust.json", file(vkey(), json!({}))),
        ("trust-other.json", file(other_signer().verifier().vkey(), json!({}))),
        ("trust-retired.json", file(vkey(), json!({"last_size": size - 1}))),
        ("trust-in-force.json", file(vkey(), json!({"last_size": size}))),
        ("trust-head-older.json", file(vkey(), head(journal.checkpoint(SINCE)))),
        ("trust-head-same.json", file(vkey(), head(journal.checkpoint(size)))),
        ("trust-head-newer.json", file(vkey(), head(newer))),
        ("trust-head-forked.json", file(vkey(), head(forked(SINCE)))),
        ("trust-head-forked-same.json", file(vkey(), head(forked(size)))),
    ])
}

/// Size of the head that a verifier knows in the vectors.
const SINCE: u64 = 11;

/// Trust of a case.
pub(crate) fn trust(key: Option<&str>) -> Trust {
    key.map_or_else(Trust::default, |name| Trust::parse("--trust", trust_files()[name].as_bytes()).unwrap())
}

fn honest_journal() -> Journal {
    let mut journal = runs::ledger();
    runs::with_retry(&mut journal);
    runs::strangers(&mut journal, "r_after");
    journal
}

/// A sealed run with everything shown: the file that most others are made from.
pub(crate) fn honest() -> Bundle {
    honest_journal().bundle(TENANT, RUN)
}

/// The bundle of the honest run, recorded by an engine that changes events before it hashes and signs them.
fn dishonest(alter: impl Fn(&mut Event) + 'static) -> Bundle {
    let mut journal = runs::begin(Journal::new(LOG).alter(move |event| {
        if event.stream == Stream::Run(RUN.to_owned()) {
            alter(event);
        }
    }));
    runs::with_retry(&mut journal);
    journal.bundle(TENANT, RUN)
}

/// Changes one event and leaves everything else as it was.
fn edit(bundle: &mut Bundle, at: usize, change: impl FnOnce(&mut Event)) {
    let mut event = bundle.entries[at].event.clone();
    change(&mut event);
    bundle.entries[at] = entry(&event, bundle.entries[at].payload.clone());
}

/// Changes what the payload of an event says, if it has one.
fn edit_payload(bundle: &mut Bundle, at: usize, change: impl FnOnce(&mut Payload)) {
    let payload = &mut bundle.entries[at].payload;
    *payload = payload.as_ref().map(|before| {
        let mut payload = before.decode();
        change(&mut payload);
        line(&payload)
    });
}

/// Withholds a part of a value, or all of it, with the seed.
fn without(bundle: &mut Bundle, at: usize, field: &str, index: Option<u32>) {
    edit_payload(bundle, at, |payload| *payload = payload.without(field, index).unwrap());
}

/// Makes `seq`, `prev`, the counts and roots of the run fit again, as somebody without the key could.
fn rechain(bundle: &mut Bundle) {
    let (mut prev, mut frontier) = (Hash::ZERO, Frontier::default());
    for (seq, slot) in (0u64..).zip(&mut bundle.entries) {
        let mut event = slot.event.clone();
        (event.seq, event.prev) = (seq, prev);
        if let Body::RunSealed(seal) = &mut event.body {
            (seal.event_count, seal.run_root) = (seq, frontier.root());
        }
        *slot = entry(&event, slot.payload.clone());
        prev = slot.leaf;
        frontier.push(prev);
    }
    bundle.header.events = bundle.entries.len() as u64;
}

fn with(mut bundle: Bundle, change: impl FnOnce(&mut Bundle)) -> Bundle {
    change(&mut bundle);
    bundle
}

fn text_of(bundle: &Bundle) -> String {
    String::from_utf8(bundle.encode().unwrap()).unwrap()
}

/// The honest file with one replacement, which must be there to be made.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    let text = text_of(&honest());
    assert!(text.contains(from), "nothing to replace: {from}");
    text.replacen(from, to, 1).into_bytes()
}

/// Every case, in the order of the index.
pub(crate) fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        [
            honest_cases(),
            unfinished_cases(),
            key_cases(),
            head_cases(),
            tampered_cases(),
            anchor_cases(),
            dishonest_cases(),
            malformed_cases(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}

/// The bytes of a vector.
pub(crate) fn vector(file: &str) -> &'static [u8] {
    &cases().iter().find(|case| case.file == file).unwrap().bytes
}

fn withheld() -> Bundle {
    with(honest(), |bundle| {
        let at = find_last(bundle, "step.intended");
        without(bundle, at, "params", Some(2));
        bundle.entries[0].payload = Some(PayloadLine::withheld());
    })
}

/// Position of the last event of a kind.
fn find_last(bundle: &Bundle, kind: &str) -> usize {
    bundle.entries.iter().rposition(|entry| entry.event.body.kind() == kind).unwrap()
}

fn without_values(bundle: &mut Bundle) {
    for entry in &mut bundle.entries {
        entry.payload = entry.payload.as_ref().map(|_| PayloadLine::withheld());
    }
}

/// The honest run after the mail address in the parameters of its refund and its goal were erased.
pub(crate) fn erased() -> Bundle {
    let mut journal = honest_journal();
    let seq = find_last(&journal.bundle(TENANT, RUN), "step.intended");
    let records =
        [runs::erase(&mut journal, seq as u64, "params", Some(2)), runs::erase(&mut journal, 0, "goal", None)];
    let size = journal.leaves.len() as u64;
    with(journal.bundle(TENANT, RUN), |bundle| {
        for (at, field, index) in [(seq, "params", Some(2)), (0, "goal", None)] {
            without(bundle, at, field, index);
        }
        bundle.records = records.iter().map(|index| journal.record(*index, size)).collect();
        bundle.header.records = 2;
    })
}

fn honest_cases() -> Vec<Case> {
    let in_parts = with(honest(), |bundle| {
        for at in 0..bundle.entries.len() {
            without(bundle, at, "no such field", None);
        }
    });
    let mut planner_failed = runs::ledger();
    runs::planner_failed(&mut planner_failed);
    let mut empty = runs::ledger();
    let mut run = Run::create(&mut empty, TENANT, RUN, json!({}));
    run.plan(&json!({"format": "runproof.plan/v1", "steps": [{"id": "ping", "skill": "http_call"}]}));
    run.step("ping", 0, &[attempt(json!({}), AttemptOutcome::Done, json!({}))]);
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
    let mut resolved = runs::ledger();
    runs::unknown(&mut resolved, Some(Resolution::Done));
    vec![
        verified("honest.bundle", "a sealed run with a retry, everything shown", &honest()),
        verified("honest-in-parts.bundle", "the same; every part with its own salt instead of the seed", &in_parts),
        verified("honest-withheld.bundle", "the same; one part and one whole value withheld", &withheld()),
        verified("honest-nothing-shown.bundle", "the same; every value withheld", &with(honest(), without_values)),
        verified("honest-erased.bundle", "the same; two values erased, with records", &erased()),
        verified(
            "honest-no-steps.bundle",
            "a run whose planner failed: sealed without a step",
            &planner_failed.bundle(TENANT, RUN),
        ),
        verified("honest-resolved.bundle", "an unknown outcome that a person resolved", &resolved.bundle(TENANT, RUN)),
        verified("honest-empty-values.bundle", "parameters and output without members", &empty.bundle(TENANT, RUN)),
    ]
}

fn unfinished_cases() -> Vec<Case> {
    let mut open = runs::ledger();
    runs::two_steps(&mut open);
    let mut early = runs::ledger();
    Run::create(&mut early, TENANT, RUN, json!("Refund invoice 4711"));
    let mut unknown = runs::ledger();
    runs::unknown(&mut unknown, None);
    let mut gap = runs::ledger();
    let mut run = runs::two_steps(&mut gap);
    run.append(|_| GapRecorded { count: Some(3), gap: GapKind::OutcomeLost });
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
    let mut missing = runs::ledger();
    let mut run = runs::two_steps(&mut missing);
    run.intend("refund", 1, 1, runs::refund());
    run.seal(EndStatus::Failed, EndReason::RunTimeout);
    let unanchored = with(honest(), |bundle| {
        bundle.header.anchored = false;
        bundle.anchor = None;
    });
    vec![
        wrong("open.bundle", "a run with a settled step and no seal", Code::RunOpen, &open.bundle(TENANT, RUN)),
        wrong("open-no-steps.bundle", "a run with its creation only", Code::RunNoSteps, &early.bundle(TENANT, RUN)),
        wrong("unanchored.bundle", "sealed, without an inclusion proof", Code::CheckpointMissing, &unanchored),
        wrong(
            "unknown-outcome.bundle",
            "nobody knows whether the refund happened",
            Code::OutcomeUnknown,
            &unknown.bundle(TENANT, RUN),
        ),
        wrong(
            "missing-outcome.bundle",
            "sealed with an intent that has no outcome",
            Code::OutcomeMissing,
            &missing.bundle(TENANT, RUN),
        ),
        wrong("gap.bundle", "the engine recorded a gap", Code::GapRecorded, &gap.bundle(TENANT, RUN)),
    ]
}

fn key_cases() -> Vec<Case> {
    let journal = honest_journal();
    let (last, size) = (journal.bundle(TENANT, RUN).anchor.unwrap().proof.index, journal.leaves.len() as u64);
    let checkpoint = journal.checkpoint(size);
    let by_other = with(honest(), |bundle| bundle.anchor = Some(journal.anchor(last, size, &other_signer())));
    let also_other = {
        let second = checkpoint.sign(&other_signer());
        let line = second.rsplit_once("\n\n").unwrap().1;
        with(honest(), |bundle| {
            bundle.anchor = Some(journal.anchor_note(last, size, format!("{}{line}", checkpoint.sign(&signer()))));
        })
    };
    let file = "honest.bundle";
    let keyed = |key, verdict, code: Option<Code>, what| Case {
        key,
        ..case(file, what, honest().encode().unwrap(), verdict, code)
    };
    vec![
        keyed(None, Verdict::Unpinned, Some(Code::CheckpointUnpinned), "no key"),
        keyed(Some("trust-other.json"), Verdict::KeyInvalid, Some(Code::CheckpointKey), "another key of the same name"),
        keyed(
            Some("trust-retired.json"),
            Verdict::KeyInvalid,
            Some(Code::CheckpointKeyRetired),
            "the key was retired one leaf earlier",
        ),
        keyed(Some("trust-in-force.json"), Verdict::Verified, None, "the key was retired at this size"),
        wrong("other-key.bundle", "signed by a key that nobody trusts", Code::CheckpointKey, &by_other),
        wrong(
            "unknown-signature.bundle",
            "signed by the log, and by a key that nobody named",
            Code::CheckpointUnknownSignature,
            &also_other,
        ),
    ]
}

fn head_cases() -> Vec<Case> {
    let journal = honest_journal();
    let size = journal.leaves.len() as u64;
    let since = with(honest(), |bundle| {
        bundle.header.since = Some(SINCE);
        bundle.consistency = Some(journal.consistency(SINCE, size));
    });
    let flipped = with(since.clone(), |bundle| bundle.consistency.as_mut().unwrap().hashes[0].0[0] ^= 1);
    let headed = |file, key, verdict, code: Option<Code>, what, bundle: &Bundle| Case {
        key: Some(key),
        ..case(file, what, bundle.encode().unwrap(), verdict, code)
    };
    let honest = honest();
    let by_other = with(honest.clone(), |bundle| {
        let last = bundle.anchor.as_ref().unwrap().proof.index;
        bundle.anchor = Some(journal.anchor(last, size, &other_signer()));
    });
    let (forked, older) = (Some(Code::HeadForked), Some(Code::HeadOlder));
    let (plain, asked) = ("honest.bundle", "honest-since.bundle");
    let broken = "tampered-consistency.bundle";
    vec![
        verified(asked, "with a consistency proof; no head is known", &since),
        headed(asked, "trust-head-older.json", Verdict::Verified, None, "leads on from the known head", &since),
        headed(
            asked,
            "trust-head-forked.json",
            Verdict::Forked,
            forked,
            "does not lead on from the known head",
            &since,
        ),
        headed(
            broken,
            "trust-head-older.json",
            Verdict::Tampered,
            Some(Code::InclusionConsistency),
            "a hash of the consistency proof was changed",
            &flipped,
        ),
        headed(
            plain,
            "trust-head-older.json",
            Verdict::Unanchored,
            Some(Code::HeadNotCompared),
            "a known head, no consistency proof",
            &honest,
        ),
        headed(plain, "trust-head-same.json", Verdict::Verified, None, "the known head is this checkpoint", &honest),
        headed(
            plain,
            "trust-head-forked-same.json",
            Verdict::Forked,
            forked,
            "the known head has this size and another root",
            &honest,
        ),
        headed(plain, "trust-head-newer.json", Verdict::RolledBack, older, "a newer head is known", &honest),
        headed(
            "other-key.bundle",
            "trust-head-newer.json",
            Verdict::KeyInvalid,
            Some(Code::CheckpointKey),
            "a strange key says nothing about heads",
            &by_other,
        ),
        headed(
            "other-key.bundle",
            "trust-head-forked-same.json",
            Verdict::KeyInvalid,
            Some(Code::CheckpointKey),
            "a strange key forks nothing",
            &by_other,
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn tampered_cases() -> Vec<Case> {
    let honest = honest();
    let output = find_last(&honest, "step.returned");
    let edited = |change: &dyn Fn(&mut Bundle)| with(honest.clone(), |bundle| change(bundle));
    let cheaper = |event: &mut Event| {
        if let Body::StepReturned(body) = &mut event.body {
            body.cost_microcents = 1;
        }
    };
    let drop_event = |bundle: &mut Bundle, at: usize| {
        bundle.entries.remove(at);
        bundle.header.events -= 1;
    };
    let truncated = edited(&|bundle| {
        bundle.entries.truncate(output + 1);
        bundle.header.events = output as u64 + 1;
    });
    let late = edited(&|bundle| {
        let mut event = bundle.entries[output].event.clone();
        event.at = bundle.entries.last().unwrap().event.at;
        let payload = bundle.entries[output].payload.clone();
        bundle.entries.push(entry(&event, payload));
        rechain(bundle);
    });
    let value = edited(&|bundle| {
        edit_payload(bundle, output, |payload| {
            let Payload::Whole { values, .. } = payload else { panic!("everything is shown") };
            values.insert("output".to_owned(), json!({"id": "rf_2", "state": "booked \u{2713}"}));
        });
    });
    let moved = edited(&|bundle| bundle.entries[output].payload = bundle.entries[output - 1].payload.clone());
    vec![
        wrong("tampered-value.bundle", "an output was changed", Code::PayloadMismatch, &value),
        wrong("tampered-payload-moved.bundle", "an event has the payload of another", Code::PayloadMismatch, &moved),
        wrong(
            "tampered-event.bundle",
            "a cost was changed",
            Code::ChainLink,
            &edited(&|bundle| edit(bundle, output, cheaper)),
        ),
        wrong(
            "tampered-event-rechained.bundle",
            "a time was changed, and every later hash made to fit",
            Code::InclusionProof,
            &edited(&|bundle| {
                edit(bundle, output, |event| event.at += 1);
                rechain(bundle);
            }),
        ),
        wrong(
            "tampered-dropped.bundle",
            "an event in the middle is gone",
            Code::ChainLink,
            &edited(&|bundle| drop_event(bundle, 3)),
        ),
        wrong(
            "tampered-first-dropped.bundle",
            "the creation is gone, the rest made to fit",
            Code::StructureFirst,
            &edited(&|bundle| {
                drop_event(bundle, 0);
                rechain(bundle);
            }),
        ),
        wrong("tampered-truncated.bundle", "the last events are gone", Code::InclusionProof, &truncated),
        wrong(
            "tampered-swapped.bundle",
            "two events changed places",
            Code::ChainLink,
            &edited(&|bundle| bundle.entries.swap(4, 5)),
        ),
        wrong(
            "tampered-repeated.bundle",
            "an event is there twice",
            Code::ChainLink,
            &edited(&|bundle| {
                bundle.entries.insert(output, bundle.entries[output].clone());
                bundle.header.events += 1;
            }),
        ),
        wrong("tampered-after-seal.bundle", "an event follows the seal, made to fit", Code::StructureAfterSeal, &late),
        wrong(
            "tampered-other-run.bundle",
            "presented as the proof of another run",
            Code::ChainIdentity,
            &edited(&|bundle| bundle.header.run_id = "r_2".to_owned()),
        ),
        wrong(
            "tampered-other-tenant.bundle",
            "presented as the proof of another tenant",
            Code::ChainIdentity,
            &edited(&|bundle| bundle.header.tenant = "t_other".to_owned()),
        ),
        wrong(
            "tampered-other-log.bundle",
            "presented as the proof of another log",
            Code::ChainIdentity,
            &edited(&|bundle| bundle.header.log = "example.com/log".to_owned()),
        ),
        wrong(
            "tampered-part-name.bundle",
            "a shown part has another name",
            Code::PayloadMismatch,
            &with(withheld(), |bundle| {
                let at = find_last(bundle, "step.intended");
                edit_payload(bundle, at, |payload| {
                    let Payload::Parts(parts) = payload else { panic!("a part is withheld") };
                    parts.get_mut("params").unwrap()[0].name = "amounts".to_owned();
                });
            }),
        ),
        wrong(
            "tampered-extra-value.bundle",
            "a payload has a value that the event does not commit to",
            Code::PayloadMismatch,
            &edited(&|bundle| {
                edit_payload(bundle, 0, |payload| {
                    let Payload::Whole { values, .. } = payload else { panic!("everything is shown") };
                    values.insert("note".to_owned(), json!("approved by the CFO"));
                });
            }),
        ),
    ]
}

fn anchor_cases() -> Vec<Case> {
    let journal = honest_journal();
    let (last, size) = (honest().anchor.unwrap().proof.index, journal.leaves.len() as u64);
    let noted = |note: String| with(honest(), |bundle| bundle.anchor = Some(journal.anchor_note(last, size, note)));
    let signed = journal.checkpoint(size).sign(&signer());
    let bigger = signed.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1);
    let other_root = signed.replacen(&journal.checkpoint(size).root.base64(), &Hash([7; 32]).base64(), 1);
    let elsewhere = Checkpoint { origin: "example.com/log".to_owned(), ..journal.checkpoint(size) };
    let elsewhere = elsewhere.sign(&NoteSigner::from_seed(LOG, &crate::journal::KEY_SEED).unwrap());
    let anchored = |change: &dyn Fn(&mut runproof_proof::bundle::Anchor)| {
        with(honest(), |bundle| change(bundle.anchor.as_mut().unwrap()))
    };
    let record =
        |change: &dyn Fn(&mut runproof_proof::bundle::Record)| with(erased(), |bundle| change(&mut bundle.records[0]));
    vec![
        wrong(
            "tampered-checkpoint-size.bundle",
            "the size of the checkpoint was changed",
            Code::CheckpointSignature,
            &noted(bigger),
        ),
        wrong(
            "tampered-checkpoint-root.bundle",
            "the root of the checkpoint was changed",
            Code::InclusionProof,
            &noted(other_root),
        ),
        wrong(
            "tampered-signature.bundle",
            "a byte of the signature was changed",
            Code::CheckpointSignature,
            &with(honest(), |bundle| {
                let anchor = bundle.anchor.as_mut().unwrap();
                let head = anchor.proof.note.len() - 10;
                let byte = anchor.proof.note.as_bytes()[head];
                anchor.proof.note.replace_range(head..=head, if byte == b'A' { "B" } else { "A" });
            }),
        ),
        wrong("tampered-origin.bundle", "the checkpoint is of another log", Code::CheckpointOrigin, &noted(elsewhere)),
        wrong(
            "tampered-path.bundle",
            "a hash of the inclusion proof was changed",
            Code::InclusionProof,
            &anchored(&|anchor| anchor.proof.hashes[1].0[31] ^= 1),
        ),
        wrong(
            "tampered-path-short.bundle",
            "a hash of the inclusion proof is gone",
            Code::InclusionProof,
            &anchored(&|anchor| anchor.proof.hashes.truncate(2)),
        ),
        wrong(
            "tampered-index.bundle",
            "the leaf index was changed",
            Code::InclusionProof,
            &anchored(&|anchor| anchor.proof.index -= 1),
        ),
        wrong(
            "tampered-record.bundle",
            "an erasure record names another part",
            Code::InclusionRecord,
            &record(&|record| {
                if let Body::TenantValueErased(body) = &mut record.event.body {
                    body.index = Some(0);
                }
            }),
        ),
        wrong(
            "tampered-record-tenant.bundle",
            "an erasure record of another tenant",
            Code::ChainIdentity,
            &record(&|record| {
                record.event.tenant = Some("t_other".to_owned());
            }),
        ),
    ]
}

/// Recorded, hashed and signed by the log's own key, and still not what an engine writes.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn dishonest_cases() -> Vec<Case> {
    fn sealed(change: impl Fn(&mut RunSealed) + 'static) -> Bundle {
        dishonest(move |event| {
            if let Body::RunSealed(seal) = &mut event.body {
                change(seal);
            }
        })
    }
    fn settled(change: impl Fn(&mut StepSettled) + 'static) -> Bundle {
        dishonest(move |event| {
            if let Body::StepSettled(body) = &mut event.body
                && body.step_id == "refund"
            {
                change(body);
            }
        })
    }
    let attempts = dishonest(|event| {
        if let Body::StepIntended(body) = &mut event.body
            && body.attempt == 2
        {
            body.attempt = u32::MAX;
        }
    });
    let order = Code::StructureOrder;
    let mut success = runs::ledger();
    let mut run = runs::two_steps(&mut success);
    run.settle("refund", 1, 0, 0, StepStatus::Success);
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
    let success = with(success.bundle(TENANT, RUN), without_values);
    let mut element = runs::ledger();
    let mut run = runs::two_steps(&mut element);
    run.expand("refund", 1, 2);
    run.step("refund#2", 1, &[attempt(runs::refund(), AttemptOutcome::Done, json!({"id": "rf_1"}))]);
    run.settle("refund", 1, 0, 0, StepStatus::Success);
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
    let element = element.bundle(TENANT, RUN);
    vec![
        wrong(
            "dishonest-time.bundle",
            "time goes backwards",
            Code::ChainTime,
            &dishonest(|event| {
                if event.seq == 5 {
                    event.at = 1;
                }
            }),
        ),
        wrong("dishonest-attempt.bundle", "attempt 4294967295 follows attempt 1", Code::StructureOrder, &attempts),
        wrong(
            "dishonest-status.bundle",
            "a step that failed settles as success, or the other way",
            Code::StructureOrder,
            &settled(|body| body.status = StepStatus::Failure),
        ),
        wrong(
            "dishonest-step-cost.bundle",
            "a step costs less than its attempts",
            Code::StructureTotals,
            &settled(|body| body.cost_microcents = 0),
        ),
        wrong(
            "dishonest-step-index.bundle",
            "a step number is left out",
            Code::StructureTotals,
            &settled(|body| body.step_index = 7),
        ),
        wrong(
            "dishonest-count.bundle",
            "the seal counts one event less",
            Code::SealCount,
            &sealed(|seal| seal.event_count -= 1),
        ),
        wrong(
            "dishonest-root.bundle",
            "the seal has another root",
            Code::SealRoot,
            &sealed(|seal| seal.run_root = Hash([7; 32])),
        ),
        wrong(
            "dishonest-totals.bundle",
            "the seal says that the run cost nothing",
            Code::SealTotals,
            &sealed(|seal| seal.totals.cost_microcents = 0),
        ),
        wrong(
            "dishonest-kind.bundle",
            "an event of a tenant in the run's stream",
            Code::StructureOrder,
            &dishonest(|event| {
                if matches!(event.body, Body::RunClaimed(_)) {
                    event.body = TenantRunOpened { run_id: RUN.to_owned(), run_no: 1 }.into();
                }
            }),
        ),
        wrong("dishonest-resolution.bundle", "a person resolves an attempt that nobody made", Code::StructureOrder, &{
            let mut journal = runs::begin(Journal::new(LOG).alter(|event| {
                if let Body::StepResolved(body) = &mut event.body {
                    body.attempt = 9;
                }
            }));
            runs::unknown(&mut journal, Some(Resolution::Done));
            journal.bundle(TENANT, RUN)
        }),
        wrong("dishonest-success.bundle", "a step succeeds without an attempt; every value withheld", order, &success),
        wrong("dishonest-element.bundle", "a call for the third element of two", order, &element),
        wrong(
            "dishonest-reason.bundle",
            "cancelled, and nobody asked for it",
            order,
            &sealed(|seal| (seal.status, seal.reason) = (EndStatus::Cancelled, EndReason::CancelRequested)),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn malformed_cases() -> Vec<Case> {
    let malformed = |file, what, bytes| bytes_wrong(file, what, Code::BundleMalformed, bytes);
    let text = text_of(&honest());
    let seed = text.split("{\"seed\":\"").nth(1).unwrap()[..64].to_owned();
    let signature = text.lines().last().unwrap().to_owned();
    let mut records = erased();
    records.records.swap(0, 1);
    let unanchored_since = with(honest(), |bundle| {
        (bundle.header.anchored, bundle.header.since, bundle.anchor) = (false, Some(1), None);
        bundle.consistency =
            Some(runproof_proof::bundle::Consistency { hashes: Vec::new(), root: Hash::ZERO, since: 1 });
    });
    let no_hash = with(honest(), |bundle| {
        edit(bundle, 0, |event| {
            if let Body::RunCreated(body) = &mut event.body {
                body.goal.macs.clear();
            }
        });
        bundle.entries[0].payload = Some(PayloadLine::withheld());
    });
    let wrong_hash = with(honest(), |bundle| {
        edit(bundle, 0, |event| {
            if let Body::RunCreated(body) = &mut event.body {
                body.goal.division = Division::Members;
                body.goal.macs = vec![Hash::ZERO; 65];
            }
        });
        bundle.entries[0].payload = Some(PayloadLine::withheld());
    });
    let parts = text_of(&withheld());
    let truncated = text.len() - 1;
    let kind: &dyn Fn(&str) -> Vec<u8> = &|to| replaced("\"kind\":\"run.claimed\"", &format!("\"kind\":\"{to}\""));
    vec![
        malformed("malformed-empty.bundle", "no bytes", Vec::new()),
        malformed("malformed-format.bundle", "another first line", replaced("runproof.bundle/v1", "runproof.bundle/1")),
        malformed("malformed-crlf.bundle", "carriage returns", text.replace('\n', "\r\n").into_bytes()),
        malformed("malformed-unfinished.bundle", "without its last newline", text.as_bytes()[..truncated].to_vec()),
        malformed("malformed-trailing.bundle", "a newline after the end", format!("{text}\n").into_bytes()),
        malformed(
            "malformed-space.bundle",
            "a space in the header",
            replaced("{\"anchored\":true", "{\"anchored\": true"),
        ),
        malformed(
            "malformed-header-field.bundle",
            "an unknown field in the header",
            replaced("{\"anchored\":true", "{\"a\":1,\"anchored\":true"),
        ),
        malformed(
            "malformed-header-null.bundle",
            "a field of the header is null",
            replaced(",\"tenant\"", ",\"since\":null,\"tenant\""),
        ),
        malformed(
            "malformed-event-field.bundle",
            "an unknown field in an event",
            replaced("\"body\":{\"epoch\":1", "\"body\":{\"approved\":true,\"epoch\":1"),
        ),
        malformed(
            "malformed-event-null.bundle",
            "an optional field of an event is null",
            replaced(",\"params\":", ",\"item\":null,\"params\":"),
        ),
        malformed("malformed-kind.bundle", "an unknown kind", kind("run.approved")),
        malformed(
            "malformed-word.bundle",
            "an unknown word",
            replaced("\"effect\":\"idempotent\"", "\"effect\":\"harmless\""),
        ),
        malformed(
            "malformed-float.bundle",
            "a number with a fraction in a value",
            replaced("\"amount\":1999", "\"amount\":1999.0"),
        ),
        malformed(
            "malformed-order.bundle",
            "members of a value out of order",
            replaced("{\"amount\":1999,\"currency\":\"EUR\"", "{\"currency\":\"EUR\",\"amount\":1999"),
        ),
        malformed(
            "malformed-payload-null.bundle",
            "a payload with `parts` null beside its seed",
            replaced(&format!("{{\"seed\":\"{seed}\""), &format!("{{\"parts\":null,\"seed\":\"{seed}\"")),
        ),
        malformed(
            "malformed-payload-empty-list.bundle",
            "a payload with an empty list of parts",
            parts.replacen("{\"parts\":{}}", "{\"parts\":{\"goal\":[]}}", 1).into_bytes(),
        ),
        malformed("malformed-commitment-none.bundle", "a whole value with no hash", no_hash.encode().unwrap()),
        malformed("malformed-commitment-many.bundle", "a value with 65 parts", wrong_hash.encode().unwrap()),
        malformed(
            "malformed-signature-twice.bundle",
            "the same signature line twice",
            format!("{text}{signature}\n").into_bytes(),
        ),
        malformed("malformed-records-order.bundle", "records out of order", records.encode().unwrap()),
        malformed(
            "malformed-since-unanchored.bundle",
            "a consistency proof without a checkpoint",
            unanchored_since.encode().unwrap(),
        ),
        malformed(
            "malformed-count.bundle",
            "more events announced than are there",
            replaced("\"events\":", "\"events\":9"),
        ),
        bytes_wrong(
            "unsupported-bundle.bundle",
            "a newer container",
            Code::BundleUnsupported,
            replaced("bundle/v1", "bundle/v2"),
        ),
        bytes_wrong(
            "unsupported-event.bundle",
            "a newer event",
            Code::BundleUnsupported,
            replaced("\"v\":1}", "\"v\":2}"),
        ),
    ]
}

/// A run with `steps` steps, for tests of size.
pub(crate) fn long(steps: u32) -> Bundle {
    let mut journal = runs::ledger();
    let mut run = Run::create(&mut journal, TENANT, RUN, json!("long"));
    let planned: Vec<_> = (0..steps).map(|step| json!({"id": format!("s_{step}"), "skill": "http_call"})).collect();
    run.plan(&json!({"format": "runproof.plan/v1", "steps": planned}));
    for step in 0..steps {
        run.step(&format!("s_{step}"), step, &[attempt(json!({"n": step}), AttemptOutcome::Done, json!({"n": step}))]);
    }
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
    journal.bundle(TENANT, RUN)
}

/// A bundle without events.
pub(crate) fn without_events() -> Bundle {
    with(honest(), |bundle| {
        bundle.entries = Vec::<Entry>::new();
        bundle.header.events = 0;
    })
}
