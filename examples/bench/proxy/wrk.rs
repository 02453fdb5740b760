//! The load: wrk, a closed loop. Each connection sends its next request when the answer has come.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::contestant::host;

/// What is asked.
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) path: &'a str,
    /// To how many apps' hosts the requests go, in turns.
    pub(super) apps: usize,
    pub(super) is_fresh: bool,
    pub(super) connections: usize,
    pub(super) seconds: u64,
    pub(super) folder: &'a Path,
}

/// What wrk saw.
pub(super) struct Seen {
    pub(super) requests: f64,
    /// Requests a second.
    pub(super) rate: f64,
    /// Latencies in milliseconds; endless where nothing was answered.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Connections that were refused, requests that were cut, answers other than 2xx and 3xx, and what took more than 10 s.
    pub(super) failed: f64,
}

/// Prints what it saw as one line of numbers.
const DONE: &str = r#"
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("seen %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"#;

/// One request for each host, made beforehand.
const MANY: &str = r#"
local made, at = {}, 0
function init(arguments)
  for app = 0, APPS - 1 do
    wrk.headers["Host"] = "app-" .. app .. ".bench"
    made[app] = wrk.format()
  end
end
function request()
  at = (at + 1) % APPS
  return made[at]
end
"#;

/// Runs wrk, and `meanwhile` when most of its time has passed.
pub(super) fn run(load: &Load, meanwhile: impl FnOnce() -> Result<()>) -> Result<Seen> {
    let script = load.folder.join("load.lua");
    fs::write(&script, load.script())?;
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "2", "--timeout", "10s", "-c", &load.connections.to_string()]);
    wrk.args(["-d", &format!("{}s", load.seconds), "-s"]);
    wrk.arg(&script)
        .arg(format!("http://{}{}", load.address, load.path));
    let wrk = wrk
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let wrk = wrk.spawn().context("cannot run wrk")?;
    thread::sleep(Duration::from_secs(load.seconds) * 3 / 4);
    let looked = meanwhile();
    let output = wrk.wait_with_output()?;
    looked?;
    let told = String::from_utf8_lossy(&output.stdout);
    understand(&told).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("wrk said nothing that can be understood: {told}{errors}")
    })
}

impl Load<'_> {
    fn script(&self) -> String {
        let mut script = format!("wrk.headers[\"Host\"] = \"{}\"\n", host(0));
        if self.is_fresh {
            script += "wrk.headers[\"Connection\"] = \"close\"\n";
        }
        if self.apps > 1 {
            script += &MANY.replace("APPS", &self.apps.to_string());
        }
        script + DONE
    }
}

/// The line that [`DONE`] prints, whose times are microseconds.
fn understand(told: &str) -> Option<Seen> {
    let line = told.lines().find_map(|line| line.strip_prefix("seen "))?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [requests, duration, p50, p99, failed] = numbers[..] else {
        return None;
    };
    // No answer is no quick answer.
    let latency = |time: f64| if requests > 0.0 { time / 1e3 } else { f64::INFINITY };
    Some(Seen {
        requests,
        rate: requests * 1e6 / duration,
        p50: latency(p50),
        p99: latency(p99),
        failed,
    })
}
