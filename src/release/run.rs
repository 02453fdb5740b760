//! One release on its way: the loop that does what [`next`] decides, and writes down what came of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::attempt::Attempt;
use super::context::Context;
use super::entry::{Entry, Facts, Learned, Outcome, Step, Why};
use super::log::{self, Ended, Event, Log};
use super::lost::Lost;
use super::next::{Next, next};
use super::steps::{build, checkout, drain, flip, probe, pull, push, record, retire, start};
use super::work::{Done, Work};
use super::{audit, hopeless, meant, say};
use crate::model::ByService;
use crate::store::{AppLock, Journal, Moment, ReleaseDir, WorkerLock};

/// How often a running step looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// One release on its way.
pub(super) struct Run<'a> {
    work: Work<'a>,
    journal: Journal<Entry>,
    _worker: &'a WorkerLock,
}

impl<'a> Run<'a> {
    /// Takes a release up under the app's lock and its worker's lock.
    ///
    /// # Errors
    /// When something of the app or the release cannot be read.
    pub(super) fn new(
        context: &'a Context,
        lock: &'a mut AppLock,
        worker: &'a WorkerLock,
        release: &ReleaseDir,
    ) -> anyhow::Result<Self> {
        let app = context.app(lock.app())?;
        let record = release
            .record()?
            .with_context(|| format!("there is no release {}", release.id()))?;
        let earlier = match record.goes_back_to() {
            Some(to) => Journal::entries_of(&context.store.release(&app.name, to))
                .map(|entries| Facts::of(&entries).images),
            None => Ok(ByService::new()),
        };
        let before = context.store.state(&app.name)?;
        let (log, journal) = (Log::open(release)?, Journal::open(release)?);
        Ok(Self {
            work: Work {
                attempt: Attempt::new(app, record, before, earlier, journal.entries()),
                release: release.clone(),
                context,
                log,
                lock,
            },
            journal,
            _worker: worker,
        })
    }

