//! A server in small: the state folder, the containers, the images and the proxy, and what each step does to them.

use std::collections::BTreeSet;

use deployer::model::ReleaseId;
use deployer::model::Slot;
use deployer::release::{Entry, Learned, Outcome, Step, Why};

/// A release's number.
pub(crate) type Number = u8;

/// The release that is live on blue before anything is given, and the one that blue ran before it.
pub(crate) const FIRST: Number = 1;
pub(crate) const EARLIER: Number = 0;

/// What a slot runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Runs {
    pub(crate) slot: Slot,
    pub(crate) release: Number,
    /// Whether it is on lane b.
    pub(crate) on_b: bool,
}

/// What state says, or the proxy routes: by slot, blue first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slots {
    pub(crate) live: Option<Slot>,
    pub(crate) slots: [Option<Runs>; 2],
}

/// What a release came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Push,
    /// Back to the image of `to`, from `runs`, which the slot must still run.
    RollBack {
        to: Number,
        runs: Number,
    },
    Promote,
}

/// A line of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    Began(Step),
    Done(Step),
    Failed(Step),
    Undone(Step),
    /// Its turn came to take effect; a later release may keep it from going live.
    TakesEffect(Option<Number>),
    /// A later release holds in its place.
    Superseded(Number),
    Resumed,
    Ended(&'static str),
}

/// Who works on a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Worker {
    /// To be prepared.
    Waits,
    /// It builds, beside whatever else there is.
    Prepares,
    /// It waits to take effect.
    Ready,
    /// It has the app's lock.
    Works,
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Release {
    pub(crate) number: Number,
    pub(crate) slot: Slot,
    pub(crate) kind: Kind,
    /// Whether it is on lane b, once the journal has learned it.
    pub(crate) on_b: Option<bool>,
    pub(crate) journal: Vec<Line>,
    pub(crate) worker: Worker,
}

/// What the process that holds the app's lock is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Ask what comes next.
    Decide,
    /// Do what was begun.
    Act(Step),
    /// Write that it is done.
    Note(Step),
    /// Prune, which ends `record`.
    Prune,
    /// Write that it was taken back.
    NoteUndone(Step),
}

/// The process that holds the app's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    /// The release whose worker it is; none for `deployer recover`.
    pub(crate) own: Option<Number>,
    /// The release that it is bringing to its end: its own, or one whose worker was killed.
    pub(crate) drives: Number,
    /// State as it was when that began.
    pub(crate) before: Slots,
    pub(crate) at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Which of the commands were given, a bit each, and how many.
    pub(crate) asked: u8,
    pub(crate) given: usize,
    pub(crate) releases: Vec<Release>,
    pub(crate) holder: Option<Holder>,
    pub(crate) state: Slots,
    /// The route, which the proxy finds again when it is started.
    pub(crate) route: Slots,
    pub(crate) proxy_runs: bool,
    /// Containers that were probed.
    pub(crate) ready: BTreeSet<Runs>,
    /// Containers that were not probed yet.
    pub(crate) started: BTreeSet<Runs>,
    pub(crate) images: BTreeSet<Number>,
    pub(crate) crashes: u8,
    pub(crate) failures: u8,
    pub(crate) proxy_kills: u8,
    pub(crate) lane_was_routed: bool,
    /// A release went live although one that was asked for later had gone live before it.
    pub(crate) last_word_was_lost: bool,
    /// Everything has ended, and `deployer recover` was run once more.
    pub(crate) was_recovered: bool,
}

