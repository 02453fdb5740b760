//! `deployer install`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;

use super::failure::{Code, Failure, Result};
use super::runtime::block_on;
use super::{output, texts};
use crate::config;
use crate::install::{self, Collection, Other, ProxyPlan, RegistryContainer, Server, Turn};
use crate::model::{By, ProxyKind, Scope, Settings, loopback_registry_port};
use crate::proxy::{External, Proxy};
use crate::release::registry_here::{ContainedRegistry, RegistryHere, registry_here};
use crate::release::{Context, identity};
use crate::store::Store;

/// Install deployer on this server: its user, folders, units, sshd's rules, manual and completions
///
/// As root. Whatever is there already is left as it is, so that it can be done again at any time, as after an
/// upgrade: a running proxy then hands over to the new program, and no connection is refused. The configuration is
/// written where there is none, and never changed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say what would be done, and touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Log in over ssh at the end, by a key that is made for it, may do nothing, and is taken away again
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// The user of the operating system that deployer works as, and that one pushes to; made where there is none
    #[arg(long, value_name = "NAME", default_value = "deploy")]
    user: String,
}

impl Args {
    /// `path` is the configuration that is asked for, `command` the whole command line's definition.
    pub(super) fn run(self, path: &Path, command: &Command) -> Result {
        need_root("install")?;
        need_default(path)?;
        let _turn = turn(self.dry_run)?;
        let settings = match path.exists() {
            true => Some(config::load(path)?),
            false => None,
        };
        settings
            .as_ref()
            .map_or(Ok(()), |settings| goes_on(settings, path))?;
        let state = settings
            .as_ref()
            .map_or_else(default_state, |settings| settings.state.clone());
        let keys = settings
            .as_ref()
            .and_then(|settings| settings.ssh.authorized_keys.clone());
        let proxy = settings
            .as_ref()
            .map_or_else(|| Ok(ProxyPlan::default()), proxy)?;
        let collection = collection(settings.as_ref(), path)?;
        let server = Server::find(
            &running()?,
            &self.user,
            &state,
            keys.as_deref(),
            proxy,
            collection,
        )?;
        server.check_state(false)?;
        server.check_alone()?;
        let things = install::install(&server, &texts::texts(command)?);
        install::carry_out(&things, self.dry_run, say)?;
        if self.verify {
            let at = install::verify(&server)?;
            say(format!(
                "{:<14} the way in for {} at {at}, by a real login",
                "verified", server.user
            ))?;
        }
        match self.dry_run {
            true => output::lines(["nothing was touched".to_owned()]),
            false => output::lines(next(&server)),
        }
    }
}

/// What root gives commands with.
pub(super) fn roots(settings: Settings, path: &Path) -> Context {
    let root = By {
        key: None,
        user: "root".to_owned(),
        from: None,
    };
    Context::new(settings, path.to_owned(), root, Scope::default())
}

/// What is to free the registry's disk. Without a configuration it is the one of an empty file.
fn collection(settings: Option<&Settings>, path: &Path) -> Result<Collection> {
    let settings = match settings {
        Some(settings) => settings.clone(),
        None => config::of_text(path, "")?,
    };
    let registry = settings.registry.clone();
    match registry.collect {
        Some(command) if command.is_empty() => return Ok(Collection::None),
        Some(_) => return Ok(Collection::Command),
        None if loopback_registry_port(&registry.address).is_none() => return Ok(Collection::None),
        None => {}
    }
    let (address, host) = (registry.address, settings.engine.host.clone());
    let here = block_on(async { registry_here(&roots(settings, path)).await })?;
    Ok(match here {
        Some(RegistryHere::Process(process)) => Collection::of_process(&address, &process),
        Some(RegistryHere::Container(registry)) => of_container(&address, &host, &registry),
        None => Collection::NotFound(format!(
            "no registry was found at {address}, neither as a service nor as a container that has this port and keeps its \
             images in a volume: `deployer install` again once it runs, or name a command in `registry.collect`"
        )),
    })
}

