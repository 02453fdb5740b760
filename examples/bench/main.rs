//! The measurements of `script/bench`, which makes the world that they run in: a registry, a proxy, a configuration.
//!
//! Contestants alternate within one run, and a ratio is the median of the ratios of its rounds: on a machine that
//! others use too, only what was measured side by side says something.

mod flip;
mod floor;
mod hook;
mod memory;
mod poll;
mod proxy;
mod push;
mod report;
mod rollback;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use report::Report;
use world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Push,
    Flip,
    Rollback,
    Proxy,
    Memory,
}

/// Measures deployer in a world that `script/bench` made.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,
    /// Rounds of pushes and of rollbacks
    #[arg(long, default_value_t = 7)]
    runs: usize,
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

fn main() -> Result<()> {
    let args = Args::parse();
    // The engine's client asks for one; only where another is installed already is this refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let world = World::open(&args.deployer, &args.work)?;
    let mut report = Report::default();
    let load_before = load()?;
    let wants = |part| args.parts.is_empty() || args.parts.contains(&part);
    if wants(Part::Memory) {
        memory::proxy(&world, "freshly started", &mut report).await?;
    }
    if wants(Part::Flip) {
        flip::measure(&world, &mut report).await?;
    }
    if wants(Part::Push) {
        push::measure(&world, args.runs, &mut report).await?;
    }
    if wants(Part::Rollback) {
        rollback::measure(&world, args.runs, &mut report)?;
    }
    if wants(Part::Memory) {
        memory::worker(&world, &mut report)?;
        memory::proxy(&world, "after these measurements", &mut report).await?;
    }
    if wants(Part::Proxy) {
        proxy::measure(&world, &mut report)?;
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

/// The load of the last minute: how many processes ran, or wanted to.
fn load() -> Result<String> {
    let told = std::fs::read_to_string("/proc/loadavg")?;
    Ok(told.split(' ').next().unwrap_or_default().to_owned())
}
