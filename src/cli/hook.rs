//! `deployer hook`

use clap::Subcommand;

use super::{Result, output, redeploy, select};
use crate::git;
use crate::model::SlotName;
use crate::release::Context;
use crate::release::receive::{self, Received};

/// What the hooks in the slots' repositories call
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take a push: `OLD NEW REF` lines on standard input
    PostReceive {
        /// The slot that was pushed to
        #[arg(long)]
        slot: SlotName,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        let Command::PostReceive { slot } = self;
        let (app, slot) = select::slot(context, &slot)?;
        let updates = git::RefUpdate::read(std::io::stdin().lock()).map_err(anyhow::Error::from)?;
        let options = git::PushOptions::from_env();
        let unknown = options.unknown.iter();
        output::lines(
            unknown.map(|option| format!("note: there is no push option {option:?}; there is no-promote")),
        )?;
        match receive::push(context, &app, slot, &updates, options.no_promote)? {
            Received::Nothing(told) => output::lines(told),
            Received::Release(release) => redeploy::follow(context, &release),
        }
    }
}
