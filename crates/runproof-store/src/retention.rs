//! What is kept of runs whose rows go: the archive with the proof bundle, and the tombstone after it.
//!
//! The rules are the same in every store and stand here; how rows are read and written is each store's own.

use std::fmt;

use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Cell, Row};
use runproof_engine::run::Run;
use runproof_proof::bundle::Bundle;
use runproof_proof::event::{Body, TenantRunArchived, TenantRunPurged};
use runproof_proof::hash::{Hash, sha256};
use serde::Serialize;

use crate::{CommandError, Stamp};

/// Leaf indexes of a run's events in order, as ranges: `12-14,20`. There is one way to write a given list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves(Vec<(u64, u64)>);

impl Leaves {
    /// The ranges of a list of indexes. `None` when they do not ascend.
    pub fn of(indexes: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for index in indexes {
            match ranges.last_mut() {
                Some((_, last)) if index <= *last => return None,
                Some((_, last)) if index == *last + 1 => *last = index,
                Some(_) | None => ranges.push((index, index)),
            }
        }
        Some(Self(ranges))
    }

    /// Reads what [`Leaves`] writes. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number < 1 << 53);
        let mut ranges = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            ranges.push((number(first)?, number(last)?));
        }
        let leaves = Self(ranges);
        (leaves.to_string() == text && leaves.ascend()).then_some(leaves)
    }

    fn ascend(&self) -> bool {
        let each = self.0.iter().all(|(first, last)| first <= last);
        each && self.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0)
    }

    /// Each index, in order.
    pub fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The last one: the place of the seal.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }
}

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// A run that is to be archived: what was proved, and what has to be unchanged when it is written.
#[derive(Clone, Debug)]
pub struct NewArchive {
    /// Run.
    pub run_id: String,
    /// Its number in the tenant.
    pub run_no: u64,
    /// Places of its events.
    pub leaves: Leaves,
    /// The proof bundle.
    pub bundle: Vec<u8>,
    /// Root that its seal names.
    pub run_root: Hash,
    /// Erasures that the bundle has records of.
    pub erasures: u64,
}

/// A step of a run towards its tombstone.
#[derive(Clone, Debug)]
pub enum Retention {
    /// Writes the archive, the event, and `archived_at`. The rows stay.
    Archive(Box<NewArchive>),
    /// Removes the rows of an archived run. Where they are gone already there is nothing to do.
    Remove {
        /// Run.
        run_id: String,
    },
    /// Puts the tombstone in place of the archive.
    Purge {
        /// Run.
        run_id: String,
    },
}

impl Retention {
    /// Run that it is about.
    pub fn run_id(&self) -> &str {
        match self {
            Self::Archive(new) => &new.run_id,
            Self::Remove { run_id } | Self::Purge { run_id } => run_id,
        }
    }
}

/// A row of `archives`, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveRow {
    /// Number of the run in the tenant.
    pub run_no: u64,
    /// Places of its events.
    pub leaves: String,
    /// The proof bundle.
    pub bundle: Vec<u8>,
    /// SHA-256 of it.
    pub bundle_digest: String,
    /// When it was archived.
    pub archived_at: String,
}

/// A row of `tombstones`, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneRow {
    /// Number of the run in the tenant.
    pub run_no: u64,
    /// Places of its events.
    pub leaves: String,
    /// The event `run.sealed`.
    pub seal: String,
    /// Root that it names.
    pub run_root: String,
    /// When it was purged.
    pub purged_at: String,
}

/// A run that is archived or purged, in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptRun {
    /// Tenant.
    pub tenant_id: String,
    /// Run.
    pub run_id: String,
    /// Number of the run in the tenant.
    pub run_no: u64,
    /// `archived` or `purged`.
    pub state: &'static str,
    /// Since when.
    pub since: String,
    /// Places of its events.
    pub leaves: String,
}

/// A hold in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldRow {
    /// Tenant.
    pub tenant_id: String,
    /// Run that must not be removed.
    pub run_id: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub placed_at: String,
    /// Until when; `None`: it holds.
    pub lifted_at: Option<String>,
}

/// What a store knows of a run before a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It has events in rows.
    pub has_rows: bool,
    /// It is over, by its rows.
    pub is_over: bool,
    /// It has an archive.
    pub is_archived: bool,
    /// It has a tombstone.
    pub is_purged: bool,
    /// A hold is on it.
    pub is_held: bool,
    /// Values of it that were erased.
    pub erasures: u64,
}

impl Standing {
    /// Whether a step may be made now.
    pub(crate) fn allows(&self, tenant: &str, step: &Retention) -> Result<(), CommandError> {
        let run_id = step.run_id().to_owned();
        self.exists(tenant, &run_id)?;
        if self.is_held {
            return Err(CommandError::Held(run_id));
        }
        match step {
            Retention::Archive(_) if self.is_archived => Err(CommandError::Archived(run_id)),
            Retention::Archive(_) if !self.is_over => Err(CommandError::RunOpen(run_id)),
            Retention::Archive(new) if new.erasures != self.erasures => Err(StoreError::Conflict(run_id).into()),
            Retention::Remove { .. } | Retention::Purge { .. } if !self.is_archived => {
                Err(CommandError::NotArchived(run_id))
            }
            Retention::Purge { .. } if self.has_rows => Err(CommandError::NotArchived(run_id)),
            Retention::Archive(_) | Retention::Remove { .. } | Retention::Purge { .. } => Ok(()),
        }
    }

