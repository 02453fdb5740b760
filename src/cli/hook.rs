//! `deployer hook`

use std::ffi::OsString;

use clap::Subcommand;

use super::audited::{self, Subject};
use super::{Code, Failure, Result, output, redeploy};
use crate::git::{PushOptions, RefUpdate};
use crate::model::{Asked, SlotName};
use crate::release::gate::{self, Passed};
use crate::release::receive::{self, Received};
use crate::release::{Context, apps};
use crate::store::ActionOutcome;

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
    let options = options()?;
    audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        let updates = updates(subject, options.asked)?;
        Ok(gate::begin(context, &app, slot, &updates, options.asked)?)
    })
}

/// Fails where the reference is not to move: git declines it then, and says so to the pusher.
fn update(context: &Context, slot: &SlotName, update: &RefUpdate) -> Result {
    let (app, passed) = audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        subject.command = Some(receive::push_command(
            [update.reference.as_str()],
            Asked::default(),
        ));
        let passed = gate::pass(context, &app, slot, update)?;
        if let Passed::No(why) = &passed {
            audited::note(context, subject, ActionOutcome::Failed, Some(why));
        }
        Ok((app, passed))
    })?;
    match passed {
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
    let received = audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        output::lines(apps::mend(context, &app, slot))?;
        let options = match gate::is_released(context, &app) {
            true => PushOptions::default(),
            false => options()?,
        };
        let updates = updates(subject, options.asked)?;
        let received = receive::push(context, &app, slot, &updates, options.asked)?;
        if let Received::Nothing(told) = &received
            && let Some(first) = told.first()
        {
            audited::note(context, subject, ActionOutcome::Done, Some(first));
        }
        Ok(received)
    })?;
    match received {
        Received::Nothing(told) => output::lines(told),
        Received::Release(release) => redeploy::follow(context, &release),
    }
}

/// What git tells a hook by its standard input.
fn updates(subject: &mut Subject, asked: Asked) -> Result<Vec<RefUpdate>> {
    let updates = RefUpdate::read(std::io::stdin().lock()).map_err(anyhow::Error::from)?;
    let references = updates.iter().map(|update| update.reference.as_str());
    subject.command = Some(receive::push_command(references, asked));
    Ok(updates)
}

/// The push's options; those that mean nothing here are told.
fn options() -> Result<PushOptions> {
    let options = PushOptions::from_env();
    let unknown = options.unknown.iter();
    output::lines(
        unknown
            .map(|option| format!("note: there is no push option {option:?}; there are no-promote and pull")),
    )?;
    Ok(options)
}
