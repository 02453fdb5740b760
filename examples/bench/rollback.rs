//! `deployer rollback` as a whole process: onto a warm standby, onto a stopped one, and to a release whose image is
//! gone from the host.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::poll::Poller;
use crate::report::{Line, Report, Samples};
use crate::world::{Tree, World, milliseconds};

const DEADLINE: Duration = Duration::from_secs(60);
const VERSIONS: [&str; 2] = ["one", "two"];

pub(crate) fn measure(world: &World, runs: usize, report: &mut Report) -> Result<()> {
    onto_standby(world, runs, "back", "onto a warm standby")?.tell(Some(100.0), report);
    // Its containers are stopped, and not removed.
    onto_standby(world, runs, "rest", "onto a stopped standby")?.tell(None, report);
    to_gone_image(world, runs)?.tell(None, report);
    Ok(())
}

/// Each rollback takes back the one before.
fn onto_standby<'a>(world: &World, runs: usize, app: &str, what: &'a str) -> Result<Times<'a>> {
    let tree = world.app(app)?;
    push(world, app, &tree, ["blue", "green"])?;
    let command = ["rollback", "--app", app].map(str::to_owned);
    rounds(world, app, what, runs, |_| Ok(command.to_vec()))
}

/// The live slot goes back to its other release, whose image has to come from the registry.
fn to_gone_image(world: &World, runs: usize) -> Result<Times<'static>> {
    let tree = world.app("gone")?;
    push(world, "gone", &tree, ["green", "green"])?;
    let what = "to an image that is gone from the host";
    rounds(world, "gone", what, runs, |target| {
        let release = target + 1;
        remove_image(world, release)?;
        let words = ["rollback", "gone/green", "--to", &release.to_string()];
        Ok(words.map(str::to_owned).to_vec())
    })
}

/// Two versions, one after the other, to these slots.
fn push(world: &World, app: &str, tree: &Tree, slots: [&str; 2]) -> Result<()> {
    for (version, slot) in VERSIONS.iter().zip(slots) {
        tree.change(version)?;
        tree.push(slot)?;
        world.wait_for_worker(app)?;
    }
    Ok(())
}

struct Times<'a> {
    what: &'a str,
    whole: Samples,
    live: Samples,
    gaps: Samples,
}

impl Times<'_> {
    /// `goal` is the most milliseconds that the whole process may take.
    fn tell(&self, goal: Option<f64>, report: &mut Report) {
        let what = self.what;
        let whole = Line::new(format!("rollback {what}, the whole process"), "ms", &self.whole);
        report.line(match goal {
            Some(most) => whole.at_most(most),
            None => whole,
        });
        report.line(Line::new(
            format!("rollback {what}, until it answers"),
            "ms",
            &self.live,
        ));
        report.line(Line::new(format!("downtime of a rollback {what}"), "ms", &self.gaps).zero());
    }
}

/// Rollbacks to the two versions in turn: `prepare` is told which, and gives the command. The first is not counted.
fn rounds<'a>(
    world: &World,
    app: &str,
    what: &'a str,
    runs: usize,
    mut prepare: impl FnMut(usize) -> Result<Vec<String>>,
) -> Result<Times<'a>> {
    let host = world.host(app)?;
    let mut times = Times {
        what,
        whole: Samples::default(),
        live: Samples::default(),
        gaps: Samples::default(),
    };
    for number in 0..=runs {
        let target = number % 2;
        let command = prepare(target)?;
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let poller = Poller::start(world.settings.proxy.listen, &host, "/version");
        poller.wait_for(|version| version == VERSIONS[1 - target], DEADLINE)?;
        let begun = Instant::now();
        world.deployer(&command)?;
        let whole = begun.elapsed();
        let (_, live) = poller.wait_for(|version| version == VERSIONS[target], DEADLINE)?;
        world.wait_for_worker(app)?;
        if number > 0 {
            times.whole.push(milliseconds(whole));
            times.live.push(milliseconds(live - begun));
            times.gaps.push(milliseconds(poller.seen().gap));
        }
    }
    Ok(times)
}

/// Takes the image of this release away from the host, by all of its names.
fn remove_image(world: &World, release: usize) -> Result<()> {
    let told: Value = serde_json::from_str(&world.deployer(&["releases", "gone", "-n", "1000", "--json"])?)?;
    let releases = told["releases"].as_array().context("there are releases")?;
    let release = releases.iter().find(|it| it["release"] == release);
    let digest = release.and_then(|it| it["digests"]["web"].as_str());
    let digest = digest.context("the release has a digest")?;
    let repository = world
        .settings
        .registry
        .repository(&"gone".parse()?, &"web".parse()?);
    let image = format!("{repository}@{digest}");
    let format = "{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}";
    let names = docker(&["image", "inspect", "--format", format, &image])?;
    for name in names.split_whitespace() {
        // With its last tag an image's digests go too.
        let _ = docker(&["rmi", name]);
    }
    ensure!(
        docker(&["image", "inspect", &image]).is_err(),
        "{image} is still on the host"
    );
    Ok(())
}

fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).output()?;
    ensure!(
        output.status.success(),
        "docker {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
