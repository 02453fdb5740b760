//! `deployer hook`

use std::ffi::OsString;

use clap::Subcommand;

use super::{Code, Failure, Result, output, redeploy, select};
use crate::git::{PushOptions, RefUpdate};
use crate::model::SlotName;
use crate::release::gate::{self, Passed};
use crate::release::receive::{self, Received};
use crate::release::{Context, apps};

/// What the hooks in the slots' repositories call
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Begin to take a push: `OLD NEW REF` lines on standard input; for gate = "release"
    PreReceive {
        /// The slot that is pushed to
        #[arg(long)]
        slot: SlotName,
    },
    /// Let a reference move, or not; for gate = "check" and "release"
    Update {
        /// The slot that is pushed to
        #[arg(long)]
        slot: SlotName,
        /// The reference's whole name
        reference: OsString,
        /// What it is at
        old: OsString,
        /// Where it is to move
        new: OsString,
    },
    /// Take a push: `OLD NEW REF` lines on standard input
    PostReceive {
        /// The slot that was pushed to
        #[arg(long)]
        slot: SlotName,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        match self {
            Command::PreReceive { slot } => pre_receive(context, &slot),
            Command::Update {
                slot,
                reference,
                old,
                new,
            } => {
                let update = RefUpdate::told(&reference, &old, &new).map_err(anyhow::Error::from)?;
                self::update(context, &slot, &update)
            }
            Command::PostReceive { slot } => post_receive(context, &slot),
        }
    }
}

fn pre_receive(context: &Context, slot: &SlotName) -> Result {
    let (app, slot) = select::slot(context, slot)?;
    let updates = RefUpdate::read(std::io::stdin().lock()).map_err(anyhow::Error::from)?;
    Ok(gate::begin(context, &app, slot, &updates, options()?.no_promote)?)
}

/// Fails where the reference is not to move: git declines it then, and says so to the pusher.
fn update(context: &Context, slot: &SlotName, update: &RefUpdate) -> Result {
    let (app, slot) = select::slot(context, slot)?;
    match gate::pass(context, &app, slot, update)? {
        Passed::Yes => Ok(()),
        Passed::No(why) => {
            output::lines([why])?;
            Err(Failure::silent(Code::Failed))
        }
        Passed::Once(release) => {
            let ended = redeploy::follow_to_the_end(context, &release);
            if ended.is_err() {
                gate::declined(context, &app);
            }
            ended
        }
    }
}

fn post_receive(context: &Context, slot: &SlotName) -> Result {
    let (app, slot) = select::slot(context, slot)?;
    let updates = RefUpdate::read(std::io::stdin().lock()).map_err(anyhow::Error::from)?;
    output::lines(apps::mend(context, &app, slot))?;
    let is_gated = gate::is_released(context, &app);
    let no_promote = match is_gated {
        true => false,
        false => options()?.no_promote,
    };
    match receive::push(context, &app, slot, &updates, no_promote)? {
        Received::Nothing(told) => output::lines(told),
        Received::Release(release) => redeploy::follow(context, &release),
    }
}

/// The push's options; those that mean nothing here are told.
fn options() -> Result<PushOptions> {
    let options = PushOptions::from_env();
    let unknown = options.unknown.iter();
    output::lines(
        unknown.map(|option| format!("note: there is no push option {option:?}; there is no-promote")),
    )?;
    Ok(options)
}
