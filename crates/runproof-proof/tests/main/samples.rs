//! One full and one minimal event of every kind, and what holds for all of them.
//!
//! Full: every optional field is there. Minimal: none is. `spec.rs` reads the field names off the full ones.

use runproof_proof::canonical;
use runproof_proof::commit::{Commitment, Division};
use runproof_proof::event::*;
use runproof_proof::hash::{Hash, leaf, sha256};
use serde_json::{Value, json};

pub(crate) const LOG: &str = "example.org/log";

fn actor() -> Actor {
    Actor {
        authenticated_by: "api_key".to_owned(),
        id: Some("ops@example.org".to_owned()),
        actor_type: ActorType::Human,
    }
}

fn nobody() -> Actor {
    Actor { authenticated_by: "none".to_owned(), id: None, actor_type: ActorType::System }
}

fn members() -> Commitment {
    Commitment { division: Division::Members, macs: vec![sha256(b"first"), sha256(b"second")] }
}

fn whole() -> Commitment {
    Commitment { division: Division::Whole, macs: vec![sha256(b"whole")] }
}

fn engine() -> Engine {
    Engine { build: "sha256:0f".to_owned(), version: "0.1.0".to_owned() }
}

fn gate() -> GateRecord {
    GateRecord {
        approval_id: Some("ap_1".to_owned()),
        context_digest: Some(sha256(b"context")),
        decision: Decision::RequireApproval,
        policies: vec!["p1".to_owned(), "p2".to_owned()],
        policy_set: "sha256:00".to_owned(),
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn some(word: &str) -> Option<String> {
    Some(word.to_owned())
}

fn event(body: Body) -> Event {
    let (stream, tenant) = match body.kind().split('.').next() {
        Some("tenant") => (Stream::Tenant("t_1".to_owned()), some("t_1")),
        Some("log") => (Stream::Log, None),
        _ => (Stream::Run("r_1".to_owned()), some("t_1")),
    };
    Event { log: LOG.to_owned(), stream, tenant, seq: 7, prev: sha256(b"prev"), at: 1_763_683_200_000_000, body }
}

/// Every kind, with every optional field.
pub(crate) fn full() -> Vec<Event> {
    [run_full(), step_full(), other_run_full(), tenant_full(), log_full()].concat().into_iter().map(event).collect()
}

/// Every kind, without any optional field.
pub(crate) fn minimal() -> Vec<Event> {
    full().into_iter().map(|event| Event { body: without_options(&event.body), ..event }).collect()
}

fn run_full() -> Vec<Body> {
    vec![
        RunCreated {
            actor: actor(),
            agent: text("agent_1"),
            beacon: some("drand round 1"),
            engine: engine(),
            goal: whole(),
            origin_system_id: text("crm"),
            parent_run_id: some("r_p"),
            plan_digest: Some(sha256(b"plan")),
            planner: Versioned { name: text("static"), version: text("1") },
            policy_set: text("builtin/empty@1"),
            retry_of: some("r_0"),
            run_id: text("r_1"),
            run_no: 3,
            synthetic_scenario_id: some("sc_1"),
        }
        .into(),
        RunPlanned { inputs: Some(members()), plan: members(), plan_digest: sha256(b"plan"), step_count: 2 }.into(),
        RunClaimed { epoch: 1, worker: text("w_1") }.into(),
        RunPaused { actor: actor(), reason: Some(whole()) }.into(),
        RunResumed { actor: actor(), reason: Some(whole()) }.into(),
        RunCancelRequested { actor: actor(), reason: Some(whole()) }.into(),
        RunSealed {
            error: Some(whole()),
            event_count: 7,
            reason: EndReason::StepFailed,
            run_root: sha256(b"root"),
            status: EndStatus::Failed,
            step_count: 1,
            totals: Totals { attempts: 2, cost_microcents: 5, duration_us: 6, resolved: 1, unknown: 0 },
        }
        .into(),
    ]
}

fn step_full() -> Vec<Body> {
    vec![
        StepExpanded { count: 2, items: whole(), plan_index: 0, step_id: text("s_1") }.into(),
        StepIntended {
            attempt: 1,
            cost_limit_microcents: 100,
            effect: EffectClass::Idempotent,
            gate: gate(),
            idempotency_key: text("mfrggzdfmy"),
            item: some("0"),
            params: members(),
            plan_index: 0,
            skill: text("http_call"),
            skill_version: text("1.0.0"),
            step_id: text("s_1"),
            timeout_us: 30_000_000,
        }
        .into(),
        StepReturned {
            attempt: 1,
            category: Some(ErrorCategory::Server),
            code: some("http_503"),
            cost_microcents: 5,
            duration_us: 6,
            error: Some(whole()),
            evidence: EvidenceClass::Executed,
            item: some("0"),
            outcome: AttemptOutcome::Failed,
            output: Some(members()),
            retry_after_us: Some(1_000),
            retry_at: Some(1_763_683_201_000_000),
            retryable: true,
            step_id: text("s_1"),
            then: Then::Retry,
            via: Via::Call,
        }
        .into(),
        StepResolved {
            actor: actor(),
            attempt: 1,
            item: some("fallback"),
            reason: whole(),
            resolution: Resolution::NotDone,
            step_id: text("s_1"),
        }
        .into(),
        StepSettled {
            attempts: 2,
            category: text("server"),
            code: some("http_503"),
            cost_microcents: 5,
            duration_us: 6,
            error: Some(whole()),
            item: some("0"),
            plan_index: 0,
            skill: text("http_call"),
            status: StepStatus::Failure,
            step_id: text("s_1"),
            step_index: 0,
        }
        .into(),
        PolicyChecked { attempt: 1, gate: gate(), item: some("0"), step_id: text("s_1") }.into(),
    ]
}

fn other_run_full() -> Vec<Body> {
    vec![
        ApprovalRequested {
            approval_id: text("ap_1"),
            binding: sha256(b"call"),
            expires_at: 1_763_683_300_000_000,
            item: some("0"),
            quorum: 2,
            roles: vec![text("finance"), text("owner")],
            step_id: text("s_1"),
        }
        .into(),
        ApprovalDecided {
            actor: actor(),
            approval_id: text("ap_1"),
            binding: sha256(b"call"),
            granted: true,
            reason: Some(whole()),
        }
        .into(),
        ApprovalExpired { approval_id: text("ap_1") }.into(),
        BudgetExhausted {
            available_microcents: 1,
            requested_microcents: 2,
            scope: Scope::Agent,
            scope_id: text("agent_1"),
        }
        .into(),
        BudgetGranted { scope: Scope::Agent, scope_id: text("agent_1") }.into(),
        IncidentRecorded {
            category: text("execution_failure"),
            code: some("http_503"),
            incident_id: text("i_1"),
            outcome: text("failure"),
            severity: text("medium"),
        }
        .into(),
        UsageRecorded {
            cost_microcents: 5,
            input_tokens: 10,
            model: some("m"),
            output_tokens: 20,
            provider: some("p"),
        }
        .into(),
        EvidenceSummarized { gaps: 0, intents: 2, outcomes: 2, weakest: EvidenceClass::Executed }.into(),
        GapRecorded { count: Some(4), gap: GapKind::OverQuota }.into(),
    ]
}

fn tenant_full() -> Vec<Body> {
    let run_id = || text("r_1");
    vec![
        TenantCreated { actor: actor() }.into(),
        TenantAgentCreated { actor: actor(), agent_id: text("agent_1"), name: whole() }.into(),
        TenantRunOpened { run_id: run_id(), run_no: 3 }.into(),
        TenantRunArchived { run_id: run_id(), run_root: sha256(b"root") }.into(),
        TenantRunPurged { actor: actor(), event_count: 8, run_id: run_id(), run_root: sha256(b"root") }.into(),
        TenantHoldPlaced { actor: actor(), reason: whole(), run_id: run_id() }.into(),
        TenantHoldLifted { actor: actor(), reason: whole(), run_id: run_id() }.into(),
        TenantValueErased {
            actor: actor(),
            field: text("params"),
            index: Some(1),
            reason: whole(),
            run_id: run_id(),
            seq: 4,
        }
        .into(),
        TenantValueRevealed {
            actor: actor(),
            audience: whole(),
            field: text("params"),
            index: Some(1),
            run_id: run_id(),
            seq: 4,
        }
        .into(),
        TenantBundleExported { actor: actor(), digest: sha256(b"file"), run_id: run_id(), withheld: 1 }.into(),
        TenantPolicySetActivated { actor: actor(), digest: sha256(b"set"), policy_set: text("sha256:00") }.into(),
        TenantBudgetSet {
            actor: actor(),
            limit_microcents: 1_000,
            scope: Scope::Tenant,
            scope_id: text("t_1"),
            window: text("day"),
        }
        .into(),
        TenantKillSwitchSet {
            active: true,
            actor: actor(),
            epoch: 1,
            reason: whole(),
            scope: Scope::Skill,
            scope_id: text("http_call"),
        }
        .into(),
    ]
}

fn log_full() -> Vec<Body> {
    let vkey = || text("example.org/log+00000000+AQ==");
    vec![
        LogCreated { engine: engine(), vkey: vkey() }.into(),
        LogKeyAdded { actor: actor(), vkey: vkey() }.into(),
        LogKeyRetired { actor: actor(), last_size: 10, vkey: vkey() }.into(),
        LogKeyRevoked { actor: actor(), last_size: 10, vkey: vkey() }.into(),
        LogRollbackAcknowledged {
            actor: actor(),
            lost_root: sha256(b"lost"),
            lost_size: 20,
            root: sha256(b"root"),
            size: 10,
        }
        .into(),
        LogClosed { actor: actor(), successor: some("example.org/next") }.into(),
    ]
}

/// The body again, with every member taken out that can be taken out.
fn without_options(body: &Body) -> Body {
    fn strip(value: &mut Value, decodes: &dyn Fn(&Value) -> bool, root: &Value, path: &[String]) {
        let Some(names) = value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()) else { return };
        for name in names {
            let mut path = path.to_vec();
            path.push(name.clone());
            let mut tried = root.clone();
            remove(&mut tried, &path);
            if decodes(&tried) {
                value.as_object_mut().unwrap().remove(&name);
            } else {
                strip(&mut value[&name], decodes, root, &path);
            }
        }
    }
    fn remove(value: &mut Value, path: &[String]) {
        match path {
            [last] => drop(value.as_object_mut().unwrap().remove(last)),
            [first, rest @ ..] => remove(&mut value[first], rest),
            [] => {}
        }
    }
    let decode = |body_value: &Value| {
        let envelope = json!({"at":0,"body":body_value,"kind":body.kind(),"log":"l","prev":Hash::ZERO,"seq":0,"stream":"log","tenant":null,"v":1});
        Event::decode(&canonical::to_bytes(&envelope).unwrap())
    };
    let full = serde_json::to_value(body).unwrap();
    let mut stripped = full.clone();
    strip(&mut stripped, &|value| decode(value).is_ok(), &full, &[]);
    decode(&stripped).unwrap().body
}

/// The fields that the decoder of each structure knows, read off its own message about one that it does not know.
fn known_fields(kind: &str) -> Vec<String> {
    let envelope = json!({"at":0,"body":{"zzz":0},"kind":kind,"log":"l","prev":Hash::ZERO,"seq":0,"stream":"log","tenant":null,"v":1});
    let error = Event::decode(&canonical::to_bytes(&envelope).unwrap()).unwrap_err().to_string();
    let list = error.split_once("expected").unwrap().1;
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_kind_has_a_full_and_a_minimal_sample() {
    let kinds = |events: Vec<Event>| events.iter().map(|event| event.body.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(full()), Body::KINDS);
    assert_eq!(kinds(minimal()), Body::KINDS);
    for event in full() {
        let value = serde_json::to_value(&event.body).unwrap();
        for field in known_fields(event.body.kind()) {
            assert!(value.get(&field).is_some(), "the full sample of {} lacks `{field}`", event.body.kind());
        }
    }
    let fewer =
        full().iter().zip(minimal()).filter(|(full, minimal)| full.encode().len() > minimal.encode().len()).count();
    assert!(fewer > 20, "minimal samples leave out optional fields: {fewer}");
    assert_eq!(serde_json::to_value(nobody()).unwrap(), json!({"authenticated_by": "none", "type": "system"}));
}

#[test]
fn encoding_is_canonical_and_decoding_gives_the_event_back() {
    for event in [full(), minimal()].concat() {
        let bytes = event.encode();
        assert_eq!(canonical::check(&bytes, canonical::EVENT_DEPTH), Ok(()), "{}", event.body.kind());
        assert_eq!(Event::decode(&bytes).as_ref(), Ok(&event));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(bytes, serde_json_canonicalizer::to_vec(&value).unwrap(), "{}", event.body.kind());
        assert_eq!(bytes, canonical::to_bytes(&value).unwrap());
        assert_eq!(event.leaf_hash(), leaf(&bytes));
    }
}

/// Calls `visit` with a copy of `root` for each object in it, changed by `change`.
fn each_object(root: &Value, change: &dyn Fn(&mut Value), visit: &mut dyn FnMut(&Value)) {
    fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                out.push(at.to_owned());
                members.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), out));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), out));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut places = Vec::new();
    pointers(root, "", &mut places);
    for place in places {
        let mut changed = root.clone();
        change(changed.pointer_mut(&place).unwrap());
        visit(&changed);
    }
}

