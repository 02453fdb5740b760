//! One app under traffic, and rounds on it: a release on its way, a kill, and what must come after.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Case;
use super::agreement;
use super::sample::Random;
use crate::support::engine::OwnEngine;
use crate::support::fail_points::{FailPoints, Kind, Point};
use crate::support::process::{signal, words_of};
use crate::support::traffic::{Client, Load, Outcome, Traffic};
use crate::support::{App, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(90);

/// A release's way to somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `git push` to the standby slot, which is then live.
    Standby,
    /// `git push` to the live slot.
    Live,
    /// `git push` to the live slot, which waits for its release: `gate = "release"`.
    Gated,
    /// `git push -o no-promote` to the standby slot.
    Unpromoted,
    /// `deployer rollback` of the live slot.
    Rollback,
    /// `deployer promote` of the standby slot.
    Promotion,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Worker,
    /// The hook, or the command that follows the release.
    Hook,
    /// The proxy, which is started again at once.
    Proxy,
    /// The Engine, an own one, which is started again at once.
    Engine,
}

/// What comes after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The next push, and nothing before it.
    NextPush,
    /// `deployer recover`.
    Recover,
    /// `deployer recover` that is killed at one of its own points, and another one.
    KilledRecover,
}

/// See the module.
pub(super) struct Stage {
    world: World,
    app: App,
    repo: Repo,
    traffic: Traffic,
    points: FailPoints,
    /// What each commit answers.
    versions: HashMap<String, String>,
    count: u32,
    /// The points that an earlier recovery has passed.
    recovery: Vec<Point>,
    /// Failures of requests while the proxy was down.
    excused: u64,
}

impl Stage {
    /// An app whose two slots run something, with a release to go back to on each. Two are kept: one may be a rollback,
    /// which is nothing that `rollback` goes back to by itself.
    pub(super) fn new(name: &str, lines: &str, own_engine: Option<OwnEngine>) -> Self {
        let options = Options {
            fail_points: true,
            own_engine,
            ..Options::default()
        };
        let mut world = World::with(name, options);
        let app = world.app("shop", &format!("keep = 2\n{lines}"));
        let repo = world.repo(&app);
        let mut versions = HashMap::new();
        for (index, slot) in ["blue", "green", "blue", "green"].into_iter().enumerate() {
            let version = format!("v{index}");
            versions.insert(repo.version(&version), version);
            repo.push(slot).live();
        }
        let load = Load {
            clients: vec![
                Client::KeptGet,
                Client::FreshGet,
                Client::Upload,
                Client::Slow(60),
                Client::Order,
            ],
            pause: Duration::from_millis(10),
            ..Load::default()
        };
        Self {
            traffic: world.traffic_with(load),
            points: world.fail_points(),
            world,
            app,
            repo,
            versions,
            count: 0,
            recovery: Vec::new(),
            excused: 0,
        }
    }

    /// The points of a release that takes `way` undisturbed, and those of a push to the live slot.
    pub(super) fn trace(&mut self, way: Way) -> (Vec<Point>, Vec<Point>) {
        let points = self.world.fail_points().trace(|| {
            self.begin(way).wait().expect("it ends");
            self.await_workers();
        });
        assert!(
            points.iter().any(|point| point.kind == Kind::Worker),
            "{points:?}"
        );
        let slot = self.slot_of(Way::Live);
        let of_a_push = self.world.fail_points().trace(|| self.push_next(&slot));
        agreement::check(&self.world, &self.app, "the trace");
        (points, of_a_push)
    }

