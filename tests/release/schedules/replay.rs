//! The small sequential model: the releases of an app taken one after another, in the order in which they took effect,
//! and what must therefore be so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use deployer::model::{Digest, Intent, Promotion, ReleaseId, Slot};
use deployer::release::{Entry, Facts, Outcome, Step, Why};
use deployer::store::{Journal, Live, Record, Store};
use jiff::{SignedDuration, Timestamp};

use super::operations::{Done, Kind, What};

/// A release that waits so long is told what for, on the slowest machine.
const TOLD_AFTER: SignedDuration = SignedDuration::from_secs(3);

/// A release as its folder tells it.
struct Release {
    record: Record,
    entries: Vec<(Timestamp, Entry)>,
    outcome: Option<Outcome>,
    digest: Option<Digest>,
    pruned: bool,
}

/// What the slots run, and what was live.
#[derive(Debug, Clone, Default)]
struct State {
    live: Option<Slot>,
    slots: BTreeMap<Slot, ReleaseId>,
    flips: Vec<(Option<Live>, Live)>,
}

/// A state, and the time within which a command may have seen it.
struct Span {
    state: State,
    from: Timestamp,
    until: Timestamp,
}

pub(super) struct Replay {
    releases: BTreeMap<ReleaseId, Release>,
    /// The state before each release that took effect.
    before: BTreeMap<ReleaseId, State>,
    spans: Vec<Span>,
    keeps_all: bool,
    /// The live slot in the end.
    pub(super) live: Option<Slot>,
    slots: BTreeMap<Slot, ReleaseId>,
}

impl Release {
    /// When its first step began.
    fn began(&self) -> Option<Timestamp> {
        let mut began = self.entries.iter();
        began.find_map(|(at, entry)| matches!(entry, Entry::Began { .. }).then_some(*at))
    }

    /// When its turn came to take effect.
    fn effective(&self) -> Option<Timestamp> {
        let mut all = self.entries.iter();
        all.find_map(|(at, entry)| matches!(entry, Entry::TakesEffect { .. }).then_some(*at))
    }

    /// When everything was done that prepares it, or it ended before.
    fn prepared(&self) -> Timestamp {
        self.effective().unwrap_or_else(|| self.ended())
    }

    /// The later release that has kept it from going live.
    fn yields_to(&self) -> Option<ReleaseId> {
        let mut all = self.entries.iter();
        all.find_map(|(_, entry)| match entry {
            Entry::TakesEffect { yields_to } => *yields_to,
            _ => None,
        })
    }

    fn ended(&self) -> Timestamp {
        self.entries.last().map_or(Timestamp::MAX, |(at, _)| *at)
    }

    fn at(&self, wanted: &Entry) -> Option<Timestamp> {
        let same = |entry: &Entry| match (entry, wanted) {
            (Entry::Done { step, .. }, Entry::Done { step: wanted, .. }) => step == wanted,
            _ => entry == wanted,
        };
        self.entries
            .iter()
            .find_map(|(at, entry)| same(entry).then_some(*at))
    }

    fn is_good(&self) -> bool {
        self.outcome.as_ref().is_some_and(Outcome::is_good)
    }

    fn version(&self) -> &str {
        self.record.source.subject().unwrap_or_default()
    }
}

impl State {
    fn live(&self) -> Option<Live> {
        let slot = self.live?;
        Some(Live {
            slot,
            release: self.slots[&slot],
        })
    }

    /// The state once a release that became good has ended.
    fn after(&self, release: &Release) -> Self {
        let record = &release.record;
        let mut after = self.clone();
        let promotes =
            release.yields_to().is_none() && record.intent.promotes(self.live == Some(record.slot));
        if !is_promotion(record) {
            after.slots.insert(record.slot, record.id);
        }
        if promotes {
            after.live = Some(record.slot);
        }
        if let (true, Some(to)) = (self.live() != after.live() && promotes, after.live()) {
            after.flips.push((self.live(), to));
        }
        after
    }
}

