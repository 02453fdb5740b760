//! Steady traffic for the demo: `traffic ADDRESS` sends requests that are never retried until its input ends.
//!
//! Each line of input is answered with the counts so far, `SENT FAILED VERSION=ANSWERS…`. At the end come the
//! failures, if any, and `N requests sent, M failed`; the exit code is 1 where M is not 0, 2 for a wrong argument.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;

#[path = "../tests/release/support/http.rs"]
#[allow(dead_code)]
mod http;
#[path = "../tests/release/support/traffic/mod.rs"]
#[allow(dead_code)]
mod traffic;

use traffic::{Load, Traffic};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address: Option<SocketAddr> = arguments.next().and_then(|text| text.parse().ok());
    let (Some(address), None) = (address, arguments.next()) else {
        eprintln!("usage: traffic ADDRESS:PORT");
        return ExitCode::from(2);
    };
    let traffic = Traffic::start(address, Load::default());
    for _ in io::stdin().lock().lines() {
        let outcome = traffic.so_far();
        let versions: Vec<_> = outcome
            .answered
            .iter()
            .map(|(version, count)| format!("{version}={count}"))
            .collect();
        println!("{} {} {}", outcome.sent, outcome.failures(), versions.join(" "));
    }
    let outcome = traffic.stop();
    for example in &outcome.examples {
        println!("{example}");
    }
    println!("{} requests sent, {} failed", outcome.sent, outcome.failures());
    ExitCode::from(u8::from(outcome.failures() > 0))
}
