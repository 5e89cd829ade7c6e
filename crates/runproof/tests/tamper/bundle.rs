//! The file that leaves the machine: every byte of it is bound, and no key, a wrong key and no file are told apart.

use std::path::PathBuf;
use std::sync::OnceLock;

use runproof_proof::bundle::Bundle;
use runproof_proof::note::NoteVerifier;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use serde_json::{Value, json};

use crate::support::{Home, TENANT, judge, sample_steps, text};

struct Exported {
    bundle: Vec<u8>,
    key: String,
}

/// One exported run for all tests, with a consistency proof in it.
fn exported() -> &'static Exported {
    static EXPORTED: OnceLock<Exported> = OnceLock::new();
    EXPORTED.get_or_init(|| export(|home| home.run_plan(sample_steps(), &[])))
}

/// The same of a run with steps side by side.
fn graph() -> &'static Exported {
    static GRAPH: OnceLock<Exported> = OnceLock::new();
    GRAPH.get_or_init(|| export(|home| home.run_graph(&[])))
}

fn export(run: impl Fn(&Home) -> (i32, Value)) -> Exported {
    let home = Home::initialised();
    let (code, run) = run(&home);
    assert_eq!(code, 0, "{run:#}");
    let path = home.path("run.runproof");
    home.ok(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &path, "--since", "2"]);
    Exported { bundle: std::fs::read(path).unwrap(), key: home.vkey() }
}

impl Exported {
    fn trust(&self) -> Trust {
        Trust::in_key("--key", NoteVerifier::parse(&self.key).unwrap())
    }

    fn word(&self, bytes: &[u8]) -> &'static str {
        judge(bytes, &self.trust()).verdict().word()
    }
}

/// Files to verify with the program.
struct Desk {
    home: Home,
}

impl Desk {
    fn new() -> Self {
        Self { home: Home::empty() }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.home.folder().join("file.runproof");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn verify(&self, bytes: &[u8], more: &[&str]) -> (i32, Value) {
        let path = self.write(bytes);
        self.home.run_json(&[&["verify", path.to_str().unwrap()], more].concat())
    }
}

#[test]
fn an_honest_bundle_is_verified_with_nothing_but_the_file_and_the_key() {
    let (desk, Exported { bundle, key }) = (Desk::new(), exported());
    let (code, report) = desk.verify(bundle, &["--key", key]);
    assert_eq!((code, &report["verdict"], &report["trust"]), (0, &json!("VERIFIED"), &json!("--key")), "{report:#}");
    assert!(report["does_not_show"].to_string().contains("rows: not checked here"), "verify sees no rows: {report:#}");
    assert_eq!(std::fs::read_dir(desk.home.folder()).unwrap().count(), 1, "no home, no database, no lock is made");
    let trust_file =
        desk.home.file("trust.json", &json!({ "format": "runproof.trust/v1", "keys": [{ "vkey": key }] }).to_string());
    assert_eq!(desk.verify(bundle, &["--trust", &trust_file]).0, 0);
    let by_environment = Desk { home: Home::empty().with("RUNPROOF_TRUST", &trust_file) };
    assert_eq!(by_environment.verify(bundle, &[]).0, 0);
}

/// Flips one bit of every n-th byte, by two threads, and fails when that is accepted.
fn flip(exported: &Exported, nth: usize) {
    let (bundle, trust) = (&exported.bundle, &exported.trust());
    let threads = 2;
    let judge_every = |first: usize| {
        let mut bytes = bundle.clone();
        let mut accepted = Vec::new();
        for at in (first * nth..bytes.len()).step_by(threads * nth) {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            if judge(&bytes, trust).verdict().exit_code() == 0 {
                accepted.push(at);
            }
            bytes[at] ^= bit;
        }
        accepted
    };
    let judge_every = &judge_every;
    let accepted: Vec<usize> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || judge_every(first))).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    assert!(accepted.is_empty(), "bytes that are not bound: {accepted:?} of {}", bundle.len());
    assert!(bundle.len() > 5000);
}

#[test]
fn one_flipped_bit_anywhere_is_never_verified_and_never_a_panic() {
    flip(exported(), 1);
}

#[test]
fn one_flipped_bit_of_a_run_with_steps_side_by_side_is_never_verified_and_never_a_panic() {
    flip(graph(), 11);
}