fn of_container(address: &str, host: &str, registry: &ContainedRegistry) -> Collection {
    let container = &registry.container;
    let why = match () {
        () if container.is_removed_when_stopped => "it is removed when it is stopped (--rm)",
        () if container.is_of_a_swarm => "it is a swarm's, which would start another one when it is stopped",
        () => {
            let found = RegistryContainer {
                host,
                name: &container.name,
                program: &container.program,
                config: &registry.config,
                mount: &registry.mount,
                below: &registry.below,
            };
            return Collection::of_container(address, &found);
        }
    };
    Collection::NotFound(format!(
        "the container {}: {why}; `registry.collect` can name a command",
        container.name
    ))
}

/// Refuses an installation by which what runs would be lost.
fn goes_on(settings: &Settings, path: &Path) -> Result {
    let context = roots(settings.clone(), path);
    match block_on(identity::refusal(&context))? {
        Some(refusal) => Err(Failure::new(Code::Failed, refusal.to_string())),
        None => Ok(()),
    }
}

/// Which proxy the server is to have: the one that is wanted, and still the one that traffic goes through.
pub(super) fn proxy(settings: &Settings) -> anyhow::Result<ProxyPlan> {
    let store = Store::new(&settings.state);
    let folder = store.proxy();
    let proxy = Proxy::new(settings, &folder);
    let (wanted, used) = (proxy.wanted().kind, proxy.in_use()?.kind);
    let commands = |program| External::new(program, settings, &folder).commands_as_root();
    let is_front = matches!(wanted, ProxyKind::Front(_));
    let socket_folder = settings.proxy.socket.parent().filter(|_| is_front);
    let other = wanted.program().map(|program| Other {
        program,
        folder: settings.proxy.folder.clone(),
        socket_folder: socket_folder.map(Path::to_owned),
    });
    // The one that is to let go has to be told so.
    let former = used.program().filter(|former| Some(*former) != wanted.program());
    let programs = wanted.program().into_iter().chain(former);
    Ok(ProxyPlan {
        other,
        in_use: used.program(),
        commands: programs.flat_map(commands).collect(),
        folder: settings.proxy.folder.clone(),
        has_embedded: wanted.has_embedded() || used.has_embedded(),
        ports: ProxyPlan::ports_with(settings.listened_at().into_iter().chain(given(&store)?)),
    })
}

/// The slot ports that apps were given. An app whose file cannot be read has its ports when it is recovered.
fn given(store: &Store) -> anyhow::Result<Vec<u16>> {
    let apps = store.apps()?;
    let files = apps.iter().filter_map(|app| store.app_file(app).ok().flatten());
    Ok(files
        .flat_map(|file| [file.ports.green, file.ports.blue])
        .collect())
}

/// What is left to a person.
fn next(server: &Server) -> [String; 4] {
    let path = config::DEFAULT_PATH;
    [
        "Next:".to_owned(),
        format!("  a registry at 127.0.0.1:5000, or where `registry.address` in {path} says"),
        "  deployer app create shop".to_owned(),
        format!(
            "  deployer key add laptop < laptop.pub   lets that key push to {}@this-server:shop/green",
            server.user
        ),
    ]
}

/// Prints one line of what is done.
pub(super) fn say(line: String) -> anyhow::Result<()> {
    output::lines([line]).map_err(|_| anyhow::anyhow!("cannot write to standard output"))
}

/// Waits until this is the only install or uninstall; one that touches nothing waits for nobody.
pub(super) fn turn(dry: bool) -> anyhow::Result<Option<Turn>> {
    (!dry).then(|| install::turn(say)).transpose()
}

/// Refuses all users but root.
pub(super) fn need_root(command: &str) -> Result {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let what = format!("only root can do this: `sudo deployer {command}`");
    Err(Failure::new(Code::Failed, what))
}

/// Refuses any configuration but the one that units and hooks read without being told.
pub(super) fn need_default(path: &Path) -> Result {
    if path == Path::new(config::DEFAULT_PATH) {
        return Ok(());
    }
    let what = format!(
        "{} is not the configuration of a server, which is {}: leave out --config and DEPLOYER_CONFIG",
        path.display(),
        config::DEFAULT_PATH
    );
    Err(Failure::new(Code::Usage, what))
}

/// The state folder of a configuration that does not name one.
pub(super) fn default_state() -> PathBuf {
    config::DEFAULT_STATE.into()
}

/// The running program's own file.
pub(super) fn running() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("the program's own path is not known")?;
    path.canonicalize()
        .with_context(|| format!("the program is not at {} any more", path.display()))
}
