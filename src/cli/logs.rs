//! `deployer logs`

use futures_util::StreamExt;

use super::failure::{Code, Failure, Result};
use super::runtime::block_on;
use super::since::Since;
use super::{output, select};
use crate::engine::LogRange;
use crate::model::{InstanceName, SlotName};
use crate::release::Context;

/// Show what a slot's instances print
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: SlotName,
    /// Go on as they print more
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines of each instance; 100 unless told otherwise, or all since WHEN
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// Only what was printed since then: a time back (10m, 2h, 7d), or a day or time in UTC (2026-11-21, 2026-11-21T10:00)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
}

/// How many of an instance's last lines are shown where nothing says how many.
const SHOWN: usize = 100;

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        block_on(self.show(context))?
    }

    async fn show(self, context: &Context) -> Result {
        let (app, slot) = select::slot(context, &self.slot)?;
        let state = context.store.state(&app)?;
        let engine = context.engine().await?;
        let mut instances = engine.instances(Some(&app)).await?;
        instances.retain(|instance| {
            instance.slot == slot
                && state
                    .slots
                    .get(&slot)
                    .is_none_or(|running| running.release == instance.release)
        });
        instances.sort_by(|one, other| one.name.cmp(&other.name));
        if instances.is_empty() {
            return Err(Failure::new(Code::NotFound, format!("{app}/{slot} runs nothing")));
        }
        let several = instances.len() > 1;
        let named = |name: InstanceName, line: String| if several { format!("{name}: {line}") } else { line };
        let range = LogRange {
            tail: self.tail.or(self.since.is_none().then_some(SHOWN)),
            since: self.since.map(|since| since.0),
            follow: self.follow,
        };
        let ids = instances.into_iter();
        let ids: Vec<_> = ids.map(|instance| (instance.name, instance.id)).collect();
        // What is there already is shown an instance at a time, and what is still to come of all of them at once.
        let at_once = if self.follow { ids.len() } else { 1 };
        for ids in ids.chunks(at_once) {
            let mut lines = engine.logs(ids, range);
            while let Some(line) = lines.next().await {
                let (name, line) = line?;
                output::lines([named(name, line)])?;
            }
        }
        Ok(())
    }
}
