//! One release on its way: the loop that does what [`next`] decides, and writes down what came of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;

use super::context::{App, Context};
use super::entry::{Entry, Facts, Learned, Outcome, Step, Why, way};
use super::lost::Lost;
use super::next::{Next, next};
use super::{
    audit, build, checkout, drain, flip, hopeless, meant, probe, pull, push, record, retire, say, start,
};
use crate::model::{Commit, ImageRef, Intent, Lane, Slot};
use crate::store::{
    AppLock, AppState, FLIPS_KEPT, Flip, Journal, Live, Log, Moment, Record, ReleaseDir, Running, WorkerLock,
};

/// How often a running step looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// What a step that is done gives: what the journal learns, and what the pusher reads.
pub(super) type Done = anyhow::Result<(Learned, String)>;

/// One release on its way, with the proof that it alone may change the app.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) app: App,
    pub(super) record: Record,
    pub(super) release: ReleaseDir,
    pub(super) log: Log,
    /// The app's state before this release.
    pub(super) before: AppState,
    pub(super) lock: &'a mut AppLock,
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
        Ok(Self {
            before: context.store.state(&app.name)?,
            log: Log::open(release)?,
            journal: Journal::open(release)?,
            release: release.clone(),
            context,
            app,
            record,
            lock,
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
        self.log.line(&say::resumed());
        self.journal.append(Entry::Resumed)?;
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
        next(self.way(), self.promotes(), self.entries())
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.journal.entries().iter().map(|(_, entry)| entry)
    }

    async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        self.lock
            .says("release", Some(self.record.id), Some(step.as_str()));
        let began = Instant::now();
        if let Err(why) = self.may_begin(step).await {
            return self.failed(step, began, why);
        }
        self.journal.append(Entry::Began { step })?;
        match self.bounded(step).await {
            Ok((learned, what)) => {
                // Durable with what comes next, before anything more is done: one write where there were two.
                self.journal.note(Entry::Done { step, learned });
                self.log.line(&say::step(step, began.elapsed(), &what));
                Ok(())
            }
            Err(why) => self.failed(step, began, why),
        }
    }

    /// What must hold before a step's intent is written.
    async fn may_begin(&mut self, step: Step) -> Result<(), Why> {
        if step <= Step::Flip && self.release.is_cancelled() {
            return Err(Why::Cancelled);
        }
        if self.way().first() == Some(&step) {
            meant::is_still_so(&self.record, &self.before).map_err(as_why)?;
            let branch = meant::branch_may_move(self.context, &self.app.name, &self.record);
            branch.await.map_err(as_why)?;
            hopeless::refuse_what_this_host_has_not(&self.app, &self.record.intent).map_err(as_why)?;
        }
        if step == Step::Flip {
            flip::proxy_answers(self).await.map_err(as_why)?;
        }
        Ok(())
    }

    /// Does a step within its deadline, and before the flip only until it is cancelled.
    async fn bounded(&mut self, step: Step) -> Result<(Learned, String), Why> {
        let deadline = self.deadline(step);
        let release = self.release.clone();
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
            Step::Checkout => checkout::checkout(self).await,
            Step::Build => build::build(self).await,
            Step::Push => push::push(self).await,
            Step::Pull => pull::pull(self).await,
            Step::Start => start::start(self).await,
            Step::Probe => probe::probe(self).await,
            Step::Flip => flip::flip(self).await,
            Step::Drain => drain::drain(self).await,
            Step::Retire => retire::retire(self).await,
            Step::Record => record::record(self).await,
        }
    }

    fn deadline(&self, step: Step) -> Duration {
        let settings = &self.app.settings;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match step {
            Step::Checkout => minutes(10),
            Step::Build => settings.build.deadline,
            Step::Push | Step::Pull => minutes(15),
            // What a promotion runs may have to be pulled again.
            Step::Start if self.record.intent.keeps_what_runs() => minutes(15),
            Step::Start => minutes(2),
            Step::Probe => settings.probe.deadline + Duration::from_secs(30),
            Step::Flip => Duration::from_secs(40),
            Step::Drain => settings.drain_deadline + Duration::from_secs(10),
            Step::Retire => settings.run.stop_grace + minutes(1),
            Step::Record => minutes(2),
        }
    }

    /// Writes a failure down. A step that must be done in the end but cannot be ends this run.
    fn failed(&mut self, step: Step, began: Instant, why: Why) -> anyhow::Result<()> {
        let told = match &why {
            Why::Error { message, .. } => message.clone(),
            Why::Cancelled => "cancelled".to_owned(),
            Why::Interrupted => "interrupted".to_owned(),
        };
        self.journal.append(Entry::Failed { step, why })?;
        match step {
            Step::Drain | Step::Retire => self.log.line(&say::step_left(step, &told)),
            Step::Record => anyhow::bail!("it is in force, but state could not be written: {told}"),
            _ => self.log.line(&say::step_failed(step, began.elapsed(), &told)),
        }
        Ok(())
    }

    async fn take_back(&mut self, step: Step) -> anyhow::Result<()> {
        let taken_back = match step {
            Step::Flip => flip::flip_back(self).await,
            _ => start::take_back(self).await,
        };
        let what = taken_back.with_context(|| format!("{step} could not be taken back"))?;
        self.journal.append(Entry::Undone { step })?;
        if let Some(what) = what {
            self.log.line(&say::step_undone(step, &what));
        }
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        if let Err(error) = audit::ended(self.context, &self.app.name, &self.record, &outcome) {
            self.log.line(&format!(" note: {}", say::not_audited(&error)));
        }
        self.journal.append(Entry::Finished {
            outcome: outcome.clone(),
        })?;
        let state = self
            .context
            .store
            .state(&self.app.name)
            .unwrap_or_else(|_| self.before.clone());
        let verdict = say::Verdict {
            app: &self.app.name,
            record: &self.record,
            facts: &self.facts(),
            took: Moment::now().since(&self.record.received),
            address: &self.app.address(self.context, &state, self.record.slot),
            live: state.live(),
        };
        self.log.line(&say::verdict(&outcome, &verdict));
        Ok(())
    }

    /// What the journal has learned.
    pub(super) fn facts(&self) -> Facts {
        Facts::of(self.entries())
    }

    /// The steps that the release takes.
    fn way(&self) -> &'static [Step] {
        way(&self.record.source, &self.record.intent)
    }

    /// Whether the release goes live.
    pub(super) fn promotes(&self) -> bool {
        self.record
            .intent
            .promotes(self.before.live == Some(self.record.slot))
    }

    /// What the slot ran before.
    pub(super) fn ran_before(&self) -> Option<&Running> {
        self.before.slots.get(&self.record.slot)
    }

    /// The lane for the new instances: the one that the slot does not use.
    pub(super) fn lane(&self) -> Lane {
        self.ran_before().map_or(Lane::A, |running| running.lane.other())
    }

    /// The image that the release runs.
    pub(super) fn image(&self) -> anyhow::Result<ImageRef> {
        if let Some(image) = self.facts().image {
            return Ok(image);
        }
        let image = match (self.record.intent, self.record.goes_back_to()) {
            (Intent::Promote { .. }, _) => self.ran_before().map(|running| running.image.clone()),
            (Intent::Deploy { .. }, Some(to)) => {
                let entries = Journal::entries_of(&self.context.store.release(&self.app.name, to))?;
                Facts::of(entries.iter().map(|(_, entry)| entry)).image
            }
            (Intent::Deploy { .. }, None) => None,
        };
        image.context("the release has no image")
    }

    /// What the slot runs once this release has started.
    pub(super) fn running(&self) -> anyhow::Result<Running> {
        if let (Intent::Promote { .. }, Some(running)) = (self.record.intent, self.ran_before()) {
            return Ok(Running {
                stopped: false,
                ..running.clone()
            });
        }
        let (lane, port, instances) = self.facts().started.context("the release was not started")?;
        Ok(Running {
            release: self.record.id,
            lane,
            instances,
            port,
            image: self.image()?,
            commit: self.record.source.commit().cloned(),
            stopped: false,
        })
    }

    /// The app's state with this release in it.
    pub(super) fn after(&self) -> anyhow::Result<AppState> {
        let slot = self.record.slot;
        let mut after = self.before.clone();
        after.slots.insert(slot, self.running()?);
        if !self.promotes() {
            return Ok(after);
        }
        after.live = Some(slot);
        if let (Some(standby), crate::model::Standby::Stopped) =
            (after.slots.get_mut(&slot.other()), self.app.settings.standby)
        {
            standby.stopped = true;
        }
        let (from, to) = (self.before.live(), after.live());
        if let (true, Some(to)) = (from != to, to) {
            after.flips.push(Flip {
                at: Timestamp::now(),
                from,
                to,
            });
            let past = after.flips.len().saturating_sub(FLIPS_KEPT);
            after.flips.drain(..past);
        }
        Ok(after)
    }

    /// The slot and release that are live while this release is on its way.
    pub(super) fn live_before(&self) -> Option<Live> {
        self.before.live()
    }

    /// The commit, where the release is of one.
    pub(super) fn commit(&self) -> anyhow::Result<&Commit> {
        let commit = self.record.source.commit();
        commit.context("the release is not of a commit")
    }

    /// The slot.
    pub(super) fn slot(&self) -> Slot {
        self.record.slot
    }
}

fn as_why(error: anyhow::Error) -> Why {
    let message = crate::model::printable(&format!("{error:#}").replace('\n', " ")).into_owned();
    let instead = error.downcast_ref().map(|lost: &Lost| lost.instead.clone());
    Why::Error { message, instead }
}
