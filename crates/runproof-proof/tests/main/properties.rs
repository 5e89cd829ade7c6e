//! Properties of canonical bytes, trees and commitments, against independent implementations where there are any.

use std::collections::BTreeMap;

use ct_merkle::digest::Output;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use runproof_proof::canonical::{self, VALUE_DEPTH};
use runproof_proof::commit::{self, Commitment, MAX_MEMBERS};
use runproof_proof::hash::{Hash, leaf, node};
use runproof_proof::merkle::{self, Frontier, Range};
use runproof_proof::payload::{Payload, PayloadLine};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::journal::line;

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => proptest::char::range(' ', '~'),
        2 => proptest::char::range('\u{1}', '\u{1f}'),
        1 => proptest::sample::select(vec!['"', '\\', '/', '\u{7f}', '\u{e9}', '\u{2028}', '\u{d7ff}', '\u{e000}', '\u{feff}', '\u{ffff}']),
        1 => proptest::char::range('\u{10000}', '\u{10ffff}'),
    ]
}

fn text() -> impl Strategy<Value = String> {
    vec(character(), 0..8).prop_map(String::from_iter)
}

fn integer() -> impl Strategy<Value = i64> {
    const MAX: i64 = canonical::MAX_INTEGER;
    prop_oneof![-MAX..=MAX, -20i64..20, Just(MAX), Just(-MAX)]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integer().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn to_bytes_agrees_with_another_implementation(value in value()) {
        let bytes = canonical::to_bytes(&value).unwrap();
        prop_assert_eq!(&bytes, &serde_json_canonicalizer::to_vec(&value).unwrap());
        prop_assert_eq!(canonical::check(&bytes, VALUE_DEPTH), Ok(()));
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
    }

    #[test]
    fn check_accepts_nothing_that_to_bytes_does_not_write(
        value in value(),
        changes in vec((any::<Index>(), 0u8..4, any::<u8>(), any::<Index>()), 1..3),
    ) {
        let mut bytes = canonical::to_bytes(&value).unwrap();
        for (at, change, byte, other) in changes {
            let at = at.index(bytes.len() + 1);
            let interesting = b"{}[]:,\"\\/ \nu0019-+.eEtfn\x00\xc3\xff";
            match change {
                0 => bytes.insert(at, interesting[usize::from(byte) % interesting.len()]),
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => {
                    let with = other.index(bytes.len());
                    bytes.swap(at, with);
                }
                _ => {}
            }
            prop_assume!(!bytes.is_empty());
        }
        if canonical::check(&bytes, VALUE_DEPTH).is_ok() {
            let value: Value = serde_json::from_slice(&bytes).expect("what is accepted parses");
            prop_assert_eq!(canonical::to_bytes(&value).unwrap(), bytes);
        }
    }

    #[test]
    fn other_spellings_are_refused(value in value()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        let compact = canonical::to_bytes(&value).unwrap();
        prop_assert_eq!(canonical::check(&pretty, VALUE_DEPTH).is_ok(), pretty == compact);
        for wrong in [[b" ".as_slice(), &compact].concat(), [&compact, b"\n".as_slice()].concat()] {
            prop_assert!(canonical::check(&wrong, VALUE_DEPTH).is_err());
        }
    }
}

#[test]
fn what_has_no_canonical_form_is_refused() {
    let deep = (0..=VALUE_DEPTH).fold(json!(1), |value, _| json!([value]));
    for wrong in [
        json!(1.5),
        json!(1.0),
        json!(-0.0),
        json!(9_007_199_254_740_992u64),
        json!(u64::MAX),
        json!("a\0"),
        json!({"\0": 1}),
        deep,
    ] {
        assert!(canonical::to_bytes(&wrong).is_err(), "{wrong}");
        assert!(canonical::to_bytes(&json!([wrong])).is_err());
    }
}