    /// Whether there is a run that something can be said about.
    pub(crate) fn exists(&self, tenant: &str, run_id: &str) -> Result<(), CommandError> {
        match (self.has_rows || self.is_archived, self.is_purged) {
            (_, true) => Err(CommandError::Purged(run_id.to_owned())),
            (false, false) => Err(CommandError::NoRun { tenant: tenant.to_owned(), run_id: run_id.to_owned() }),
            (true, false) => Ok(()),
        }
    }
}

/// The row of `holds` that an event calls for.
pub fn hold_row(
    tenant: &str,
    run_id: &str,
    seq: u64,
    reason: &str,
    placed_at: String,
    lifted_at: Option<String>,
) -> Row {
    let cells = vec![
        ("tenant_id", Cell::Text(tenant.to_owned())),
        ("run_id", Cell::Text(run_id.to_owned())),
        ("seq", Cell::Int(i64::try_from(seq).unwrap_or(i64::MAX))),
        ("reason", Cell::Text(reason.to_owned())),
        ("placed_at", Cell::Text(placed_at)),
        ("lifted_at", lifted_at.map_or(Cell::Null, Cell::Text)),
    ];
    Row { table: "holds", key: &["seq"], cells }
}

fn corrupt(run_id: &str, problem: impl ToString) -> StoreError {
    StoreError::Corrupt { at: format!("archives.bundle[run_id={run_id}]"), problem: problem.to_string() }
}

/// The run that a bundle holds.
///
/// # Errors
/// [`StoreError::Corrupt`]: it cannot be read, or is no run of this id.
pub fn run_of(log: &str, tenant: &str, run_id: &str, bundle: &[u8]) -> Result<Run, StoreError> {
    let bundle = Bundle::parse(bundle).map_err(|error| corrupt(run_id, error))?;
    let mut run = Run::new(log, tenant, run_id);
    for entry in &bundle.entries {
        let opened = entry.payload.as_ref().map(|payload| payload.open(&entry.event.commitments())).transpose();
        let opened = opened.map_err(|_| corrupt(run_id, "a value does not match its commitment"))?;
        let values = opened.map(|opened| opened.values).unwrap_or_default();
        run.apply(&entry.event, entry.leaf, &values).map_err(|error| corrupt(run_id, error))?;
        run.count(entry.event.encode().len(), entry.payload.as_ref().map(|payload| payload.as_bytes().len()));
    }
    Ok(run)
}

/// The event and the row of an archive. `at` is the time of the event.
pub(crate) fn archived(new: &NewArchive) -> Body {
    TenantRunArchived { run_id: new.run_id.clone(), run_root: new.run_root }.into()
}

impl ArchiveRow {
    pub(crate) fn of(new: &NewArchive, at: String) -> Self {
        Self {
            run_no: new.run_no,
            leaves: new.leaves.to_string(),
            bundle_digest: sha256(&new.bundle).hex(),
            bundle: new.bundle.clone(),
            archived_at: at,
        }
    }
}

/// The event of a purge, and the tombstone but for its time.
pub(crate) fn purged(
    tenant: &str,
    run_id: &str,
    archive: &ArchiveRow,
    stamp: &Stamp,
) -> Result<(Body, TombstoneRow), CommandError> {
    let bundle = Bundle::parse(&archive.bundle).map_err(|error| corrupt(run_id, error))?;
    let seal = bundle.entries.last().map(|entry| &entry.event);
    let Some((event, Body::RunSealed(sealed))) = seal.map(|event| (event, &event.body)) else {
        return Err(corrupt(run_id, format!("run `{run_id}` of `{tenant}` has no seal")).into());
    };
    let body = TenantRunPurged {
        actor: stamp.actor.clone(),
        event_count: sealed.event_count,
        run_id: run_id.to_owned(),
        run_root: sealed.run_root,
    };
    let row = TombstoneRow {
        run_no: archive.run_no,
        leaves: archive.leaves.clone(),
        seal: String::from_utf8_lossy(&event.encode()).into_owned(),
        run_root: sealed.run_root.hex(),
        purged_at: String::new(),
    };
    Ok((body.into(), row))
}

#[cfg(test)]
mod tests {
    use super::Leaves;

    #[test]
    fn leaves_are_written_in_one_way() {
        for (indexes, text) in [(vec![0], "0"), (vec![3, 4, 5, 9], "3-5,9"), (vec![1, 3, 5, 6], "1,3,5-6")] {
            let leaves = Leaves::of(indexes.clone()).unwrap();
            assert_eq!((leaves.to_string().as_str(), leaves.count()), (text, indexes.len() as u64));
            assert_eq!(Leaves::parse(text).unwrap().indexes().collect::<Vec<_>>(), indexes);
        }
        assert_eq!(Leaves::of([2, 2]), None);
        for text in ["", "-", "1-1", "2-1", "1,2", "1-2,3", "5,3", "+1", "01", "1-9007199254740992", "1,", " 1"] {
            assert_eq!(Leaves::parse(text), None, "{text}");
        }
    }
}