    /// A release that takes `way`, a kill, and what follows; gives whether the case's point was reached.
    pub(super) fn round(&mut self, way: Way, case: &Case, ending: Ending, random: &mut Random) -> bool {
        let context = format!(
            "{way:?}, {:?} killed at {}, then {ending:?}",
            case.victim, case.point
        );
        let begun = Instant::now();
        let before = (self.world.version(), self.newest(), self.traffic.so_far());
        let slot = self.slot_of(way);
        let kills_itself = case.victim.is_of(case.point.kind);
        match kills_itself {
            true => self.points.kill_at(&case.point),
            false => self.points.hold_at(&case.point),
        }

        let mut release = self.begin(way);
        let reached = self.await_point(&mut release);
        if reached {
            self.kill(case.victim, kills_itself);
        }
        self.points.go_on();
        wait_for(
            &format!("the push or command to end: {context}"),
            DEADLINE,
            || release.try_wait().expect("a child"),
        );
        self.await_workers();

        let allowed = self.allowed(&before.0, before.1);
        self.answers_are_of(&allowed, begun, &context);
        if reached && case.victim == Victim::Hook && case.point.kind == Kind::Worker && way != Way::Unpromoted
        {
            let (old, new) = (&before.0, self.world.version());
            assert!(
                allowed.contains(&new) && new != *old,
                "{context}: {new} is live, as before"
            );
        }
        self.recover(ending, random, &context);
        self.answers_are_of(&allowed, begun, &context);
        self.push_next(&slot);
        agreement::check(&self.world, &self.app, &context);
        self.nothing_failed(&before.2, case.victim, &context);
        reached
    }

    /// All traffic ends; what failed was told in its round.
    pub(super) fn end(self) {
        let outcome = self.traffic.stop();
        println!(
            "{} requests, {} failed, of them {} while a killed proxy or Engine was away",
            outcome.sent,
            outcome.failures(),
            self.excused
        );
        assert_eq!(outcome.failures(), self.excused, "{outcome}");
    }