impl Replay {
    /// Takes the releases of `app` one after another.
    pub(super) fn of(state: &Path, app: &str, keep: u32) -> Self {
        let store = Store::new(state);
        let app = app.parse().expect("an app's name");
        let folders = store.releases(&app).expect("the releases are listed");
        let releases: BTreeMap<ReleaseId, Release> = folders
            .into_iter()
            .map(|folder| {
                let entries = Journal::<Entry>::entries_of(&folder).expect("the journal is read");
                let release = Release {
                    record: folder.record().expect("the record is read").expect("a record"),
                    outcome: entries.iter().find_map(|(_, entry)| match entry {
                        Entry::Finished { outcome } => Some(outcome.clone()),
                        _ => None,
                    }),
                    digest: Facts::of(&entries).digests().into_values().next().cloned(),
                    pruned: folder.is_pruned(),
                    entries: entries.into_iter().map(|(at, entry)| (at.at, entry)).collect(),
                };
                (folder.id(), release)
            })
            .collect();

        let mut order: Vec<&Release> = releases
            .values()
            .filter(|one| one.effective().is_some())
            .collect();
        order.sort_by_key(|release| release.effective());
        let mut now = State::default();
        let mut before = BTreeMap::new();
        let mut spans = Vec::new();
        let mut since = Timestamp::MIN;
        for release in order {
            before.insert(release.record.id, now.clone());
            if release.is_good() {
                let (step, learned) = (Step::Record, deployer::release::Learned::Nothing);
                let after = now.after(release);
                spans.push(Span {
                    state: std::mem::replace(&mut now, after),
                    from: since,
                    until: release
                        .at(&Entry::Done { step, learned })
                        .unwrap_or(Timestamp::MAX),
                });
                since = release.at(&Entry::Began { step }).unwrap_or(Timestamp::MIN);
            }
        }
        let (live, slots) = (now.live, now.slots.clone());
        spans.push(Span {
            state: now,
            from: since,
            until: Timestamp::MAX,
        });
        Self {
            releases,
            before,
            spans,
            keeps_all: keep > 10,
            live,
            slots,
        }
    }

    /// How many releases there were.
    pub(super) fn releases(&self) -> usize {
        self.releases.len()
    }

    /// The release that a slot runs in the end, and its version.
    pub(super) fn release_on(&self, slot: &str) -> Option<(u64, String)> {
        let id = self.slots.get(&slot.parse().expect("a slot"))?;
        Some((id.0, self.releases[id].version().to_owned()))
    }

    /// Everything that one after another would not have given.
    pub(super) fn check(&self, done: &[Done]) -> Vec<String> {
        let mut faults = self.not_in_order();
        let mut told: BTreeMap<ReleaseId, u32> = BTreeMap::new();
        for one in done {
            let checked = match one.release() {
                Some(id) => {
                    *told.entry(id).or_default() += 1;
                    self.release_fits(&self.releases[&id], one, done)
                }
                None => self.refusal_fits(one),
            };
            faults.extend(checked.err().map(|fault| format!("{fault}, of\n{one}")));
        }
        let others = self.releases.keys().filter(|id| told.get(id) != Some(&1));
        faults.extend(others.map(|id| format!("release {id} was not begun by one command: {told:?}")));
        faults
    }

