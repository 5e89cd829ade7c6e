//! The specification names everything that the code knows: kinds, fields, words, codes, verdicts and limits.

use std::collections::BTreeSet;

use runproof_proof::event::*;
use runproof_proof::finding::{Code, Layer, Verdict};
use runproof_proof::report::Check;
use runproof_proof::{bundle, canonical, commit, note, payload};
use serde_json::Value;

use crate::samples;

const README: &str = include_str!("../../../../docs/spec/README.md");
const CANONICAL: &str = include_str!("../../../../docs/spec/canonical.md");
const EVENTS: &str = include_str!("../../../../docs/spec/events.md");
const COMMITMENTS: &str = include_str!("../../../../docs/spec/commitments.md");
const LEDGER: &str = include_str!("../../../../docs/spec/ledger.md");
const BUNDLE: &str = include_str!("../../../../docs/spec/bundle.md");
const TRUST: &str = include_str!("../../../../docs/spec/trust.md");
const VERDICTS: &str = include_str!("../../../../docs/spec/verdicts.md");

/// The part of a page from a heading to the next heading of the same or a higher level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let ends = (1..=level.len()).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

/// First cells of the rows of the tables in a section, without their backquotes.
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// Names of the members of an object.
fn names(value: &Value) -> BTreeSet<String> {
    set(value.as_object().unwrap().keys().map(String::as_str))
}

#[test]
fn every_kind_has_a_section_with_exactly_its_fields() {
    for event in samples::full() {
        let kind = event.body.kind();
        let fields = names(&serde_json::to_value(&event.body).unwrap());
        assert_eq!(first_cells(section(EVENTS, &format!("### `{kind}`"))), fields, "{kind}");
    }
    let headings = EVENTS.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    assert_eq!(headings.collect::<BTreeSet<_>>(), Body::KINDS.iter().copied().collect());
}

#[test]
fn a_field_is_marked_optional_exactly_when_it_may_be_absent() {
    for (full, minimal) in samples::full().iter().zip(samples::minimal()) {
        let kind = full.body.kind();
        let text = section(EVENTS, &format!("### `{kind}`"));
        let there = names(&serde_json::to_value(&minimal.body).unwrap());
        for field in names(&serde_json::to_value(&full.body).unwrap()) {
            let marked = text.contains(&format!("| `{field}`? |"));
            assert_eq!(marked, !there.contains(&field), "`{field}` of {kind}");
        }
    }
}

#[test]
fn commitments_are_typed_as_commitments() {
    for event in samples::full() {
        let text = section(EVENTS, &format!("### `{}`", event.body.kind()));
        let typed = text.lines().filter(|line| line.contains("| commitment |"));
        let typed: BTreeSet<String> = typed.flat_map(first_cells).collect();
        let held = event.commitments().into_iter().map(|(field, _)| field);
        assert_eq!(typed, set(held), "{}", event.body.kind());
    }
}

#[test]
fn the_envelope_and_the_shared_structures_have_exactly_their_fields() {
    let full = samples::full();
    let body =
        |kind: &str| serde_json::to_value(&full.iter().find(|event| event.body.kind() == kind).unwrap().body).unwrap();
    let envelope: Value = serde_json::from_slice(&full[0].encode()).unwrap();
    let created = body("run.created");
    for (heading, value) in [
        ("## Envelope", &envelope),
        ("### actor", &created["actor"]),
        ("### engine", &created["engine"]),
        ("### versioned", &created["planner"]),
        ("### gate", &body("step.intended")["gate"]),
        ("### totals", &body("run.sealed")["totals"]),
    ] {
        assert_eq!(first_cells(section(EVENTS, heading)), names(value), "{heading}");
    }
}

/// The words of a vocabulary.
macro_rules! words {
    ($($name:ident),+ $(,)?) => {
        [$((stringify!($name), $name::ALL.iter().map(|value| value.word()).collect::<Vec<_>>())),+]
    };
}

#[test]
fn every_vocabulary_is_listed_with_exactly_its_words() {
    let vocabularies = words![
        EffectClass,
        ErrorCategory,
        AttemptOutcome,
        Then,
        Via,
        EvidenceClass,
        StepStatus,
        EndStatus,
        EndReason,
        Resolution,
        Decision,
        ActorType,
        GapKind,
        Scope,
    ];
    for (name, words) in vocabularies {
        let heading: String = name
            .char_indices()
            .flat_map(|(at, letter)| {
                [(at > 0 && letter.is_uppercase()).then_some(' '), Some(letter.to_ascii_lowercase())]
            })
            .flatten()
            .collect();
        assert_eq!(first_cells(section(EVENTS, &format!("### {heading}"))), set(words), "{name}");
    }
    assert_eq!(section(EVENTS, "## Vocabularies").matches("\n### ").count(), vocabularies_in_source());
}

/// Vocabularies that the source declares.
fn vocabularies_in_source() -> usize {
    include_str!("../../src/event/words.rs").matches("\nwords_enum! {").count()
}

