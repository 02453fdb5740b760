//! `deployer hook`

use std::ffi::OsString;

use clap::Subcommand;

use super::audited::{self, Subject};
use super::failure::{Code, Failure, Result};
use super::{output, redeploy};
use crate::git::{PushOptions, RefUpdate};
use crate::model::{Asked, SlotName};
use crate::release::intake::gate::{self, Passed};
use crate::release::intake::note;
use crate::release::intake::push::{self, Received};
use crate::release::{Context, apps};
use crate::store::ActionOutcome;

/// What the hooks in the slots' repositories call
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Begin to take a push: `OLD NEW REF` lines on standard input
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

/// Fails where nothing of the push is to be taken: git declines it then, and says so to the pusher.
fn pre_receive(context: &Context, slot: &SlotName) -> Result {
    let asked = PushOptions::from_env().asked;
    let (app, passed, not_taken) = audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        let updates = match updates(subject, asked) {
            // The hook that releases reads the same, and tells of it.
            Err(_) if !gate::holds_pushes(context, &app) => return Ok((app, Passed::Yes, Vec::new())),
            updates => updates?,
        };
        let passed = gate::begin(context, &app, slot, &updates, asked)?;
        if let Passed::No(why) = &passed {
            audited::note(context, subject, ActionOutcome::Failed, Some(&why.to_string()));
        }
        Ok((app, passed, gate::not_taken(&updates)))
    })?;
    if note::is_noted(context, &app) {
        // The hook that releases any other push tells of its options.
        options()?;
    }
    output::lines(not_taken)?;
    match passed {
        Passed::No(why) => {
            output::lines([why.to_string()])?;
            Err(Failure::silent(Code::Failed))
        }
        Passed::Yes | Passed::Once(_) => Ok(()),
    }
}

/// Fails where the reference is not to move: git declines it then, and says so to the pusher.
fn update(context: &Context, slot: &SlotName, update: &RefUpdate) -> Result {
    let (app, slot, passed) = audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        subject.command = Some(push::push_command([update.reference.as_str()], Asked::default()));
        let passed = gate::pass(context, &app, slot, update)?;
        if let Passed::No(why) = &passed {
            audited::note(context, subject, ActionOutcome::Failed, Some(&why.to_string()));
        }
        Ok((app, slot, passed))
    })?;
    match passed {
        Passed::Yes => Ok(()),
        Passed::No(why) => {
            output::lines([why.to_string()])?;
            Err(Failure::silent(Code::Failed))
        }
        Passed::Once(release) => {
            let ended = redeploy::follow_to_the_end(context, &release).and_then(|()| {
                let but = gate::cannot_move_any_more(context, &app, slot, (update, &release));
                match but {
                    Some(but) => output::lines([but.to_string()]).and(Err(Failure::silent(Code::Failed))),
                    None => Ok(()),
                }
            });
            if ended.is_err() {
                note::forget(context, &app);
            }
            ended
        }
    }
}

fn post_receive(context: &Context, slot: &SlotName) -> Result {
    let received = audited::begun(context, |subject| {
        let (app, slot) = subject.slot(context, slot)?;
        output::lines(apps::mend(context, &app, slot))?;
        let options = match note::is_released(context, &app) {
            true => PushOptions::default(),
            false => options()?,
        };
        let updates = updates(subject, options.asked)?;
        output::lines(gate::mistaken(context, &app, &updates))?;
        let received = push::push(context, &app, slot, &updates, options.asked)?;
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
    subject.command = Some(push::push_command(references, asked));
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
