//! What is told to the audit log: who began a release and how it ended, and what else was done or refused.

use super::context::Context;
use super::journal_entry::{Outcome, Why};
use crate::model::{AppName, Slot, escaped};
use crate::store::{Action, ActionOutcome, Record, StoreError};

/// The most characters of a command, as it was given, that are written down.
const COMMAND_MAX: usize = 500;

/// The most characters of a reason that are written down.
const REASON_MAX: usize = 300;

/// Writes down that whoever asks (`context.by`) has asked for `command`, and what came of it: `Done`, `Failed` or
/// `Refused`. It is for what is no release. `command` and `reason` may hold any text; what is written of them is one
/// line, fit for a terminal, and bounded.
///
/// # Errors
/// When it cannot be written.
pub fn note(
    context: &Context,
    command: &str,
    app: Option<&AppName>,
    slot: Option<Slot>,
    outcome: ActionOutcome,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let action = action(context, command, app, slot, outcome, reason);
    context.store.write_action(&action)
}

/// As [`note`], of what the front door refused, and of fetches: whoever has a key can have any number of them. Where they
/// come often they are counted.
///
/// # Errors
/// As there.
pub fn note_at_door(
    context: &Context,
    command: &str,
    app: Option<&AppName>,
    slot: Option<Slot>,
    outcome: ActionOutcome,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let action = action(context, command, app, slot, outcome, reason);
    context.store.write_or_count_action(&action)
}

fn action(
    context: &Context,
    command: &str,
    app: Option<&AppName>,
    slot: Option<Slot>,
    outcome: ActionOutcome,
    reason: Option<&str>,
) -> Action {
    Action {
        app: app.cloned(),
        slot,
        reason: reason.map(|reason| one_line(reason, REASON_MAX)),
        ..Action::now(Some(&context.by), command_line(command), outcome)
    }
}

/// What is kept of a command, as it was given: one line that is fit for a terminal, of at most 500 characters.
pub fn command_line(command: &str) -> String {
    one_line(command, COMMAND_MAX)
}

/// Writes down that a release has its number.
pub(super) fn begun(context: &Context, app: &AppName, record: &Record) -> Result<(), StoreError> {
    context
        .store
        .write_action(&of_release(app, record, ActionOutcome::Begun))
}

/// Writes down how a release has ended: before its journal tells so, so that a crash in between can only lead to a
/// second line.
pub(super) fn ended(
    context: &Context,
    app: &AppName,
    record: &Record,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let reason = reason(outcome).map(|reason| one_line(&reason, REASON_MAX));
    context.store.write_action(&Action {
        reason,
        ..of_release(app, record, what_came(outcome))
    })
}

fn of_release(app: &AppName, record: &Record, outcome: ActionOutcome) -> Action {
    let command = record.command.clone().unwrap_or_default();
    Action {
        app: Some(app.clone()),
        slot: Some(record.slot),
        release: Some(record.id),
        ..Action::now(record.by.as_ref(), command, outcome)
    }
}

fn what_came(outcome: &Outcome) -> ActionOutcome {
    match outcome {
        Outcome::Live => ActionOutcome::Live,
        Outcome::Standby => ActionOutcome::Standby,
        Outcome::Superseded { .. } => ActionOutcome::Superseded,
        Outcome::Failed { why, .. } | Outcome::Dropped { why } => match why {
            Why::Error { .. } => ActionOutcome::Failed,
            Why::Cancelled => ActionOutcome::Cancelled,
            Why::Interrupted => ActionOutcome::Interrupted,
        },
    }
}

fn reason(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Live | Outcome::Standby => None,
        Outcome::Superseded { by } => Some(format!("by release {by}")),
        Outcome::Dropped { why } => Some(format!("before its first step{}", message(why))),
        Outcome::Failed { step, why } => Some(format!("at {step}{}", message(why))),
    }
}

fn message(why: &Why) -> String {
    match why {
        Why::Error { told, .. } => format!(": {told}"),
        Why::Cancelled | Why::Interrupted => String::new(),
    }
}

/// The first line of a text, whatever is in it, as at most `max` characters.
fn one_line(text: &str, max: usize) -> String {
    let line = text.trim_end();
    let shown = escaped(line.as_bytes(), max);
    if shown.chars().count() <= max {
        return shown;
    }
    // Escapes are longer than what they stand for.
    escaped(shown.as_bytes(), max - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line_of_at_most_500_characters() {
        assert_eq!(command_line("promote green"), "promote green");
        assert_eq!(command_line("a\nb\u{1b}[2J\n"), "a\\u{a}b\\u{1b}[2J");
        for long in [
            "x".repeat(500),
            "x".repeat(501),
            "\u{1b}".repeat(400),
            "é\n".repeat(300),
        ] {
            let kept = command_line(&long);
            assert!(kept.chars().count() <= 500 && !kept.contains('\n'), "{kept}");
        }
        assert_eq!(command_line(&"x".repeat(500)).chars().count(), 500);
    }
}
