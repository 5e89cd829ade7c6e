//! The worker processes of a trial: real ones, which are killed, frozen, and started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::failed;
use super::servers::signal;
use crate::error::AppError;
use crate::runtime;

/// How workers name themselves in claims.
const NAME: &str = "worker-";
/// How long a name is after that: a UUID.
const ID: usize = 36;
/// How long workers have to finish what is under way.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every process of the program gets.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The program.
    pub program: PathBuf,
    /// `RUNPROOF_HOME`.
    pub home: PathBuf,
    /// `DATABASE_URL`.
    pub database_url: String,
    /// `RUNPROOF_EGRESS_ALLOW`.
    pub egress: String,
}

impl Surroundings {
    /// A command of the program, with nothing of our own environment but what it needs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("RUNPROOF_HOME", &self.home).env("DATABASE_URL", &self.database_url);
        command.env("RUNPROOF_EGRESS_ALLOW", &self.egress).args(arguments).stdin(Stdio::null());
        command
    }
}

/// A worker that was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// When, in microseconds since 1970.
    pub at: u64,
    /// Its names in claims: another one each time its lease lapsed.
    pub names: Vec<String>,
}

/// The worker processes.
pub struct Fleet {
    surroundings: Surroundings,
    logs: PathBuf,
    concurrency: u32,
    slots: Vec<Slot>,
    starts: u32,
    /// Workers that ended without being told to.
    pub gave_up: u64,
    /// Workers that were killed.
    pub killed: Vec<Killed>,
    /// When a worker went on that had stood still, in microseconds since 1970.
    pub woken: Vec<u64>,
    thawed: Option<Instant>,
}

/// The place of one worker.
struct Slot {
    running: Option<Running>,
    start_at: Instant,
}

struct Running {
    child: Child,
    log: PathBuf,
    frozen_until: Option<Instant>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for running in self.slots.iter_mut().filter_map(|slot| slot.running.as_mut()) {
            running.child.kill().ok();
            running.child.wait().ok();
        }
    }
}

impl Fleet {
    /// Starts the workers; each start has a log of its own in `logs`.
    ///
    /// # Errors
    /// [`AppError`] when one cannot be started.
    pub fn start(surroundings: Surroundings, logs: &Path, workers: u32, concurrency: u32) -> Result<Self, AppError> {
        let now = Instant::now();
        let mut fleet = Self {
            surroundings,
            logs: logs.to_owned(),
            concurrency,
            slots: (0..workers).map(|_| Slot { running: None, start_at: now }).collect(),
            starts: 0,
            gave_up: 0,
            killed: Vec::new(),
            woken: Vec::new(),
            thawed: None,
        };
        fleet.tend()?;
        Ok(fleet)
    }

