//! How often, and how, an instance ended by itself within the last hour.
//!
//! Two sources, and neither knows all. The container itself knows its last ending, and how often the Engine has started
//! it again since a command started it. The Engine's memory of events knows the exit codes of the endings before, for as
//! long as they are in it. What is told is what both prove, and whether it is all.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::messages;
use crate::engine::{ContainerId, Endings, InstanceState, OwnEnding, Status};
use crate::model::InstanceName;

/// For how long an ending is told: an instance that runs again may end again.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How far the times of one ending may be apart, as an event and as the container tell it.
const SAME: SignedDuration = SignedDuration::from_secs(1);

/// How an instance of what a slot runs has ended by itself lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceEndings {
    /// The instance.
    #[serde(skip)]
    pub name: InstanceName,
    /// Its number.
    pub instance: u8,
    /// How often it ended within the last hour.
    pub times: u64,
    /// Whether it was no more often than that: the Engine remembers everything since then.
    pub exact: bool,
    /// The last time.
    pub last: Timestamp,
    /// How often the Engine has started it again since a command started it.
    pub restarts: u64,
    /// Whether it went over its memory limit.
    pub oom: bool,
    /// What it does now.
    pub state: Now,
    /// The ways in which it ended, the latest first, as far as the Engine remembers them.
    pub ways: Vec<Way>,
}

/// What an instance that ended does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Now {
    /// It runs again.
    Running,
    /// The Engine is about to start it again.
    Restarting,
    /// It stays ended.
    Ended,
}

/// One way to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The exit code.
    pub code: i64,
    /// The signal that the exit code stands for.
    pub signal: Option<&'static str>,
    /// Whether it went over its memory limit.
    pub oom: bool,
    /// How often, within the last hour; one that has ended for longer: 1.
    pub times: u64,
}

/// What is known of an instance's own endings. None where it did not end within the last hour, and runs.
pub(super) fn known(
    name: &InstanceName,
    id: &ContainerId,
    state: &InstanceState,
    remembered: &Endings,
    now: Timestamp,
) -> Option<InstanceEndings> {
    let since = now - TOLD_FOR;
    let (mut own, is_whole) = remembered.of(id, since);
    let does = match state.status {
        Status::Exited { .. } => Now::Ended,
        Status::Restarting => Now::Restarting,
        Status::Running { .. } | Status::Paused => Now::Running,
        Status::Created | Status::Gone => return None,
    };
    let ending = state.ending.as_ref();
    let restarts = ending.map_or(0, |ending| ending.restarts);
    // A container that runs, and that the Engine has not started again by itself, was stopped and started by somebody.
    let last = ending.filter(|_| does != Now::Running || restarts > 0);
    let mut forgotten = false;
    if let Some(last) = last
        && !own.iter().any(|own| own.at.duration_since(last.at).abs() <= SAME)
    {
        // Once it runs again, the container has forgotten its exit code.
        match does {
            Now::Running => forgotten = last.at >= since,
            _ => own.push(OwnEnding {
                at: last.at,
                code: last.code,
                oom: last.oom,
            }),
        }
    }
    let at = own.iter().map(|own| own.at);
    let at = at.chain(last.filter(|_| forgotten).map(|last| last.at)).max()?;
    let seen = own.iter().filter(|own| own.at >= since).count() as u64 + u64::from(forgotten);
    let again = match state.created >= since {
        true => restarts + u64::from(does == Now::Ended),
        false => 0,
    };
    Some(InstanceEndings {
        name: name.clone(),
        instance: name.index,
        times: seen.max(again),
        exact: is_whole,
        last: at,
        restarts,
        oom: own.iter().any(|own| own.oom) || last.is_some_and(|last| last.oom),
        state: does,
        ways: ways(&own),
    })
}

