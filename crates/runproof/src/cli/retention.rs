//! `archive`, `purge`, `hold`, `release-hold` and `holds`.

use clap::Args;
use runproof_engine::projection::rfc3339;
use runproof_proof::finding::counted;
use runproof_store::{Store, TenantChange};
use serde_json::{Value, json};

use super::list::find_tenant;
use super::steer::clean;
use super::{close, execute, request};
use crate::app::{App, local_actor};
use crate::engine::Command;
use crate::error::{AppError, Code, Kind};
use crate::output::{Output, table};
use crate::runtime;

/// Moves closed runs into their archives: verified before their rows go, and read back verified. Finishes what a crash
/// left unfinished.
#[derive(Args)]
pub(super) struct Archive {
    #[command(flatten)]
    which: Which,
}

/// Puts tombstones in place of archives: the values are gone for good, that the runs existed is still proved.
#[derive(Args)]
pub(super) struct Purge {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Only this run
    #[arg(long, value_name = "RUN_ID", required_unless_present = "older_than", conflicts_with = "older_than")]
    run: Option<String>,
    /// Every run that ended, or was archived, so long ago: a number and `d`, `h`, `m` or `s`
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<u64>,
    /// Least time since the run ended (archive) or was archived (purge)
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "24h")]
    min_age: u64,
    /// Most runs at once
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Say which runs it would be, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Microseconds in `90d`, `24h`, `5m`, `10s` or `0`.
fn age(text: &str) -> Result<u64, String> {
    let wrong = || "a number and d, h, m or s, such as 90d".to_owned();
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "d" => 24 * 60 * 60,
        "h" => 60 * 60,
        "m" => 60,
        "s" => 1,
        "" if number == "0" => 0,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds * 1_000_000)).ok_or_else(wrong)
}

/// Which of the two steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Archive,
    Purge,
}

impl Step {
    fn done(self) -> &'static str {
        match self {
            Self::Archive => "archived",
            Self::Purge => "purged",
        }
    }

    /// Runs that are old enough, oldest first.
    async fn candidates(
        self,
        store: &dyn Store,
        tenant: &str,
        age: u64,
        limit: usize,
    ) -> Result<Vec<String>, AppError> {
        let before = rfc3339(runtime::now().saturating_sub(age));
        if self == Self::Archive {
            return Ok(store.over_before(tenant, &before, limit).await?);
        }
        let kept = store.list_kept(Some(tenant)).await?.into_iter();
        let old = kept.filter(|run| run.state == "archived" && run.since <= before);
        Ok(old.take(limit).map(|run| run.run_id).collect())
    }

    fn command(self, tenant: &str, run_id: &str, min_age: u64) -> Command {
        let (tenant, run_id, actor) = (tenant.to_owned(), run_id.to_owned(), local_actor());
        match self {
            Self::Archive => Command::Archive { tenant, run_id, min_age, actor },
            Self::Purge => Command::Purge { tenant, run_id, min_age, actor },
        }
    }
}

impl Archive {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        self.which.carry_out(output, Step::Archive).await
    }
}

impl Purge {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        self.which.carry_out(output, Step::Purge).await
    }
}

impl Which {
    async fn carry_out(self, output: Output, step: Step) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let single = self.run.is_some();
        let runs = self.runs(&app, step).await?;
        if self.dry_run {
            output.print(&json!({ "would_be": step.done(), "runs": runs }), || {
                let lines: String = runs.iter().map(|run| format!("{run}\n")).collect();
                let count = counted(runs.len() as u64, "run", "runs");
                format!("{lines}{count} would be {}, if VERIFIED and under no hold\n", step.done())
            });
            return Ok(0);
        }
        let engine = app.engine(output).await?;
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        for run_id in runs {
            let command = step.command(&self.tenant_id, &run_id, self.min_age);
            let result = match &engine {
                Some(engine) => engine.execute(command).await,
                None => request(&app, output, &command).await,
            };
            match result {
                Ok(_) => done.push(run_id),
                Err(error) if single => {
                    if let Some(engine) = &engine {
                        close(engine, output).await;
                    }
                    return Err(error);
                }
                Err(error) => {
                    output.note(&format!("run {run_id} is not {}: {error}", step.done()));
                    skipped.push((run_id, error));
                }
            }
        }
        if let Some(engine) = &engine {
            close(engine, output).await;
        }
        print(output, step, &done, &skipped);
        // A hold is what it is for; whatever else kept a run is for somebody to look at.
        let is_trouble = skipped.iter().any(|(_, error)| error.code != Code::RunHeld);
        Ok(if is_trouble { Kind::Refused.exit_code() } else { 0 })
    }

    async fn runs(&self, app: &App, step: Step) -> Result<Vec<String>, AppError> {
        if let Some(run) = &self.run {
            return Ok(vec![run.clone()]);
        }
        let age = self.older_than.unwrap_or_default().max(self.min_age);
        step.candidates(app.reader().await?.as_ref(), &self.tenant_id, age, self.limit).await
    }
}