    /// Begins a release, which is left running.
    fn begin(&mut self, way: Way) -> Child {
        let slot = self.slot_of(way);
        let mut command = match way {
            Way::Standby | Way::Live | Way::Gated | Way::Unpromoted => {
                self.commit();
                let mut push = self.repo.command();
                push.args(["push", "--quiet"]);
                if way == Way::Unpromoted {
                    push.args(["-o", "no-promote"]);
                }
                push.args([&slot, "HEAD:main"]);
                push
            }
            Way::Rollback | Way::Promotion => {
                let mut command = self.world.command();
                command.args([
                    if way == Way::Rollback {
                        "rollback"
                    } else {
                        "promote"
                    },
                    &slot,
                ]);
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("it starts")
    }

    /// Commits a version that was never there.
    fn commit(&mut self) -> String {
        self.count += 1;
        let version = format!("k{}", self.count);
        self.versions.insert(self.repo.version(&version), version.clone());
        version
    }

    /// The slot that `way` is about now.
    fn slot_of(&self, way: Way) -> String {
        let live = self.status()["live"].as_str().expect("a live slot").to_owned();
        match way {
            Way::Live | Way::Gated | Way::Rollback => live,
            Way::Standby | Way::Unpromoted | Way::Promotion if live == "green" => "blue".into(),
            Way::Standby | Way::Unpromoted | Way::Promotion => "green".into(),
        }
    }

    fn status(&self) -> Value {
        self.world.json(&["status"])["apps"][0].take()
    }

    /// Waits until somebody stands at the ordered point, or has been killed there; false when the release ended
    /// without.
    fn await_point(&self, release: &mut Child) -> bool {
        wait_for("the point, or the release's end", DEADLINE, || {
            if self.points.was_reached() {
                return Some(true);
            }
            let ended = release.try_wait().expect("a child").is_some() && self.world.workers().is_empty();
            // Once more: it may have been reached between the two looks.
            ended.then(|| self.points.was_reached())
        })
    }

    fn kill(&mut self, victim: Victim, killed_itself: bool) {
        match victim {
            Victim::Proxy => {
                self.world.kill_proxy();
                self.world.start_proxy();
            }
            Victim::Engine => {
                self.world.engine().kill();
                self.world.engine().start_again();
            }
            Victim::Worker | Victim::Hook if killed_itself => {}
            Victim::Worker | Victim::Hook => {
                let is_victim = |pid: &u32| (kind_of(*pid) == Kind::Worker) == (victim == Victim::Worker);
                for pid in self.world.workers().into_iter().filter(is_victim) {
                    signal(pid, Signal::KILL);
                }
            }
        }
    }

    fn await_workers(&self) {
        wait_for("the workers to be gone", DEADLINE, || {
            self.world.workers().is_empty().then_some(())
        });
    }

    /// What may answer since release `newest` was the newest: what was live, and what is new.
    fn allowed(&self, before: &str, newest: u64) -> BTreeSet<String> {
        let mut allowed = BTreeSet::from([before.to_owned()]);
        for release in newest + 1..=self.newest() {
            let record = self
                .world
                .state(&format!("apps/shop/releases/{release}/record.json"));
            let record: Value = fs::read(record)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default();
            let source = &record["content"]["source"];
            // Of an earlier release it is that one's.
            let commit = source["commit"].as_str().or(source["of"]["commit"].as_str());
            let commit = commit.unwrap_or_default();
            allowed.extend(self.versions.get(commit).cloned());
        }
        allowed
    }

    /// The number of the newest release.
    fn newest(&self) -> u64 {
        let folder = fs::read_dir(self.world.state("apps/shop/releases")).expect("the releases");
        let numbers = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.max().unwrap_or(0)
    }

    fn answers_are_of(&self, allowed: &BTreeSet<String>, begun: Instant, context: &str) {
        let outcome = self.traffic.so_far();
        let late = outcome
            .answered
            .keys()
            .filter(|version| outcome.is_late(version, begun));
        for version in late {
            assert!(
                allowed.contains(version),
                "{context}: {version} answered, not one of {allowed:?}"
            );
        }
    }

    fn recover(&mut self, ending: Ending, random: &mut Random, context: &str) {
        if ending == Ending::NextPush {
            return;
        }
        if ending == Ending::KilledRecover && !self.recovery.is_empty() {
            let point = self.recovery[random.below(self.recovery.len())].clone();
            self.points.kill_at(&point);
            self.world.deployer(&["recover"]);
            self.points.go_on();
        }
        let mut said = None;
        let points = self
            .world
            .fail_points()
            .trace(|| said = Some(self.world.deployer(&["recover"])));
        let said = said.expect("it was run");
        assert_eq!(said.code, Some(0), "{context}:\n{}{}", said.stdout, said.stderr);
        for point in points {
            if point.kind == Kind::Command && !self.recovery.contains(&point) {
                self.recovery.push(point);
            }
        }
    }

    /// The next push, which must be live.
    fn push_next(&mut self, slot: &str) {
        let version = self.commit();
        self.repo.push(slot).live();
        self.await_workers();
        assert_eq!(self.world.version(), version);
    }

    /// No request failed since `before`, but for those that had no proxy, or no container, to go to.
    fn nothing_failed(&mut self, before: &Outcome, victim: Victim, context: &str) {
        use crate::support::http::Failure;
        let now = self.traffic.so_far();
        for (kind, count) in &now.failed {
            let new = count - before.failed.get(kind).copied().unwrap_or(0);
            if new == 0 {
                continue;
            }
            let is_excused = match victim {
                Victim::Proxy => !matches!(kind, Failure::Status(_) | Failure::WrongBody),
                Victim::Engine => *kind != Failure::WrongBody,
                Victim::Worker | Victim::Hook => false,
            };
            assert!(is_excused, "{context}: {new} requests failed: {now}");
            self.excused += new;
        }
    }
}

/// What the process `pid` is.
fn kind_of(pid: u32) -> Kind {
    let words = words_of(pid);
    let is = |word: &str| words.iter().any(|it| it == word);
    if is("worker") {
        Kind::Worker
    } else if is("hook") {
        Kind::Hook
    } else {
        Kind::Command
    }
}
