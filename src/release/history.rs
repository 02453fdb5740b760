//! What an app's releases were, read from their records and journals.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::context::{Context, NotFound};
use super::journal_entry::{Entry, Facts, Learned, Outcome, Step, Why, has_ended, way};
use crate::ground::told::Told;
use crate::model::{AppName, ReleaseId, Slot};
use crate::store::{AppState, Journal, Moment, Record, ReleaseDir, StoreError};

/// How many of the newest releases keep their record and log, whatever became of them.
pub(super) const RECORDS_KEPT: usize = 100;

/// One release as its folder tells it.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its folder.
    pub dir: ReleaseDir,
    /// Its record.
    pub record: Record,
    /// What its journal learned.
    pub facts: Facts,
    /// How it ended; `None` while it has not.
    pub outcome: Option<Outcome>,
    /// The step that it is at, or was at when it ended.
    pub step: Option<Step>,
    /// When it was its turn to take effect; `None` before.
    pub effective: Option<Moment>,
    /// Whether everything is done that prepares it.
    pub is_prepared: bool,
    /// When its journal was last written.
    pub changed: Option<Moment>,
    /// How long each step took, in milliseconds, in their order.
    pub took: Vec<(Step, u64)>,
}

impl Past {
    /// Whether the slot ran it, and its image was not pruned.
    pub fn is_kept(&self) -> bool {
        self.has_run() && !self.dir.is_pruned()
    }

    /// Whether it waits to take effect, or has begun to.
    pub(super) fn is_ready(&self) -> bool {
        self.is_prepared || self.effective.is_some()
    }

    fn has_run(&self) -> bool {
        self.outcome.as_ref().is_some_and(Outcome::is_good) && !self.facts.images.is_empty()
    }
}

/// The releases of `app`, the oldest first. One whose record or journal cannot be read is left out.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub fn of(context: &Context, app: &AppName) -> Result<Vec<Past>, StoreError> {
    Ok(read(context, app)?.0)
}

/// The releases of `app`, the oldest first, and what cannot be read: such a release did what only the containers and the
/// proxy can tell.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub fn read(context: &Context, app: &AppName) -> Result<(Vec<Past>, Vec<Unread>), StoreError> {
    Ok(read_those(context.store.releases(app)?))
}

/// The releases of `app` that `state` may know nothing of, the oldest first, and what of them cannot be read: those
/// that are newer than all that runs, and older ones that have not ended. What became of the others stands in state, however
/// many they are, and of each of them only the end of its journal is looked at.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub fn unsettled(
    context: &Context,
    app: &AppName,
    state: &AppState,
) -> Result<(Vec<Past>, Vec<Unread>), StoreError> {
    let newest = state.slots.values().map(|running| running.release).max();
    let mut releases = context.store.releases(app)?;
    releases.retain(|dir| Some(dir.id()) > newest || !has_ended(dir));
    Ok(read_those(releases))
}

/// What these releases were, and what of them cannot be read.
pub(super) fn read_those(releases: Vec<ReleaseDir>) -> (Vec<Past>, Vec<Unread>) {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    for dir in releases {
        match one(dir) {
            Ok(past) => all.extend(past),
            Err(error) => unread.extend(Unread::of(error)),
        }
    }
    (all, unread)
}

/// The releases of `app`, the newest first, each read when it is asked for. One whose record or journal cannot be read
/// is left out.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub fn newest_first(
    context: &Context,
    app: &AppName,
) -> Result<impl Iterator<Item = Past> + use<>, StoreError> {
    let releases = context.store.releases(app)?.into_iter().rev();
    Ok(releases.filter_map(|dir| one(dir).ok()?))
}

/// The newest release of `slot` that has ended, where it is newer than `than`; looked for among the newest ones of the
/// app, which are those that keep their record.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub fn newest_ended(
    context: &Context,
    app: &AppName,
    slot: Slot,
    than: Option<ReleaseId>,
) -> Result<Option<Past>, StoreError> {
    let releases = context.store.releases(app)?;
    let newest = releases.into_iter().rev().take(RECORDS_KEPT);
    let newer = newest.take_while(|dir| Some(dir.id()) > than);
    let of_slot = newer.filter(|dir| {
        dir.record()
            .is_ok_and(|record| record.is_some_and(|it| it.slot == slot))
    });
    Ok(of_slot
        .filter_map(|dir| one(dir).ok()?)
        .find(|past| past.outcome.is_some()))
}