    /// Releases take effect one at a time, and those that are built are prepared one at a time for each slot, in the order
    /// of their numbers.
    fn not_in_order(&self) -> Vec<String> {
        let mut effective: Vec<&Release> = self
            .releases
            .values()
            .filter(|one| one.effective().is_some())
            .collect();
        effective.sort_by_key(|one| one.effective());
        let overlap = |pair: &&[&Release]| pair[1].effective() < Some(pair[0].ended());
        let told = |pair: &[&Release], what| {
            let (late, early) = (pair[1].record.id, pair[0].record.id);
            format!("release {late} {what} before {early} ended")
        };
        let mut faults: Vec<String> = effective
            .windows(2)
            .filter(overlap)
            .map(|pair| told(pair, "took effect"))
            .collect();
        for slot in Slot::BOTH {
            let built = self
                .releases
                .values()
                .filter(|one| one.record.slot == slot && one.record.builds() && one.began().is_some());
            let built: Vec<&Release> = built.collect();
            let overlap = built
                .windows(2)
                .filter(|pair| pair[1].began() < Some(pair[0].ended()));
            faults.extend(overlap.map(|pair| told(pair, "was built")));
        }
        faults
    }

    fn release_fits(&self, release: &Release, done: &Done, all: &[Done]) -> Result<(), String> {
        self.origin_fits(release, done)?;
        self.told_what_it_waits_for(release, done)?;
        let Some(outcome) = &release.outcome else {
            return Err("it has not ended".into());
        };
        let verdict = format!(
            "{}: shop/{} release {}",
            outcome.as_str(),
            release.record.slot,
            release.record.id
        );
        ensure(done.says(&verdict), || format!("its verdict is not {verdict:?}"))?;
        let code = match (done.what, outcome.is_good()) {
            (What::Push { .. }, _) | (_, true) => 0,
            (_, false) => 3,
        };
        ensure(done.code == Some(code), || format!("its exit code is not {code}"))?;
        match outcome {
            Outcome::Live | Outcome::Standby => self.good_fits(release, done, outcome),
            Outcome::Superseded { by } => self.superseded_fits(release, *by),
            Outcome::Dropped { why } => self.failure_fits(release, done, None, why, all),
            Outcome::Failed { step, why } => self.failure_fits(release, done, Some(*step), why, all),
        }
    }

    /// The release is what was asked for, of what there was when it got its number.
    fn origin_fits(&self, release: &Release, done: &Done) -> Result<(), String> {
        let record = &release.record;
        let slot = record.slot;
        let goes_live = |wanted: bool| {
            let promote = if wanted { Promotion::Yes } else { Promotion::No };
            record.intent == Intent::Deploy { promote }
        };
        let same = match done.what {
            What::Push {
                slot: wanted,
                promote,
                ..
            } if record.is_push() => slot == wanted && goes_live(promote),
            What::Redeploy {
                slot: wanted,
                promote,
            } if record.redeploys.is_some() => {
                let newest = self.releases.range(..release.record.id).rev();
                let newest = newest
                    .map(|(_, earlier)| &earlier.record)
                    .find(|earlier| earlier.slot == wanted && earlier.builds());
                let newest = newest.map(|earlier| earlier.id);
                ensure(newest == record.redeploys, || {
                    format!("it is not release {newest:?} again, but {:?}", record.redeploys)
                })?;
                slot == wanted && goes_live(promote)
            }
            What::Rollback { slot: wanted, to } => {
                let went = record.goes_back_to();
                slot == wanted && went.is_some_and(|went| to.is_none_or(|to| to == went))
            }
            What::Promote { slot: wanted } => slot == wanted && is_promotion(record),
            What::Undo => is_promotion(record) || record.goes_back_to().is_some(),
            _ => false,
        };
        ensure(same, || {
            format!("its record is not what was asked for: {:?}", release.record)
        })
    }

