//! From one kind of proxy to another.
//!
//! ```text
//! intent → can old leave? → prepare new → rehearse → old lets ports go → new takes them → every app is asked for → in
//!        use → old leaves
//! ```
//!
//! `kind.json` names who serves and, as long as a switch has not ended, the other side. Whoever finds it so brings it to
//! one of the two ends, which is always the same: the one that serves takes everything, the other one leaves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::context::{App, Context};
use super::messages::VisitorsSee;
use super::pause::{Pause, Watch};
use super::route::{asked_for, goes_to_the_same, route_of};
use super::{app_lock, messages as told, turn, visitor};
use crate::ground::failpoint;
use crate::model::{Program, ProxyKind};
use crate::proxy::{AppRoute, Applied, Backend, Place};
use crate::store::AppLock;

/// How long it may take to see what visitors of an app see.
const VISIT: Duration = Duration::from_secs(2);

/// What a holder of an app's lock is called.
const WHAT: &str = "proxy switch";

/// Every app, locked, so that no release changes a route meanwhile.
struct Held {
    apps: Vec<(App, AppRoute)>,
    _locks: Vec<AppLock>,
    _no_new_app: std::fs::File,
}

/// How a switch is to go.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Although both listen at one address, so that for a moment nobody does.
    pub with_pause: bool,
    /// How long both serve, where they listen at two addresses, before the old one leaves.
    pub overlap: Duration,
}

/// Has traffic go through the kind of proxy that the configuration names, which must be the one that was asked for:
/// `program`, or the embedded one. Tells `say` about it, a sentence at a time.
///
/// # Errors
/// When it is not possible, or the new one does not serve every app: then the old one serves as before.
pub async fn switch(
    context: &Context,
    program: Option<Program>,
    terms: Terms,
    mut say: impl FnMut(String),
) -> Result<()> {
    let new = context.proxy.at(named(context, program)?);
    if let Some(missing) = context.proxy.missing() {
        bail!(missing);
    }
    let held = Held::take(context).await?;
    if let Some(other) = context.proxy.broken_off()? {
        say(settle(context, &held, other).await?);
    }
    let old = used(context).await?;
    if old.place().kind == new.place().kind {
        say(format!("traffic goes through {} already", old.place().kind));
        return Ok(());
    }
    held.are_as_routed_by(old.as_ref()).await?;
    answers(new.as_ref()).await?;
    let takes_the_port = has_one_port(old.place(), new.place());
    if takes_the_port && !terms.with_pause {
        bail!(told::one_port(old.place(), new.place()));
    }
    let began = Instant::now();
    context.proxy.use_now(old.place(), Some(new.place()))?;
    failpoint::at("switch.intended");
    let went = go(&held, old.as_ref(), new.as_ref(), takes_the_port).await;
    let pause = match went {
        Ok(pause) => pause,
        Err(why) => return Err(back(context, &held, old.as_ref(), new.as_ref(), why).await),
    };
    context.proxy.use_now(new.place(), Some(old.place()))?;
    failpoint::at("switch.in-use");
    say(told::switched(
        old.place(),
        new.place(),
        held.apps.len(),
        began.elapsed(),
        pause.as_ref(),
    ));
    for (app, route) in &held.apps {
        let looks = route
            .live
            .is_some()
            .then(|| visitor::sees(context, new.as_ref(), app, VISIT));
        if let Some(looks) = looks
            && let Some(VisitorsSee::Note(text) | VisitorsSee::Problem(text)) = looks.await
        {
            say(format!("note: {text}"));
        }
    }
    if old.place().listen != new.place().listen && !terms.overlap.is_zero() {
        say(told::both_serve(old.place(), new.place(), terms.overlap));
        tokio::time::sleep(terms.overlap).await;
    }
    finish(context, &held, new.as_ref(), old.as_ref())
        .await
        .with_context(|| told::not_left(new.place(), old.place()))
}

