//! What a release's journal says: the steps of the way, what each began, learned or failed at.

use std::fmt;
use std::net::SocketAddrV4;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ground::told::Told;
use crate::model::{ByService, Digest, ImageRef, Intent, Lane, ReleaseId, Source};
use crate::store::{Journal, Moment, ReleaseDir};

/// One step of the way, after `receive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The pushed tree is put into the slot's worktree.
    Checkout,
    /// The image is built and tagged.
    Build,
    /// The image is pushed to the registry.
    Push,
    /// The image is pulled from the registry, by digest.
    Pull,
    /// The instances are started beside what runs.
    Start,
    /// The instances are probed until they are ready.
    Probe,
    /// The proxy's route is changed.
    Flip,
    /// Requests in flight on the old upstreams end.
    Drain,
    /// Old instances go.
    Retire,
    /// State is written, and what is past its keeping is pruned.
    Record,
}

impl Step {
    /// The step's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Checkout => "checkout",
            Step::Build => "build",
            Step::Push => "push",
            Step::Pull => "pull",
            Step::Start => "start",
            Step::Probe => "probe",
            Step::Flip => "flip",
            Step::Drain => "drain",
            Step::Retire => "retire",
            Step::Record => "record",
        }
    }

    /// Whether it only prepares: nothing that the app's state, containers that run, or route tell of is changed by it, so
    /// that it needs not the app's lock.
    pub fn prepares(self) -> bool {
        self < Step::Start
    }
}

impl fmt::Display for Step {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.as_str())
    }
}

/// The way of a release whose image is built.
const WHOLE: &[Step] = &[
    Step::Checkout,
    Step::Build,
    Step::Push,
    Step::Pull,
    Step::Start,
    Step::Probe,
    Step::Flip,
    Step::Drain,
    Step::Retire,
    Step::Record,
];

/// The steps that a release takes: all of them where its image is built, those from `pull` on where there is one, and
/// those from `start` on where the slot runs it already.
pub fn way(source: &Source, intent: &Intent) -> &'static [Step] {
    match intent {
        Intent::Promote { .. } => &WHOLE[4..],
        Intent::Deploy { .. } if source.builds() => WHOLE,
        Intent::Deploy { .. } => &WHOLE[3..],
    }
}

/// One entry of a release's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// A step's side effects may exist from here on. For `flip` this is the durable intent.
    Began {
        /// The step.
        step: Step,
    },
    /// The app's lock was taken: the release goes by what is so now, and one after another with the others from here on.
    TakesEffect {
        /// The release that was asked for later and is live: this one stays on standby.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        yields_to: Option<ReleaseId>,
    },
    /// A step's side effects exist.
    Done {
        /// The step.
        step: Step,
        /// What it learned.
        learned: Learned,
    },
    /// A step failed; what it did so far may exist.
    Failed {
        /// The step.
        step: Step,
        /// Why.
        why: Why,
    },
    /// A step's side effects are gone.
    Undone {
        /// The step.
        step: Step,
    },
    /// What a person decided later holds: it does not take effect.
    Superseded {
        /// The release that was asked for later.
        by: ReleaseId,
    },
    /// Another process took the release up after its worker was killed.
    Resumed,
    /// The release has ended.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

/// What a step learned that a later step, or a person, wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "learned", rename_all = "kebab-case")]
pub enum Learned {
    /// Nothing.
    Nothing,
    /// The images that were built have these tags.
    Built {
        /// `REGISTRY/APP:COMMIT-RELEASE`.
        tags: ByService<String>,
    },
    /// The registry holds these images, or held them when they were built.
    Images {
        /// The images.
        images: ByService<ImageRef>,
    },
    /// The instances run here.
    Started(Started),
    /// Requests in flight ended.
    Drained {
        /// How many ended by themselves.
        finished: u64,
        /// How many were cut at the deadline.
        cut: u64,
    },
}