/// The root once more, level by level: neighbours are joined, and one that is left over moves up as it is.
fn naive_root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let join = |pair: &[Hash]| match pair {
            [left, right] => node(left, right),
            rest => rest[0],
        };
        level = level.chunks(2).map(join).collect();
    }
    level[0]
}

fn items(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|index| index.to_string().into_bytes()).collect()
}

fn tree(items: &[Vec<u8>]) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    items.iter().for_each(|item| tree.push(item.clone()));
    tree
}

fn hashes(leaves: &[Hash], ranges: &[Range]) -> Vec<Hash> {
    ranges.iter().map(|range| merkle::root(&leaves[range.start as usize..range.end as usize])).collect()
}

fn joined(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn their_root(root: &Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new(Output::<Sha256>::from(root.0), size)
}

#[test]
fn roots_agree_with_two_other_implementations_up_to_a_thousand_leaves() {
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let (mut leaves, mut frontier) = (Vec::new(), Frontier::default());
    assert_eq!(merkle::root(&[]).0.as_slice(), tree.root().as_bytes().as_slice());
    assert_eq!(frontier.root(), merkle::root(&[]));
    for item in items(1000) {
        leaves.push(leaf(&item));
        frontier.push(leaf(&item));
        tree.push(item);
        let root = merkle::root(&leaves);
        assert_eq!(root, naive_root(&leaves), "{} leaves", leaves.len());
        assert_eq!(root.0.as_slice(), tree.root().as_bytes().as_slice(), "{} leaves", leaves.len());
        assert_eq!((frontier.root(), frontier.size()), (root, leaves.len() as u64));
    }
}

/// Every proof that differs from `proof` in one hash, or by one hash more or less.
fn neighbours(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut out = vec![[proof, &[Hash::ZERO]].concat(), [&[Hash::ZERO], proof].concat()];
    for index in 0..proof.len() {
        for (byte, bit) in [(0, 0), (31, 7)] {
            let mut changed = proof.to_vec();
            changed[index].0[byte] ^= 1 << bit;
            out.push(changed);
        }
        let mut shorter = proof.to_vec();
        shorter.remove(index);
        out.push(shorter);
        if index > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(index - 1, index);
            out.push(swapped);
        }
    }
    out
}

fn check_inclusion(items: &[Vec<u8>], index: u64, size: u64) {
    let leaves: Vec<Hash> = items[..size as usize].iter().map(|item| leaf(item)).collect();
    let root = merkle::root(&leaves);
    let proof = hashes(&leaves, &merkle::inclusion_ranges(index, size).unwrap());
    let of = leaves[index as usize];
    assert_eq!(merkle::root_from_inclusion(&of, index, size, &proof), Some(root));
    let theirs = InclusionProof::<Sha256>::try_from_bytes(joined(&proof)).unwrap();
    their_root(&root, size).verify_inclusion(&items[index as usize], index, &theirs).unwrap();
    for wrong in neighbours(&proof) {
        assert_ne!(merkle::root_from_inclusion(&of, index, size, &wrong), Some(root), "leaf {index} of {size}");
    }
    for other in
        [index.wrapping_sub(1), index + 1, index ^ 1, size, u64::MAX].into_iter().filter(|other| *other != index)
    {
        assert_ne!(
            merkle::root_from_inclusion(&of, other, size, &proof),
            Some(root),
            "leaf {index} of {size} at {other}"
        );
    }
    assert_ne!(merkle::root_from_inclusion(&leaf(b"other"), index, size, &proof), Some(root));
    assert_eq!(merkle::root_from_inclusion(&of, index, 0, &proof), None);
}

