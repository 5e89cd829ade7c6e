//! The real clock, randomness and secrets: what the engine gets through its ports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runproof_engine::ports::{BoxFuture, Clock, Entropy, Secrets};
use zeroize::Zeroizing;

/// The clock of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

/// Microseconds since 1970; 0 on a clock before that.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        now()
    }

    fn sleep(&self, microseconds: u64) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_micros(microseconds)))
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

/// 32 random bytes. Ends the process when the system has none: going on would make salts that can be guessed.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

impl Entropy for SystemEntropy {
    fn seed(&self) -> [u8; 32] {
        random()
    }
}

/// Secrets from environment variables: `secret://NAME` is `RUNPROOF_SECRET_NAME`.
#[derive(Clone, Copy, Debug)]
pub struct EnvSecrets;

impl Secrets for EnvSecrets {
    fn get(&self, _tenant: &str, name: &str) -> Option<Zeroizing<String>> {
        std::env::var(format!("RUNPROOF_SECRET_{name}")).ok().map(Zeroizing::new)
    }
}

/// A run id that sorts by time: UUID version 7 (RFC 9562 section 5.7).
pub fn new_id() -> String {
    let random = random();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[..10]);
    uuid::Builder::from_unix_timestamp_millis(now() / 1000, &tail).into_uuid().to_string()
}