#[test]
fn a_flipped_byte_is_never_verified_by_the_program() {
    let (desk, Exported { bundle, key }) = (Desk::new(), exported());
    let path = desk.write(bundle);
    for sample in 0..40 {
        let at = sample * bundle.len() / 40;
        let mut bytes = bundle.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let ran = desk.home.run(&["verify", path.to_str().unwrap(), "--key", key]);
        assert!((10..32).contains(&ran.code), "byte {at}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "byte {at}: {ran:?}");
    }
}

#[test]
fn a_deleted_or_doubled_byte_and_a_cut_are_never_verified() {
    for (exported, step) in [(exported(), 7), (graph(), 97)] {
        let bundle = &exported.bundle;
        for at in (0..bundle.len()).step_by(step) {
            let shorter: Vec<u8> = [&bundle[..at], &bundle[at + 1..]].concat();
            let longer: Vec<u8> = [&bundle[..=at], &bundle[at..]].concat();
            assert_ne!(exported.word(&shorter), "VERIFIED", "without byte {at}");
            assert_ne!(exported.word(&longer), "VERIFIED", "with byte {at} twice");
            assert_ne!(exported.word(&bundle[..at]), "VERIFIED", "cut at {at}");
        }
        for end in ["\n", " ", "\0", "{}\n"] {
            assert_eq!(exported.word(&[bundle, end.as_bytes()].concat()), "MALFORMED", "{end:?} at the end");
        }
    }
}

#[test]
fn lines_removed_doubled_or_swapped_are_never_verified() {
    for exported in [exported(), graph()] {
        let bundle = String::from_utf8(exported.bundle.clone()).unwrap();
        let lines: Vec<&str> = bundle.split_inclusive('\n').collect();
        for at in 0..lines.len() {
            let without: String = lines[..at].iter().chain(&lines[at + 1..]).copied().collect();
            let twice: String = lines[..=at].iter().chain(&lines[at..]).copied().collect();
            assert_ne!(exported.word(without.as_bytes()), "VERIFIED", "without line {at}");
            assert_ne!(exported.word(twice.as_bytes()), "VERIFIED", "with line {at} twice");
            for other in at + 1..lines.len() {
                if lines[at] != lines[other] {
                    let mut swapped = lines.clone();
                    swapped.swap(at, other);
                    let word = exported.word(swapped.concat().as_bytes());
                    assert_ne!(word, "VERIFIED", "lines {at} and {other} swapped");
                }
            }
        }
    }
}

/// Positions right after every `{` and right before every `}` that are not within a string.
fn objects(line: &str) -> Vec<(usize, bool)> {
    let (mut found, mut text, mut escaped) = (Vec::new(), false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' if !text => found.push((at + 1, true)),
            b'}' if !text => found.push((at, false)),
            _ => {}
        }
    }
    found
}

#[test]
fn an_unknown_field_anywhere_is_malformed() {
    let trust = graph().trust();
    let bundle = String::from_utf8(graph().bundle.clone()).unwrap();
    let lines: Vec<&str> = bundle.split_inclusive('\n').collect();
    let mut cases = 0;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with('{')) {
        let payload = line.starts_with("{\"seed\"");
        for (index, (at, begin)) in objects(line).into_iter().enumerate() {
            let empty = line.as_bytes()[at - usize::from(!begin)] == b'{' && line.as_bytes()[at] == b'}';
            let member = match (begin, empty) {
                (_, true) => "\"!\":1",
                (true, false) => "\"!\":1,",
                (false, false) => ",\"~\":1",
            };
            let changed = format!("{}{member}{}", &line[..at], &line[at..]);
            let mut all = lines.clone();
            all[number] = &changed;
            let report = judge(all.concat().as_bytes(), &trust);
            let verdict = report.verdict().word();
            // Values of the world have fields of their own; there, a new one is a changed value.
            let expected: &[&str] = if payload && index > 0 { &["MALFORMED", "TAMPERED"] } else { &["MALFORMED"] };
            assert!(expected.contains(&verdict), "line {} at {at}: {verdict}: {changed}", number + 1);
            cases += 1;
        }
    }
    assert!(cases > 100, "{cases}");
}

