//! Taking an app's locks for a command that does not wait its turn for long.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::context::Context;
use crate::model::{AppName, Slot};
use crate::store::{AppLock, Holder, SlotLock};

/// How long a command waits for the app's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried.
const POLL: Duration = Duration::from_millis(50);

/// Another run holds the app's lock.
#[derive(Debug, thiserror::Error)]
#[error("{app} is busy: {what}. Try again when it has ended")]
pub struct Busy {
    app: AppName,
    what: String,
}

impl Busy {
    fn by(app: &AppName, holder: Option<Holder>) -> Self {
        let what = match holder {
            Some(holder) => match (holder.release, holder.step) {
                (Some(release), Some(step)) => format!("release {release} is at {step}"),
                (Some(release), None) => format!("release {release} begins"),
                _ => format!("`deployer {}` (process {}) works on it", holder.what, holder.pid),
            },
            None => "another run works on it".to_owned(),
        };
        let app = app.clone();
        Self { app, what }
    }
}

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
            return Err(Busy::by(app, context.store.holder(app)).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Takes the locks of `app`'s slots for the command `what`, so that no release is prepared, waiting at most 5 s.
///
/// # Errors
/// [`Busy`] when a release is prepared all the while.
pub async fn lock_slots(context: &Context, app: &AppName, what: &str) -> Result<Vec<SlotLock>> {
    let began = Instant::now();
    let mut locks = Vec::new();
    for slot in Slot::BOTH {
        loop {
            if let Some(mut lock) = context.store.try_lock_slot(app, slot)? {
                lock.says(what, None, None);
                locks.push(lock);
                break;
            }
            if began.elapsed() >= PATIENCE {
                return Err(Busy::by(app, context.store.slot_holder(app, slot)).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(locks)
}
