//! The contracts of a store, over one SQLite file: reads on the reader's connection, writes by the writer thread.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use runproof_engine::admission::Admitted;
use runproof_engine::ports::{Append, Claimed, Claims, Fence, Journal, KeyValues, StoreError, Stored};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use super::{SqliteStore, apply, claim, read, retention, unavailable};
use crate::{
    AgentRow, CommandError, Evidence, HoldRow, KeptRun, LeaseTerms, LimitRow, Opened, Reaped, Request, Retention,
    RunListing, Snapshot, Stamp, Store, TenantChange, WorkerAbout, WorkerRow,
};

#[async_trait]
impl Journal for SqliteStore {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        self.submit(move |batch| apply::append(batch, &append)).await
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        let (owner, looked_at) = (owner.to_owned(), Arc::clone(&self.looked_at));
        self.submit(move |batch| {
            let mut after = looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            claim::claim(batch, &owner, now, limit, &mut after)
        })
        .await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        let (owner, tenant, run_id) = (owner.to_owned(), tenant.to_owned(), run_id.to_owned());
        self.submit(move |batch| claim::take(batch, &owner, &tenant, &run_id)).await
    }
}

#[async_trait]
impl KeyValues for SqliteStore {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        self.read(|connection| read::value(connection, tenant, key))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn open_run(&self, admitted: Admitted, owner: Option<String>, stamp: Stamp) -> Result<Opened, CommandError> {
        self.submit(move |batch| apply::open_run(batch, &admitted, owner.as_deref(), &stamp)).await
    }

    async fn change_tenant(&self, tenant: &str, change: TenantChange, stamp: Stamp) -> Result<(), CommandError> {
        let tenant = tenant.to_owned();
        self.submit(move |batch| apply::change_tenant(batch, &tenant, &change, &stamp)).await
    }

    async fn retain(&self, tenant: &str, step: Retention, stamp: Stamp) -> Result<(), CommandError> {
        let tenant = tenant.to_owned();
        self.submit(move |batch| retention::retain(batch, &tenant, &step, &stamp)).await
    }

    async fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read(|connection| retention::over_before(connection, tenant, time, limit))
    }

    async fn list_kept(&self, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
        self.read(|connection| retention::list_kept(connection, tenant))
    }

    async fn list_holds(&self, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
        self.read(|connection| retention::list_holds(connection, tenant))
    }

    async fn load_run(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError> {
        self.read(|connection| read::load_run(connection, &self.log, tenant, run_id))
    }

    async fn evidence(&self, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
        self.read(|connection| read::evidence(connection, &self.log, tenant, run_id))
    }

    async fn subtree_roots(&self, ranges: Vec<Range>) -> Result<Vec<Hash>, StoreError> {
        self.read(|connection| read::subtree_roots(connection, &ranges))
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.read(read::checkpoint)
    }

    async fn list_runs(&self, tenant: Option<&str>, limit: usize) -> Result<Vec<RunListing>, StoreError> {
        self.read(|connection| read::list_runs(connection, tenant, limit))
    }

    async fn list_agents(&self, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
        self.read(|connection| read::list_agents(connection, tenant))
    }

    fn log(&self) -> &str {
        &self.log
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    async fn ledger_key(&self) -> Result<Option<String>, StoreError> {
        self.read(|connection| Ok(read::ledger(connection)?.map(|(_, vkey)| vkey)))
    }

    async fn tree_size(&self) -> Result<u64, StoreError> {
        self.read(read::tree_size)
    }

    async fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        self.read(|connection| read::root_at(connection, size))
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.begin_snapshot()?))
    }

    async fn give_back(&self, tenant: &str, run_id: &str, fence: &Fence, at: u64) -> Result<(), StoreError> {
        let (tenant, run_id, fence) = (tenant.to_owned(), run_id.to_owned(), fence.clone());
        self.submit(move |batch| {
            let sql = include_str!("../../sql/sqlite/give_back.sql");
            batch.connection.execute(sql, (&tenant, &run_id, &fence.owner, fence.epoch, at)).map_err(unavailable)?;
            Ok(())
        })
        .await
    }

    async fn has_due(&self, at: u64) -> Result<bool, StoreError> {
        self.read(|connection| read::has_due(connection, at))
    }

    async fn leave_request(&self, tenant: &str, run_id: Option<&str>, body: &str) -> Result<i64, StoreError> {
        self.read(|connection| {
            let sql = "INSERT INTO requests (tenant_id, run_id, body) VALUES (?1, ?2, ?3) RETURNING id";
            connection.query_row(sql, (tenant, run_id, body), |row| row.get(0)).map_err(unavailable)
        })
    }

    async fn take_answer(&self, tenant: &str, id: i64) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            let sql = "DELETE FROM requests WHERE id = ?1 AND tenant_id = ?2 AND answer IS NOT NULL RETURNING answer";
            let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
            let mut rows = statement.query((id, tenant)).map_err(unavailable)?;
            rows.next().map_err(unavailable)?.map(|row| row.get(0).map_err(unavailable)).transpose()
        })
    }

    async fn withdraw_request(&self, tenant: &str, id: i64) -> Result<bool, StoreError> {
        self.read(|connection| {
            let sql = "DELETE FROM requests WHERE id = ?1 AND tenant_id = ?2 AND answer IS NULL";
            Ok(connection.execute(sql, (id, tenant)).map_err(unavailable)? > 0)
        })
    }

    async fn open_requests(&self, _worker: &str) -> Result<Vec<Request>, StoreError> {
        self.read(read::requests)
    }

    async fn answer_request(&self, request: &Request, answer: &str) -> Result<(), StoreError> {
        let (id, answer) = (request.id, answer.to_owned());
        self.submit(move |batch| {
            let sql = "UPDATE requests SET answer = ?2 WHERE id = ?1";
            batch.connection.execute(sql, (id, &answer)).map_err(unavailable)?;
            Ok(())
        })
        .await
    }

    fn lease(&self) -> Option<LeaseTerms> {
        None
    }

    async fn register_worker(&self, _worker: &str, _about: &WorkerAbout) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeat(&self, _worker: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn retire_worker(&self, _worker: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reap(&self) -> Result<Reaped, StoreError> {
        Ok(Reaped::default())
    }

    async fn list_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        Ok(Vec::new()) // whoever has the lock is the worker, and says nothing of itself
    }

    async fn set_limit(&self, tenant: &str, agent: Option<&str>, max_running: Option<u32>) -> Result<(), CommandError> {
        let (tenant, agent) = (tenant.to_owned(), agent.map(str::to_owned));
        self.submit(move |batch| claim::set_limit(batch, &tenant, agent.as_deref(), max_running)).await
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
        self.read(|connection| claim::limits(connection, tenant))
    }

    async fn sequence(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
