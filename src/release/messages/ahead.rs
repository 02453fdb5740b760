//! What is said of a release that can be seen to fail before it is tried, or that may surprise.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::time;
use crate::engine::EngineError;
use crate::ground::told::Told;
use crate::model::{AppName, Commit, ImageRef, ReleaseId, Slot};
use crate::release::lost::Whereabouts;

/// The registry's password is in a file that cannot be read.
pub fn unreadable_password_file(file: &Path, error: &io::Error) -> String {
    format!(
        "[registry]: the password_file {} cannot be read: {error}",
        file.display()
    )
}

/// A time of the probe that is longer than all of it.
pub fn probe_outlasts_its_deadline(
    app: &AppName,
    key: &str,
    time_of_key: Duration,
    deadline: Duration,
) -> String {
    format!(
        "[app.{app}.probe]: {key} = {} is longer than deadline = {}: a container that does not answer at once fails then",
        time(time_of_key),
        time(deadline)
    )
}

/// A path on the host that is to be mounted, and is not there.
pub fn no_source_of_volume(app: &AppName, source: &str, target: &str) -> Told {
    let told =
        format!("there is no {source} on this host, which `volumes` of [app.{app}] mounts at {target}");
    Told::new(told).hint(format!(
        "make that folder, for the user that the app runs as, or name a volume in its place: {:?}",
        format!("{}:{target}", volume_name(app, target))
    ))
}

/// More CPUs than there are.
pub fn too_many_cpus(app: &AppName, cpus: f64, there: u32) -> String {
    format!("cpus = {cpus} of [app.{app}] is more than the {there} of this host, and the Engine refuses that")
}

/// An image that says nothing of what to run.
pub fn image_without_command() -> String {
    "the image has neither CMD nor ENTRYPOINT, so that there is nothing to run: add one to its Dockerfile"
        .to_owned()
}

/// A probe of a HEALTHCHECK that is not there.
pub fn image_without_healthcheck(app: &AppName) -> Told {
    let told = format!("the image has no HEALTHCHECK, and the probe of {app} is of that kind");
    Told::new(told).hint(format!(
        "add `HEALTHCHECK --interval=2s CMD …` to its Dockerfile, or set kind = \"http\" or \"tcp\" in [app.{app}.probe]"
    ))
}

/// A HEALTHCHECK that runs for the first time when the probe is over.
pub fn healthcheck_comes_too_late(app: &AppName, first: Duration, deadline: Duration) -> Told {
    Told::new(format!(
        "the image's HEALTHCHECK runs for the first time {} after the start, and the probe gives up after {}",
        time(first),
        time(deadline)
    ))
    .hint(format!(
        "a shorter one, as `HEALTHCHECK --interval=2s`, or a longer deadline in [app.{app}.probe]"
    ))
}

/// An image that does not name the one port that requests go to.
pub fn image_without_one_port(app: &AppName, exposed: &[u16]) -> String {
    let hint = format!("set container_port in [app.{app}] of the configuration");
    match exposed {
        [] => format!("the image names no port: add `EXPOSE PORT` to its Dockerfile, or {hint}"),
        several => format!("the image names several ports ({}): {hint}", ports(several)),
    }
}

/// An image that may not run here.
pub fn image_of_another_architecture(image: &str, host: &str) -> Told {
    Told::new(format!(
        "the image is made for {image}, and this host is {host}: it runs only where an emulator is registered"
    ))
    .hint(format!("without one, build from a base image for {host}"))
}

/// A port that the image does not EXPOSE.
pub fn port_is_not_exposed(port: u16, exposed: &[u16]) -> String {
    format!(
        "requests go to container_port = {port}, which the image does not EXPOSE; it names {}",
        ports(exposed)
    )
}

/// Paths that the image declares as VOLUME, and that no configured volume keeps.
pub fn volumes_of_image(app: &AppName, paths: &[&str]) -> String {
    let written: Vec<String> = paths
        .iter()
        .map(|path| format!("{:?}", format!("{}:{path}", volume_name(app, path))))
        .collect();
    format!(
        "the image declares {} as VOLUME: what is written there begins anew with every release, and goes with its \
         containers. To keep it: volumes = [{}] in [app.{app}]",
        paths.join(" and "),
        written.join(", ")
    )
}

/// A volume's name for a path in the app's containers: `shop-data` for `/var/data`.
fn volume_name(app: &AppName, path: &str) -> String {
    let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("data");
    let is_good = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
    let last: String = last.chars().filter(is_good).collect();
    format!("{app}-{last}")
}

fn ports(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

/// An image that is gone.
pub fn image_is_lost(image: &ImageRef) -> String {
    format!(
        "the image {image} is neither on this host any more nor in the registry {}",
        image.registry()
    )
}

/// Why an image could not be pulled that went through another `registry` than the one that is `configured` now.
pub fn not_pulled_from_a_former_registry(error: &EngineError, registry: &str, configured: &str) -> Told {
    let told = match error {
        EngineError::RegistryRefused { reason, .. } => {
            Told::new(format!("the registry {registry} does not answer: {reason}"))
        }
        EngineError::Unauthorized { reason, .. } => {
            Told::new(format!("the registry {registry} refused the login: {reason}"))
                .hint(format!("username and password_file in [registries.{registry:?}]"))
        }
        other => Told::of(other),
    };
    let message = format!(
        "{}. The image is in {registry} and not on this host any more; `registry.address` is {configured} by now",
        told.message
    );
    Told { message, ..told }
}

/// What helps where an image is gone.
pub fn instead_of_a_lost_image(
    app: &AppName,
    slot: Slot,
    branch: &str,
    commit: Option<&Commit>,
    is_last: bool,
    others: &[(ReleaseId, Whereabouts)],
) -> String {
    let mut ways = Vec::new();
    if let Some(commit) = commit {
        let commit = commit.short();
        ways.push(match is_last {
            true => format!("`deployer redeploy {app}/{slot}` builds its commit {commit} anew"),
            false => format!("`git push --force {slot} {commit}:{branch}` builds its commit anew"),
        });
    }
    if let [(first, _), ..] = others {
        let told = others.iter().map(|(release, at)| match at {
            Whereabouts::Host => format!("{release} (on this host)"),
            Whereabouts::Registry => format!("{release} (in the registry)"),
        });
        let told: Vec<String> = told.collect();
        ways.push(format!(
            "images are still there of release {}: `deployer rollback {app}/{slot} --to {first}` takes one of them",
            told.join(", ")
        ));
    }
    match ways.is_empty() {
        true => "trying again cannot help; push the commit again".to_owned(),
        false => format!("trying again cannot help; {}", ways.join("; ")),
    }
}
