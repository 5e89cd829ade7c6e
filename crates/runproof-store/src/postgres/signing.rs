//! When this process gives leaves their places: soon after a run was sealed, now and then under load, and once in a while
//! because another process may have died before it came to it.

use std::sync::Arc;
use std::time::Duration;

use runproof_engine::ports::StoreError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::connect::connection;
use super::sequencer::{Placed, Sequencer};

/// Between two passes, at least: under load a pass then places what many commits brought.
const PAUSE: Duration = Duration::from_millis(100);
/// How long something that is committed waits for a pass while no run is sealed.
const SOON: Duration = Duration::from_millis(200);
/// Between two passes, at most.
const IDLE: Duration = Duration::from_secs(5);

/// The sequencer of this process.
pub(super) type Signing = Arc<Mutex<Sequencer>>;

/// Passes until nothing is left to place here. Answers whether anything was placed.
pub(super) async fn pass(shared: &Shared, sequencer: &Signing) -> Result<bool, StoreError> {
    let mut sequencer = sequencer.lock().await;
    let client = connection(&shared.pool).await?;
    let mut any = false;
    loop {
        match sequencer.place(&client).await {
            Ok(Placed::Here { transitions, more, .. }) => {
                any |= transitions > 0;
                if !more {
                    return Ok(any);
                }
            }
            Ok(Placed::Nothing) => return Ok(any),
            Err(error) => {
                // Whatever is left of the transaction must not meet the next one.
                drop(deadpool_postgres::Object::take(client));
                return Err(error.into());
            }
        }
    }
}

/// Passes whenever it is time, until the store is closed.
pub(super) async fn keep_passing(shared: std::sync::Weak<Shared>, sequencer: Signing) {
    let mut last = Instant::now();
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let wanted = timeout(IDLE, async {
            tokio::select! {
                () = shared.sealed.notified() => {}
                () = shared.committed.notified() => {
                    if timeout(SOON, shared.sealed.notified()).await.is_err() {
                        // Nothing was sealed meanwhile: it is time all the same.
                    }
                }
            }
        });
        if wanted.await.is_err() {
            // Nothing was committed here; another process may have died before it placed what it committed.
        }
        sleep_until(last + PAUSE).await;
        last = Instant::now();
        // What fails here fails again for whoever asks for a pass, and is told to them.
        pass(&shared, &sequencer).await.ok();
    }
}
