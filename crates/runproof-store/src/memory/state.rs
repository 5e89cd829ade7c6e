//! What the reference store keeps, and what each of its commands does to that.

use std::collections::BTreeMap;

use runproof_engine::admission::{self, Admitted, StreamHead};
use runproof_engine::audit::RawRow;
use runproof_engine::draft::Line;
use runproof_engine::ports::{Append, Claim, Claimed, Claims, Fence, StoreError, Stored, UNREADABLE_FOR, Unreadable};
use runproof_engine::projection::{self, Cell, Row, RowChanges, rfc3339};
use runproof_engine::run::Run;
use runproof_engine::skill::{Guard, Write};
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{FORMAT_LEVEL, Stream};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use crate::tree::{TileId, subtree_root};
use crate::turns::{self, Room, Turn};
use crate::{
    AgentRow, ArchiveRow, CommandError, Notary, Opened, Request, RunListing, Stamp, TenantChange, TombstoneRow,
    TransitionRow, Tree, claimed, fold, tenant_event, without_value,
};

/// Tables whose rows belong to a run.
pub(super) const RUN_TABLES: [&str; 6] = ["runs", "aos_traces", "aos_trace_steps", "run_seals", "erasures", "holds"];

/// Tenant and id of something that belongs to it.
pub(super) type Key = (String, String);

pub(super) struct State {
    pub(super) log: String,
    pub(super) notary: Box<dyn Notary>,
    pub(super) mute: bool,
    pub(super) tree: Tree,
    pub(super) tiles: BTreeMap<TileId, Vec<Hash>>,
    pub(super) transitions: Vec<TransitionRow>,
    pub(super) heads: BTreeMap<String, (StreamHead, u64)>,
    pub(super) agents: BTreeMap<Key, AgentRow>,
    pub(super) queue: BTreeMap<Key, Queued>,
    pub(super) keys: BTreeMap<Key, (Hash, String)>,
    pub(super) rows: BTreeMap<Key, Vec<Row>>,
    pub(super) values: BTreeMap<Key, Stored>,
    /// Signed notes, by size.
    pub(super) checkpoints: BTreeMap<u64, String>,
    /// When each tenant was created.
    pub(super) tenants: BTreeMap<String, String>,
    /// Most runs that are going, by tenant and agent; under the empty agent: of the tenant.
    pub(super) limits: BTreeMap<Key, u32>,
    /// Commands of other processes, each with its answer once there is one.
    pub(super) requests: Vec<(Request, Option<String>)>,
    pub(super) next_request: i64,
    pub(super) archives: BTreeMap<Key, ArchiveRow>,
    pub(super) tombstones: BTreeMap<Key, TombstoneRow>,
}

#[derive(Default)]
pub(super) struct Queued {
    pub(super) agent: String,
    pub(super) priority: u8,
    pub(super) format: u32,
    pub(super) owner: Option<String>,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    pub(super) head: Hash,
    pub(super) wake_at: Option<u64>,
}

impl State {
    pub(super) fn transition(&mut self, tenant: &str, stream: &Stream, first_seq: u64, lines: &[Line]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let events: Vec<String> = lines.iter().map(|line| text(&line.bytes)).collect();
        let payloads: Vec<String> =
            lines.iter().map(|line| text(line.payload.as_deref().unwrap_or_default())).collect();
        self.transitions.push(TransitionRow {
            first_leaf: Some(self.tree.size()),
            arrival: None,
            tenant: tenant.to_owned(),
            stream: stream.name(),
            first_seq,
            event_count: lines.len() as u64,
            events: events.join("\n"),
            payloads: payloads.join("\n"),
        });
        for line in lines {
            self.tree.push(line.leaf);
        }
    }

    /// Makes what was written count: tiles, and the checkpoint over them.
    pub(super) fn commit(&mut self) {
        self.tiles.extend(self.tree.take_dirty());
        if self.mute {
            return;
        }
        let head = Checkpoint { origin: self.log.clone(), size: self.tree.size(), root: self.tree.root() };
        let note = head.sign(self.notary.signer());
        match self.notary.keep(&note, None) {
            Ok(()) => {
                self.checkpoints.insert(head.size, note);
            }
            Err(_) => self.mute = true, // as the other stores do: unsigned runs are UNANCHORED and say so
        }
    }