#[test]
fn every_verdict_and_finding_code_is_listed_as_the_code_has_it() {
    for verdict in Verdict::ALL {
        let row =
            format!("| {} | {} | {} | {} |", verdict.word(), verdict.exit_code(), verdict.status(), verdict.meaning());
        assert!(VERDICTS.contains(&row), "no row `{row}`");
    }
    let places = Verdict::ALL.iter().map(|verdict| VERDICTS.find(&format!("\n| {} |", verdict.word())).unwrap());
    assert!(places.is_sorted(), "verdicts are listed from best to worst");
    for code in Code::ALL {
        let (word, layer, verdict) = (code.word(), code.layer(), code.verdict().word());
        let row = format!("| `{word}` | {layer} | {verdict} | {} | {} |", code.meaning(), code.next_step());
        assert!(VERDICTS.contains(&row), "no row `{row}`");
    }
    let codes = first_cells(section(VERDICTS, "## Finding codes"));
    assert_eq!(codes, set(Code::ALL.iter().map(|code| code.word())));
    let layers = first_cells(section(VERDICTS, "## Layers"));
    assert_eq!(layers, set(Layer::ALL.iter().map(|layer| layer.word())));
}

#[test]
fn every_finding_code_that_a_page_names_exists() {
    let pages = [README, CANONICAL, EVENTS, COMMITMENTS, LEDGER, BUNDLE, TRUST, VERDICTS].concat();
    let layers = [
        "bundle",
        "chain",
        "structure",
        "outcome",
        "gap",
        "payload",
        "replay",
        "seal",
        "inclusion",
        "checkpoint",
        "head",
        "row",
    ];
    let known = set(Code::ALL.iter().map(|code| code.word()).chain(Body::KINDS.iter().copied()));
    for quoted in pages.split('`').skip(1).step_by(2) {
        let dotted = quoted.split_once('.').is_some_and(|(layer, rest)| {
            layers.contains(&layer) && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        assert!(!dotted || known.contains(quoted), "`{quoted}` is not a finding code");
    }
}

#[test]
fn every_field_of_the_report_is_listed() {
    let bytes = crate::bundles::vector("tampered-event.bundle");
    let report = runproof_proof::verify(bytes, &crate::bundles::trust(Some("trust.json"))).to_json();
    for field in names(&report) {
        assert!(VERDICTS.contains(&format!("| `{field}` |")), "`{field}` of the report");
    }
    for field in names(&report["findings"][0]) {
        assert!(VERDICTS.contains(&format!("| `{field}`")), "`{field}` of a finding");
    }
    for field in names(&report["anchor"]).union(&names(&report["events"][0])) {
        assert!(VERDICTS.contains(&format!("`{field}`")), "`{field}`");
    }
    for name in
        names(&report["checks"][0]).iter().map(String::as_str).chain(Check::ALL.iter().map(|check| check.word()))
    {
        assert!(VERDICTS.contains(&format!("`{name}`")), "`{name}` of the checks");
    }
}

#[test]
fn the_header_and_the_trust_file_are_listed() {
    let mut header = crate::bundles::honest().header;
    header.since = Some(1);
    assert_eq!(first_cells(section(BUNDLE, "## Header")), names(&serde_json::to_value(header).unwrap()));
    for field in ["format", "keys", "keys[].vkey", "keys[].last_size", "heads"] {
        assert!(TRUST.contains(&format!("| `{field}`")), "`{field}`");
    }
    for name in [bundle::FORMAT, runproof_proof::trust::FORMAT] {
        assert!(README.contains(name), "{name}");
    }
}

#[test]
fn the_limits_are_the_limits_of_the_code() {
    const KIB: usize = 1024;
    assert_eq!(MAX_EVENT, 16 * KIB);
    assert_eq!(MAX_RUN_EVENTS, 100_000);
    assert_eq!(bundle::MAX_BUNDLE, 256 * KIB * KIB);
    assert_eq!(payload::MAX_PAYLOAD, 17 * KIB * KIB);
    assert_eq!(commit::MAX_VALUE, 16 * KIB * KIB);
    assert_eq!((commit::MAX_MEMBERS, commit::CHUNK), (64, 64 * KIB));
    assert_eq!(note::MAX_NOTE, 64 * KIB);
    assert_eq!((canonical::EVENT_DEPTH, canonical::VALUE_DEPTH), (16, 64));
    for row in [
        "| events of a run | 100,000 | V |",
        "| event | 16 KiB, depth 16 | V |",
        "| value of one field | 16 MiB | V |",
        "| parts of a value | 64 | V |",
        "| chunk of a long part | 64 KiB | V |",
        "| payload line | 17 MiB, depth 68 | V |",
        "| bundle | 256 MiB | V |",
        "| steps in a plan | 256 |",
    ] {
        assert!(section(EVENTS, "## Limits").contains(row), "no row `{row}`");
    }
    assert!(CANONICAL.contains("2^53 - 1 = 9007199254740991"));
    assert_eq!(canonical::MAX_INTEGER, 9_007_199_254_740_991);
}

#[test]
fn every_tag_of_a_hash_is_in_the_pages() {
    let source = [
        include_str!("../../src/commit.rs"),
        include_str!("../../src/hash.rs"),
        include_str!("../../src/event/run.rs"),
    ]
    .concat();
    let tags = source.split('"').filter(|text| text.starts_with("runproof.dev/"));
    let tags: BTreeSet<&str> = tags.map(|tag| tag.trim_end_matches("\\0")).collect();
    assert!(tags.len() >= 8, "{tags:?}");
    let pages = [README, COMMITMENTS].concat();
    for tag in tags {
        assert!(pages.contains(&format!("\"{tag}\"")), "{tag}");
    }
}
