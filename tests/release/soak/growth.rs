//! What grows with the number of releases: nothing but what was pushed, once as many releases were made as are kept.
//!
//! `DEPLOYER_SOAK_RELEASES` says how many there are; CI makes 10. It prints one table in Markdown.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use deployer::engine::Engine;
use deployer::model::{Builder, EngineSettings};

use super::number;
use crate::support::docker::Docker;
use crate::support::engine::OwnEngine;
use crate::support::process::run;
use crate::support::{Options, Repo, World};

/// Where it is looked at what there is.
const LOOKS: [u64; 5] = [10, 50, 100, 200, 300];

/// Bytes that differ from one version to the next.
const OWN_BYTES: usize = 128 << 10;

/// Images that are there at most: of each slot what it runs and five before it, and the one that all begin with.
const IMAGES_MAX: u64 = 13;

/// As many releases have them.
const FULL: u64 = 50;

/// What BuildKit keeps of builds whose images are there.
const CACHE_MAX: u64 = 4 << 20;

/// Releases whose records are kept: the state folder grows until there are as many.
const RECORDS_KEPT: u64 = 100;

#[test]
fn what_there_is_does_not_grow_with_the_number_of_releases() {
    let releases = number("DEPLOYER_SOAK_RELEASES", 10);
    let options = Options {
        // Of its own: whatever is in it is of these releases.
        own_engine: Some(OwnEngine::default()),
        ..Options::default()
    };
    let mut world = World::with("growth", options);
    world.configure_collection();
    let app = world.app("shop", "");
    let repo = world.repo(&app);
    let mut shop = Shop {
        repo: &repo,
        live: 0,
        made: 0,
        pushes: Vec::new(),
    };
    shop.push("blue", &[]);
    let mut looks = match releases <= LOOKS[1] {
        true => vec![releases / 2],
        false => LOOKS.into_iter().filter(|look| *look < releases).collect(),
    };
    looks.push(releases);
    let mut figures = Vec::new();
    for look in looks {
        shop.release_until(&world, look);
        let figure = Figures::of(&mut world, &mut shop);
        println!("{figure:?}");
        figures.push(figure);
    }
    println!("\n{}", Table(&figures));
    for pair in figures.windows(2) {
        pair[1].must_not_exceed(&pair[0]);
    }
}

/// An app that is released again and again.
struct Shop<'a> {
    repo: &'a Repo,
    /// Index into [`SLOTS`].
    live: usize,
    made: u64,
    /// How long the pushes since the last look took.
    pushes: Vec<Duration>,
}

const SLOTS: [&str; 2] = ["blue", "green"];

impl Shop<'_> {
    /// Releases of every kind in turn, until there are as many.
    fn release_until(&mut self, world: &World, releases: u64) {
        while self.made < releases {
            let (live, standby) = (SLOTS[self.live], SLOTS[1 - self.live]);
            match self.made % 10 {
                0 | 5 | 8 => {
                    self.push(standby, &[]);
                    self.live = 1 - self.live;
                }
                1 | 6 => self.push(live, &[]),
                2 => self.moves(world, &["rollback", live]),
                3 => self.push(standby, &["-o", "no-promote"]),
                4 => {
                    self.moves(world, &["promote", standby]);
                    self.live = 1 - self.live;
                }
                7 => {
                    self.repo
                        .write("Dockerfile", self.repo.dockerfile("COPY nowhere /\n"));
                    self.repo.commit("cannot be built");
                    self.repo.push(standby).failed();
                    self.made += 1;
                }
                _ => {
                    self.repo.unwell("unwell", "FAIL", "exit");
                    self.repo.push(standby).failed();
                    self.made += 1;
                }
            }
        }
    }

    fn push(&mut self, slot: &str, options: &[&str]) {
        let mut own = vec![0; OWN_BYTES];
        let random = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut own));
        random.expect("random bytes");
        self.repo.write("own", own);
        let version = format!("v{}", self.made + 1);
        self.repo.version(&version);
        let begun = Instant::now();
        let push = self.repo.push_with(&[options, &[slot, "main"]].concat());
        self.pushes.push(begun.elapsed());
        match options {
            [] => assert!(push.live() > self.made),
            _ => assert!(push.verdict().starts_with("standby: "), "{}", push.said()),
        }
        self.made += 1;
    }

    fn moves(&mut self, world: &World, words: &[&str]) {
        world.deployer(words).good();
        self.made += 1;
    }

    /// The middle one of the pushes since this was asked last.
    fn usual_push(&mut self) -> Duration {
        let mut all = std::mem::take(&mut self.pushes);
        all.sort();
        all[all.len() / 2]
    }
}

