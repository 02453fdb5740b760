//! What became of requests, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::super::http::Failure;
use super::Begun;

/// Failures that are kept with their story.
const EXAMPLES_MAX: usize = 20;

/// What became of the requests so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Requests begun and ended, well or not.
    pub(crate) sent: u64,
    /// Good answers by the version that gave them (the header `App-Version`).
    pub(crate) answered: BTreeMap<String, u64>,
    /// Failures by kind.
    pub(crate) failed: BTreeMap<Failure, u64>,
    /// By what the client did.
    pub(crate) by_client: BTreeMap<&'static str, Count>,
    /// The first failures with their story.
    pub(crate) examples: Vec<String>,
    /// By version: when the last request that it answered was begun.
    pub(crate) last_begun: BTreeMap<String, Instant>,
    /// The orders that were acknowledged.
    pub(crate) orders: Vec<String>,
    /// Event streams and WebSockets that the other side has closed in form.
    pub(crate) closed: u64,
}

/// What one kind of client has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Requests begun and ended, well or not.
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// The longest that a good answer took, pauses of the app and of the client included; 0 for streams.
    pub(crate) slowest: Duration,
}

/// A good answer.
#[derive(Debug, Default)]
pub(super) struct Good {
    /// The header `App-Version`.
    pub(super) version: String,
    /// The order that it acknowledges.
    pub(super) order: Option<String>,
    /// For a stream, whether the other side has closed it in form; none for what is no stream.
    pub(super) closed: Option<bool>,
}

impl Outcome {
    /// How many requests failed, of all kinds.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Good answers of `version`.
    pub(crate) fn of(&self, version: &str) -> u64 {
        self.answered.get(version).copied().unwrap_or(0)
    }

    /// Whether `version` answered a request that was begun after `moment`.
    pub(crate) fn is_late(&self, version: &str, moment: Instant) -> bool {
        self.last_begun.get(version).is_some_and(|begun| *begun > moment)
    }

    /// Adds what became of other requests.
    pub(crate) fn add(&mut self, other: Outcome) {
        self.sent += other.sent;
        self.closed += other.closed;
        self.orders.extend(other.orders);
        self.examples.extend(other.examples);
        for (version, count) in other.answered {
            *self.answered.entry(version).or_default() += count;
        }
        for (kind, count) in other.failed {
            *self.failed.entry(kind).or_default() += count;
        }
        for (client, theirs) in other.by_client {
            let ours = self.by_client.entry(client).or_default();
            ours.sent += theirs.sent;
            ours.failed += theirs.failed;
            ours.slowest = ours.slowest.max(theirs.slowest);
        }
        for (version, begun) in other.last_begun {
            let last = self.last_begun.entry(version).or_insert(begun);
            *last = begun.max(*last);
        }
    }

    /// Counts one request; `since` is when the traffic began.
    pub(super) fn count(
        &mut self,
        client: &'static str,
        begun: Begun,
        since: Instant,
        result: Result<Good, Failure>,
    ) {
        let count = self.by_client.entry(client).or_default();
        count.sent += 1;
        self.sent += 1;
        let took = begun.at.elapsed();
        match result {
            Ok(good) => {
                let last = self.last_begun.entry(good.version.clone()).or_insert(begun.at);
                *last = begun.at.max(*last);
                *self.answered.entry(good.version).or_default() += 1;
                match good.closed {
                    None => count.slowest = count.slowest.max(took),
                    Some(closed) => self.closed += u64::from(closed),
                }
                self.orders.extend(good.order);
            }
            Err(failure) => {
                count.failed += 1;
                *self.failed.entry(failure).or_default() += 1;
                if self.examples.len() < EXAMPLES_MAX {
                    let (at, took) = ((begun.at - since).as_secs_f64(), took.as_secs_f64());
                    self.examples.push(format!(
                        "{client}: {failure}, begun at {at:.3}s, ended after {took:.3}s"
                    ));
                }
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} requests sent, {} failed", self.sent, self.failures())?;
        for (kind, count) in &self.failed {
            write!(to, ", {count} {kind}")?;
        }
        for example in &self.examples {
            write!(to, "\n  {example}")?;
        }
        Ok(())
    }
}