/// A file of a release that cannot be read.
#[derive(Debug)]
pub enum Unread {
    /// It is not what deployer wrote.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which file, and why.
        told: String,
    },
    /// A newer deployer wrote it: nobody else can say what it means, and it is left as it is.
    Newer(Told),
}

impl Unread {
    /// None where it was not even looked at.
    fn of(error: StoreError) -> Option<Self> {
        let told = Told::of(&error);
        match error {
            StoreError::Unreadable { path, .. } => {
                let told = told.message;
                Some(Unread::Damaged { path, told })
            }
            StoreError::Newer { .. } => Some(Unread::Newer(told)),
            StoreError::Io { .. } => None,
        }
    }

    /// The sentence about what a newer deployer wrote; none where nothing of these was.
    pub(super) fn newer(all: &[Self]) -> Option<Told> {
        let mut newer = all.iter().filter_map(|unread| match unread {
            Unread::Newer(told) => Some(told),
            Unread::Damaged { .. } => None,
        });
        let first = newer.next()?;
        Some(match newer.count() {
            0 => first.clone(),
            others => {
                let message = format!("{} ({others} more of its files are like that)", first.message);
                let hints = first.hints.clone();
                Told { message, hints }
            }
        })
    }

    /// What is damaged of these: the file, and what is told of it.
    pub(super) fn damaged(all: &[Self]) -> impl Iterator<Item = (&Path, &str)> {
        all.iter().filter_map(|unread| match unread {
            Unread::Damaged { path, told } => Some((path.as_path(), told.as_str())),
            Unread::Newer(_) => None,
        })
    }
}

/// How a release ended whose journal has lost its end, as another file shows. `None` where the journal may well be
/// whole: its worker was killed.
///
/// A journal that was cut says that less was done than was. Believing it would take back what is live, or bring an
/// old release live again.
///
/// # Errors
/// When state or the folder of releases cannot be read.
pub fn lost_end(context: &Context, past: &Past) -> Result<Option<Outcome>, StoreError> {
    let app = past.dir.app();
    let state = context.store.state(app)?;
    let all = of(context, app)?;
    let slot = past.record.slot;
    // State knows a release from its last step on.
    let runs = state
        .slots
        .get(&slot)
        .is_some_and(|running| running.release == past.record.id);
    let never_flipped = past.step.is_none_or(|step| step < Step::Flip);
    // One takes effect at a time: what did so before another one had ended by then.
    let is_overtaken = all.iter().any(|other| {
        let turns = other.effective.as_ref().zip(past.effective.as_ref());
        other.record.id != past.record.id && turns.is_some_and(|(theirs, ours)| theirs.is_after(ours))
    });
    let yields = past.facts.yields_to.is_some();
    let good = match !yields && past.record.intent.promotes(state.live == Some(slot)) {
        true => Outcome::Live,
        false => Outcome::Standby,
    };
    Ok(match past.step {
        _ if runs && (never_flipped || is_overtaken) => Some(good),
        Some(_) if is_overtaken && past.facts.flipped.is_some() => Some(good),
        Some(step) if is_overtaken => Some(Outcome::Failed {
            step,
            why: Why::Interrupted,
        }),
        _ => None,
    })
}

/// Writes the end into the journal that has lost it, and before it what state still knows of the release: without
/// its image it could not be gone back to.
///
/// # Errors
/// When state cannot be read, or the journal cannot be written.
pub fn write_end(context: &Context, past: &Past, outcome: &Outcome) -> Result<(), StoreError> {
    let state = context.store.state(past.dir.app())?;
    let mut journal = Journal::open(&past.dir)?;
    let running = state.slots.get(&past.record.slot);
    let running = running.filter(|running| running.release == past.record.id);
    if let Some(running) = running.filter(|_| past.facts.images.is_empty()) {
        let images = running.images();
        let learned = Learned::Images { images };
        let step = Step::Pull;
        journal.append(Entry::Done { step, learned })?;
    }
    let outcome = outcome.clone();
    journal.append(Entry::Finished { outcome })
}

