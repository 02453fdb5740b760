//! What a schedule is made of, and how it is run: real `git push`es and `deployer` commands, a process each.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use deployer::model::{ReleaseId, Slot};
use jiff::Timestamp;

use crate::support::process::{Output, run};
use crate::support::{App, Repo, World};

/// Operations of one schedule, and the time in which they begin.
const OPERATIONS: u64 = 11;
const WITHIN_MS: u64 = 7000;

/// How a version that is pushed behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// It listens after so many milliseconds.
    Slow(u64),
    /// Its Dockerfile fails.
    Unbuildable,
    /// It ends as soon as it is started.
    Exits,
}

impl Kind {
    /// The kind that a version's name tells.
    pub(super) fn of(version: &str) -> Self {
        match version.split('-').next() {
            Some("unbuildable") => Self::Unbuildable,
            Some("exits") => Self::Exits,
            Some("slow") => Self::Slow(0),
            _ => Self::Good,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Slow(_) => "slow",
            Self::Unbuildable => "unbuildable",
            Self::Exits => "exits",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Push { slot: Slot, promote: bool, kind: Kind },
    Redeploy { slot: Slot, promote: bool },
    Rollback { slot: Slot, to: Option<ReleaseId> },
    Undo,
    Promote { slot: Slot },
    Cancel(ReleaseId),
    Prune,
    Recover,
    Status,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    /// When it begins, after the schedule's beginning.
    after: Duration,
    pub(super) what: What,
}

/// Operations that are run at once, each at its moment.
pub(super) struct Schedule {
    pub(super) seed: u64,
    /// How many releases are kept for a rollback.
    pub(super) keep: u32,
    instances: u64,
    operations: Vec<Operation>,
}

/// An operation that has ended.
pub(super) struct Done {
    pub(super) what: What,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) code: Option<i32>,
    /// What it said, without git's `remote: `.
    pub(super) said: Vec<String>,
    /// What git said, where it is no answer of deployer's.
    git: String,
}

impl Schedule {
    /// The schedule that follows from `seed`.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let keep = if random.one_in(3) { 1 } else { 20 };
        let instances = 1 + random.below(2);
        let mut operations: Vec<Operation> = (0..OPERATIONS)
            .map(|_| Operation {
                after: Duration::from_millis(random.below(WITHIN_MS)),
                what: random.what(),
            })
            .collect();
        operations.sort_by_key(|operation| operation.after);
        Self {
            seed,
            keep,
            instances,
            operations,
        }
    }

    /// The app's further settings.
    pub(super) fn settings(&self) -> String {
        let (keep, instances) = (self.keep, self.instances);
        format!("keep = {keep}\ninstances = {instances}\nstop_grace = \"2s\"")
    }

    /// The first release, live on blue before anything else begins.
    pub(super) fn begin(&self, world: &World, shop: &App) -> Done {
        let what = What::Push {
            slot: Slot::Blue,
            promote: true,
            kind: Kind::Good,
        };
        Task::new(world, shop, what, "good-first").run()
    }

