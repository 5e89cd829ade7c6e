//! Hostile bytes: whatever is done to a bundle, verification ends, does not panic and does not say VERIFIED.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use runproof_proof::bundle::{Bundle, MAX_BUNDLE};
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{Body, MAX_RUN_EVENTS};
use runproof_proof::finding::{Code, Verdict};
use runproof_proof::hash::Hash;
use runproof_proof::report::MAX_FINDINGS;
use runproof_proof::report::{Report, Style};
use runproof_proof::trust::Trust;
use runproof_proof::verify;

use crate::bundles::{self, trust, vector};
use crate::journal::{other_signer, signer};

/// Verifies without rendering the report.
fn judged(bytes: &[u8], trust: &Trust) -> Report {
    let report = catch_unwind(AssertUnwindSafe(|| verify(bytes, trust)));
    report.unwrap_or_else(|_| panic!("verification panicked on {}", beginning(bytes)))
}

/// Verifies and renders: the report quotes hostile text, and printing it must not fail either.
fn verdict(bytes: &[u8], trust: &Trust) -> Verdict {
    let report = judged(bytes, trust);
    let page = report.to_text(Style { colour: false, events: true, explain: true });
    assert!(is_printable(&page), "{page:?}");
    assert_eq!(report.to_json()["exit_code"], report.verdict().exit_code());
    report.verdict()
}

/// Enough of a file to recognise it in a failure.
fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]).into_owned()
}

fn is_printable(page: &str) -> bool {
    !page
        .chars()
        .any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'))
}

/// Every single-byte change of a file: lowest bit, highest bit, and a newline in its place.
fn single_byte_changes(file: &[u8], trust: &Trust) -> BTreeMap<&'static str, usize> {
    assert_eq!(verdict(file, trust), Verdict::Verified);
    let judge = |positions: Vec<usize>| {
        let mut seen = BTreeMap::new();
        for position in positions {
            for byte in [file[position] ^ 1, file[position] ^ 0x80, b'\n'] {
                if byte != file[position] {
                    let mut changed = file.to_vec();
                    changed[position] = byte;
                    let verdict = judged(&changed, trust).verdict();
                    assert_ne!(verdict, Verdict::Verified, "byte {position} of {} may be {byte:#04x}", file.len());
                    *seen.entry(verdict.word()).or_insert(0) += 1;
                }
            }
        }
        seen
    };
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..file.len()).partition(|position| position % 2 == 0);
    let halves = thread::scope(|scope| {
        let half = scope.spawn(|| judge(odd));
        [judge(even), half.join().expect("every change is noticed")]
    });
    let mut seen = BTreeMap::new();
    halves.into_iter().flatten().for_each(|(word, count)| *seen.entry(word).or_insert(0) += count);
    seen
}

#[test]
fn every_changed_byte_of_an_honest_bundle_is_noticed() {
    let seen = single_byte_changes(vector("honest.bundle"), &trust(Some("trust.json")));
    for word in ["MALFORMED", "TAMPERED", "KEY_INVALID"] {
        assert!(seen.contains_key(word), "{seen:?}");
    }
}

#[test]
fn every_changed_byte_of_a_bundle_with_records_and_withheld_parts_is_noticed() {
    single_byte_changes(vector("honest-erased.bundle"), &trust(Some("trust.json")));
}

#[test]
fn every_changed_byte_of_a_bundle_that_leads_on_from_a_known_head_is_noticed() {
    single_byte_changes(vector("honest-since.bundle"), &trust(Some("trust.json")));
    single_byte_changes(vector("honest-empty-values.bundle"), &trust(Some("trust.json")));
}

/// `SplitMix64`: the same mutations every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..(start + self.below(longest) + 1).min(length)
    }
}

