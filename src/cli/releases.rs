//! `deployer releases`

use serde::Serialize;

use super::failure::Result;
use super::{output, select};
use crate::model::{AppName, By, ByService, Commit, Digest, Intent, ReleaseId, Slot, Source, printable};
use crate::release::history::{self, Past};
use crate::release::{Context, Outcome, Step};
use crate::store::AppState;

/// List an app's releases, the newest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; it may be left out where there is only one
    app: Option<AppName>,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One release, as JSON gives it.
#[derive(Debug, Serialize)]
struct Listed {
    release: ReleaseId,
    slot: Slot,
    source: Source,
    intent: Intent,
    /// The release whose source this is, where that was released once more.
    redeploys: Option<ReleaseId>,
    commit: Option<Commit>,
    subject: Option<String>,
    /// Of each service whose image was pushed.
    digests: ByService<Digest>,
    /// live, standby, failed, cancelled, interrupted, superseded; null while it is under way
    outcome: Option<&'static str>,
    step: Option<Step>,
    received: jiff::Timestamp,
    /// Whether its build asked the registries for the base images anew.
    pull: bool,
    by: Option<By>,
    steps: Vec<StepTime>,
    drained: u64,
    cut: u64,
    kept: bool,
}

#[derive(Debug, Serialize)]
struct StepTime {
    step: Step,
    milliseconds: u64,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let app = select::app(context, self.app.as_ref())?;
        let state = context.store.state(&app).unwrap_or_default();
        let newest = history::newest_first(context, &app)?.take(self.limit);
        if self.json {
            return output::json("releases", &newest.map(listed).collect::<Vec<_>>());
        }
        let heading = [
            "RELEASE", "SLOT", "OUTCOME", "COMMIT", "FROM", "BY", "RECEIVED", "SUBJECT",
        ]
        .map(str::to_owned)
        .to_vec();
        let rows: Vec<Vec<String>> = [heading]
            .into_iter()
            .chain(newest.map(|past| row(&past, &state)))
            .collect();
        output::lines(output::table(&rows))
    }
}

fn row(past: &Past, state: &AppState) -> Vec<String> {
    let outcome = match (&past.outcome, past.step) {
        (Some(outcome), _) => told(outcome, past, state),
        (None, _) if !past.dir.has_worker() => "unfinished".to_owned(),
        (None, Some(step)) => format!("at {step}"),
        (None, None) => "waiting".to_owned(),
    };
    let record = &past.record;
    let from = match (record.intent, record.redeploys, record.goes_back_to()) {
        (Intent::Promote { .. }, ..) => "promote".to_owned(),
        (_, Some(of), _) => format!("redeploy of {of}"),
        (_, _, Some(to)) => format!("rollback to {to}"),
        _ => "push".to_owned(),
    };
    let by = past.record.by.as_ref();
    vec![
        past.record.id.to_string(),
        past.record.slot.to_string(),
        outcome,
        past.record
            .source
            .commit()
            .map_or(String::new(), |commit| commit.short().to_owned()),
        from,
        by.map_or(String::new(), |by| printable(by.name()).into_owned()),
        past.record.received.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        past.record.source.subject().unwrap_or_default().to_owned(),
    ]
}

/// How a release ended, and for a good one whether it is so still.
fn told(outcome: &Outcome, past: &Past, state: &AppState) -> String {
    let runs = state
        .slots
        .get(&past.record.slot)
        .is_some_and(|running| running.release == past.record.id);
    match outcome {
        _ if runs && state.live == Some(past.record.slot) => "live now",
        _ if runs => "on standby",
        Outcome::Live => "was live",
        Outcome::Standby => "was standby",
        other => other.as_str(),
    }
    .to_owned()
}

fn listed(past: Past) -> Listed {
    Listed {
        release: past.record.id,
        slot: past.record.slot,
        outcome: past.outcome.as_ref().map(|outcome| outcome.as_str()),
        kept: past.is_kept(),
        digests: past
            .facts
            .images
            .iter()
            .map(|(service, image)| (service.clone(), image.digest.clone()))
            .collect(),
        drained: past.facts.drained.0,
        cut: past.facts.drained.1,
        steps: past
            .took
            .iter()
            .map(|(step, milliseconds)| StepTime {
                step: *step,
                milliseconds: *milliseconds,
            })
            .collect(),
        commit: past.record.source.commit().cloned(),
        subject: past.record.source.subject().map(str::to_owned),
        source: past.record.source,
        intent: past.record.intent,
        redeploys: past.record.redeploys,
        by: past.record.by,
        step: past.step,
        received: past.record.received.at,
        pull: past.record.pull,
    }
}