fn check_consistency(items: &[Vec<u8>], old: u64, new: u64) {
    let leaves: Vec<Hash> = items[..new as usize].iter().map(|item| leaf(item)).collect();
    let (a, b) = (merkle::root(&leaves[..old as usize]), merkle::root(&leaves));
    let proof = hashes(&leaves, &merkle::consistency_ranges(old, new).unwrap());
    assert!(merkle::verify_consistency(old, &a, new, &b, &proof), "{old} to {new}");
    if old < new {
        let theirs = ConsistencyProof::<Sha256>::try_from_bytes(joined(&proof)).unwrap();
        their_root(&b, new).verify_consistency(&their_root(&a, old), &theirs).unwrap();
    }
    for wrong in neighbours(&proof) {
        assert!(!merkle::verify_consistency(old, &a, new, &b, &wrong), "{old} to {new}");
    }
    let other = leaf(b"other");
    assert!(!merkle::verify_consistency(old, &other, new, &b, &proof), "{old} to {new}");
    assert!(!merkle::verify_consistency(old, &a, new, &other, &proof), "{old} to {new}");
    if old < new {
        assert!(!merkle::verify_consistency(new, &b, old, &a, &proof), "a tree does not shrink");
        assert!(!merkle::verify_consistency(old, &b, new, &a, &proof), "{old} to {new}");
    }
}

#[test]
fn proofs_hold_and_their_neighbours_do_not_for_all_small_trees() {
    let items = items(33);
    for size in 1..=33 {
        (0..size).for_each(|index| check_inclusion(&items, index, size));
        (1..=size).for_each(|old| check_consistency(&items, old, size));
    }
}