/// What there is after some releases. Bytes, but for what is counted.
#[derive(Debug)]
struct Figures {
    releases: u64,
    state: Size,
    git: Size,
    registry: [Size; 2],
    engine: u64,
    images: u64,
    untagged: u64,
    cache: [u64; 2],
    containers: u64,
    networks: u64,
    volumes: u64,
    proxy: Process,
    push: Duration,
    status: Duration,
    load: String,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    files: u64,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    memory: u64,
    descriptors: u64,
    threads: u64,
}

impl Figures {
    fn of(world: &mut World, shop: &mut Shop) -> Self {
        let registry = world.path("registry");
        let uncollected = Size::of(&registry);
        world.collect_registry();
        let docker = world.docker();
        let count = |words: &[&str]| docker.run(words).good().lines().count() as u64;
        let engine = world.engine().folder().join("data");
        let whole = Size::of(&world.state(""));
        let git = Size::of(&world.state("git"));
        Self {
            releases: shop.made,
            state: Size {
                bytes: whole.bytes - git.bytes,
                files: whole.files - git.files,
            },
            git,
            registry: [uncollected, Size::of(&registry)],
            engine: Size::of(&engine).bytes,
            images: count(&["images", "-aq", "--no-trunc"]),
            untagged: count(&["images", "-q", "--filter", "dangling=true"]),
            cache: forget_builds(world, &docker),
            containers: count(&["ps", "-aq"]),
            networks: count(&["network", "ls", "-q"]),
            volumes: count(&["volume", "ls", "-q"]),
            proxy: Process::of(world.proxy().pid()),
            push: shop.usual_push(),
            status: time_of_status(world),
            load: fs::read_to_string("/proc/loadavg").expect("the kernel tells"),
        }
    }

    /// Panics where more is there than `before`, but for what was pushed, and for records until as many are kept.
    #[track_caller]
    fn must_not_exceed(&self, before: &Self) {
        let counted = |it: &Self| {
            [
                it.untagged,
                it.containers,
                it.networks,
                it.volumes,
                it.proxy.threads,
            ]
        };
        assert_eq!(counted(self), counted(before));
        assert!(self.images <= IMAGES_MAX, "{} images", self.images);
        assert!(
            self.proxy.descriptors <= before.proxy.descriptors + 4,
            "descriptors"
        );
        assert!(self.proxy.threads <= before.proxy.threads + 4, "threads");
        assert!(
            self.proxy.memory <= before.proxy.memory * 5 / 4 + (2 << 20),
            "memory"
        );
        assert!(self.cache[1] <= CACHE_MAX, "{} bytes of cache", self.cache[1]);
        // The registry keeps the links of layers that it has collected: four blocks a release.
        let links = (self.releases - before.releases) * 4 * 4096;
        let mut grown = self.registry[1].bytes.saturating_sub(before.registry[1].bytes);
        if before.releases < FULL {
            grown = grown.saturating_sub(IMAGES_MAX * OWN_BYTES as u64);
        }
        assert!(
            grown <= links + OWN_BYTES as u64 * 2,
            "{grown} bytes of the registry"
        );
        if before.releases >= RECORDS_KEPT {
            assert!(self.state.files <= before.state.files + 4, "files of the state");
            assert!(
                self.state.bytes <= before.state.bytes * 5 / 4,
                "bytes of the state"
            );
        }
    }
}

