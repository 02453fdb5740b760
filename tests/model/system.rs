//! What may happen next: commands, turns, steps, failures, kills, recovery.

use std::fmt;

use deployer::model::{Intent, Promotion, ReleaseId, Slot, Source};
use deployer::release::{Holds, Later, Next, Outcome, Step, Why, next, way, what_holds};
use stateright::{Model, Property};

use crate::world::{At, FIRST, Holder, Kind, Line, Number, Release, Runs, Slots, Worker, World};

/// A command that is given once, at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Push(Slot),
    RollBack(Slot),
    Promote(Slot),
}

/// A way to get it wrong, which the properties must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// What the slot ran before goes before traffic has left it.
    RetireBeforeFlip,
    /// Pruning does not look at what the slots run.
    PruneWithoutSlots,
    /// A release that is taken up again takes its lane from state, which may have the release already.
    ForgetTheLane,
    /// A crash after the flip's intent is taken back by removing the new instances alone.
    ForgetTheIntent,
    /// Nobody takes up what a killed worker left.
    NoRecovery,
    /// What was decided while a release was prepared is not looked at.
    ForgetWhatWasDecided,
}

/// What may happen: so many commands, and so many kills and failures at most.
pub(crate) struct System {
    pub(crate) commands: Vec<Command>,
    pub(crate) crashes: u8,
    pub(crate) failures: u8,
    pub(crate) proxy_kills: u8,
    pub(crate) mutant: Option<Mutant>,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A command is given: its release gets its number and a worker that waits.
    Give(usize),
    /// A waiting worker begins to prepare; what has nothing to build is ready at once.
    Prepare(Number),
    /// A release that was built is ready.
    Prepared(Number),
    /// Its build fails.
    NotBuilt(Number),
    /// A ready worker takes the app's lock.
    TakeTurn(Number),
    /// A waiting push sees a newer one to its slot.
    Supersede(Number),
    /// The holder of the lock goes on.
    GoOn,
    /// The holder's step fails, its effect there or not.
    Fail {
        landed: bool,
    },
    /// The holder of the lock is killed.
    Kill,
    /// A worker that waits, or prepares, is killed.
    KillWaiting(Number),
    KillProxy,
    StartProxy,
    /// `deployer recover`
    Recover,
}

impl System {
    /// These commands in any order, one crash, one failure and one kill of the proxy.
    pub(crate) fn new(commands: impl Into<Vec<Command>>) -> Self {
        Self {
            commands: commands.into(),
            crashes: 1,
            failures: 1,
            proxy_kills: 1,
            mutant: None,
        }
    }

