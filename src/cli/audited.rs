//! Commands that write to the audit log what they did.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::failure::{Failure, Result};
use super::select;
use crate::model::{AppName, Slot, SlotName};
use crate::release::{Context, audit};
use crate::store::{ActionOutcome, StoreError};

/// The subject of a command, as far as it is known when the command fails.
#[derive(Debug, Default)]
pub(super) struct Subject {
    /// The app.
    pub(super) app: Option<AppName>,
    /// The slot.
    pub(super) slot: Option<Slot>,
    /// The command, where the command line does not show it.
    pub(super) command: Option<String>,
}

impl Subject {
    /// It is about `app`, and perhaps one of its slots.
    pub(super) fn is_about(&mut self, app: &AppName, slot: Option<Slot>) {
        self.app = Some(app.clone());
        self.slot = slot;
    }

    /// It is about the app that was named, or the only one.
    pub(super) fn app(&mut self, context: &Context, named: Option<&AppName>) -> Result<AppName> {
        self.app = named.cloned();
        let app = select::app(context, named)?;
        self.is_about(&app, None);
        Ok(app)
    }

    /// It is about the slot that was named, with its app.
    pub(super) fn slot(&mut self, context: &Context, named: &SlotName) -> Result<(AppName, Slot)> {
        (self.app, self.slot) = (named.app.clone(), Some(named.slot));
        let (app, slot) = select::slot(context, named)?;
        self.is_about(&app, Some(slot));
        Ok((app, slot))
    }
}

/// Runs a change that is no release, and writes its outcome to the audit log.
pub(super) fn audited<T>(context: &Context, work: impl FnOnce(&mut Subject) -> Result<T>) -> Result<T> {
    let mut subject = Subject::default();
    let came = work(&mut subject);
    match &came {
        Ok(_) => note(context, &subject, ActionOutcome::Done, None),
        Err(failure) => failed(context, &subject, failure),
    }
    came
}

/// Runs what begins a release. A release writes its own line, so only a failure to begin one is written here.
pub(super) fn begun<T>(context: &Context, work: impl FnOnce(&mut Subject) -> Result<T>) -> Result<T> {
    let mut subject = Subject::default();
    let came = work(&mut subject);
    if let Err(failure) = &came {
        failed(context, &subject, failure);
    }
    came
}

fn failed(context: &Context, subject: &Subject, failure: &Failure) {
    // A usage error is not audited: nothing was asked for.
    if !failure.is_usage() {
        note(
            context,
            subject,
            ActionOutcome::Failed,
            failure.message().as_deref(),
        );
    }
}

/// Writes to the audit log. The change is already made, so a failure to write is only a note on standard error.
pub(super) fn note(context: &Context, subject: &Subject, outcome: ActionOutcome, reason: Option<&str>) {
    let command = subject.command.as_ref().unwrap_or(&context.command);
    let app = subject.app.as_ref();
    said(audit::note(context, command, app, subject.slot, outcome, reason));
}

/// Writes to the audit log what the front door did itself: a fetch, or a refusal.
pub(super) fn note_at_door(
    context: &Context,
    subject: &Subject,
    outcome: ActionOutcome,
    reason: Option<&str>,
) {
    let command = subject.command.as_ref().unwrap_or(&context.command);
    let app = subject.app.as_ref();
    said(audit::note_at_door(
        context,
        command,
        app,
        subject.slot,
        outcome,
        reason,
    ));
}

fn said(noted: std::result::Result<(), StoreError>) {
    if let Err(error) = noted {
        eprintln!("deployer: note: the audit log does not tell of this: {error}");
    }
}

/// The command line without `--config` and `--color`.
pub(super) fn words(arguments: impl IntoIterator<Item = OsString>) -> String {
    let mut words = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = String::from_utf8_lossy(argument.as_bytes());
        match text.as_ref() {
            "--config" | "--color" => drop(arguments.next()),
            other if other.starts_with("--config=") || other.starts_with("--color=") => {}
            other if other.is_empty() || other.contains(char::is_whitespace) => {
                words.push(format!("{other:?}"))
            }
            other => words.push(other.to_owned()),
        }
    }
    audit::command_line(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_ask_for_something() {
        for (given, kept) in [
            (
                &["--config", "/etc/x.toml", "promote", "green"][..],
                "promote green",
            ),
            (
                &["rollback", "shop/green", "--to", "3", "--color=never"],
                "rollback shop/green --to 3",
            ),
            (&["app", "create", "a b", ""], "app create \"a b\" \"\""),
            (&["promote", "\u{1b}[2J"], "promote \\u{1b}[2J"),
            (&[], ""),
        ] {
            assert_eq!(words(given.iter().map(OsString::from)), kept);
        }
    }
}
