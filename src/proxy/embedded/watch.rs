//! Instances that cannot be reached: put out, asked until they are ready, taken back.
//!
//! No client's request is spent on an instance that is out: a probe of the proxy's own finds out when it is ready. Only
//! those that are out are asked, so that a healthy instance has no load from it. What puts one out is a request that
//! could not reach it; or a look at it, which is taken when one of its connections breaks off, and when a request
//! has waited long.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Plane;
use super::probe;
use super::reach::{is_the_instances, is_there, reach};
use super::upstream::{Upstream, Whole};
use crate::proxy::say;

/// The pause before an instance that is out is asked for the first time, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two looks at an instance whose connections break off: apps close idle ones all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How long a request waits before it is asked whether its instance is there at all, in milliseconds.
const PATIENCE: u64 = 1_000;

/// Puts an instance out that could not be reached, unless the error is this process's own.
pub(super) fn put_out(upstream: &Arc<Upstream>, error: &std::io::Error) {
    if !is_the_instances(error) {
        return;
    }
    if let Some(number) = upstream.leave_turn(error.to_string()) {
        say!("{} is out: {error}", upstream.told());
        tokio::spawn(until_ready(Arc::clone(upstream), number));
    }
}

/// Looks at an instance one of whose connections has broken off.
pub(super) fn look(upstream: &Arc<Upstream>) {
    if upstream.is_routed() && !upstream.is_out() && upstream.begin_look() {
        tokio::spawn(look_now(Arc::clone(upstream)));
    }
}

/// Breaks off what waits for instances that are gone, and puts these out. To be called about once a second.
pub(super) fn look_after_waiting(plane: &Arc<Plane>) {
    let waited_for = plane.waited_for(PATIENCE);
    if waited_for.is_empty() {
        return;
    }
    for Whole { upstream, .. } in plane.switch.with_ids(&waited_for) {
        let plane = Arc::clone(plane);
        tokio::spawn(async move {
            if !is_there(upstream.address).await {
                let gone = std::io::Error::new(
                    std::io::ErrorKind::HostUnreachable,
                    "nothing is at its address any more",
                );
                put_out(&upstream, &gone);
                plane.lose(&upstream);
            }
        });
    }
}

async fn look_now(upstream: Arc<Upstream>) {
    loop {
        if let Err(error) = reach(upstream.address).await {
            put_out(&upstream, &error);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
        if upstream.end_look() {
            return;
        }
    }
}

/// Asks until the instance is ready, or nobody is interested any more.
async fn until_ready(upstream: Arc<Upstream>, number: u64) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LAST_PAUSE);
        let Some(instance) = upstream.instance_if_out(number) else {
            return;
        };
        if let Some(answer) = probe::ask(upstream.address, instance.probe.as_ref()).await {
            if let Some(out) = upstream.return_to_turn(number) {
                let seconds = out.began.elapsed().as_secs_f64();
                say!("{} is back after {seconds:.1} s: {answer}", upstream.told());
            }
            return;
        }
    }
}
