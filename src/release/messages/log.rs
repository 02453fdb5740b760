//! A release's log in words: the one place that puts what the log tells into what people read.

use std::time::Duration;

use super::{still, time};
use crate::ground::told::Told;
use crate::model::{Intent, ReleaseId, Source};
use crate::release::journal_entry::{Outcome, Step, Why};
use crate::release::log::{Again, Ahead, Event, Heading, LogLine, Verdict};

/// What a line of a tool's output begins with, so that it is told from deployer's own.
const OUTPUT_MARK: &str = "   | ";

/// A line as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The words, without a newline.
    pub text: String,
    /// How they are shown.
    pub tone: Tone,
}

/// How a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A good end.
    Good,
    /// An end that is not good, or none.
    Bad,
    /// A tool's output.
    Output,
}

/// A line of a release's log.
pub fn log_line(line: &LogLine) -> Shown {
    let (text, tone) = match line {
        LogLine::Event(_, event) => (self::event(event), tone(event)),
        LogLine::Output(text) => (format!("{OUTPUT_MARK}{text}"), Tone::Output),
        LogLine::Dropped(lines) => (
            format!("{OUTPUT_MARK}({lines} more lines were not kept)"),
            Tone::Output,
        ),
        LogLine::Said(text) => (text.clone(), Tone::Plain),
        LogLine::Newer(format) => (newer_lines(*format), Tone::Plain),
    };
    Shown { text, tone }
}

/// The command `log` shows what is left out of a tool's output here.
pub fn rest_of_output(log: &str) -> String {
    format!("{OUTPUT_MARK}… `{log}` shows the rest")
}

/// Lines that only a newer deployer understands.
fn newer_lines(format: u32) -> String {
    format!(
        " note: a newer deployer wrote lines from here on that this one does not know (format {format}): install that version \
         again to read them"
    )
}

