//! `deployer audit`

use std::cell::Cell;
use std::collections::VecDeque;

use super::failure::Result;
use super::output;
use super::since::Since;
use crate::model::{AppName, printable};
use crate::release::Context;
use crate::store::{Action, Line, StoreError};

/// How many of the newest actions are shown where nothing says how many.
const SHOWN: usize = 50;

/// The most characters of a command and of an outcome in the table; JSON has all of them.
const COMMAND_MAX: usize = 60;
const OUTCOME_MAX: usize = 120;

/// Rows that are aligned with one another: of a long list no more is held at once.
const ALIGNED: usize = 200;

/// Show who did what, the newest last
///
/// Every release has a line when it begins and one when it has ended; every other command that changes something has
/// one when it has ended. The newest 50 are shown, or with --since all since then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what is about this app, which need not be there any more
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Only since then: a time back (2h, 7d), or a day or time in UTC (2026-11-21, 2026-11-21T10:00)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let unreadable = Cell::new(0_u64);
        let lines = context.store.actions()?;
        let actions = lines.filter_map(|line| match line {
            Ok(Line::Action(action)) => self.is_wanted(context, &action).then_some(Ok(*action)),
            Ok(Line::Unreadable) => {
                unreadable.set(unreadable.get() + 1);
                None
            }
            Err(error) => Some(Err(error)),
        });
        let mut failed = None;
        let actions = until_failed(actions, &mut failed);
        let limit = self.limit.or(self.since.is_none().then_some(SHOWN));
        let shown: Box<dyn Iterator<Item = Action>> = match limit {
            Some(limit) => Box::new(newest(actions, limit).into_iter()),
            None => Box::new(actions),
        };
        match self.json {
            true => json(shown, &unreadable)?,
            false => text(shown, &unreadable)?,
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn is_wanted(&self, context: &Context, action: &Action) -> bool {
        let app = action.app.as_ref();
        let is_in_scope = context.scope.apps.is_empty() || app.is_some_and(|app| context.scope.has_app(app));
        let is_of_app = self.app.is_none() || self.app.as_ref() == app;
        let is_late = self.since.is_none_or(|since| action.time >= since.0);
        is_in_scope && is_of_app && is_late
    }
}

/// The actions up to an error, which is kept for later.
fn until_failed(
    actions: impl Iterator<Item = std::result::Result<Action, StoreError>>,
    failed: &mut Option<StoreError>,
) -> impl Iterator<Item = Action> {
    actions.map_while(|action| action.map_err(|error| *failed = Some(error)).ok())
}

fn newest(actions: impl Iterator<Item = Action>, limit: usize) -> VecDeque<Action> {
    let mut newest = VecDeque::new();
    for action in actions {
        newest.push_back(action);
        if newest.len() > limit {
            newest.pop_front();
        }
    }
    newest
}

/// The shape of every other JSON, an action a line, written while it is read.
fn json(actions: impl Iterator<Item = Action>, unreadable: &Cell<u64>) -> Result {
    let version = output::JSON_VERSION;
    let head = format!("{{\n  \"version\": {version},\n  \"actions\": [");
    let mut actions = actions.peekable();
    let lines = std::iter::from_fn(move || {
        let action = actions.next()?;
        let action = serde_json::to_string(&action).expect("plain data is JSON");
        let comma = if actions.peek().is_some() { "," } else { "" };
        Some(format!("    {action}{comma}"))
    });
    let tail = || format!("  ],\n  \"unreadable\": {}\n}}", unreadable.get());
    output::lines([head].into_iter().chain(lines).chain(std::iter::once_with(tail)))
}

fn text(mut actions: impl Iterator<Item = Action>, unreadable: &Cell<u64>) -> Result {
    let heading = ["TIME", "WHO", "FROM", "COMMAND", "ABOUT", "RELEASE", "OUTCOME"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    loop {
        let before = rows.len();
        rows.extend(actions.by_ref().take(ALIGNED).map(|action| row(&action)));
        if rows.len() == before {
            break;
        }
        output::lines(output::table(&rows))?;
        rows.clear();
    }
    if !rows.is_empty() {
        output::lines(["the audit log tells of no such action".to_owned()])?;
    }
    if unreadable.get() > 0 {
        eprintln!(
            "deployer: note: lines of the audit log that were cut, damaged or written by a newer deployer: {}",
            unreadable.get()
        );
    }
    Ok(())
}

fn row(action: &Action) -> Vec<String> {
    let about = match (&action.app, action.slot) {
        (Some(app), Some(slot)) => format!("{app}/{slot}"),
        (Some(app), None) => app.to_string(),
        (None, Some(slot)) => slot.to_string(),
        (None, None) => String::new(),
    };
    let outcome = action.outcome.as_str();
    let outcome = match &action.reason {
        Some(reason) => format!("{outcome}: {}", cut(&printable(reason), OUTCOME_MAX)),
        None => outcome.to_owned(),
    };
    let outcome = match action.more {
        Some(more) => format!("{outcome} (and {more} more{})", in_time(action)),
        None => outcome,
    };
    vec![
        action.time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        printable(action.who()).into_owned(),
        action.from.map_or(String::new(), |from| from.to_string()),
        cut(&printable(&action.command), COMMAND_MAX),
        about,
        action
            .release
            .map_or(String::new(), |release| release.to_string()),
        outcome,
    ]
}

/// How long it took until those that were counted had come.
fn in_time(action: &Action) -> String {
    let Some(since) = action.since else {
        return String::new();
    };
    let seconds = action.time.duration_since(since).as_secs().max(1);
    format!(" in {seconds} s")
}

/// At most `max` characters of `text`.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_long_command_makes_no_wide_table_and_more_of_the_same_are_told() {
        let mut action = Action::now(None, "x".repeat(500), crate::store::ActionOutcome::Refused);
        action.reason = Some("y".repeat(300));
        action.more = Some(1479);
        action.since = Some(action.time - SignedDuration::from_secs(4));
        let row = row(&action);
        assert_eq!(row[3], "x".repeat(59) + "…");
        assert_eq!(
            row[6],
            format!("refused: {}… (and 1479 more in 4 s)", "y".repeat(119))
        );
    }
}