    /// A release that became good does in its turn what the command would do if it were given just then.
    fn good_fits(&self, release: &Release, done: &Done, outcome: &Outcome) -> Result<(), String> {
        let record = &release.record;
        let before = &self.before[&record.id];
        let was_live = before.live == Some(record.slot);
        let live = record.intent.promotes(was_live) && release.yields_to().is_none();
        self.yields_fit(release)?;
        if record.builds() {
            let bad = matches!(Kind::of(release.version()), Kind::Unbuildable | Kind::Exits);
            ensure(!bad, || "it cannot be good".into())?;
            ensure(live || !was_live, || "a live slot cannot wait".into())?;
        }
        ensure(live == (*outcome == Outcome::Live), || {
            format!("it should be live: {live}")
        })?;
        match done.what {
            What::Rollback { to: None, .. } if self.keeps_all => {
                let (target, to) = (self.target(before, record.slot), record.goes_back_to());
                ensure(target == to, || {
                    format!("in its turn it goes back to {target:?}, not {to:?}")
                })
            }
            What::Undo => self.undoing_fits(release, before),
            _ => Ok(()),
        }
    }

    fn undoing_fits(&self, release: &Release, before: &State) -> Result<(), String> {
        let Some((Some(from), to)) = before.flips.last() else {
            return Err("in its turn there is nothing to undo".into());
        };
        ensure(before.live() == Some(*to), || {
            format!("{to:?} is live no more: {before:?}")
        })?;
        let goes_back_to = release.record.goes_back_to();
        let goes_to = goes_back_to.unwrap_or_else(|| before.slots[&release.record.slot]);
        let goes_to = Live {
            slot: release.record.slot,
            release: goes_to,
        };
        ensure(goes_to == *from, || {
            format!("in its turn the last flip is from {from:?}, and it goes to {goes_to:?}")
        })
    }

    /// The release that `rollback SLOT` goes back to in this state, where nothing is pruned.
    fn target(&self, state: &State, slot: Slot) -> Option<ReleaseId> {
        let mut original = *state.slots.get(&slot)?;
        let digest = &self.releases[&original].digest;
        while let Some(to) = self.releases[&original].record.goes_back_to() {
            original = to;
        }
        let earlier = self.releases.range(..original).rev().find(|(_, earlier)| {
            earlier.record.slot == slot
                && earlier.is_good()
                && earlier.record.builds()
                && earlier.digest != *digest
        });
        earlier.map(|(id, _)| *id)
    }

    /// The later ones that had gone live, or gone to the same slot, when a release was ready.
    fn decided_later<'a>(&'a self, release: &'a Release) -> impl Iterator<Item = &'a Release> {
        let later = self
            .releases
            .range(release.record.id..)
            .skip(1)
            .map(|(_, later)| later);
        later.filter(|later| {
            let is_decided = later.is_good() && later.ended() <= release.prepared();
            is_decided && (later.record.slot == release.record.slot || later.outcome == Some(Outcome::Live))
        })
    }

    /// What went live in the end was asked for last: a release stays on standby if and only if a later one did.
    fn yields_fit(&self, release: &Release) -> Result<(), String> {
        let mut later = self.decided_later(release);
        let decided = later.any(|later| later.outcome == Some(Outcome::Live));
        match release.yields_to() {
            Some(_) => ensure(decided, || {
                "no later one is live that it could wait behind".into()
            }),
            None => ensure(!decided || release.outcome != Some(Outcome::Live), || {
                "it went live although a later one had".into()
            }),
        }
    }

    fn superseded_fits(&self, release: &Release, by: ReleaseId) -> Result<(), String> {
        if release.began().is_some() && self.decided_later(release).any(|later| later.record.id == by) {
            return Ok(());
        }
        let newer = &self.releases[&by].record;
        let record = &release.record;
        if !newer.builds() {
            let fits = self.decided_later(release).any(|later| later.record.id == by);
            return ensure(fits, || format!("it is not for {newer:?} to hold in its place"));
        }
        ensure(
            release.effective().is_none()
                && newer.id > record.id
                && newer.slot == record.slot
                && newer.builds()
                && record.builds()
                && newer.received.at <= release.ended(),
            || format!("it is not for {newer:?} to supersede {record:?}"),
        )
    }