#[test]
fn other_files_are_malformed_and_say_so() {
    let (desk, Exported { bundle, key }) = (Desk::new(), exported());
    let header = bundle.split(|byte| *byte == b'\n').next().unwrap();
    let crlf = String::from_utf8(bundle.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let bom = ["\u{feff}".as_bytes(), bundle].concat();
    let deep = format!("runproof.bundle/v1\n{}", "[".repeat(100_000)).into_bytes();
    let files: &[&[u8]] =
        &[b"", b"\n", b"{}", b"runproof.bundle/v1\n", header, &[0xff; 5000], &[0; 5000], &crlf, &bom, &deep];
    for file in files {
        let (code, report) = desk.verify(file, &["--key", key]);
        assert_eq!((code, &report["verdict"]), (30, &json!("MALFORMED")), "{report:#}");
        assert_eq!((&report["event_count"], &report["integrity_model"]), (&json!(0), &json!("NONE")));
    }
    let newer = String::from_utf8(bundle.clone()).unwrap().replacen("bundle/v1", "bundle/v2", 1);
    assert_eq!(desk.verify(newer.as_bytes(), &["--key", key]).0, 31);
    let missing = desk.home.run(&["verify", "no-such-file", "--key", key]);
    assert_eq!(missing.code, 2, "a file that is not there is not a verdict");
}

#[test]
fn a_bundle_without_events_is_never_verified() {
    let bundle = String::from_utf8(exported().bundle.clone()).unwrap();
    let mut lines = bundle.lines();
    let (format, header) = (lines.next().unwrap(), lines.next().unwrap());
    let mut header: Value = serde_json::from_str(header).unwrap();
    header["events"] = json!(0);
    let rest = bundle.split_once("c2sp.org").unwrap().1;
    let mut unanchored = header.clone();
    unanchored["anchored"] = json!(false);
    unanchored.as_object_mut().unwrap().remove("since");
    for bytes in [format!("{format}\n{header}\nc2sp.org{rest}"), format!("{format}\n{unanchored}\n")] {
        let code = judge(bytes.as_bytes(), &exported().trust()).verdict().exit_code();
        assert_ne!(code, 0, "{bytes}");
    }
}

#[test]
fn a_wrong_key_is_not_called_tampering_and_no_key_neither() {
    let (desk, Exported { bundle, key }) = (Desk::new(), exported());
    let stranger = Home::initialised();
    let (code, report) = desk.verify(bundle, &["--key", &stranger.vkey()]);
    assert_eq!((code, &report["verdict"]), (23, &json!("KEY_INVALID")), "{report:#}");
    assert!(!report["findings"].to_string().contains("TAMPERED"));
    let (code, report) = desk.verify(bundle, &[]);
    assert_eq!(
        (code, &report["verdict"], &report["verification_status"], &report["trust"]),
        (12, &json!("UNPINNED"), &json!("INCOMPLETE"), &json!("none"))
    );
    for wrong in ["", "nonsense", &key[..key.len() - 4], &format!("{key}A")] {
        let ran = desk.home.run(&["verify", desk.write(bundle).to_str().unwrap(), "--key", wrong, "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "key.invalid"), "`{wrong}`");
    }
    let both = desk.home.run(&["verify", "x", "--key", key, "--trust", "y"]);
    assert_eq!(both.code, 2);
}

#[test]
fn a_bundle_made_with_another_key_under_the_same_name_is_key_invalid() {
    let desk = Desk::new();
    let (real, forger) = (Home::empty(), Home::empty());
    for home in [&real, &forger] {
        home.ok(&["init", "--origin", "example.com/agents"]);
        home.ok(&["create-tenant", "--id", TENANT]);
        home.ok(&["create-agent", "--name", "scout", "--tenant-id", TENANT]);
    }
    let (forged, _) = forger.sealed_bundle();
    let (code, report) = desk.verify(&std::fs::read(forged).unwrap(), &["--key", &real.vkey()]);
    assert_eq!((code, &report["verdict"]), (23, &json!("KEY_INVALID")), "{report:#}");
}

#[test]
fn a_known_head_decides_between_verified_rolled_back_forked_and_not_compared() {
    let (desk, home) = (Desk::new(), Home::initialised());
    let head = |name: &str| desk.home.file(name, &text(&home.ok(&["log", "checkpoint"])["checkpoint"]));
    let size = |path: &str| std::fs::read_to_string(path).unwrap().lines().nth(1).unwrap().to_owned();
    let export = |run: &Value, more: &[&str]| {
        let path = home.path("x.runproof");
        home.ok(&[&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &path], more].concat());
        std::fs::read(path).unwrap()
    };
    let key = home.vkey();
    let before = head("before");
    let (_, run) = home.run_goal("the run in question", &[]);
    let same = head("same");
    let plain = export(&run, &[]);
    let since = export(&run, &["--since", &size(&before)]);
    home.run_goal("a later run", &[]);
    let later = head("later");
    let check = |bytes: &[u8], head: &str| {
        let (code, report) = desk.verify(bytes, &["--key", &key, "--known-head", head]);
        (code, text(&report["verdict"]))
    };
    assert_eq!(check(&plain, &same), (0, "VERIFIED".to_owned()));
    assert_eq!(check(&plain, &later), (22, "ROLLED_BACK".to_owned()));
    assert_eq!(check(&since, &later), (22, "ROLLED_BACK".to_owned()));
    assert_eq!(check(&plain, &before), (11, "UNANCHORED".to_owned()));
    assert_eq!(check(&since, &before), (0, "VERIFIED".to_owned()));
    assert_eq!(
        check(&export(&run, &["--since", &size(&same)]), &later),
        (0, "VERIFIED".to_owned()),
        "a fresh export satisfies the newer head"
    );
    let (code, answer) = desk.verify(&plain, &["--known-head", &later]);
    assert_eq!(
        (code, &answer["error"]["code"]),
        (2, &json!("head.invalid")),
        "a head that no key vouches for is refused"
    );
    // The same key signs two histories: a copy of the home goes another way.
    let fork = Home::empty();
    for entry in std::fs::read_dir(home.folder()).unwrap().flatten() {
        std::fs::copy(entry.path(), fork.folder().join(entry.file_name())).unwrap();
    }
    home.run_goal("one way", &[]);
    let (_, other) = fork.run_goal("the other way", &[]);
    let path = fork.path("fork.runproof");
    fork.ok(&["proof", &text(&other["run_id"]), "--tenant-id", TENANT, "--bundle", &path]);
    assert_eq!(check(&std::fs::read(path).unwrap(), &head("one-way")), (21, "FORKED".to_owned()));
}

#[test]
fn every_spelling_of_a_bundle_but_one_is_refused() {
    let bundle = String::from_utf8(exported().bundle.clone()).unwrap();
    let parsed = Bundle::parse(bundle.as_bytes()).unwrap();
    assert_eq!(parsed.encode().unwrap(), bundle.as_bytes(), "what is read is written again byte for byte");
    let spelled: Vec<(&str, String)> = vec![
        ("blank after a colon", bundle.replacen("\":", "\": ", 1)),
        ("escaped letter", bundle.replacen("\"kind\"", "\"\\u006bind\"", 1)),
        ("capital hex", bundle.replacen("\"seed\":\"", "\"seed\":\"A", 1)),
        ("leading zero", bundle.replacen("\"seq\":1", "\"seq\":01", 1)),
        ("exponent", bundle.replacen("\"seq\":1,", "\"seq\":1e0,", 1)),
        ("member twice", bundle.replacen("\"v\":1}", "\"v\":1,\"v\":1}", 1)),
        ("blank line", bundle.replacen('\n', "\n\n", 1)),
    ];
    for (what, bytes) in spelled {
        assert_ne!(bytes, bundle, "{what}: the case does nothing");
        assert_eq!(exported().word(bytes.as_bytes()), "MALFORMED", "{what}");
    }
}

#[test]
fn a_report_escapes_what_a_hostile_file_says() {
    let desk = Desk::new();
    let hostile = "runproof.bundle/v1\n\u{1b}[2J\u{202e}{\"x\":1}\n";
    let ran = desk.home.run(&["verify", desk.write(hostile.as_bytes()).to_str().unwrap()]);
    assert_eq!(ran.code, 30);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains('\u{202e}'), "{:?}", ran.stdout);
}

#[test]
fn a_report_of_a_real_run_has_a_row_for_every_event_and_every_check() {
    let (desk, Exported { bundle, key }) = (Desk::new(), exported());
    let path = desk.write(bundle);
    let page = desk.home.run(&["verify", path.to_str().unwrap(), "--key", key, "--events", "--explain"]).stdout;
    let report: Report = judge(bundle, &exported().trust());
    for event in &report.events {
        assert!(page.contains(event.kind), "{}: {page}", event.kind);
    }
    for check in report.checks() {
        assert!(
            page.contains(check.check) && page.contains(check.proves) && page.contains(check.does_not_prove),
            "{}: {page}",
            check.check
        );
    }
}
