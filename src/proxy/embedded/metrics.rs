//! Prometheus metrics: counted where a request ends, merged when they are asked for.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

use super::faults::Faults;
use super::http1::Unreadable;
use crate::model::Slot;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BOUNDS: [u64; 14] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000,
];

/// What is measured of the proxy as a whole.
pub(super) struct Gauge {
    name: &'static str,
    help: &'static str,
}

/// See its help.
pub(super) const CONNECTIONS: Gauge = Gauge {
    name: "connections",
    help: "Open connections of clients.",
};

/// See its help.
pub(super) const DRAINING: Gauge = Gauge {
    name: "draining",
    help: "Drains that wait for requests to end.",
};

/// One app's counters: a shard per worker, so that no two threads write to one line of memory.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Box<[Shard]>,
    pub(super) flips: AtomicU64,
    pub(super) faults: Faults,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    slots: [SlotCounters; 2],
}

#[derive(Debug, Default)]
struct SlotCounters {
    /// By the first digit of the status, from 1.
    classes: [AtomicU64; 5],
    /// By [`BOUNDS`]; not cumulative. What is above the last bound is only in the sum of `classes`.
    buckets: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
}

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers).map(|_| Shard::default()).collect(),
            flips: AtomicU64::new(0),
            faults: Faults::default(),
        }
    }

    /// Counts one request that `worker` has ended.
    pub(super) fn count(&self, worker: usize, slot: Slot, status: StatusCode, took: Duration) {
        let counters = &self.shards[worker].slots[slot as usize];
        counters.classes[usize::from(status.as_u16() / 100).clamp(1, 5) - 1].fetch_add(1, Relaxed);
        counters.micros.fetch_add(took.as_micros() as u64, Relaxed);
        if let Some(bucket) = BOUNDS
            .iter()
            .position(|&bound| took <= Duration::from_millis(bound))
        {
            counters.buckets[bucket].fetch_add(1, Relaxed);
        }
    }

    fn sum(&self, slot: Slot, of: impl Fn(&SlotCounters) -> &AtomicU64) -> u64 {
        self.shards
            .iter()
            .map(|shard| of(&shard.slots[slot as usize]).load(Relaxed))
            .sum()
    }
}

/// One app as the page shows it.
pub(super) struct Shown<'a> {
    pub(super) app: &'a str,
    pub(super) counters: &'a Counters,
    /// Requests in flight by slot, blue first.
    pub(super) in_flight: [u64; 2],
    /// Instances that are out, by slot, blue first.
    pub(super) out: [u64; 2],
}