    /// Runs every operation in a process of its own, and waits for all of them.
    pub(super) fn run(&self, world: &World, shop: &App) -> Vec<Done> {
        let numbered = self.operations.iter().enumerate();
        let tasks: Vec<_> = numbered
            .map(|(number, operation)| {
                let version = match operation.what {
                    What::Push { kind, .. } => format!("{}-{number}", kind.word()),
                    _ => String::new(),
                };
                (operation.after, Task::new(world, shop, operation.what, &version))
            })
            .collect();
        let threads: Vec<_> = tasks
            .into_iter()
            .map(|(after, task)| {
                std::thread::spawn(move || {
                    // The moments are what a schedule is; nothing is waited for.
                    std::thread::sleep(after);
                    task.run()
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|done| done.expect("it ends in time")).collect()
    }
}

/// An operation that is ready to begin.
struct Task {
    what: What,
    command: Command,
    /// The working tree that is pushed.
    _repo: Option<Repo>,
}

impl Task {
    fn new(world: &World, shop: &App, what: What, version: &str) -> Self {
        if let What::Push { slot, promote, kind } = what {
            let repo = world.repo(shop);
            match kind {
                Kind::Good => drop(repo.version(version)),
                Kind::Slow(ms) => drop(repo.unwell(version, "SLOWSTART", &ms.to_string())),
                Kind::Exits => drop(repo.unwell(version, "FAIL", "exit")),
                Kind::Unbuildable => {
                    let broken = repo.dockerfile("COPY nowhere /\n");
                    repo.write("VERSION", version).write("Dockerfile", broken);
                    repo.commit(version);
                }
            }
            let mut command = repo.command();
            command.args(["push", "--force"]);
            if !promote {
                command.args(["-o", "no-promote"]);
            }
            command.args([slot.to_string().as_str(), "HEAD:main"]);
            return Self {
                what,
                command,
                _repo: Some(repo),
            };
        }
        let mut command = world.command();
        command.args(arguments(what));
        Self {
            what,
            command,
            _repo: None,
        }
    }

    fn run(mut self) -> Done {
        let began = Timestamp::now();
        let output = run(&mut self.command, &[]);
        Done {
            what: self.what,
            began,
            ended: Timestamp::now(),
            code: output.code,
            said: said(self.what, &output),
            git: output.stderr,
        }
    }
}

fn arguments(what: What) -> Vec<String> {
    let text = match what {
        What::Push { .. } => unreachable!("a push is git's"),
        What::Redeploy { slot, promote: true } => format!("redeploy {slot}"),
        What::Redeploy { slot, promote: false } => format!("redeploy {slot} --no-promote"),
        What::Rollback { slot, to: None } => format!("rollback {slot}"),
        What::Rollback { slot, to: Some(to) } => format!("rollback {slot} --to {to}"),
        What::Undo => "rollback".into(),
        What::Promote { slot } => format!("promote {slot}"),
        What::Cancel(release) => format!("cancel {release}"),
        What::Prune => "prune".into(),
        What::Recover => "recover".into(),
        What::Status => "status --json".into(),
    };
    text.split(' ').map(str::to_owned).collect()
}

fn said(what: What, output: &Output) -> Vec<String> {
    if matches!(what, What::Push { .. }) {
        let remote = |line: &str| Some(line.strip_prefix("remote: ")?.trim_end().to_owned());
        let lines = output.stderr.split(['\n', '\r']).filter_map(remote);
        return lines.filter(|line| !line.is_empty()).collect();
    }
    let lines = output.stdout.lines().chain(output.stderr.lines());
    lines.map(str::to_owned).collect()
}

impl Done {
    /// The release that it began, as the first line names it.
    pub(super) fn release(&self) -> Option<ReleaseId> {
        let heading = self.said.iter().find(|line| line.starts_with("shop/"))?;
        let (_, rest) = heading.split_once(" release ")?;
        rest.split(':').next()?.parse().ok()
    }

    /// Whether a line of what it said has this text.
    pub(super) fn says(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }

    /// Whether git itself declined it, since another push moved the branch at that moment.
    pub(super) fn was_declined(&self) -> bool {
        self.code == Some(1) && self.git.contains("[remote rejected]")
    }
}

impl fmt::Display for Done {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "{} .. {} exit {:?}: {:?}",
            self.began, self.ended, self.code, self.what
        )?;
        let shown = if self.said.is_empty() {
            &self.git
        } else {
            &self.said.join("\n")
        };
        shown.lines().try_for_each(|line| writeln!(to, "    {line}"))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "keep {}, {} instances", self.keep, self.instances)?;
        for Operation { after, what } in &self.operations {
            writeln!(to, "{after:>8.3?}  {what:?}")?;
        }
        Ok(())
    }
}

/// A sequence of numbers that follows from its seed: Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    fn what(&mut self) -> What {
        let slot = if self.one_in(2) { Slot::Green } else { Slot::Blue };
        match self.below(20) {
            0..8 => What::Push {
                slot,
                promote: !self.one_in(4),
                kind: self.kind(),
            },
            8..10 => What::Redeploy {
                slot,
                promote: !self.one_in(4),
            },
            10..13 => What::Rollback {
                slot,
                to: self.one_in(3).then(|| ReleaseId(1 + self.below(6))),
            },
            13..15 => What::Undo,
            15 => What::Promote { slot },
            16 => What::Cancel(ReleaseId(2 + self.below(8))),
            17 => What::Prune,
            18 => What::Recover,
            _ => What::Status,
        }
    }

    fn kind(&mut self) -> Kind {
        match self.below(12) {
            0 => Kind::Unbuildable,
            1 => Kind::Exits,
            2..6 => Kind::Slow(500 + self.below(2500)),
            _ => Kind::Good,
        }
    }
}
