//! Events of a tenant's stream. Field tables with units: `docs/spec/events.md`.

use serde::{Deserialize, Serialize};

use super::run::body;
use super::words::*;
use crate::commit::Commitment;
use crate::hash::Hash;

body! {
    /// The tenant exists. First event of its stream.
    TenantCreated {
        /// Who.
        actor: Actor,
    }
}

body! {
    /// The tenant has an agent.
    TenantAgentCreated {
        /// Who.
        actor: Actor,
        /// Agent id.
        agent_id: String,
        /// Name for people.
        name: Commitment,
    }
}

body! {
    /// A run number was given out; precedes the run's own first event in the same transaction.
    TenantRunOpened {
        /// Run id.
        run_id: String,
        /// Gap-free, from 1.
        run_no: u64,
    }
}

body! {
    /// A sealed run moved to the archive.
    TenantRunArchived {
        /// Run id.
        run_id: String,
        /// Its seal's root.
        run_root: Hash,
    }
}

body! {
    /// A sealed run was removed; this is its tombstone.
    TenantRunPurged {
        /// Who.
        actor: Actor,
        /// Its seal's count.
        event_count: u64,
        /// Run id.
        run_id: String,
        /// Its seal's root.
        run_root: Hash,
    }
}

body! {
    /// A run must not be removed.
    TenantHoldPlaced {
        /// Who.
        actor: Actor,
        /// Why.
        reason: Commitment,
        /// Run id.
        run_id: String,
    }
}

body! {
    /// A run may be removed again.
    TenantHoldLifted {
        /// Who.
        actor: Actor,
        /// Why.
        reason: Commitment,
        /// Run id.
        run_id: String,
    }
}

body! {
    /// A committed value was destroyed, with its salt.
    TenantValueErased {
        /// Who.
        actor: Actor,
        /// Field of the event that held the value: `params`, `output`, …
        field: String,
        /// Which part; absent: all parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// On what ground.
        reason: Commitment,
        /// Run id.
        run_id: String,
        /// Event of the run.
        seq: u64,
    }
}

body! {
    /// A committed value was shown to somebody.
    TenantValueRevealed {
        /// Who.
        actor: Actor,
        /// To whom.
        audience: Commitment,
        /// Field of the event that holds the value.
        field: String,
        /// Which part; absent: all parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// Run id.
        run_id: String,
        /// Event of the run.
        seq: u64,
    }
}

body! {
    /// A proof bundle left the system.
    TenantBundleExported {
        /// Who.
        actor: Actor,
        /// SHA-256 of the file.
        digest: Hash,
        /// Run id.
        run_id: String,
        /// Parts that were withheld.
        withheld: u64,
    }
}

body! {
    /// Another policy set is in force.
    TenantPolicySetActivated {
        /// Who.
        actor: Actor,
        /// SHA-256 of the canonical policy set.
        digest: Hash,
        /// Its name.
        policy_set: String,
    }
}

body! {
    /// A budget was set or changed.
    TenantBudgetSet {
        /// Who.
        actor: Actor,
        /// Limit, in microcents.
        limit_microcents: u64,
        /// What it applies to.
        scope: Scope,
        /// Id within the scope.
        scope_id: String,
        /// `run`, `day`, `month` or `total`.
        window: String,
    }
}

body! {
    /// Steps are stopped, or let go on, for a scope.
    TenantKillSwitchSet {
        /// Stopped, or not.
        active: bool,
        /// Who.
        actor: Actor,
        /// Counts changes; every intent is checked against it.
        epoch: u64,
        /// Why.
        reason: Commitment,
        /// What it applies to.
        scope: Scope,
        /// Id within the scope.
        scope_id: String,
    }
}
