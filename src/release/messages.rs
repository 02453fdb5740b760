//! Every sentence that a pusher reads, together, so that they sound like one voice.

mod ahead;
mod differences;
mod instances;
mod log;
#[cfg(test)]
mod log_tests;
mod moves;
mod space;
mod visitors;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::journal_entry::Outcome;
use super::pause::Pause;
use crate::ground::told::Told;
use crate::model::{AppName, AppSettings, Commit, InstanceName, Lane, ReleaseId, Slot};
use crate::proxy::Place;
use crate::store::{Live, StoreError};

pub use ahead::{
    healthcheck_comes_too_late, image_is_lost, image_of_another_architecture, image_without_command,
    image_without_healthcheck, image_without_one_port, instead_of_a_lost_image, no_source_of_volume,
    not_pulled_from_a_former_registry, port_is_not_exposed, probe_outlasts_its_deadline, too_many_cpus,
    unreadable_password_file, volumes_of_image,
};
pub(super) use differences::difference;
pub use differences::{closed_port, not_mended};
pub(super) use instances::signal;
pub use instances::{ended_hint, ended_with, instance_ended, nothing_answers};
pub use log::{Shown, Tone, log_line, rest_of_output};
pub use moves::{
    another_cannot_move, blocks_a_release, branch_did_not_move, cannot_move, has_moved, is_in_the_way,
    is_locked, is_mistaken_for, not_taken, released_but_declined, shallow,
};
pub use space::{full_disk, is_being_prepared, left_behind, prune_waits, pruned, put_off};
pub use visitors::{VisitorsSee, visitors_see, visitors_wait};

