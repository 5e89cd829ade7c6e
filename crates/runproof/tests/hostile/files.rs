//! Files from somebody else: bundles, trust files, keys and heads. Nothing that they say is believed.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{calm, refused};
use crate::support::{Home, text};

/// Longest that anything here may take. A hostile file costs what reading it costs, and no more.
const PATIENCE: Duration = Duration::from_secs(60);

fn verify<'a>(bundle: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["verify", bundle.to_str().unwrap()][..], more].concat()
}

// Bundles -------------------------------------------------------------------------------------------------------------

#[test]
fn a_bundle_that_is_cut_anywhere_is_malformed() {
    let home = Home::initialised();
    let (bundle, key) = home.sealed_bundle();
    let whole = std::fs::read(&bundle).unwrap();
    let cut = home.folder().join("cut.runproof");
    let lines = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let sampled = (0..whole.len()).step_by(whole.len() / 24);
    let mut lengths: Vec<usize> = sampled.chain(lines.flat_map(|at| [at, at + 1])).collect();
    lengths.retain(|length| *length < whole.len());
    assert!(lengths.len() > 40, "{lengths:?}");
    for length in lengths {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let ran = calm(&mut home.command(&verify(&cut, &["--key", &key])));
        assert_eq!((ran.code, &ran.json()["verdict"]), (30, &json!("MALFORMED")), "{length} of {}", whole.len());
    }
}

#[test]
fn a_bundle_that_is_made_to_exhaust_the_verifier_is_malformed_in_time() {
    let home = Home::initialised();
    let (bundle, key) = home.sealed_bundle();
    let whole = std::fs::read_to_string(&bundle).unwrap();
    let header = whole.lines().take(2).collect::<Vec<_>>().join("\n");
    assert!(header.contains("\"events\":"), "{header}");
    let promising = |digits: &str| whole.replacen("\"events\":", &format!("\"events\":{digits}"), 1).into_bytes();
    let hostile = home.folder().join("hostile.runproof");
    for (what, content) in [
        ("one huge line", vec![b'a'; 64 << 20]),
        ("one huge line of JSON", format!("{{\"a\":\"{}\"}}\n", "b".repeat(32 << 20)).into_bytes()),
        ("a million lists", "[".repeat(1_000_000).into_bytes()),
        ("a million objects", "{\"a\":".repeat(1_000_000).into_bytes()),
        ("a million lists in an event", format!("{header}\n{}\n", "[".repeat(1_000_000)).into_bytes()),
        ("a million lines", "{}\n".repeat(1_000_000).into_bytes()),
        ("a million lines after a header", format!("{header}\n{}", "{}\n".repeat(1_000_000)).into_bytes()),
        ("a million lines at the end", format!("{whole}{}", "\n".repeat(1_000_000)).into_bytes()),
        ("a header that promises more events", promising("9")),
        ("a header that promises all events there could be", promising("99999999999999")),
        ("gzip", [&b"\x1f\x8b\x08\0\0\0\0\0"[..], whole.as_bytes()].concat()),
        ("zip", [&b"PK\x03\x04"[..], whole.as_bytes()].concat()),
        ("a byte-order mark", [&b"\xef\xbb\xbf"[..], whole.as_bytes()].concat()),
        ("not UTF-8", b"\xff\xfe\xfd".repeat(1_000)),
        ("nothing but U+0000", vec![0; 1 << 20]),
    ] {
        std::fs::write(&hostile, content).unwrap();
        let started = Instant::now();
        let ran = calm(&mut home.command(&verify(&hostile, &["--key", &key])));
        assert_eq!((ran.code, &ran.json()["verdict"]), (30, &json!("MALFORMED")), "{what}");
        assert!(ran.stdout.len() < 16 * 1024, "{what}: the report stays small: {} bytes", ran.stdout.len());
        assert!(started.elapsed() < PATIENCE, "{what}: {:?}", started.elapsed());
    }
    let endless = calm(&mut home.command(&verify(Path::new("/dev/zero"), &["--key", &key])));
    assert_eq!((endless.code, &endless.json()["verdict"]), (30, &json!("MALFORMED")), "a file without an end");
    let nothing = calm(&mut home.command(&verify(Path::new("/dev/null"), &["--key", &key])));
    assert_eq!((nothing.code, &nothing.json()["verdict"]), (30, &json!("MALFORMED")), "a file without content");
}

