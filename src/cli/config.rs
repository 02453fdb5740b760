//! `deployer config`

use clap::Subcommand;

use super::{Result, output};
use crate::release::{Context, hopeless};

/// Look at the configuration
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the configuration; nothing that runs is touched
    Check,
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        let Command::Check = self;
        let created = context.store.apps()?;
        let sections = context.settings.apps.keys();
        let unmade = sections.filter(|name| !created.contains(name));
        let notes = unmade
            .map(|name| format!("note: [app.{name}] has no app yet: `deployer app create {name}` makes it"));
        let proxy = [context.proxy.missing(), context.proxy.differs()];
        let proxy = proxy.into_iter().flatten().map(|what| format!("note: {what}"));
        let hopeless = hopeless::in_configuration(&context.settings);
        let hopeless = hopeless.into_iter().map(|what| format!("note: {what}"));
        let good = format!("{} is good", context.config.display());
        output::lines(notes.chain(proxy).chain(hopeless).chain([good]))
    }
}
