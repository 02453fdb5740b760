//! `deployer proxy`

use std::time::Duration;

use clap::Subcommand;

use super::failure::{Code, Failure, Result};
use super::runtime::block_on;
use super::{audited, output};
use crate::config::units::duration;
use crate::ground::told::Told;
use crate::model::{Program, ProxyKind, Slot};
use crate::proxy::{self, AppRoute, Ended, External, ServerOptions};
use crate::release::switch::{self, Terms};
use crate::release::{Context, identity};

/// Run the embedded proxy, show what the proxy routes, and change the kind of proxy
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy in the foreground, until SIGTERM has drained it
    Run {
        /// Take the listening sockets over from the proxy that runs, without refusing a connection
        #[arg(long)]
        upgrade: bool,
    },
    /// What the unit of nginx, HAProxy or Caddy runs before it starts: leave out slot ports that somebody else has
    #[command(hide = true)]
    BeforeStart {
        /// The program that is about to start
        kind: KindName,
    },
    /// Show every app's route
    Routes {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have traffic go through another kind of proxy: the one that deployer.toml names
    ///
    /// Every app is locked meanwhile, and asked for through the new proxy before the old one lets go. Where both listen
    /// at one address, the new one can have the port only after the old one has let it go: that takes --with-pause.
    Switch {
        /// The kind, as deployer.toml names it
        kind: KindName,
        /// Do it although both listen at one address, so that for a moment nobody listens there
        #[arg(long)]
        with_pause: bool,
        /// How long both serve, where they listen at two addresses, before the old one leaves: the time to let clients
        /// come to the new one
        #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = overlap)]
        overlap: Duration,
    },
}

fn overlap(text: &str) -> std::result::Result<Duration, String> {
    duration(text).map_err(|refusal| refusal.to_string())
}

/// A kind of proxy on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum KindName {
    /// deployer's own
    Embedded,
    /// nginx
    Nginx,
    /// HAProxy
    Haproxy,
    /// Caddy
    Caddy,
}

impl KindName {
    fn program(self) -> Option<Program> {
        match self {
            KindName::Embedded => None,
            KindName::Nginx => Some(Program::Nginx),
            KindName::Haproxy => Some(Program::Haproxy),
            KindName::Caddy => Some(Program::Caddy),
        }
    }
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        match self {
            Command::Run { upgrade } => run(context, upgrade),
            Command::BeforeStart { kind } => before_start(context, kind.program()),
            Command::Routes { json } => routes(context, json),
            Command::Switch {
                kind,
                with_pause,
                overlap,
            } => {
                let terms = Terms { with_pause, overlap };
                // A reader that has gone does not end a switch.
                let say = |line| drop(output::lines([line]));
                audited::audited(context, |_| {
                    Ok(block_on(switch::switch(context, kind.program(), terms, say))??)
                })
            }
        }
    }
}

/// Nothing, unless `program` is the proxy, and is to stay it.
fn before_start(context: &Context, program: Option<Program>) -> Result {
    let (used, wanted) = (context.proxy.in_use()?.kind, context.proxy.wanted().kind);
    let Some(program) = program.filter(|program| used.program() == Some(*program) && used == wanted) else {
        return Ok(());
    };
    let external = External::new(program, &context.settings, &context.store.proxy());
    let closed = block_on(external.before_start())??;
    let told = closed
        .into_iter()
        .map(|closed| format!("left out: {}", closed.reason));
    output::lines(told)
}

/// Where the embedded proxy is in use, it serves. Where it is only wanted, it waits without a port for `deployer proxy
/// switch`. Else it ends at once.
fn run(context: &Context, upgrade: bool) -> Result {
    // A folder without an app may be another one than what runs was made under: it would answer 503 for all of it.
    if context.store.apps()?.is_empty()
        && let Some(refusal) = block_on(identity::refusal(context))?
    {
        return Err(Failure::new(Code::Failed, refusal.to_string()));
    }
    let (used, wanted) = (context.proxy.in_use()?, context.proxy.wanted());
    let place = match () {
        () if used.kind.has_embedded() => used,
        () if wanted.kind.has_embedded() => wanted,
        () => {
            proxy::nothing_to_do();
            return Err(not_in_use(used.kind));
        }
    };
    // Where it starts again, it listens where the configuration says by now.
    let place = match (place.kind, wanted.kind) {
        (ProxyKind::Embedded, ProxyKind::Embedded) => wanted,
        _ => place,
    };
    if let Err(error) = context.proxy.embedded_starts() {
        // It serves all the same.
        eprintln!("proxy: {error}");
    }
    let mut settings = context.settings.proxy.clone();
    (settings.kind, settings.listen) = (place.kind, place.listen);
    let ended = proxy::run(ServerOptions {
        settings,
        state: context.store.proxy(),
        upgrade,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        waits: !used.kind.has_embedded(),
    })?;
    match ended {
        Ended::Stopped => Ok(()),
        Ended::Left => Err(not_in_use(context.proxy.in_use()?.kind)),
    }
}

/// The embedded proxy has nothing to do, and must not be started again for that.
fn not_in_use(used: ProxyKind) -> Failure {
    let what = format!("traffic goes through {used}, and the embedded proxy is not needed");
    let hint = "`systemctl disable deployer-proxy` keeps it from being started at boot";
    Failure::new(Code::NotInUse, Told::new(what).hint(hint))
}

fn routes(context: &Context, json: bool) -> Result {
    let proxy = context.proxy.current()?;
    let routes = block_on(proxy.routes())??;
    if json {
        return output::json("routes", &routes);
    }
    let heading = ["APP", "HOSTS", "FROM", "TO", "UPSTREAMS"]
        .map(str::to_owned)
        .to_vec();
    let rows: Vec<Vec<String>> = [heading]
        .into_iter()
        .chain(routes.iter().flat_map(rows_of))
        .collect();
    let closed = block_on(proxy.closed_ports())??;
    let closed = closed
        .into_iter()
        .map(|closed| output::bad(&format!("closed: {}", closed.reason)));
    let used = context.proxy.in_use()?;
    let by = format!("by {} at {}", used.kind, used.listen);
    let differs = context.proxy.differs();
    let differs = differs.map(|differs| output::bad(&differs.to_string()));
    let told = [by].into_iter().chain(output::table(&rows));
    output::lines(told.chain(closed).chain(differs))
}

fn rows_of(route: &AppRoute) -> Vec<Vec<String>> {
    let hosts = if route.hosts.is_empty() {
        "*".to_owned()
    } else {
        route.hosts.join(",")
    };
    let row = |from: String, slot: Option<Slot>| {
        let target = slot.and_then(|slot| route.slots.get(&slot)?.target.as_ref());
        let to = slot.zip(target).map_or("nothing".to_owned(), |(slot, target)| {
            format!("{slot} release {}", target.release)
        });
        let upstreams = target.map_or(String::new(), |target| {
            target
                .upstreams
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        });
        vec![route.app.to_string(), hosts.clone(), from, to, upstreams]
    };
    let slots = route
        .slots
        .iter()
        .map(|(slot, of)| row(format!("port {}", of.port), Some(*slot)));
    [row("public".to_owned(), route.live)]
        .into_iter()
        .chain(slots)
        .collect()
}