/// Equal endings counted, the latest first.
fn ways(own: &[OwnEnding]) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for ending in own.iter().rev() {
        match ways
            .iter_mut()
            .find(|way| way.code == ending.code && way.oom == ending.oom)
        {
            Some(way) => way.times += 1,
            None => ways.push(Way {
                code: ending.code,
                signal: messages::signal(ending.code),
                oom: ending.oom,
                times: 1,
            }),
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Ending;
    use crate::model::ServiceName;
    use crate::model::Slot;

    /// The second at which the Engine is asked; what is told begins an hour before.
    const NOW: i64 = 10_000;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn state(status: Status, created: i64, ended: (i64, i64), restarts: u64) -> InstanceState {
        let (at, code) = ended;
        InstanceState {
            status,
            health: None,
            ending: Some(Ending {
                at: second(at),
                code,
                oom: false,
                restarts,
            }),
            created: second(created),
        }
    }

    fn exited(code: i64) -> Status {
        let error = String::new();
        Status::Exited {
            code,
            oom: false,
            error,
        }
    }

    fn running() -> Status {
        Status::Running {
            since: second(NOW - 1),
        }
    }

    /// What is said, given the Engine's events of the container: seconds, what happened, exit codes.
    fn said(state: &InstanceState, events: &[(i64, &str, i64)]) -> String {
        let id = ContainerId::from("c".to_owned());
        let events = events.iter().map(|(at, action, code)| {
            let event = serde_json::json!({
                "Action": action, "timeNano": at * 1_000_000_000,
                "Actor": { "ID": "c", "Attributes": { "exitCode": code.to_string() } },
            });
            serde_json::from_value(event).unwrap()
        });
        let name = InstanceName {
            service: ServiceName::web(),
            index: 0,
        };
        let known = known(&name, &id, state, &Endings::of_events(events), second(NOW));
        known.map_or(String::new(), |known| {
            let said = messages::instance_ended(Slot::Green, &known, second(NOW));
            let said = said.strip_prefix("green: instance 0 ended ").unwrap();
            let hint = messages::ended_hint(&"shop".parse().unwrap(), Slot::Green, &known);
            format!("{said}: {hint}")
        })
    }

    #[test]
    fn a_crashing_app_is_told_with_how_often_and_how() {
        let events = [
            (9_880, "create", 0),
            (9_900, "die", 3),
            (9_950, "die", 139),
            (9_996, "die", 3),
        ];
        assert_eq!(
            said(&state(running(), 9_880, (9_996, 0), 3), &events),
            "3 times within the last hour, the last time 4 s ago, at 1970-01-01 02:46:36Z: 2 times exit code 3, \
             1 time exit code 139 (SIGSEGV); it runs again: `deployer logs shop/green` may show why"
        );
        let waits = state(Status::Restarting, 9_880, (9_996, 3), 3);
        assert!(said(&waits, &events).contains("; the Engine starts it again, 3 times so far: "));
    }

    #[test]
    fn a_number_that_is_not_known_is_a_lower_bound() {
        // The Engine remembers two of forty, and nothing from before.
        let events = [(9_990, "die", 3), (9_996, "die", 3)];
        let old = said(&state(running(), 100, (9_996, 0), 40), &events);
        assert!(
            old.starts_with("at least 2 times within the last hour, "),
            "{old}"
        );
        assert!(
            old.contains(" with exit code 3; it runs again, started by the Engine 40 times so far"),
            "{old}"
        );
        let young = said(&state(running(), 9_000, (9_996, 0), 40), &events);
        assert!(
            young.starts_with("at least 40 times within the last hour, "),
            "{young}"
        );
        assert!(
            young.contains(": 2 times exit code 3, 38 times one that the Engine has forgotten; "),
            "{young}"
        );
        let forgotten = said(&state(running(), 100, (9_996, 0), 40), &[]);
        assert!(forgotten.starts_with("at least 1 time within "), "{forgotten}");
        assert!(
            forgotten.contains(", with an exit code that the Engine has forgotten; "),
            "{forgotten}"
        );
    }

    #[test]
    fn what_a_command_did_and_what_is_long_over_is_not_told() {
        assert_eq!(
            said(&state(running(), 100, (9_996, 0), 0), &[]),
            "",
            "stopped and started by somebody"
        );
        let stopped = [(9_880, "create", 0), (9_996, "die", 143), (9_996, "stop", 0)];
        assert_eq!(said(&state(running(), 9_880, (9_996, 0), 0), &stopped), "");
        assert_eq!(
            said(&state(running(), 100, (6_000, 0), 5), &[]),
            "",
            "more than an hour ago"
        );
    }

    #[test]
    fn an_instance_that_stays_ended_is_told_however_long_ago() {
        let old = said(&state(exited(0), 100, (200, 0), 0), &[]);
        assert!(old.starts_with(
            "at 1970-01-01 00:03:20Z with exit code 0 (its command came to its end); it does not run"
        ));
        let new = said(
            &state(exited(137), 100, (9_990, 137), 0),
            &[(50, "start", 0), (9_990, "die", 137)],
        );
        assert!(new.starts_with("10 s ago, at "), "{new}");
        assert!(
            new.contains(" with exit code 137 (SIGKILL); it does not run"),
            "{new}"
        );
    }

    #[test]
    fn want_of_memory_names_the_limit() {
        let events = [(9_000, "create", 0), (9_995, "oom", 0), (9_996, "die", 137)];
        let said = said(&state(running(), 9_000, (9_996, 0), 1), &events);
        assert!(said.contains(
            " with exit code 137 (killed for want of memory); it runs again: `memory` in [app.shop]"
        ));
    }
}
