//! What a running release knows: it follows from its record, the app's state before it, and what its journal says.

use anyhow::{Context as _, Result, bail};

use super::context::App;
use super::journal_entry::{Entry, Facts, Started, Step, way};
use crate::model::{ByService, Commit, ImageRef, Intent, Slot, Standby};
use crate::store::{AppState, FLIPS_KEPT, Flip, Live, Moment, Record, Running, RunningService, StoreError};

/// A release on its way.
pub(super) struct Attempt {
    pub(super) app: App,
    pub(super) record: Record,
    /// The app's state before this release; what it was when nothing but its lock keeps it so, while this one only prepares.
    pub(super) before: AppState,
    /// What the journal says.
    pub(super) facts: Facts,
    /// The images of the release that it goes back to.
    earlier: Result<ByService<ImageRef>, StoreError>,
    running: Option<Running>,
    after: Option<AppState>,
}

impl Attempt {
    /// What is known of a release from its journal's `entries`; `earlier` are the images of the one that it goes back to.
    pub(super) fn new(
        app: App,
        record: Record,
        before: AppState,
        earlier: Result<ByService<ImageRef>, StoreError>,
        entries: &[(Moment, Entry)],
    ) -> Self {
        let mut attempt = Self {
            facts: Facts::of(entries),
            app,
            record,
            before,
            earlier,
            running: None,
            after: None,
        };
        attempt.conclude();
        attempt
    }

    /// Goes by what is so now that the app's lock is held: what was so before may have changed meanwhile.
    pub(super) fn takes_effect_on(&mut self, before: AppState) {
        self.before = before;
        self.conclude();
    }

    /// Takes in what the journal says as of now.
    pub(super) fn learn(&mut self, at: &Moment, entry: &Entry) {
        self.facts.read(at, entry);
        self.conclude();
    }

    fn conclude(&mut self) {
        self.running = self.runs();
        self.after = self.running.clone().map(|running| self.state_with(running));
    }

