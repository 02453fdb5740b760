//! One release on its way: the loop that does what [`next`] decides, and writes down what came of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::attempt::Attempt;
use super::context::Context;
use super::journal_entry::{Entry, Facts, Learned, Outcome, Step, Why};
use super::log::{self, Ended, Event, Log};
use super::lost::Lost;
use super::next::{Next, next};
use super::overtaken::{self, Holds};
use super::steps::{build, checkout, drain, flip, probe, pull, push, record, retire, start};
use super::turn::Turn;
use super::work::{Done, Work};
use super::{audit, hopeless, messages, precondition, turn};
use crate::model::{ByService, ReleaseId};
use crate::store::{AppLock, AppState, Journal, Moment, ReleaseDir, SlotLock, WorkerLock};

/// How often a running step looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// One release on its way.
pub(super) struct Run<'a> {
    work: Work<'a>,
    journal: Journal<Entry>,
    _worker: &'a WorkerLock,
}

/// The lock that something is done under.
enum Under<'l> {
    /// The slot's, of a release that is built, or none: it only prepares.
    Slot(Option<&'l mut SlotLock>),
    /// The app's: it takes effect.
    App(&'l mut AppLock),
}

impl Under<'_> {
    fn says(&mut self, release: ReleaseId, step: Option<Step>) {
        let (release, step) = (Some(release), step.map(Step::as_str));
        match self {
            Under::Slot(None) => {}
            Under::Slot(Some(lock)) => lock.says("release", release, step),
            Under::App(lock) => lock.says("release", release, step),
        }
    }
}