#[test]
fn an_unknown_field_anywhere_is_refused() {
    let mut tried = 0;
    for event in [full(), minimal()].concat() {
        let value: Value = serde_json::from_slice(&event.encode()).unwrap();
        for name in ["", "zzz", "Item", "item ", "\u{10000}"] {
            for extra in [Value::Null, json!(1), json!({}), json!([])] {
                let add = |object: &mut Value| object[name] = extra.clone();
                each_object(&value, &add, &mut |changed| {
                    let bytes = canonical::to_bytes(changed).unwrap();
                    assert!(Event::decode(&bytes).is_err(), "accepted {}", String::from_utf8_lossy(&bytes));
                    tried += 1;
                });
            }
        }
    }
    assert!(tried > 3_000, "{tried}");
}

#[test]
fn a_field_that_is_null_repeated_missing_or_unsorted_is_refused() {
    for event in minimal() {
        let text = String::from_utf8(event.encode()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for field in known_fields(event.body.kind()) {
            let mut changed = value.clone();
            changed["body"][&field] = Value::Null;
            assert!(Event::decode(&canonical::to_bytes(&changed).unwrap()).is_err(), "null in `{field}`");
            let mut changed = value.clone();
            if changed["body"].as_object_mut().unwrap().remove(&field).is_some() {
                assert!(Event::decode(&canonical::to_bytes(&changed).unwrap()).is_err(), "without `{field}`");
            }
        }
        for name in ["at", "body", "kind", "log", "prev", "seq", "stream", "tenant", "v"] {
            let mut changed = value.clone();
            changed.as_object_mut().unwrap().remove(name);
            assert!(Event::decode(&canonical::to_bytes(&changed).unwrap()).is_err(), "without `{name}`");
        }
        let repeated = text.replacen("{\"at\":", "{\"at\":1,\"at\":", 1);
        let unsorted = format!("{{\"v\":1,{}", &text[1..].replace(",\"v\":1}", "}"));
        let spaced = text.replacen(",\"body\"", ", \"body\"", 1);
        for wrong in [repeated, unsorted, spaced, format!("{text}\n"), format!(" {text}")] {
            assert!(Event::decode(wrong.as_bytes()).is_err(), "accepted {wrong}");
        }
    }
}

#[test]
fn every_changed_byte_gives_no_event_or_another_leaf() {
    let mut decoded = 0;
    for event in [full(), minimal()].concat() {
        let bytes = event.encode();
        let hash = leaf(&bytes);
        for position in 0..bytes.len() {
            for bit in [0, 1, 5, 7] {
                let mut changed = bytes.clone();
                changed[position] ^= 1 << bit;
                if let Ok(other) = Event::decode(&changed) {
                    decoded += 1;
                    assert_ne!(other, event, "byte {position} bit {bit} of {}", event.body.kind());
                    assert_ne!(other.leaf_hash(), hash);
                    assert_eq!(other.encode(), changed, "what is hashed is what was read");
                    assert_eq!(canonical::check(&changed, canonical::EVENT_DEPTH), Ok(()));
                }
            }
        }
    }
    assert!(decoded > 1_000, "flips inside texts and numbers still decode: {decoded}");
}

#[test]
fn numbers_and_characters_outside_the_profile_are_refused_in_an_event() {
    let claimed = |at: &str, body: &str, log: &str| {
        let prev = Hash::ZERO;
        let text = format!(
            "{{\"at\":{at},\"body\":{body},\"kind\":\"run.claimed\",\"log\":\"{log}\",\"prev\":\"{prev}\",\"seq\":1,\"stream\":\"run/r\",\"tenant\":\"t\",\"v\":1}}"
        );
        Event::decode(text.as_bytes()).map(|event| assert_eq!(event.encode(), text.as_bytes()))
    };
    let body = |epoch: &str, worker: &str| format!("{{\"epoch\":{epoch},\"worker\":\"{worker}\"}}");
    let most = "9007199254740991";
    for worker in ["w", "}", "},\\\"kind\\\":\\\"run.claimed\\\"", "\u{10000}", "\\u0001\\n", "\\\\u0000"] {
        assert_eq!(claimed(most, &body(most, worker), worker), Ok(()), "{worker}");
    }
    let refused = [
        claimed("9007199254740992", &body("1", "w"), "l"),
        claimed("0", &body("9007199254740992", "w"), "l"),
        claimed("0", &body("18446744073709551615", "w"), "l"),
        claimed("0", &body("1", "\\u0000"), "l"),
        claimed("0", &body("1", "w"), "\\u0000"),
        claimed("0", &body("01", "w"), "l"),
        claimed("0", &body("1", "\\/"), "l"),
        claimed("0", &body("1", "\\u000a"), "l"),
        claimed("0", &body("1", "\u{7}"), "l"),
        claimed("0", &format!("{} ", body("1", "w")), "l"),
        claimed("0", "{\"worker\":\"w\",\"epoch\":1}", "l"),
    ];
    for (nth, refused) in refused.iter().enumerate() {
        assert!(matches!(refused, Err(EventError::NotCanonical(_))), "case {nth}: {refused:?}");
    }
    for body in ["[1,\"w\"]", "{\"epoch\":1}", "null"] {
        let refused = claimed("0", body, "l");
        assert!(!matches!(refused, Ok(()) | Err(EventError::NotCanonical(_))), "{body}: {refused:?}");
    }
}

#[test]
fn what_a_newer_version_may_read_is_told_from_what_is_damaged() {
    let text = String::from_utf8(full()[0].encode()).unwrap();
    let needs_newer = |from: &str, to: &str| {
        let error = Event::decode(text.replace(from, to).as_bytes()).unwrap_err();
        let says_so = error.to_string().contains("needs a newer version");
        assert_eq!(says_so, error.needs_newer(), "{error}");
        says_so
    };
    assert!(needs_newer("\"v\":1}", "\"v\":2}"));
    assert!(needs_newer("\"run.created\"", "\"run.deleted\""));
    for (from, to) in [
        ("\"v\":1}", "\"v\":0}"),
        ("\"v\":1}", "\"v\":2"),
        ("\"run.created\"", "\"run.sealed\""),
        ("\"run.created\"", "run.deleted"),
        ("\"seq\":", "\"sec\":"),
        ("{\"at\":", "{\"at\": "),
        ("agent_1", "agent\\u005f1"),
        ("agent_1", &"a".repeat(MAX_EVENT)),
    ] {
        assert!(!needs_newer(from, to), "{from} {to}");
    }
    assert_eq!(FORMAT_LEVEL, 1, "another level is for a release that adds kinds to these");
    assert_eq!(Body::KINDS.len(), 41);
}

#[test]
fn other_versions_kinds_and_sizes_are_named() {
    let event = &full()[0];
    let text = String::from_utf8(event.encode()).unwrap();
    let newer = text.replace("\"v\":1}", "\"v\":2}");
    assert_eq!(Event::decode(newer.as_bytes()), Err(EventError::Version(2)));
    let newer = text.replace("\"v\":1}", "\"v\":2,\"w\":{}}");
    assert_eq!(Event::decode(newer.as_bytes()), Err(EventError::Version(2)));
    let kind = text.replace("\"run.created\"", "\"run.deleted\"");
    assert_eq!(Event::decode(kind.as_bytes()), Err(EventError::UnknownKind("run.deleted".to_owned())));
    let large = text.replace("agent_1", &"a".repeat(MAX_EVENT));
    assert_eq!(Event::decode(large.as_bytes()), Err(EventError::TooLarge(large.len())));
    for stream in [
        "run/",
        "run/a b",
        "run/\u{e9}",
        "run",
        "log/",
        "Log",
        "tenant/a/b",
        "run/../x",
        &format!("run/{}", "a".repeat(65)),
    ] {
        let wrong = text.replace("run/r_1", stream);
        assert!(matches!(Event::decode(wrong.as_bytes()), Err(EventError::Envelope(_))), "{stream}");
    }
}