    /// Whether the release has ended: by itself, while it was thought to be nobody's.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.next(), Next::Ended(_))
    }

    /// Notes that the release's former worker was killed.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(super) fn resume(&mut self) -> anyhow::Result<()> {
        self.work.log.event(&Event::Resumed);
        self.append(Entry::Resumed)?;
        Ok(())
    }

    /// Goes the way to its end.
    ///
    /// # Errors
    /// When the release could not be brought to an end: it stays unfinished, for `deployer recover`.
    pub(super) async fn go(&mut self) -> anyhow::Result<Outcome> {
        loop {
            match self.next() {
                Next::Do(step) => self.take(step).await?,
                Next::Undo(step) => self.take_back(step).await?,
                Next::Finish(outcome) => self.finish(outcome)?,
                Next::Ended(outcome) => return Ok(outcome),
            }
        }
    }

    fn next(&self) -> Next {
        let attempt = &self.work.attempt;
        let entries = self.journal.entries().iter().map(|(_, entry)| entry);
        next(attempt.way(), attempt.promotes(), entries)
    }

    /// Writes an entry down; it is durable when this answers.
    fn append(&mut self, entry: Entry) -> anyhow::Result<()> {
        self.journal.append(entry)?;
        self.learn();
        Ok(())
    }

    /// Lets the steps know what was written last.
    fn learn(&mut self) {
        if let Some((at, entry)) = self.journal.entries().last() {
            self.work.attempt.learn(at, entry);
        }
    }

    async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        self.work
            .lock
            .says("release", Some(self.work.attempt.record.id), Some(step.as_str()));
        let began = Instant::now();
        if let Err(why) = self.may_begin(step).await {
            return self.failed(step, began, why);
        }
        self.append(Entry::Began { step })?;
        match self.bounded(step).await {
            Ok((learned, what)) => {
                // Durable with what comes next, before anything more is done: one write where there were two.
                self.journal.note(Entry::Done { step, learned });
                self.learn();
                self.work.log.event(&Event::done(step, began.elapsed(), what));
                Ok(())
            }
            Err(why) => self.failed(step, began, why),
        }
    }

    /// What must hold before a step's intent is written.
    async fn may_begin(&mut self, step: Step) -> Result<(), Why> {
        if step <= Step::Flip && self.work.release.is_cancelled() {
            return Err(Why::Cancelled);
        }
        if self.work.attempt.way().first() == Some(&step) {
            meant::is_still_so(&self.work.attempt.record, &self.work.attempt.before).map_err(as_why)?;
            let branch = meant::branch_may_move(
                self.work.context,
                &self.work.attempt.app.name,
                &self.work.attempt.record,
            );
            branch.await.map_err(as_why)?;
            hopeless::refuse_what_this_host_has_not(&self.work.attempt.app, &self.work.attempt.record.intent)
                .map_err(as_why)?;
        }
        if step == Step::Flip {
            flip::proxy_answers(&mut self.work).await.map_err(as_why)?;
        }
        Ok(())
    }

    /// Does a step within its deadline, and before the flip only until it is cancelled.
    async fn bounded(&mut self, step: Step) -> Result<(Learned, String), Why> {
        let deadline = self.deadline(step);
        let release = self.work.release.clone();
        let cancelled = async move {
            while step >= Step::Flip || !release.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        tokio::select! {
            done = self.act(step) => done.map_err(as_why),
            () = cancelled => Err(Why::Cancelled),
            () = tokio::time::sleep(deadline) => {
                Err(as_why(anyhow!("it took longer than {}", say::time(deadline))))
            }
        }
    }

    async fn act(&mut self, step: Step) -> Done {
        match step {
            Step::Checkout => checkout::checkout(&mut self.work).await,
            Step::Build => build::build(&mut self.work).await,
            Step::Push => push::push(&mut self.work).await,
            Step::Pull => pull::pull(&mut self.work).await,
            Step::Start => start::start(&mut self.work).await,
            Step::Probe => probe::probe(&mut self.work).await,
            Step::Flip => flip::flip(&mut self.work).await,
            Step::Drain => drain::drain(&mut self.work).await,
            Step::Retire => retire::retire(&mut self.work).await,
            Step::Record => record::record(&mut self.work).await,
        }
    }

    fn deadline(&self, step: Step) -> Duration {
        let settings = &self.work.attempt.app.settings;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match step {
            Step::Checkout => minutes(10),
            Step::Build => settings.longest(|service| service.build.deadline),
            Step::Push | Step::Pull => minutes(15),
            // What a promotion runs may have to be pulled again.
            Step::Start if self.work.attempt.record.intent.keeps_what_runs() => minutes(15),
            Step::Start => minutes(2),
            Step::Probe => settings.longest(|service| service.probe.deadline) + Duration::from_secs(30),
            Step::Flip => Duration::from_secs(40),
            Step::Drain => settings.drain_deadline + Duration::from_secs(10),
            Step::Retire => settings.longest(|service| service.run.stop_grace) + minutes(1),
            Step::Record => minutes(2),
        }
    }

    /// Writes a failure down. A step that must be done in the end but cannot be ends this run.
    fn failed(&mut self, step: Step, began: Instant, why: Why) -> anyhow::Result<()> {
        let failed = Event::failed(step, began.elapsed(), why.clone());
        let told = why.to_string();
        self.append(Entry::Failed { step, why })?;
        if step == Step::Record {
            anyhow::bail!("it is in force, but state could not be written: {told}");
        }
        self.work.log.event(&failed);
        Ok(())
    }

    async fn take_back(&mut self, step: Step) -> anyhow::Result<()> {
        let taken_back = match step {
            Step::Flip => flip::flip_back(&mut self.work).await,
            _ => start::take_back(&mut self.work).await,
        };
        let what = taken_back.with_context(|| format!("{step} could not be taken back"))?;
        self.append(Entry::Undone { step })?;
        if let Some(what) = what {
            self.work.log.event(&Event::Undone { step, what });
        }
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        if let Err(error) = audit::ended(
            self.work.context,
            &self.work.attempt.app.name,
            &self.work.attempt.record,
            &outcome,
        ) {
            self.work.log.note(say::not_audited(&error));
        }
        self.append(Entry::Finished {
            outcome: outcome.clone(),
        })?;
        let state = self
            .work
            .context
            .store
            .state(&self.work.attempt.app.name)
            .unwrap_or_else(|_| self.work.attempt.before.clone());
        let ended = Ended {
            app: &self.work.attempt.app.name,
            record: &self.work.attempt.record,
            facts: &self.work.attempt.facts,
            outcome: &outcome,
            at: &Moment::now(),
        };
        let verdict = ended.verdict(self.work.context, &state);
        self.work.log.event(&Event::Verdict(verdict));
        Ok(())
    }
}

fn as_why(error: anyhow::Error) -> Why {
    let instead = error.downcast_ref().map(|lost: &Lost| lost.instead.clone());
    let told = log::told(&error);
    Why::Error { told, instead }
}
