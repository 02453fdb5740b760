//! `deployer uninstall`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Command;
use tokio::time::timeout;

use super::failure::{Code, Failure, Result};
use super::install::{default_state, need_default, need_root, proxy, roots, running, say, turn};
use super::runtime::block_on;
use super::{output, texts};
use crate::config;
use crate::engine::NetworkEnd;
use crate::install::{self, Collection, ProxyPlan, Server};
use crate::model::AppName;
use crate::release::Context;
use crate::store::Store;

/// How long the Engine may take to remove a network.
const NETWORK_DEADLINE: Duration = Duration::from_secs(20);

/// Take away what `deployer install` put onto this server
///
/// As root. Repositories, releases, the configuration and the user stay, and so do containers that run: but no request
/// reaches them any more, since the proxy is stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say what would be done, and touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Also where there are apps, whose requests nobody answers afterwards
    #[arg(long, conflicts_with = "purge")]
    yes: bool,
    /// Take away the state folder, the configuration and the user as well; refused while there are apps
    #[arg(long)]
    purge: bool,
    /// The user that `deployer install` was told
    #[arg(long, value_name = "NAME", default_value = "deploy")]
    user: String,
}

impl Args {
    /// `path` is the configuration that is asked for, `command` the whole command line's definition.
    pub(super) fn run(self, path: &Path, command: &Command) -> Result {
        need_root("uninstall")?;
        need_default(path)?;
        let _turn = turn(self.dry_run)?;
        let state = self.state(path)?;
        let apps = Store::new(&state).apps()?;
        self.may_go(&apps)?;
        let server = Server::find(
            &running()?,
            &self.user,
            &state,
            None,
            proxy_of(path),
            Collection::None,
        )?;
        if self.purge {
            server.check_state(true)?;
        }
        let things = install::uninstall(&server, &texts::texts(command)?, self.purge);
        let last = install::uninstall_last(&server, self.purge);
        // Which network it is stands in what goes last.
        let network = self.purge.then(|| context(path)).flatten();
        install::take_away(&things, &last, self.dry_run, say)?;
        if let Some(context) = network {
            output::lines(block_on(network_goes(&context, self.dry_run))?)?;
        }
        install::carry_out(&last, self.dry_run, say)?;
        match self.dry_run {
            true => output::lines(["nothing was touched".to_owned()]),
            false if self.purge => Ok(()),
            false => output::lines(kept(&server, &apps)),
        }
    }

    /// The state folder. A configuration with a fault keeps nobody from getting rid of the program, only of the data.
    fn state(&self, path: &Path) -> Result<PathBuf> {
        if !path.exists() {
            return Ok(default_state());
        }
        match config::load(path) {
            Ok(settings) => Ok(settings.state),
            Err(error) if self.purge => Err(error.into()),
            Err(_) => Ok(default_state()),
        }
    }

    fn may_go(&self, apps: &[AppName]) -> Result {
        let Some(first) = apps.first() else { return Ok(()) };
        let names: Vec<&str> = apps.iter().map(AppName::as_str).collect();
        let names = names.join(", ");
        let what = match () {
            () if self.purge => format!(
                "there are apps ({names}), and their containers run: remove each first, as with `deployer app remove {first} \
                 --yes`"
            ),
            () if self.yes || self.dry_run => return Ok(()),
            () => format!(
                "there are apps ({names}), and nobody answers their requests once the proxy is gone: add --yes to do it"
            ),
        };
        Err(Failure::new(Code::Usage, what))
    }
}

/// The proxy of a configuration. One with a fault keeps nobody from getting rid of the program.
fn proxy_of(path: &Path) -> ProxyPlan {
    let settings = config::load(path).ok();
    let found = settings.as_ref().and_then(|settings| proxy(settings).ok());
    found.unwrap_or_default()
}

/// What is known of the Engine's side; nothing without a configuration.
fn context(path: &Path) -> Option<Context> {
    Some(roots(config::load(path).ok()?, path))
}

/// Has the Engine remove deployer's network, and tells what became of it. An Engine that does not answer keeps nobody from
/// getting rid of the rest.
async fn network_goes(context: &Context, dry: bool) -> Option<String> {
    let name = &context.settings.engine.network;
    let remove = async { anyhow::Ok(context.engine().await?.remove_network(dry).await?) };
    let left = |why: String| {
        Some(format!(
            "left out:      the network {name} of the Docker Engine: {why}"
        ))
    };
    let by_hand = format!("`docker network rm {name}` removes it");
    match timeout(NETWORK_DEADLINE, remove).await {
        Ok(Ok(NetworkEnd::None)) => None,
        Ok(Ok(NetworkEnd::Removed)) => {
            let word = if dry { "would remove" } else { "removed" };
            Some(format!("{word:<14} the network {name} of the Docker Engine"))
        }
        Ok(Ok(NetworkEnd::Used(containers))) => left(format!(
            "containers are on it ({}); once they are gone, {by_hand}",
            containers.join(", ")
        )),
        Ok(Err(error)) => left(format!("{error:#}. Where it is there, {by_hand}")),
        Err(_) => left(format!(
            "the Engine did not answer within {NETWORK_DEADLINE:?}. {by_hand}"
        )),
    }
}

/// What is still there, and how it goes.
fn kept(server: &Server, apps: &[AppName]) -> Vec<String> {
    let containers = apps.iter().map(|app| {
        format!(
            "kept           the containers of {app}: `docker rm -f $(docker ps -aq --filter label=deployer.app={app})` \
             removes them"
        )
    });
    let data = format!(
        "kept           {}, {} and the user {}: `deployer uninstall --purge` would have taken them too",
        server.state.display(),
        config::DEFAULT_PATH,
        server.user
    );
    containers.chain([data]).collect()
}
