//! Reads `docs/spec/vectors` as another implementation would, and checks what they promise.

use runproof_proof::event::Event;
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::note::{Note, NoteVerifier};
use runproof_proof::payload::Payload;
use runproof_proof::trust::Trust;
use runproof_proof::{checkpoint, commit, merkle, verify};
use serde_json::Value;

use crate::generate::{commitment_cases, directory};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash::from_hex(value.as_str().unwrap()).unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

#[test]
fn every_bundle_gives_its_verdict() {
    let index = read_json("bundles/index.json");
    let mut wrong = Vec::new();
    for case in index.as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let trust = match case["key"].as_str() {
            Some(key) => Trust::parse("--trust", &read(&format!("bundles/{key}"))).unwrap(),
            None => Trust::default(),
        };
        let bytes = read(&format!("bundles/{file}"));
        let Ok(report) = std::panic::catch_unwind(|| verify(&bytes, &trust)) else {
            wrong.push(format!("{file}: panic"));
            continue;
        };
        let (verdict, code) = (report.verdict(), report.decisive().map(|finding| finding.code.word()));
        let expected = (case["verdict"].as_str(), case["exit_code"].as_u64(), case["code"].as_str());
        let got = (Some(verdict.word()), Some(u64::from(verdict.exit_code())), code);
        if got != expected {
            wrong.push(format!("{file} with {}: expected {expected:?}, got {got:?}", case["key"]));
        }
        let json = report.to_json();
        assert_eq!(json["verdict"], case["verdict"].as_str().map_or(Value::Null, |_| Value::from(verdict.word())));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), index.as_array().unwrap().len(), wrong.join("\n"));
}

#[test]
fn reports_of_the_honest_bundles_say_what_they_cover() {
    let trust = crate::bundles::trust(Some("trust.json"));
    let report = |file: &str| verify(&read(&format!("bundles/{file}")), &trust).to_json();
    let honest = report("honest.bundle");
    assert_eq!(honest["verification_status"], "VERIFIED");
    assert_eq!(honest["integrity_model"], "HASH_CHAIN");
    assert_eq!((honest["chain_length"].as_u64(), honest["event_count"].as_u64()), (Some(2), Some(15)));
    assert_eq!(honest["anchor"]["level"], "checkpoint");
    let sum = |report: &Value, field: &str| -> u64 {
        report["events"].as_array().unwrap().iter().map(|row| row[field].as_u64().unwrap()).sum()
    };
    assert_eq!((sum(&honest, "withheld"), sum(&honest, "erased")), (0, 0));
    let withheld = report("honest-withheld.bundle");
    assert_eq!((sum(&withheld, "withheld"), sum(&withheld, "erased")), (2, 0));
    let erased = report("honest-erased.bundle");
    assert_eq!((sum(&erased, "withheld"), sum(&erased, "erased")), (2, 2));
    let no_steps = report("honest-no-steps.bundle");
    assert_eq!((no_steps["chain_length"].as_u64(), &no_steps["run_reason"]), (Some(0), &Value::from("planner_failed")));
    assert_eq!(report("honest-resolved.bundle")["resolved"], 1);
    for report in [honest, withheld, erased] {
        assert!(!report["does_not_show"].to_string().contains("COMPLETE"));
        assert!(report["does_not_show"].to_string().contains("no other run was withheld"));
    }
}

#[test]
fn a_finding_names_its_event_and_the_row_of_that_event_is_not_ok() {
    let trust = crate::bundles::trust(Some("trust.json"));
    for file in
        ["tampered-event.bundle", "tampered-value.bundle", "dishonest-step-cost.bundle", "dishonest-time.bundle"]
    {
        let report = verify(&read(&format!("bundles/{file}")), &trust);
        let seq = report.decisive().and_then(|finding| finding.seq).unwrap();
        assert!(!report.events[seq as usize].ok, "{file}: event {seq}");
    }
}

#[test]
fn a_check_that_had_nothing_to_compare_does_not_say_that_it_passed() {
    let report = verify(&read("bundles/honest.bundle"), &crate::bundles::trust(Some("trust.json")));
    let heads = report.checks().into_iter().find(|check| check.check == "heads").unwrap();
    assert_eq!(heads.result, "not_checked", "no head was known");
}

#[test]
fn leaf_vectors_hold() {
    let vectors = read_json("leaf.json");
    for event in ["full", "minimal"].iter().flat_map(|name| vectors[name].as_array().unwrap()) {
        let decoded = Event::decode(event["event"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(decoded.leaf_hash(), hash(&event["leaf_hash"]));
    }
}

#[test]
fn commitment_vectors_hold() {
    let vectors = read_json("commitments.json");
    for (vector, (what, _, field, value)) in vectors.as_array().unwrap().iter().zip(commitment_cases()) {
        assert_eq!(vector["what"], what);
        let commitment = commit::commit(&hash(&vector["seed"]).0, field, &value).unwrap();
        assert_eq!(vector["commitment"], serde_json::to_value(&commitment).unwrap(), "{what}");
        let payload = Payload::Whole { seed: hash(&vector["seed"]), values: [(field.to_owned(), value)].into() };
        let opened = crate::journal::line(&payload).open(&[(field, &commitment)]).unwrap();
        assert_eq!(opened.shown, commitment.macs.len() as u64);
    }
}

#[test]
fn merkle_vectors_hold() {
    let vectors = read_json("merkle.json");
    let roots: Vec<Hash> = vectors["roots"].as_array().unwrap().iter().map(|case| hash(&case["root"])).collect();
    assert_eq!(roots.len(), 21);
    for case in vectors["inclusion"].as_array().unwrap() {
        let (index, size) = (case["index"].as_u64().unwrap(), case["size"].as_u64().unwrap());
        let leaf = leaf(index.to_string().as_bytes());
        let root = merkle::root_from_inclusion(&leaf, index, size, &hashes(&case["proof"]));
        assert_eq!(root, Some(roots[size as usize]));
    }
    for case in vectors["consistency"].as_array().unwrap() {
        let (old, new) = (case["old"].as_u64().unwrap(), case["new"].as_u64().unwrap());
        let (a, b) = (&roots[old as usize], &roots[new as usize]);
        assert!(merkle::verify_consistency(old, a, new, b, &hashes(&case["proof"])), "{old} to {new}");
    }
}

#[test]
fn note_vectors_hold() {
    let vectors = read_json("note.json");
    let verifier = NoteVerifier::parse(vectors["vkey"].as_str().unwrap()).unwrap();
    let note = Note::parse(vectors["note"].as_str().unwrap().as_bytes()).unwrap();
    assert!(verifier.verifies(&note.text, &note.signatures[0]));
    let checkpoint = checkpoint::Checkpoint::parse(&note.text).unwrap();
    assert_eq!(checkpoint.root, hash(&vectors["checkpoint"]["root"]));
    let proof = vectors["tlog_proof"]["text"].as_str().unwrap();
    let (proof, _, of) = checkpoint::InclusionProof::decode(proof.as_bytes()).unwrap();
    let leaf = hash(&vectors["tlog_proof"]["leaf_hash"]);
    assert_eq!(merkle::root_from_inclusion(&leaf, proof.index, of.size, &proof.hashes), Some(of.root));
    assert_eq!(of, checkpoint);
}