    /// The steps that the release takes.
    pub(super) fn way(&self) -> &'static [Step] {
        way(&self.record.source, &self.record.intent)
    }

    /// The slot.
    pub(super) fn slot(&self) -> Slot {
        self.record.slot
    }

    /// Whether the release goes live.
    pub(super) fn promotes(&self) -> bool {
        self.facts.yields_to.is_none() && self.record.intent.promotes(self.before.live == Some(self.slot()))
    }

    /// What the slot ran before.
    pub(super) fn ran_before(&self) -> Option<&Running> {
        self.before.slots.get(&self.slot())
    }

    /// The slot and release that are live while this release is on its way.
    pub(super) fn live_before(&self) -> Option<Live> {
        self.before.live()
    }

    /// The commit, where the release is of one.
    pub(super) fn commit(&self) -> Option<&Commit> {
        self.record.source.commit()
    }

    /// The image of each service that the release runs.
    ///
    /// # Errors
    /// When it has none yet, or the journal of the release that it goes back to cannot be read.
    pub(super) fn images(&self) -> Result<ByService<ImageRef>> {
        let images = match self.record.intent {
            Intent::Promote { .. } => self.ran_before().map(Running::images).unwrap_or_default(),
            Intent::Deploy { .. } if !self.facts.images.is_empty() => self.facts.images.clone(),
            Intent::Deploy { .. } => match &self.earlier {
                Ok(images) => images.clone(),
                Err(error) => bail!("{error}"),
            },
        };
        if images.is_empty() {
            bail!("the release has no image");
        }
        Ok(images)
    }

    /// What the slot runs once this release has started.
    ///
    /// # Errors
    /// When it has not started.
    pub(super) fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the release was not started")
    }

    /// The app's state with this release in it.
    ///
    /// # Errors
    /// When it has not started.
    pub(super) fn after(&self) -> Result<&AppState> {
        self.after.as_ref().context("the release was not started")
    }

    /// What the slot runs once `images` have `started`.
    ///
    /// # Errors
    /// When a service that was started has no image.
    pub(super) fn running_at(&self, images: &ByService<ImageRef>, started: &Started) -> Result<Running> {
        let services = started.endpoints.iter().map(|(service, endpoints)| {
            let image = images.get(service).cloned();
            let running = RunningService {
                image: image.with_context(|| format!("the service {service} has no image"))?,
                endpoints: endpoints.clone(),
            };
            Ok((service.clone(), running))
        });
        Ok(Running {
            release: self.record.id,
            lane: started.lane,
            commit: self.commit().cloned(),
            stopped: false,
            services: services.collect::<Result<_>>()?,
        })
    }

    fn runs(&self) -> Option<Running> {
        match self.record.intent {
            Intent::Promote { .. } => self.ran_before().map(|running| Running {
                stopped: false,
                ..running.clone()
            }),
            Intent::Deploy { .. } => {
                let (images, started) = (self.images().ok()?, self.facts.started.as_ref()?);
                self.running_at(&images, started).ok()
            }
        }
    }

    fn state_with(&self, running: Running) -> AppState {
        let slot = self.slot();
        let mut after = self.before.clone();
        after.slots.insert(slot, running);
        if !self.promotes() {
            return after;
        }
        after.live = Some(slot);
        if let (Some(standby), Standby::Stopped) =
            (after.slots.get_mut(&slot.other()), self.app.settings.standby)
        {
            standby.stopped = true;
        }
        let (from, to) = (self.before.live(), after.live());
        if let (true, Some(to), Some(at)) = (from != to, to, self.facts.flipped) {
            after.flips.push(Flip { at, from, to });
            let past = after.flips.len().saturating_sub(FLIPS_KEPT);
            after.flips.drain(..past);
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppSettings, Lane, Promotion, ReleaseId, ServiceName, SlotPorts, Source};
    use crate::release::journal_entry::Learned;
    use crate::store::AppFile;

    fn image() -> ByService<ImageRef> {
        let image = ImageRef {
            repository: "127.0.0.1:5000/shop".into(),
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
        };
        [(ServiceName::web(), image)].into()
    }

    fn started() -> Started {
        let at = ["10.213.1.128:8080", "10.213.1.129:8080"].map(|at| at.parse().unwrap());
        Started {
            lane: Lane::A,
            endpoints: [(ServiceName::web(), at.to_vec())].into(),
        }
    }

    fn attempt(
        intent: Intent,
        before: AppState,
        earlier: Result<ByService<ImageRef>, StoreError>,
    ) -> Attempt {
        let ports = SlotPorts {
            green: 50100,
            blue: 50101,
        };
        let app = App {
            name: "shop".parse().unwrap(),
            settings: AppSettings::default(),
            file: AppFile { index: 0, ports },
        };
        let record = Record {
            id: ReleaseId(7),
            slot: Slot::Green,
            source: Source::of_release(ReleaseId(3), None),
            intent,
            redeploys: None,
            pull: false,
            meant: None,
            gated: None,
            by: None,
            command: None,
            received: Moment::now(),
        };
        Attempt::new(app, record, before, earlier, &[])
    }

    fn done(step: Step, learned: Learned) -> Entry {
        Entry::Done { step, learned }
    }

    #[test]
    fn state_with_the_release_has_its_endpoints_and_the_time_of_the_flip_from_the_journal() {
        let promote = Promotion::Yes;
        let mut attempt = attempt(Intent::Deploy { promote }, AppState::default(), Ok(image()));
        assert!(attempt.after().is_err());
        attempt.learn(&Moment::now(), &done(Step::Start, Learned::Started(started())));
        let running = attempt.running().unwrap();
        assert_eq!(
            running.upstreams(),
            started().endpoints.into_values().next().unwrap()
        );
        assert!(attempt.after().unwrap().flips.is_empty());

        let flipped = Moment::now();
        attempt.learn(&flipped, &done(Step::Flip, Learned::Nothing));
        std::thread::sleep(std::time::Duration::from_millis(2));
        attempt.learn(&Moment::now(), &done(Step::Retire, Learned::Nothing));
        let after = attempt.after().unwrap();
        let [flip] = after.flips.as_slice() else {
            panic!("{after:?}")
        };
        assert_eq!((flip.at, flip.to.release), (flipped.at, ReleaseId(7)));

        attempt.learn(&Moment::now(), &Entry::Undone { step: Step::Flip });
        attempt.learn(&Moment::now(), &Entry::Undone { step: Step::Start });
        assert!(attempt.after().is_err());
    }

    #[test]
    fn a_rollback_waits_where_its_slot_does_and_tells_why_it_has_no_image() {
        let unreadable = StoreError::Unreadable {
            path: "journal".into(),
            reason: "line 1 is damaged".into(),
        };
        let promote = Promotion::WhereLive;
        let attempt = attempt(Intent::Deploy { promote }, AppState::default(), Err(unreadable));
        assert!(!attempt.promotes());
        let why = attempt.images().unwrap_err().to_string();
        assert!(why.contains("line 1 is damaged"), "{why}");
    }

    #[test]
    fn a_promotion_runs_what_the_slot_runs_whatever_it_was_when_it_was_asked_for() {
        let running = |release| Running {
            release: ReleaseId(release),
            lane: Lane::B,
            commit: None,
            stopped: true,
            services: ByService::new(),
        };
        let before = AppState {
            live: Some(Slot::Blue),
            slots: [(Slot::Green, running(5)), (Slot::Blue, running(6))].into(),
            flips: Vec::new(),
        };
        let from = Some(Slot::Blue);
        let attempt = attempt(Intent::Promote { from }, before, Ok(ByService::new()));
        let after = attempt.after().unwrap();
        assert_eq!(after.live, Some(Slot::Green));
        assert_eq!(after.slots[&Slot::Green].release, ReleaseId(5));
        assert!(!after.slots[&Slot::Green].stopped);
    }
}
