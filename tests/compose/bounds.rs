//! What a hostile tree costs: in memory, since the CPU time is bounded beside the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use deployer::compose::{self, Tree};

/// The most that reading one file may take, whether it is taken or refused.
const MEMORY_MAX: u64 = 32 << 20;

#[test]
fn no_file_takes_more_than_32_mib() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut doubled = "a0: &a0 {k0: x}\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        writeln!(
            aliases,
            "a{level}: &a{level} [{}]",
            vec![format!("*a{below}"); 10].join(", ")
        )
        .unwrap();
        writeln!(
            doubled,
            "a{level}: &a{level} {{<<: *a{below}, k{level}: *a{below}}}"
        )
        .unwrap();
    }
    let entries: String = (0..9_000).map(|n| format!("      A{n}: b\n")).collect();
    let mut heirs = format!("services:\n  base:\n    image: x\n    environment:\n{entries}");
    (0..90).for_each(|n| writeln!(heirs, "  s{n}: {{extends: base}}").unwrap());
    let services: String = (0..5_000).map(|n| format!("  s{n}: {{image: x}}\n")).collect();
    let uses: String = (0..90)
        .map(|n| format!("  s{n}: {{image: x, env_file: [l.env, l.env]}}\n"))
        .collect();
    let values: String = (0..2_000).map(|n| format!("      - A{n}=${{LONG}}\n")).collect();
    let values = format!("services:\n  a:\n    image: x\n    environment:\n{values}");
    for (name, text) in [
        ("nothing", "services: {a: {image: x}}\n".to_owned()),
        ("aliases", aliases),
        ("merges", doubled),
        ("deep", format!("a: {}", "[".repeat(400_000))),
        ("heirs", heirs),
        ("services", format!("services:\n{services}")),
        ("files", format!("services:\n{uses}")),
        ("values", values),
        (
            "replicas",
            "services: {a: {image: x, deploy: {replicas: 100000}}}\n".to_owned(),
        ),
        (
            "ports",
            "services: {a: {image: x, ports: ['1-65535:1-65535']}}\n".to_owned(),
        ),
        ("a long line", format!("a: \"{}\"", "x".repeat(500_000))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("compose.yaml"), text).unwrap();
        fs::write(
            folder.path().join(".env"),
            format!("LONG={}\n", "x".repeat(100_000)),
        )
        .unwrap();
        fs::write(
            folder.path().join("l.env"),
            format!("LONG={}\n", "x".repeat(100_000)),
        )
        .unwrap();
        let before = now("VmRSS:");
        // The peak begins anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let is_taken = read(folder.path());
        let taken = now("VmHWM:").saturating_sub(before);
        println!("{name}: {} KiB", taken >> 10);
        assert_eq!(is_taken, name == "nothing", "{name}");
        assert!(taken < MEMORY_MAX, "{name} took {taken} bytes");
    }
}

fn read(path: &Path) -> bool {
    let tree = Tree::open(path).unwrap();
    compose::read(&tree, "compose.yaml", &BTreeMap::new()).is_ok()
}

/// A line of this process's status, in bytes.
fn now(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
