//! `deployer status`

use std::time::Duration;

use super::failure::Result;
use super::runtime::block_on;
use super::{output, select};
use crate::model::{AppName, By, Scope, printable};
use crate::release::registry_here::{self, RegistryStatus};
use crate::release::status::{self, AppStatus, SlotStatus, UnderWay, Waits};
use crate::release::{Context, Outcome, messages};

/// Show what runs in every slot, and what is live
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when it is left out
    app: Option<AppName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it anew every second
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        block_on(async {
            loop {
                let apps = select::apps(context, self.app.as_ref())?;
                let shown = status::of(context, &apps).await?;
                // The registry is for all apps: who may see some of them is not told of it.
                let is_for_all = context.scope == Scope::default();
                let registry = registry_here::status(context).filter(|_| is_for_all);
                let problems = match apps.is_empty() {
                    true => status::of_no_app(context).await,
                    false => Vec::new(),
                };
                if self.json {
                    let version = output::JSON_VERSION;
                    let shape = serde_json::json!({
                        "version": version, "apps": shown, "problems": problems, "registry": registry,
                    });
                    return output::shape(&shape);
                }
                let problems = problems.iter();
                let problems = problems.map(|problem| output::bad(&format!("problem: {problem}")));
                let clear = self.watch.then(|| "\x1b[H\x1b[2J".to_owned());
                output::lines(
                    clear
                        .into_iter()
                        .chain(text(&shown))
                        .chain(registry.map(registry_text))
                        .chain(problems),
                )?;
                if !self.watch {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })?
    }
}

fn text(apps: &[AppStatus]) -> Vec<String> {
    if apps.is_empty() {
        return vec!["no app yet: `deployer app create NAME` makes one".to_owned()];
    }
    apps.iter().flat_map(app_text).collect()
}

fn registry_text(registry: RegistryStatus) -> String {
    let RegistryStatus {
        address,
        storage,
        bytes,
        ..
    } = registry;
    let collected = registry.collected.map_or(String::new(), |collected| {
        let day = collected.at.strftime("%Y-%m-%d");
        format!(
            ", {} when it was collected on {day}",
            messages::bytes(collected.bytes)
        )
    });
    format!(
        "registry {address}: {} in {}{collected}",
        messages::bytes(bytes),
        storage.display()
    )
}

fn app_text(app: &AppStatus) -> Vec<String> {
    let live = match app.live {
        Some(slot) => format!("{slot} is live"),
        None if app.slots.is_empty() => "what is live is not known".to_owned(),
        None => "nothing is live".to_owned(),
    };
    let mut lines = vec![format!("{}: {live} at {}", app.app, app.address)];
    let rows: Vec<Vec<String>> = app.slots.iter().map(|slot| slot_row(app, slot)).collect();
    for (line, slot) in output::table(&rows).into_iter().zip(&app.slots) {
        lines.push(if app.live == Some(slot.slot) {
            output::good(&line)
        } else {
            line
        });
    }
    lines.extend(app.slots.iter().filter_map(failure));
    lines.extend(
        app.under_way
            .iter()
            .filter(|under_way| under_way.has_worker)
            .map(under_way),
    );
    lines.extend(
        app.problems
            .iter()
            .map(|problem| output::bad(&format!("  problem: {problem}"))),
    );
    lines.extend(app.notes.iter().map(|note| format!("  note: {note}")));
    lines
}

fn slot_row(app: &AppStatus, slot: &SlotStatus) -> Vec<String> {
    let Some(release) = slot.release else {
        return vec![format!("  {}", slot.slot), "runs nothing".to_owned()];
    };
    let services = || slot.services.values();
    let wanted: usize = services().map(|service| service.instances).sum();
    let running: Option<usize> = services().map(|service| service.running).sum();
    let running = match running {
        _ if slot.stopped => "stopped".to_owned(),
        Some(running) => format!("{running}/{wanted} running"),
        None => "?".to_owned(),
    };
    vec![
        format!("  {}", slot.slot),
        if app.live == Some(slot.slot) {
            "live"
        } else {
            "standby"
        }
        .to_owned(),
        format!("release {release}"),
        slot.commit
            .as_ref()
            .map_or(String::new(), |commit| commit.short().to_owned()),
        running,
        slot.address.clone(),
        by(slot.by.as_ref()).trim_start().to_owned(),
        slot.subject.clone().unwrap_or_default(),
    ]
}

/// ` by laptop`, where it is known.
fn by(by: Option<&By>) -> String {
    by.map_or(String::new(), |by| format!(" by {}", printable(by.name())))
}

fn failure(slot: &SlotStatus) -> Option<String> {
    let failure = slot.last_failure.as_ref()?;
    let at = match &failure.outcome {
        Outcome::Failed { step, .. } => format!(" at {step}"),
        _ => String::new(),
    };
    Some(format!(
        "  {}: release {} {}{at}",
        slot.slot,
        failure.release,
        failure.outcome.as_str()
    ))
}

fn under_way(under_way: &UnderWay) -> String {
    let at = match (under_way.waits, under_way.step) {
        (Some(Waits::ToTakeEffect), _) => "is ready, and waits to take effect".to_owned(),
        (None, Some(step)) => format!("is at {step}"),
        _ => "waits to be prepared".to_owned(),
    };
    let by = by(under_way.by.as_ref());
    format!("  {}: release {}{by} {at}", under_way.slot, under_way.release)
}
