//! One app, its traffic at three doors, and its releases.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::flips::Flips;
use super::table::Table;
use crate::support::traffic::{Client, Load, Outcome, Traffic};
use crate::support::{App, Repo, World, wait_for};

/// Longer than anything but a stream takes: they alone are there until the end of every drain.
const DRAIN_DEADLINE: Duration = Duration::from_secs(4);

/// How long traffic may take to come round.
const PATIENCE: Duration = Duration::from_secs(60);

const GREEN: usize = 0;
const BLUE: usize = 1;
const SLOTS: [&str; 2] = ["green", "blue"];

/// An app that is released while traffic goes to it.
pub(super) struct Shop {
    app: App,
    /// Where it keeps its orders.
    orders: PathBuf,
    /// What both slots were released with first.
    released: Option<(Repo, [String; 2])>,
    open: Option<Open>,
}

/// What is there once its traffic has begun.
struct Open {
    repo: Repo,
    /// At its own port, by slot.
    slots: [Traffic; 2],
    public: Traffic,
    /// By slot: every version that it ran, in the order of their pushes, and which of them it runs.
    pushed: [Vec<String>; 2],
    runs: [usize; 2],
    live: usize,
    pushes: u32,
    releases: Vec<(&'static str, Duration)>,
}

impl Shop {
    /// Creates the app `name`.
    pub(super) fn configure(world: &mut World, name: &str, instances: u16) -> Self {
        let orders = world.path(&format!("orders-{name}"));
        fs::create_dir(&orders).expect("a folder for orders");
        let app = world.app(
            name,
            &format!(
                "hosts = [\"{name}.test\"]\ninstances = {instances}\nvolumes = [\"{}:/data\"]\n\
                 drain_deadline = \"{}s\"",
                orders.display(),
                DRAIN_DEADLINE.as_secs(),
            ),
        );
        Self {
            app,
            orders: orders.join("orders"),
            released: None,
            open: None,
        }
    }

    /// Releases both slots, blue last. A program may be reloaded for it, and loses what is pipelined then.
    pub(super) fn release(mut self, world: &World) -> Self {
        let repo = world.repo(&self.app);
        let versions = SLOTS.map(|slot| {
            let version = format!("{}-{slot}", self.app.name);
            repo.version(&version);
            repo.push(slot).live();
            version
        });
        self.released = Some((repo, versions));
        self
    }

    /// Begins the traffic.
    pub(super) fn open(mut self, world: &World) -> Self {
        let (repo, versions) = self.released.take().expect("it was released");
        let load = Load {
            clients: world.clients(&Client::ALL),
            pause: Duration::from_millis(100),
            timeout: Duration::from_secs(30),
            host: format!("{}.test", self.app.name),
            embedded: world.is_embedded(),
        };
        let traffic = |address: SocketAddr, version: &String| {
            let traffic = Traffic::start(address, load.clone());
            traffic.expect(&[version]);
            traffic
        };
        self.open = Some(Open {
            repo,
            slots: [
                traffic(self.app.green, &versions[GREEN]),
                traffic(self.app.blue, &versions[BLUE]),
            ],
            public: traffic(world.public(), &versions[BLUE]),
            pushed: versions.map(|version| vec![version]),
            runs: [0, 0],
            live: BLUE,
            pushes: 0,
            releases: Vec::new(),
        });
        self
    }

    /// Every kind of release once.
    pub(super) fn round(&mut self, world: &World, flips: &Flips) {
        let app = self.app.name.clone();
        let shop = self.open.as_mut().expect("it was opened");
        let mut release = Release {
            shop,
            world,
            flips,
            app: &app,
        };
        release.push_to_the_standby();
        release.push_to_the_live_slot();
        release.roll_the_live_slot_back();
        release.push_and_promote();
        release.undo_the_flip();
        release.fail_to_build();
        release.fail_to_start();
    }

    /// The traffic, in a line.
    pub(super) fn so_far(&self) -> String {
        let shop = self.open.as_ref().expect("it was opened");
        let outcomes = shop.slots.iter().chain([&shop.public]).map(Traffic::so_far);
        let mut all = Outcome::default();
        outcomes.for_each(|outcome| all.add(outcome));
        format!("{}: {all}", self.app.name)
    }

    /// Ends the traffic and adds what became of it.
    pub(super) fn close(self, table: &mut Table) {
        let shop = self.open.expect("it was opened");
        table.releases.extend(shop.releases);
        let mut acknowledged = Vec::new();
        for traffic in shop.slots.into_iter().chain([shop.public]) {
            let mut outcome = traffic.stop();
            acknowledged.append(&mut outcome.orders);
            table.traffic.add(outcome);
        }
        let recorded = fs::read_to_string(&self.orders).unwrap_or_default();
        table.orders.compare(&acknowledged, &recorded);
    }
}

/// Releases one after another.
struct Release<'a> {
    shop: &'a mut Open,
    world: &'a World,
    flips: &'a Flips,
    app: &'a str,
}

