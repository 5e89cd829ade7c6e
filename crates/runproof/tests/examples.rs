//! The examples, run as their pages say, and checked as somebody else would check them.

mod scene;

use serde_json::{Value, json};

use self::scene::{Scene, assert_shown_steps, folder, shown_json};
use crate::support::{Home, text};

fn status(run: &Value) -> &str {
    run["status"].as_str().unwrap()
}

/// The first thing that was printed as JSON.
fn first_json(printed: &[String]) -> Value {
    printed.iter().find_map(|printed| serde_json::from_str(printed).ok()).unwrap()
}

/// One step as a whole, not an element of its list.
fn whole_step<'a>(run: &'a Value, id: &str) -> &'a Value {
    let steps = run["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step_id"] == id && step["item"].is_null());
    step.unwrap_or_else(|| panic!("no `{id}` in {run:#}"))
}

/// Status and code of one step.
fn step(run: &Value, id: &str) -> (String, Value) {
    let step = whole_step(run, id);
    (text(&step["status"]), step["outcome_code"].clone())
}

#[test]
fn every_plan_of_the_examples_is_valid_without_a_warning() {
    let home = Home::empty();
    let mut plans = 0;
    for example in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        for name in ["plan.yaml", "plan.json"] {
            let plan = example.join(name);
            if plan.exists() {
                let checked = home.ok(&["plan", "check", plan.to_str().unwrap()]);
                assert_eq!(checked["findings"], json!([]), "{}", plan.display());
                plans += 1;
            }
        }
    }
    assert!(plans >= 4, "{plans}");
}

#[test]
fn new_items_tells_about_each_notice_once_and_again_only_when_nobody_heard() {
    let mut scene = Scene::new();
    let printed = scene.follow("new-items/README.md");
    let told: Vec<(Value, Vec<Value>)> = scene
        .server
        .received()
        .iter()
        .map(|post| {
            let items = post["body"]["items"].as_array().unwrap();
            (post["body"]["topic"].clone(), items.iter().map(|item| item["id"].clone()).collect())
        })
        .collect();
    let expected = [("roads", vec!["n-101", "n-103", "n-105"]), ("library", vec!["n-102"])];
    assert_eq!(json!(told), json!(expected), "{printed:#?}");
    let runs: Vec<Value> = (0..4).map(|number| scene.run(number)).collect();
    assert_eq!(runs.iter().map(status).collect::<Vec<_>>(), ["succeeded", "succeeded", "failed", "succeeded"]);
    assert_shown_steps(&scene.page("new-items/README.md"), &runs[1]);
    assert_eq!(step(&runs[2], "notify"), ("failure".to_owned(), json!("http.status_5xx")));
    assert_eq!(whole_step(&runs[2], "notify")["retry_count"], 2, "three attempts");
    scene.every_bundle_verifies_with_the_binary_and_the_key_alone();
}

#[test]
fn price_lists_reports_what_is_missing_and_what_differs() {
    let mut scene = Scene::new();
    let printed = scene.follow("price-lists/README.md");
    assert_eq!(first_json(&printed), shown_json(&scene.page("price-lists/README.md")));
    let (good, bad) = (scene.run(0), scene.run(1));
    assert_eq!((status(&good), status(&bad)), ("succeeded", "failed"));
    assert_eq!(step(&bad, "prices"), ("failure".to_owned(), json!("json.path_not_found")));
    scene.every_bundle_verifies_with_the_binary_and_the_key_alone();
}

#[test]
fn price_lists_compares_nothing_where_the_currencies_differ() {
    let mut scene = Scene::new();
    scene.follow_line("cd price-lists");
    scene.follow_line(
        "sed 's/their_currency: supplier.currency/their_currency: supplier.articles.A-100.name/' plan.yaml >other.yaml",
    );
    scene.follow_line("runproof run --tenant-id acme --agent-id scout --plan other.yaml");
    let run = scene.run(0);
    assert_eq!((status(&run), step(&run, "report")), ("succeeded", ("skipped".to_owned(), json!("when.false"))));
}