/// Brings a switch that was broken off to one of its ends; gives a sentence where there was one.
///
/// # Errors
/// When an app is busy, or one of the two sides does not do its part.
pub async fn mend(context: &Context) -> Result<Option<String>> {
    if context.proxy.broken_off()?.is_none() {
        return Ok(None);
    }
    let held = Held::take(context).await?;
    match context.proxy.broken_off()? {
        Some(other) => settle(context, &held, other).await.map(Some),
        None => Ok(None),
    }
}

/// What the configuration names, when that is what was asked for.
fn named(context: &Context, program: Option<Program>) -> Result<Place> {
    let wanted = context.proxy.wanted();
    if wanted.kind.program() == program {
        return Ok(wanted);
    }
    let word = program.map_or("embedded", Program::as_str);
    bail!(
        "{} says {}: write kind = \"{word}\" into its section [proxy], then give this command again",
        context.config.display(),
        wanted.kind
    )
}

/// The side that is in use, where it really listens.
async fn used(context: &Context) -> Result<Box<dyn Backend>> {
    let mut place = context.proxy.in_use()?;
    if let Ok(listen) = context.proxy.at(place).listens().await {
        place.listen = listen;
    }
    Ok(context.proxy.at(place))
}

/// The embedded proxy has to run before traffic can come to it.
async fn answers(new: &dyn Backend) -> Result<()> {
    new.embedded_answers().await.with_context(|| {
        "the embedded proxy has to run first, where it waits without a port: `systemctl enable --now deployer-proxy`"
    })
}

