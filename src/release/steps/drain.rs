//! drain: requests in flight on the old upstreams end, or are cut at the deadline and counted.

use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::route::{left_behind, route_of};
use crate::release::work::{Done, Work};

pub(in crate::release) async fn drain(work: &mut Work<'_>) -> Done {
    let old = route_of(&work.attempt.app, &work.attempt.before);
    let new = route_of(&work.attempt.app, work.attempt.after()?);
    let left = left_behind(&old, &new);
    if left.is_empty() {
        return Ok((
            Learned::Drained { finished: 0, cut: 0 },
            "nothing ran before".to_owned(),
        ));
    }
    let drained = work
        .context
        .proxy
        .current()?
        .drain(&left, work.attempt.app.settings.drain_deadline)
        .await?;
    let (finished, cut) = (drained.finished, drained.cut);
    let what = messages::drained(
        finished,
        cut,
        drained.closed,
        work.attempt.app.settings.drain_deadline,
    );
    Ok((Learned::Drained { finished, cut }, what))
}
