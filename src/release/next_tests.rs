//! Every failing step × a crash at every point × the effect landed or not.

use super::journal_entry::{Entry, Learned, Outcome, Step, Why, way};
use super::next::{Next, next};
use crate::model::{Intent, Promotion, ReleaseId, Source};

/// A server in small: what the steps change, and what must hold of it at every moment.
#[derive(Clone, Default)]
struct World {
    /// Containers of the new instances are there.
    created: bool,
    /// New instances run.
    started: bool,
    /// The route goes to the new instances.
    flipped: bool,
    /// The old instances are gone.
    retired: bool,
    /// State says that the new release is what runs.
    recorded: bool,
}

impl World {
    fn act(&mut self, step: Step) {
        match step {
            Step::Pull => self.created = true,
            Step::Start => (self.created, self.started) = (true, true),
            Step::Flip => self.flipped = true,
            Step::Retire => self.retired = true,
            Step::Record => self.recorded = true,
            _ => {}
        }
    }

    fn take_back(&mut self, step: Step) {
        match step {
            Step::Start => (self.created, self.started) = (false, false),
            Step::Flip => self.flipped = false,
            other => panic!("{other} has nothing to take back"),
        }
    }

    fn check(&self, told: &str) {
        let serves = if self.flipped { self.started } else { !self.retired };
        assert!(serves, "nothing is behind the route: {told}");
    }
}

/// How far a step has come when its worker is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Landed {
    Nothing,
    /// The intent is in the journal, the effect is not there.
    Intent,
    /// The effect is there, and the journal does not say so.
    Effect,
}

/// What goes wrong in one run of the simulation.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// The step that fails, whenever it is done.
    failing: Option<Step>,
    /// Whether a failing step's effect is there all the same.
    failure_lands: bool,
    /// The journal length at which the worker is killed, once.
    crash_at: Option<usize>,
    /// How far what is done then has come before the kill.
    landed: Landed,
    /// Whether a later decision holds when the release is ready.
    superseded: bool,
    /// A second kill, this many entries after the first.
    again_after: Option<usize>,
}

fn simulate(way: &[Step], promote: bool, trouble: Trouble) -> (World, Outcome, Vec<Entry>) {
    let mut world = World::default();
    let mut entries: Vec<Entry> = Vec::new();
    let mut crashes: Vec<usize> = trouble.crash_at.into_iter().collect();
    let mut record_failures = 0;
    for _ in 0..200 {
        let told = format!("{way:?} {trouble:?} {entries:?}");
        let crash = crashes.first().is_some_and(|at| entries.len() >= *at);
        let decision = next(way, promote, &entries);
        if crash && !matches!(decision, Next::Ended(_)) {
            let at = crashes.remove(0);
            if trouble.crash_at == Some(at)
                && let Some(after) = trouble.again_after
            {
                crashes.push(at + 1 + after);
            }
            match decision {
                Next::Do(step) if trouble.landed != Landed::Nothing => {
                    entries.push(Entry::Began { step });
                    if trouble.landed == Landed::Effect {
                        world.act(step);
                    }
                }
                Next::Undo(step) if trouble.landed == Landed::Effect => world.take_back(step),
                _ => {}
            }
            world.check(&told);
            entries.push(Entry::Resumed);
            continue;
        }
        match decision {
            Next::Do(step) => {
                let is_ready = entries
                    .iter()
                    .any(|entry| matches!(entry, Entry::TakesEffect { .. }));
                assert!(
                    step.prepares() || is_ready,
                    "{step} without the app's lock: {told}"
                );
                entries.push(Entry::Began { step });
                let fails = trouble.failing == Some(step) && !(step == Step::Record && record_failures == 2);
                if !fails || trouble.failure_lands {
                    world.act(step);
                }
                entries.push(if fails {
                    record_failures += usize::from(step == Step::Record);
                    let why = Why::Error {
                        told: "no".into(),
                        instead: None,
                    };
                    Entry::Failed { step, why }
                } else {
                    let learned = Learned::Nothing;
                    Entry::Done { step, learned }
                });
            }
            Next::TakeEffect => entries.push(match trouble.superseded {
                true => Entry::Superseded { by: ReleaseId(9) },
                false => Entry::TakesEffect { yields_to: None },
            }),
            Next::Undo(step) => {
                world.take_back(step);
                entries.push(Entry::Undone { step });
            }
            Next::Finish(outcome) => entries.push(Entry::Finished { outcome }),
            Next::Ended(outcome) => return (world, outcome, entries),
        }
        world.check(&told);
    }
    panic!("it never ends: {way:?} {trouble:?} {entries:?}");
}