fn mutate(random: &mut Random, file: &[u8], donors: &[&[u8]]) -> Vec<u8> {
    let mut out = file.to_vec();
    let line = |random: &mut Random, bytes: &[u8]| -> Vec<u8> {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        lines.get(random.below(lines.len())).map(|line| line.to_vec()).unwrap_or_default()
    };
    for _ in 0..=random.below(3) {
        let at = random.below(out.len() + 1);
        match random.below(9) {
            0 => {
                for _ in 0..=random.below(8) {
                    let at = random.below(out.len());
                    if let Some(byte) = out.get_mut(at) {
                        *byte = random.next() as u8;
                    }
                }
            }
            1 => out.truncate(at),
            2 => drop(out.drain(random.range(file.len().min(out.len()), 200)).count()),
            3 => {
                let range = random.range(out.len(), 400);
                let copy = out[range].to_vec();
                out.splice(at..at, copy);
            }
            4 => {
                let donor = &donors[random.below(donors.len())];
                let piece = donor[random.range(donor.len(), 1_000)].to_vec();
                let range = at..(at + random.below(200)).min(out.len());
                out.splice(range, piece);
            }
            5 => {
                let donor = &donors[random.below(donors.len())];
                let keep = random.below(donor.len());
                out.truncate(at);
                out.extend_from_slice(&donor[keep..]);
            }
            6 => {
                let donor = &donors[random.below(donors.len())];
                let piece = line(random, donor);
                let starts: Vec<usize> =
                    out.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
                let start = starts.get(random.below(starts.len())).copied().unwrap_or(0);
                out.splice(start..start, piece);
            }
            7 => {
                let mut lines: Vec<Vec<u8>> = out.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let (one, other) = (random.below(lines.len()), random.below(lines.len()));
                if one < lines.len() && other < lines.len() {
                    lines.swap(one, other);
                }
                out = lines.concat();
            }
            _ => {
                let digits: Vec<usize> = (0..out.len()).filter(|at| out[*at].is_ascii_digit()).collect();
                if let Some(at) = digits.get(random.below(digits.len())) {
                    out[*at] = b'0' + random.below(10) as u8;
                }
            }
        }
    }
    out
}

#[test]
fn twenty_thousand_random_changes_are_noticed() {
    let trust = trust(Some("trust.json"));
    let files = ["honest.bundle", "honest-erased.bundle", "honest-no-steps.bundle"].map(vector);
    let donors = [
        "honest-resolved.bundle",
        "open.bundle",
        "gap.bundle",
        "other-key.bundle",
        "tampered-value.bundle",
        "honest.bundle",
    ];
    let donors = donors.map(vector);
    let judge = |seed: u64, rounds: usize| {
        let mut random = Random(seed);
        for round in 0..rounds {
            let file = files[random.below(files.len())];
            let changed = mutate(&mut random, file, &donors);
            if !files.contains(&changed.as_slice()) && !donors.contains(&changed.as_slice()) {
                let got = verdict(&changed, &trust);
                assert_ne!(got, Verdict::Verified, "seed {seed} round {round}: {}", beginning(&changed));
            }
        }
    };
    thread::scope(|scope| {
        let half = scope.spawn(|| judge(1, 10_000));
        judge(2, 10_000);
        half.join().expect("every change is noticed");
    });
}

/// There is one way to write a content: whoever writes again what was read gets the file that was read.
#[test]
fn what_parses_is_written_again_byte_for_byte() {
    let cases: Vec<&[u8]> = bundles::cases().iter().map(|case| case.bytes.as_slice()).collect();
    let same = |bytes: &[u8]| {
        let parsed = Bundle::parse(bytes).ok();
        if let Some(bundle) = &parsed {
            assert!(bundle.encode().unwrap() == bytes, "written differently: {}", beginning(bytes));
        }
        parsed.is_some()
    };
    let readable = cases.iter().filter(|bytes| same(bytes)).count();
    assert!(readable > 50, "{readable}");
    let mut random = Random(4);
    for _ in 0..3_000 {
        let file = cases[random.below(cases.len())];
        same(&mutate(&mut random, file, &cases));
    }
    let text = String::from_utf8(bundles::honest().encode().unwrap()).unwrap();
    for name in ["\\\"", "\u{e000}\":1,\"", "\u{10000}\":1,\"\u{e000}"] {
        same(text.replacen("\"goal\":\"Refund", &format!("\"{name}\":\"Refund"), 1).as_bytes());
    }
}

