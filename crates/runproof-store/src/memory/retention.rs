//! Archives, tombstones and holds.

use std::collections::BTreeMap;

use runproof_engine::projection::{Cell, Row, rfc3339};
use runproof_proof::event::{Body, Stream};

use super::{Key, State};
use crate::retention::{Standing, archived, hold_row, purged};
use crate::{ArchiveRow, CommandError, HoldRow, KeptRun, Retention, Stamp, TombstoneRow, plain_event};

pub(super) fn list_kept(
    archives: &BTreeMap<Key, ArchiveRow>,
    tombstones: &BTreeMap<Key, TombstoneRow>,
) -> Vec<KeptRun> {
    let kept = |(tenant_id, run_id): &Key, run_no, state, since: &str, leaves: &str| KeptRun {
        tenant_id: tenant_id.clone(),
        run_id: run_id.clone(),
        run_no,
        state,
        since: since.to_owned(),
        leaves: leaves.to_owned(),
    };
    let archived = archives.iter().map(|(key, row)| kept(key, row.run_no, "archived", &row.archived_at, &row.leaves));
    let purged = tombstones.iter().map(|(key, row)| kept(key, row.run_no, "purged", &row.purged_at, &row.leaves));
    let mut all: Vec<KeptRun> = archived.chain(purged).collect();
    all.sort_by(|a, b| (&a.tenant_id, a.run_no).cmp(&(&b.tenant_id, b.run_no)));
    all
}

fn text(row: &Row, column: &str) -> Option<String> {
    match row.get(column) {
        Cell::Text(text) => Some(text.clone()),
        Cell::Null | Cell::Int(_) => None,
    }
}

/// Sets a column of a row.
fn set(row: &mut Row, column: &str, value: &str) {
    if let Some((_, cell)) = row.cells.iter_mut().find(|(name, _)| *name == column) {
        *cell = Cell::Text(value.to_owned());
    }
}

fn is_held(row: &Row) -> bool {
    row.table == "holds" && *row.get("lifted_at") == Cell::Null
}

impl State {
    fn standing(&self, tenant: &str, run_id: &str) -> Standing {
        let key = (tenant.to_owned(), run_id.to_owned());
        let rows = || self.rows.get(&key).into_iter().flatten();
        Standing {
            has_rows: !self.stream(tenant, &format!("run/{run_id}")).is_empty(),
            is_over: rows().any(|row| row.table == "run_seals"),
            is_archived: self.archives.contains_key(&key),
            is_purged: self.tombstones.contains_key(&key),
            is_held: rows().any(is_held),
            erasures: rows().filter(|row| row.table == "erasures").count() as u64,
        }
    }

    pub(super) fn place_hold(
        &mut self,
        tenant: &str,
        run_id: &str,
        seq: u64,
        reason: &str,
        at: String,
    ) -> Result<(), CommandError> {
        let standing = self.standing(tenant, run_id);
        standing.exists(tenant, run_id)?;
        if standing.is_held {
            return Err(CommandError::Held(run_id.to_owned()));
        }
        let row = hold_row(tenant, run_id, seq, reason, at, None);
        self.rows.entry((tenant.to_owned(), run_id.to_owned())).or_default().push(row);
        Ok(())
    }

    pub(super) fn lift_hold(&mut self, tenant: &str, run_id: &str, at: String) -> Result<(), CommandError> {
        self.standing(tenant, run_id).exists(tenant, run_id)?;
        let rows = self.rows.get_mut(&(tenant.to_owned(), run_id.to_owned()));
        let hold = rows.into_iter().flatten().find(|row| is_held(row));
        set(hold.ok_or_else(|| CommandError::NotHeld(run_id.to_owned()))?, "lifted_at", &at);
        Ok(())
    }

    pub(super) fn list_holds(&self, tenant: &str) -> Vec<HoldRow> {
        let ours = self.rows.iter().filter(|((owner, _), _)| owner == tenant);
        let mut holds: Vec<(Cell, HoldRow)> = ours
            .flat_map(|((_, run_id), rows)| rows.iter().map(move |row| (run_id, row)))
            .filter(|(_, row)| row.table == "holds")
            .map(|(run_id, row)| {
                let hold = HoldRow {
                    tenant_id: tenant.to_owned(),
                    run_id: run_id.clone(),
                    reason: text(row, "reason").unwrap_or_default(),
                    placed_at: text(row, "placed_at").unwrap_or_default(),
                    lifted_at: text(row, "lifted_at"),
                };
                (row.get("seq").clone(), hold)
            })
            .collect();
        holds.sort_by_key(|(seq, _)| if let Cell::Int(seq) = seq { *seq } else { i64::MAX });
        holds.into_iter().map(|(_, hold)| hold).collect()
    }

    pub(super) fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Vec<String> {
        let ours = self.rows.keys().filter(|(owner, _)| owner == tenant);
        let over = ours.filter_map(|key| Some((self.listing(key)?.completed_at?, key.1.clone())));
        let mut over: Vec<(String, String)> = over.filter(|(at, _)| at.as_str() <= time).collect();
        over.sort();
        over.into_iter().take(limit).map(|(_, run_id)| run_id).collect()
    }

    pub(super) fn retain(&mut self, tenant: &str, step: &Retention, stamp: &Stamp) -> Result<(), CommandError> {
        self.standing(tenant, step.run_id()).allows(tenant, step)?;
        let key = (tenant.to_owned(), step.run_id().to_owned());
        match step {
            Retention::Archive(new) => {
                let at = self.record(tenant, archived(new), stamp)?;
                for row in self.rows.get_mut(&key).into_iter().flatten() {
                    if matches!(row.table, "aos_traces" | "aos_trace_steps") {
                        set(row, "archived_at", &at);
                    }
                }
                self.archives.insert(key, ArchiveRow::of(new, at));
            }
            Retention::Remove { run_id } => {
                let stream = format!("run/{run_id}");
                self.transitions.retain(|row| row.tenant != tenant || row.stream != stream);
                if let Some(rows) = self.rows.get_mut(&key) {
                    rows.retain(|row| row.table == "holds");
                }
            }
            Retention::Purge { run_id } => {
                let row = self.archives.get(&key).ok_or_else(|| CommandError::NotArchived(run_id.clone()))?;
                let (body, mut tombstone) = purged(tenant, run_id, row, stamp)?;
                tombstone.purged_at = self.record(tenant, body, stamp)?;
                self.archives.remove(&key);
                self.tombstones.insert(key, tombstone);
            }
        }
        self.commit();
        Ok(())
    }

    /// Writes an event of the tenant's stream; answers its time as columns show it.
    fn record(&mut self, tenant: &str, body: Body, stamp: &Stamp) -> Result<String, CommandError> {
        let found = self.heads.get(tenant).cloned();
        let (head, runs) = found.ok_or_else(|| CommandError::NoTenant(tenant.to_owned()))?;
        let event = plain_event(&self.log, tenant, body, &head, stamp)?;
        let stream = Stream::Tenant(tenant.to_owned());
        self.transition(tenant, &stream, head.next_seq, std::slice::from_ref(&event.line));
        let at = rfc3339(event.head.last_at);
        self.heads.insert(tenant.to_owned(), (event.head, runs));
        Ok(at)
    }
}
