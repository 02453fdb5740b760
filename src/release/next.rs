//! What comes next: the one decision that running, resuming after a crash, and taking back share.

use super::journal_entry::{Entry, Outcome, Step, Why};

/// What a release does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Do a step, or do it again.
    Do(Step),
    /// Take the app's lock: what comes next changes what is there.
    TakeEffect,
    /// Take a step's side effects back.
    Undo(Step),
    /// Write the outcome.
    Finish(Outcome),
    /// Nothing: it has ended.
    Ended(Outcome),
}

/// Decides what comes next from a release's way and its journal.
///
/// Steps that only prepare are done under no lock of the app; the others once it [takes effect](Entry::TakesEffect).
///
/// Up to the flip's intent a failure or a crash takes back what was done, newest first. From the intent on a
/// crash goes forward; only a flip that *failed* is taken back. After the flip nothing fails the release:
/// `drain` and `retire` leave what they could not do to the next run, and `record` is done until it is done.
pub fn next<'a>(way: &[Step], promote: bool, entries: impl IntoIterator<Item = &'a Entry>) -> Next {
    let seen = Seen::of(entries);
    if let Some(outcome) = seen.finished {
        return Next::Ended(outcome);
    }
    let Some(back) = seen.back else {
        return match way.iter().find(|step| !seen.passed.contains(step)) {
            Some(step) if !step.prepares() && !seen.takes_effect => Next::TakeEffect,
            Some(step) => Next::Do(*step),
            None if promote => Next::Finish(Outcome::Live),
            None => Next::Finish(Outcome::Standby),
        };
    };
    match seen.effects.last() {
        Some(effect) => Next::Undo(*effect),
        None => Next::Finish(back),
    }
}

/// The step by whose name the side effects of `step` are taken back when the release fails: a start's begin beside the
/// pull, when its containers are made. What the others leave is either owned by the next release (the worktree) or
/// pruned (images).
fn undone_as(step: Step) -> Option<Step> {
    match step {
        Step::Pull | Step::Start => Some(Step::Start),
        Step::Flip => Some(Step::Flip),
        _ => None,
    }
}

/// The journal in short.
#[derive(Default)]
struct Seen {
    /// Steps that need not be done any more.
    passed: Vec<Step>,
    /// Undoable steps whose side effects may exist, in the order in which they began.
    effects: Vec<Step>,
    /// The step that was begun and has not ended.
    pending: Option<Step>,
    /// Whether the app's lock was taken.
    takes_effect: bool,
    /// How the release ends once its effects are taken back, where something has turned it back.
    back: Option<Outcome>,
    finished: Option<Outcome>,
}

impl Seen {
    fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut seen = Self::default();
        for entry in entries {
            seen.read(entry);
        }
        seen
    }

    fn read(&mut self, entry: &Entry) {
        match entry {
            Entry::TakesEffect { .. } => self.takes_effect = true,
            Entry::Began { step } => {
                self.pending = Some(*step);
                self.takes_effect |= !step.prepares();
                if let Some(effect) = undone_as(*step).filter(|effect| !self.effects.contains(effect)) {
                    self.effects.push(effect);
                }
            }
            Entry::Done { step, .. } => {
                self.pending = None;
                self.passed.push(*step);
            }
            Entry::Failed { step, why } => {
                self.pending = None;
                match step {
                    Step::Drain | Step::Retire => self.passed.push(*step),
                    Step::Record => {}
                    _ => self.fail(Some(*step), why),
                }
            }
            Entry::Superseded { by } => self.turn_back(Outcome::Superseded { by: *by }),
            Entry::Undone { step } => self.effects.retain(|effect| effect != step),
            Entry::Resumed => {
                if !self.effects.contains(&Step::Flip) {
                    let step = self.pending.or(self.passed.last().copied());
                    self.fail(step, &Why::Interrupted);
                }
                self.pending = None;
            }
            Entry::Finished { outcome } => self.finished = Some(outcome.clone()),
        }
    }

    fn fail(&mut self, step: Option<Step>, why: &Why) {
        let why = why.clone();
        self.turn_back(match step {
            Some(step) => Outcome::Failed { step, why },
            None => Outcome::Dropped { why },
        });
    }

    /// The first reason is the one that counts.
    fn turn_back(&mut self, outcome: Outcome) {
        if self.back.is_none() {
            self.back = Some(outcome);
        }
    }
}