#[test]
fn many_urls_asks_four_at_a_time_and_sums_up_who_answered() {
    let mut scene = Scene::new();
    let printed = scene.follow("many-urls/README.md");
    assert_eq!(first_json(&printed), shown_json(&scene.page("many-urls/README.md")));
    let pages = scene.server.get("/pages");
    let most = pages["most_at_once"].as_u64().unwrap();
    assert!((2..=4).contains(&most), "side by side, and never more than the cap: {pages}");
    assert_eq!(pages["asked"], 21, "what is out of order is asked for twice, everything else once");
    let run = scene.run(0);
    assert_eq!((status(&run), run["steps"].as_array().unwrap().len()), ("succeeded", 20 + 3));
    assert_eq!(step(&run, "pages"), ("failure".to_owned(), json!("foreach.items_failed")));
    assert_eq!(scene.runs.len(), 1, "the refused one is no run");
    scene.every_bundle_verifies_with_the_binary_and_the_key_alone();
}

#[test]
fn survives_a_kill_repeats_with_the_same_key_and_never_pays_twice() {
    let mut scene = Scene::new();
    let printed = scene.follow("survives-a-kill/README.md");
    let received = scene.server.received();
    let waiting = printed.iter().find(|printed| printed.contains("\nWaits:   ")).unwrap();
    assert!(waiting.contains(&format!("the idempotency key {}\n", text(&received[2]["key"]))), "{waiting}");
    let shown: String = (1..)
        .zip(&received)
        .map(|(number, post)| {
            let again = if post["again"] == true { "again" } else { "new" };
            format!("    {number} POST {} {again}\n", text(&post["path"]))
        })
        .collect();
    let page = scene.page("survives-a-kill/README.md");
    assert!(page.contains(&format!("\n\n{shown}\n")), "the page shows other POSTs than\n{shown}");
    let keys = |path: &str| -> Vec<&Value> {
        received.iter().filter(|post| post["path"] == path).map(|post| &post["key"]).collect()
    };
    for (path, calls) in [("/slow/reserve", 2), ("/slow/pay", 1), ("/slow/ship", 2), ("/thank", 1)] {
        let keys = keys(path);
        assert_eq!(keys, vec![keys[0]; calls], "{path}");
    }
    let run = scene.run(0);
    assert_eq!(status(&run), "succeeded");
    assert_shown_steps(&page, &run);
    let proof = scene.ask(&format!("runproof proof {} --tenant-id acme", scene.runs[0]));
    assert_eq!((&proof["verdict"], &proof["resolved"]), (&json!("VERIFIED"), &json!(1)), "{proof:#}");
    scene.every_bundle_verifies_with_the_binary_and_the_key_alone();
}

#[test]
fn survives_a_kill_ships_nothing_when_the_bank_has_no_payment() {
    let mut scene = Scene::new();
    for line in [
        "cd survives-a-kill",
        "runproof run --tenant-id acme --agent-id scout --plan plan.json --no-wait",
        "runproof worker --drain &",
        "kill -9 $!; wait $!  # at `1 POST /slow/reserve new`",
        "runproof worker --drain &",
        "kill -9 $!; wait $!  # at `3 POST /slow/pay new`",
        "runproof worker --drain",
        "runproof proof RUN_ID --tenant-id acme  # exit 10",
        "runproof resolve RUN_ID pay not-done --reason 'the bank has nothing'",
        "runproof worker --drain",
    ] {
        scene.follow_line(line);
    }
    let run = scene.run(0);
    assert_eq!((status(&run), step(&run, "pay").0.as_str()), ("failed", "failure"));
    assert_eq!(scene.server.received().len(), 3, "nothing after the payment was asked for");
    scene.every_bundle_verifies_with_the_binary_and_the_key_alone();
}
