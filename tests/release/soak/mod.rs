//! Traffic of every kind through real releases of every kind: nothing fails, nothing is late, no order is lost or
//! taken twice. CI runs one round. `script/soak` runs the same for as long as it is told:
//!
//! - `DEPLOYER_SOAK`: how long, as `90s` or `30m`; rounds are begun until then.
//! - `DEPLOYER_SOAK_ROUNDS`: how many rounds at least; 1.
//! - `DEPLOYER_SOAK_RESTARTS`: how often the proxy is killed, and how often it is restarted; 3.
//! - `DEPLOYER_SOAK_SEED`: when the proxy is upgraded within a round.
//! - `DEPLOYER_SOAK_KIND`: `nginx`, `haproxy` or `caddy` flips, in the embedded proxy's place. There are no upgrades then,
//!   and no streams, which such a program breaks off when their instance ends.
//!
//! At its end it prints one table in Markdown.

mod flips;
mod growth;
mod restarts;
mod shop;
mod table;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::programs::{Kind, Program};
use crate::support::traffic::Client;
use crate::support::{Options, World};
use flips::Flips;
use shop::Shop;
use table::Table;

/// How long the soak is.
struct Length {
    time: Duration,
    rounds: u64,
    restarts: u64,
}

impl Length {
    fn of_environment() -> Self {
        Self {
            time: setting("DEPLOYER_SOAK").map_or(Duration::ZERO, |text| duration(&text)),
            rounds: number("DEPLOYER_SOAK_ROUNDS", 1),
            restarts: number("DEPLOYER_SOAK_RESTARTS", 3),
        }
    }
}

#[test]
fn releases_of_every_kind_drop_no_request_of_any_kind() {
    let length = Length::of_environment();
    let mut table = Table::default();
    let mut world = World::with(
        "soak",
        Options {
            kind: kind(),
            ..Options::default()
        },
    );
    releases(&mut world, &length, &mut table);
    restarts::restarts(&mut world, length.restarts, &mut table);
    println!("\n{table}");
    table.must_be_good(world.has_embedded_proxy());
}

/// One app with one instance and one with three, each with traffic at its public address and at both slots' ports,
/// released again and again at the same time; in every round the proxy is upgraded twice, whatever goes on.
fn releases(world: &mut World, length: &Length, table: &mut Table) {
    let shops = [("one", 1), ("three", 3)].map(|(name, instances)| Shop::configure(world, name, instances));
    let flips = match world.has_embedded_proxy() {
        true => Flips::of(&world.proxy_log()),
        false => Flips::untold(),
    };
    let mut shops = shops.map(|shop| shop.release(world)).map(|shop| shop.open(world));
    let begun = Instant::now();
    let (ended, broken, rounds) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let mut proxies = Vec::new();
    thread::scope(|scope| {
        let (world, flips, rounds, broken) = (&*world, &flips, &rounds, &broken);
        let running: Vec<_> = shops
            .iter_mut()
            .map(|shop| {
                scope.spawn(move || {
                    let _broken = Broken(broken);
                    for round in 1.. {
                        shop.round(world, flips);
                        rounds.fetch_max(round, Relaxed);
                        println!("round {round}: {}", shop.so_far());
                        let is_over = round >= length.rounds && begun.elapsed() >= length.time;
                        if is_over || broken.load(Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut pauses = Pauses::seeded();
            while world.has_embedded_proxy() && pauses.wait(&ended) {
                proxies.push(world.newer_proxy());
            }
        });
        let all: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.store(true, Relaxed);
        for result in all {
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    table.upgrades = proxies.len();
    table.rounds = rounds.load(Relaxed);
    let older: Vec<_> = proxies
        .into_iter()
        .map(|newer| world.replace_proxy(newer))
        .collect();
    table.took = begun.elapsed();
    for shop in shops {
        shop.close(table);
    }
    for proxy in older {
        proxy.await_end(Duration::from_secs(60));
    }
}

impl World {
    /// Those of `clients` that the world's kind of proxy loses nothing of.
    fn clients(&self, clients: &[Client]) -> Vec<Client> {
        let is_stream = |client: &Client| matches!(client, Client::WebSocket | Client::Events);
        let are_kept = |client: &&Client| self.has_embedded_proxy() || !is_stream(client);
        clients.iter().filter(are_kept).copied().collect()
    }
}

/// Set where a thread panics: the others need not go on.
struct Broken<'a>(&'a AtomicBool);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Relaxed);
    }
}

/// Moments for the upgrades: a seeded sequence, so that a failure can be seen again.
struct Pauses(u64);

impl Pauses {
    fn seeded() -> Self {
        let seed = number("DEPLOYER_SOAK_SEED", 42);
        println!("DEPLOYER_SOAK_SEED={seed}");
        Self(seed)
    }

    /// Waits for the next moment; false where `ended` comes before.
    fn wait(&mut self, ended: &AtomicBool) -> bool {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let moment = Instant::now() + Duration::from_millis(8_000 + (self.0 >> 33) % 12_000);
        while Instant::now() < moment {
            if ended.load(Relaxed) {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

fn kind() -> Kind {
    match setting("DEPLOYER_SOAK_KIND").as_deref() {
        None | Some("embedded") => Kind::Embedded,
        Some("nginx") => Kind::Flip(Program::Nginx),
        Some("haproxy") => Kind::Flip(Program::Haproxy),
        Some("caddy") => Kind::Flip(Program::Caddy),
        Some(other) => panic!("DEPLOYER_SOAK_KIND={other} is no kind of proxy"),
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, default: u64) -> u64 {
    setting(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// `90s`, `30m`, `2h`
fn duration(text: &str) -> Duration {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * seconds)
    });
    Duration::from_secs(seconds.unwrap_or_else(|| panic!("{text:?} is no time such as 90s or 30m")))
}