    /// The same with a fault.
    pub(crate) fn with(self, mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
            ..self
        }
    }

    pub(crate) fn has_two_pushes_to_one_slot(&self) -> bool {
        let pushes = |slot| {
            self.commands
                .iter()
                .filter(move |one| **one == Command::Push(slot))
        };
        [Slot::Blue, Slot::Green]
            .iter()
            .any(|slot| pushes(*slot).count() > 1)
    }

    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The program's own decision.
    fn decide(&self, release: &Release, before: &Slots) -> Next {
        let (source, intent) = Self::asked(release);
        let mut way = way(&source, &intent).to_vec();
        if self.has(Mutant::RetireBeforeFlip) {
            let retire = way
                .iter()
                .position(|step| *step == Step::Retire)
                .expect("it is there");
            let flip = way
                .iter()
                .position(|step| *step == Step::Flip)
                .expect("it is there");
            way[flip..=retire].rotate_right(1);
        }
        let entries: Vec<_> = release.entries().collect();
        next(&way, World::promotes(release, before), &entries)
    }

    /// The program's own rule of what was decided later.
    fn what_holds(&self, now: &World, release: &Release) -> Line {
        let later = now.releases.iter().filter(|other| {
            other.number > release.number && other.is_good() && !self.has(Mutant::ForgetWhatWasDecided)
        });
        let later: Vec<Later> = later
            .map(|other| Later {
                release: ReleaseId(other.number.into()),
                slot: other.slot,
                is_live: other.ended() == Some("live"),
            })
            .collect();
        let number = |id: ReleaseId| Number::try_from(id.0).expect("a release of the model");
        match what_holds(release.slot, &Self::asked(release).1, now.state.live, &later) {
            Holds::All => Line::TakesEffect(None),
            Holds::Standby(later) => Line::TakesEffect(Some(number(later))),
            Holds::Nothing(later) => Line::Superseded(number(later)),
        }
    }

    fn asked(release: &Release) -> (Source, Intent) {
        let commit = Source::Commit {
            commit: "0".repeat(40).parse().expect("it is a commit"),
            subject: String::new(),
            reference: String::new(),
        };
        let earlier = Source::of_release(ReleaseId(release.goes_back_to().unwrap_or(FIRST).into()), None);
        let deploy = |promote| Intent::Deploy { promote };
        match release.kind {
            Kind::Push => (commit, deploy(Promotion::Yes)),
            Kind::RollBack { .. } => (earlier, deploy(Promotion::WhereLive)),
            Kind::Promote => (earlier, Intent::Promote { from: None }),
        }
    }

    /// A waiting worker begins: what is built takes its time, what is there is ready at once.
    fn prepare(&self, now: &mut World, number: Number) {
        let release = now.release_mut(number);
        let (lines, worker): (&[Line], _) = match release.kind {
            Kind::Push => (
                &[
                    Line::Began(Step::Checkout),
                    Line::Done(Step::Checkout),
                    Line::Began(Step::Build),
                ],
                Worker::Prepares,
            ),
            Kind::RollBack { .. } => (&[Line::Began(Step::Pull), Line::Done(Step::Pull)], Worker::Ready),
            Kind::Promote => (&[], Worker::Ready),
        };
        release.journal.extend(lines);
        release.worker = worker;
    }

    /// A build is done, and pushed and pulled.
    fn prepared(&self, now: &mut World, number: Number) {
        now.images.insert(number);
        let release = now.release_mut(number);
        release.worker = Worker::Ready;
        release.journal.push(Line::Done(Step::Build));
        for step in [Step::Push, Step::Pull] {
            release.journal.extend([Line::Began(step), Line::Done(step)]);
        }
    }

    /// The holder goes on with the next release that is nobody's, then with its own, then gives the lock back.
    fn take_up(&self, now: &mut World, own: Option<Number>) {
        let mut orphans = now.releases.iter().filter(|one| one.is_orphan());
        let orphan = orphans
            .next()
            .map(|one| one.number)
            .filter(|_| !self.has(Mutant::NoRecovery));
        let own_is_open = own.filter(|own| now.release(*own).is_some_and(|one| !one.has_ended()));
        now.holder = orphan.or(own_is_open).map(|drives| Holder {
            own,
            drives,
            before: now.state,
            at: At::Decide,
        });
        if let Some(orphan) = orphan {
            let mut journal = std::mem::take(&mut now.release_mut(orphan).journal);
            if self.has(Mutant::ForgetTheIntent) {
                journal.retain(|line| !matches!(line, Line::Began(Step::Flip)));
            }
            journal.push(Line::Resumed);
            now.release_mut(orphan).journal = journal;
        }
        match (now.holder, own) {
            (None, None) => {
                now.route = now.state;
                now.remove_strays();
                let all_ended = now.releases.iter().all(Release::has_ended);
                now.was_recovered = all_ended && now.given == self.commands.len();
            }
            (None, Some(own)) => now.release_mut(own).worker = Worker::Gone,
            _ => {}
        }
    }

    fn go_on(&self, now: &mut World) {
        let holder = now.holder.expect("somebody holds the lock");
        let release = now.release(holder.drives).expect("it was given").clone();
        let before = holder.before;
        let after = World::after(&release, &before);
        let at = match holder.at {
            At::Decide => match self.decide(&release, &before) {
                Next::Do(Step::Flip) if !now.proxy_runs => {
                    now.release_mut(release.number)
                        .journal
                        .push(Line::Failed(Step::Flip));
                    At::Decide
                }
                Next::TakeEffect => {
                    let line = self.what_holds(now, &release);
                    now.release_mut(release.number).journal.push(line);
                    return self.go_on(now);
                }
                Next::Do(step @ Step::Start) if release.was_overtaken(&before) => {
                    now.release_mut(release.number).journal.push(Line::Failed(step));
                    At::Decide
                }
                // Nothing that another step, or another release, would see.
                Next::Do(step @ (Step::Checkout | Step::Push | Step::Pull | Step::Drain)) => {
                    let journal = &mut now.release_mut(release.number).journal;
                    journal.extend([Line::Began(step), Line::Done(step)]);
                    return self.go_on(now);
                }
                Next::Do(step) => {
                    now.release_mut(release.number).journal.push(Line::Began(step));
                    At::Act(step)
                }
                Next::Undo(step) => {
                    match step {
                        Step::Flip => now.route = before,
                        _ if release.kind == Kind::Promote => {}
                        _ if self.has(Mutant::ForgetTheIntent) => now.retire_release(release.number),
                        _ => now.take_back(release.number, &before),
                    }
                    At::NoteUndone(step)
                }
                Next::Finish(outcome) => {
                    let how = word(&outcome);
                    let went_live =
                        |other: &Release| other.number > release.number && other.ended() == Some("live");
                    now.last_word_was_lost |= how == "live" && now.releases.iter().any(went_live);
                    now.release_mut(release.number).journal.push(Line::Ended(how));
                    return self.take_up(now, holder.own);
                }
                Next::Ended(_) => unreachable!("nobody drives what has ended"),
            },
            At::Act(step) => {
                self.act(now, &release, step, &after);
                if step == Step::Record {
                    At::Prune
                } else {
                    At::Note(step)
                }
            }
            At::Prune => {
                let builds = now.releases.iter().any(|one| one.worker == Worker::Prepares);
                if !builds {
                    now.prune(!self.has(Mutant::PruneWithoutSlots));
                }
                At::Note(Step::Record)
            }
            At::Note(step) => {
                if step == Step::Start && !self.has(Mutant::ForgetTheLane) {
                    let runs = after.slots[release.slot as usize];
                    now.release_mut(release.number).on_b = runs.map(|runs| runs.on_b);
                }
                now.release_mut(release.number).journal.push(Line::Done(step));
                // Written with what comes next.
                now.holder = Some(Holder {
                    at: At::Decide,
                    ..holder
                });
                return self.go_on(now);
            }
            At::NoteUndone(step) => {
                now.release_mut(release.number).journal.push(Line::Undone(step));
                At::Decide
            }
        };
        now.holder = Some(Holder { at, ..holder });
    }

    /// What a step does.
    fn act(&self, now: &mut World, release: &Release, step: Step, after: &Slots) {
        let runs: Option<Runs> = after.slots[release.slot as usize];
        match (step, runs) {
            (Step::Start, Some(runs)) => now.start(runs),
            (Step::Probe, Some(runs)) => now.probe(runs),
            (Step::Flip, _) => now.route = *after,
            (Step::Retire, _) => now.retire(release.slot, after),
            (Step::Record, _) => now.state = *after,
            _ => {}
        }
    }

    /// A step that fails, or state that cannot be written.
    fn fail(&self, now: &mut World, landed: bool) {
        let holder = now.holder.expect("somebody holds the lock");
        let At::Act(step) = holder.at else {
            unreachable!("only what was begun fails")
        };
        let release = now.release(holder.drives).expect("it was given").clone();
        if landed {
            let after = World::after(&release, &holder.before);
            self.act(now, &release, step, &after);
        }
        now.release_mut(release.number).journal.push(Line::Failed(step));
        now.failures += 1;
        now.holder = Some(Holder {
            at: At::Decide,
            ..holder
        });
        if step == Step::Record {
            self.stop(now);
        }
    }

    /// The holder of the lock ends where it is.
    fn stop(&self, now: &mut World) {
        let holder = now.holder.take().expect("somebody holds the lock");
        for number in [holder.own, Some(holder.drives)].into_iter().flatten() {
            now.release_mut(number).worker = Worker::Gone;
        }
    }

    fn give(&self, now: &mut World, index: usize) {
        let number = 2 + now.given as Number;
        now.asked |= 1 << index;
        now.given += 1;
        let (slot, kind) = match self.commands[index] {
            Command::Push(slot) => (slot, Kind::Push),
            Command::RollBack(slot) => match (self.target(now, slot), now.state.slots[slot as usize]) {
                (Some(to), Some(Runs { release: runs, .. })) => (slot, Kind::RollBack { to, runs }),
                _ => return,
            },
            Command::Promote(slot) if now.state.slots[slot as usize].is_none() => return,
            Command::Promote(slot) => (slot, Kind::Promote),
        };
        now.releases.push(Release {
            number,
            slot,
            kind,
            journal: Vec::new(),
            on_b: None,
            worker: Worker::Waits,
        });
    }

    /// The newest good image of a slot from before what it runs.
    fn target(&self, now: &World, slot: Slot) -> Option<Number> {
        let runs = now.image_of(now.state.slots[slot as usize]?.release);
        let good = now
            .releases
            .iter()
            .filter(|one| one.kind == Kind::Push && one.slot == slot && one.is_good());
        let first = [crate::world::EARLIER, crate::world::FIRST]
            .into_iter()
            .filter(|_| slot == Slot::Blue);
        let mut all = first
            .chain(good.map(|one| one.number))
            .filter(|number| *number < runs);
        all.rfind(|number| now.images.contains(number))
    }

    fn are(now: &World, worker: Worker) -> impl Iterator<Item = &Release> {
        now.releases.iter().filter(move |one| one.worker == worker)
    }

    /// What may happen to those that have not the app's lock.
    fn of_those_that_wait(&self, now: &World, actions: &mut Vec<Action>) {
        for waiting in Self::are(now, Worker::Waits) {
            let is_of_slot = |other: &Release| other.slot == waiting.slot && other.kind == Kind::Push;
            let is_newer = |other: &Release| other.number > waiting.number && is_of_slot(other);
            let is_ahead = |other: &Release| {
                other.number < waiting.number && is_of_slot(other) && other.worker != Worker::Gone
            };
            let is_push = waiting.kind == Kind::Push;
            if is_push && now.releases.iter().any(is_newer) {
                actions.push(Action::Supersede(waiting.number));
            }
            if !is_push || !now.releases.iter().any(is_ahead) {
                actions.push(Action::Prepare(waiting.number));
            }
        }
        for builds in Self::are(now, Worker::Prepares) {
            actions.push(Action::Prepared(builds.number));
            if now.failures < self.failures {
                actions.push(Action::NotBuilt(builds.number));
            }
        }
        if now.crashes < self.crashes {
            let waiting = [Worker::Waits, Worker::Prepares, Worker::Ready];
            let killed = waiting.into_iter().flat_map(|worker| Self::are(now, worker));
            actions.extend(killed.map(|one| Action::KillWaiting(one.number)));
        }
    }
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, now: &World, actions: &mut Vec<Action>) {
        if now.was_recovered {
            return;
        }
        let not_given = (0..self.commands.len()).filter(|index| now.asked & (1 << index) == 0);
        actions.extend(not_given.map(Action::Give));
        self.of_those_that_wait(now, actions);
        if !now.proxy_runs {
            actions.push(Action::StartProxy);
        } else if now.proxy_kills < self.proxy_kills && self.asks_the_proxy(now) {
            actions.push(Action::KillProxy);
        }
        let Some(holder) = now.holder else {
            actions.extend(
                Self::are(now, Worker::Ready)
                    .next()
                    .map(|first| Action::TakeTurn(first.number)),
            );
            // The next command finds what was left; in the end somebody asks for it.
            let is_over = now.releases.iter().all(Release::has_ended) && now.given == self.commands.len();
            let recovers = is_over || now.releases.iter().any(Release::is_orphan);
            if recovers && now.proxy_runs && !self.has(Mutant::NoRecovery) {
                actions.push(Action::Recover);
            }
            return;
        };
        if !self.waits_for_the_proxy(now, &holder) {
            actions.push(Action::GoOn);
        }
        if let At::Act(step) = holder.at
            && now.failures < self.failures
        {
            actions.push(Action::Fail { landed: false });
            if matches!(step, Step::Start | Step::Flip | Step::Retire | Step::Record) {
                actions.push(Action::Fail { landed: true });
            }
        }
        if now.crashes < self.crashes {
            actions.push(Action::Kill);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut now = last.clone();
        match action {
            Action::Give(index) => self.give(&mut now, index),
            Action::Prepare(number) => self.prepare(&mut now, number),
            Action::Prepared(number) => self.prepared(&mut now, number),
            Action::NotBuilt(number) => {
                now.failures += 1;
                let release = now.release_mut(number);
                release
                    .journal
                    .extend([Line::Failed(Step::Build), Line::Ended("failed")]);
                release.worker = Worker::Gone;
            }
            Action::TakeTurn(number) => {
                now.release_mut(number).worker = Worker::Works;
                self.take_up(&mut now, Some(number));
            }
            Action::Supersede(number) => {
                let release = now.release_mut(number);
                release.journal.push(Line::Ended("superseded"));
                release.worker = Worker::Gone;
            }
            Action::GoOn => self.go_on(&mut now),
            Action::Fail { landed } => self.fail(&mut now, landed),
            Action::Kill => {
                now.crashes += 1;
                self.stop(&mut now);
            }
            Action::KillWaiting(number) => {
                now.crashes += 1;
                now.release_mut(number).worker = Worker::Gone;
            }
            Action::KillProxy => {
                now.proxy_kills += 1;
                now.proxy_runs = false;
            }
            Action::StartProxy => now.proxy_runs = true,
            Action::Recover => self.take_up(&mut now, None),
        }
        Some(now)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties()
    }
}

