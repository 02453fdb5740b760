//! What no file may cost, whether it is taken or refused.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::read_tests::{Folder, faults};

/// The most CPU time that a file may cost, whether it is taken or refused.
const CPU_MAX: Duration = Duration::from_secs(1);

#[track_caller]
fn within_bounds<T>(run: impl FnOnce() -> T) -> T {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let begin = now();
    let result = run();
    let spent = now() - begin;
    assert!(spent < CPU_MAX, "it took {spent:?} of CPU time");
    result
}

#[test]
fn no_file_costs_more_than_a_second() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "a0: &a0 {k0: x}\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        let list = vec![format!("*a{below}"); 10].join(", ");
        writeln!(aliases, "a{level}: &a{level} [{list}]").unwrap();
        let merged = format!("<<: *a{below}, k{level}: {{<<: *a{below}}}");
        writeln!(merges, "a{level}: &a{level} {{{merged}}}").unwrap();
    }
    let service = "{image: x}";
    let many = (0..5_000).fold("services:\n".to_owned(), |text, n| {
        text + &format!("  s{n}: {service}\n")
    });
    let entries: String = (0..9_000).map(|n| format!("      A{n}: b\n")).collect();
    let mut heirs = format!("services:\n  base:\n    image: x\n    environment:\n{entries}");
    (0..90).for_each(|n| writeln!(heirs, "  s{n}: {{extends: base}}").unwrap());
    let dependencies: String = (0..99)
        .map(|n| format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", (n + 1) % 99))
        .collect();
    let keys: String = (0..15_000).map(|n| format!("    k{n}: 1\n")).collect();
    for (name, text) in [
        ("aliases", aliases),
        ("merges", merges),
        (
            "deep lists",
            format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ),
        (
            "deep mappings",
            (0..600).fold(String::new(), |text, n| text + &" ".repeat(n) + "a:\n"),
        ),
        ("services", many),
        ("heirs", heirs),
        ("a circle", format!("services:\n{dependencies}")),
        ("keys", format!("services:\n  a:\n{keys}")),
        ("one long line", format!("a: \"{}\"", "x".repeat(500_000))),
        ("a large file", "# x\n".repeat(200_000)),
        ("one long key", format!("{}: 1", "x".repeat(400_000))),
        ("dashes", "- ".repeat(200_000)),
    ] {
        let told = within_bounds(|| faults(&text));
        println!("{name}: {}", told.lines().next().unwrap_or_default());
        assert!(
            told.len() < 32 << 10,
            "{name}: its faults have {} bytes",
            told.len()
        );
    }
}

#[test]
fn values_that_stand_many_times_are_bounded() {
    let line = format!("L={}\n", "x".repeat(100_000));
    let uses: String = (0..90)
        .map(|n| format!("  s{n}: {{image: x, env_file: [l.env, l.env]}}\n"))
        .collect();
    let folder = Folder::of(&[("l.env", &line), ("compose.yaml", &format!("services:\n{uses}"))]);
    let told = within_bounds(|| folder.read()).unwrap_err().to_string();
    assert!(told.contains("make more than 4 MiB"), "{told}");
}
