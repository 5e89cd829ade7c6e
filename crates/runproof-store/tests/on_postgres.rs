//! The Postgres store under test, directly or through the pooler: a database of its own for each story.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use runproof_engine::ports::{KeyValues, StoreError, Stored};
use runproof_proof::checkpoint::Checkpoint;
use runproof_store::Store;
use runproof_store::postgres::{self, Address, PgStore};
use tokio::runtime::Runtime;

use crate::cluster::{self, Database};
use crate::doubles::block_on;
use crate::support::{Keeper, Subject};

/// Names under which stories claim runs: each has a lease, for longer than any story takes on a machine that is busy.
pub(crate) const WORKERS: &str = "INSERT INTO public.workers (id, version, host, concurrency, lease_until)
    SELECT 'w_' || n, '0.0.0', 'here', 1, clock_timestamp() + interval '1 hour' FROM generate_series(0, 9) AS n";

/// The runtime of every store under test.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

/// How a story reaches its database.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Direct,
    Pooled,
}

/// A migrated database with a ledger, made once; each story has a copy.
pub(crate) fn template() -> &'static (String, Checkpoint) {
    static TEMPLATE: OnceLock<(String, Checkpoint)> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let database = cluster::fresh_database();
        let keeper = Keeper::new(7, None);
        let address = Address::parse(&database.direct_url()).unwrap();
        runtime().block_on(async {
            postgres::create(&address, "2027-01-15T08:00:00.000000Z").await.unwrap();
            postgres::create_ledger(&address, keeper.notary(), [1; 32]).await.unwrap();
        });
        let name = database.name.clone();
        std::mem::forget(database); // it goes with the cluster: no story is the last one
        (name, keeper.last().unwrap())
    })
}

/// A database of its own, with an engine on it.
pub(crate) struct OnPostgres {
    pub(crate) store: Option<Arc<PgStore>>,
    pub(crate) keeper: Keeper,
    pub(crate) database: Database,
    way: Way,
}

impl OnPostgres {
    pub(crate) fn new(way: Way) -> Self {
        let (name, last) = template();
        let database = cluster::copy_of(name);
        let keeper = Keeper::new(7, Some(last.clone()));
        let mut subject = Self { store: None, keeper, database, way };
        subject.open();
        subject.raw(WORKERS);
        subject
    }

    /// An empty ledger, reached directly.
    pub(crate) fn direct() -> Box<dyn Subject> {
        Box::new(Self::new(Way::Direct))
    }

    /// An empty ledger, reached through the pooler.
    pub(crate) fn pooled() -> Box<dyn Subject> {
        Box::new(Self::new(Way::Pooled))
    }

    pub(crate) fn address(&self) -> Address {
        let url = match self.way {
            Way::Direct => self.database.direct_url(),
            Way::Pooled => self.database.pooled_url(),
        };
        let mut address = Address::parse(&url).unwrap();
        address.connections = 4; // many stories share one server
        address
    }

    fn open(&mut self) {
        let address = self.address();
        let opening = PgStore::open_engine(&address, runtime().handle(), Some(self.keeper.notary()));
        self.store = Some(Arc::new(runtime().block_on(opening).unwrap()));
    }

    pub(crate) fn pg(&self) -> Arc<PgStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    /// Statements of somebody who goes past the engine, as a superuser.
    pub(crate) fn raw(&self, statements: &str) {
        let url = self.database.direct_url();
        runtime().block_on(async {
            cluster::connect(&url).await.unwrap().batch_execute(statements).await.unwrap();
        });
    }
}

impl Subject for OnPostgres {
    fn store(&self) -> Arc<dyn Store> {
        self.pg() as _
    }

    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The process is gone, and its leases with it: as if all of its workers had died.
    fn restart(&mut self) {
        let store = self.store.take().expect("the store is open");
        assert_eq!(Arc::strong_count(&store), 1, "something else still holds the store");
        drop(store);
        self.open();
        self.raw("DELETE FROM public.workers");
        runtime().block_on(self.pg().reap()).unwrap();
        self.raw(WORKERS);
    }

    fn rewrite(&self, tenant: &str, run_id: &str, from: &str, to: &str) {
        runtime().block_on(self.pg().sequence()).unwrap(); // what was recorded has its leaf already
        self.raw(&format!(
            "ALTER TABLE public.transitions DISABLE TRIGGER transitions_update;
             UPDATE public.transitions SET events = replace(events, '{from}', '{to}')
                 WHERE tenant_id = '{tenant}' AND stream = 'run/{run_id}';
             ALTER TABLE public.transitions ENABLE TRIGGER transitions_update;"
        ));
    }

    fn set_format(&self, tenant: &str, run_id: &str, level: u32) {
        self.raw(&format!(
            "UPDATE public.run_queue SET format = {level} WHERE tenant_id = '{tenant}' AND run_id = '{run_id}'"
        ));
    }

    fn key_values(&self) -> Arc<dyn KeyValues> {
        Arc::new(Still(self.pg()))
    }
}

/// Values for a skill under a fake clock: whoever waits for the database does not let that clock go on.
struct Still(Arc<PgStore>);

#[async_trait]
impl KeyValues for Still {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        block_on(self.0.read(tenant, key))
    }
}
