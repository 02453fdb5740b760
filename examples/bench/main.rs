//! The measurements of `script/bench`, which makes the world that they run in: a registry, a proxy, a configuration.
//!
//! Contestants alternate within one run, and a ratio is the median of the ratios of its rounds: on a machine that
//! others use too, only what was measured side by side says something.

mod flip;
mod growth;
#[path = "../../tests/release/support/http.rs"]
#[allow(dead_code)]
mod http;
mod large;
mod losses;
mod memory;
mod poll;
mod ports;
mod process;
mod proxy;
mod push;
mod report;
mod rollback;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use proxy::Effort;
use report::Report;
use world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Push,
    Context,
    Flip,
    Rollback,
    Proxy,
    Losses,
    Growth,
    Memory,
}

/// Measures deployer in a world that `script/bench` made.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,
    /// Fewer rounds of everything
    #[arg(long)]
    quick: bool,
    /// Rounds of pushes and of rollbacks
    #[arg(long)]
    runs: Option<usize>,
    /// Where the results are written as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// The deployer to measure
    #[arg(long)]
    deployer: PathBuf,
    /// The folder with `deployer.toml` and the app's static binary `server`
    #[arg(long)]
    work: PathBuf,
}

/// How often everything is done.
struct Rounds {
    pushes: usize,
    large_pushes: usize,
    rollbacks: usize,
    proxy: Effort,
    flips: usize,
    apps: &'static [usize],
}

fn main() -> Result<()> {
    let args = Args::parse();
    // The engine's client asks for one; only where another is installed already is this refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let load_before = load()?;
    let mut report = Report::default();
    measure(&args, &mut report)?;
    if args.wants(Part::Proxy) || args.wants(Part::Losses) {
        proxy::contestant::tell_versions(&mut report)?;
    }
    report.note(format!(
        "{} cores; the machine's load was {load_before} before this began.",
        std::thread::available_parallelism()?
    ));
    println!("\n{}", report.markdown());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let mut world = World::open(&args.deployer, &args.work)?;
    let rounds = args.rounds();
    if args.wants(Part::Memory) {
        memory::proxy(&world, "freshly started", report)?;
    }
    if args.wants(Part::Flip) {
        flip::measure(&world, report)?;
    }
    if args.wants(Part::Push) {
        push::small(&world, rounds.pushes, report)?;
    }
    if args.wants(Part::Rollback) {
        rollback::measure(&world, rounds.rollbacks, report)?;
    }
    if args.wants(Part::Context) {
        push::large(&world, rounds.large_pushes, report)?;
    }
    if args.wants(Part::Memory) {
        memory::proxy(&world, "after these measurements", report)?;
    }
    if args.wants(Part::Proxy) {
        proxy::measure(&world, rounds.proxy, report)?;
    }
    if args.wants(Part::Losses) {
        losses::measure(&world, rounds.flips, report)?;
    }
    // The last one: it removes the apps of the others.
    if args.wants(Part::Growth) {
        growth::measure(&mut world, rounds.apps, report)?;
    }
    Ok(())
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    fn rounds(&self) -> Rounds {
        let mut rounds = if self.quick {
            Rounds {
                pushes: 3,
                large_pushes: 1,
                rollbacks: 3,
                proxy: Effort {
                    rounds: 3,
                    seconds: 1,
                    seconds_of_many: 2,
                },
                flips: 15,
                apps: &[1, 10],
            }
        } else {
            Rounds {
                pushes: 9,
                large_pushes: 2,
                rollbacks: 9,
                proxy: Effort {
                    rounds: 5,
                    seconds: 2,
                    seconds_of_many: 3,
                },
                flips: 40,
                apps: &[1, 10, 100],
            }
        };
        if let Some(runs) = self.runs {
            (rounds.pushes, rounds.rollbacks) = (runs, runs);
        }
        rounds
    }
}

/// The load of the last minute: how many processes ran, or wanted to.
fn load() -> Result<String> {
    let told = std::fs::read_to_string("/proc/loadavg")?;
    Ok(told.split(' ').next().unwrap_or_default().to_owned())
}
