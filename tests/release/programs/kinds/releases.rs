//! Releases of every kind under traffic.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::{await_answers, await_version, users_own_site_is_untouched, world};
use crate::support::programs::Kind;
use crate::support::traffic::{Client, Expectation, Load, Traffic};
use crate::support::{App, Repo, World};

/// Each client's pause between two requests: with two apps there are many clients, and the releases need their share of
/// the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// One app with one instance and one with three, released at the same time, each under traffic at its public address and
/// at its blue slot's port: no request fails, and none that begins after a flip is answered by what was live before.
pub(super) fn drop_no_request(kind: Kind) {
    let mut world = world(kind, "releases");
    let stories = [("one", 1), ("three", 3)].map(|(name, instances)| {
        let lines = format!("hosts = [\"{name}.test\"]\ninstances = {instances}");
        Story::begin(&mut world, name, &lines)
    });
    // What is new in the program's configuration is there for both; from now on it stays as it is.
    let configuration = configuration(&world, kind);
    let doors = stories.map(|story| story.open(&world));
    let done = thread::scope(|scope| {
        let running = doors.map(|doors| scope.spawn(|| doors.go_through(&world)));
        running.map(|story| story.join())
    });
    for doors in done {
        let doors = doors.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for traffic in [doors.public, doors.blue] {
            let outcome = traffic.stop();
            assert_eq!(outcome.failures(), 0, "{}: {outcome}", doors.story.app.name);
        }
    }
    assert_eq!(self::configuration(&world, kind), configuration);
    users_own_site_is_untouched(&world, kind);
}

/// The program's configuration, of which a change would be a reload.
fn configuration(world: &World, kind: Kind) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = kind.program().map(|program| world.part_of(program));
    let entries = folder
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten();
    // What a flip writes changes: a map, and markers.
    let is_configuration = |path: &PathBuf| {
        path.extension().is_some_and(|extension| {
            ["conf", "cfg", "caddyfile"]
                .iter()
                .any(|known| extension == *known)
        })
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(is_configuration)
        .map(|path| (path.clone(), fs::read(path).expect("a file of the configuration")))
        .collect();
    files.sort();
    files
}

/// One app on its way through releases.
struct Story {
    app: App,
    repo: Repo,
}

impl Story {
    /// The first release, on blue.
    fn begin(world: &mut World, name: &str, lines: &str) -> Self {
        let app = world.app(name, lines);
        let repo = world.repo(&app);
        repo.version("v1");
        repo.push("blue").live();
        Self { app, repo }
    }

    fn host(&self) -> String {
        format!("{}.test", self.app.name)
    }

    /// Begins the traffic.
    fn open(self, world: &World) -> Doors {
        let load = Load {
            host: self.host(),
            pause: PAUSE,
            ..Load::default()
        };
        let some = Load {
            clients: vec![Client::KeptGet, Client::Upload],
            ..load.clone()
        };
        let doors = Doors {
            public: Traffic::start(world.public(), load),
            blue: Traffic::start(self.app.blue, some),
            story: self,
        };
        doors.public.expect(&["v1"]);
        doors.blue.expect(&["v1"]);
        doors
    }
}

/// An app whose public address and blue port are under traffic.
struct Doors {
    story: Story,
    public: Traffic,
    blue: Traffic,
}

impl Doors {
    /// Every kind of release where there is one instance, and those that start some where there are three.
    fn go_through(self, world: &World) -> Self {
        let app = &self.story.app.name;
        self.moves(world, &self.public, ["v1", "v2"], || self.push("green", "v2"));
        self.moves(world, &self.public, ["v2", "v3"], || self.push("green", "v3"));
        if app == "three" {
            self.moves(world, &self.public, ["v3", "v2"], || {
                world.deployer(&["rollback", "three/green"]).good();
            });
            self.ends_with(world, "v2", "v1");
            return self;
        }
        self.moves(world, &self.blue, ["v1", "v4"], || {
            self.story.repo.version("v4");
            let push = self.story.repo.push_with(&["-o", "no-promote", "blue", "main"]);
            assert!(push.verdict().starts_with("standby: "), "{}", push.said());
        });
        self.moves(world, &self.public, ["v3", "v4"], || {
            world.deployer(&["promote", "one/blue"]).good();
        });
        self.moves(world, &self.public, ["v4", "v3"], || {
            world.deployer(&["rollback", "--app", "one"]).good();
        });
        self.story.repo.unwell("v5", "FAIL", "exit");
        self.story.repo.push("green").failed();
        self.ends_with(world, "v3", "v4");
        self
    }

    fn push(&self, slot: &str, version: &str) {
        self.story.repo.version(version);
        self.story.repo.push(slot).live();
    }

    /// What answers on green, which is live, and on blue.
    fn ends_with(&self, world: &World, green: &str, blue: &str) {
        await_version(world, self.story.app.green, "any.test", green);
        await_answers(|| self.public.so_far(), green, 20);
        await_answers(|| self.blue.so_far(), blue, 20);
    }

    /// Does `release`, which leads `door` from one version to another: until the flip either may answer, from then on
    /// the new one alone.
    fn moves(&self, world: &World, door: &Traffic, [from, to]: [&str; 2], release: impl FnOnce()) {
        door.expect(&[from, to]);
        let flip = Flip::of_the_next_release(world, &self.story.app);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (expectation, over) = (door.expectation(), &is_over);
            scope.spawn(move || flip.then(&expectation, to, over));
            let _over = Over(over);
            release();
        });
        await_answers(|| door.so_far(), to, 20);
    }
}

/// Tells the thread that waits for a flip that there is none to come, also where the release panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The flip of a release that is to begin: its journal tells when it was done.
struct Flip {
    journal: PathBuf,
}

impl Flip {
    fn of_the_next_release(world: &World, app: &App) -> Self {
        let releases = world.state(&format!("apps/{}/releases", app.name));
        let numbers = fs::read_dir(&releases).expect("the releases are read").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let next = numbers.max().unwrap_or(0) + 1;
        Self {
            journal: releases.join(next.to_string()).join("journal"),
        }
    }

    /// As soon as it was done, only `version` may answer a request that begins.
    fn then(&self, expectation: &Expectation, version: &str, is_over: &AtomicBool) {
        let is_done = || {
            let journal = fs::read_to_string(&self.journal).unwrap_or_default();
            let is_flip =
                |line: &str| line.contains("\"entry\":\"done\"") && line.contains("\"step\":\"flip\"");
            journal.lines().any(is_flip)
        };
        loop {
            // Read before the journal is: what is over is all in it.
            let is_over = is_over.load(Relaxed);
            if is_done() {
                return expectation.only(&[version]);
            }
            if is_over {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
