//! What a release's log tells: data, which [`messages`](super::messages) puts into words for whoever reads it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::journal_entry::{Facts, Outcome, Step, Why};
use crate::ground::told::Told;
use crate::model::{AppName, ByService, Commit, Digest, Intent, ReleaseId, Slot, Source, printable};
use crate::store::{self, AppState, Live, Moment, Record};

/// The log of a release, to write to.
pub type Log = store::Log<Event>;
/// A line of it.
pub type LogLine = store::LogLine<Event>;
/// A reader of it.
pub type LogReader = store::LogReader<Event>;

/// What happens to a release that somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Its worker has begun.
    Begun(Heading),
    /// It waits to be built: its slot takes another one.
    WaitsToBeBuilt(Ahead),
    /// It waits to take effect: another one does.
    WaitsToTakeEffect(Ahead),
    /// It waits for a command that holds the app's lock.
    WaitsForCommand {
        /// The command.
        command: String,
    },
    /// It was to go live and does not.
    StaysOnStandby {
        /// The release that was asked for later, and is live.
        later: ReleaseId,
    },
    /// It does not take effect.
    TakesNoEffect {
        /// The release that was asked for later, and holds.
        later: ReleaseId,
    },
    /// It is taken up after its worker was killed.
    Resumed,
    /// Something that may surprise, or wants to be known.
    Note(Told),
    /// A step is done.
    Done {
        /// The step.
        step: Step,
        /// How long it took, in milliseconds.
        took: u64,
        /// What came of it.
        what: String,
    },
    /// A step failed before the flip.
    Failed {
        /// The step.
        step: Step,
        /// How long it took, in milliseconds.
        took: u64,
        /// Why.
        why: Why,
    },
    /// A step after the flip could not be done whole: the release is live all the same.
    Left {
        /// The step.
        step: Step,
        /// Why.
        why: Why,
    },
    /// A step was taken back.
    Undone {
        /// The step.
        step: Step,
        /// What is so now.
        what: String,
    },
    /// The release has ended.
    Verdict(Verdict),
    /// The release could not be brought to its end.
    Unfinished {
        /// The app.
        app: AppName,
        /// The release.
        release: ReleaseId,
        /// Why.
        why: Told,
    },
}

/// What a release is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// The app.
    pub app: AppName,
    /// The slot.
    pub slot: Slot,
    /// The release.
    pub release: ReleaseId,
    /// What it releases.
    pub source: Source,
    /// What is to become of it.
    pub intent: Intent,
    /// The release whose source this is, where that is released once more.
    pub redeploys: Option<ReleaseId>,
}

/// A release that comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// The release.
    pub release: ReleaseId,
    /// Its slot.
    pub slot: Slot,
    /// The step that it is at, where that is known.
    pub step: Option<String>,
}

/// How a release has ended, and what is so now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The app.
    pub app: AppName,
    /// The slot.
    pub slot: Slot,
    /// The release.
    pub release: ReleaseId,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The commit, where it is of one.
    pub commit: Option<Commit>,
    /// Of each service whose image was pushed.
    pub digests: ByService<Digest>,
    /// From when it was asked for to its end, in milliseconds.
    pub took: u64,
    /// Requests that ended by themselves in the drain.
    pub drained: u64,
    /// Requests that were cut at its deadline.
    pub cut: u64,
    /// Where the app answers, or the slot when it is not live; empty where nothing new does.
    pub address: String,
    /// What is live now.
    pub live: Option<Live>,
    /// What tries the same again.
    pub again: Again,
}

/// What tries the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// The same push, which is declined.
    Push,
    /// `deployer redeploy`.
    Redeploy,
    /// The command that was given.
    Command,
}

impl Event {
    /// The first thing that a log tells.
    pub(super) fn begun(app: &AppName, record: &Record) -> Self {
        Event::Begun(Heading {
            app: app.clone(),
            slot: record.slot,
            release: record.id,
            source: record.source.clone(),
            intent: record.intent,
            redeploys: record.redeploys,
        })
    }

    /// A step is done.
    pub(super) fn done(step: Step, took: Duration, what: String) -> Self {
        let took = milliseconds(took);
        Event::Done { step, took, what }
    }

    /// A step failed; one after the flip is left as it is.
    pub(super) fn failed(step: Step, took: Duration, why: Why) -> Self {
        match step {
            Step::Drain | Step::Retire => Event::Left { step, why },
            _ => Event::Failed {
                step,
                took: milliseconds(took),
                why,
            },
        }
    }
}

impl Log {
    /// Writes down what may surprise, or wants to be known.
    pub(super) fn note(&mut self, note: impl Into<Told>) {
        self.event(&Event::Note(note.into()));
    }
}

/// A release that has ended, as its record and journal tell.
pub(super) struct Ended<'a> {
    pub(super) app: &'a AppName,
    pub(super) record: &'a Record,
    pub(super) facts: &'a Facts,
    pub(super) outcome: &'a Outcome,
    pub(super) at: &'a Moment,
}

impl Ended<'_> {
    /// The verdict, where the app's state is `state` now.
    pub(super) fn verdict(&self, context: &Context, state: &AppState) -> Verdict {
        let record = self.record;
        let address = match self.outcome.is_good() {
            true => context
                .app(self.app)
                .map(|app| app.address(context, state, record.slot)),
            false => Ok(String::new()),
        };
        let digests = self.facts.digests().into_iter();
        let (drained, cut) = self.facts.drained;
        Verdict {
            app: self.app.clone(),
            slot: record.slot,
            release: record.id,
            outcome: self.outcome.clone(),
            commit: record.source.commit().cloned(),
            digests: digests
                .map(|(service, digest)| (service, digest.clone()))
                .collect(),
            took: milliseconds(self.at.since(&record.received)),
            drained,
            cut,
            address: address.unwrap_or_default(),
            live: state.live(),
            again: match (record.builds(), &record.gated) {
                (true, Some(_)) => Again::Push,
                (true, None) => Again::Redeploy,
                (false, _) => Again::Command,
            },
        }
    }
}

/// What an error tells, as a log does: each text of it one line that is fit for a terminal.
pub(super) fn told(error: &anyhow::Error) -> Told {
    Told::of(error).map(|text| printable(&text.replace('\n', " ")).into_owned())
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
