//! A journal for one run: the least that the driver's contract asks for. Stores are tested where they are.

use std::sync::Mutex;

use async_trait::async_trait;
use runproof_engine::draft::Line;
use runproof_engine::ports::{Append, Claim, Claimed, Claims, Fence, Journal, StoreError};
use runproof_engine::run::{Run, Values};
use runproof_engine::skill::Write;
use runproof_proof::bundle::{Bundle, Entry, Header};
use runproof_proof::event::Event;
use runproof_proof::payload::PayloadLine;

pub(crate) struct Book {
    log: String,
    tenant: String,
    run_id: String,
    page: Mutex<Page>,
}

struct Page {
    lines: Vec<Line>,
    writes: Vec<Write>,
    owner: Option<String>,
    epoch: u64,
    wake_at: Option<u64>,
    over: bool,
    /// Appends until the process dies; 0: it lives.
    dies_in: u32,
    /// Appends with writes that come too late.
    stale: u32,
    /// Bytes of the largest append.
    largest: usize,
}

impl Book {
    pub(crate) fn new(run: &Run, lines: Vec<Line>) -> Self {
        let page = Page {
            lines,
            writes: Vec::new(),
            owner: None,
            epoch: 0,
            wake_at: Some(run.created_at),
            over: run.seal.is_some(),
            dies_in: 0,
            stale: 0,
            largest: 0,
        };
        Self { log: run.log.clone(), tenant: run.tenant.clone(), run_id: run.id.clone(), page: Mutex::new(page) }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.page.lock().unwrap().lines.clone()
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.page.lock().unwrap().writes.clone()
    }

    /// Bytes of the largest append.
    pub(crate) fn largest_append(&self) -> usize {
        self.page.lock().unwrap().largest
    }

    /// The process dies instead of making its `nth` append from now.
    pub(crate) fn die_at(&self, nth: u32) {
        self.page.lock().unwrap().dies_in = nth;
    }

    /// Others write the same key before each of the next appends with writes.
    pub(crate) fn stale(&self, times: u32) {
        self.page.lock().unwrap().stale = times;
    }

    /// What a process does that starts after another one ended.
    pub(crate) fn give_back(&self) {
        let mut page = self.page.lock().unwrap();
        page.owner = None;
        page.wake_at.get_or_insert(0);
    }

    /// The run, from nothing but the lines.
    pub(crate) fn load(&self) -> Run {
        let mut run = Run::new(&self.log, &self.tenant, &self.run_id);
        for line in self.lines() {
            let event = Event::decode(&line.bytes).unwrap();
            run.apply(&event, line.leaf, &values(&line, &event)).unwrap();
            run.count(line.bytes.len(), line.payload.as_ref().map(Vec::len));
        }
        run
    }

    pub(crate) fn bundle(&self) -> Bundle {
        let entries: Vec<Entry> = self.lines().iter().map(entry).collect();
        let header = Header {
            anchored: false,
            events: entries.len() as u64,
            log: self.log.clone(),
            records: 0,
            run_id: self.run_id.clone(),
            since: None,
            tenant: self.tenant.clone(),
        };
        Bundle { header, entries, records: Vec::new(), consistency: None, anchor: None }
    }
}

fn entry(line: &Line) -> Entry {
    let event = Event::decode(&line.bytes).unwrap();
    let payload = line.payload.as_ref().map(|payload| PayloadLine::parse(payload).unwrap());
    Entry { event, leaf: line.leaf, payload }
}

fn values(line: &Line, event: &Event) -> Values {
    let payload = line.payload.as_ref().map(|payload| PayloadLine::parse(payload).unwrap());
    payload.map(|payload| payload.open(&event.commitments()).unwrap().values).unwrap_or_default()
}

#[async_trait]
impl Journal for Book {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        let mut page = self.page.lock().unwrap();
        let head = page.lines.last().map(|line| line.leaf);
        let held = page.owner.as_ref() == Some(&append.fence.owner)
            && page.epoch == append.fence.epoch
            && page.lines.len() as u64 == append.expected_seq
            && head == Some(append.expected_head);
        if !held || page.over {
            return Err(StoreError::Conflict(append.run_id));
        }
        let dies = page.dies_in == 1;
        page.dies_in = page.dies_in.saturating_sub(1);
        if dies {
            return Err(StoreError::Unavailable("the process died".to_owned()));
        }
        if !append.writes.is_empty() && page.stale > 0 {
            page.stale -= 1;
            return Err(StoreError::Stale { key: "k".to_owned() });
        }
        let bytes = append.lines.iter().map(|line| line.bytes.len() + line.payload.as_ref().map_or(0, Vec::len)).sum();
        page.largest = page.largest.max(bytes);
        page.lines.extend(append.lines.iter().cloned());
        page.writes.extend(append.writes);
        match append.claim {
            Claim::Keep => page.wake_at = None,
            Claim::Release(at) => (page.owner, page.wake_at) = (None, Some(at)),
            Claim::Park => (page.owner, page.wake_at) = (None, None),
            Claim::End => (page.owner, page.wake_at, page.over) = (None, None, true),
        }
        Ok(())
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        let due = limit > 0 && self.page.lock().unwrap().wake_at.is_some_and(|at| at <= now);
        let claimed = if due { self.claim_run(owner, &self.tenant, &self.run_id).await? } else { None };
        Ok(Claims { taken: claimed.into_iter().collect(), unreadable: Vec::new() })
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        assert_eq!((tenant, run_id), (self.tenant.as_str(), self.run_id.as_str()));
        let run = self.load();
        let mut page = self.page.lock().unwrap();
        if page.over || page.owner.is_some() {
            return Ok(None);
        }
        page.owner = Some(owner.to_owned());
        page.epoch += 1;
        Ok(Some(Claimed { run, fence: Fence { owner: owner.to_owned(), epoch: page.epoch } }))
    }
}
