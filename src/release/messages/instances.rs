//! What is said of an instance that ended, or does not run.

use std::net::{SocketAddr, SocketAddrV4};

use jiff::Timestamp;

use super::{count, moment};
use crate::model::{AppName, Slot};
use crate::release::endings::{InstanceEndings, Now, Way};

/// How a process ended, from its exit code: `exit code 3`, `exit code 139 (SIGSEGV)`.
pub fn ended_with(code: i64, oom: bool) -> String {
    let meaning = match code {
        137 if oom => "killed for want of memory",
        _ if oom => "after a process in it was killed for want of memory",
        0 => "its command came to its end",
        126 => "its command could not be run: not executable, or made for another processor",
        127 => "its command was not found",
        _ => {
            return match signal(code) {
                Some(signal) => format!("exit code {code} ({signal})"),
                None => format!("exit code {code}"),
            };
        }
    };
    format!("exit code {code} ({meaning})")
}

/// The signal that an exit code stands for, as shells and the Engine's init count: 128 and the signal's number.
pub(in crate::release) fn signal(code: i64) -> Option<&'static str> {
    Some(match code - 128 {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// An instance that ended by itself: how often within the last hour, how, and what it does now.
pub fn instance_ended(slot: Slot, endings: &InstanceEndings, now: Timestamp) -> String {
    let (name, last) = (&endings.name, endings.last);
    let at = moment(last);
    let mut said = match (endings.times, endings.exact) {
        (0, _) => format!("{slot}: instance {name} ended at {at}"),
        (1, true) => format!("{slot}: instance {name} ended {} ago, at {at}", ago(last, now)),
        (times, exact) => format!(
            "{slot}: instance {name} ended {}{} within the last hour, the last time {} ago, at {at}",
            if exact { "" } else { "at least " },
            count(times, "time"),
            ago(last, now)
        ),
    };
    said += &ways(endings);
    let restarts = count(endings.restarts, "time");
    said += &match endings.state {
        Now::Running if endings.restarts > endings.times => {
            format!("; it runs again, started by the Engine {restarts} so far")
        }
        Now::Running => "; it runs again".to_owned(),
        Now::Restarting => format!("; the Engine starts it again, {restarts} so far"),
        Now::Ended => "; it does not run".to_owned(),
    };
    said
}

/// What may help an instance that ended by itself.
pub fn ended_hint(app: &AppName, slot: Slot, endings: &InstanceEndings) -> String {
    match endings.oom {
        true => format!("`memory` in [app.{app}] is its limit"),
        false => format!("`deployer logs {app}/{slot}` may show why"),
    }
}

/// ` with exit code 3`, or `: exit code 3 (2 times), exit code 139 (SIGSEGV) (1 time)`.
fn ways(endings: &InstanceEndings) -> String {
    let told: u64 = endings.ways.iter().map(|way| way.times).sum();
    let forgotten = endings.times.saturating_sub(told);
    match endings.ways.as_slice() {
        [] => ", with an exit code that the Engine has forgotten".to_owned(),
        [way] if forgotten == 0 => format!(" with {}", ended_with(way.code, way.oom)),
        several => {
            let told = |way: &Way| format!("{} {}", count(way.times, "time"), ended_with(way.code, way.oom));
            let mut told: Vec<String> = several.iter().map(told).collect();
            if forgotten > 0 {
                told.push(format!(
                    "{} one that the Engine has forgotten",
                    count(forgotten, "time")
                ));
            }
            format!(": {}", told.join(", "))
        }
    }
}

fn ago(last: Timestamp, now: Timestamp) -> String {
    match now.as_second().saturating_sub(last.as_second()).max(1) {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

/// Why nothing answered at `asked`, by what the container's processes listen at.
pub fn nothing_answers(app: &AppName, asked: SocketAddrV4, listens: &[SocketAddr]) -> String {
    let port = asked.port();
    let (here, elsewhere): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        listens.iter().partition(|listens| listens.port() == port);
    let reachable = |listens: &&&SocketAddr| !listens.ip().is_loopback();
    let everywhere = format!("have it listen on 0.0.0.0:{port}");
    if let Some(here) = here.iter().find(reachable) {
        return match here {
            SocketAddr::V6(_) => format!(
                "the app listens on {here}, for IPv6 alone or only since a moment ago: {everywhere}, or give it a longer \
                 deadline in [app.{app}.probe]"
            ),
            SocketAddr::V4(_) => {
                format!("the app listens on {here} by now: give it a longer deadline in [app.{app}.probe]")
            }
        };
    }
    if let [here, ..] = here.as_slice() {
        return format!("the app listens on {here}, where only its own container reaches it: {everywhere}");
    }
    let (open, hidden): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        elsewhere.into_iter().partition(|listens| reachable(&listens));
    match (open.as_slice(), hidden.as_slice()) {
        ([], []) => "nothing in the container listens yet: what it printed may tell why; one that starts slowly needs a \
                     longer deadline for its probe"
            .to_owned(),
        ([], hidden) => format!(
            "nothing in the container listens on port {port}; the app listens on {}, where only its own container reaches \
             it: {everywhere}",
            list(hidden)
        ),
        (open @ [first, ..], _) => format!(
            "nothing in the container listens on port {port}; the app listens on {}: set container_port = {} in [app.{app}], \
             or EXPOSE that port alone",
            list(open),
            first.port()
        ),
    }
}

fn list(sockets: &[&SocketAddr]) -> String {
    let sockets: Vec<String> = sockets.iter().map(ToString::to_string).collect();
    sockets.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nothing_answers_is_told_by_what_listens() {
        for (listens, wanted) in [
            (&[][..], "nothing in the container listens yet"),
            (
                &["127.0.0.1:8080"],
                "listens on 127.0.0.1:8080, where only its own container",
            ),
            (
                &["[::1]:8080", "0.0.0.0:9000"],
                "listens on [::1]:8080, where only its own",
            ),
            (
                &["127.0.0.1:8080", "0.0.0.0:8080"],
                "listens on 0.0.0.0:8080 by now",
            ),
            (
                &["[::]:8080"],
                "listens on [::]:8080, for IPv6 alone or only since",
            ),
            (
                &["0.0.0.0:3000"],
                "listens on 0.0.0.0:3000: set container_port = 3000 in [app.shop]",
            ),
            (
                &["127.0.0.1:3000", "0.0.0.0:3001", "[::]:3002"],
                "listens on 0.0.0.0:3001 and [::]:3002: set container_port = 3001",
            ),
            (
                &["127.0.0.1:3000"],
                "listens on 127.0.0.1:3000, where only its own container reaches it: have it listen on 0.0.0.0:8080",
            ),
        ] {
            let listens: Vec<SocketAddr> = listens.iter().map(|at| at.parse().unwrap()).collect();
            let told = nothing_answers(
                &"shop".parse().unwrap(),
                "10.0.0.9:8080".parse().unwrap(),
                &listens,
            );
            assert!(told.contains(wanted), "{listens:?}: {told}");
        }
    }

    #[test]
    fn an_exit_code_is_told_with_what_it_means() {
        for (code, oom, told) in [
            (3, false, "exit code 3"),
            (0, false, "exit code 0 (its command came to its end)"),
            (127, false, "exit code 127 (its command was not found)"),
            (137, false, "exit code 137 (SIGKILL)"),
            (137, true, "exit code 137 (killed for want of memory)"),
            (139, false, "exit code 139 (SIGSEGV)"),
            (255, false, "exit code 255"),
        ] {
            assert_eq!(ended_with(code, oom), told);
        }
    }
}
