//! The data plane against other proxies: `script/bench-proxy`, and its result as lines of this report.

use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::Value;

use crate::report::{Goal, Line, Report, Samples, Table, number};
use crate::world::World;

const SCRIPT: &str = "script/bench-proxy";

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let mut script = Command::new(SCRIPT);
    script.arg("--json").arg("--binary").arg(&world.deployer);
    let output = match script.stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            report.note(format!("The proxies were not compared: {}", why.trim()));
            return Ok(());
        }
        Err(error) => {
            report.note(format!("The proxies were not compared: {SCRIPT}: {error}"));
            return Ok(());
        }
    };
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let proxies = &told["proxies"];
    let cpu = |name: &str| Some(Samples(vec![proxies[name]["cpu_us_per_request"].as_f64()?]));
    for (name, most) in [("nginx", 1.4), ("caddy", 1.0 / 3.0)] {
        match (cpu("deployer"), cpu(name)) {
            (Some(ours), Some(theirs)) => report.line(Line {
                what: "proxy's CPU per request",
                unit: "µs",
                ours,
                against: Some((if name == "nginx" { "nginx" } else { "Caddy" }, theirs)),
                goal: Goal::Ratio(most),
            }),
            _ => report.note(format!(
                "The proxy was not compared with {name}, which is not installed."
            )),
        }
    }
    let columns = [
        "cpu_us_per_request",
        "cpu_ratio_to_nginx",
        "p50_ms",
        "requests_per_second",
        "memory_mib",
    ];
    let rows = proxies.as_object().into_iter().flatten().map(|(name, seen)| {
        let cells = columns
            .iter()
            .map(|column| seen[*column].as_f64().map_or("–".to_owned(), number));
        [name.clone()].into_iter().chain(cells).collect()
    });
    report.table(Table {
        heading: "The proxies with the same upstream, medians of alternating rounds:",
        columns: &[
            "proxy",
            "CPU µs per request",
            "ratio to nginx",
            "p50 ms",
            "requests/s",
            "memory MiB",
        ],
        rows: rows.collect(),
    });
    Ok(())
}
