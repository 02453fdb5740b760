//! `deployer prune`

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::failure::Result;
use super::runtime::block_on;
use super::{audited, output, select};
use crate::model::{AppName, ReleaseId};
use crate::release::collect::collect;
use crate::release::prune::{Mode, Pruned, prune};
use crate::release::registry_here::measure;
use crate::release::{Context, app_lock, messages};

/// Remove images and logs that are past their keeping
///
/// Every release does so at its end. What a slot runs, and the last `keep` releases of each slot, always stay.
/// What a killed git has left in a repository goes too, once nothing has changed in it for ten minutes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when it is left out
    app: Option<AppName>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Have the registry free its disk too, while no release uses it
    #[arg(long, conflicts_with = "dry_run")]
    registry: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let named = self.app.as_ref();
        if self.dry_run {
            return self.tell(&prune_all(context, named, Mode::DryRun)?);
        }
        audited::audited(context, |subject| {
            subject.app = named.cloned();
            let all = prune_all(context, named, Mode::Remove)?;
            self.tell(&all)?;
            block_on(measure(context, false))?;
            answered(context, &all)?;
            if self.registry {
                block_on(collect(context, &mut |told: &str| eprintln!("{told}")))??;
            }
            Ok(())
        })
    }

    fn tell(&self, all: &BTreeMap<AppName, Pruned>) -> Result {
        if self.json {
            return output::json("pruned", all);
        }
        let verb = if self.dry_run { "would go" } else { "removed" };
        output::lines(all.iter().flat_map(|(app, pruned)| said(app, pruned, verb)))
    }
}

/// # Errors
/// When the configured registry did not delete something. One of before may be gone for good.
fn answered(context: &Context, all: &BTreeMap<AppName, Pruned>) -> Result {
    let configured = &context.settings.registry.address;
    let put_off = all.values().flat_map(|pruned| &pruned.put_off);
    match put_off.into_iter().find(|one| one.registry == *configured) {
        Some(one) => Err(anyhow!("not everything was pruned: {}", one.reason).into()),
        None => Ok(()),
    }
}

fn said(app: &AppName, pruned: &Pruned, verb: &str) -> Vec<String> {
    let list = |ids: &[ReleaseId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if pruned.is_empty() {
        lines.push(format!("{app}: nothing is past its keeping"));
    }
    if !pruned.images.is_empty() {
        lines.push(format!(
            "{app}: images of releases {} {verb}",
            list(&pruned.images)
        ));
    }
    if !pruned.logs.is_empty() {
        lines.push(format!("{app}: logs of releases {} {verb}", list(&pruned.logs)));
    }
    for leftover in &pruned.leftovers {
        lines.push(format!(
            "{app}: {} {verb}: a git that was killed left it",
            leftover.display()
        ));
    }
    if !pruned.not_deletable.is_empty() {
        lines.push(format!(
            "{app}: the registry keeps the images of releases {}, because it does not allow deletion",
            list(&pruned.not_deletable)
        ));
    }
    let kept = pruned.waits_for.as_deref().map(messages::prune_waits).into_iter();
    let kept = kept.chain(messages::put_off(pruned));
    let kept = kept.chain(pruned.left_behind.iter().map(messages::left_behind));
    lines.extend(kept.map(|told| format!("{app}: {told}")));
    lines
}

fn prune_all(context: &Context, named: Option<&AppName>, mode: Mode) -> Result<BTreeMap<AppName, Pruned>> {
    let mut all = BTreeMap::new();
    for app in select::apps(context, named)? {
        let pruned = block_on(prune_one(context, &app, mode))??;
        all.insert(app, pruned);
    }
    Ok(all)
}

async fn prune_one(context: &Context, app: &AppName, mode: Mode) -> anyhow::Result<Pruned> {
    let lock = app_lock::lock(context, app, "prune").await?;
    prune(context, &context.app(app)?, &lock, mode).await
}
