//! `deployer recover`

use super::failure::Result;
use super::runtime::block_on;
use super::{audited, output, select};
use crate::model::AppName;
use crate::release::recover::{self, Recovered};
use crate::release::{Context, app_lock, messages, switch};

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
        let recovered = match block_on(recover_one(context, &app))? {
            Ok(recovered) => recovered,
            Err(error) => Recovered {
                failed: Some(error),
                ..Recovered::default()
            },
        };
        if let Some(error) = tell(&app, recovered)? {
            let failure = Err(error.context(app.to_string()).into());
            if let Err(earlier) = std::mem::replace(&mut ended, failure) {
                earlier.report();
            }
        }
    }
    ended
}

/// Prints what became of an app; gives why it did not come to its end.
fn tell(app: &AppName, recovered: Recovered) -> Result<Option<anyhow::Error>> {
    let Recovered { told, left, failed } = recovered;
    let nothing = (told.is_empty() && failed.is_none()).then(|| "nothing to mend".to_owned());
    let left = left.iter().filter(|_| failed.is_none()).map(messages::not_mended);
    let lines = nothing.into_iter().chain(told).chain(left);
    output::lines(lines.map(|line| format!("{app}: {line}")))?;
    Ok(failed)
}

async fn recover_one(context: &Context, app: &AppName) -> anyhow::Result<Recovered> {
    let mut lock = app_lock::lock(context, app, "recover").await?;
    Ok(recover::recover(context, &mut lock).await)
}
