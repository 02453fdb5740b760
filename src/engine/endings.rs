//! How containers ended lately, as far as the Engine remembers.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;

use super::instance_spec::LABEL_NETWORK;
use super::{ContainerId, Engine, EngineError};

/// The events that tell of endings, and of how far back the Engine's memory reaches.
const EVENTS: [&str; 5] = ["create", "start", "oom", "die", "stop"];

/// One ending that no command asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnEnding {
    /// When.
    pub at: Timestamp,
    /// The exit code.
    pub code: i64,
    /// Whether the container went over its memory limit.
    pub oom: bool,
}

/// What the Engine remembers of its containers' endings: the last 256 events of every kind, and none from before it was
/// started. So a list that is not known to be complete is a lower bound.
#[derive(Debug, Default)]
pub struct Endings {
    of: HashMap<ContainerId, Remembered>,
    /// The oldest event; everything since then is remembered.
    oldest: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// Whether its creation is remembered, and so everything that happened to it.
    is_whole: bool,
    endings: Vec<OwnEnding>,
    /// It went over its memory limit since the last ending.
    oom: bool,
}

impl Endings {
    /// The endings of `container` since `since`, the oldest first, and whether these are all.
    pub fn of(&self, container: &ContainerId, since: Timestamp) -> (Vec<OwnEnding>, bool) {
        let reaches_back = self.oldest.is_some_and(|oldest| oldest <= since);
        let Some(remembered) = self.of.get(container) else {
            return (Vec::new(), reaches_back);
        };
        let endings = remembered.endings.iter().filter(|ending| ending.at >= since);
        (endings.copied().collect(), reaches_back || remembered.is_whole)
    }

    /// What these events tell, the oldest first.
    pub(crate) fn of_events(events: impl IntoIterator<Item = EventMessage>) -> Self {
        let mut endings = Self::default();
        for event in events {
            endings.take(event);
        }
        endings
    }

    fn take(&mut self, event: EventMessage) -> Option<()> {
        let at = Timestamp::from_nanosecond(event.time_nano?.into()).ok()?;
        let actor = event.actor?;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        let of = self.of.entry(ContainerId(actor.id?)).or_default();
        match event.action?.as_str() {
            "create" => of.is_whole = true,
            "oom" => of.oom = true,
            "die" => of.endings.push(OwnEnding {
                at,
                code: actor.attributes?.get("exitCode")?.parse().ok()?,
                oom: std::mem::take(&mut of.oom),
            }),
            // The end before it was asked for: by `docker stop` or `restart`, or by deployer.
            "stop" => drop(of.endings.pop()),
            _ => {}
        }
        Some(())
    }
}

impl Engine {
    /// How the containers of deployer's ended lately. One call, which the Engine answers from its memory.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn endings(&self) -> Result<Endings, EngineError> {
        let now = Timestamp::now();
        let label = format!("{LABEL_NETWORK}={}", self.settings.network);
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), EVENTS.map(str::to_owned).to_vec()),
            ("label".to_owned(), vec![label]),
        ]);
        let options = EventsOptions {
            since: Some("0".to_owned()),
            // With an end that is over, the Engine answers from its memory and waits for nothing.
            until: Some(format!("{}.{:09}", now.as_second(), now.subsec_nanosecond())),
            filters: Some(filters),
        };
        let events: Vec<EventMessage> = self
            .docker
            .events(Some(options))
            .try_collect()
            .await
            .map_err(|api| self.call("look at what ended lately").error(api))?;
        Ok(Endings::of_events(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events at the given seconds: what happened, to which container, with which exit code.
    fn remembered(events: &[(i64, &str, &str, &str)]) -> Endings {
        Endings::of_events(events.iter().map(|(second, action, id, code)| {
            let event = serde_json::json!({
                "Type": "container", "Action": action, "timeNano": second * 1_000_000_000,
                "Actor": { "ID": id, "Attributes": { "exitCode": code } },
            });
            serde_json::from_value(event).unwrap()
        }))
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn of(endings: &Endings, id: &str, since: i64) -> (Vec<(i64, bool)>, bool) {
        let (endings, is_whole) = endings.of(&ContainerId(id.to_owned()), second(since));
        (
            endings.iter().map(|ending| (ending.code, ending.oom)).collect(),
            is_whole,
        )
    }

    #[test]
    fn an_end_that_a_command_asked_for_is_none_of_its_own() {
        let endings = remembered(&[
            (10, "create", "a", ""),
            (11, "die", "a", "3"),
            (12, "die", "b", "1"),
            (13, "die", "a", "143"),
            (13, "stop", "a", ""),
            (14, "oom", "a", ""),
            (14, "die", "a", "137"),
            (15, "die", "a", "0"),
        ]);
        assert_eq!(
            of(&endings, "a", 0),
            (vec![(3, false), (137, true), (0, false)], true)
        );
        assert_eq!(of(&endings, "a", 15), (vec![(0, false)], true));
    }

    #[test]
    fn a_list_is_whole_where_the_memory_reaches_back_or_the_creation_is_in_it() {
        let endings = remembered(&[
            (10, "die", "a", "3"),
            (12, "create", "b", ""),
            (13, "die", "b", "1"),
        ]);
        assert!(!of(&endings, "a", 9).1, "there may have been one before");
        assert!(of(&endings, "a", 10).1);
        assert!(of(&endings, "b", 0).1);
        assert_eq!(of(&endings, "c", 11), (vec![], true));
        assert_eq!(of(&Endings::default(), "c", 11), (vec![], false));
    }

    #[test]
    fn an_event_that_tells_nothing_is_passed_over() {
        for text in [
            "{}",
            r#"{"Action":"die","timeNano":1}"#,
            r#"{"Action":"die","timeNano":1,"Actor":{"ID":"a"}}"#,
        ] {
            let endings = Endings::of_events([serde_json::from_str(text).unwrap()]);
            assert_eq!(of(&endings, "a", 0).0, []);
        }
    }
}