impl Release<'_> {
    fn push_to_the_standby(&mut self) {
        let slot = 1 - self.shop.live;
        self.push(slot, "push to the standby");
    }

    fn push_to_the_live_slot(&mut self) {
        let slot = self.shop.live;
        self.push(slot, "push to the live slot");
    }

    fn push(&mut self, slot: usize, kind: &'static str) {
        let version = self.new_version();
        self.moves(kind, Some((slot, version.clone())), Some((slot, version)), |it| {
            it.shop.repo.push(SLOTS[slot]).live();
        });
    }

    fn roll_the_live_slot_back(&mut self) {
        let slot = self.shop.live;
        let before = self.shop.pushed[slot][self.shop.runs[slot] - 1].clone();
        let moves = Some((slot, before));
        self.moves("rollback of a slot", moves.clone(), moves, |it| {
            let name = format!("{}/{}", it.app, SLOTS[slot]);
            it.world.deployer(&["rollback", &name]).good();
        });
    }

    fn push_and_promote(&mut self) {
        let slot = 1 - self.shop.live;
        let version = self.new_version();
        self.moves(
            "push without promotion",
            Some((slot, version.clone())),
            None,
            |it| {
                let push = it.shop.repo.push_with(&["-o", "no-promote", SLOTS[slot], "main"]);
                assert!(push.verdict().starts_with("standby: "), "{}", push.said());
            },
        );
        self.moves("promotion", None, Some((slot, version)), |it| {
            let name = format!("{}/{}", it.app, SLOTS[slot]);
            it.world.deployer(&["promote", &name]).good();
        });
    }

    fn undo_the_flip(&mut self) {
        let slot = 1 - self.shop.live;
        let version = self.running(slot);
        self.moves("rollback of the last flip", None, Some((slot, version)), |it| {
            it.world.deployer(&["rollback", "--app", it.app]).good();
        });
    }

    fn fail_to_build(&mut self) {
        let repo = &self.shop.repo;
        repo.write("Dockerfile", repo.dockerfile("COPY nowhere /\n"))
            .commit("cannot be built");
        let slot = SLOTS[1 - self.shop.live];
        self.moves("build that fails", None, None, |it| {
            it.shop.repo.push(slot).failed();
        });
    }

    fn fail_to_start(&mut self) {
        self.shop.repo.unwell("unwell", "FAIL", "exit");
        let slot = SLOTS[self.shop.live];
        self.moves("release that ends at once", None, None, |it| {
            it.shop.repo.push(slot).failed();
        });
    }

    fn new_version(&mut self) -> String {
        self.shop.pushes += 1;
        let version = format!("{}-{}", self.app, self.shop.pushes);
        self.shop.repo.version(&version);
        version
    }

    fn running(&self, slot: usize) -> String {
        self.shop.pushed[slot][self.shop.runs[slot]].clone()
    }

    /// Does `release`, which leaves the slot's own port at another version, the public port at another slot, both,
    /// or nothing: until the flip either version may answer, from then on the new one alone.
    fn moves(
        &mut self,
        kind: &'static str,
        slot: Option<(usize, String)>,
        public: Option<(usize, String)>,
        release: impl FnOnce(&mut Self),
    ) {
        let live = self.running(self.shop.live);
        let mut then: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        if let Some((slot, version)) = &slot {
            let (door, old, new) = (&self.shop.slots[*slot], self.running(*slot), version.clone());
            door.expect(&[&old, &new]);
            let door = door.expectation();
            then.push(Box::new(move || door.only(&[&new])));
        }
        if let Some((_, version)) = &public {
            let (door, new) = (&self.shop.public, version.clone());
            door.expect(&[&live, &new]);
            let door = door.expectation();
            then.push(Box::new(move || door.only(&[&new])));
        }
        if !then.is_empty() {
            self.flips
                .next(self.app, move || then.into_iter().for_each(|then| then()));
        }
        let begun = Instant::now();
        release(self);
        self.shop.releases.push((kind, begun.elapsed()));
        self.flips.at_the_latest_now(self.app);
        wait_for("the flip in the proxy's log", PATIENCE, || {
            self.flips.are_all_done(self.app).then_some(())
        });
        if let Some((slot, version)) = slot {
            self.runs_now(slot, version);
        }
        if let Some((slot, _)) = public {
            self.shop.live = slot;
        }
        self.traffic_goes_on();
    }

    fn runs_now(&mut self, slot: usize, version: String) {
        let pushed = &mut self.shop.pushed[slot];
        let known = pushed.iter().position(|pushed| *pushed == version);
        self.shop.runs[slot] = known.unwrap_or(pushed.len());
        if known.is_none() {
            pushed.push(version);
        }
    }

    /// Each door answers with what it has to, at once and from then on.
    fn traffic_goes_on(&self) {
        let app = &*self.shop;
        let wanted = [
            (&app.slots[GREEN], self.running(GREEN)),
            (&app.slots[BLUE], self.running(BLUE)),
            (&app.public, self.running(app.live)),
        ];
        for (door, version) in wanted {
            let before = door.so_far().of(&version);
            wait_for(&format!("answers of {version}"), PATIENCE, || {
                (door.so_far().of(&version) > before).then_some(())
            });
        }
    }
}