/// The page in Prometheus' text format. `gauges` are no app's, each with its value. `unrouted` are requests that belong to no app.
pub(super) fn page(apps: &[Shown<'_>], gauges: &[(&Gauge, usize)], unrouted: u64) -> String {
    let mut to = String::with_capacity(4096);
    heading(
        &mut to,
        "requests_total",
        "counter",
        "Requests answered, by class of status.",
    );
    for_each(apps, |app, slot, labels| {
        for class in 0..5 {
            let count = app.counters.sum(slot, |counters| &counters.classes[class]);
            if count > 0 {
                let _ = writeln!(
                    to,
                    "deployer_requests_total{{{labels},class=\"{}xx\"}} {count}",
                    class + 1
                );
            }
        }
    });
    heading(
        &mut to,
        "request_duration_seconds",
        "histogram",
        "From the request's head to the answer's end.",
    );
    for_each(apps, |app, slot, labels| {
        histogram(&mut to, app.counters, slot, labels)
    });
    heading(
        &mut to,
        "unreadable_answers_total",
        "counter",
        "Answers of the app that could not be passed on, by reason.",
    );
    for_each(apps, |app, slot, labels| {
        for why in Unreadable::ALL {
            let count = app.counters.faults.count(slot, why);
            if count > 0 {
                let reason = why.label();
                let _ = writeln!(
                    to,
                    "deployer_unreadable_answers_total{{{labels},reason=\"{reason}\"}} {count}"
                );
            }
        }
    });
    heading(
        &mut to,
        "in_flight",
        "gauge",
        "Requests and upgraded connections in flight.",
    );
    for_each(apps, |app, slot, labels| {
        let _ = writeln!(
            to,
            "deployer_in_flight{{{labels}}} {}",
            app.in_flight[slot as usize]
        );
    });
    heading(
        &mut to,
        "instances_out",
        "gauge",
        "Instances that could not be reached, until a probe finds them ready.",
    );
    for_each(apps, |app, slot, labels| {
        let _ = writeln!(
            to,
            "deployer_instances_out{{{labels}}} {}",
            app.out[slot as usize]
        );
    });
    heading(
        &mut to,
        "flips_total",
        "counter",
        "Changes of what the public port goes to.",
    );
    for app in apps {
        let _ = writeln!(
            to,
            "deployer_flips_total{{app=\"{}\"}} {}",
            app.app,
            app.counters.flips.load(Relaxed)
        );
    }
    heading(
        &mut to,
        "unrouted_total",
        "counter",
        "Requests that were no app's: unknown host, or refused.",
    );
    let _ = writeln!(to, "deployer_unrouted_total {unrouted}");
    for (Gauge { name, help }, value) in gauges {
        heading(&mut to, name, "gauge", help);
        let _ = writeln!(to, "deployer_{name} {value}");
    }
    to
}

fn heading(to: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(to, "# HELP deployer_{name} {help}\n# TYPE deployer_{name} {kind}");
}

fn for_each(apps: &[Shown<'_>], mut show: impl FnMut(&Shown<'_>, Slot, &str)) {
    for app in apps {
        for slot in Slot::BOTH {
            show(app, slot, &format!("app=\"{}\",slot=\"{slot}\"", app.app));
        }
    }
}

fn histogram(to: &mut String, counters: &Counters, slot: Slot, labels: &str) {
    let name = "deployer_request_duration_seconds";
    let all: u64 = (0..5)
        .map(|class| counters.sum(slot, |counters| &counters.classes[class]))
        .sum();
    if all == 0 {
        return;
    }
    let mut below = 0;
    for (bucket, bound) in BOUNDS.iter().enumerate() {
        below += counters.sum(slot, |counters| &counters.buckets[bucket]);
        let _ = writeln!(
            to,
            "{name}_bucket{{{labels},le=\"{}\"}} {below}",
            *bound as f64 / 1e3
        );
    }
    let seconds = counters.sum(slot, |counters| &counters.micros) as f64 / 1e6;
    let _ = writeln!(to, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", all.max(below));
    let _ = writeln!(
        to,
        "{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {}",
        all.max(below)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{check, row};

    #[test]
    fn the_reference_has_every_metric_with_its_labels() {
        let counters = Counters::new(1);
        let took = Duration::from_millis(3);
        for slot in Slot::BOTH {
            counters.count(0, slot, StatusCode::OK, took);
        }
        counters.faults.note(Slot::Blue, Unreadable::Closed);
        let app = Shown {
            app: "shop",
            counters: &counters,
            in_flight: [0, 0],
            out: [0, 0],
        };
        let page = page(&[app], &[(&CONNECTIONS, 0), (&DRAINING, 0)], 0);

        let mut made = row(["Metric", "Kind", "Labels", ""]) + &row(["---"; 4]);
        for line in page.lines() {
            let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let kind = format!("# TYPE {name} ");
            let kind = page
                .lines()
                .find_map(|line| line.strip_prefix(&kind))
                .expect("a kind");
            made += &row([&format!("`{name}`"), kind, &labels(&page, name), help]);
        }
        check("metrics.md", "metrics", &made);
        let bounds = BOUNDS.map(|bound| (bound as f64 / 1e3).to_string()).join(", ");
        check(
            "metrics.md",
            "buckets",
            &format!("Upper bounds in seconds: {bounds}."),
        );
    }

    /// The names of the labels of the metric's first line.
    fn labels(page: &str, name: &str) -> String {
        let mut lines = page.lines().filter(|line| line.starts_with(name));
        let (_, rest) = lines.next().expect("a line").split_once('{').unwrap_or_default();
        let names = rest.split(',').filter_map(|label| label.split_once('='));
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    }
}
