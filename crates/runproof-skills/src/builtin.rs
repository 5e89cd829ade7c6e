//! The built-in skills, one per file. Each file opens with its manifest; the list itself is in [`crate::registry`].

pub(crate) mod fail_trigger;
pub(crate) mod http_call;
pub(crate) mod json_transform;
pub(crate) mod kv_store;
