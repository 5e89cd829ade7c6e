//! Registers the skills of a process. Reads no environment: the edge hands over what it read.

use std::sync::Arc;

use async_trait::async_trait;
use runproof_engine::ports::{Clock, KeyValues, StoreError, Stored};
use runproof_engine::skill::{DuplicateSkill, Skills};

use crate::builtin::{
    fail_trigger::FailTrigger, http_call::HttpCall, json_transform::JsonTransform, kv_store::KvStore,
};
use crate::egress::Egress;
use crate::transport::Transport;

/// What the operator chose about the built-in skills.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses that may be reached although they are denied by default.
    pub egress: Egress,
    /// Whether `__fail_trigger__` is registered. For tests of runproof and of deployments, never for customers' runs.
    pub test_skills: bool,
}

/// What skills of a process read of it. They write nothing: writes are part of their answers.
#[derive(Clone)]
pub struct Ports {
    /// Key-value space of the store.
    pub key_values: Arc<dyn KeyValues>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Key-value space of a process that calls no skill and only lists them.
pub struct NoKeyValues;

#[async_trait]
impl KeyValues for NoKeyValues {
    async fn read(&self, _tenant: &str, _key: &str) -> Result<Option<Stored>, StoreError> {
        Err(StoreError::Unavailable("this process has opened no store".to_owned()))
    }
}

/// Why the skills could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Two skills have one name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateSkill),
    /// The TLS library refused its own defaults.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The built-in skills, ready to be called.
///
/// # Errors
/// [`SetupError`] when TLS cannot be set up. A machine without certificate roots is not an error here: plans that use
/// no `https` URL run, and an `https` call answers `http.tls_failed`.
pub fn builtin(options: &Options, ports: &Ports) -> Result<Skills, SetupError> {
    let transport = Transport::new(options.egress.clone())?;
    let mut skills = Skills::default();
    skills.register(Arc::new(HttpCall::new(transport)))?;
    skills.register(Arc::new(JsonTransform::new()))?;
    skills.register(Arc::new(KvStore::new(Arc::clone(&ports.key_values), Arc::clone(&ports.clock))))?;
    if options.test_skills {
        skills.register(Arc::new(FailTrigger::new()))?;
    }
    Ok(skills)
}
