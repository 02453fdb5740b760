//! `deployer recover`

use super::failure::Result;
use super::runtime::block_on;
use super::{audited, output, select};
use crate::model::AppName;
use crate::release::{Context, busy, recover, switch};

/// Bring what a killed run left to its end, and make state, containers and routes agree
///
/// Safe at any time: where everything agrees it changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when it is left out
    app: Option<AppName>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        audited::audited(context, |subject| {
            let apps = select::apps(context, self.app.as_ref())?;
            subject.app = self.app;
            output::lines(block_on(switch::mend(context))??)?;
            recover_all(context, apps)
        })
    }
}

fn recover_all(context: &Context, apps: Vec<AppName>) -> Result {
    let mut ended: Result = Ok(());
    for app in apps {
        // One app that cannot be mended keeps no other from it.
        match block_on(recover_one(context, &app))? {
            Ok(told) => say(&app, told)?,
            Err(error) => {
                let failure = Err(error.context(app.to_string()).into());
                if let Err(earlier) = std::mem::replace(&mut ended, failure) {
                    earlier.report();
                }
            }
        }
    }
    ended
}

fn say(app: &AppName, told: Vec<String>) -> Result {
    if told.is_empty() {
        output::lines([format!("{app}: nothing to mend")])?;
    }
    output::lines(told.into_iter().map(|line| format!("{app}: {line}")))
}

async fn recover_one(context: &Context, app: &AppName) -> anyhow::Result<Vec<String>> {
    let mut lock = busy::lock(context, app, "recover").await?;
    recover::recover(context, &mut lock).await
}
