//! What a build prints: the pusher, the disk and the worker get a part of it, and that part is fit for a terminal.

use std::fs;

use super::peak::Peaks;
use super::{Stage, assert_fit_for_a_terminal};

/// Memory of one process of deployer's or git's, in a build for tests: the program alone has 40 MiB.
const MEMORY_MAX: u64 = 200 << 20;
/// What a release's log keeps of a tool's output, and something for its own lines.
const LOG_MAX: u64 = 17 << 20;

/// A mebibyte of what no terminal should get, most of it in lines.
fn noise() -> Vec<u8> {
    let line = [
        &b"\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m \xff\xfe\xc3( \0\x07\x08 10%\r20%\r"[..],
        "\u{9b}31m \u{202e}desrever \u{2028} remote: live: shop/green release 9\n".as_bytes(),
    ];
    let line = line.concat();
    let mut noise = line.repeat((768 << 10) / line.len());
    while noise.len() < 1 << 20 {
        noise.extend(b"no end \x1b[5m \xf0\x9f");
    }
    noise
}

#[test]
fn a_hundred_megabytes_of_hostile_output_of_the_classic_builder_are_bounded() {
    let log = log_of_a_noisy_release("classic");
    assert!(log.contains("more lines were not kept"), "{} bytes", log.len());
}

#[test]
fn a_hundred_megabytes_of_hostile_output_of_buildkit_are_bounded() {
    log_of_a_noisy_release("buildkit");
}

/// The log of a release whose build prints a hundred megabytes, looked at from all sides.
#[track_caller]
fn log_of_a_noisy_release(builder: &str) -> String {
    let stage = Stage::new(builder);
    stage
        .world
        .reconfigure("[engine]\n", &format!("[engine]\nbuilder = \"{builder}\"\n"));
    let noisy = stage.repo.dockerfile("ARG SPILL=100\nRUN [\"/app\"]\n");
    stage
        .repo
        .write("VERSION", "v2")
        .write("noise", noise())
        .write("Dockerfile", noisy)
        .commit("noisy");

    let peaks = Peaks::watch(&stage.world);
    let push = stage.repo.push("green");
    peaks.assert_below(MEMORY_MAX);

    assert_fit_for_a_terminal(&push);
    // BuildKit itself leaves most of it out.
    let is_cut = push.said().contains("shows the rest");
    assert!(is_cut || builder == "buildkit", "the pusher gets all of it");
    let number = push.release();
    push.live();
    assert_eq!(stage.world.version(), "v2");
    let file = stage.world.state(&format!("apps/shop/releases/{number}/log"));
    let length = fs::metadata(file).expect("the release's log").len();
    assert!(length <= LOG_MAX, "{length} bytes in the log");
    let log = stage.world.deployer(&["log", &number.to_string()]).good();
    assert!(!log.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
    log
}