impl System {
    /// Whether the next thing that happens is a flip, or its undoing: a proxy that is away at other times is not missed,
    /// since it finds its routes again before it accepts.
    fn asks_the_proxy(&self, now: &World) -> bool {
        now.holder.is_some_and(|holder| {
            let release = now.release(holder.drives).expect("it was given");
            let decided = || self.decide(release, &holder.before);
            let flips = |next| matches!(next, Next::Do(Step::Flip) | Next::Undo(Step::Flip));
            holder.at == At::Act(Step::Flip) || holder.at == At::Decide && flips(decided())
        })
    }

    /// A flip, and the taking back of one, ask the proxy until it is there again.
    fn waits_for_the_proxy(&self, now: &World, holder: &Holder) -> bool {
        let undoes_a_flip = || {
            let release = now.release(holder.drives).expect("it was given");
            holder.at == At::Decide && self.decide(release, &holder.before) == Next::Undo(Step::Flip)
        };
        !now.proxy_runs && (holder.at == At::Act(Step::Flip) || undoes_a_flip())
    }
}

impl fmt::Display for System {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{:?}, {} kills, {} failures, {} kills of the proxy",
            self.commands, self.crashes, self.failures, self.proxy_kills
        )?;
        self.mutant.map_or(Ok(()), |mutant| write!(to, ", {mutant:?}"))
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Failed {
            why: Why::Interrupted,
            ..
        }
        | Outcome::Dropped { .. } => "interrupted",
        other => other.as_str(),
    }
}
