//! What people want of a run while it is driven: that it ends, stands still, or goes on.

use runproof_proof::event::Actor;

use crate::decide::Command;
use crate::ports::BoxFuture;
use crate::run::Run;

/// What somebody can want of a run that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is to end. Calls under way are dropped.
    Cancel,
    /// It is to begin nothing more. Calls under way are waited for.
    Pause,
    /// It is to go on.
    Resume,
}

impl Wish {
    /// Whether the run is as it is wanted, or can no longer be.
    pub fn is_met(self, run: &Run) -> bool {
        run.seal.is_some()
            || run.cancel.is_some()
            || match self {
                Self::Cancel => false,
                Self::Pause => run.paused.is_some(),
                Self::Resume => run.paused.is_none(),
            }
    }
}

/// A wish, with whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What they want.
    pub wish: Wish,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
}

impl From<Asked> for Command {
    fn from(Asked { wish, actor, reason }: Asked) -> Self {
        match wish {
            Wish::Cancel => Self::Cancel { actor, reason },
            Wish::Pause => Self::Pause { actor, reason },
            Wish::Resume => Self::Resume { actor, reason },
        }
    }
}

/// Tells a driver what people want of its run.
pub trait Signals: Send + Sync {
    /// The newest wish. A cancellation is the last one: none after it counts.
    fn asked(&self) -> Option<Asked>;
    /// Ends when the newest wish is another one than this.
    fn other_than(&self, wish: Option<Wish>) -> BoxFuture<'_, ()>;
}

pub(super) fn wish(signals: &dyn Signals) -> Option<Wish> {
    signals.asked().map(|asked| asked.wish)
}

/// Whether somebody wants the run to be cancelled.
pub(super) fn is_cancelled(signals: &dyn Signals) -> bool {
    wish(signals) == Some(Wish::Cancel)
}

/// Ends when somebody wants the run to be cancelled.
pub(super) async fn cancelled(signals: &dyn Signals) {
    while !is_cancelled(signals) {
        signals.other_than(wish(signals)).await;
    }
}

/// What is wanted of the run and not on its record yet.
pub(super) fn unmet(signals: &dyn Signals, run: &Run) -> Option<Asked> {
    signals.asked().filter(|asked| !asked.wish.is_met(run))
}

/// Ends when something is wanted of the run that is not on its record yet.
pub(super) async fn wanted(signals: &dyn Signals, run: &Run) {
    while unmet(signals, run).is_none() {
        signals.other_than(wish(signals)).await;
    }
}
