//! What goes into the log's own stream: its beginning, and that somebody went on from an older database.

use runproof_engine::admission::{StreamHead, engine};
use runproof_engine::draft::Committer;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::rfc3339;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{Actor, Body, Event, LogCreated, LogRollbackAcknowledged, Stream};
use runproof_proof::hash::Hash;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::read::{column, natural};
use super::sequencer::{BEGIN, Placed, SequenceError, Sequencer, int};
use super::session::{Param, in_time};
use crate::Notary;

/// Makes the ledger: its first event names the key. Nothing happens when it was made with the same key before, by
/// whomever. `seed` is 32 fresh random bytes. The future must run to its end.
///
/// # Errors
/// [`SequenceError::OtherKey`] when it was made with another key.
pub(super) async fn create_ledger(
    client: &Client,
    notary: Box<dyn Notary>,
    seed: [u8; 32],
) -> Result<(), SequenceError> {
    let (verifier, now) = (notary.signer().verifier(), notary.now());
    let (origin, vkey, created_at) = (verifier.name(), verifier.vkey(), rfc3339(now));
    let params: [Param<'_>; 3] = [(&origin, Type::TEXT), (&vkey, Type::TEXT), (&created_at, Type::TEXT)];
    let created = in_time(async {
        // Whoever does the same at the same time is waited for.
        let sql = include_str!("../../sql/postgres/create_ledger.sql");
        let (begun, created) = tokio::join!(biased; client.batch_execute(BEGIN), client.execute_typed(sql, &params));
        begun?;
        created
    });
    let mut sequencer = Sequencer::new(origin, notary);
    if created.await? == 1 {
        let body = LogCreated { engine: engine(), vkey }.into();
        sequencer.record(client, now, body, &seed).await?;
    } else {
        let sql = include_str!("../../sql/postgres/read_ledger.sql");
        let ledger: String = column(&in_time(client.query_typed_one(sql, &[])).await?, 1)?;
        if ledger != vkey {
            return Err(SequenceError::OtherKey { key: vkey, ledger });
        }
    }
    in_time(client.batch_execute("COMMIT")).await?;
    sequencer.place(client).await?;
    Ok(())
}

impl Sequencer {
    /// Goes on from a database that does not hold the newest checkpoint that was kept here: records that, places and
    /// signs everything, and keeps the new head in place of the lost one. Done again after a crash, it records nothing
    /// twice. `seed` is 32 fresh random bytes. The future must run to its end.
    ///
    /// # Errors
    /// [`SequenceError::NotRolledBack`] when nothing is lost.
    pub async fn acknowledge_rollback(
        &mut self,
        client: &Client,
        actor: Actor,
        seed: [u8; 32],
    ) -> Result<Placed, SequenceError> {
        let lost = self.kept().ok_or(SequenceError::NotRolledBack)?;
        let lock = include_str!("../../sql/postgres/wait_for_ledger.sql");
        in_time(client.batch_execute(BEGIN)).await?;
        let head = in_time(client.query_typed_one(lock, &[])).await?;
        match self.find(client, &head, Some(lost.clone())).await {
            Err(SequenceError::RolledBack { .. }) => {}
            Ok(_) => return Err(SequenceError::NotRolledBack),
            Err(error) => return Err(error),
        }
        let mut found = self.find(client, &head, None).await?;
        if !is_recorded(client, &lost).await? {
            let body = LogRollbackAcknowledged {
                actor,
                lost_root: lost.root,
                lost_size: lost.size,
                root: found.tree.root(),
                size: found.tree.size(),
            };
            let now = self.notary().now();
            self.record(client, now, body.into(), &seed).await?;
        }
        // The record has a place only after everything that was committed before it.
        let (mut transitions, mut more) = self.append(client, &mut found, 0).await?;
        while more {
            in_time(client.batch_execute(BEGIN)).await?;
            let head = in_time(client.query_typed_one(lock, &[])).await?;
            found = self.find(client, &head, None).await?;
            let (placed, left) = self.append(client, &mut found, 0).await?;
            (transitions, more) = (transitions + placed, left);
        }
        let newest = self.sign(client, &mut found).await?;
        self.keep(newest, Some(&lost)).await?;
        Ok(Placed::Here { transitions, size: found.tree.size(), more: false })
    }

    /// Appends an event to the log's own stream, in the transaction that is open.
    async fn record(&self, client: &Client, now: u64, body: Body, seed: &[u8; 32]) -> Result<(), StoreError> {
        let unavailable = |text: String| StoreError::Unavailable(text);
        let stream: [Param<'_>; 2] = [(&"", Type::TEXT), (&"log", Type::TEXT)];
        let sql = include_str!("../../sql/postgres/read_head.sql");
        let row = in_time(client.query_typed_opt(sql, &stream)).await.map_err(|failure| failure.unavailable())?;
        let mut head = match row {
            None => StreamHead::default(),
            Some(row) => {
                let text: &str = column(&row, 1)?;
                let head = Hash::from_hex(text).ok_or_else(|| StoreError::Corrupt {
                    at: "stream_heads.head[stream=log]".to_owned(),
                    problem: format!("`{text}` is not a hash"),
                })?;
                StreamHead { next_seq: natural(&row, 0)?, head, last_at: natural(&row, 2)? }
            }
        };
        let (seq, before) = (int(head.next_seq), head.head.hex());
        let line = head
            .write(&self.log, Stream::Log, now, body, Committer::new(seed, 0))
            .map_err(|error| unavailable(error.to_string()))?;
        let (after, last_at) = (head.head.hex(), int(head.last_at));
        let events = String::from_utf8_lossy(&line.bytes);
        let payloads = String::from_utf8_lossy(line.payload.as_deref().unwrap_or_default());
        let (events, payloads) = (events.as_ref(), payloads.as_ref());
        let params: [Param<'_>; 6] = [
            (&seq, Type::INT8),
            (&before, Type::TEXT),
            (&after, Type::TEXT),
            (&last_at, Type::INT8),
            (&events, Type::TEXT),
            (&payloads, Type::TEXT),
        ];
        let appended = client.execute_typed(include_str!("../../sql/postgres/append_log.sql"), &params);
        match in_time(appended).await.map_err(|failure| failure.unavailable())? {
            1 => Ok(()),
            _ => Err(unavailable("somebody else wrote to the log's own stream".to_owned())),
        }
    }
}

/// Whether the loss of this head is on record.
async fn is_recorded(client: &Client, lost: &Checkpoint) -> Result<bool, SequenceError> {
    let stream: [Param<'_>; 2] = [(&"", Type::TEXT), (&"log", Type::TEXT)];
    let rows = in_time(client.query_typed(include_str!("../../sql/postgres/read_stream.sql"), &stream)).await?;
    for row in &rows {
        for line in column::<&str>(row, 5)?.split('\n') {
            let Ok(event) = Event::decode(line.as_bytes()) else { continue };
            if let Body::LogRollbackAcknowledged(body) = event.body
                && (body.lost_size, body.lost_root) == (lost.size, lost.root)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