/// Whether only one of the two can have the public port at a time.
fn has_one_port(old: Place, new: Place) -> bool {
    let is_shared = old.kind.program().is_some() && old.kind.program() == new.kind.program();
    !is_shared && collide(old.listen, new.listen)
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Until the new side serves every app. Gives what a client saw meanwhile, where both have one public port.
async fn go(
    held: &Held,
    old: &dyn Backend,
    new: &dyn Backend,
    takes_the_port: bool,
) -> Result<Option<Pause>> {
    let routes = held.routes();
    old.can_leave(new.place()).await?;
    new.prepare(&routes).await?;
    failpoint::at("switch.prepared");
    if takes_the_port && let Some(applied) = new.rehearse(&routes).await? {
        serves(held, new, &applied).await?;
    }
    failpoint::at("switch.rehearsed");
    let watch = takes_the_port.then(|| Watch::begin(old.place().listen, held.a_client()));
    // A program that keeps its public port keeps its slot ports too, until it leaves.
    let keeps_slots = matches!(old.place().kind, ProxyKind::Flip(_))
        && !takes_the_port
        && old.place().kind.program() != new.place().kind.program();
    let let_go = async {
        old.let_go(new.place(), takes_the_port).await?;
        failpoint::at("switch.let-go");
        anyhow::Ok(())
    };
    let applied = match (keeps_slots, new.place().kind) {
        // It tries until it has the port, and has it as soon as it is free.
        (_, ProxyKind::Embedded) => {
            let take = async { Ok(new.take(&routes, !keeps_slots).await?) };
            tokio::try_join!(let_go, take)?.1
        }
        (true, ProxyKind::Flip(_)) => {
            let_go.await?;
            new.take(&parked(&routes)?, true).await?
        }
        _ => {
            let_go.await?;
            new.take(&routes, !keeps_slots).await?
        }
    };
    let pause = match watch {
        Some(watch) => Some(watch.end().await),
        None => None,
    };
    failpoint::at("switch.taken");
    serves(held, new, &applied).await?;
    Ok(pause)
}

/// Every app that is live is asked for through `new`, and must be answered by what is live.
async fn serves(held: &Held, new: &dyn Backend, applied: &[Applied]) -> Result<()> {
    for ((app, route), applied) in held.apps.iter().zip(applied) {
        let Some((slot, target)) = route.live.zip(route.live_target()) else {
            continue;
        };
        let (host, path) = asked_for(&app.settings);
        let checked = new
            .check(&app.name, &host, path, &applied.check)
            .await
            .with_context(|| format!("{} does not serve {}", new.place().kind, app.name))?;
        if checked.release != Some((slot, target.release)) {
            bail!(
                "{} answers {} at {} with {}, and not by {slot} release {}",
                new.place().kind,
                app.name,
                new.place().listen,
                checked.status,
                target.release
            );
        }
    }
    Ok(())
}

/// The routes with slot ports that nobody has, for the moment in which the old side still has theirs.
fn parked(routes: &[AppRoute]) -> Result<Vec<AppRoute>> {
    // Held until all are found, so that no two are the same.
    let mut found = Vec::new();
    let mut parked = routes.to_vec();
    for slot in parked.iter_mut().flat_map(|route| route.slots.values_mut()) {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?;
        slot.port = free.local_addr().context("a port is not known")?.port();
        found.push(free);
    }
    Ok(parked)
}

/// The old side serves as before, and the new one leaves. Gives why, and what is so now.
async fn back(
    context: &Context,
    held: &Held,
    old: &dyn Backend,
    new: &dyn Backend,
    why: anyhow::Error,
) -> anyhow::Error {
    match finish(context, held, old, new).await {
        Ok(()) => why.context(told::not_switched(old.place())),
        Err(error) => why.context(told::not_back(old.place(), &error)),
    }
}

/// Brings a switch to the end that its file names.
async fn settle(context: &Context, held: &Held, other: Place) -> Result<String> {
    let serves = context.proxy.at(context.proxy.in_use()?);
    finish(context, held, serves.as_ref(), context.proxy.at(other).as_ref()).await?;
    Ok(told::switch_settled(serves.place(), other))
}

/// `serves` has everything, `other` has left, and the file says so.
async fn finish(context: &Context, held: &Held, serves: &dyn Backend, other: &dyn Backend) -> Result<()> {
    other.leave(serves.place(), context.proxy.wanted().kind).await?;
    failpoint::at("switch.left");
    serves.take(&held.routes(), true).await?;
    context.proxy.use_now(serves.place(), None)?;
    Ok(())
}

impl Held {
    async fn take(context: &Context) -> Result<Self> {
        let no_new_app = context.store.lock_apps()?;
        let (mut apps, mut locks) = (Vec::new(), Vec::new());
        for name in context.store.apps()? {
            let lock = app_lock::lock(context, &name, WHAT).await?;
            if let Some(past) = turn::orphans(context, &lock)?.first() {
                bail!(
                    "{name} release {} is unfinished: `deployer recover {name}` brings it to its end first",
                    past.record.id
                );
            }
            let (app, state) = (context.app(&name)?, context.store.state(&name)?);
            if !state.slots.is_empty() {
                let route = route_of(&app, &state);
                apps.push((app, route));
            }
            locks.push(lock);
        }
        Ok(Self {
            apps,
            _locks: locks,
            _no_new_app: no_new_app,
        })
    }

    fn routes(&self) -> Vec<AppRoute> {
        self.apps.iter().map(|(_, route)| route.clone()).collect()
    }

    /// What a client asks for that is to see whether the public port is served: host and path.
    fn a_client(&self) -> (String, String) {
        let live = self.apps.iter().find(|(_, route)| route.live.is_some());
        let (host, path) = live.map_or(("localhost".to_owned(), "/"), |(app, _)| asked_for(&app.settings));
        (host, path.to_owned())
    }

    /// Refuses to move what is not as state says. A side that does not answer serves nothing that could be lost.
    async fn are_as_routed_by(&self, old: &dyn Backend) -> Result<()> {
        let Ok(routed) = old.routes().await else {
            return Ok(());
        };
        for (app, route) in &self.apps {
            let has = routed.iter().find(|has| has.app == app.name);
            if !has.is_some_and(|has| goes_to_the_same(has, route)) {
                bail!(
                    "the route of {0} is not what state says: `deployer recover {0}` mends it first",
                    app.name
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_where_one_takes_the_others_port() {
        for (one, other, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
        ] {
            assert_eq!(
                collide(one.parse().unwrap(), other.parse().unwrap()),
                expected,
                "{one} {other}"
            );
        }
    }
}
