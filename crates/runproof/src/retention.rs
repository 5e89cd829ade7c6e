//! Runs that are over on their way out: into their archive, and later to their tombstone. Nothing is removed that was not
//! verified right before, and nothing that a hold is on.
//!
//! The order of the transactions, and what a crash between them costs: docs/design/0016-retention.md.

use std::time::Duration;

use runproof_engine::projection::rfc3339;
use runproof_engine::replay;
use runproof_proof::bundle::Bundle;
use runproof_proof::event::{Actor, Body};
use runproof_proof::finding::Verdict;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use runproof_store::{CommandError, NewArchive, Retention, Stamp, Store};

use crate::engine::no_run;
use crate::error::{AppError, Code};
use crate::prove::{Kept, Proof, prove};
use crate::runtime;

/// A run of a tenant, and how long it has to have been where it is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Run.
    pub run_id: &'a str,
    /// Least time since the seal (to archive) or since the archiving (to purge), in microseconds.
    pub min_age: u64,
}

/// Moves a run that is over into its archive and removes its rows. Finishes what a crash left unfinished.
///
/// # Errors
/// [`AppError`]: not over, too young, held, archived already, or not VERIFIED. Its rows are still there.
pub async fn archive(store: &dyn Store, trust: &Trust, wanted: Wanted<'_>, actor: Actor) -> Result<(), AppError> {
    let Wanted { tenant, run_id, min_age } = wanted;
    let proof = proved(store, trust, tenant, run_id).await?;
    if let Kept::Archive { .. } = proof.kept {
        return Err(CommandError::Archived(run_id.to_owned()).into());
    }
    let new = to_archive(&proof, run_id, min_age)?;
    let stamp = || Stamp { now: runtime::now(), seed: runtime::random(), actor: actor.clone() };
    if store.evidence(tenant, run_id).await?.archive.is_none() {
        store.retain(tenant, Retention::Archive(Box::new(new)), stamp()).await?;
    }
    // A crash here leaves rows and archive; the next call goes on from here.
    let stored = store.evidence(tenant, run_id).await?.archive;
    let stored = stored.ok_or_else(|| AppError::from(CommandError::NotArchived(run_id.to_owned())))?;
    let report = read_back(&stored.bundle, trust);
    if report.verdict() != Verdict::Verified || report.run_id != run_id || report.tenant_id != tenant {
        return Err(unverified(run_id, "its archive, read back,", &report));
    }
    store.retain(tenant, Retention::Remove { run_id: run_id.to_owned() }, stamp()).await?;
    Ok(())
}

/// Puts the tombstone of a run in place of its archive.
///
/// # Errors
/// [`AppError`]: not archived, too young, held, or not VERIFIED. The archive is still there.
pub async fn purge(store: &dyn Store, trust: &Trust, wanted: Wanted<'_>, actor: Actor) -> Result<(), AppError> {
    let Wanted { tenant, run_id, min_age } = wanted;
    let proof = proved(store, trust, tenant, run_id).await?;
    let Kept::Archive { archived_at } = &proof.kept else {
        return Err(CommandError::NotArchived(run_id.to_owned()).into());
    };
    if *archived_at > rfc3339(runtime::now().saturating_sub(min_age)) {
        return Err(too_young(run_id, "archived", archived_at, min_age));
    }
    let stamp = Stamp { now: runtime::now(), seed: runtime::random(), actor };
    store.retain(tenant, Retention::Purge { run_id: run_id.to_owned() }, stamp).await?;
    Ok(())
}

/// The proof of a run that is VERIFIED now.
async fn proved(store: &dyn Store, trust: &Trust, tenant: &str, run_id: &str) -> Result<Proof, AppError> {
    let proof = prove(store, tenant, run_id, trust, None).await?.ok_or_else(|| no_run(tenant, run_id))?;
    match (&proof.kept, proof.report.verdict()) {
        (Kept::Tombstone(_), _) => Err(CommandError::Purged(run_id.to_owned()).into()),
        (_, Verdict::Verified) => Ok(proof),
        (_, Verdict::Open) => Err(CommandError::RunOpen(run_id.to_owned()).into()),
        (_, _) => Err(unverified(run_id, "it", &proof.report)),
    }
}

fn to_archive(proof: &Proof, run_id: &str, min_age: u64) -> Result<NewArchive, AppError> {
    let none = || AppError::from(CommandError::RunOpen(run_id.to_owned()));
    let mut bundle = proof.bundle.clone().ok_or_else(none)?;
    bundle.consistency = None;
    bundle.header.since = None;
    let events = || bundle.entries.iter().map(|entry| &entry.event);
    let (Some(first), Some(last)) = (events().next(), events().next_back()) else { return Err(none()) };
    let (Body::RunCreated(created), Body::RunSealed(seal)) = (&first.body, &last.body) else { return Err(none()) };
    if last.at > runtime::now().saturating_sub(min_age) {
        return Err(too_young(run_id, "sealed", &rfc3339(last.at), min_age));
    }
    let unwritable = |problem: &dyn std::fmt::Display| {
        AppError::new(Code::BundleEncode, format!("the bundle of run `{run_id}` cannot be written: {problem}"))
            .hint("`runproof proof` without --bundle says what is wrong")
    };
    Ok(NewArchive {
        run_id: run_id.to_owned(),
        run_no: created.run_no,
        leaves: proof.leaves.clone().ok_or_else(|| unwritable(&"its events are not in order in the ledger"))?,
        run_root: seal.run_root,
        erasures: bundle.records.len() as u64,
        bundle: bundle.encode().map_err(|error| unwritable(&error))?,
    })
}

/// Verifies stored bytes under the keys alone: what was signed since the bundle was made says nothing about the bytes.
fn read_back(bytes: &[u8], trust: &Trust) -> Report {
    let keys = Trust { heads: Vec::new(), ..trust.clone() };
    match Bundle::parse(bytes) {
        Ok(bundle) => {
            let mut report = examine(&bundle, &keys);
            replay::check(&bundle, &mut report);
            report
        }
        Err(_) => runproof_proof::verify::verify(bytes, &keys),
    }
}

fn unverified(run_id: &str, what: &str, report: &Report) -> AppError {
    let why =
        report.decisive().map_or_else(String::new, |finding| format!(": {} {}", finding.code.word(), finding.place));
    let message = format!("run `{run_id}` stays as it is: {what} is {}{why}", report.verdict().word());
    AppError::new(Code::ArchiveUnverified, message).hint(format!("runproof proof {run_id} says more"))
}

fn too_young(run_id: &str, what: &str, since: &str, min_age: u64) -> AppError {
    let least = Duration::from_micros(min_age).as_secs();
    AppError::new(Code::RunTooYoung, format!("run `{run_id}` was {what} at {since}, less than {least} s ago"))
        .hint("wait, or lower --min-age")
}