    fn failure_fits(
        &self,
        release: &Release,
        done: &Done,
        step: Option<Step>,
        why: &Why,
        all: &[Done],
    ) -> Result<(), String> {
        let record = &release.record;
        let was_live = self.was_ever(done, |state| state.live == Some(record.slot));
        let message = match why {
            Why::Interrupted => return Err("nothing was killed".into()),
            Why::Cancelled => {
                let mut asked = all.iter();
                let asked =
                    asked.any(|one| one.what == What::Cancel(record.id) && one.began < release.ended());
                return ensure(asked, || "nobody cancelled it".into());
            }
            Why::Error { told, .. } => &told.message,
        };
        // What it was about is another one by now, or has gone: in its turn the command would mean something else.
        let overtaken = self
            .spans
            .iter()
            .any(|span| span.from > done.began && span.from < release.ended());
        let by_now = message.contains("by now");
        let expected = match record.goes_back_to() {
            _ if record.builds() => match Kind::of(release.version()) {
                _ if message.contains("cannot wait for promotion") => {
                    let looks = matches!(step, Some(Step::Checkout | Step::Start));
                    was_live && !record.intent.promotes(was_live) && looks
                }
                Kind::Unbuildable => step == Some(Step::Build),
                Kind::Exits => matches!(step, Some(Step::Start | Step::Probe)),
                Kind::Good | Kind::Slow(_) => false,
            },
            Some(to) => overtaken && (by_now || self.releases[&to].pruned),
            None => overtaken && by_now,
        };
        ensure(expected, || format!("nothing was to fail at {step:?}: {message}"))
    }

    fn told_what_it_waits_for(&self, release: &Release, done: &Done) -> Result<(), String> {
        let record = &release.record;
        let waits_since = |since: Timestamp, other: &Release| {
            other.ended() > since + TOLD_AFTER && release.ended() > since + TOLD_AFTER
        };
        let waits_to_be_built = self.releases.range(..record.id).any(|(_, earlier)| {
            let is_of_slot = earlier.record.slot == record.slot && earlier.record.builds();
            is_of_slot && record.builds() && waits_since(record.received.at, earlier)
        });
        let (step, learned) = (Step::Pull, deployer::release::Learned::Nothing);
        let ready = match is_promotion(record) {
            true => Some(record.received.at),
            false => release.at(&Entry::Done { step, learned }),
        };
        let waits_to_take_effect = ready.is_some_and(|ready| {
            let mut others = self
                .releases
                .values()
                .filter(|other| other.record.id != record.id);
            others.any(|other| {
                other.effective().is_some_and(|effective| effective < ready) && waits_since(ready, other)
            })
        });
        let waits = waits_to_be_built || waits_to_take_effect;
        ensure(!waits || done.says("waiting: release "), || {
            "it was not told what it waits for".into()
        })
    }