impl Size {
    /// What the files below `folder` take on its disk, mounts left out.
    fn of(folder: &Path) -> Self {
        let du = |arguments: &[&str]| {
            let said = run(Command::new("du").args(arguments).arg(folder), &[]).stdout;
            let number = said
                .split_whitespace()
                .next()
                .and_then(|number| number.parse().ok());
            number.expect("a number of du's")
        };
        Self {
            bytes: du(&["-sx", "--block-size=1"]),
            files: du(&["-sx", "--inodes"]),
        }
    }
}

impl Process {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the proxy runs");
        let value = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok())
                .expect("a number of the kernel's")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the proxy runs");
        Self {
            memory: value("VmRSS:") << 10,
            descriptors: descriptors.count() as u64,
            threads: value("Threads:"),
        }
    }
}

/// What BuildKit keeps, as `docker system df -v` tells it.
fn build_cache(docker: &Docker) -> u64 {
    let format = "{{range .BuildCache}}{{.Size}}\n{{end}}";
    let told = docker.run(&["system", "df", "-v", "--format", format]).good();
    told.lines().map(bytes).sum()
}

/// `1.5kB`, `20MB`
fn bytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "B" | "" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        unit => panic!("{unit} is no unit"),
    };
    (digits.parse::<f64>().expect("a number") * unit) as u64
}

/// The cache, before and after what goes by its age is taken for that old.
fn forget_builds(world: &World, docker: &Docker) -> [u64; 2] {
    let before = build_cache(docker);
    let settings = EngineSettings {
        host: docker.host().to_owned(),
        network: world.network(),
        subnet: world.subnet().parse().expect("a subnet"),
        builder: Builder::Auto,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = Engine::connect(&settings).await.expect("the Engine answers");
        let forgotten = engine.forget_builds(Duration::from_secs(1)).await;
        forgotten.expect("the Engine forgets");
    });
    [before, build_cache(docker)]
}

fn time_of_status(world: &World) -> Duration {
    let mut all: Vec<Duration> = (0..5).map(|_| world.deployer(&["status"]).took).collect();
    all.sort();
    all[2]
}

/// One line for each kind of thing, one column for each look.
struct Table<'a>(&'a [Figures]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, cell: &dyn Fn(&Figures) -> String| {
            let cells: Vec<String> = self.0.iter().map(cell).collect();
            writeln!(to, "| {name} | {} |", cells.join(" | "))
        };
        line("releases", &|it| it.releases.to_string())?;
        line("---", &|_| "---".to_owned())?;
        line("state folder without git", &|it| it.state.told())?;
        line("repositories", &|it| it.git.told())?;
        line("registry before a collection", &|it| it.registry[0].told())?;
        line("registry after it", &|it| it.registry[1].told())?;
        line("the Engine's folder", &|it| megabytes(it.engine))?;
        line("images / untagged", &|it| {
            format!("{} / {}", it.images, it.untagged)
        })?;
        line("BuildKit's cache", &|it| megabytes(it.cache[0]))?;
        line("what is left of it after a week", &|it| megabytes(it.cache[1]))?;
        line("containers, networks, volumes", &|it| {
            format!("{}, {}, {}", it.containers, it.networks, it.volumes)
        })?;
        line("the proxy's memory", &|it| megabytes(it.proxy.memory))?;
        line("its descriptors / threads", &|it| {
            format!("{} / {}", it.proxy.descriptors, it.proxy.threads)
        })?;
        line("a push", &|it| format!("{:.1} s", it.push.as_secs_f64()))?;
        line("the machine's load meanwhile", &|it| {
            it.load.split(' ').next().unwrap_or_default().to_owned()
        })?;
        line("`deployer status`", &|it| format!("{} ms", it.status.as_millis()))
    }
}

impl Size {
    fn told(self) -> String {
        format!("{}, {} files", megabytes(self.bytes), self.files)
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