/// A time as people read it: `4 ms`, `0.31 s`, `12.4 s`, `3 min 20 s`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 0.1 => format!("{} ms", time.as_millis()),
        s if s < 10.0 => format!("{seconds:.2} s"),
        s if s < 120.0 => format!("{seconds:.1} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// `1 file`, `3 files`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Instances that should be there and are not.
pub fn too_few_instances(there: usize, wanted: usize) -> String {
    format!("only {there} of {} are there", count(wanted as u64, "instance"))
}

/// What a drain has come to: requests that ended by themselves, those that were cut at its deadline, and how many
/// of those were streams that were closed in form.
pub fn drained(finished: u64, cut: u64, closed: u64, deadline: Duration) -> String {
    let mut what = format!("{} ended", count(finished, "request"));
    if cut > 0 {
        what += &format!(", {cut} cut after {}", time(deadline));
    }
    if closed > 0 {
        what += &format!(" ({} closed in form)", count(closed, "stream"));
    }
    what
}

/// The audit log cannot be told how a release has ended, which it has all the same.
pub fn not_audited(error: &StoreError) -> String {
    format!("the audit log does not tell how this release has ended: {error}")
}

/// What still serves.
pub fn still(live: Option<Live>) -> String {
    match live {
        Some(Live { slot, release }) => format!("Release {release} is still live, on {slot}."),
        None => "Nothing is live yet.".to_owned(),
    }
}

/// What a command that goes back was about has gone while it waited for its turn.
pub fn runs_another(slot: Slot, runs: ReleaseId, meant: ReleaseId) -> String {
    format!("{slot} runs release {runs} by now, and no longer release {meant}, as when this was asked for")
}

/// The flip that is to be undone is no longer the last one.
pub fn another_is_live(live: Live, meant: Live) -> String {
    format!(
        "release {} on {} is live by now, and no longer release {} on {}, whose flip was to be undone",
        live.release, live.slot, meant.release, meant.slot
    )
}

/// An instance that recovery has started again does not answer as it should.
pub fn not_ready_again(slot: Slot, name: &InstanceName, why: &anyhow::Error) -> String {
    format!("{slot}: instance {name} was started again and is not ready: {why:#}")
}

/// How to go on where a base image cannot be pulled anew: `is_here` where this host has it, `is_configured` where it is
/// the configuration that wants it pulled.
pub fn without_pull(app: &AppName, slot: Slot, is_here: bool, is_configured: bool) -> String {
    let again = format!("`deployer redeploy {app}/{slot}`");
    match (is_here, is_configured) {
        (true, true) => format!(
            "this host has it too: with build_pull = false in [app.{app}], {again} builds with that one"
        ),
        (true, false) => format!("this host has it too: {again} without --pull builds with that one"),
        (false, _) => "this host does not have it either: no build can do without its registry".to_owned(),
    }
}

/// The lane that a release would take is one that requests go to.
pub fn lane_is_routed(app: &AppName, lane: Lane, release: ReleaseId) -> String {
    format!(
        "state says that lane {lane} is free, but the proxy sends requests to release {release} on it: \
         `deployer recover {app}` makes them agree"
    )
}

/// A release's journal says that it has not ended, and state or a later release that it has.
pub fn lost_end(id: ReleaseId, slot: Slot, outcome: &Outcome) -> String {
    format!(
        "release {id} ({slot}) had lost the end of its journal; it stands there again: {}",
        outcome.as_str()
    )
}

/// State says that nothing was released, and a release knows better.
pub fn state_is_lost(release: ReleaseId) -> String {
    format!("state knows of no release, although release {release} was good")
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A push that names another branch.
pub fn other_branch(app: &AppName, slot: Slot, branch: &str, pushed: &str) -> String {
    format!("no release: {app}/{slot} releases the branch {branch}, and this push was of {pushed}")
}

/// A push whose branch was moved on by another one, which got its number first.
pub fn moved_on(app: &AppName, slot: Slot, branch: &str, to: &Commit, release: ReleaseId) -> String {
    format!(
        "no release: a newer push moved {branch} of {app}/{slot} to commit {}, which is release {release}",
        to.short()
    )
}

/// A push that passes no gate: nothing of it is released, and its branch stays where it was.
pub fn declined(app: &AppName, slot: Slot, why: Told, live: Option<Live>) -> Told {
    let message = format!(
        "declined: {app}/{slot}: {}. Nothing was released. {}",
        why.without_full_stop(),
        still(live)
    );
    Told { message, ..why }
}

/// The Dockerfile is not in the tree.
pub fn no_dockerfile(path: &str) -> Told {
    Told::new(format!("there is no {path} in the pushed tree"))
        .hint("add one, or set `dockerfile` or `context` for this app")
}

/// The Dockerfile has nothing in it.
pub fn empty_dockerfile(path: &str) -> String {
    format!("{path} is empty: it needs at least a FROM line")
}

/// The Dockerfile is, or stands behind, a link to somewhere on the host.
pub fn dockerfile_outside(path: &str) -> String {
    format!("{path} leads out of the pushed tree; only files inside it are read")
}

/// The pushed tree does not fit.
pub fn no_space_for_tree(needs: u64, free: u64, folder: &Path) -> Told {
    Told::new(format!(
        "the pushed files need {} more than the ones before, and {} are free in {}",
        bytes(needs),
        bytes(free),
        folder.display()
    ))
    .hint("df -h, deployer prune")
}

/// A branch that waits for releases is not deleted.
pub fn branch_stays(branch: &str) -> Told {
    Told::new(format!(
        "{branch} is not deleted, since with gate = \"release\" it tells what was released"
    ))
    .hint("any other branch can be deleted")
}

/// The branch of a push that waited was moved by another push.
pub fn branch_has_moved(reference: &str, to: Option<&Commit>) -> String {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    let now = match to {
        Some(to) => format!("was moved to commit {}", to.short()),
        None => "was deleted".to_owned(),
    };
    format!(
        "{branch} {now} by another push while this one waited, so that git would decline this one. Fetch, and push again"
    )
}

/// A repository was set up for other settings.
pub fn set_up_anew(settings: &AppSettings) -> String {
    format!(
        " note: this repository was set up for other settings; from the next push on it has gate = \"{}\" and max_push = {}",
        settings.gate.as_str(),
        bytes(settings.max_push)
    )
}

/// A repository was set up for other settings, and still is.
pub fn not_set_up_anew(app: &AppName, why: &anyhow::Error) -> Told {
    Told::of(why)
        .behind(" note: this repository was set up for other settings, and could not be set up anew")
        .hint(format!("`deployer app create {app}` does it"))
}

/// Bytes as people read them: `512 MiB`, `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    match amount.fract() == 0.0 {
        true => format!("{amount:.0} {unit}"),
        false => format!("{amount:.1} {unit}"),
    }
}