/// One release. `None` when there is no such release.
///
/// # Errors
/// When its record or journal cannot be read.
pub fn one(dir: ReleaseDir) -> Result<Option<Past>, StoreError> {
    let Some(record) = dir.record()? else {
        return Ok(None);
    };
    let entries = Journal::<Entry>::entries_of(&dir)?;
    Ok(Some(Past {
        facts: Facts::of(&entries),
        outcome: entries.iter().find_map(|(_, entry)| match entry {
            Entry::Finished { outcome } => Some(outcome.clone()),
            _ => None,
        }),
        step: entries.iter().rev().find_map(|(_, entry)| match entry {
            Entry::Began { step } => Some(*step),
            _ => None,
        }),
        effective: entries.iter().find_map(|(at, entry)| match entry {
            Entry::TakesEffect { .. } => Some(at.clone()),
            Entry::Began { step } if !step.prepares() => Some(at.clone()),
            _ => None,
        }),
        is_prepared: is_prepared(&record, &entries),
        changed: entries.last().map(|(at, _)| at.clone()),
        took: took(&entries),
        dir,
        record,
    }))
}

fn is_prepared(record: &Record, entries: &[(Moment, Entry)]) -> bool {
    let is_done = |wanted: &Step| {
        let mut entries = entries.iter();
        entries.any(|(_, entry)| matches!(entry, Entry::Done { step, .. } if step == wanted))
    };
    let mut way = way(&record.source, &record.intent).iter();
    way.all(|step| !step.prepares() || is_done(step))
}

fn took(entries: &[(Moment, Entry)]) -> Vec<(Step, u64)> {
    let mut began = None;
    let mut all = Vec::new();
    for (at, entry) in entries {
        match entry {
            Entry::Began { step } => began = Some((*step, at)),
            Entry::Done { step, .. } => {
                if let Some((_, since)) = began.take().filter(|(begun, _)| begun == step) {
                    let took = at.since(since).as_millis();
                    all.push((*step, u64::try_from(took).unwrap_or(u64::MAX)));
                }
            }
            _ => {}
        }
    }
    all
}

/// The release that `rollback SLOT` goes back to: `to` when it is named, else the newest kept one of the slot
/// from before what it runs, with another image.
///
/// # Errors
/// When there is none, or the named one is not kept.
pub fn rollback_target(all: &[Past], state: &AppState, slot: Slot, to: Option<ReleaseId>) -> Result<Past> {
    if let Some(to) = to {
        let Some(past) = all.iter().find(|past| past.record.id == to) else {
            let none = format!("there is no release {to}: `deployer releases` shows those there are");
            return Err(NotFound(none).into());
        };
        if !past.is_kept() {
            bail!(
                "release {to} cannot be gone back to: it {}; `deployer releases` shows those there are",
                if past.has_run() { "was pruned" } else { "never ran" }
            );
        }
        return Ok(past.clone());
    }
    let Some(running) = state.slots.get(&slot) else {
        bail!("{slot} runs nothing, so that there is no release to go back from");
    };
    let now = original(all, running.release);
    let before = all.iter().rev().find(|past| {
        past.record.slot == slot
            && past.record.id < now
            && past.is_kept()
            && past.record.goes_back_to().is_none()
            && past.facts.digests() != running.digests()
    });
    match before {
        Some(past) => Ok(past.clone()),
        None => bail!(
            "{slot} has no earlier release with another image than what it runs (release {}): `deployer releases` shows \
             those there are, `deployer rollback {slot} --to N` takes a later one",
            running.release
        ),
    }
}

/// The release whose image `id` runs: itself, or the one that it went back to.
fn original(all: &[Past], id: ReleaseId) -> ReleaseId {
    let mut id = id;
    while let Some(past) = all.iter().find(|past| past.record.id == id) {
        match past.record.goes_back_to() {
            Some(to) if to < id => id = to,
            _ => break,
        }
    }
    id
}
