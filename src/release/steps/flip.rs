//! flip: one call changes the whole route, and a request through the proxy shows who answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::{join, try_join};

use crate::ground::failpoint;
use crate::proxy::{AppRoute, Applied, ProxyError};
use crate::release::instances::{instances_of, settle};
use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::messages::VisitorsSee;
use crate::release::retry::engine_that_answers;
use crate::release::route::{asked_for, goes_to_the_same, route_of};
use crate::release::visitor;
use crate::release::work::{Done, Work};

/// How long a proxy that went away after the intent was written is waited for: its supervisor starts it again
/// within a second.
const PROXY_COMES_BACK: Duration = Duration::from_secs(10);

/// How long it may take to see what visitors see.
const VISIT: Duration = Duration::from_secs(2);

/// The proxy answers, so that the flip's intent may be written.
pub(in crate::release) async fn proxy_answers(work: &mut Work<'_>) -> anyhow::Result<()> {
    if let Some(missing) = work.context.proxy.missing() {
        bail!(missing);
    }
    if let Some(differs) = work.context.proxy.differs() {
        work.log.note(differs.to_string());
    }
    work.context.proxy.current()?.ready().await?;
    Ok(())
}

pub(in crate::release) async fn flip(work: &mut Work<'_>) -> Done {
    let route = route_of(&work.attempt.app, work.attempt.after()?);
    let applied = put(work, &route).await?;
    let tries_again = work.context.proxy.in_use()?.kind.has_embedded();
    for closed in &applied.closed {
        let told = messages::closed_port(&work.attempt.app.name, closed, tries_again);
        work.log.note(told);
    }
    // The release serves. A crash from here on does all of it again.
    let proof = async { try_join!(settle_new(work), shows_the_new_release(work, &applied)) };
    let (proven, seen) = join!(proof, what_visitors_see(work));
    if let Some(VisitorsSee::Note(text) | VisitorsSee::Problem(text)) = seen {
        work.log.note(text);
    }
    proven?;
    failpoint::at("route.shown");
    let slot = work.attempt.slot();
    if !work.attempt.promotes() {
        let port = work.attempt.app.ports().of(slot);
        let shown = match applied.closed.iter().any(|closed| closed.port == port) {
            true => "no port shows it yet".to_owned(),
            false => format!("{} shows it", work.context.slot_address(&work.attempt.app, slot)),
        };
        return Ok((Learned::Nothing, format!("{shown}; live is as before")));
    }
    let what = match work.attempt.live_before() {
        Some(before) => format!(
            "live: {slot} (before: {}, release {})",
            before.slot, before.release
        ),
        None => format!("live: {slot}"),
    };
    Ok((Learned::Nothing, what))
}

/// Puts back the route that was in force before this release, unless the proxy never left it. Says so, where
/// there was anything to do.
pub(in crate::release) async fn flip_back(work: &mut Work<'_>) -> anyhow::Result<Option<String>> {
    let wanted = route_of(&work.attempt.app, &work.attempt.before);
    let routes = patiently(async || work.context.proxy.current()?.routes().await).await?;
    let in_force = routes
        .into_iter()
        .find(|route| route.app == work.attempt.app.name);
    match in_force {
        None if work.attempt.before.slots.is_empty() => return Ok(None),
        Some(route) if goes_to_the_same(&route, &wanted) => return Ok(None),
        Some(_) if work.attempt.before.slots.is_empty() => {
            let proxy = work.context.proxy.current()?;
            proxy.remove_route(&work.attempt.app.name).await?;
        }
        _ => drop(put(work, &wanted).await?),
    }
    Ok(Some("traffic goes where it went before".to_owned()))
}

async fn put(work: &Work<'_>, route: &AppRoute) -> Result<Applied, ProxyError> {
    failpoint::at("route.asked");
    let applied = patiently(|| work.context.proxy.put_route(route)).await;
    failpoint::at("route.answered");
    applied
}

/// What was probed, and so did not end by itself at once, is started again by the Engine whenever it ends from here
/// on.
async fn settle_new(work: &Work<'_>) -> anyhow::Result<()> {
    let running = work.attempt.running()?;
    let engine = engine_that_answers(work.context).await?;
    let instances = instances_of(engine, &work.attempt.app, work.attempt.slot(), running).await?;
    let wanted = running.instances();
    if instances.len() != wanted {
        bail!(messages::too_few_instances(instances.len(), wanted));
    }
    settle(engine, &work.attempt.app, &instances).await
}

/// Asks the proxy again while it is away, and where it went away over its answer: a route may be put twice.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ProxyError>) -> Result<T, ProxyError> {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(ProxyError::Unreachable { .. } | ProxyError::BrokeOff { .. })
                if began.elapsed() < PROXY_COMES_BACK =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            ended => return ended,
        }
    }
}

/// A rule of the user's in front of the app is told, and stops nothing: what proves the flip was asked behind it.
async fn what_visitors_see(work: &Work<'_>) -> Option<VisitorsSee> {
    let proxy = work.context.proxy.current().ok();
    let proxy = proxy.filter(|_| work.attempt.promotes())?;
    visitor::sees(work.context, proxy.as_ref(), &work.attempt.app, VISIT).await
}

/// A request by the choice that the public port goes by must be answered by the release that the route names, when it
/// is live.
async fn shows_the_new_release(work: &Work<'_>, applied: &Applied) -> anyhow::Result<()> {
    if !work.attempt.promotes() {
        return Ok(());
    }
    let running = work.attempt.running()?;
    let (host, path) = asked_for(&work.attempt.app.settings);
    let public = work.context.proxy.listen();
    let checked = work
        .context
        .proxy
        .current()?
        .check(&work.attempt.app.name, &host, path, &applied.check)
        .await
        .with_context(|| format!("no answer from the proxy of {public}"))?;
    match checked.release {
        Some(release) if release == (work.attempt.slot(), running.release) => Ok(()),
        Some((slot, release)) => bail!(
            "the proxy of {public} answers by {slot} release {release} for the host {host}, not by {} release {}",
            work.attempt.slot(),
            running.release
        ),
        None if (502..=504).contains(&checked.status) => bail!(
            "the proxy of {public} answered {} for the host {host}: no instance has answered a GET of {path}",
            checked.status
        ),
        None => bail!(
            "the proxy of {public} answered {} for the host {host}, and not from an instance: another program may hold the \
             port",
            checked.status
        ),
    }
}
