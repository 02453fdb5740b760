//! `deployer config`

use clap::Subcommand;

use super::failure::{Code, Failure, Result};
use super::output;
use super::runtime::block_on;
use crate::model::{AppName, PortSet};
use crate::proxy::local_ports;
use crate::release::{Context, disks, hopeless, identity, messages};

/// Look at the configuration
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the configuration; nothing that runs is touched
    Check,
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        let Command::Check = self;
        if let Some(refusal) = block_on(identity::refusal(context))? {
            return Err(Failure::new(Code::Failed, refusal.to_string()));
        }
        let created = context.store.apps()?;
        let sections = context.settings.apps.keys();
        let unmade = sections.filter(|name| !created.contains(name));
        let notes = unmade
            .map(|name| format!("note: [app.{name}] has no app yet: `deployer app create {name}` makes it"));
        let ports: PortSet = slot_ports(context, &created)
            .chain(context.settings.listened_at())
            .collect();
        let proxy = [
            context.proxy.missing(),
            context.proxy.differs().map(|differs| differs.to_string()),
            local_ports::warning(&ports),
        ];
        let proxy = proxy.into_iter().flatten().map(|what| format!("note: {what}"));
        let mut hopeless = hopeless::in_configuration(&context.settings);
        let full = block_on(disks::full(context))?;
        hopeless.extend(full.iter().map(|disk| messages::full_disk(disk).to_string()));
        let hopeless = hopeless.into_iter().map(|what| format!("note: {what}"));
        let good = format!("{} is good", context.config.display());
        output::lines(notes.chain(proxy).chain(hopeless).chain([good]))
    }
}

/// The slot ports of the apps that there are.
fn slot_ports(context: &Context, created: &[AppName]) -> impl Iterator<Item = u16> {
    let apps = created.iter().filter_map(|name| context.app(name).ok());
    apps.flat_map(|app| [app.ports().green, app.ports().blue])
}
