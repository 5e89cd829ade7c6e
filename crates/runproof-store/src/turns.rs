//! Whose turn it is: which due runs a claim takes. Fair between tenants, by priority in one, and never above a limit.

use std::collections::BTreeMap;

/// Runs of one tenant that are going, and the most that may.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Runs that somebody holds, by agent.
    running: BTreeMap<String, u64>,
    /// Most of them, by agent; under the empty name: of the whole tenant.
    most: BTreeMap<String, u64>,
}

impl Room {
    pub(crate) fn new(running: BTreeMap<String, u64>, most: BTreeMap<String, u64>) -> Self {
        Self { running, most }
    }

    /// Lets one more run of the agent go, unless a limit is reached. Answers how many were going before.
    pub(crate) fn enter(&mut self, agent: &str) -> Option<u64> {
        let total = self.running.values().sum();
        let running = self.running.entry(agent.to_owned()).or_default();
        let is_full = |name: &str, count: u64| self.most.get(name).is_some_and(|most| count >= *most);
        if is_full("", total) || is_full(agent, *running) {
            return None;
        }
        *running += 1;
        Some(total)
    }

    /// Whether the tenant as a whole is at its limit: then no further run has to be looked at.
    pub(crate) fn is_full(&self) -> bool {
        self.most.get("").is_some_and(|most| self.running.values().sum::<u64>() >= *most)
    }
}

/// When a due run comes, compared with others: the smallest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// Runs of its tenant that are going before it.
    pub(crate) running: u64,
    /// Since when it is due, in microseconds.
    pub(crate) wake_at: u64,
    /// Tenant.
    pub(crate) tenant: String,
    /// Run.
    pub(crate) run_id: String,
}

/// The turns that come first. Those of one tenant have to come in its own order.
pub(crate) fn first(mut turns: Vec<Turn>, limit: usize) -> Vec<Turn> {
    turns.sort();
    turns.truncate(limit);
    turns
}
