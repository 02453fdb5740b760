//! Freeing the registry's disk: pruning deletes manifests, and what they alone needed stays until the registry is collected.
//!
//! A layer that is pushed while that goes on would be taken for one that nobody needs. So each release holds a lock while it
//! uses the registry, and the collection waits until it has that lock alone.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::context::Context;
use super::{messages, registry_here};
use crate::ground::failpoint;
use crate::ground::told::Told;
use crate::registry;

/// Where `deployer install` puts what frees the disk of a registry on this host.
const UNITS: &str = "/etc/systemd/system";
/// How long a collection waits for releases that push or pull.
const RELEASES_END: Duration = Duration::from_secs(10 * 60);
/// How long a release waits for a collection: longer than one may take.
const COLLECTION_ENDS: Duration = Duration::from_secs(32 * 60);
/// How long the registry may take to answer again.
const ANSWERS: Duration = Duration::from_secs(60);
/// What tells more.
const GUIDE: &str = "docs/guides/registry.md";
/// The pause before the next look at the lock, or at the registry.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the command that frees the disk while no release uses the registry, and waits until the registry answers again.
///
/// # Errors
/// When there is no such command, releases use the registry all the while, the command fails, or the registry does not
/// answer after it.
pub async fn collect(context: &Context, told: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
    let command = command(context)?;
    let began = Instant::now();
    let mut waits = || told("waiting until no release pushes or pulls");
    let lock = await_lock(RELEASES_END, &mut waits, || {
        Ok(context.store.try_take_registry()?)
    })
    .await?;
    let Some(lock) = lock else {
        let told = format!(
            "releases have used the registry for {} all the while: nothing was collected",
            messages::time(began.elapsed())
        );
        bail!(Told::new(told).hint("try again later"));
    };
    failpoint::at("collection.locked");
    let handed_on = lock
        .try_clone()
        .context("the registry's lock cannot be handed on")?;
    let collected = registry::collect(&command, handed_on).await;
    failpoint::at("collection.ended");
    // Also where the command failed: what it stopped may not have come back.
    let answered = answers(context).await;
    if collected.is_ok() {
        registry_here::measure(context, true).await;
    }
    drop(lock);
    match (collected, answered) {
        (Ok(()), answered) => answered,
        (Err(failed), Ok(())) => bail!("{failed}. The registry answers"),
        (Err(failed), Err(silent)) => bail!("{failed}. {silent}"),
    }
}

/// The command that frees the disk: the configured one, or the one for what `deployer install` has made.
fn command(context: &Context) -> Result<Vec<String>> {
    let settings = &context.settings.registry;
    if let Some(command) = &settings.collect {
        if command.is_empty() {
            let told = "`registry.collect = []` says that nothing is to free the registry's disk";
            bail!(Told::new(told).hint(GUIDE));
        }
        return Ok(command.clone());
    }
    let Ok(unit) = std::fs::read_to_string(Path::new(UNITS).join(registry::COLLECT_UNIT)) else {
        let told = format!(
            "nothing is known that frees the disk of the registry {}: `deployer install`, as root, makes it for a registry on \
             this host, and `registry.collect` names the command for any other",
            settings.address
        );
        bail!(Told::new(told).hint(GUIDE));
    };
    let is_of =
        |line: &str| line.starts_with("Description=") && line.ends_with(&format!(" {}", settings.address));
    if !unit.lines().any(is_of) {
        bail!(
            "{} was made for another registry than {}: `deployer install`, as root, makes it anew",
            registry::COLLECT_UNIT,
            settings.address
        );
    }
    Ok(registry::usual_command())
}

/// Keeps the registry from being collected until the result is dropped; waits while it is, which `told` hears.
///
/// # Errors
/// When it is collected for longer than a collection may take.
pub(super) async fn kept_off(context: &Context, told: &mut (dyn FnMut(&str) + Send)) -> Result<File> {
    let mut waits = || told("waiting: `deployer prune --registry` frees the registry's disk");
    let lock = await_lock(COLLECTION_ENDS, &mut waits, || {
        Ok(context.store.try_use_registry()?)
    })
    .await?;
    lock.with_context(|| {
        format!(
            "the registry's disk is being freed (`deployer prune --registry`) for more than {}",
            messages::time(COLLECTION_ENDS)
        )
    })
}

async fn await_lock(
    deadline: Duration,
    waits: &mut (dyn FnMut() + Send),
    mut try_lock: impl FnMut() -> Result<Option<File>>,
) -> Result<Option<File>> {
    let began = Instant::now();
    let mut has_told = false;
    loop {
        if let Some(lock) = try_lock()? {
            return Ok(Some(lock));
        }
        if began.elapsed() >= deadline {
            return Ok(None);
        }
        if !std::mem::replace(&mut has_told, true) {
            waits();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answers(context: &Context) -> Result<()> {
    let registry = context.registry(&context.settings.registry.address)?;
    let began = Instant::now();
    loop {
        match registry.check().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() >= ANSWERS => {
                bail!("The registry does not answer as it should since it was collected: {error}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
