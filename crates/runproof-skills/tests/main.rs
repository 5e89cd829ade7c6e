//! The tests of the skills, in one binary. `contract` is what every skill must hold; the other modules are claims about
//! one skill each, made against real connections on the loopback.

mod calls;
mod contract;
mod egress;
mod fail_trigger;
mod http_bodies;
mod http_params;
mod http_redirects;
mod http_statuses;
mod http_transport;
mod json_transform;
mod kv_store;
mod path;
mod registry;
mod server;
