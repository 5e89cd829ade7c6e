//! The gate: judges the exact call before every step, and is the only place that makes an [`Authorized`] call.
//!
//! It does not know what a skill does, and it never lets a call through because something could not be evaluated.

use runproof_proof::event::{Decision, GateRecord};

use crate::skill::Call;

/// Name of the policy set in force until a tenant activates another one.
pub const BUILTIN_POLICY_SET: &str = "builtin/empty@1";

/// A value that the gate has let through. There is no other way to make one:
///
/// ```compile_fail
/// let call: runproof_engine::skill::Call = unimplemented!();
/// let forged = runproof_engine::gate::Authorized { inner: call };
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Authorized<T> {
    inner: T,
}

impl<T> Authorized<T> {
    /// What was authorised.
    pub fn get(&self) -> &T {
        &self.inner
    }
}

/// What the gate says about one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Let through; the record goes into the intent.
    Allowed(Authorized<Call>, GateRecord),
    /// Not let through; the step settles as a failure of category `policy`.
    Refused(GateRecord),
    /// Could not be evaluated; the run halts.
    Halted(GateRecord),
}

/// Whether this version can evaluate a policy set.
pub fn knows(policy_set: &str) -> bool {
    policy_set == BUILTIN_POLICY_SET
}

/// Judges a call under a policy set named in the run's header.
///
/// `builtin/empty@1` has no rules and allows everything. A set that this version does not know cannot be evaluated,
/// so the run halts: never allowed by default.
pub fn judge(policy_set: &str, call: Call) -> Verdict {
    if knows(policy_set) {
        let record = GateRecord::new(Decision::Allow, policy_set);
        return Verdict::Allowed(Authorized { inner: call }, record);
    }
    Verdict::Halted(GateRecord::new(Decision::Halt, policy_set))
}