#[test]
fn random_bytes_are_malformed() {
    let mut random = Random(3);
    for round in 0..2_000 {
        let length = random.below(600);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, *b"runproof.bundle/v1\n");
        }
        assert_eq!(verdict(&bytes, &trust(Some("trust.json"))), Verdict::Malformed);
    }
}

#[test]
fn hostile_sizes_are_refused_without_reading_them() {
    let header = |events: u64| {
        format!("runproof.bundle/v1\n{{\"anchored\":true,\"events\":{events},\"log\":\"l\",\"records\":0,\"run_id\":\"r\",\"tenant\":\"t\"}}\n").into_bytes()
    };
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let long = vec![b'a'; 16 * 1024 * 1024];
    let lines = [b"{}\n".repeat(300_000), b"\n".repeat(300_000), b"[".repeat(300_000)].concat();
    let event = crate::bundles::honest().entries[0].event.encode();
    let of_event = |payload: &[u8]| [&header(1), event.as_slice(), b"\n", payload, b"\n"].concat();
    let many = [b"{\"parts\":{\"goal\":[".as_slice(), &b"0,".repeat(1_000_000), b"0]}}"].concat();
    let hostile = [
        header(MAX_RUN_EVENTS),
        header(MAX_RUN_EVENTS + 1),
        header(9_007_199_254_740_991),
        [b"runproof.bundle/v1\n".to_vec(), deep.clone()].concat(),
        [b"runproof.bundle/v1\n".to_vec(), long.clone()].concat(),
        [header(1), deep.clone(), b"\n".to_vec()].concat(),
        [header(1), long.clone(), b"\n".to_vec()].concat(),
        [header(100_000), lines].concat(),
        of_event(&deep),
        of_event(&long),
        of_event(&many),
        of_event(&[b"{\"parts\":{\"goal\":".as_slice(), &[b'['; 80], &[b']'; 80], b"}}"].concat()),
        long,
    ];
    for bytes in hostile {
        assert_eq!(verdict(&bytes, &trust(Some("trust.json"))), Verdict::Malformed);
    }
    assert_eq!(verdict(&vec![b'\n'; MAX_BUNDLE + 1], &trust(Some("trust.json"))), Verdict::Malformed);
}

#[test]
fn text_of_the_file_cannot_forge_the_report() {
    let trust = trust(Some("trust.json"));
    let forged = "r\u{202e}\u{1b}[2J\nVERIFIED\u{85}\u{200b}";
    let mut bundle = bundles::honest();
    bundle.header.run_id = forged.to_owned();
    bundle.header.tenant = forged.to_owned();
    bundle.header.log = forged.to_owned();
    for entry in &mut bundle.entries {
        entry.event.log = forged.to_owned();
        entry.event.tenant = Some(forged.to_owned());
        if let Body::StepIntended(body) = &mut entry.event.body {
            (body.step_id, body.attempt) = (forged.to_owned(), 7);
        }
        *entry = crate::journal::entry(&entry.event, entry.payload.clone());
    }
    assert_eq!(verdict(&bundle.encode().unwrap(), &trust), Verdict::Tampered);
    let report = verify(&bundle.encode().unwrap(), &trust).to_json();
    for finding in report["findings"].as_array().unwrap() {
        for field in ["place", "expected", "got"] {
            assert!(is_printable(finding[field].as_str().unwrap()), "{finding}");
        }
    }
}

