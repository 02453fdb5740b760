//! What a running release knows: it follows from its record, the app's state before it, and what its journal says.

use anyhow::{Context as _, Result, bail};

use super::context::App;
use super::entry::{Entry, Facts, Started, Step, way};
use crate::model::{ByService, Commit, ImageRef, Intent, Slot, Standby};
use crate::store::{AppState, FLIPS_KEPT, Flip, Live, Moment, Record, Running, RunningService, StoreError};

/// A release on its way.
pub(super) struct Attempt {
    pub(super) app: App,
    pub(super) record: Record,
    /// The app's state before this release.
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
        self.record.intent.promotes(self.before.live == Some(self.slot()))
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
