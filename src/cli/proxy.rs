//! `deployer proxy`

use clap::Subcommand;

use super::{Result, output, wait};
use crate::model::Slot;
use crate::proxy::{self, AppRoute, ServerOptions};
use crate::release::Context;

/// Run the embedded proxy, and show what it routes
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy in the foreground, until SIGTERM has drained it
    Run {
        /// Take the listening sockets over from the proxy that runs, without refusing a connection
        #[arg(long)]
        upgrade: bool,
    },
    /// Show every app's route
    Routes {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        match self {
            Command::Run { upgrade } => {
                proxy::run(ServerOptions {
                    settings: context.settings.proxy.clone(),
                    state: context.store.proxy(),
                    upgrade,
                    threads: std::thread::available_parallelism().map_or(1, usize::from),
                })?;
                Ok(())
            }
            Command::Routes { json } => routes(context, json),
        }
    }
}

fn routes(context: &Context, json: bool) -> Result {
    let routes = wait(context.proxy.routes())??;
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
    let closed = wait(context.proxy.closed_ports())??;
    let closed = closed
        .into_iter()
        .map(|closed| output::bad(&format!("closed: {}", closed.reason)));
    output::lines(output::table(&rows).into_iter().chain(closed))
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
