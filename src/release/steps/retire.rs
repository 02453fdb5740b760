//! retire: what the slot ran before goes; a standby that is not to be warm stops.

use futures_util::future::try_join_all;

use crate::engine::Instance;
use crate::release::instances::park;
use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::retry::engine_that_answers;
use crate::release::work::{Done, Work};

pub(in crate::release) async fn retire(work: &mut Work<'_>) -> Done {
    let engine = engine_that_answers(work.context).await?;
    let after = work.attempt.after()?;
    let runs = |instance: &Instance| {
        after
            .slots
            .get(&instance.slot)
            .filter(|slot| slot.release == instance.release)
    };
    let instances = engine.instances(Some(&work.attempt.app.name)).await?;

    let goes = instances
        .iter()
        .filter(|instance| instance.slot == work.attempt.slot() && runs(instance).is_none());
    let gone = try_join_all(goes.map(async |instance| {
        let settings = work.attempt.app.settings.service(&instance.name.service);
        engine.stop(&instance.id, settings.run.stop_grace).await?;
        engine.remove(&instance.id).await
    }))
    .await?;
    let stops = instances
        .iter()
        .filter(|instance| instance.running && runs(instance).is_some_and(|slot| slot.stopped));
    let stopped = try_join_all(stops.map(|instance| park(engine, &work.attempt.app, instance))).await?;

    let mut what = match gone.len() {
        0 => "nothing to remove".to_owned(),
        number => format!("{} removed", messages::count(number as u64, "old instance")),
    };
    if !stopped.is_empty() {
        what += &format!(", {} stopped on standby", stopped.len());
    }
    Ok((Learned::Nothing, what))
}
