//! `deployer recover`

use super::{Result, output, select, wait};
use crate::model::AppName;
use crate::release::{Context, busy, recover};

/// Bring what a killed run left to its end, and make state, containers and routes agree
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when it is left out
    app: Option<AppName>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        for app in select::apps(context, self.app.as_ref())? {
            let told = wait(recover_one(context, &app))??;
            if told.is_empty() {
                output::lines([format!("{app}: nothing to mend")])?;
            }
            output::lines(told.into_iter().map(|line| format!("{app}: {line}")))?;
        }
        Ok(())
    }
}

async fn recover_one(context: &Context, app: &AppName) -> anyhow::Result<Vec<String>> {
    let mut lock = busy::lock(context, app, "recover").await?;
    recover::recover(context, &mut lock).await
}
