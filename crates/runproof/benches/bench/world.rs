//! A home of its own with the real store, the real key and the real driver, and one skill that answers at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runproof::app::{App, Database};
use runproof::engine::{Command, Engine};
use runproof::home::Home;
use runproof::runtime::{self, EnvSecrets, SystemClock, SystemEntropy};
use runproof::worker::member::Member;
use runproof_engine::admission::RunRequest;
use runproof_engine::driver::Driver;
use runproof_engine::ports::{Journal, Lease, Observer};
use runproof_engine::projection::rfc3339;
use runproof_engine::skill::{
    Attempt, AttemptResult, CostModel, Dispatch, EffectClass, Idempotency, Limits, Manifest, ParamFinding, Skill,
    Skills,
};
use runproof_proof::event::{Actor, ActorType};
use runproof_skills::egress::Egress;
use runproof_store::sqlite::{self, SqliteStore};
use runproof_store::{Store, TenantChange};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Outcome;

/// Tenant and agent of every run.
pub(crate) const TENANT: &str = "bench";
/// Steps of a run under load. Each is durable by itself.
pub(crate) const STEPS: usize = 5;

/// A home with an engine.
pub(crate) struct World {
    /// The engine, as a worker has it.
    pub(crate) engine: Arc<Engine>,
    /// Its store.
    pub(crate) store: Arc<SqliteStore>,
    /// Where everything is.
    pub(crate) app: App,
    /// The database file.
    pub(crate) path: PathBuf,
    folder: TempDir,
}

impl World {
    /// Makes a home below `parent`, with a tenant and an agent, and becomes its engine.
    pub(crate) async fn new(parent: &Path, observer: Arc<dyn Observer>) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(parent)?;
        let home = Home::at(folder.path().to_owned());
        let path = folder.path().join("runproof.db");
        let database = Database::Sqlite(path.clone());
        let app = App { home, database, egress: Egress::parse("")?, test_skills: false };
        app.home.create("example.org/bench")?;
        sqlite::create(&path, &rfc3339(runtime::now()))?;
        SqliteStore::create_ledger(&path, app.home.notary()?, runtime::random())?;
        let store = Arc::new(SqliteStore::open_engine(&path, app.home.notary()?)?);
        let engine = engine(Arc::clone(&store) as Arc<dyn Store>, observer, None)?;
        create_tenant(&engine, TENANT).await?;
        Ok(Self { engine, store, app, path, folder })
    }

    /// Stops the engine, which closes the write-ahead log into the database, and gives back the folder.
    pub(crate) fn close(self) -> TempDir {
        let Self { engine, store, folder, .. } = self;
        drop((engine, store));
        folder
    }
}

/// The engine of a worker over a store, with one skill. `bytes` is the size of the text that a step puts out.
pub(crate) fn engine(store: Arc<dyn Store>, observer: Arc<dyn Observer>, bytes: Option<usize>) -> Outcome<Arc<Engine>> {
    let mut skills = Skills::default();
    skills.register(Arc::new(Echo { manifest: manifest(), bytes }))?;
    let member = Member::new(Arc::clone(&store));
    let driver = Driver {
        journal: Arc::clone(&store) as Arc<dyn Journal>,
        skills,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        secrets: Arc::new(EnvSecrets),
        lease: Arc::clone(&member) as Arc<dyn Lease>,
        observer,
    };
    Ok(Arc::new(Engine::new(store, driver, member)))
}

/// Makes a tenant with an agent of the same name.
pub(crate) async fn create_tenant(engine: &Engine, tenant: &str) -> Outcome<()> {
    for change in [TenantChange::Create, TenantChange::CreateAgent { id: tenant.to_owned(), name: tenant.to_owned() }] {
        engine.execute(Command::Tenant { tenant: tenant.to_owned(), change, actor: actor() }).await?;
    }
    Ok(())
}

/// Who asks for everything here.
pub(crate) fn actor() -> Actor {
    Actor { authenticated_by: "none".to_owned(), id: None, actor_type: ActorType::System }
}

/// A request for a run of a plan.
pub(crate) fn request(plan: Value) -> RunRequest {
    RunRequest {
        run_id: runtime::new_id(),
        tenant: TENANT.to_owned(),
        agent: TENANT.to_owned(),
        goal: "measure".to_owned(),
        plan: Some(plan),
        inputs: None,
        origin_system_id: "bench".to_owned(),
        actor: actor(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    }
}

/// The plan under load.
pub(crate) fn plan() -> Value {
    let step = |index| json!({ "id": format!("s{index}"), "skill": "echo", "with": { "order": index, "text": "ship one lamp" } });
    json!({ "schema": "runproof.plan/v1", "steps": (0..STEPS).map(step).collect::<Vec<_>>() })
}

/// Answers at once, with a value of about 200 bytes or with a text of the size that is wanted. Its effect is idempotent,
/// so every step has its own durable intent and outcome.
struct Echo {
    manifest: Manifest,
    bytes: Option<usize>,
}

fn manifest() -> Manifest {
    Manifest {
        name: "echo",
        version: "1.0.0",
        description: "Answers at once.",
        input_schema: json!({ "type": "object" }),
        output_schema: json!({ "type": "object" }),
        effects: &[EffectClass::Idempotent],
        idempotency: Idempotency::Key("key"),
        cost: CostModel::PerAttempt(1000),
        secret_params: &[],
        limits: Limits {
            max_input_bytes: 65_536,
            max_output_bytes: 65_536,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(30),
        },
        errors: &[],
        test_only: true,
    }
}

#[async_trait]
impl Skill for Echo {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, _params: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn check(&self, _params: &Value) -> Vec<ParamFinding> {
        Vec::new()
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        let output = match self.bytes {
            Some(bytes) => json!("v".repeat(bytes)),
            None => json!({
                "accepted": true,
                "carrier": "a courier that comes on foot",
                "echo": dispatch.params(),
                "lines": [{ "sku": "lamp-1990", "count": 3 }, { "sku": "chair-4950", "count": 1 }],
            }),
        };
        Attempt { result: AttemptResult::Done { output }, cost_microcents: 1000, writes: Vec::new() }
    }
}
