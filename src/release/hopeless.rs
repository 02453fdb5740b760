//! What can be seen to fail before it is tried: by the configuration and this host before a release begins, and by its
//! image before it is started. What is certain is refused; what is only likely is a note.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, bail};

use super::context::App;
use super::messages;
use super::work::Work;
use crate::engine::{self, ImageFacts};
use crate::ground::told::Told;
use crate::model::{AppName, Intent, ProbeKind, RunSettings, ServiceName, ServiceSettings, Settings};

/// The processors that are there, as the kernel lists them: `0-3,6`.
const PROCESSORS: &str = "/sys/devices/system/cpu/online";

/// What the configuration asks for and this host has not got: a sentence each, for `config check`.
pub fn in_configuration(settings: &Settings) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(file) = &settings.registry.password_file
        && let Err(error) = fs::metadata(file)
    {
        told.push(messages::unreadable_password_file(file, &error));
    }
    for (name, app) in &settings.apps {
        for service in app.services.values() {
            let missing = missing_here(name, &service.run);
            let of_app = |what: Told| what.behind(format_args!("[app.{name}]")).to_string();
            told.extend(missing.into_iter().map(of_app));
            let probe = &service.probe;
            for (key, time) in [("timeout", probe.timeout), ("interval", probe.interval)] {
                if time > probe.deadline {
                    told.push(messages::probe_outlasts_its_deadline(
                        name,
                        key,
                        time,
                        probe.deadline,
                    ));
                }
            }
        }
    }
    told
}

/// Refuses a release whose new instances could not be started on this host, whatever their image.
///
/// # Errors
/// With the first thing that is missing.
pub(super) fn refuse_what_this_host_has_not(app: &App, intent: &Intent) -> Result<()> {
    // What a promotion makes live runs already, or did.
    if intent.keeps_what_runs() {
        return Ok(());
    }
    let services = app.settings.services.values();
    let mut missing = services.flat_map(|service| missing_here(&app.name, &service.run));
    match missing.next() {
        Some(missing) => bail!(missing),
        None => Ok(()),
    }
}

/// What instances need of this host and do not find, a sentence each.
fn missing_here(app: &AppName, run: &RunSettings) -> Vec<Told> {
    let mut missing = Vec::new();
    if let Some(file) = &run.env_file
        && let Err(error) = engine::check_env_file(file)
    {
        missing.push(Told::of(&error));
    }
    for volume in run.volumes.iter().filter(|volume| volume.source.starts_with('/')) {
        // A path that this user may not look at is left to the Engine, which may.
        if let Err(error) = fs::metadata(Path::new(&volume.source))
            && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        {
            missing.push(messages::no_source_of_volume(app, &volume.source, &volume.target));
        }
    }
    let listed = fs::read_to_string(PROCESSORS).ok();
    if let (Some(cpus), Some(there)) = (run.cpus, listed.as_deref().and_then(processors))
        && cpus > f64::from(there)
    {
        missing.push(messages::too_many_cpus(app, cpus, there).into());
    }
    missing
}

/// How many processors the kernel's list names.
fn processors(listed: &str) -> Option<u32> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    };
    listed.trim().split(',').map(count).sum()
}

/// Refuses an image of a service that can never become ready, and puts notes into the log of what may surprise. `reference` names
/// it; one that is not on this host is left to whoever needs it.
///
/// # Errors
/// With what the image lacks and what to do, or the engine's.
pub(super) async fn look_at_image(work: &mut Work<'_>, service: &ServiceName, reference: &str) -> Result<()> {
    let engine = work.context.engine().await?;
    let app = &work.attempt.app;
    let Some(image) = engine.image(reference).await? else {
        return Ok(());
    };
    let settings = app.settings.service(service);
    refuse_image(&app.name, settings, &image, engine.has_start_interval())?;
    for note in notes(&app.name, settings, &image) {
        work.log.note(note);
    }
    Ok(())
}

/// Refuses an image that cannot be run, or cannot become ready, with these settings.
///
/// # Errors
/// With what the image lacks and what to do.
fn refuse_image(
    app: &AppName,
    settings: &ServiceSettings,
    image: &ImageFacts,
    has_start_interval: bool,
) -> Result<()> {
    if !image.has_command {
        bail!(messages::image_without_command());
    }
    port_of(app, settings, image)?;
    refuse_healthcheck(app, settings, image, has_start_interval)
}

/// Refuses an image whose HEALTHCHECK is to tell when it is ready, and cannot.
///
/// # Errors
/// With what is wrong with it and what to do.
fn refuse_healthcheck(
    app: &AppName,
    settings: &ServiceSettings,
    image: &ImageFacts,
    has_start_interval: bool,
) -> Result<()> {
    if settings.probe.kind != ProbeKind::Healthcheck {
        return Ok(());
    }
    let Some(check) = image.healthcheck else {
        bail!(messages::image_without_healthcheck(app));
    };
    let first = check.first_run(has_start_interval);
    if first >= settings.probe.deadline {
        bail!(messages::healthcheck_comes_too_late(
            app,
            first,
            settings.probe.deadline
        ));
    }
    Ok(())
}

/// The port that instances of the image listen on: the configuration's, or the image's single EXPOSE.
///
/// # Errors
/// When neither names one.
pub(super) fn port_of(app: &AppName, settings: &ServiceSettings, image: &ImageFacts) -> Result<u16> {
    match (settings.container_port, image.exposed.as_slice()) {
        (Some(port), _) => Ok(port),
        (None, [port]) => Ok(*port),
        (None, exposed) => bail!(messages::image_without_one_port(app, exposed)),
    }
}

