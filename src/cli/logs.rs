//! `deployer logs`

use futures_util::StreamExt;

use super::{Code, Failure, Result, output, select, wait};
use crate::model::SlotName;
use crate::release::Context;

/// Show what a slot's instances print
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: SlotName,
    /// Go on as they print more
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines of each instance
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    tail: usize,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        wait(self.show(context))?
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
        instances.sort_by_key(|instance| instance.index);
        if instances.is_empty() {
            return Err(Failure::new(Code::NotFound, format!("{app}/{slot} runs nothing")));
        }
        let several = instances.len() > 1;
        let named = |index: u8, line: String| if several { format!("{index}: {line}") } else { line };
        if !self.follow {
            for instance in &instances {
                let lines = engine.logs_tail(&instance.id, self.tail, 16 << 20).await?;
                output::lines(lines.into_iter().map(|line| named(instance.index, line)))?;
            }
            return Ok(());
        }
        let followed: Vec<_> = instances
            .into_iter()
            .map(|instance| (instance.index, instance.id))
            .collect();
        let mut lines = engine.logs_follow(&followed, self.tail);
        while let Some(line) = lines.next().await {
            let (index, line) = line?;
            output::lines([named(index, line)])?;
        }
        Ok(())
    }
}
