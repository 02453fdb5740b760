//! flip: one call changes the whole route, and a request through the proxy shows who answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::{join, try_join};

use super::entry::Learned;
use super::retry::engine_that_answers;
use super::route::{asked_for, goes_to_the_same, route_of};
use super::run::{Done, Run};
use super::say;
use super::say::VisitorsSee;
use super::start::{instances_of, settle};
use super::visitor;
use crate::ground::failpoint;
use crate::proxy::{AppRoute, Applied, ProxyError};

/// How long a proxy that went away after the intent was written is waited for: its supervisor starts it again
/// within a second.
const PROXY_COMES_BACK: Duration = Duration::from_secs(10);

/// How long it may take to see what visitors see.
const VISIT: Duration = Duration::from_secs(2);

/// The proxy answers, so that the flip's intent may be written.
pub(super) async fn proxy_answers(run: &mut Run<'_>) -> anyhow::Result<()> {
    if let Some(missing) = run.context.proxy.missing() {
        bail!(missing);
    }
    if let Some(differs) = run.context.proxy.differs() {
        run.log.line(&format!(" note: {differs}"));
    }
    run.context.proxy.current()?.ready().await?;
    Ok(())
}

pub(super) async fn flip(run: &mut Run<'_>) -> Done {
    let after = run.after()?;
    let route = route_of(run.context, &run.app, &after)?;
    let applied = put(run, &route).await?;
    let tries_again = run.context.proxy.in_use()?.kind.has_embedded();
    for closed in &applied.closed {
        let told = say::closed_port(&run.app.name, closed, tries_again);
        run.log.line(&format!(" note: {told}"));
    }
    // The release serves. A crash from here on does all of it again.
    let proof = async { try_join!(settle_new(run), shows_the_new_release(run, &applied)) };
    let (proven, seen) = join!(proof, what_visitors_see(run));
    if let Some(VisitorsSee::Note(text) | VisitorsSee::Problem(text)) = seen {
        run.log.line(&format!(" note: {text}"));
    }
    proven?;
    failpoint::at("route.shown");
    let slot = run.slot();
    if !run.promotes() {
        let port = run.app.ports().of(slot);
        let shown = match applied.closed.iter().any(|closed| closed.port == port) {
            true => "no port shows it yet".to_owned(),
            false => format!("{} shows it", run.context.slot_address(&run.app, slot)),
        };
        return Ok((Learned::Nothing, format!("{shown}; live is as before")));
    }
    let what = match run.live_before() {
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
pub(super) async fn flip_back(run: &mut Run<'_>) -> anyhow::Result<Option<String>> {
    let wanted = route_of(run.context, &run.app, &run.before)?;
    let routes = patiently(async || run.context.proxy.current()?.routes().await).await?;
    let in_force = routes.into_iter().find(|route| route.app == run.app.name);
    match in_force {
        None if run.before.slots.is_empty() => return Ok(None),
        Some(route) if goes_to_the_same(&route, &wanted) => return Ok(None),
        Some(_) if run.before.slots.is_empty() => {
            run.context.proxy.current()?.remove_route(&run.app.name).await?;
        }
        _ => drop(put(run, &wanted).await?),
    }
    Ok(Some("traffic goes where it went before".to_owned()))
}

async fn put(run: &Run<'_>, route: &AppRoute) -> Result<Applied, ProxyError> {
    failpoint::at("route.asked");
    let applied = patiently(|| run.context.proxy.put_route(route)).await;
    failpoint::at("route.answered");
    applied
}

/// What was probed, and so did not end by itself at once, is started again by the Engine whenever it ends from here
/// on.
async fn settle_new(run: &Run<'_>) -> anyhow::Result<()> {
    let running = run.running()?;
    let engine = engine_that_answers(run.context).await?;
    let instances = instances_of(engine, &run.app, run.slot(), &running).await?;
    let wanted = usize::from(running.instances);
    if instances.len() != wanted {
        bail!(say::too_few_instances(instances.len(), wanted));
    }
    settle(engine, &run.app, &instances).await
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
async fn what_visitors_see(run: &Run<'_>) -> Option<VisitorsSee> {
    let proxy = run.context.proxy.current().ok().filter(|_| run.promotes())?;
    visitor::sees(run.context, proxy.as_ref(), &run.app, VISIT).await
}

/// A request by the choice that the public port goes by must be answered by the release that the route names, when it
/// is live.
async fn shows_the_new_release(run: &Run<'_>, applied: &Applied) -> anyhow::Result<()> {
    if !run.promotes() {
        return Ok(());
    }
    let running = run.running()?;
    let (host, path) = asked_for(&run.app.settings);
    let public = run.context.proxy.listen();
    let checked = run
        .context
        .proxy
        .current()?
        .check(&run.app.name, &host, path, &applied.check)
        .await
        .with_context(|| format!("no answer from the proxy of {public}"))?;
    match checked.release {
        Some(release) if release == (run.slot(), running.release) => Ok(()),
        Some((slot, release)) => bail!(
            "the proxy of {public} answers by {slot} release {release} for the host {host}, not by {} release {}",
            run.slot(),
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