impl Release {
    /// The journal as the program reads it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.journal.iter().map(|line| match *line {
            Line::Began(step) => Entry::Began { step },
            Line::Done(step) => Entry::Done {
                step,
                learned: Learned::Nothing,
            },
            Line::Failed(step) => Entry::Failed {
                step,
                why: Why::Error {
                    told: "".into(),
                    instead: None,
                },
            },
            Line::Undone(step) => Entry::Undone { step },
            Line::TakesEffect(later) => Entry::TakesEffect {
                yields_to: later.map(|later| ReleaseId(later.into())),
            },
            Line::Superseded(later) => Entry::Superseded {
                by: ReleaseId(later.into()),
            },
            Line::Resumed => Entry::Resumed,
            Line::Ended(_) => Entry::Finished {
                outcome: Outcome::Superseded { by: ReleaseId(0) },
            },
        })
    }

    pub(crate) fn ended(&self) -> Option<&'static str> {
        match self.journal.last() {
            Some(Line::Ended(how)) => Some(how),
            _ => None,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended().is_some()
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self.ended(), Some("live" | "standby"))
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.journal.contains(&Line::Resumed)
    }

    /// Whether its worker was killed, or gave up, before it ended.
    pub(crate) fn is_orphan(&self) -> bool {
        self.worker == Worker::Gone && !self.has_ended()
    }

    /// Whether a later release keeps it from going live.
    pub(crate) fn yields(&self) -> bool {
        let mut lines = self.journal.iter();
        lines.any(|line| matches!(line, Line::TakesEffect(Some(_))))
    }

    /// Whether a later release has held in the place of all of it, or of its going live.
    pub(crate) fn was_decided_later(&self) -> bool {
        let mut lines = self.journal.iter();
        self.yields() || lines.any(|line| matches!(line, Line::Superseded(_)))
    }

    /// Whether its slot runs another release by now than the one that it is to go back from.
    pub(crate) fn was_overtaken(&self, now: &Slots) -> bool {
        let running = now.slots[self.slot as usize].map(|running| running.release);
        matches!(self.kind, Kind::RollBack { runs, .. } if running != Some(runs))
    }

    pub(crate) fn goes_back_to(&self) -> Option<Number> {
        match self.kind {
            Kind::RollBack { to, .. } => Some(to),
            _ => None,
        }
    }
}

impl World {
    /// Release 1 is live on blue, release 0 ran there before.
    pub(crate) fn new() -> Self {
        let first = Runs {
            slot: Slot::Blue,
            release: FIRST,
            on_b: false,
        };
        let state = Slots {
            live: Some(Slot::Blue),
            slots: [Some(first), None],
        };
        Self {
            asked: 0,
            given: 0,
            releases: Vec::new(),
            holder: None,
            state,
            route: state,
            proxy_runs: true,
            ready: BTreeSet::from([first]),
            started: BTreeSet::new(),
            images: BTreeSet::from([EARLIER, FIRST]),
            crashes: 0,
            failures: 0,
            proxy_kills: 0,
            lane_was_routed: false,
            last_word_was_lost: false,
            was_recovered: false,
        }
    }

    pub(crate) fn release(&self, number: Number) -> Option<&Release> {
        self.releases.iter().find(|one| one.number == number)
    }

    pub(crate) fn release_mut(&mut self, number: Number) -> &mut Release {
        let mut all = self.releases.iter_mut();
        all.find(|one| one.number == number).expect("it was given")
    }

    pub(crate) fn any_ended(&self, how: &str) -> bool {
        self.releases.iter().any(|one| one.ended() == Some(how))
    }

    pub(crate) fn is_healthy(&self, runs: Runs) -> bool {
        self.ready.contains(&runs)
    }

    pub(crate) fn runs_what_state_says(&self) -> bool {
        let wanted: BTreeSet<Runs> = self.state.slots.iter().flatten().copied().collect();
        self.started.is_empty() && self.ready == wanted
    }

    /// The release whose image this one runs.
    pub(crate) fn image_of(&self, number: Number) -> Number {
        let release = self.release(number);
        release.and_then(Release::goes_back_to).unwrap_or(number)
    }