    /// A command that began no release: it was refused for a reason that held, or it is not one that begins any.
    fn refusal_fits(&self, done: &Done) -> Result<(), String> {
        match done.what {
            What::Push { .. } => ensure(done.was_declined() || done.says("no release: "), || {
                "a push without a release".into()
            }),
            What::Redeploy { slot, promote: false } if done.says("cannot wait for promotion") => {
                let live = self.was_ever(done, |state| state.live == Some(slot));
                self.refused(done, 1, "", live)
            }
            What::Redeploy { slot, .. } => {
                let pushed = self.releases.values().any(|one| {
                    one.record.slot == slot && one.record.builds() && one.record.received.at < done.began
                });
                self.refused(done, 1, "nothing was pushed", !pushed)
            }
            What::Promote { slot } if done.says("runs nothing") => self.refused(
                done,
                1,
                "",
                self.was_ever(done, |state| !state.slots.contains_key(&slot)),
            ),
            What::Promote { slot } => {
                let live = self.was_ever(done, |state| state.live == Some(slot));
                self.refused(done, 1, "is live already", live)
            }
            What::Rollback { to: Some(to), .. } => self.unkept(done, to),
            What::Rollback { slot, to: None } if done.says("runs nothing") => self.refused(
                done,
                1,
                "",
                self.was_ever(done, |state| !state.slots.contains_key(&slot)),
            ),
            What::Rollback { slot, to: None } => {
                let none = self.was_ever(done, |state| self.target(state, slot).is_none());
                self.refused(done, 1, "has no earlier release", none || !self.keeps_all)
            }
            What::Undo => {
                let gone = self.was_ever(done, |state| match state.flips.last() {
                    Some((Some(from), to)) if from.slot != to.slot => {
                        state.slots.get(&from.slot) != Some(&from.release)
                    }
                    Some((Some(from), _)) => self.releases[&from.release].pruned,
                    _ => true,
                });
                self.refused(done, 1, "", gone)
            }
            What::Cancel(id) => self.cancellation_fits(done, id),
            What::Prune if done.code == Some(0) => Ok(()),
            What::Recover if done.code == Some(0) => ensure(done.said == ["shop: nothing to mend"], || {
                "there was something to mend".into()
            }),
            What::Prune | What::Recover => {
                ensure(done.code == Some(4) && done.says("shop is busy: "), || {
                    "it is not busy".into()
                })?;
                ensure(!done.says("another run"), || "it is not told who is busy".into())
            }
            What::Status => ensure(done.code == Some(0) && done.says("\"problems\": []"), || {
                "there is a problem".into()
            }),
        }
    }

    fn refused(&self, done: &Done, code: i32, told: &str, holds: bool) -> Result<(), String> {
        ensure(done.code == Some(code) && done.says(told), || {
            format!("it is not told {told:?}")
        })?;
        ensure(holds, || "what it was told was never so".into())
    }

    fn unkept(&self, done: &Done, to: ReleaseId) -> Result<(), String> {
        let release = self.releases.get(&to);
        if done.code == Some(5) {
            return ensure(
                release.is_none_or(|one| one.record.received.at > done.began),
                || "it exists".into(),
            );
        }
        let never_ran = release.is_none_or(|one| !one.is_good() || one.ended() > done.began);
        let promoted = release.is_some_and(|one| is_promotion(&one.record));
        if done.says("was pruned") {
            return self.refused(done, 1, "", release.is_some_and(|one| one.pruned));
        }
        self.refused(done, 1, "never ran", never_ran || promoted)
    }

    fn cancellation_fits(&self, done: &Done, id: ReleaseId) -> Result<(), String> {
        let Some(release) = self.releases.get(&id) else {
            return self.refused(done, 5, "has no release", true);
        };
        let cancelled = release
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.as_str() == "cancelled");
        match done.code {
            Some(0) => ensure(cancelled && done.says("is cancelled"), || {
                "it is not cancelled".into()
            }),
            Some(5) => self.refused(done, 5, "has no release", release.record.received.at > done.began),
            _ => {
                let reasons = ["has ended", "is past its flip", "it was too late"];
                let told = reasons.iter().any(|reason| done.says(reason));
                ensure(told, || "it is not told why".into())
            }
        }
    }

    /// Whether a command may have seen such a state.
    fn was_ever(&self, done: &Done, holds: impl Fn(&State) -> bool) -> bool {
        let mut seen = self
            .spans
            .iter()
            .filter(|span| span.from <= done.ended && span.until >= done.began);
        seen.any(|span| holds(&span.state))
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for release in self.releases.values() {
            let Record {
                id,
                slot,
                source,
                intent,
                received,
                ..
            } = &release.record;
            let began = release.began().map_or("never".to_owned(), |at| at.to_string());
            writeln!(
                to,
                "{id} {slot} {source:?} {intent:?} {:?}, received {}, began {began}, ended {}: {:?}",
                release.version(),
                received.at,
                release.ended(),
                release.outcome
            )?;
        }
        Ok(())
    }
}

fn is_promotion(record: &Record) -> bool {
    record.intent.keeps_what_runs()
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
