//! drain: requests in flight on the old upstreams end, or are cut at the deadline and counted.

use super::entry::Learned;
use super::route::{left_behind, route_of};
use super::run::{Done, Run};
use super::say;

pub(super) async fn drain(run: &mut Run<'_>) -> Done {
    let old = route_of(run.context, &run.app, &run.before)?;
    let new = route_of(run.context, &run.app, &run.after()?)?;
    let left = left_behind(&old, &new);
    if left.is_empty() {
        return Ok((
            Learned::Drained { finished: 0, cut: 0 },
            "nothing ran before".to_owned(),
        ));
    }
    let drained = run
        .context
        .proxy
        .current()?
        .drain(&left, run.app.settings.drain_deadline)
        .await?;
    let (finished, cut) = (drained.finished, drained.cut);
    let what = say::drained(finished, cut, drained.closed, run.app.settings.drain_deadline);
    Ok((Learned::Drained { finished, cut }, what))
}
