//! A request that is counted: in flight on its upstream, and in the metrics when it ends.

use std::time::Instant;

use http::StatusCode;

use super::http1::Fault;
use super::table::Claim;
use crate::proxy::say;

/// See the module. The count ends when this is dropped.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) claim: Claim,
    pub(super) status: StatusCode,
    worker: usize,
    begun: Instant,
    counts: bool,
}

impl Tally {
    /// Counts from the request's beginning; it ends as a 502 unless a status is set.
    pub(super) fn new(claim: Claim, worker: usize, begun: Instant) -> Self {
        Self {
            claim,
            worker,
            begun,
            status: StatusCode::BAD_GATEWAY,
            counts: true,
        }
    }

    /// Counts and logs why the upstream's answer cannot be passed on.
    pub(super) fn report(&self, fault: Fault) {
        let Claim {
            in_flight, app, slot, ..
        } = &self.claim;
        if let Some(unsaid) = app.counters.faults.note(*slot, fault.why) {
            let more = match unsaid {
                0 => String::new(),
                unsaid => format!(" ({unsaid} more like it since the last such line)"),
            };
            let instance = in_flight.seat().upstream.told();
            say!("{instance} gave an answer that cannot be passed on: {fault}{more}");
        }
    }

    /// The request goes to another instance: it is not to be counted twice.
    pub(super) fn forget(mut self) {
        self.counts = false;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.counts {
            let took = self.begun.elapsed();
            self.claim
                .app
                .counters
                .count(self.worker, self.claim.slot, self.status, took);
        }
    }
}