    /// Whether a release goes live when it is good, with state as it was before.
    pub(crate) fn promotes(release: &Release, before: &Slots) -> bool {
        match release.kind {
            _ if release.yields() => false,
            Kind::Push | Kind::Promote => true,
            Kind::RollBack { .. } => before.live == Some(release.slot),
        }
    }

    /// State with a release in it. It takes the lane that its slot does not use, as long as the journal names none.
    pub(crate) fn after(release: &Release, before: &Slots) -> Slots {
        let mut after = *before;
        let was = before.slots[release.slot as usize];
        let free = was.is_some_and(|was| !was.on_b);
        if release.kind != Kind::Promote {
            after.slots[release.slot as usize] = Some(Runs {
                slot: release.slot,
                release: release.number,
                on_b: release.on_b.unwrap_or(free),
            });
        }
        if Self::promotes(release, before) {
            after.live = Some(release.slot);
        }
        after
    }

    /// start: what an earlier run left on the lane goes; the new container is there, not yet ready.
    pub(crate) fn start(&mut self, runs: Runs) {
        let on_lane =
            |one: &Runs| (one.slot, one.on_b) == (runs.slot, runs.on_b) && one.release != runs.release;
        let routed = self.route.slots.iter().flatten().any(on_lane);
        self.lane_was_routed |= routed;
        self.ready.retain(|one| !on_lane(one));
        self.started.retain(|one| !on_lane(one));
        if !self.ready.contains(&runs) {
            self.started.insert(runs);
        }
    }

    /// probe: it is ready.
    pub(crate) fn probe(&mut self, runs: Runs) {
        self.started.remove(&runs);
        self.ready.insert(runs);
    }

    /// start, taken back: the release's containers go, once no route names them.
    pub(crate) fn take_back(&mut self, number: Number, before: &Slots) {
        if self.route.slots.iter().flatten().any(|one| one.release == number) {
            self.route = *before;
        }
        self.remove(|one| one.release == number);
    }

    /// A release's containers go, whatever the route says.
    pub(crate) fn retire_release(&mut self, number: Number) {
        self.remove(|one| one.release == number);
    }

    /// retire: what the slot ran before goes.
    pub(crate) fn retire(&mut self, slot: Slot, after: &Slots) {
        let runs = after.slots[slot as usize].map(|runs| runs.release);
        self.remove(|one| one.slot == slot && Some(one.release) != runs);
    }

    /// Containers that no slot runs go.
    pub(crate) fn remove_strays(&mut self) {
        let runs = self.state.slots;
        self.remove(|one| !runs.contains(&Some(*one)));
    }

    fn remove(&mut self, goes: impl Fn(&Runs) -> bool) {
        self.ready.retain(|one| !goes(one));
        self.started.retain(|one| !goes(one));
    }

    /// Images that are past their keeping go: not what a slot runs, nor the last one it ran before, nor what an
    /// unfinished release works on or goes back to.
    pub(crate) fn prune(&mut self, heeds_slots: bool) {
        let mut kept: BTreeSet<Number> = BTreeSet::new();
        for slot in [Slot::Blue, Slot::Green] {
            let runs = self.state.slots[slot as usize].map(|runs| runs.release);
            kept.extend(runs.filter(|_| heeds_slots));
            let good = self
                .releases
                .iter()
                .filter(|one| one.slot == slot && one.is_good() && one.kind != Kind::Promote);
            let first = [EARLIER, FIRST].into_iter().filter(|_| slot == Slot::Blue);
            let mut earlier: Vec<Number> = first.chain(good.map(|one| one.number)).collect();
            earlier.retain(|number| Some(*number) != runs && self.images.contains(&self.image_of(*number)));
            kept.extend(earlier.last());
        }
        for open in self.releases.iter().filter(|one| !one.has_ended()) {
            kept.insert(open.number);
        }
        let kept: BTreeSet<Number> = kept.into_iter().map(|number| self.image_of(number)).collect();
        self.images.retain(|image| kept.contains(image));
    }
}
