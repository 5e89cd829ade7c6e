//! Makes every file of `docs/spec/vectors` again and compares. `RUNPROOF_UPDATE_VECTORS=1` writes instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use runproof_proof::canonical;
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::commit;
use runproof_proof::event::Event;
use runproof_proof::finding::Code;
use runproof_proof::hash::{Hash, leaf, node, sha256};
use runproof_proof::merkle;
use runproof_proof::note::{Note, NoteVerifier};
use runproof_proof::report::legacy_root;
use serde_json::{Value, json};

use crate::journal::{KEY_SEED, signer};
use crate::{bundles, runs, samples};

/// `docs/spec/vectors`.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors")
}

/// One canonical JSON value per line: readable, and the same whatever order a map has in memory.
fn lines(values: &[Value]) -> String {
    let lines: Vec<String> =
        values.iter().map(|value| String::from_utf8(canonical::to_bytes(value).unwrap()).unwrap()).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

/// An object whose members are such lists, or single values.
fn sections(members: &[(&str, Value)]) -> Vec<u8> {
    let mut out = String::from("{\n");
    for (index, (name, value)) in members.iter().enumerate() {
        let text = match value {
            Value::Array(items) => lines(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                String::from_utf8(canonical::to_bytes(value).unwrap()).unwrap()
            }
        };
        let comma = if index > 0 { ",\n" } else { "" };
        write!(out, "{comma}\"{name}\":{text}").unwrap();
    }
    format!("{out}\n}}\n").into_bytes()
}

fn list(values: &[Value]) -> Vec<u8> {
    format!("{}\n", lines(values)).into_bytes()
}

/// Bytes as text where they are text without U+0000, else as hex.
fn shown(bytes: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => ("text", json!(text)),
        Ok(_) | Err(_) => ("hex", json!(HEXLOWER.encode(bytes))),
    }
}

pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([
        ("canonical.json".to_owned(), canonical_vectors()),
        ("leaf.json".to_owned(), leaf_vectors()),
        ("commitments.json".to_owned(), commitment_vectors()),
        ("merkle.json".to_owned(), merkle_vectors()),
        ("note.json".to_owned(), note_vectors()),
        ("digests.json".to_owned(), digest_vectors()),
    ]);
    let cases = bundles::cases();
    let index = cases.iter().map(|case| {
        json!({
            "file": case.file,
            "what": case.what,
            "key": case.key,
            "verdict": case.verdict.word(),
            "exit_code": case.verdict.exit_code(),
            "code": case.code.map(Code::word),
        })
    });
    files.insert("bundles/index.json".to_owned(), list(&index.collect::<Vec<_>>()));
    for (name, text) in bundles::trust_files() {
        files.insert(format!("bundles/{name}"), text.into_bytes());
    }
    for case in cases {
        let before = files.insert(format!("bundles/{}", case.file), case.bytes.clone());
        assert!(before.is_none_or(|before| before == case.bytes), "two different bundles are called {}", case.file);
    }
    files
}