#[test]
fn the_edges_of_proofs_are_what_the_specification_says() {
    let (a, b) = (leaf(b"a"), leaf(b"b"));
    assert_eq!(merkle::inclusion_ranges(0, 0), None);
    assert_eq!(merkle::inclusion_ranges(5, 5), None);
    assert_eq!(merkle::consistency_ranges(0, 5), None);
    assert_eq!(merkle::consistency_ranges(6, 5), None);
    assert!(merkle::verify_consistency(0, &merkle::root(&[]), 1, &a, &[]));
    assert!(!merkle::verify_consistency(0, &a, 1, &a, &[]));
    assert!(!merkle::verify_consistency(0, &merkle::root(&[]), 1, &a, &[b]));
    assert!(merkle::verify_consistency(3, &a, 3, &a, &[]));
    assert!(!merkle::verify_consistency(3, &a, 3, &b, &[]));
    for size in [1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        for index in [0, size / 2, size - 1, size] {
            for length in [0, 1, 62, 63, 64, 65] {
                let proof = vec![a; length];
                let _ = merkle::root_from_inclusion(&a, index, size, &proof);
                assert!(!merkle::verify_consistency(index, &a, size, &b, &proof));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn inclusion_agrees_with_another_implementation(size in 1u64..1000, index in any::<Index>()) {
        let items = items(size);
        let index = index.index(size as usize) as u64;
        let leaves: Vec<Hash> = items.iter().map(|item| leaf(item)).collect();
        let proof = hashes(&leaves, &merkle::inclusion_ranges(index, size).unwrap());
        let theirs = tree(&items).prove_inclusion(index as usize);
        prop_assert_eq!(joined(&proof), theirs.as_bytes());
        check_inclusion(&items, index, size);
    }

    #[test]
    fn consistency_agrees_with_another_implementation(new in 2u64..1000, old in any::<Index>()) {
        let items = items(new);
        let old = old.index(new as usize - 1) as u64 + 1;
        let leaves: Vec<Hash> = items.iter().map(|item| leaf(item)).collect();
        let proof = hashes(&leaves, &merkle::consistency_ranges(old, new).unwrap());
        let theirs = tree(&items).prove_consistency((new - old) as usize);
        prop_assert_eq!(joined(&proof), theirs.as_bytes());
        check_consistency(&items, old, new);
    }
}

#[test]
fn a_hash_is_written_in_lower_case_digits_and_read_from_no_others() {
    let bytes: [u8; 32] = std::array::from_fn(|index| (index * 9) as u8);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(serde_json::to_value(Hash(bytes)).unwrap(), json!(text));
    assert_eq!(Hash::from_hex(&text), Some(Hash(bytes)));
    for place in [0, 1, 31, 32, 63] {
        for character in (0..=0x7f).map(char::from) {
            let changed = format!("{}{character}{}", &text[..place], &text[place + 1..]);
            let is_digit = character.is_ascii_digit() || ('a'..='f').contains(&character);
            assert_eq!(Hash::from_hex(&changed).map(|hash| hash.hex()), is_digit.then_some(changed));
        }
    }
    assert_eq!(Hash::from_hex(&text[1..]), None);
    assert_eq!(Hash::from_hex(&format!("{text}0")), None);
}

/// Strings are searched for such characters several bytes at a time.
#[test]
fn a_character_is_judged_alike_at_every_place_of_a_string() {
    let characters =
        ['\u{1}', '\n', '\u{1f}', ' ', '!', '"', '#', '[', '\\', ']', '\u{7f}', '\u{80}', '\u{ff}', '\u{10000}'];
    for length in 0..24 {
        for place in 0..=length {
            for character in characters {
                let text = format!("{}{character}{}", "a".repeat(place), "a".repeat(length - place));
                for bytes in [format!("\"{text}\""), format!("[\"{text}\",\"{text}\"]"), format!("{{\"{text}\":0}}")] {
                    let value = serde_json::from_str::<Value>(&bytes);
                    let expected = value.is_ok_and(|value| canonical::to_bytes(&value).unwrap() == bytes.as_bytes());
                    assert_eq!(canonical::check(bytes.as_bytes(), 1).is_ok(), expected, "{bytes}");
                }
            }
        }
    }
}

fn committed(seed: Hash, value: &Value) -> (Payload, Commitment) {
    let commitment = commit::commit(&seed.0, "params", value).unwrap();
    (Payload::Whole { seed, values: [("params".to_owned(), value.clone())].into() }, commitment)
}

/// What the specification says of a payload line, with a JSON decoder.
fn is_a_payload(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return false };
    let Some(object) = value.as_object() else { return false };
    let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>().join(" ");
    let is_hash = |value: &Value| value.as_str().is_some_and(|text| Hash::from_hex(text).is_some());
    let is_part = |part: &Value| {
        part.as_object().is_some_and(|part| names(part) == "index name salt value")
            && part["index"].as_u64().is_some_and(|index| u32::try_from(index).is_ok())
            && part["name"].is_string()
            && is_hash(&part["salt"])
    };
    let is_field = |field: &Value| field.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_part));
    let form = match names(object).as_str() {
        "seed values" => is_hash(&object["seed"]) && object["values"].is_object(),
        "parts" => object["parts"].as_object().is_some_and(|fields| fields.values().all(is_field)),
        _ => false,
    };
    form && canonical::to_bytes(&value).is_ok_and(|again| again == bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_commitment_opens_with_its_value_and_with_no_other(seed in any::<[u8; 32]>(), value in value(), other in value()) {
        let (payload, commitment) = committed(Hash(seed), &value);
        let opened = line(&payload).open(&[("params", &commitment)]).unwrap();
        prop_assert_eq!(opened.shown, commitment.macs.len() as u64);
        prop_assert!(opened.withheld.is_empty());
        prop_assert_eq!(opened.values.get("params"), Some(&value));
        let (swapped, _) = committed(Hash(seed), &other);
        prop_assert_eq!(line(&swapped).open(&[("params", &commitment)]).is_ok(), value == other);
        prop_assert!(line(&payload).open(&[]).is_err());
        prop_assert!(line(&payload).open(&[("output", &commitment)]).is_err());
        prop_assert_eq!(Payload::decode(line(&payload).as_bytes()), Ok(payload));
    }

    #[test]
    fn withholding_a_part_takes_its_value_and_its_salt_out_and_leaves_the_rest(
        seed in any::<[u8; 32]>(),
        members in btree_map(text(), value(), 1..6),
        index in any::<Index>(),
    ) {
        let value: Value = Value::Object(members.clone().into_iter().collect());
        let (payload, commitment) = committed(Hash(seed), &value);
        let index = index.index(members.len()) as u32;
        let less = payload.without("params", Some(index)).unwrap();
        let opened = line(&less).open(&[("params", &commitment)]).unwrap();
        prop_assert_eq!(opened.withheld, vec![("params".to_owned(), index)]);
        prop_assert_eq!(opened.shown, members.len() as u64 - 1);
        prop_assert!(!opened.values.contains_key("params"), "a value with a hole is not open");
        let text = String::from_utf8(less.encode().unwrap()).unwrap();
        prop_assert!(!text.contains(&Hash(seed).hex()), "the seed gives every salt");
        prop_assert!(!text.contains(&commit::salt(&seed, "params", index).hex()));
        prop_assert_eq!(Payload::decode(text.as_bytes()), Ok(less.clone()));
        prop_assert_eq!(less.without("params", None).unwrap(), Payload::withheld());
        prop_assert_eq!(payload.without("params", None).unwrap(), Payload::withheld());
        let other = payload.without("output", None).unwrap();
        let opened = line(&other).open(&[("params", &commitment)]).unwrap();
        prop_assert_eq!(opened.values.get("params"), Some(&value), "parts with salts open as the seed does");
    }

    /// [`crate::journal::line`] reads where values stand; the reference decodes everything and writes it again.
    #[test]
    fn a_changed_payload_line_is_read_exactly_if_it_is_the_one_spelling_of_what_it_says(
        seed in any::<[u8; 32]>(),
        members in btree_map(text(), value(), 1..4),
        in_parts in any::<bool>(),
        changes in vec((any::<Index>(), any::<Index>()), 1..3),
    ) {
        let (payload, _) = committed(Hash(seed), &Value::Object(members.into_iter().collect()));
        let payload = if in_parts { payload.without("none", None).unwrap() } else { payload };
        let mut bytes = payload.encode().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            let others = b"\"\\{}[],:0189aeflnstuxz-\xc3\x01 ";
            bytes[at] = others[byte.index(others.len())];
        }
        prop_assert_eq!(PayloadLine::parse(&bytes).is_ok(), is_a_payload(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_changed_part_is_named(seed in any::<[u8; 32]>(), members in btree_map("[a-z]{1,4}", 0i64..1_000, 1..6), index in any::<Index>()) {
        let name = members.keys().nth(index.index(members.len())).unwrap().clone();
        let (_, commitment) = committed(Hash(seed), &json!(members));
        let mut changed = members.clone();
        *changed.get_mut(&name).unwrap() ^= 1;
        let (payload, _) = committed(Hash(seed), &json!(changed));
        let mismatches = line(&payload).open(&[("params", &commitment)]).unwrap_err();
        let paths: Vec<&str> = mismatches.iter().map(|mismatch| mismatch.path.as_str()).collect();
        prop_assert_eq!(paths, vec![format!("params.{name}")]);
    }
}

#[test]
fn equal_values_have_unequal_hashes_in_every_field_index_and_event() {
    let (one, two) = (Hash([1; 32]), Hash([2; 32]));
    let value = json!({"a": 1, "b": 1});
    let hashes = |seed: Hash, field| commit::commit(&seed.0, field, &value).unwrap().macs;
    let all = [hashes(one, "params"), hashes(one, "output"), hashes(two, "params")].concat();
    let distinct: std::collections::BTreeSet<Hash> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn an_object_is_committed_member_by_member_up_to_the_limit() {
    let object = |count: usize| -> Value {
        (0..count).map(|index| (format!("m{index:03}"), json!(index))).collect::<serde_json::Map<_, _>>().into()
    };
    for (count, parts) in [(1, 1), (MAX_MEMBERS, MAX_MEMBERS), (MAX_MEMBERS + 1, 1)] {
        let commitment = commit::commit(&[0; 32], "params", &object(count)).unwrap();
        assert_eq!(commitment.macs.len(), parts, "{count} members");
    }
    assert!(commit::commit(&[0; 32], "params", &json!("a".repeat(commit::MAX_VALUE - 2))).is_ok());
    assert!(commit::commit(&[0; 32], "params", &json!("a".repeat(commit::MAX_VALUE - 1))).is_err());
    assert!(commit::commit(&[0; 32], "params", &json!({"a": 1.5})).is_err());
    assert!(commit::commit(&[0; 32], "params", &json!({"\0": 1})).is_err());
}

#[test]
fn a_payload_line_has_one_spelling() {
    let seed = Hash([3; 32]);
    let salt = commit::salt(&seed.0, "goal", 0);
    let part = format!("{{\"index\":0,\"name\":\"\",\"salt\":\"{salt}\",\"value\":1}}");
    let right = [
        "{\"parts\":{}}".to_owned(),
        format!("{{\"parts\":{{\"goal\":[{part}]}}}}"),
        format!("{{\"seed\":\"{seed}\",\"values\":{{\"goal\":null}}}}"),
    ];
    for line in &right {
        assert_eq!(Payload::decode(line.as_bytes()).unwrap().encode().unwrap(), line.as_bytes());
    }
    let wrong = [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        "{\"parts\":null}".to_owned(),
        "{\"parts\":{\"goal\":[]}}".to_owned(),
        "{\"parts\":{\"goal\":null}}".to_owned(),
        format!("{{\"parts\":{{\"goal\":[{}]}}}}", part.replace(",\"value\":1", "")),
        format!("{{\"parts\":{{\"goal\":[{}]}}}}", part.replace("}", ",\"w\":1}")),
        format!("{{\"parts\":{{\"goal\":[{}]}}}}", part.replace("\"index\":0", "\"index\":4294967296")),
        format!("{{\"seed\":\"{seed}\"}}"),
        "{\"values\":{}}".to_owned(),
        format!("{{\"parts\":{{}},\"seed\":\"{seed}\",\"values\":{{}}}}"),
        format!("{{\"parts\":null,\"seed\":\"{seed}\",\"values\":{{}}}}"),
        "{\"parts\":{},\"seed\":null}".to_owned(),
        "{\"parts\":{},\"values\":null}".to_owned(),
        format!("{{\"seed\":\"{}\",\"values\":{{}}}}", seed.hex().to_uppercase().replace("03", "0A")),
        // Lists in place of objects.
        format!("{{\"parts\":{{\"goal\":[[0,\"\",\"{salt}\",1]]}}}}"),
        "[{}]".to_owned(),
    ];
    for line in wrong {
        assert!(Payload::decode(line.as_bytes()).is_err(), "accepted {line}");
    }
}

/// Values of several fields stand in one payload, in canonical order of their names.
#[test]
fn two_fields_of_one_event_open_together() {
    let seed = Hash([4; 32]);
    let values: BTreeMap<String, Value> =
        [("error".to_owned(), json!("e")), ("output".to_owned(), json!({"a": 1}))].into();
    let of = |field: &str| commit::commit(&seed.0, field, &values[field]).unwrap();
    let (error, output) = (of("error"), of("output"));
    let payload = Payload::Whole { seed, values: values.clone() };
    let opened = line(&payload).open(&[("error", &error), ("output", &output)]).unwrap();
    assert_eq!((opened.shown, opened.values), (2, values));
    let less = payload.without("output", None).unwrap();
    let opened = line(&less).open(&[("error", &error), ("output", &output)]).unwrap();
    assert_eq!(opened.withheld, vec![("output".to_owned(), 0)]);
}
