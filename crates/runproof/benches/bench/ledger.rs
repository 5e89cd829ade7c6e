//! The ledger: how fast it grows, what a proof costs at a million leaves, and what it takes to verify a long run.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof::prove::prove;
use runproof::runtime;
use runproof_engine::admission::admit;
use runproof_engine::decide::{self, Command as Decide, Context, Next, Outcome as Attempted};
use runproof_engine::draft::{Draft, Line};
use runproof_engine::ports::{Append, Blind, Claim, Claimed, Fence, Journal};
use runproof_engine::projection;
use runproof_engine::run::Run;
use runproof_engine::skill::ErrorCategory;
use runproof_proof::event::{AttemptOutcome, GapKind, GapRecorded, Via};
use runproof_proof::finding::Verdict;
use runproof_proof::merkle;
use runproof_store::{Stamp, Store};
use serde_json::{Value, json};

use crate::table::Table;
use crate::world::{World, actor, plan, request};
use crate::{Outcome, program, system};

/// Events in one transaction while the ledger is filled.
const FILL: u64 = 1000;
/// Claims in the long run between two attempts: it takes many to make a run of 256 steps that long.
const EARLY_CLAIMS: u32 = 18;
/// Most events of one run.
const RUN: u64 = 100_000;

/// Fills a ledger with `leaves`, proves and verifies.
pub(crate) async fn measure(parent: &Path, leaves: u64, events: u64, table: &mut Table) -> Outcome<()> {
    let world = World::new(parent, Arc::new(Blind)).await?;
    let (_, claimed, _) = world.engine.open(request(plan()), true).await?;
    let (small, _) = world.engine.drive_once(claimed.ok_or("a new run is claimed")?).await?;
    let long = long_run(&world, events).await?;

    let (begun, before) = (Instant::now(), world.store.tree_size().await?);
    while world.store.tree_size().await? < leaves {
        let missing = leaves - world.store.tree_size().await?;
        fill(&world, missing.min(RUN - 10)).await?;
    }
    let grown = world.store.tree_size().await? - before;
    if grown > 0 {
        let speed = grown as f64 / begun.elapsed().as_secs_f64();
        table.one("events appended to the ledger, 1,000 in a transaction", "/s", speed, "");
    }
    let size = world.store.tree_size().await?;
    table.one("leaves in the ledger", "", size as f64, "");
    table.one("inclusion proof", "us", proofs(&world, size).await?, "");

    let trust = world.app.home.trust()?;
    let begun = Instant::now();
    let proof = prove(world.store.as_ref(), &small.tenant, &small.id, &trust, None).await?.ok_or("the run is there")?;
    table.one("`proof` of a run of 5 steps, rows compared", "ms", begun.elapsed().as_secs_f64() * 1e3, "");
    // The trust names the head that was kept last; a moment later it may be one older than the newest.
    if proof.report.verdict() > Verdict::Unanchored {
        return Err(format!("the small run is {:?}", proof.report.verdict()).into());
    }
    let begun = Instant::now();
    let proof = prove(world.store.as_ref(), &long.tenant, &long.id, &trust, None).await?.ok_or("the run is there")?;
    table.one("`proof` of the long run, rows compared", "ms", begun.elapsed().as_secs_f64() * 1e3, "");
    let bytes = proof.bundle.ok_or("a bundle")?.encode()?;
    let key = world.app.home.signer()?.verifier().vkey();
    let folder = world.close();
    whole(folder.path(), size, table)?;
    let file = folder.path().join("long.runproof");
    std::fs::write(&file, &bytes)?;
    verify(&file, &key, bytes.len(), long.next_seq, table)
}

