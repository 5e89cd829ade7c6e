//! Claims about the registry.

use runproof_skills::registry::{Options, builtin};

use crate::calls::no_ports;

fn names(options: &Options) -> Vec<&'static str> {
    builtin(options, &no_ports()).expect("skills").iter().map(|skill| skill.manifest().name).collect()
}

#[test]
fn the_fail_trigger_is_there_only_when_asked_for() {
    assert_eq!(names(&Options::default()), ["http_call", "json_transform", "kv_store"]);
    let options = Options { test_skills: true, ..Options::default() };
    assert_eq!(names(&options), ["__fail_trigger__", "http_call", "json_transform", "kv_store"]);
}

#[test]
fn only_the_fail_trigger_is_a_test_skill() {
    let options = Options { test_skills: true, ..Options::default() };
    for skill in builtin(&options, &no_ports()).expect("skills").iter() {
        assert_eq!(skill.manifest().test_only, skill.manifest().name == "__fail_trigger__");
    }
}
