//! Planners that need no network: `static` takes the given plan, `stub` makes one from the goal.
//!
//! A planner that fails says so; no planner ever stands in for another.

use serde_json::{Value, json};

/// Name and version of the planner of given plans.
pub const STATIC: (&str, &str) = ("static", "1");
/// Name and version of the stub planner.
pub const STUB: (&str, &str) = ("stub", "1");

/// Makes a plan from a goal: a URL becomes an `http_call` GET, anything else a local step that repeats the goal.
///
/// # Errors
/// Text that says why there is no plan.
pub fn stub(goal: &str) -> Result<Value, String> {
    let url = goal.split_whitespace().find(|word| word.starts_with("http://") || word.starts_with("https://"));
    let step = match url {
        Some(url) => {
            let url = url.trim_end_matches(['.', ',', ';', ')', '"', '\'']);
            if url.ends_with("//") {
                return Err("the URL in the goal has no host".to_owned());
            }
            if url.contains("{{") {
                return Err("the URL in the goal holds a reference".to_owned());
            }
            json!({"id": "fetch", "skill": "http_call", "with": {"method": "GET", "url": url}})
        }
        None => {
            // The text itself, not a reference to the goal: a goal from which something was redacted cannot be
            // referred to, and this step only repeats it.
            let text = goal.replace("{{", "\\{{");
            json!({"id": "note", "skill": "json_transform", "with": {"mapping": {"goal": "goal"}, "payload": {"goal": text}}})
        }
    };
    Ok(json!({"schema": crate::plan::SCHEMA, "steps": [step]}))
}
