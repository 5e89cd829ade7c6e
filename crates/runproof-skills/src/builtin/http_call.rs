//! `http_call`: one HTTP request, and an honest answer to what became of it.
//!
//! Follows at most three redirects of a read, and judges every hop. Never repeats a request (the engine does), never
//! logs, and puts neither the URL's query nor any header value into a failure.

mod codes;
mod exchange;
mod outcome;
mod output;
mod params;
mod schema;

use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::skill::{
    Attempt, CostModel, Dispatch, EffectClass, Idempotency, Limits, Manifest, ParamFinding, Probe, Skill,
};
use serde_json::Value;

use crate::params::Stage;
use crate::transport::Transport;

/// What a dispatched attempt costs.
const COST_MICROCENTS: u64 = 1_000;
/// Header by which a receiver recognises a repeated call.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Largest parameters, as JSON.
const MAX_INPUT_BYTES: usize = 1024 * 1024;
/// Largest body of a response.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Largest output, as JSON: what can be recorded of one step. A body grows when it is escaped.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// The skill.
pub(crate) struct HttpCall {
    manifest: Manifest,
    transport: Transport,
}

impl HttpCall {
    /// The skill over a transport that knows which addresses may be reached.
    pub(crate) fn new(transport: Transport) -> Self {
        Self { manifest: manifest(), transport }
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "http_call",
        version: "1.0.0",
        description: "Sends one HTTP request and returns the status, a few headers and the body.",
        input_schema: schema::input(),
        output_schema: schema::output(),
        effects: &[EffectClass::Read, EffectClass::Idempotent, EffectClass::Probeable, EffectClass::Unsafe],
        idempotency: Idempotency::Key("Idempotency-Key"),
        cost: CostModel::PerAttempt(COST_MICROCENTS),
        secret_params: &["url", "headers", "body", "text", "probe_url"],
        limits: Limits {
            max_input_bytes: MAX_INPUT_BYTES,
            max_output_bytes: MAX_OUTPUT_BYTES,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(300),
        },
        errors: codes::ALL,
        test_only: false,
    }
}

#[async_trait]
impl Skill for HttpCall {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, params: &Value) -> EffectClass {
        params::effect(params)
    }

    fn check(&self, params: &Value) -> Vec<ParamFinding> {
        params::read(params, Stage::Planned).1
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        // The class of the recorded call, so that what the record says is what the outcome is judged by.
        let class = self.effect(&dispatch.call().params);
        exchange::invoke(&self.transport, dispatch, class).await
    }

    async fn probe(&self, dispatch: &Dispatch) -> Probe {
        exchange::probe(&self.transport, dispatch).await
    }
}
