//! `deployer hook`

use clap::Subcommand;

use super::{Result, audited, output, redeploy};
use crate::git;
use crate::model::SlotName;
use crate::release::Context;
use crate::release::receive::{self, Received};
use crate::store::ActionOutcome;

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
        let options = git::PushOptions::from_env();
        let unknown = options.unknown.iter();
        output::lines(
            unknown.map(|option| format!("note: there is no push option {option:?}; there is no-promote")),
        )?;
        let received = audited::begun(context, |subject| {
            let (app, slot) = subject.slot(context, &slot)?;
            let updates = git::RefUpdate::read(std::io::stdin().lock()).map_err(anyhow::Error::from)?;
            let references = updates.iter().map(|update| update.reference.as_str());
            subject.command = Some(receive::push_command(references, options.no_promote));
            let received = receive::push(context, &app, slot, &updates, options.no_promote)?;
            if let Received::Nothing(told) = &received {
                let told = told.first().map(String::as_str);
                audited::note(context, subject, ActionOutcome::Done, told);
            }
            Ok(received)
        })?;
        match received {
            Received::Nothing(told) => output::lines(told),
            Received::Release(release) => redeploy::follow(context, &release),
        }
    }
}
