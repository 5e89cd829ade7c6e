//! Converts `retry_count` and `retry_policy` of the first system.

use runproof_proof::finding::printable;
use serde_json::{Map, Value, json};

use super::Converter;

impl Converter {
    /// The `retry` of a step, if it says anything. `retry_count` is the number of attempts; its own waits, doubling
    /// from half a second to thirty, are what a plan has without saying so.
    pub(super) fn retry(
        &mut self,
        step: &Map<String, Value>,
        default: Option<&Map<String, Value>>,
        path: &str,
    ) -> Option<Value> {
        let own = step.get("retry_policy").filter(|policy| !policy.is_null());
        let mut retry = match own {
            None => default.cloned().unwrap_or_default(),
            Some(policy) => self.policy(policy, &format!("{path}.retry_policy"))?,
        };
        if let Some(count) = step.get("retry_count").filter(|count| !count.is_null()) {
            let Some(count) = count.as_u64() else {
                self.find(format!("{path}.retry_count"), "`retry_count` is a whole number", "0 to 20");
                return None;
            };
            let attempts = json!(count.max(1));
            if own.is_some() && retry.get("max_attempts").is_some_and(|other| *other != attempts) {
                let message = "it contradicts max_attempts of the step's retry_policy";
                self.find(format!("{path}.retry_count"), message, "keep one of the two");
            }
            retry.insert("max_attempts".to_owned(), attempts);
        }
        (!retry.is_empty()).then_some(Value::Object(retry))
    }

    /// A retry policy, as `retry` says it.
    pub(super) fn policy(&mut self, policy: &Value, path: &str) -> Option<Map<String, Value>> {
        let Some(members) = policy.as_object() else {
            self.find(path, "a retry policy is a JSON object", "{\"max_attempts\": 3}");
            return None;
        };
        // What the first system's schema said for a policy that is silent.
        let mut out = Map::new();
        out.insert("max_attempts".to_owned(), json!(3));
        let (mut initial, mut longest, mut constant) = (Some(1_000), Some(60_000), false);
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let place = format!("{path}.{}", printable(name));
            match (name.as_str(), value) {
                ("max_attempts", _) => drop(out.insert(name.clone(), value.clone())),
                ("initial_delay", _) => initial = self.milliseconds(value, &place),
                ("max_delay", _) => longest = self.milliseconds(value, &place),
                ("jitter", Value::Bool(true)) => {}
                ("jitter", _) => self.find(place, "waits always vary a little", "remove it"),
                ("retryable_errors", Value::Array(list)) if list.is_empty() => {}
                ("retryable_errors", _) => {
                    self.find(place, "the skill says which of its errors are worth another attempt", "remove it");
                }
                ("strategy", Value::String(word)) if word == "exponential" => {}
                ("strategy", Value::String(word)) if word == "constant" => constant = true,
                ("strategy", _) => {
                    self.find(place, "only `exponential` and `constant` waits are there", "choose one of the two");
                }
                (_, _) => self.find(place, "no field of a retry policy", "remove it"),
            }
        }
        if constant {
            initial = initial.min(longest);
            longest = initial;
        }
        out.insert("initial_delay_ms".to_owned(), json!(initial?));
        out.insert("max_delay_ms".to_owned(), json!(longest?));
        Some(out)
    }

    /// Seconds, with a fraction or without, as whole milliseconds.
    fn milliseconds(&mut self, value: &Value, path: &str) -> Option<u64> {
        let milliseconds = value.as_f64().map(|seconds| seconds * 1_000.0);
        let whole = milliseconds.filter(|ms| (0.0..=86_400_000.0).contains(ms) && (ms - ms.round()).abs() < 1e-6);
        if whole.is_none() {
            self.find(path, "not a time in whole milliseconds", "seconds, at most a day, such as 0.5");
        }
        whole.map(|ms| ms.round() as u64)
    }
}
