//! Taking an app's lock for a command that does not wait its turn for long.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::context::Context;
use crate::model::AppName;
use crate::store::AppLock;

/// How long a command waits for the app's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// Another run holds the app's lock.
#[derive(Debug, thiserror::Error)]
#[error("{app} is busy: {what}. Try again when it has ended")]
pub struct Busy {
    app: AppName,
    what: String,
}

/// There is no such app, slot or release.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// Takes `app`'s lock for the command `what`, waiting at most 5 s.
///
/// # Errors
/// [`Busy`] when another run holds it all the while.
pub async fn lock(context: &Context, app: &AppName, what: &str) -> Result<AppLock> {
    let began = Instant::now();
    loop {
        if let Some(mut lock) = context.store.try_lock(app)? {
            lock.says(what, None, None);
            return Ok(lock);
        }
        if began.elapsed() >= PATIENCE {
            let holder = context.store.holder(app);
            let what = match holder {
                Some(holder) => match (holder.release, holder.step) {
                    (Some(release), Some(step)) => format!("release {release} is at {step}"),
                    (Some(release), None) => format!("release {release} begins"),
                    _ => format!("`deployer {}` (process {}) works on it", holder.what, holder.pid),
                },
                None => "another run works on it".to_owned(),
            };
            return Err(Busy {
                app: app.clone(),
                what,
            }
            .into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
