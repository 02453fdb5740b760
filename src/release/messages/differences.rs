//! What is said of something that is not as it should be, and what helps.

use jiff::Timestamp;

use crate::engine::ContainerId;
use crate::ground::told::Told;
use crate::model::{AppName, PortSet, ReleaseId, Slot};
use crate::proxy::{ClosedPort, Mismatch, OutInstance, local_ports};
use crate::release::differences::{
    Difference, FileFault, InstanceOf, MendedBy, NetworkFault, Problem, StateFault,
};
use crate::release::endings::{InstanceEndings, Now};

use super::{branch_did_not_move, count, ended_hint, full_disk, instance_ended, moment, state_is_lost};

/// A difference of `app`: what is so, and what to do.
pub(in crate::release) fn difference(app: &AppName, difference: &Difference) -> Told {
    let recover = |does: &str| format!("`deployer recover {app}` {does}");
    match difference {
        Difference::Settings(differ) => differ.told.clone(),
        Difference::AppFile(fault) => file(fault, recover("writes it anew")),
        Difference::State(fault) => state(fault, recover("writes it anew")),
        Difference::Damaged(file) => hinted(&file.told, recover("puts it aside")),
        Difference::Unfinished { release, .. } => unfinished(*release, recover("brings it to its end")),
        Difference::Leftover { path } => hinted(
            format!("a git that was killed left {}", path.display()),
            recover("removes it"),
        ),
        Difference::Newer { told, .. } | Difference::Engine { told } | Difference::Proxy { told } => {
            told.clone()
        }
        Difference::Network(fault) => network(fault, recover("makes it")),
        Difference::Missing { slot, up, wanted, .. } => missing(app, *slot, *up, *wanted),
        Difference::Paused { of, container } => paused(of, container, &recover("lets it go on")),
        Difference::Unstarted(InstanceOf { slot, name, .. }) => hinted(
            format!("{slot}: instance {name} was made and never started"),
            recover("starts it"),
        ),
        Difference::Ended { of, endings, seen } => ended(app, of.slot, endings, *seen),
        Difference::Strays {
            slot,
            release,
            containers,
        } => strays(*slot, *release, containers.len(), recover("removes them")),
        Difference::Route => hinted("the proxy's route is not what state says", recover("mends it")),
        Difference::Probes => hinted(
            "the proxy probes instances by other settings than the configuration's",
            recover("gives it these"),
        ),
        Difference::Configuration(mismatch) => configuration(mismatch),
        Difference::ProxyKind(differs) => hinted(differs.message(), differs.hint()),
        Difference::Out(out) => out_of_service(app, out),
        Difference::Closed { closed, tries_again } => closed_port_told(app, closed, *tries_again),
        Difference::Unreserved(ports) => unreserved(ports),
        Difference::Visitors(told) => told.clone(),
        Difference::Branch {
            slot,
            release,
            branch,
        } => branch_did_not_move(*slot, *release, branch),
        Difference::Disk(disk) => full_disk(disk),
    }
}

/// A difference that `recover` has left.
pub fn not_mended(problem: &Problem) -> String {
    match problem.mended_by {
        MendedBy::Itself => format!("passes by itself: {problem}"),
        MendedBy::Recover | MendedBy::Person => format!("not mended: {problem}"),
    }
}

/// A message with one hint.
fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Told {
    Told::new(message).hint(hint)
}

fn file(fault: &FileFault, recover: String) -> Told {
    match fault {
        FileFault::Damaged(told) => told.clone().hint(recover),
        FileFault::Newer(told) | FileFault::Unread(told) => told.clone(),
    }
}

fn state(fault: &StateFault, recover: String) -> Told {
    match fault {
        StateFault::File(fault) => file(fault, recover),
        StateFault::Lost(release) => hinted(state_is_lost(*release), recover),
        StateFault::Doubtful { damage } => hinted(
            format!(
                "the proxy serves something else than state says, and what could tell why is lost: {damage}"
            ),
            recover,
        ),
    }
}

fn unfinished(release: ReleaseId, recover: String) -> Told {
    let message = format!("release {release} is unfinished, and nobody works on it");
    hinted(message, recover)
}

fn network(fault: &NetworkFault, recover: String) -> Told {
    match fault {
        NetworkFault::Missing(name) => hinted(
            format!("there is no network {name}, which containers are started on"),
            recover,
        ),
        NetworkFault::Wrong(told) => told.clone(),
    }
}

fn missing(app: &AppName, slot: Slot, up: usize, wanted: usize) -> Told {
    let wanted = count(wanted as u64, "instance");
    Told::new(format!("{slot}: only {up} of {wanted} run"))
        .hint(format!("`deployer logs {app}/{slot}` may show why"))
        .hint(format!("`deployer recover {app}` starts them again"))
}

fn paused(of: &InstanceOf, container: &ContainerId, recover: &str) -> Told {
    let id: String = container.as_str().chars().take(12).collect();
    let message = format!("{}: instance {} is paused and answers nothing", of.slot, of.name);
    Told::new(message)
        .hint(recover)
        .hint(format!("so does `docker unpause {id}`"))
}

fn ended(app: &AppName, slot: Slot, endings: &InstanceEndings, seen: Timestamp) -> Told {
    let told = hinted(
        instance_ended(slot, endings, seen),
        ended_hint(app, slot, endings),
    );
    match endings.state {
        Now::Ended => told.hint(format!("`deployer recover {app}` starts it again")),
        Now::Running | Now::Restarting => told,
    }
}

fn strays(slot: Slot, release: ReleaseId, containers: usize, recover: String) -> Told {
    let containers = count(containers as u64, "container");
    let message = format!("{slot}: {containers} of release {release}, which no slot runs");
    hinted(message, recover)
}

/// An instance that the proxy could not reach.
fn out_of_service(app: &AppName, out: &OutInstance) -> Told {
    let (slot, index, address) = (out.slot, out.index, out.address);
    hinted(
        format!(
            "{slot}: instance {index} ({address}) gets no request since {}: {}. The proxy probes it until it is ready",
            moment(out.since),
            out.why
        ),
        format!("`deployer logs {app}/{slot}` may show why"),
    )
}

/// A slot port that somebody else has, and how it is opened once it is free: the embedded proxy `tries_again` by itself.
pub fn closed_port(app: &AppName, closed: &ClosedPort, tries_again: bool) -> String {
    let told = closed_port_told(app, closed, tries_again);
    format!("{}; {}", told.message, told.hints.join("; "))
}

fn closed_port_told(app: &AppName, closed: &ClosedPort, tries_again: bool) -> Told {
    let hint = match tries_again {
        true => "the proxy opens it once it is free".to_owned(),
        false => format!("once it is free, `deployer recover {app}` opens it"),
    };
    hinted(
        format!("{}: the slot is served without its own port", closed.reason),
        hint,
    )
}

fn configuration(mismatch: &Mismatch) -> Told {
    match mismatch {
        Mismatch::File { program, file } => hinted(
            format!(
                "deployer's part of the configuration of {}, {}, is not what it should be",
                program.name(),
                file.display()
            ),
            "`deployer recover` writes it anew",
        ),
        Mismatch::Version { program, listen } => hinted(
            format!(
                "{} serves {listen} by another configuration than deployer's",
                program.name()
            ),
            "`deployer recover` has it read its configuration again",
        ),
        Mismatch::Silent { reason } => reason.clone(),
    }
}

fn unreserved(ports: &PortSet) -> Told {
    hinted(local_ports::may_be_given_away(ports), local_ports::RESERVES_THEM)
}