impl<'a> Run<'a> {
    /// Takes a release up under its worker's lock. `before` is the app's state as far as it is known: what takes effect goes
    /// by what it is then.
    ///
    /// # Errors
    /// When something of the app or the release cannot be read.
    pub(super) fn new(
        context: &'a Context,
        worker: &'a WorkerLock,
        release: &ReleaseDir,
        before: AppState,
    ) -> anyhow::Result<Self> {
        let app = context.app(release.app())?;
        let record = release
            .record()?
            .with_context(|| format!("there is no release {}", release.id()))?;
        let earlier = match record.goes_back_to() {
            Some(to) => Journal::entries_of(&context.store.release(&app.name, to))
                .map(|entries| Facts::of(&entries).images),
            None => Ok(ByService::new()),
        };
        let (log, journal) = (Log::open(release)?, Journal::open(release)?);
        Ok(Self {
            work: Work {
                attempt: Attempt::new(app, record, before, earlier, journal.entries()),
                release: release.clone(),
                context,
                log,
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

    /// Goes the way until everything is done that needs not the app's lock, under the `slot`'s where the release is built.
    /// Gives the outcome where the release has ended before that.
    ///
    /// # Errors
    /// When the release could not be brought to an end: it stays unfinished, for `deployer recover`.
    pub(super) async fn prepare(&mut self, slot: Option<&mut SlotLock>) -> anyhow::Result<Option<Outcome>> {
        self.go(&mut Under::Slot(slot)).await
    }

    /// Waits until it is the release's turn to take effect.
    ///
    /// # Errors
    /// When the store cannot be read, or the journal not be written.
    pub(super) async fn await_turn(&mut self) -> anyhow::Result<Turn<AppLock>> {
        let Work {
            context,
            release,
            log,
            attempt,
        } = &mut self.work;
        let journal = &mut self.journal;
        let is_ready_for_all_to_see = || Ok(journal.write_noted()?);
        turn::to_take_effect(context, release, &attempt.record, log, is_ready_for_all_to_see).await
    }

    /// Ends what was superseded, or cancelled, while it waited to take effect.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare).
    pub(super) async fn end_before_turn(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        if let Outcome::Superseded { by } = outcome {
            self.append(Entry::Superseded { by })?;
            self.go(&mut Under::Slot(None)).await?;
            return Ok(());
        }
        let way = self.work.attempt.way();
        let step = way.iter().find(|step| !step.prepares());
        let step = *step.context("nothing of it takes effect")?;
        self.failed(step, Instant::now(), Why::Cancelled)?;
        self.go(&mut Under::Slot(None)).await?;
        Ok(())
    }

    /// Goes the rest of the way, under the app's lock.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare).
    pub(super) async fn take_effect(&mut self, lock: &mut AppLock) -> anyhow::Result<Outcome> {
        let ended = self.go(&mut Under::App(lock)).await?;
        ended.context("it has taken effect and has not ended")
    }

    async fn go(&mut self, under: &mut Under<'_>) -> anyhow::Result<Option<Outcome>> {
        loop {
            match self.next() {
                Next::Do(step) => self.take(step, under).await?,
                Next::TakeEffect => match under {
                    Under::Slot(_) => return Ok(None),
                    Under::App(_) => self.enter()?,
                },
                Next::Undo(step) => self.take_back(step, under).await?,
                Next::Finish(outcome) => self.finish(outcome)?,
                Next::Ended(outcome) => return Ok(Some(outcome)),
            }
        }
    }

    fn next(&self) -> Next {
        let attempt = &self.work.attempt;
        let entries = self.journal.entries().iter().map(|(_, entry)| entry);
        next(attempt.way(), attempt.promotes(), entries)
    }

    /// From here on the release goes by what is so under the app's lock, and by what was decided since it was asked for.
    fn enter(&mut self) -> anyhow::Result<()> {
        let Work { context, attempt, .. } = &mut self.work;
        let before = context.store.state(&attempt.app.name)?;
        let later = overtaken::later(context, &attempt.app.name, attempt.record.id)?;
        let holds = overtaken::what_holds(attempt.slot(), &attempt.record.intent, before.live, &later);
        attempt.takes_effect_on(before);
        let yields_to = match holds {
            Holds::All => None,
            Holds::Standby(later) => {
                self.work.log.event(&Event::StaysOnStandby { later });
                Some(later)
            }
            Holds::Nothing(by) => {
                self.work.log.event(&Event::TakesNoEffect { later: by });
                return self.append(Entry::Superseded { by });
            }
        };
        // Durable with the step that it begins.
        self.note(Entry::TakesEffect { yields_to });
        Ok(())
    }

    /// Writes an entry down; it is durable when this answers.
    fn append(&mut self, entry: Entry) -> anyhow::Result<()> {
        self.journal.append(entry)?;
        self.learn();
        Ok(())
    }

    /// Writes an entry down that is durable with the next one.
    fn note(&mut self, entry: Entry) {
        self.journal.note(entry);
        self.learn();
    }

    /// Lets the steps know what was written last.
    fn learn(&mut self) {
        if let Some((at, entry)) = self.journal.entries().last() {
            self.work.attempt.learn(at, entry);
        }
    }

    async fn take(&mut self, step: Step, under: &mut Under<'_>) -> anyhow::Result<()> {
        under.says(self.work.attempt.record.id, Some(step));
        let began = Instant::now();
        if let Err(why) = self.may_begin(step).await {
            return self.failed(step, began, why);
        }
        self.append(Entry::Began { step })?;
        match self.bounded(step, under).await {
            Ok((learned, what)) => {
                // Durable with what comes next, before anything more is done: one write where there were two.
                self.note(Entry::Done { step, learned });
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
        let attempt = &self.work.attempt;
        let is_first = attempt.way().first() == Some(&step);
        // Only the second time nobody can change it any more.
        if is_first || attempt.way().iter().find(|step| !step.prepares()) == Some(&step) {
            precondition::is_still_so(&attempt.app.name, &attempt.record, &attempt.before).map_err(as_why)?;
        }
        if is_first {
            let branch = precondition::branch_may_move(
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
    async fn bounded(&mut self, step: Step, under: &Under<'_>) -> Result<(Learned, String), Why> {
        let deadline = self.deadline(step);
        let release = self.work.release.clone();
        let cancelled = async move {
            while step >= Step::Flip || !release.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        tokio::select! {
            done = self.act(step, under) => done.map_err(as_why),
            () = cancelled => Err(Why::Cancelled),
            () = tokio::time::sleep(deadline) => {
                Err(as_why(anyhow!("it took longer than {}", messages::time(deadline))))
            }
        }
    }

    async fn act(&mut self, step: Step, under: &Under<'_>) -> Done {
        let lock = match under {
            Under::Slot(_) if !step.prepares() => bail!("{step} is taken under the app's lock"),
            Under::Slot(_) => None,
            Under::App(lock) => Some(&**lock),
        };
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
            Step::Record => {
                let lock = lock.context("state is written under the app's lock")?;
                record::record(&mut self.work, lock).await
            }
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
        self.append(Entry::Failed {
            step,
            why: why.clone(),
        })?;
        if step == Step::Record {
            return Err(anyhow!(why.told()).context("it is in force, but state could not be written"));
        }
        self.work.log.event(&failed);
        Ok(())
    }

    async fn take_back(&mut self, step: Step, under: &Under<'_>) -> anyhow::Result<()> {
        let taken_back = match (step, under) {
            (Step::Flip, _) => flip::flip_back(&mut self.work).await,
            (_, Under::App(_)) => start::take_back(&mut self.work).await,
            (_, Under::Slot(_)) => start::remove_new(&self.work).await,
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
            self.work.log.note(messages::not_audited(&error));
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