/// Texts, whether they are canonical, and why not.
pub(crate) fn canonical_cases() -> Vec<(&'static str, usize, bool, Vec<u8>)> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let accept = |what, text: &str| (what, 16, true, text.as_bytes().to_vec());
    let refuse = |what, text: &str| (what, 16, false, text.as_bytes().to_vec());
    let raw = |what, bytes: &[u8]| (what, 16, false, bytes.to_vec());
    vec![
        accept("empty object", "{}"),
        accept("empty array", "[]"),
        accept("empty string", "\"\""),
        accept("words", "[true,false,null]"),
        accept("integers", "[0,1,-1,10,9007199254740991,-9007199254740991]"),
        accept("short escapes", r#""\b\t\n\f\r\"\\""#),
        accept("long escapes", r#""\u0001\u000b\u001f""#),
        accept("literal characters", "\"/\u{7f}\u{80}\u{2028}\u{ffff}\u{1f600}\""),
        accept("name that is empty", r#"{"":0,"a":1}"#),
        accept("prefix before longer name", r#"{"a":1,"aa":2}"#),
        accept("capital before small letters", r#"{"A":1,"B":2,"_":3,"a":4}"#),
        accept("order by UTF-16: U+10000 before U+E000", "{\"\u{10000}\":1,\"\u{e000}\":2}"),
        accept("order of escaped names", "{\"\\t\":1,\"\\n\":2,\"\\u001f\":3,\" \":4}"),
        accept("nested", r#"{"a":[{"b":{}},[]],"c":"d"}"#),
        ("16 levels of 16", 16, true, deep(16)),
        ("17 levels of 16", 16, false, deep(17)),
        ("64 levels of 64", 64, true, deep(64)),
        ("65 levels of 64", 64, false, deep(65)),
        refuse("nothing", ""),
        refuse("space before", " {}"),
        refuse("newline after", "{}\n"),
        refuse("space inside", r#"{"a": 1}"#),
        refuse("two values", "{}{}"),
        refuse("byte order mark", "\u{feff}{}"),
        refuse("unfinished object", r#"{"a":1"#),
        refuse("unfinished string", r#""a"#),
        refuse("comma before the end", r#"{"a":1,}"#),
        refuse("comma before the end of an array", "[1,]"),
        refuse("missing colon", r#"{"a"1}"#),
        refuse("name without quotes", "{a:1}"),
        refuse("names not sorted", r#"{"b":1,"a":2}"#),
        refuse("order by code point", "{\"\u{e000}\":1,\"\u{10000}\":2}"),
        refuse("name twice", r#"{"a":1,"a":1}"#),
        refuse("name twice, once escaped", "{\"a\":1,\"\\u0061\":2}"),
        refuse("fraction", "1.5"),
        refuse("fraction of zero", "1.0"),
        refuse("exponent", "1e2"),
        refuse("capital exponent", "1E2"),
        refuse("minus zero", "-0"),
        refuse("leading zero", "01"),
        refuse("leading zero after minus", "-01"),
        refuse("plus", "+1"),
        refuse("minus alone", "-"),
        refuse("beyond 2^53 - 1", "9007199254740992"),
        refuse("beyond -(2^53 - 1)", "-9007199254740992"),
        refuse("beyond 64 bits", "36893488147419103233"),
        refuse("not a number", "NaN"),
        refuse("capital word", "True"),
        refuse("part of a word", "nul"),
        refuse("escaped slash", r#""\/""#),
        refuse("escape of a printable character", "\"\\u0041\""),
        refuse("long escape where a short one exists", "\"\\u000a\""),
        refuse("capital digits in an escape", "\"\\u001F\""),
        refuse("escaped character beyond ASCII", "\"\\u00e9\""),
        refuse("escaped surrogate pair", "\"\\ud83d\\ude00\""),
        refuse("escaped lone surrogate", "\"\\ud800\""),
        refuse("escaped U+0000", "\"\\u0000\""),
        refuse("escaped delete", "\"\\u007f\""),
        refuse("unknown escape", r#""\x41""#),
        refuse("control character not escaped", "\"\n\""),
        refuse("single quotes", "'a'"),
        raw("U+0000", b"\"\0\""),
        raw("not UTF-8", b"\"\xff\""),
        raw("overlong form", b"\"\xc0\x80\""),
        raw("surrogate in UTF-8", b"\"\xed\xa0\x80\""),
        raw("beyond U+10FFFF", b"\"\xf4\x90\x80\x80\""),
        raw("unfinished character", b"\"\xe2\x82\""),
    ]
}

fn canonical_vectors() -> Vec<u8> {
    let cases = canonical_cases().into_iter().map(|(what, depth, accept, bytes)| {
        let (name, value) = shown(&bytes);
        json!({"what": what, "depth": depth, "accept": accept, name: value})
    });
    list(&cases.collect::<Vec<_>>())
}

/// Events that must be refused, and why.
pub(crate) fn refused_events() -> Vec<(&'static str, String)> {
    let text = |kind: &str| {
        let event = samples::full().into_iter().find(|event| event.body.kind() == kind).unwrap();
        String::from_utf8(event.encode()).unwrap()
    };
    let change = |what, kind, from: &str, to: &str| {
        let before = text(kind);
        assert!(before.contains(from), "{kind} has no {from}");
        (what, before.replacen(from, to, 1))
    };
    vec![
        change("unknown field in the envelope", "log.created", ",\"v\":1}", ",\"v\":1,\"w\":0}"),
        change("unknown field in the body", "run.claimed", "\"epoch\":1", "\"epoch\":1,\"note\":\"\""),
        change("unknown field in a shared structure", "run.created", "\"build\":", "\"a\":0,\"build\":"),
        change("unknown field in a commitment", "run.created", "{\"as\":\"whole\"", "{\"as\":\"whole\",\"b\":0"),
        change("unknown kind", "run.claimed", "run.claimed", "run.taken"),
        change("body of another kind", "run.claimed", "run.claimed", "approval.expired"),
        change("unknown word", "step.returned", "\"via\":\"call\"", "\"via\":\"guess\""),
        change("word in capitals", "step.returned", "\"via\":\"call\"", "\"via\":\"Call\""),
        change("optional field that is null", "run.claimed", "\"tenant\":\"t_1\"", "\"tenant\":null,\"u\":null"),
        change("optional list that is empty", "policy.checked", "\"policies\":[\"p1\",\"p2\"]", "\"policies\":[]"),
        change("required field missing", "run.claimed", ",\"worker\":\"w_1\"", ""),
        change("envelope field missing", "run.claimed", "\"log\":\"example.org/log\",", ""),
        change("negative number", "run.claimed", "\"epoch\":1", "\"epoch\":-1"),
        change("number as text", "run.claimed", "\"epoch\":1", "\"epoch\":\"1\""),
        change("attempt beyond 32 bits", "policy.checked", "\"attempt\":1", "\"attempt\":4294967296"),
        change(
            "capital hash",
            "log.rollback_acknowledged",
            &sha256(b"prev").hex(),
            &sha256(b"prev").hex().to_uppercase(),
        ),
        change("short hash", "log.rollback_acknowledged", &sha256(b"prev").hex(), &sha256(b"prev").hex()[2..]),
        change("stream without an id", "run.claimed", "run/r_1", "run/"),
        change("stream with a space", "run.claimed", "run/r_1", "run/r 1"),
        change("stream of an unknown sort", "run.claimed", "run/r_1", "agent/r_1"),
        change("whole value with two hashes", "run.paused", "\"macs\":[", &format!("\"macs\":[\"{}\",", Hash::ZERO)),
        change(
            "whole value without a hash",
            "run.paused",
            &format!("\"macs\":[\"{}\"]", sha256(b"whole")),
            "\"macs\":[]",
        ),
        change("unknown division", "run.paused", "\"as\":\"whole\"", "\"as\":\"chunks\""),
        change("newline after the event", "run.claimed", "\"v\":1}", "\"v\":1}\n"),
    ]
}

fn leaf_vectors() -> Vec<u8> {
    let raw: [&[u8]; 4] = [b"", b"0", b"{}", &[0xff; 65]];
    let bytes = raw.map(|bytes| {
        let (name, value) = shown(bytes);
        json!({name: value, "leaf_hash": leaf(bytes)})
    });
    let event = |event: &Event| {
        let bytes = event.encode();
        json!({"event": String::from_utf8_lossy(&bytes), "leaf_hash": leaf(&bytes)})
    };
    let refused = refused_events().into_iter().map(|(what, text)| json!({"what": what, "event": text}));
    let (left, right) = (leaf(b"0"), leaf(b"1"));
    sections(&[
        ("bytes", json!(bytes)),
        ("node", json!({"left": left, "right": right, "node": node(&left, &right)})),
        ("full", samples::full().iter().map(event).collect()),
        ("minimal", samples::minimal().iter().map(event).collect()),
        ("refused", refused.collect()),
    ])
}

/// Letter `i` of such a text is number `i mod 26` of the alphabet.
pub(crate) fn letters(count: usize) -> String {
    (0..count).map(|index| char::from(b'a' + (index % 26) as u8)).collect()
}

/// What to write into the file, the field, and the value.
pub(crate) fn commitment_cases() -> Vec<(&'static str, Value, &'static str, Value)> {
    let given = |what, field, value: Value| (what, json!({"value": value}), field, value);
    let ruled = |what, count: usize| (what, json!({"letters": count}), "output", json!(letters(count)));
    let many = |count: usize| -> Value { (0..count).map(|index| (format!("m{index:02}"), json!(index))).collect() };
    vec![
        given("members", "params", json!({"amount": 1999, "currency": "EUR", "email": "zoe@example.org"})),
        given(
            "members in UTF-16 order",
            "params",
            json!({"\u{10000}": 1, "\u{e000}": 2, "": 3, "a\nb": [{"c": null}]}),
        ),
        given("object without members", "output", json!({})),
        given("64 members", "params", many(64)),
        given("65 members: whole", "params", many(65)),
        given("whole: text", "goal", json!("Refund invoice 4711 of Zo\u{eb} \u{1f600}")),
        given("whole: array", "output", json!([1, "two", null, {"three": true}])),
        given("whole: null", "output", Value::Null),
        given("the same value in another field", "error", Value::Null),
        ruled("65,536 bytes: not chunked", 65_534),
        ruled("65,537 bytes: two chunks", 65_535),
        ruled("131,072 bytes: two full chunks", 131_070),
        ruled("204,802 bytes: four chunks", 204_800),
        (
            "members, one of them chunked",
            json!({"letters_in_big": 204_800}),
            "output",
            json!({"big": letters(204_800), "small": 1}),
        ),
    ]
}

fn commitment_vectors() -> Vec<u8> {
    let seed = sha256(b"runproof commitment vectors");
    let cases = commitment_cases().into_iter().map(|(what, given, field, value)| {
        let text = commit::text(&value).unwrap();
        let (division, parts) = commit::divide(&text).unwrap();
        let shown = parts.iter().map(|part| {
            let salt = commit::salt(&seed.0, field, part.index);
            let mac = part.mac(&salt, division);
            json!({"index": part.index, "name": part.name, "bytes": part.text.len(), "salt": salt, "mac": mac})
        });
        let mut case = json!({
            "what": what,
            "seed": seed,
            "field": field,
            "parts": shown.collect::<Vec<_>>(),
            "commitment": commit::commit(&seed.0, field, &value).unwrap(),
        });
        case.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        case
    });
    list(&cases.collect::<Vec<_>>())
}

fn merkle_vectors() -> Vec<u8> {
    let leaves: Vec<Hash> = (0..20).map(|n: u32| leaf(n.to_string().as_bytes())).collect();
    let hashes = |ranges: Vec<merkle::Range>| -> Vec<Hash> {
        ranges.iter().map(|range| merkle::root(&leaves[range.start as usize..range.end as usize])).collect()
    };
    let roots = (0..=20usize).map(|n| json!({"size": n, "root": merkle::root(&leaves[..n])}));
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for size in [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 20] {
        for index in 0..size {
            let proof = hashes(merkle::inclusion_ranges(index, size).unwrap());
            inclusion.push(json!({"index": index, "size": size, "proof": proof}));
        }
        for old in 1..=size {
            let proof = hashes(merkle::consistency_ranges(old, size).unwrap());
            consistency.push(json!({"old": old, "new": size, "proof": proof}));
        }
    }
    sections(&[("roots", roots.collect()), ("inclusion", json!(inclusion)), ("consistency", json!(consistency))])
}

/// Notes that must be refused, and why.
pub(crate) fn refused_notes() -> Vec<(&'static str, String)> {
    let note = example_checkpoint().sign(&signer());
    let change = |what, from: &str, to: &str| {
        assert!(note.contains(from));
        (what, note.replacen(from, to, 1))
    };
    let line = note.lines().last().unwrap().to_owned();
    vec![
        ("no signature", example_checkpoint().text()),
        ("blank line and no signature", format!("{}\n", example_checkpoint().text())),
        ("without its last newline", note.trim_end().to_owned()),
        ("a blank line after the signatures", format!("{note}\n")),
        change("hyphen for the dash", "\u{2014} ", "- "),
        change("two spaces after the dash", "\u{2014} ", "\u{2014}  "),
        change("base64 without padding", "=\n\n", "\n\n"),
        change("carriage return", "\n\n", "\r\n\n"),
        change("tab in the text", "example.org", "example\t.org"),
        change("size with a leading zero", "\n20\n", "\n020\n"),
        change("size with a sign", "\n20\n", "\n+20\n"),
        change("size beyond 64 bits", "\n20\n", "\n18446744073709551616\n"),
        change("an extension line", "=\n\n", "=\nextension\n\n"),
        change("no origin", "example.org/log\n20", "\n20"),
        ("the same line twice", format!("{note}{line}\n")),
        ("17 signatures", {
            let lines: String = (0..16).map(|n| line.replace(crate::samples::LOG, &format!("k{n}")) + "\n").collect();
            format!("{note}{lines}")
        }),
    ]
}

/// Keys that must be refused, and why.
pub(crate) fn refused_keys() -> Vec<(&'static str, String)> {
    let vkey = signer().verifier().vkey();
    let change = |what, from: &str, to: &str| {
        assert!(vkey.contains(from));
        (what, vkey.replacen(from, to, 1))
    };
    let keyed = |public: [u8; 32]| {
        let id = sha256(&[b"k\n\x01".as_slice(), &public].concat());
        let data = data_encoding::BASE64.encode(&[[1].as_slice(), &public].concat());
        format!("k+{}+{data}", &id.hex()[..8])
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut no_point = [0; 32];
    no_point[0] = 2;
    vec![
        change("another name", "example.org", "example.com"),
        change("a space in the name", "example.org", "example org"),
        ("no name", vkey.replacen("example.org/log", "", 1)),
        ("two fields", vkey.rsplit_once('+').unwrap().0.to_owned()),
        ("not base64", format!("{vkey}*")),
        ("a newline", format!("{vkey}\n")),
        ("small order", keyed(identity)),
        ("not a point of the curve", keyed(no_point)),
    ]
}

fn example_checkpoint() -> Checkpoint {
    let leaves: Vec<Hash> = (0..20).map(|n: u32| leaf(n.to_string().as_bytes())).collect();
    Checkpoint { origin: samples::LOG.to_owned(), size: 20, root: merkle::root(&leaves) }
}

fn note_vectors() -> Vec<u8> {
    let checkpoint = example_checkpoint();
    let note = checkpoint.sign(&signer());
    let leaves: Vec<Hash> = (0..20).map(|n: u32| leaf(n.to_string().as_bytes())).collect();
    let ranges = merkle::inclusion_ranges(13, 20).unwrap();
    let hashes = ranges.iter().map(|range| merkle::root(&leaves[range.start as usize..range.end as usize])).collect();
    let proof = InclusionProof { index: 13, hashes, note: note.clone() }.encode();
    let keys = refused_keys().into_iter().map(|(what, vkey)| json!({"what": what, "vkey": vkey}));
    let notes = refused_notes().into_iter().map(|(what, note)| json!({"what": what, "note": note}));
    sections(&[
        ("seed", json!(Hash(KEY_SEED))),
        ("name", json!(samples::LOG)),
        ("private_key", json!(signer().to_private_text())),
        ("vkey", json!(signer().verifier().vkey())),
        (
            "checkpoint",
            json!({"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root, "text": checkpoint.text()}),
        ),
        ("note", json!(note)),
        ("tlog_proof", json!({"leaf_hash": leaf(b"13"), "text": proof})),
        ("refused_keys", keys.collect()),
        ("refused_notes", notes.collect()),
    ])
}

fn digest_vectors() -> Vec<u8> {
    let key = |tenant, run_id, step_id, item: &str, binding| {
        let key = runs::idempotency_key(tenant, run_id, step_id, item, binding);
        let mut case = json!({"tenant": tenant, "run_id": run_id, "step_id": step_id, "binding": binding, "key": key});
        if !item.is_empty() {
            case["item"] = json!(item);
        }
        case
    };
    let plan = json!({"format": "runproof.plan/v1", "steps": [{"id": "fetch", "skill": "http_call", "with": {}}]});
    let steps = [(0, "http_call", "success"), (1, "http_call", "failure")];
    sections(&[
        (
            "idempotency_key",
            json!([
                key("t_acme", "r_1", "refund", "", "http_call"),
                key("t_acme", "r_1", "refund", "0", "http_call"),
                key("t_acme", "r_1", "refund", "fallback", "email_send"),
                key("t", "acmer_1", "refund", "", "http_call"),
            ]),
        ),
        ("plan_digest", json!([{"plan_digest": runs::plan_digest(&plan), "plan": plan}])),
        (
            "legacy_root_hash",
            json!([
                {"run_id": "r_1", "steps": [], "legacy_root_hash": legacy_root("r_1", [].into_iter())},
                {"run_id": "r_1", "steps": steps, "legacy_root_hash": legacy_root("r_1", steps.into_iter())},
            ]),
        ),
    ])
}

fn on_disk(directory: &Path, under: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            on_disk(&entry.path(), &format!("{name}/"), found);
        } else if name != "README.md" && name != ".gitattributes" {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn the_vectors_on_disk_are_the_ones_that_are_generated() {
    let files = files();
    if std::env::var_os("RUNPROOF_UPDATE_VECTORS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(directory().join("bundles")).unwrap();
        for (name, bytes) in &files {
            std::fs::write(directory().join(name), bytes).unwrap();
        }
    }
    let mut found = BTreeMap::new();
    on_disk(&directory(), "", &mut found);
    for (name, bytes) in &files {
        let same = found.get(name).is_some_and(|found| found == bytes);
        assert!(same, "{name} differs; if that is meant, run with RUNPROOF_UPDATE_VECTORS=1 and read the diff");
    }
    let extra: Vec<&String> = found.keys().filter(|name| !files.contains_key(*name)).collect();
    assert!(extra.is_empty(), "nobody generates {extra:?}");
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    for (what, text) in refused_events() {
        assert!(Event::decode(text.as_bytes()).is_err(), "accepted an event with: {what}");
    }
    for (what, text) in refused_notes() {
        let checkpoint = Note::parse(text.as_bytes()).and_then(|note| Checkpoint::parse(&note.text));
        assert!(checkpoint.is_err(), "accepted a checkpoint with: {what}");
    }
    for (what, vkey) in refused_keys() {
        assert!(NoteVerifier::parse(&vkey).is_err(), "accepted a key with: {what}");
    }
    for (what, depth, accept, bytes) in canonical_cases() {
        assert_eq!(canonical::check(&bytes, depth).is_ok(), accept, "{what}");
        if accept {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(canonical::to_bytes(&value).unwrap(), bytes, "{what}");
        }
    }
}