/// A push that deletes the branch.
pub fn deleted_branch(app: &AppName, slot: Slot, branch: &str, live: Option<Live>) -> String {
    format!(
        "no release: the branch {branch} was deleted from {app}/{slot}; what runs goes on. {}",
        still(live)
    )
}

/// A push of what the slot runs already.
pub fn runs_already(commit: &Commit, release: ReleaseId) -> String {
    format!(
        "the slot runs commit {} already, as release {release}; it is released again",
        commit.short()
    )
}

/// Both kinds of proxy listen at one address, and only one can at a time.
pub fn one_port(old: Place, new: Place) -> String {
    format!(
        "{} listens at {}, and {} is to listen at {}: only one of them can have the port. Either give the new one another \
         `listen` in deployer.toml, let clients come there (a load balancer, a firewall's rule), and switch: nothing is \
         lost. Or add --with-pause: everything is prepared and checked first, and nobody listens for a moment",
        old.kind, old.listen, new.kind, new.listen
    )
}

/// Traffic goes through another kind of proxy.
pub fn switched(old: Place, new: Place, apps: usize, took: Duration, pause: Option<&Pause>) -> String {
    let apps = count(apps as u64, "app");
    let pause = pause.map_or(String::new(), |pause| format!("; {}", paused(pause)));
    format!(
        "switched: {apps} from {} at {} to {} at {} in {}{pause}",
        old.kind,
        old.listen,
        new.kind,
        new.listen,
        time(took)
    )
}

/// What clients saw at a port that changed hands.
fn paused(pause: &Pause) -> String {
    let seen = [
        (pause.refused, "refused"),
        (pause.unavailable, "answered 503"),
        (pause.broken_off, "broken off"),
    ];
    let seen: Vec<String> = seen
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match seen.is_empty() {
        true => "a client that came every 2 ms was always answered".to_owned(),
        false => format!(
            "a client that came every 2 ms was not answered for {} ({})",
            time(pause.longest),
            seen.join(", ")
        ),
    }
}

/// Both sides of a switch serve for a while.
pub fn both_serve(old: Place, new: Place, overlap: Duration) -> String {
    format!(
        "both serve for {}: let clients come to {} now, before {} leaves {}",
        time(overlap),
        new.listen,
        old.kind,
        old.listen
    )
}

/// A switch failed, and the old side has everything again.
pub fn not_switched(old: Place) -> String {
    format!("traffic goes through {} at {}, as before", old.kind, old.listen)
}

/// A switch failed, and so did going back.
pub fn not_back(old: Place, error: &anyhow::Error) -> String {
    format!(
        "the switch failed, and {} could not be made whole again ({error:#}): `deployer recover` tries again",
        old.kind
    )
}

/// A switch is done, but for the old side, which still has something.
pub fn not_left(new: Place, old: Place) -> String {
    format!(
        "traffic goes through {} at {}; {} has not left yet: `deployer recover` has it leave",
        new.kind, new.listen, old.kind
    )
}

/// A switch that was broken off has ended.
pub fn switch_settled(serves: Place, other: Place) -> String {
    format!(
        "a switch was broken off: traffic goes through {} at {}, and {} has left",
        serves.kind, serves.listen, other.kind
    )
}

/// A push that must not be promoted, to the slot that is live.
pub fn live_without_promotion(app: &AppName, slot: Slot) -> String {
    format!(
        "{app}/{slot} is live, so that a release on it cannot wait for promotion: push to {} instead",
        slot.other()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_keep_what_matters() {
        let shown: Vec<String> = [4, 310, 12_400, 200_000]
            .map(Duration::from_millis)
            .map(time)
            .to_vec();
        assert_eq!(shown, ["4 ms", "0.31 s", "12.4 s", "3 min 20 s"]);
    }

    #[test]
    fn sizes_are_short() {
        let shown = [10, 2 << 30, 3 << 19, 1_000_000].map(bytes);
        assert_eq!(shown, ["10 bytes", "2 GiB", "1.5 MiB", "976.6 KiB"]);
    }
}