#[test]
fn what_is_no_file_is_named() {
    let home = Home::initialised();
    let key = home.vkey();
    for path in ["/", "/proc/self/mem", "no-such-file", "no/such/folder", "a\nb"] {
        let error = refused(&mut home.command(&["verify", path, "--key", &key]), 2, "file.unreadable");
        assert!(text(&error["message"]).starts_with(&format!("cannot read `{path}`: ")), "{error:#}");
    }
}

// Trust ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_hostile_trust_file_key_or_head_is_refused_and_nothing_is_verified_with_it() {
    let home = Home::initialised();
    let (bundle, key) = home.sealed_bundle();
    let file = |keys: serde_json::Value| json!({ "format": "runproof.trust/v1", "keys": keys }).to_string();
    let good = file(json!([{ "vkey": key }]));
    let trust = home.path("hostile.json");
    for content in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "[".repeat(1_000_000),
        "{\"format\":".repeat(100_000),
        format!("{good}{good}"),
        good[..good.len() - 1].to_owned(),
        good.replace("/v1", "/v2"),
        good.replacen('{', "{\"format\":\"runproof.trust/v1\",", 1),
        good.replacen('{', "{\"colour\":1,", 1),
        file(json!([])),
        file(json!([{ "vkey": key }, { "vkey": key }])),
        file(json!([{ "vkey": key, "last_size": null }])),
        file(json!([{ "vkey": key, "last_size": -1 }])),
        file(json!([{ "vkey": "x".repeat(100_000) }])),
        file(json!([{ "vkey": key.replace('+', "\u{0}+") }])),
        json!({ "format": "runproof.trust/v1", "keys": [{ "vkey": key }], "heads": ["unsigned"] }).to_string(),
        format!("{good}{}", " ".repeat(2 << 20)),
    ] {
        std::fs::write(&trust, &content).unwrap();
        let error = refused(&mut home.command(&verify(&bundle, &["--trust", &trust])), 2, "trust.invalid");
        assert!(text(&error["message"]).len() < 2_000, "{content:.60}: {}", text(&error["message"]).len());
        refused(home.command(&verify(&bundle, &[])).env("RUNPROOF_TRUST", &trust), 2, "trust.invalid");
    }
    for path in ["/", "no-such-file"] {
        refused(home.command(&verify(&bundle, &[])).env("RUNPROOF_TRUST", path), 2, "file.unreadable");
    }
    refused(&mut home.command(&verify(&bundle, &["--trust", "/dev/zero"])), 2, "trust.invalid");
    for bad in ["", "+", "a+b+c", &key[..key.len() - 2], &format!("{key}+x"), &"x".repeat(100_000), "PRIVATE+KEY+a+b+c"]
    {
        let error = refused(&mut home.command(&verify(&bundle, &["--key", bad])), 2, "key.invalid");
        assert!(text(&error["message"]).len() < 2_000, "{bad:.60}");
    }
    let head = home.path("head");
    let signed = text(&home.ok(&["log", "checkpoint"])["checkpoint"]);
    let other = text(&Home::initialised().ok(&["log", "checkpoint"])["checkpoint"]);
    for content in ["", "x", "\n\n\u{2014} a b\n", &"\n".repeat(50_000), &other, &signed[1..], &"\u{0}".repeat(70_000)]
    {
        std::fs::write(&head, content).unwrap();
        refused(&mut home.command(&verify(&bundle, &["--key", &key, "--known-head", &head])), 2, "head.invalid");
    }
    std::fs::write(&trust, &good).unwrap();
    assert_eq!(calm(&mut home.command(&verify(&bundle, &["--trust", &trust]))).code, 0, "the file itself is good");
}

#[test]
fn a_list_of_old_runs_that_is_none_is_refused() {
    let home = Home::empty();
    for content in [
        String::new(),
        "{}".to_owned(),
        "[1]".to_owned(),
        format!("[\"{}\"]", "x".repeat(1_000_000)),
        "[".repeat(1_000_000),
        "[{\"run_id\":\"\u{0}\"}]".to_owned(),
    ] {
        let file = home.file("runs.json", &content);
        let error = refused(&mut home.command(&["legacy-root", &file]), 2, "legacy.file");
        assert!(text(&error["message"]).contains("runs.json") && error.to_string().len() < 1_000, "{error:#}");
    }
}
