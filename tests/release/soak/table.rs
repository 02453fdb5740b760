//! What a soak has come to.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::support::http::Failure;
use crate::support::traffic::Outcome;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// How long the releases went on, and how often round.
    pub(super) took: Duration,
    pub(super) rounds: u64,
    /// Requests during releases and upgrades.
    pub(super) traffic: Outcome,
    pub(super) orders: Orders,
    /// Each with its time.
    pub(super) releases: Vec<(&'static str, Duration)>,
    pub(super) upgrades: usize,
    /// What SIGTERM and SIGKILL of the proxy did.
    pub(super) restarted: Restarts,
    pub(super) killed: Restarts,
}

/// What became of orders.
#[derive(Debug, Default)]
pub(super) struct Orders {
    acknowledged: usize,
    recorded: usize,
    /// Acknowledged, and not recorded.
    lost: usize,
    /// Recorded more than once.
    twice: usize,
}

/// What restarts of the proxy did.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// From the signal until a new connection was answered.
    pub(super) away: Vec<Duration>,
    pub(super) traffic: Outcome,
    pub(super) orders: Orders,
}

impl Orders {
    /// Adds the orders `acknowledged`, and those that the app has `recorded`, one per line.
    pub(super) fn compare(&mut self, acknowledged: &[String], recorded: &str) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for order in recorded.lines() {
            *counts.entry(order).or_default() += 1;
        }
        self.acknowledged += acknowledged.len();
        self.recorded += counts.values().sum::<usize>();
        self.lost += acknowledged
            .iter()
            .filter(|order| !counts.contains_key(order.as_str()))
            .count();
        self.twice += counts.values().filter(|count| **count > 1).count();
    }

    fn are_good(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.acknowledged > 0
    }
}

impl Table {
    /// Panics where anything was not as promised. Streams are closed in form, and a restart breaks nothing off, where the
    /// embedded proxy serves.
    #[track_caller]
    pub(super) fn must_be_good(&self, is_embedded: bool) {
        assert_eq!(self.traffic.failures(), 0, "{}", self.traffic);
        assert!(
            self.traffic.closed > 0 || !is_embedded,
            "no stream was closed by a drain"
        );
        for orders in [&self.orders, &self.restarted.orders, &self.killed.orders] {
            assert!(orders.are_good(), "{orders:?}");
        }
        let refused_alone = |outcome: &Outcome| outcome.failed.keys().all(|kind| *kind == Failure::Refused);
        assert!(
            refused_alone(&self.restarted.traffic) || !is_embedded,
            "{}",
            self.restarted.traffic
        );
        // A killed proxy breaks off what it has in flight, and never answers wrongly.
        let broken = [Failure::Refused, Failure::Reset, Failure::Truncated];
        let killed = &self.killed.traffic;
        assert!(killed.failed.keys().all(|kind| broken.contains(kind)), "{killed}");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traffic = &self.traffic;
        writeln!(
            to,
            "| During releases | sent | failed | longest answer |\n|---|---|---|---|"
        )?;
        for (client, count) in &traffic.by_client {
            let longest = if count.slowest.is_zero() {
                "–".to_owned()
            } else {
                shown(count.slowest)
            };
            writeln!(to, "| {client} | {} | {} | {longest} |", count.sent, count.failed)?;
        }
        writeln!(
            to,
            "| **all** | **{}** | **{}** | |",
            traffic.sent,
            traffic.failures()
        )?;
        for (kind, failed) in kinds(traffic) {
            writeln!(to, "| {kind} | | {failed} | |")?;
        }
        let orders = &self.orders;
        writeln!(
            to,
            "| orders acknowledged, and lost | {} | {} | |",
            orders.acknowledged, orders.lost
        )?;
        writeln!(
            to,
            "| orders recorded, and recorded twice | {} | {} | |",
            orders.recorded, orders.twice
        )?;
        writeln!(
            to,
            "| streams closed in form at a drain's deadline | {} | | |",
            traffic.closed
        )?;
        writeln!(to, "\n| Releases | count | median | longest |\n|---|---|---|---|")?;
        let mut by_kind: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for (kind, took) in &self.releases {
            by_kind.entry(kind).or_default().push(*took);
        }
        for (kind, times) in &by_kind {
            let (median, longest) = median_and_longest(times);
            writeln!(to, "| {kind} | {} | {median} | {longest} |", times.len())?;
        }
        writeln!(to, "| upgrade of the proxy | {} | | |", self.upgrades)?;
        writeln!(
            to,
            "| **all**, {} rounds in {} | **{}** | | |",
            self.rounds,
            shown(self.took),
            self.releases.len()
        )?;
        for (what, restarts) in [
            ("SIGTERM and start", &self.restarted),
            ("SIGKILL and start", &self.killed),
        ] {
            let (median, longest) = median_and_longest(&restarts.away);
            writeln!(
                to,
                "\n| Proxy: {what}, {} times | |\n|---|---|",
                restarts.away.len()
            )?;
            writeln!(
                to,
                "| until it serves again, median | {median} |\n| the same, longest | {longest} |"
            )?;
            writeln!(to, "| requests sent | {} |", restarts.traffic.sent)?;
            for (kind, count) in &restarts.traffic.failed {
                writeln!(to, "| {kind} | {count} |")?;
            }
            writeln!(
                to,
                "| orders acknowledged, lost, recorded twice | {}, {}, {} |",
                restarts.orders.acknowledged, restarts.orders.lost, restarts.orders.twice
            )?;
        }
        Ok(())
    }
}

/// How many failed in each way that there is.
fn kinds(outcome: &Outcome) -> [(&'static str, u64); 7] {
    let of = |is: fn(&Failure) -> bool| {
        let counts = outcome.failed.iter().filter(|(kind, _)| is(kind));
        counts.map(|(_, count)| count).sum()
    };
    [
        ("refused", of(|kind| *kind == Failure::Refused)),
        ("reset", of(|kind| *kind == Failure::Reset)),
        ("truncated", of(|kind| *kind == Failure::Truncated)),
        ("timed out", of(|kind| *kind == Failure::TimedOut)),
        (
            "answered 5xx, or anything but 200",
            of(|kind| matches!(kind, Failure::Status(_))),
        ),
        (
            "answered with a wrong body",
            of(|kind| matches!(kind, Failure::Malformed | Failure::WrongBody)),
        ),
        (
            "answered by a release that could not be reached any more, or yet",
            of(|kind| *kind == Failure::WrongRelease),
        ),
    ]
}

fn median_and_longest(times: &[Duration]) -> (String, String) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |index: usize| sorted.get(index).map_or("–".to_owned(), |time| shown(*time));
    (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