    /// Starts again what has ended, and lets go on what has been frozen for long enough.
    ///
    /// # Errors
    /// [`AppError`] when a worker cannot be started.
    pub fn tend(&mut self) -> Result<(), AppError> {
        let now = Instant::now();
        for place in 0..self.slots.len() {
            self.thaw(place, now)?;
            let slot = &mut self.slots[place];
            if let Some(running) = &mut slot.running
                && running.child.try_wait().ok().flatten().is_some()
            {
                // As a supervisor does: again, but not in a tight loop.
                self.gave_up += 1;
                slot.running = None;
                slot.start_at = now + Duration::from_millis(500);
            }
            if slot.running.is_none() && slot.start_at <= now {
                let running = self.spawn()?;
                self.slots[place].running = Some(running);
            }
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<Running, AppError> {
        self.starts += 1;
        let log = self.logs.join(format!("worker-{:03}.log", self.starts));
        let cannot = |error: std::io::Error| failed(format!("cannot start a worker: {error}"));
        let file = File::create(&log).map_err(cannot)?;
        let concurrency = self.concurrency.to_string();
        let mut command = self.surroundings.command(&["worker", "--concurrency", &concurrency]);
        let child = command.stdout(Stdio::null()).stderr(file).spawn().map_err(cannot)?;
        Ok(Running { child, log, frozen_until: None })
    }

    /// Lets a worker go on whose time has come.
    fn thaw(&mut self, place: usize, now: Instant) -> Result<(), AppError> {
        let Some(running) = &mut self.slots[place].running else { return Ok(()) };
        if running.frozen_until.is_some_and(|until| until <= now) {
            running.frozen_until = None;
            self.woken.push(runtime::now());
            self.thawed = Some(now);
            signal(&running.child, "CONT")?;
        }
        Ok(())
    }

    /// The first worker, from this number on, that holds one of these names and does not stand still.
    pub fn aim(&self, worker: u32, busy: &[String]) -> Option<u32> {
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX).max(1);
        let mut order = (0..count).map(|step| (worker + step) % count);
        let is_busy = |worker: &u32| {
            let running = self.slots.get(*worker as usize).and_then(|slot| slot.running.as_ref());
            let running = running.filter(|running| running.frozen_until.is_none());
            running.is_some_and(|running| {
                let log = std::fs::read_to_string(&running.log).unwrap_or_default();
                names(&log).last().is_some_and(|name| busy.contains(name))
            })
        };
        order.find(is_busy)
    }

    /// `kill -9`. False when there is nothing to kill just now.
    pub fn kill(&mut self, worker: u32) -> bool {
        let Some(slot) = self.slots.get_mut(worker as usize) else { return false };
        let Some(mut running) = slot.running.take() else { return false };
        let at = runtime::now();
        running.child.kill().ok();
        running.child.wait().ok();
        let log = std::fs::read_to_string(&running.log).unwrap_or_default();
        self.killed.push(Killed { at, names: names(&log) });
        slot.start_at = Instant::now() + Duration::from_millis(200);
        true
    }

    /// Stops a worker for a while. False when it is stopped already, does not run, or is the last that works.
    ///
    /// # Errors
    /// [`AppError`] when the signal cannot be sent.
    pub fn freeze(&mut self, worker: u32, lasts: Duration) -> Result<bool, AppError> {
        let works = |slot: &&Slot| slot.running.as_ref().is_some_and(|running| running.frozen_until.is_none());
        if self.slots.iter().filter(works).count() < 2 {
            return Ok(false);
        }
        let running = self.slots.get_mut(worker as usize).and_then(|slot| slot.running.as_mut());
        let Some(running) = running.filter(|running| running.frozen_until.is_none()) else { return Ok(false) };
        signal(&running.child, "STOP")?;
        running.frozen_until = Some(Instant::now() + lasts);
        Ok(true)
    }

    /// Whether a call that a worker was about to make can still reach the receiver unseen: one stands still, or has only
    /// just gone on.
    pub fn may_surprise(&self) -> bool {
        let frozen = self.slots.iter().any(|slot| slot.running.as_ref().is_some_and(|run| run.frozen_until.is_some()));
        frozen || self.thawed.is_some_and(|at| at.elapsed() < Duration::from_secs(2))
    }

    /// Tells every worker to finish, and waits. Answers how many had to be killed.
    ///
    /// # Errors
    /// [`AppError`] when a signal cannot be sent.
    pub fn stop(&mut self) -> Result<u64, AppError> {
        let children = self.slots.iter_mut().filter_map(|slot| slot.running.take());
        let mut children: Vec<Child> = children.map(|running| running.child).collect();
        for child in &mut children {
            if child.try_wait().ok().flatten().is_none() {
                signal(child, "CONT")?;
                signal(child, "TERM")?;
            }
        }
        let started = Instant::now();
        let mut stubborn = 0;
        for child in &mut children {
            while child.try_wait().ok().flatten().is_none() {
                if started.elapsed() > PATIENCE {
                    stubborn += 1;
                    child.kill().ok();
                    child.wait().ok();
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(stubborn)
    }
}

/// The names that a worker gave itself, from its log.
fn names(log: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (start, _) in log.match_indices(NAME) {
        let Some(name) = log.get(start..start + NAME.len() + ID) else { continue };
        let is_id = name[NAME.len()..].bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_id && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_worker_are_found_in_its_log() {
        let (first, second) =
            ("worker-01a2b3c4-0000-7000-8000-0123456789ab", "worker-01a2b3c4-0000-7000-8000-0123456789ac");
        let log = format!("working as {first}\n{first} lapsed\nworking as {second}\nworker-x, the worker-threads\n");
        assert_eq!(names(&log), [first, second]);
        assert_eq!(names("worker-"), Vec::<String>::new());
    }
}
