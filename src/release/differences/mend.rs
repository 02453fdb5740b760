//! How differences are mended: stage by stage, each by what is seen when it begins.

use std::collections::BTreeSet;

use anyhow::Result;

use super::repair::Stage;
use super::{Difference, Repair};

/// What is looked at and mended: an app of this host, or one that a test has made up.
pub(in crate::release) trait Mendable {
    /// What differs now.
    async fn look(&mut self) -> Result<Vec<Difference>>;

    /// Does one repair; gives a sentence for everything that it has mended.
    async fn mend(&mut self, repair: &Repair) -> Result<Vec<String>>;
}

/// What became of mending.
#[derive(Debug, Default)]
pub(in crate::release) struct Mended {
    /// A sentence for everything that was mended.
    pub(in crate::release) told: Vec<String>,
    /// What still differs. Nothing is known of it where a stage that the later ones need has failed.
    pub(in crate::release) left: Vec<Difference>,
    /// The first repair that failed.
    pub(in crate::release) failed: Option<anyhow::Error>,
}

/// Mends what can be mended. Where a repair fails that no other one needs, the others are done all the same.
pub(in crate::release) async fn mend(app: &mut impl Mendable) -> Mended {
    let mut mended = Mended::default();
    if let Err(error) = stages(app, &mut mended).await {
        mended.left = Vec::new();
        mended.failed.get_or_insert(error);
    }
    mended
}

async fn stages(app: &mut impl Mendable, mended: &mut Mended) -> Result<()> {
    let mut found = app.look().await?;
    let (mut is_old, mut has_started) = (false, false);
    for stage in Stage::ALL {
        if std::mem::take(&mut is_old) {
            found = app.look().await?;
        }
        for repair in repairs(stage, &found, has_started) {
            has_started |= matches!(repair, Repair::Start(_));
            let done = app.mend(&repair).await;
            // Most often there is nothing to finish.
            is_old |= repair != Repair::Finish || !matches!(&done, Ok(told) if told.is_empty());
            match done {
                Ok(told) => mended.told.extend(told),
                Err(error) if stage.is_needed() => return Err(error),
                Err(error) => drop(mended.failed.get_or_insert(error)),
            }
        }
    }
    if is_old {
        found = app.look().await?;
    }
    mended.left = found;
    Ok(())
}

/// What is to be done in a stage, in its order; each once, however many differences ask for it.
fn repairs(stage: Stage, found: &[Difference], has_started: bool) -> BTreeSet<Repair> {
    let asked = found.iter().filter_map(Difference::repair);
    let mut repairs: BTreeSet<Repair> = asked.filter(|repair| repair.stage() == stage).collect();
    if stage == Stage::Files && !repairs.is_empty() {
        // A file that could tell what state does not must not be put aside before that is known.
        repairs.insert(Repair::State);
    }
    if stage == Stage::Releases {
        // Whoever has the app's lock can tell what has been given up better than who looks.
        repairs.insert(Repair::Finish);
    }
    if stage == Stage::Proxy && has_started && repairs.is_empty() {
        repairs.insert(Repair::Wake);
    }
    repairs
}