/// The ways of what is built, of what was built before, and of what runs already.
fn ways() -> [&'static [Step]; 3] {
    let commit = Source::Commit {
        commit: "0123456789".repeat(4).parse().unwrap(),
        subject: "v1".into(),
        reference: "refs/heads/main".into(),
    };
    let earlier = Source::of_release(ReleaseId(1), Some(commit.clone()));
    let deploy = Intent::Deploy {
        promote: Promotion::Yes,
    };
    let ways = [
        way(&commit, &deploy),
        way(&earlier, &deploy),
        way(&earlier, &Intent::Promote { from: None }),
    ];
    let first = ways.map(|way| way[0]);
    assert_eq!(first, [Step::Checkout, Step::Pull, Step::Start]);
    ways
}

fn every_trouble(way: &[Step]) -> Vec<Trouble> {
    let mut all = Vec::new();
    for failing in way.iter().copied().map(Some).chain([None]) {
        for failure_lands in [false, true] {
            for crash_at in (0..30).map(Some).chain([None]) {
                for landed in [Landed::Nothing, Landed::Intent, Landed::Effect] {
                    for again_after in (0..8).map(Some).chain([None]) {
                        all.push(Trouble {
                            failing,
                            failure_lands,
                            crash_at,
                            landed,
                            superseded: crash_at.is_some_and(|at| at % 3 == 0),
                            again_after,
                        });
                    }
                }
            }
        }
    }
    all
}

#[test]
fn every_run_ends_with_all_of_the_release_or_nothing_of_it() {
    for way in ways() {
        for trouble in every_trouble(way) {
            let (world, outcome, entries) = simulate(way, true, trouble);
            let told = format!("{trouble:?}: {outcome:?} after {entries:?}");
            if outcome.is_good() {
                assert!(world.started && world.flipped && world.recorded, "{told}");
            } else {
                assert!(
                    !world.created && !world.started && !world.flipped && !world.retired && !world.recorded,
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn a_crash_before_the_flips_intent_goes_back_and_after_it_goes_forward() {
    for way in ways() {
        let (_, _, undisturbed) = simulate(
            way,
            true,
            Trouble {
                failing: None,
                failure_lands: false,
                crash_at: None,
                landed: Landed::Nothing,
                superseded: false,
                again_after: None,
            },
        );
        for crash_at in 0..undisturbed.len() {
            for landed in [Landed::Nothing, Landed::Intent, Landed::Effect] {
                let trouble = Trouble {
                    failing: None,
                    failure_lands: false,
                    crash_at: Some(crash_at),
                    landed,
                    superseded: false,
                    again_after: None,
                };
                let (_, outcome, entries) = simulate(way, true, trouble);
                let intent = Entry::Began { step: Step::Flip };
                let forward = entries
                    .iter()
                    .take_while(|entry| **entry != Entry::Resumed)
                    .any(|entry| *entry == intent);
                assert_eq!(outcome.is_good(), forward, "{trouble:?}: {entries:?}");
            }
        }
    }
}

#[test]
fn an_error_after_the_flip_leaves_the_release_live() {
    for step in [Step::Drain, Step::Retire, Step::Record] {
        let trouble = Trouble {
            failing: Some(step),
            failure_lands: false,
            crash_at: None,
            landed: Landed::Nothing,
            superseded: false,
            again_after: None,
        };
        let (_, outcome, _) = simulate(ways()[0], true, trouble);
        assert_eq!(outcome, Outcome::Live);
    }
}

#[test]
fn the_first_reason_is_the_one_that_is_told() {
    let why = Why::Error {
        told: "the probe was answered 500".into(),
        instead: None,
    };
    let entries = [
        Entry::Began { step: Step::Start },
        Entry::Done {
            step: Step::Start,
            learned: Learned::Nothing,
        },
        Entry::Began { step: Step::Probe },
        Entry::Failed {
            step: Step::Probe,
            why: why.clone(),
        },
        Entry::Resumed,
        Entry::Undone { step: Step::Start },
    ];
    let [_, rollback, _] = ways();
    let expected = Next::Finish(Outcome::Failed {
        step: Step::Probe,
        why,
    });
    assert_eq!(next(rollback, true, &entries), expected);
}

#[test]
fn what_a_later_decision_overtakes_is_taken_back_and_ends_superseded() {
    let trouble = Trouble {
        failing: None,
        failure_lands: false,
        crash_at: None,
        landed: Landed::Nothing,
        superseded: true,
        again_after: None,
    };
    for way in ways() {
        let (world, outcome, entries) = simulate(way, true, trouble);
        assert_eq!(outcome, Outcome::Superseded { by: ReleaseId(9) });
        assert!(!world.created && !world.started, "{entries:?}");
        assert!(!entries.contains(&Entry::Began { step: Step::Start }));
    }
}