fn tone(event: &Event) -> Tone {
    match event {
        Event::Verdict(verdict) if verdict.outcome.is_good() => Tone::Good,
        Event::Verdict(_) | Event::Unfinished { .. } => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// What happened to a release.
fn event(event: &Event) -> String {
    match event {
        Event::Begun(heading) => begun(heading),
        Event::WaitsToBeBuilt(ahead) => format!(" waiting: {} comes first on this slot", about(ahead)),
        Event::WaitsToTakeEffect(ahead) => format!(" waiting: {} takes effect first", about(ahead)),
        Event::WaitsForCommand { command } => {
            format!(" waiting: `{command}` works on the app and comes first")
        }
        Event::StaysOnStandby { later } => {
            format!(" note: it stays on standby, since release {later}, which was asked for later, is live")
        }
        Event::TakesNoEffect { later } => {
            format!(" note: it does not take effect, since release {later}, which was asked for later, holds")
        }
        Event::Resumed => " resumed: the worker of this release was killed".to_owned(),
        Event::Note(note) => format!(" note: {note}"),
        Event::Done { step, took, what } => done(*step, *took, what),
        Event::Failed { step, took, why } => done(*step, *took, &format!("failed: {why}")),
        Event::Left { step, why } => format!(
            " {step:<8}           not done: {why}. The next release, or `deployer recover`, makes up for it"
        ),
        Event::Undone { step, what } => format!(" {step:<8}           taken back: {what}"),
        Event::Verdict(verdict) => self::verdict(verdict),
        Event::Unfinished { app, release, why } => {
            Told::new(format!("unfinished: {app} release {release}: {why}"))
                .hint(format!(
                    "once that is mended, `deployer recover {app}` brings it to its end"
                ))
                .to_string()
        }
    }
}

fn begun(heading: &Heading) -> String {
    let slot = format!("{}/{} release {}", heading.app, heading.slot, heading.release);
    if let Intent::Promote { from } = heading.intent {
        let from = from.map_or(String::new(), |from| format!("from {from} "));
        return format!("{slot}: traffic goes {from}to {}", heading.slot);
    }
    let source = source(&heading.source);
    match heading.redeploys {
        Some(of) => format!("{slot}: {source} again, as in release {of}"),
        None => format!("{slot}: {source}"),
    }
}

/// What a release is of.
fn source(source: &Source) -> String {
    match source {
        Source::Commit { commit, subject, .. } => format!("commit {} {subject:?}", commit.short()),
        Source::Release { release, of } => {
            let of = of.as_deref().map(|of| format!(" ({})", self::source(of)));
            format!("back to release {release}{}", of.unwrap_or_default())
        }
    }
}

fn about(ahead: &Ahead) -> String {
    let at = ahead.step.as_ref().map(|step| format!(", now at {step}"));
    format!(
        "release {} ({}{})",
        ahead.release,
        ahead.slot,
        at.unwrap_or_default()
    )
}

fn done(step: Step, took: u64, what: &str) -> String {
    let took = time(Duration::from_millis(took));
    format!(" {step:<8} {took:>8}  {what}").trim_end().to_owned()
}

/// The last line of a release's log: how it ended, and what to do next.
fn verdict(v: &Verdict) -> String {
    let name = format!("{}/{} release {}", v.app, v.slot, v.release);
    let took = time(Duration::from_millis(v.took));
    match &v.outcome {
        Outcome::Live => {
            let requests = super::count(v.drained, "request");
            format!(
                "live: {name}{} in {took}, {requests} drained, {} cut, at {}",
                made_of(v),
                v.cut,
                v.address
            )
        }
        Outcome::Standby => {
            let told = format!("standby: {name}{} in {took}, at {}", made_of(v), v.address);
            let hint = format!("`deployer promote {}/{}` puts it live", v.app, v.slot);
            Told::new(told).hint(hint).to_string()
        }
        Outcome::Superseded { by } => superseded(&name, *by, v),
        Outcome::Dropped { why } => ended(&format!("{name} before its first step"), why, v),
        Outcome::Failed { step, why } => ended(&format!("{name} at {step}"), why, v),
    }
}

fn superseded(name: &str, by: ReleaseId, v: &Verdict) -> String {
    let told = Told::new(format!(
        "superseded: {name} by release {by}, which was asked for later. {}",
        still(v.live)
    ));
    let told = match v.digests.is_empty() {
        true => told,
        false => told.hint(format!(
            "`deployer redeploy {}/{}` releases the same commit all the same",
            v.app, v.slot
        )),
    };
    told.to_string()
}

/// A release that did not become good, which `ended` at some place.
fn ended(ended: &str, why: &Why, v: &Verdict) -> String {
    let still = still(v.live);
    let again = again(v);
    let told = match why {
        Why::Error { told, instead } => {
            let told = told.to_string();
            let why = told.trim_end_matches('.');
            Told::new(format!("failed: {ended}: {why}. {still}"))
                .hint(format!("`deployer log {}/{}` shows this log", v.app, v.release))
                .hint(instead.clone().unwrap_or(again))
        }
        Why::Cancelled => Told::new(format!("cancelled: {ended}. {still}")).hint(again),
        Why::Interrupted => {
            Told::new(format!("interrupted: {ended}, its worker was killed. {still}")).hint(again)
        }
    };
    told.to_string()
}

fn again(v: &Verdict) -> String {
    match v.again {
        Again::Push => "the push is declined, so that the same `git push` tries again".to_owned(),
        Again::Redeploy => format!(
            "`deployer redeploy {}/{}` tries the same commit again",
            v.app, v.slot
        ),
        Again::Command => "the same command tries again".to_owned(),
    }
}

fn made_of(v: &Verdict) -> String {
    let images = v.digests.iter().map(|(service, digest)| match service.is_web() {
        true => format!("image {}", digest.short()),
        false => format!("image {} of {service}", digest.short()),
    });
    let commit = v.commit.iter().map(|commit| format!("commit {}", commit.short()));
    let parts: Vec<String> = commit.chain(images).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}