/// Mean time of an inclusion proof from the tiles, in microseconds, over leaves everywhere.
async fn proofs(world: &World, size: u64) -> Outcome<f64> {
    let rounds = 2000;
    let begun = Instant::now();
    for round in 0..rounds {
        let index = (round * 7_919_777) % size;
        let ranges = merkle::inclusion_ranges(index, size).ok_or("the leaf is in the tree")?;
        let proof = world.store.subtree_roots(ranges.clone()).await?;
        if proof.len() != ranges.len() {
            return Err("a proof has a hash for every range".into());
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / rounds as f64)
}

async fn append(world: &World, run: &Run, fence: &Fence, after: &Run, lines: Vec<Line>, claim: Claim) -> Outcome<()> {
    let append = Append {
        tenant: run.tenant.clone(),
        run_id: run.id.clone(),
        fence: fence.clone(),
        expected_seq: run.next_seq,
        expected_head: run.head,
        rows: projection::changes(run, after),
        lines: lines.into(),
        writes: Vec::new(),
        claim,
    };
    Ok(world.store.append(append).await?)
}

async fn opened(world: &World, plan: Value) -> Outcome<Claimed> {
    let stamp = Stamp { now: runtime::now(), seed: runtime::random(), actor: actor() };
    let admitted = admit(request(plan)).map_err(|findings| format!("{findings:?}"))?;
    let opened = world.store.open_run(admitted, Some("bench".to_owned()), stamp).await?;
    Ok(Claimed { fence: opened.fence.ok_or("a new run is claimed")?, run: opened.run })
}

/// Appends events that mean nothing to a run, through the store.
async fn fill(world: &World, events: u64) -> Outcome<()> {
    let Claimed { mut run, fence } = opened(world, plan()).await?;
    let mut left = events;
    while left > 0 {
        let mut draft = Draft::new(run.clone(), runtime::now(), runtime::random());
        for count in 0..left.min(FILL) {
            draft.push(|_| Ok(GapRecorded { count: Some(count), gap: GapKind::OverQuota }))?;
        }
        append(world, &run, &fence, &draft.run, draft.lines, Claim::Keep).await?;
        run = draft.run;
        left -= left.min(FILL);
    }
    Ok(())
}

/// A sealed run of about that many events: steps that fail and are tried again, claimed again and again in between. The
/// engine decides all of it; only the waiting is left out.
async fn long_run(world: &World, events: u64) -> Outcome<Run> {
    let call =
        json!({ "order": 1, "text": "a lamp, a chair and a table, as agreed; deliver in the morning. ".repeat(12) });
    let step = |index| {
        json!({ "id": format!("s{index}"), "skill": "echo", "with": call, "on_error": "continue",
                "retry": { "max_attempts": 20, "initial_delay_ms": 1, "max_delay_ms": 1 } })
    };
    let steps: Vec<Value> = (0..256).map(step).collect();
    let Claimed { run, fence } = opened(world, json!({ "schema": "runproof.plan/v1", "steps": steps })).await?;
    let (mut stored, mut run, mut lines) = (run.clone(), run, Vec::new());
    let (mut now, mut early) = (runtime::now(), 0);
    loop {
        let command = match run.open().next().map(|call| call.id()) {
            Some(call) => Decide::Record(call, refused()),
            // A decision and the end of the run add less than that.
            None if run.next_seq + 8 >= events => Decide::Cancel { actor: actor(), reason: None },
            None => Decide::Claim { worker: "bench".to_owned(), epoch: run.epoch + 1 },
        };
        // Whoever claims a run before the time of its retry only puts that on record.
        early = if run.open().next().is_none() && early < EARLY_CLAIMS { early + 1 } else { 0 };
        now += if early == 0 { 1_000_000 } else { 0 };
        let context = Context { now, seed: runtime::random(), facts: &world.engine.driver.skills };
        let decision = decide::decide(&run, command, &context)?;
        lines.extend(decision.lines);
        run = decision.run;
        let ended = matches!(decision.next, Next::Ended(_));
        if ended || lines.len() as u64 >= FILL {
            let claim = if ended { Claim::End } else { Claim::Keep };
            append(world, &stored, &fence, &run, std::mem::take(&mut lines), claim).await?;
            stored = run.clone();
        }
        if ended {
            return Ok(run);
        }
    }
}

/// What a receiver says that is out of order.
fn refused() -> Attempted {
    Attempted {
        outcome: AttemptOutcome::NotDone,
        via: Via::Call,
        output: None,
        category: Some(ErrorCategory::Transient),
        code: Some("echo.busy".to_owned()),
        error: Some("the receiver is busy and asks to be called again; its queue has no place. ".repeat(8)),
        retryable: true,
        retry_after_us: None,
        cost_microcents: 1000,
        duration_us: 900,
    }
}

/// Verifies the whole ledger, as `runproof log verify` does. Open runs and events against ourselves lower the verdict.
fn whole(home: &Path, leaves: u64, table: &mut Table) -> Outcome<()> {
    let begun = Instant::now();
    let output = program::command(home).args(["log", "verify", "--json"]).output()?;
    let elapsed = begun.elapsed().as_secs_f64();
    let report: Value = serde_json::from_slice(&output.stdout)?;
    if report["tree_size"] != leaves {
        return Err(format!("not the whole ledger: {report}").into());
    }
    table.one("`log verify` of the whole ledger", "leaf/s", leaves as f64 / elapsed, "");
    Ok(())
}

/// Verifies in a process of its own, which tells the most memory that it ever had.
fn verify(file: &Path, key: &str, bytes: usize, events: u64, table: &mut Table) -> Outcome<()> {
    let output = Command::new(std::env::current_exe()?).env(CHILD, key).arg(file).output()?;
    let text = String::from_utf8(output.stdout)?;
    let [milliseconds, peak] = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?[..] else {
        return Err(format!("the verifier said `{text}`: {}", String::from_utf8_lossy(&output.stderr)).into());
    };
    table.one("events of the long run", "", events as f64, "");
    table.one("bytes of its bundle", "MB", bytes as f64 / 1e6, "");
    table.one("verify the long run, offline", "ms", milliseconds, "");
    table.one("most memory while verifying the long run", "MB", peak, "");
    Ok(())
}

/// Set for the process that verifies: the key.
pub(crate) const CHILD: &str = "RUNPROOF_BENCH_VERIFY";

/// Verifies the file as `runproof verify` does; prints milliseconds and megabytes.
pub(crate) fn child(key: &str, file: &Path) -> Outcome<String> {
    use runproof_proof::{bundle::Bundle, note::NoteVerifier, trust::Trust, verify};
    let trust = Trust::in_key("--key", NoteVerifier::parse(key)?);
    let begun = Instant::now();
    let bytes = std::fs::read(file)?;
    let bundle = Bundle::parse(&bytes)?;
    let mut report = verify::examine(&bundle, &trust);
    runproof_engine::replay::check(&bundle, &mut report);
    let elapsed: Duration = begun.elapsed();
    if report.verdict() != Verdict::Verified {
        return Err(format!("the long run is {:?}: {}", report.verdict(), report.to_json()).into());
    }
    Ok(format!("{} {}", elapsed.as_secs_f64() * 1e3, system::peak()))
}