    pub(super) fn stream(&self, tenant: &str, stream: &str) -> Vec<TransitionRow> {
        of_stream(&self.transitions, tenant, stream)
    }

    pub(super) fn load(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError> {
        let transitions = self.stream(tenant, &format!("run/{run_id}"));
        if transitions.is_empty()
            && let Some(archive) = self.archives.get(&(tenant.to_owned(), run_id.to_owned()))
        {
            return crate::retention::run_of(&self.log, tenant, run_id, &archive.bundle).map(Some);
        }
        fold(&self.log, tenant, run_id, &transitions)
    }

    pub(super) fn open_run(
        &mut self,
        admitted: &Admitted,
        owner: Option<String>,
        stamp: &Stamp,
    ) -> Result<Opened, CommandError> {
        let request = &admitted.request;
        let key = (request.tenant.clone(), request.run_id.clone());
        let found = self.heads.get(&request.tenant).cloned();
        let (head, runs) = found.ok_or_else(|| CommandError::NoTenant(request.tenant.clone()))?;
        let idempotency = request.idempotency_key.as_ref().map(|word| (request.tenant.clone(), word.clone()));
        if let Some((digest, run_id)) = idempotency.as_ref().and_then(|word| self.keys.get(word)) {
            if *digest != admitted.digest {
                let key = request.idempotency_key.clone().unwrap_or_default();
                return Err(CommandError::KeyReused { key, run_id: run_id.clone() });
            }
            let missing = || StoreError::Corrupt {
                at: "idempotency_keys".to_owned(),
                problem: format!("run `{run_id}` has no events"),
            };
            if self.tombstones.contains_key(&(request.tenant.clone(), run_id.clone())) {
                return Err(CommandError::Purged(run_id.clone()));
            }
            let run = self.load(&request.tenant, run_id)?.ok_or_else(missing)?;
            return Ok(Opened { run, fence: None, existing: true });
        }
        if !self.agents.contains_key(&(request.tenant.clone(), request.agent.clone())) {
            return Err(CommandError::NoAgent { tenant: request.tenant.clone(), agent: request.agent.clone() });
        }
        if self.rows.contains_key(&key) || self.archives.contains_key(&key) || self.tombstones.contains_key(&key) {
            return Err(CommandError::Refused(format!("run `{}` exists already", request.run_id)));
        }
        let opening = admission::open(admitted, &self.log, &head, runs + 1, stamp.now, stamp.seed)
            .map_err(|error| CommandError::Refused(error.to_string()))?;
        let tenant_stream = Stream::Tenant(request.tenant.clone());
        self.transition(&request.tenant, &tenant_stream, head.next_seq, std::slice::from_ref(&opening.tenant_line));
        self.transition(&request.tenant, &Stream::Run(request.run_id.clone()), 0, &opening.lines);
        self.heads.insert(request.tenant.clone(), (opening.tenant_head, runs + 1));
        let run = opening.run;
        self.rows.insert(key.clone(), projection::rows(&run));
        if let Some(word) = idempotency {
            self.keys.insert(word, (admitted.digest, request.run_id.clone()));
        }
        let owner = owner.filter(|_| run.seal.is_none());
        if run.seal.is_none() {
            let (epoch, wake_at) = if owner.is_some() { (1, None) } else { (0, Some(stamp.now)) };
            let queued = Queued {
                agent: request.agent.clone(),
                priority: request.priority,
                format: FORMAT_LEVEL,
                owner: owner.clone(),
                epoch,
                next_seq: run.next_seq,
                head: run.head,
                wake_at,
            };
            self.queue.insert(key, queued);
        }
        self.commit();
        Ok(Opened { run, fence: owner.map(|owner| Fence { owner, epoch: 1 }), existing: false })
    }

    pub(super) fn append(&mut self, append: &Append) -> Result<(), StoreError> {
        let Append { tenant, run_id, fence, expected_seq, expected_head, lines, rows, writes, claim } = append;
        let key = (tenant.clone(), run_id.clone());
        let held = self.queue.get(&key).is_some_and(|queued| {
            queued.owner.as_ref() == Some(&fence.owner)
                && queued.epoch == fence.epoch
                && queued.next_seq == *expected_seq
                && queued.head == *expected_head
        });
        if !held {
            return Err(StoreError::Conflict(run_id.clone()));
        }
        self.values = self.written(tenant, writes)?;
        if !lines.is_empty() {
            self.transition(tenant, &Stream::Run(run_id.clone()), *expected_seq, lines);
        }
        let (owner, wake_at) = match claim {
            Claim::Keep => (Some(fence.owner.clone()), None),
            Claim::Release(at) => (None, Some(*at)),
            Claim::Park | Claim::End => (None, None),
        };
        if *claim == Claim::End {
            self.queue.remove(&key);
        } else {
            let head = lines.last().map_or(*expected_head, |line| line.leaf);
            let next_seq = expected_seq + lines.len() as u64;
            if let Some(queued) = self.queue.get_mut(&key) {
                *queued = Queued { owner, next_seq, head, wake_at, ..std::mem::take(queued) };
            }
        }
        self.write_rows(&key, rows);
        self.commit();
        Ok(())
    }

    pub(super) fn write_rows(&mut self, key: &Key, changes: &RowChanges) {
        let rows = self.rows.entry(key.clone()).or_default();
        for changed in changes.run.iter().chain(&changes.trace) {
            rows.retain(|row| row.table != changed.table);
            rows.push(changed.clone());
        }
        rows.extend(changes.steps.iter().chain(&changes.seal).cloned());
    }

    /// The values once the writes are made, each under its guard.
    pub(super) fn written(&self, tenant: &str, writes: &[Write]) -> Result<BTreeMap<Key, Stored>, StoreError> {
        let mut values = self.values.clone();
        let checked = |values: &BTreeMap<Key, Stored>, key: &str, guard: Guard| {
            let at = (tenant.to_owned(), key.to_owned());
            let held = guard.holds(values.get(&at).map(|stored| stored.version));
            if held { Ok(at) } else { Err(StoreError::Stale { key: key.to_owned() }) }
        };
        for write in writes {
            match write {
                Write::Put { key, value, expires_at, guard } => {
                    let stored = Stored { value: value.clone(), version: self.tree.size(), expires_at: *expires_at };
                    values.insert(checked(&values, key, *guard)?, stored);
                }
                Write::Delete { key, guard } => {
                    values.remove(&checked(&values, key, *guard)?);
                }
                Write::DeleteExpired { until } => {
                    let ours = values.iter().filter(|((owner, _), _)| owner == tenant);
                    let mut expired: Vec<(u64, Key)> = ours
                        .filter_map(|(key, stored)| Some((stored.expires_at?, key.clone())))
                        .filter(|(expires_at, _)| expires_at <= until)
                        .collect();
                    expired.sort();
                    for (_, key) in expired.iter().take(Write::MOST_EXPIRED as usize) {
                        values.remove(key);
                    }
                }
            }
        }
        Ok(values)
    }

    /// Due runs in turn: fair between tenants, by priority in one, and below every limit.
    pub(super) fn turns(&self, now: u64) -> Vec<Turn> {
        let mut due: BTreeMap<&str, Vec<(u8, u64, &str, &str)>> = BTreeMap::new();
        for ((tenant, run_id), queued) in &self.queue {
            if let (None, Some(at)) = (&queued.owner, queued.wake_at.filter(|at| *at <= now))
                && queued.format <= FORMAT_LEVEL
            {
                due.entry(tenant).or_default().push((u8::MAX - queued.priority, at, run_id, &queued.agent));
            }
        }
        let mut turns = Vec::new();
        for (tenant, mut runs) in due {
            let mut room = self.room(tenant);
            runs.sort_unstable();
            for (_, wake_at, run_id, agent) in runs {
                if let Some(running) = room.enter(agent) {
                    turns.push(Turn { running, wake_at, tenant: tenant.to_owned(), run_id: run_id.to_owned() });
                }
            }
        }
        turns
    }

    /// Runs of a tenant that somebody holds, and its limits, by agent.
    pub(super) fn room(&self, tenant: &str) -> Room {
        let mut running = BTreeMap::new();
        for ((owner, _), queued) in self.queue.iter().filter(|(_, queued)| queued.owner.is_some()) {
            if owner == tenant {
                *running.entry(queued.agent.clone()).or_default() += 1;
            }
        }
        let ours = self.limits.iter().filter(|((owner, _), _)| owner == tenant);
        Room::new(running, ours.map(|((_, agent), most)| (agent.clone(), u64::from(*most))).collect())
    }

    pub(super) fn claim_due(&mut self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        let mut claims = Claims::default();
        for Turn { tenant, run_id, .. } in turns::first(self.turns(now), limit) {
            let key = (tenant, run_id);
            match self.claim(owner, &key) {
                Ok(taken) => claims.taken.extend(taken),
                Err(problem) => {
                    if let Some(queued) = self.queue.get_mut(&key) {
                        queued.wake_at = Some(now.saturating_add(UNREADABLE_FOR));
                    }
                    claims.unreadable.push(Unreadable { tenant: key.0, run_id: key.1, problem });
                }
            }
        }
        Ok(claims)
    }

    pub(super) fn claim(&mut self, owner: &str, key: &Key) -> Result<Option<Claimed>, StoreError> {
        let missing = || StoreError::Corrupt {
            at: format!("run_queue[run_id={}]", key.1),
            problem: "the run has no events".to_owned(),
        };
        if self.queue.get(key).is_none_or(|queued| queued.owner.is_some()) {
            return Ok(None);
        }
        let run = self.load(&key.0, &key.1)?.ok_or_else(missing)?;
        let Some(queued) = self.queue.get_mut(key) else { return Ok(None) };
        queued.owner = Some(owner.to_owned());
        queued.epoch += 1;
        Ok(Some(claimed(run, owner, queued.epoch)))
    }

    pub(super) fn change_tenant(
        &mut self,
        tenant: &str,
        change: &TenantChange,
        stamp: &Stamp,
    ) -> Result<(), CommandError> {
        let (head, runs) = match (self.heads.get(tenant).cloned(), change) {
            (Some(_), TenantChange::Create) => return Err(CommandError::TenantExists(tenant.to_owned())),
            (None, TenantChange::Create) => (StreamHead::default(), 0),
            (Some(found), _) => found,
            (None, _) => return Err(CommandError::NoTenant(tenant.to_owned())),
        };
        let event = tenant_event(&self.log, tenant, change, &head, stamp)?;
        let at = rfc3339(event.head.last_at);
        match change {
            TenantChange::Create => {
                self.tenants.insert(tenant.to_owned(), at);
            }
            TenantChange::CreateAgent { id, name } => {
                let key = (tenant.to_owned(), id.clone());
                if self.agents.contains_key(&key) {
                    return Err(CommandError::AgentExists(id.clone()));
                }
                let row = AgentRow { tenant_id: tenant.to_owned(), id: id.clone(), name: name.clone(), created_at: at };
                self.agents.insert(key, row);
            }
            TenantChange::Erase { run_id, seq, field, index, .. } => {
                self.erase(tenant, run_id, *seq, field, *index, at)?;
            }
            TenantChange::PlaceHold { run_id, reason } => {
                self.place_hold(tenant, run_id, head.next_seq, reason, at)?;
            }
            TenantChange::LiftHold { run_id, .. } => self.lift_hold(tenant, run_id, at)?,
        }
        self.transition(tenant, &Stream::Tenant(tenant.to_owned()), head.next_seq, std::slice::from_ref(&event.line));
        self.heads.insert(tenant.to_owned(), (event.head, runs));
        self.commit();
        Ok(())
    }

    pub(super) fn erase(
        &mut self,
        tenant: &str,
        run_id: &str,
        seq: u64,
        field: &str,
        index: Option<u32>,
        at: String,
    ) -> Result<(), CommandError> {
        let no_run = || CommandError::NoRun { tenant: tenant.to_owned(), run_id: run_id.to_owned() };
        if self.load(tenant, run_id)?.ok_or_else(no_run)?.seal.is_none() {
            return Err(CommandError::RunOpen(run_id.to_owned()));
        }
        if self.archives.contains_key(&(tenant.to_owned(), run_id.to_owned())) {
            return Err(CommandError::Archived(run_id.to_owned()));
        }
        let stream = format!("run/{run_id}");
        let of_run = |row: &&mut TransitionRow| row.tenant == tenant && row.stream == stream;
        let no_value = || CommandError::NoValue { run_id: run_id.to_owned(), seq, field: field.to_owned() };
        let row = self.transitions.iter_mut().filter(of_run).find(|row| row.holds(seq)).ok_or_else(no_value)?;
        row.payloads = without_value(row, run_id, seq, field, index)?;
        let int = |number: u64| Cell::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let cells = vec![
            ("tenant_id", Cell::Text(tenant.to_owned())),
            ("run_id", Cell::Text(run_id.to_owned())),
            ("seq", int(seq)),
            ("field", Cell::Text(field.to_owned())),
            ("part_index", index.map_or(Cell::Int(-1), |index| int(u64::from(index)))),
            ("erased_at", Cell::Text(at)),
        ];
        let row = Row { table: "erasures", key: &["seq", "field", "part_index"], cells };
        // `runs` has the only copies of values outside the payloads: an erased value must not stay there.
        let run = self.load(tenant, run_id)?.as_ref().map(projection::run_row);
        self.write_rows(&(tenant.to_owned(), run_id.to_owned()), &RowChanges { run, ..RowChanges::default() });
        self.rows.entry((tenant.to_owned(), run_id.to_owned())).or_default().push(row);
        Ok(())
    }

    pub(super) fn newest(&self) -> Option<String> {
        self.checkpoints.values().next_back().cloned()
    }

    pub(super) fn subtree_root(&self, range: Range) -> Result<Hash, StoreError> {
        let corrupt = || StoreError::Corrupt { at: "ledger_tiles".to_owned(), problem: "a tile is missing".to_owned() };
        subtree_root(range, &mut |id| self.tiles.get(&id).cloned()).ok_or_else(corrupt)
    }

    pub(super) fn listing(&self, (tenant, run_id): &Key) -> Option<RunListing> {
        let row = self.rows.get(&(tenant.clone(), run_id.clone()))?.iter().find(|row| row.table == "runs")?;
        let text = |column: &str| match row.get(column) {
            Cell::Text(text) => Some(text.clone()),
            Cell::Null | Cell::Int(_) => None,
        };
        let run_no = match row.get("run_no") {
            Cell::Int(number) => u64::try_from(*number).ok(),
            Cell::Null | Cell::Text(_) => None,
        };
        Some(RunListing {
            run_id: run_id.clone(),
            run_no,
            tenant_id: tenant.clone(),
            agent_id: text("agent_id")?,
            status: text("status")?,
            wait_reason: text("wait_reason"),
            wait_ref: text("wait_ref"),
            created_at: text("created_at")?,
            completed_at: text("completed_at"),
        })
    }
}

pub(super) fn of_stream(transitions: &[TransitionRow], tenant: &str, stream: &str) -> Vec<TransitionRow> {
    transitions.iter().filter(|row| row.tenant == tenant && row.stream == stream).cloned().collect()
}

/// Rows of a run by table, as a database would answer them.
pub(super) fn raw_rows(rows: Option<&Vec<Row>>) -> BTreeMap<&'static str, Vec<RawRow>> {
    let mut tables: BTreeMap<&'static str, Vec<RawRow>> = RUN_TABLES.iter().map(|table| (*table, Vec::new())).collect();
    for row in rows.into_iter().flatten() {
        let raw = row.cells.iter().map(|(column, cell)| ((*column).to_owned(), cell.clone())).collect();
        tables.entry(row.table).or_default().push(raw);
    }
    tables
}
