//! `kv_store` through the real binary: values outlive a run, every run is proved, and what is stored is no evidence.

use runproof_store::Store;
use runproof_store::sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::support::{Home, TENANT, eventually, runtime, text};

fn kv(id: &str, with: Value) -> Value {
    json!({ "id": id, "skill": "kv_store", "with": with })
}

/// Sets, counts, reads, and uses what was read.
fn steps() -> Value {
    json!([
        kv("set", json!({ "operation": "set", "key": "cursor", "value": { "page": 7 }, "ttl_seconds": 3600 })),
        kv("incr", json!({ "operation": "incr", "key": "runs", "namespace": "counters", "amount": 5 })),
        kv("decr", json!({ "operation": "decr", "key": "runs", "namespace": "counters" })),
        kv("get", json!({ "operation": "get", "key": "cursor" })),
        kv("ttl", json!({ "operation": "ttl", "key": "cursor" })),
        kv("next", json!({ "operation": "set", "key": "cursor", "value": "{{ steps.get.output.value.page }}" })),
        kv("gone", json!({ "operation": "delete", "key": "never there" })),
    ])
}

/// What a step answered, from the record.
fn output(home: &Home, run: &Value, step: &str) -> Value {
    let store = SqliteStore::open_reader(&home.database()).unwrap();
    let run = runtime().block_on(store.load_run(TENANT, &text(&run["run_id"]))).unwrap().unwrap();
    run.output(step).unwrap_or_else(|| panic!("`{step}` has no output")).clone()
}

fn verified(home: &Home, run: &Value) {
    let bundle = home.path("kv.runproof");
    let proof = home.ok(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &bundle]);
    assert_eq!(proof["verdict"], "VERIFIED", "{proof:#}");
    assert_eq!(home.ok(&["verify", &bundle, "--key", &home.vkey()])["verdict"], "VERIFIED");
}

#[test]
fn values_outlive_a_run_and_every_run_is_proved() {
    let home = Home::initialised();
    for (created, counted) in [(true, 4), (false, 8)] {
        let (code, run) = home.run_plan(steps(), &[]);
        assert_eq!(code, 0, "{run:#}");
        let output = |step| output(&home, &run, step);
        assert_eq!(output("set"), json!({ "created": created }));
        assert_eq!(output("incr"), json!({ "value": counted + 1 }));
        assert_eq!(output("decr"), json!({ "value": counted }));
        assert_eq!(output("get"), json!({ "found": true, "value": { "page": 7 } }));
        assert_eq!(output("ttl"), json!({ "found": true, "ttl_seconds": 3600 }));
        assert_eq!(output("next"), json!({ "created": false }));
        assert_eq!(output("gone"), json!({ "found": false }));
        verified(&home, &run);
    }
    let stored = home.sql("SELECT tenant_id, key, value, expires_at IS NULL FROM kv ORDER BY key");
    assert_eq!(stored, [["acme", "counters:runs", "8", "1"], ["acme", "default:cursor", "7", "1"]]);
}

#[test]
fn what_is_stored_is_no_evidence_and_changing_it_changes_no_verdict() {
    let home = Home::initialised();
    let (_, run) = home.run_plan(steps(), &[]);
    let (code, graph) = home.run_graph(&[]);
    assert_eq!((code, output(&home, &graph, "join")["word"].as_str()), (0, Some("lamp")));
    for change in [
        "UPDATE kv SET value = '999', version = 0, expires_at = 1",
        "UPDATE kv SET tenant_id = 'other', key = key || '!'",
        "DELETE FROM kv",
    ] {
        home.sql(change);
        for run in [&run, &graph] {
            verified(&home, run);
            assert_eq!(home.proof(run).1["findings"], json!([]), "{change}");
        }
    }
    // What was read is on record all the same, and the next run works on what it finds.
    assert_eq!(output(&home, &run, "get")["value"], json!({ "page": 7 }));
    assert_eq!(output(&home, &graph, "count"), json!({ "value": 1 }));
    let (code, next) = home.run_plan(steps(), &[]);
    assert_eq!((code, output(&home, &next, "decr")), (0, json!({ "value": 4 })));
    verified(&home, &next);
}

#[test]
fn an_expired_value_is_gone_for_the_next_run_and_then_from_the_disk() {
    let home = Home::initialised();
    let set = kv("set", json!({ "operation": "set", "key": "brief", "value": 1, "ttl_seconds": 1 }));
    let get = kv("get", json!({ "operation": "get", "key": "brief", "default": "gone" }));
    assert_eq!(home.run_plan(json!([set]), &[]).0, 0);
    eventually("the value expires", || {
        let (_, run) = home.run_plan(json!([get]), &[]);
        (output(&home, &run, "get") == json!({ "found": false, "value": "gone" })).then_some(())
    });
    assert_eq!(home.sql("SELECT count(*) FROM kv"), [["1"]]);
    assert_eq!(home.run_plan(json!([kv("set", json!({ "operation": "set", "key": "k", "value": 1 }))]), &[]).0, 0);
    assert_eq!(home.sql("SELECT key FROM kv"), [["default:k"]]);
}

#[test]
fn what_is_private_is_stored_redacted_and_a_secret_not_at_all() {
    let home = Home::initialised().with("RUNPROOF_SECRET_TOKEN", "correct-horse-battery");
    let value = json!({ "to": "write to jane@example.org", "n": 1 });
    let set = kv("set", json!({ "operation": "set", "key": "k", "value": value }));
    let get = kv("get", json!({ "operation": "get", "key": "k" }));
    let (code, run) = home.run_plan(json!([set, get]), &[]);
    assert_eq!(code, 0, "{run:#}");
    let marked = json!({ "to": "write to <REDACTED_EMAIL>", "n": 1 });
    assert_eq!(output(&home, &run, "get")["value"], marked);
    assert_eq!(serde_json::from_str::<Value>(&home.sql("SELECT value FROM kv")[0][0]).unwrap(), marked);

    let secret = kv("set", json!({ "operation": "set", "key": "k", "value": "secret://TOKEN" }));
    let (code, run) = home.run_plan(json!([secret]), &[]);
    assert_eq!(code, 3, "{run:#}");
    assert_eq!(run["steps"][0]["outcome_code"], "params.invalid", "{run:#}");
    assert!(!home.dump().contains("correct-horse"));
}

#[test]
fn the_list_of_skills_names_it_where_there_is_no_store() {
    let home = Home::empty();
    let skills = home.ok(&["list-skills"])["skills"].as_array().unwrap().clone();
    let listed = skills.iter().find(|skill| skill["name"] == "kv_store").expect("`kv_store` is listed");
    assert_eq!(listed["effects"], json!(["read", "transactional"]));
    assert_eq!(std::fs::read_dir(home.folder()).unwrap().count(), 0, "listing makes nothing");
}