fn print(output: Output, step: Step, done: &[String], skipped: &[(String, AppError)]) {
    let left: Vec<Value> = skipped
        .iter()
        .map(|(run_id, error)| json!({ "run_id": run_id, "code": error.code, "message": error.message }))
        .collect();
    output.print(&json!({ step.done(): done, "skipped": left }), || {
        let mut text = format!("{} {}\n", counted(done.len() as u64, "run", "runs"), step.done());
        if !skipped.is_empty() {
            text.push_str(&format!("{} skipped\n", counted(skipped.len() as u64, "run", "runs")));
        }
        text
    });
}

/// Puts a legal hold on a run: until it is released, nothing of the run is archived or purged.
#[derive(Args)]
pub(super) struct Hold {
    #[command(flatten)]
    held: Held,
}

/// Releases the legal hold on a run.
#[derive(Args)]
pub(super) struct ReleaseHold {
    #[command(flatten)]
    held: Held,
}

#[derive(Args)]
struct Held {
    /// Run id
    run_id: String,
    /// Tenant (default: the one whose run it is)
    #[arg(long)]
    tenant_id: Option<String>,
    /// Why; goes on record
    #[arg(long)]
    reason: String,
}

impl Held {
    async fn change(
        self,
        output: Output,
        state: &str,
        change: impl FnOnce(String, String) -> TenantChange,
    ) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        if self.reason.trim().is_empty() {
            return Err(AppError::new(Code::ReasonBlank, "the reason is blank, nothing was written").hint("say why"));
        }
        let tenant = find_tenant(app.reader().await?.as_ref(), &self.run_id, self.tenant_id).await?;
        let change = change(self.run_id.clone(), clean(&self.reason)?);
        execute(&app, output, Command::Tenant { tenant: tenant.clone(), change, actor: local_actor() }).await?;
        let value = json!({ "run_id": self.run_id, "tenant_id": tenant, "hold": state == "under a hold" });
        output.print(&value, || format!("run {} is {state}\n", self.run_id));
        Ok(0)
    }
}

impl Hold {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        self.held.change(output, "under a hold", |run_id, reason| TenantChange::PlaceHold { run_id, reason }).await
    }
}

impl ReleaseHold {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        self.held.change(output, "under no hold", |run_id, reason| TenantChange::LiftHold { run_id, reason }).await
    }
}

/// Lists the legal holds of a tenant.
#[derive(Args)]
pub(super) struct Holds {
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Also those that were released
    #[arg(long)]
    all: bool,
}

impl Holds {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let mut holds = App::from_environment()?.reader().await?.list_holds(&self.tenant_id).await?;
        holds.retain(|hold| self.all || hold.lifted_at.is_none());
        output.print(&json!({ "holds": holds }), || {
            let rows: Vec<Vec<String>> = holds
                .iter()
                .map(|hold| {
                    let released = hold.lifted_at.clone().unwrap_or_default();
                    vec![hold.run_id.clone(), hold.placed_at.clone(), released, hold.reason.clone()]
                })
                .collect();
            table(&["RUN", "SINCE", "RELEASED", "REASON"], &rows)
        });
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("10s", 10), ("5m", 300), ("24h", 86_400), ("90d", 7_776_000)] {
            assert_eq!(age(text), Ok(seconds * 1_000_000), "{text}");
        }
        for text in ["", "d", "5", "1.5h", "-1d", "1 d", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