#[test]
fn nothing_is_never_ok() {
    let trusted = trust(Some("trust.json"));
    assert_eq!(verdict(b"", &trusted), Verdict::Malformed);
    assert_eq!(verdict(b"runproof.bundle/v1\n", &trusted), Verdict::Malformed);
    let empty = bundles::without_events();
    assert_eq!(verdict(&empty.encode().unwrap(), &trusted), Verdict::Unsupported);
    let mut unanchored = empty.clone();
    (unanchored.header.anchored, unanchored.anchor) = (false, None);
    for trust in [&trusted, &Trust::default()] {
        assert_eq!(verdict(&unanchored.encode().unwrap(), trust), Verdict::Unsupported);
    }
    let mut created = bundles::honest();
    created.entries.truncate(1);
    created.header.events = 1;
    for trust in [&trusted, &Trust::default()] {
        assert!(verdict(&created.encode().unwrap(), trust).exit_code() >= 10);
    }
}

#[test]
fn without_a_key_nothing_is_verified_and_a_wrong_key_is_not_called_tampering() {
    let other = Trust::in_key("--key", other_signer().verifier());
    for case in bundles::cases().iter().filter(|case| case.verdict == Verdict::Verified) {
        assert_eq!(verdict(&case.bytes, &Trust::default()), Verdict::Unpinned, "{}", case.file);
        assert_eq!(verdict(&case.bytes, &other), Verdict::KeyInvalid, "{}", case.file);
    }
    for case in bundles::cases().iter().filter(|case| case.verdict != Verdict::Verified) {
        assert_ne!(verdict(&case.bytes, &Trust::default()), Verdict::Verified, "{}", case.file);
        let by_other = case.file == "other-key.bundle";
        assert_eq!(verdict(&case.bytes, &other) == Verdict::Verified, by_other, "{}", case.file);
    }
}

#[test]
fn a_newer_head_is_a_rollback_and_an_equal_size_with_another_root_is_a_fork() {
    let bundle = bundles::honest();
    let bytes = bundle.encode().unwrap();
    let head = bundle.anchor.unwrap().checkpoint;
    let check = |checkpoint: Checkpoint, expected: Verdict| {
        let mut trust = Trust::in_key("--key", signer().verifier());
        trust.add_head(checkpoint.sign(&signer()).as_bytes()).unwrap();
        assert_eq!(verdict(&bytes, &trust), expected, "{checkpoint:?}");
    };
    check(head.clone(), Verdict::Verified);
    check(Checkpoint { size: head.size + 1, ..head.clone() }, Verdict::RolledBack);
    check(Checkpoint { size: u64::MAX, ..head.clone() }, Verdict::RolledBack);
    check(Checkpoint { root: Hash::ZERO, ..head.clone() }, Verdict::Forked);
    check(Checkpoint { size: head.size - 1, ..head.clone() }, Verdict::Unanchored);
    check(Checkpoint { origin: "example.org/log".to_owned(), ..head.clone() }, Verdict::Verified);
    let mut trust = Trust::in_key("--key", signer().verifier());
    assert!(
        trust.add_head(head.sign(&other_signer()).as_bytes()).is_err(),
        "a head that the log did not sign is no head"
    );
}

/// A verifier reads bundles from strangers: its time must not grow with the square of their size.
#[test]
fn a_long_run_in_which_everything_is_wrong_is_judged_as_fast_as_an_honest_one() {
    let trust = trust(Some("trust.json"));
    let mut bundle = bundles::long(400);
    assert_eq!(verdict(&bundle.encode().unwrap(), &trust), Verdict::Verified);
    for entry in &mut bundle.entries {
        entry.event.prev = Hash::ZERO;
        if let Body::StepIntended(body) = &mut entry.event.body {
            body.attempt = u32::MAX;
        }
        *entry = crate::journal::entry(&entry.event, entry.payload.clone());
    }
    let report = verify(&bundle.encode().unwrap(), &trust);
    assert_eq!(report.verdict(), Verdict::Tampered);
    assert!(report.findings.iter().filter(|finding| finding.code == Code::ChainLink).count() >= MAX_FINDINGS - 1);
    assert!(report.omitted > 200, "the rest is counted");
    assert_eq!(report.events.iter().filter(|row| row.ok).count(), 1, "all but the first event are named");
}