/// What may surprise of an image that can be run.
fn notes(app: &AppName, settings: &ServiceSettings, image: &ImageFacts) -> Vec<Told> {
    let mut notes = Vec::new();
    let of_host = architecture(std::env::consts::ARCH);
    if !runs_on(&image.architecture, of_host) {
        notes.push(messages::image_of_another_architecture(
            &image.architecture,
            of_host,
        ));
    }
    if let Some(port) = settings.container_port
        && !image.exposed.is_empty()
        && !image.exposed.contains(&port)
    {
        notes.push(messages::port_is_not_exposed(port, &image.exposed).into());
    }
    let is_kept = |path: &str| {
        let mut targets = settings.run.volumes.iter().map(|volume| volume.target.as_str());
        targets.any(|target| Path::new(path).starts_with(target))
    };
    let lost: Vec<&str> = image.volumes.iter().map(String::as_str).collect();
    let lost: Vec<&str> = lost.into_iter().filter(|path| !is_kept(path)).collect();
    if !lost.is_empty() {
        notes.push(messages::volumes_of_image(app, &lost).into());
    }
    notes
}

/// Go's name of a processor, which images have, from Rust's.
fn architecture(rusts: &str) -> &str {
    match rusts {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether a processor runs what was made for another: the same one, or its elder with 32 bits.
fn runs_on(image: &str, host: &str) -> bool {
    image.is_empty() || image == host || matches!((image, host), ("386", "amd64") | ("arm", "arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Healthcheck, ImageId};
    use crate::model::Volume;
    use std::time::Duration;

    fn image() -> ImageFacts {
        ImageFacts {
            id: ImageId::from(String::new()),
            exposed: vec![8080],
            healthcheck: None,
            has_command: true,
            volumes: Vec::new(),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            size: 0,
            repo_digests: Vec::new(),
        }
    }

    fn app() -> AppName {
        "shop".parse().unwrap()
    }

    #[test]
    fn an_image_that_cannot_become_ready_is_refused_with_what_to_write() {
        let check = |interval: u64, start_period: u64| {
            Some(Healthcheck {
                interval: Duration::from_secs(interval),
                start_period: Duration::from_secs(start_period),
                start_interval: Duration::from_secs(5),
            })
        };
        let mut settings = ServiceSettings::default();
        assert!(refuse_image(&app(), &settings, &image(), false).is_ok());
        settings.probe.kind = ProbeKind::Healthcheck;
        let refused = |image: &ImageFacts, new: bool| {
            let refused = refuse_image(&app(), &settings, image, new);
            refused.err().map_or(String::new(), |error| error.to_string())
        };
        let none = refused(&image(), false);
        assert!(
            none.contains("the image has no HEALTHCHECK") && none.contains("[app.shop.probe]"),
            "{none}"
        );
        // The probe's deadline is 30 s.
        for (interval, start_period, new, is_refused) in [
            (2, 0, false, false),
            (30, 0, false, true),
            (30, 60, false, true),
            (30, 60, true, false),
            (30, 0, true, true),
        ] {
            let healthcheck = check(interval, start_period);
            let late = refused(
                &ImageFacts {
                    healthcheck,
                    ..image()
                },
                new,
            );
            assert_eq!(
                late.contains("30.0 s after the start"),
                is_refused,
                "{interval} {start_period} {new}: {late}"
            );
        }
        let nothing = ImageFacts {
            has_command: false,
            ..image()
        };
        assert!(refused(&nothing, false).contains("neither CMD nor ENTRYPOINT"));
    }

    fn texts(told: Vec<Told>) -> Vec<String> {
        told.iter().map(Told::to_string).collect()
    }

    #[test]
    fn what_may_surprise_of_an_image_is_a_note() {
        let mut settings = ServiceSettings::default();
        assert_eq!(notes(&app(), &settings, &image()), []);
        settings.container_port = Some(3000);
        settings.run.volumes = vec![Volume {
            source: "files".into(),
            target: "/srv".into(),
            read_only: false,
        }];
        let told = texts(notes(
            &app(),
            &settings,
            &ImageFacts {
                volumes: ["/data", "/srv", "/srv/x", "/srvx"].map(str::to_owned).to_vec(),
                architecture: "s390x".to_owned(),
                ..image()
            },
        ));
        let [architecture, port, volumes] = told.as_slice() else {
            panic!("{told:#?}");
        };
        assert!(architecture.contains("s390x"), "{architecture}");
        assert!(
            port.contains("container_port = 3000") && port.contains("8080"),
            "{port}"
        );
        assert!(
            volumes.contains("/data and /srvx ") && volumes.contains("\"shop-data:/data\""),
            "{volumes}"
        );
    }

    #[test]
    fn what_this_host_has_not_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_str().unwrap();
        let volume = |source: &str| Volume {
            source: source.to_owned(),
            target: "/x".to_owned(),
            read_only: false,
        };
        let mut run = ServiceSettings::default().run;
        run.volumes = vec![volume("named"), volume(there)];
        run.cpus = Some(0.5);
        assert_eq!(missing_here(&app(), &run), []);
        run.volumes.push(volume(&format!("{there}/none")));
        run.env_file = Some(folder.path().join("env"));
        run.cpus = Some(1_000.0);
        let missing = texts(missing_here(&app(), &run));
        assert_eq!(missing.len(), 3, "{missing:#?}");
        assert!(missing[0].contains("cannot read the env_file"), "{missing:#?}");
        assert!(
            missing[1].contains("/none") && missing[2].contains("cpus = 1000"),
            "{missing:#?}"
        );
    }

    #[test]
    fn processors_are_counted_by_ranges() {
        for (listed, there) in [("0\n", Some(1)), ("0-3,6\n", Some(5)), ("", None), ("3-1", None)] {
            assert_eq!(processors(listed), there, "{listed:?}");
        }
    }
}