/// Where the instances of a release run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The lane.
    pub lane: Lane,
    /// Where those of each service listen, in the order of their numbers.
    pub endpoints: ByService<Vec<SocketAddrV4>>,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// The step's own error, as people read it.
    Error {
        /// What failed, with the value.
        #[serde(flatten)]
        told: Told,
        /// What to do, where trying again cannot help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<String>,
    },
    /// `deployer cancel` asked for it.
    Cancelled,
    /// Its worker was killed.
    Interrupted,
}

impl Why {
    /// The reason, with what helps.
    pub fn told(&self) -> Told {
        match self {
            Why::Error { told, .. } => told.clone(),
            Why::Cancelled => "cancelled".into(),
            Why::Interrupted => "interrupted".into(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told().fmt(to)
    }
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It went live.
    Live,
    /// It runs on its slot and waits for `deployer promote`.
    Standby,
    /// A step failed; what served before still serves.
    Failed {
        /// The step.
        step: Step,
        /// Why.
        why: Why,
    },
    /// One that was asked for later holds in its place: a newer push to the same slot while it waited, or a rollback or a
    /// promotion that took effect while it was prepared.
    Superseded {
        /// The newer release.
        by: ReleaseId,
    },
    /// It ended before its first step.
    Dropped {
        /// Why.
        why: Why,
    },
}

impl Outcome {
    /// Whether the slot runs the release.
    pub fn is_good(&self) -> bool {
        matches!(self, Outcome::Live | Outcome::Standby)
    }

    /// The outcome's word, as `status` and `releases` print it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Live => "live",
            Outcome::Standby => "standby",
            Outcome::Superseded { .. } => "superseded",
            Outcome::Failed { why, .. } | Outcome::Dropped { why } => match why {
                Why::Error { .. } => "failed",
                Why::Cancelled => "cancelled",
                Why::Interrupted => "interrupted",
            },
        }
    }
}

/// Whether a release has ended, by the end of its journal alone.
pub(super) fn has_ended(dir: &ReleaseDir) -> bool {
    matches!(Journal::last_of(dir), Some(Entry::Finished { .. }))
}

/// What a journal has learned so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The tags of the images that were built.
    pub tags: ByService<String>,
    /// The images in the registry.
    pub images: ByService<ImageRef>,
    /// Where the instances run.
    pub started: Option<Started>,
    /// When the route was changed, where it was not changed back.
    pub flipped: Option<Timestamp>,
    /// Requests that ended by themselves and that were cut.
    pub drained: (u64, u64),
    /// The later release that keeps this one from going live.
    pub yields_to: Option<ReleaseId>,
}

impl Facts {
    /// The facts of these entries.
    pub fn of(entries: &[(Moment, Entry)]) -> Self {
        let mut facts = Self::default();
        for (at, entry) in entries {
            facts.read(at, entry);
        }
        facts
    }

    pub(super) fn read(&mut self, at: &Moment, entry: &Entry) {
        match entry {
            Entry::Done { step, learned } => {
                if *step == Step::Flip {
                    self.flipped = Some(at.at);
                }
                self.learn(learned);
            }
            Entry::TakesEffect { yields_to } => self.yields_to = *yields_to,
            Entry::Undone { step: Step::Flip } => self.flipped = None,
            Entry::Undone { step: Step::Start } => self.started = None,
            _ => {}
        }
    }

    fn learn(&mut self, learned: &Learned) {
        match learned {
            Learned::Nothing => {}
            Learned::Built { tags } => self.tags.clone_from(tags),
            Learned::Images { images } => self.images.clone_from(images),
            Learned::Started(started) => self.started = Some(started.clone()),
            Learned::Drained { finished, cut } => self.drained = (*finished, *cut),
        }
    }

    /// The digest of each service's image.
    pub fn digests(&self) -> ByService<&Digest> {
        let images = self.images.iter();
        images
            .map(|(service, image)| (service.clone(), &image.digest))
            .collect()
    }
}
