//! Events of the log's own stream. Field tables with units: `docs/spec/events.md`.

use serde::{Deserialize, Serialize};

use super::run::body;
use super::words::{Actor, Engine};
use crate::hash::Hash;

body! {
    /// The ledger begins. Leaf 0.
    LogCreated {
        /// The program that records.
        engine: Engine,
        /// Verification key of the first log key, as a C2SP vkey. Tells nothing about trust.
        vkey: String,
    }
}

body! {
    /// Another key may sign checkpoints.
    LogKeyAdded {
        /// Who.
        actor: Actor,
        /// Verification key.
        vkey: String,
    }
}

body! {
    /// A key signs no further checkpoints.
    LogKeyRetired {
        /// Who.
        actor: Actor,
        /// Last tree size that it signed.
        last_size: u64,
        /// Verification key.
        vkey: String,
    }
}

body! {
    /// A key must not be trusted for trees larger than a size.
    LogKeyRevoked {
        /// Who.
        actor: Actor,
        /// Last tree size for which it is to be trusted.
        last_size: u64,
        /// Verification key.
        vkey: String,
    }
}

body! {
    /// An operator went on from a database older than the last known checkpoint.
    LogRollbackAcknowledged {
        /// Who.
        actor: Actor,
        /// Root of the newer tree that was lost.
        lost_root: Hash,
        /// Size of the newer tree that was lost.
        lost_size: u64,
        /// Root that the log went on from.
        root: Hash,
        /// Size that the log went on from.
        size: u64,
    }
}

body! {
    /// The ledger takes no further events.
    LogClosed {
        /// Who.
        actor: Actor,
        /// Origin of the log that goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        successor: Option<String>,
    }
}
