//! Which of two decisions holds: the last one of a person about what is live, and about what a slot runs.
//!
//! A release that is prepared for minutes keeps nobody from deciding something else meanwhile. What was asked for later and
//! took effect before it holds: the release stays on its slot as standby, or, where that slot was decided about, does not
//! take effect at all.

use super::context::Context;
use super::history;
use super::journal_entry::Outcome;
use crate::model::{AppName, Intent, ReleaseId, Slot};
use crate::store::StoreError;

/// What was asked for later than a release and took effect before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// The release.
    pub release: ReleaseId,
    /// Its slot.
    pub slot: Slot,
    /// Whether it went live.
    pub is_live: bool,
}

/// What becomes of a release that is about to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does what it was asked to.
    All,
    /// It goes to its slot and not live, since this later release did.
    Standby(ReleaseId),
    /// This later release holds in its place.
    Nothing(ReleaseId),
}

/// The releases that were asked for later than `than` and have taken effect, the oldest first.
///
/// # Errors
/// When the folder of releases cannot be listed.
pub(super) fn later(context: &Context, app: &AppName, than: ReleaseId) -> Result<Vec<Later>, StoreError> {
    let mut releases = context.store.releases(app)?;
    releases.retain(|release| release.id() > than);
    let (all, _) = history::read_those(releases);
    let effective = all.into_iter().filter_map(|past| {
        let outcome = past.outcome?;
        outcome.is_good().then_some(Later {
            release: past.record.id,
            slot: past.record.slot,
            is_live: outcome == Outcome::Live,
        })
    });
    Ok(effective.collect())
}

/// What becomes of a release of this `intent` for `to` now that `live` is the live slot, and these `later` ones have taken
/// effect, the oldest first.
pub fn what_holds(to: Slot, intent: &Intent, live: Option<Slot>, later: &[Later]) -> Holds {
    let newest = |is_wanted: fn(&Later, Slot) -> bool| {
        let mut newest_first = later.iter().rev();
        let found = newest_first.find(|later| is_wanted(later, to));
        found.map(|later| later.release)
    };
    if let Some(by) = newest(|later, slot| later.slot == slot) {
        return Holds::Nothing(by);
    }
    let is_live = live == Some(to);
    match newest(|later, _| later.is_live) {
        None => Holds::All,
        Some(by) if is_live || matches!(intent, Intent::Promote { .. }) => Holds::Nothing(by),
        Some(by) if intent.promotes(is_live) => Holds::Standby(by),
        Some(_) => Holds::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Promotion;

    type Asked = (Slot, Intent);

    fn what_holds(asked: &Asked, live: Option<Slot>, later: &[Later]) -> Holds {
        super::what_holds(asked.0, &asked.1, live, later)
    }

    fn deploy(promote: Promotion) -> Intent {
        Intent::Deploy { promote }
    }

    fn later(release: u64, slot: Slot, is_live: bool) -> Later {
        Later {
            release: ReleaseId(release),
            slot,
            is_live,
        }
    }

    #[test]
    fn the_last_decision_about_what_is_live_holds() {
        use Slot::{Blue, Green};
        let push = (Blue, deploy(Promotion::Yes));
        let waiting = (Blue, deploy(Promotion::No));
        let by = ReleaseId;
        // Nobody decided anything since, or only about the standby.
        assert_eq!(what_holds(&push, Some(Green), &[]), Holds::All);
        assert_eq!(
            what_holds(&push, Some(Blue), &[later(6, Green, false)]),
            Holds::All
        );
        // The live slot went back while this one was built for the other one.
        let back = [later(6, Green, true), later(7, Green, true)];
        assert_eq!(what_holds(&push, Some(Green), &back), Holds::Standby(by(7)));
        assert_eq!(what_holds(&waiting, Some(Green), &back), Holds::All);
        // The slot itself was decided about: it went back, on standby too, or was promoted.
        for decided in [later(6, Blue, true), later(6, Blue, false)] {
            assert_eq!(what_holds(&push, Some(Blue), &[decided]), Holds::Nothing(by(6)));
            assert_eq!(
                what_holds(&waiting, Some(Green), &[decided]),
                Holds::Nothing(by(6))
            );
        }
        // What is live now was decided about, however it became so.
        assert_eq!(
            what_holds(&push, Some(Blue), &[later(6, Green, true)]),
            Holds::Nothing(by(6))
        );
        let promotion = (Blue, Intent::Promote { from: None });
        assert_eq!(
            what_holds(&promotion, Some(Green), &[later(6, Green, true)]),
            Holds::Nothing(by(6))
        );
        assert_eq!(what_holds(&promotion, Some(Green), &[]), Holds::All);
    }
}
