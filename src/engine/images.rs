//! Images: pushed and pulled, looked at, tagged and removed.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as Api;
use bollard::models::HealthConfig;
use bollard::query_parameters::{CreateImageOptions, PushImageOptions, RemoveImageOptions, TagImageOptions};
use futures_util::{Stream, StreamExt};

use super::error_mapping::{Call, is_gone};
use super::lines::one_line;
use super::{Engine, EngineError, ImageId};
use crate::ground::failpoint;
use crate::model::{Credentials, Digest, ImageRef};

/// How much longer the Engine may take to begin its answer than a registry to make progress, so that it is the
/// registry that is told of.
const ENGINE_ANSWERS: Duration = Duration::from_secs(30);

/// How a push or pull speaks to the registry.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// Who we are to it.
    pub credentials: Option<&'a Credentials>,
    /// How long it may make no progress.
    pub timeout: Duration,
}

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its id at the Engine.
    pub id: ImageId,
    /// The TCP ports that it EXPOSEs, sorted.
    pub exposed: Vec<u16>,
    /// When its HEALTHCHECK runs; none where it has none, or `HEALTHCHECK NONE`.
    pub healthcheck: Option<Healthcheck>,
    /// Whether it says what to run: by CMD or ENTRYPOINT.
    pub has_command: bool,
    /// The paths that it declares as VOLUME, sorted.
    pub volumes: Vec<String>,
    /// The processor that it is made for, as Go names it: `amd64`. Empty where it does not say.
    pub architecture: String,
    /// Its size on this host in bytes.
    pub size: u64,
    /// Under which digests it is known: `REPOSITORY@sha256:…`.
    pub repo_digests: Vec<String>,
}

/// When an image's HEALTHCHECK runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthcheck {
    /// The pause before each run, the first one too.
    pub interval: Duration,
    /// For how long after the start a failure does not count.
    pub start_period: Duration,
    /// The pause before each run within the start period, by an Engine that knows it.
    pub start_interval: Duration,
}

impl Healthcheck {
    /// How long after the start it runs for the first time, by an Engine that knows of `--start-interval`, or by one
    /// that does not.
    pub fn first_run(&self, has_start_interval: bool) -> Duration {
        match has_start_interval && !self.start_period.is_zero() {
            true => self.start_interval.min(self.interval),
            false => self.interval,
        }
    }

    /// The HEALTHCHECK that an image's configuration has. Where it names no time, the Engine's defaults hold.
    fn of(config: HealthConfig) -> Option<Self> {
        let test = config.test.unwrap_or_default();
        if test.first().is_none_or(|kind| kind == "NONE") {
            return None;
        }
        let or = |time: Option<i64>, default: u64| match u64::try_from(time.unwrap_or_default()) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => Duration::from_secs(default),
        };
        Some(Self {
            interval: or(config.interval, 30),
            start_period: or(config.start_period, 0),
            start_interval: or(config.start_interval, 5),
        })
    }
}

/// What became of an image that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is removed, or this name of it.
    Yes,
    /// It was not there.
    Absent,
    /// A container uses it: it stays.
    InUse,
}

impl Engine {
    /// Pushes `tag` (`REPOSITORY:TAG`) to its registry. Gives the manifest's digest, by which it is pulled.
    /// `output` gets a few lines on the way.
    ///
    /// # Errors
    /// The registry's, told apart; see [`EngineError::is_transient`].
    pub async fn push(
        &self,
        tag: &str,
        transfer: Transfer<'_>,
        output: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Digest, EngineError> {
        let what = format!("push {tag}");
        let call = self.registry_call(&what, tag);
        let (repository, name) = split_tag(tag);
        let options = PushImageOptions {
            tag: Some(name.to_owned()),
            platform: None,
        };
        let docker = self.patient(transfer.timeout + ENGINE_ANSWERS);
        failpoint::at("image.push");
        let mut events = docker.push_image(repository, Some(options), transfer.credentials.map(login));
        let mut layers = Layers::default();
        let mut digest = None;
        while let Some(event) = next_event(&mut events, call, transfer.timeout).await? {
            let status = event.status.unwrap_or_default();
            digest = digest.or(pushed_digest(&status));
            layers.count(&status);
            layers.tell_retry(&status, output);
        }
        failpoint::at("image.pushed");
        output(&layers.told());
        match digest {
            Some(digest) => Ok(digest),
            None => self.known_digest(tag, repository).await,
        }
    }

    /// Pulls `image` by its digest.
    ///
    /// # Errors
    /// The registry's, told apart; see [`EngineError::is_transient`].
    pub async fn pull(
        &self,
        image: &ImageRef,
        transfer: Transfer<'_>,
        output: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), EngineError> {
        let name = (image.repository.as_str(), image.digest.as_str());
        self.pull_named(&image.to_string(), name, transfer, output).await
    }

    /// Pulls `tag` (`REPOSITORY:TAG`), whatever it is by now.
    ///
    /// # Errors
    /// As [`Self::pull`].
    pub(super) async fn pull_tag(
        &self,
        tag: &str,
        transfer: Transfer<'_>,
        output: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), EngineError> {
        self.pull_named(tag, split_tag(tag), transfer, output).await
    }

    async fn pull_named(
        &self,
        reference: &str,
        (repository, tag): (&str, &str),
        transfer: Transfer<'_>,
        output: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), EngineError> {
        let what = format!("pull {reference}");
        let call = self.registry_call(&what, reference);
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let docker = self.patient(transfer.timeout + ENGINE_ANSWERS);
        failpoint::at("image.pull");
        let mut events = docker.create_image(Some(options), None, transfer.credentials.map(login));
        let mut layers = Layers::default();
        while let Some(event) = next_event(&mut events, call, transfer.timeout).await? {
            let status = event.status.unwrap_or_default();
            layers.count(&status);
            layers.tell_retry(&status, output);
        }
        failpoint::at("image.pulled");
        output(&layers.told());
        Ok(())
    }

    /// What the image `reference` (a tag, a digest or an id) says about itself; none when it is not on this host.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
        let found = match self.docker.inspect_image(reference).await {
            Ok(found) => found,
            Err(api) if is_gone(&api) => return Ok(None),
            Err(api) => return Err(self.call(&format!("look at the image {reference}")).error(api)),
        };
        let config = found.config.unwrap_or_default();
        let ports = config.exposed_ports.unwrap_or_default();
        let mut exposed: Vec<u16> = ports.iter().filter_map(|port| tcp_port(port)).collect();
        exposed.sort_unstable();
        exposed.dedup();
        let mut volumes = config.volumes.unwrap_or_default();
        volumes.sort_unstable();
        let has_words = |words: Option<Vec<String>>| words.is_some_and(|words| !words.is_empty());
        Ok(Some(ImageFacts {
            id: ImageId(found.id.unwrap_or_default()),
            exposed,
            healthcheck: config.healthcheck.and_then(Healthcheck::of),
            has_command: has_words(config.cmd) || has_words(config.entrypoint),
            volumes,
            architecture: found.architecture.unwrap_or_default(),
            size: found
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            repo_digests: found.repo_digests.unwrap_or_default(),
        }))
    }

    /// Gives the image `image` (any name of it) the name `repository:tag`.
    ///
    /// # Errors
    /// The Engine's; [`EngineError::Unknown`] when it is not on this host.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let options = TagImageOptions {
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
        };
        let what = format!("tag {image} as {repository}:{tag}");
        let tagged = self.docker.tag_image(image, Some(options)).await;
        tagged.map_err(|api| self.registry_call(&what, image).error(api))
    }

    /// Removes the name `reference` of an image, and the image itself where that was its last name.
    ///
    /// # Errors
    /// The Engine's. That it is not there, or in use, is an answer.
    pub async fn remove_image(&self, reference: &str) -> Result<Removed, EngineError> {
        failpoint::at("image.remove");
        let removed = self
            .docker
            .remove_image(reference, None::<RemoveImageOptions>, None)
            .await;
        failpoint::at("image.removed");
        match removed {
            Ok(_) => Ok(Removed::Yes),
            Err(api) if is_gone(&api) => Ok(Removed::Absent),
            Err(Api::DockerResponseServerError { status_code: 409, .. }) => Ok(Removed::InUse),
            Err(api) => Err(self.call(&format!("remove the image {reference}")).error(api)),
        }
    }

    async fn known_digest(&self, tag: &str, repository: &str) -> Result<Digest, EngineError> {
        let known = self
            .image(tag)
            .await?
            .map(|facts| facts.repo_digests)
            .unwrap_or_default();
        let digest = known
            .iter()
            .filter_map(|name| name.rsplit_once('@'))
            .find(|(of, _)| *of == repository)
            .and_then(|(_, digest)| digest.parse().ok());
        digest.ok_or_else(|| EngineError::other(&format!("push {tag}"), "the Engine told no digest"))
    }
}

/// The next event of a push or pull; none at the end.
async fn next_event<T>(
    events: &mut (impl Stream<Item = Result<T, Api>> + Unpin),
    call: Call<'_>,
    timeout: Duration,
) -> Result<Option<T>, EngineError> {
    match tokio::time::timeout(timeout, events.next()).await {
        Ok(event) => event.transpose().map_err(|api| call.error(api)),
        Err(_) => Err(call.registry_silent(timeout)),
    }
}

/// `REPOSITORY:TAG` taken apart; a registry's port is no tag.
fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

fn tcp_port(port: &str) -> Option<u16> {
    match port.split_once('/') {
        Some((number, "tcp")) => number.parse().ok(),
        Some(_) => None,
        None => port.parse().ok(),
    }
}

/// The digest in the last status of a push: `TAG: digest: sha256:… size: N`.
fn pushed_digest(status: &str) -> Option<Digest> {
    let (_, after) = status.split_once("digest: ")?;
    after.split_whitespace().next()?.parse().ok()
}

pub(super) fn login(credentials: &Credentials) -> DockerCredentials {
    DockerCredentials {
        username: Some(credentials.username.clone()),
        password: Some(credentials.password.clone()),
        ..DockerCredentials::default()
    }
}

/// How many layers moved, and how many were there already.
#[derive(Debug, Default)]
struct Layers {
    moved: usize,
    present: usize,
    last: String,
    retried: bool,
}

impl Layers {
    fn count(&mut self, status: &str) {
        match status {
            "Pushed" | "Pull complete" => self.moved += 1,
            "Layer already exists" | "Already exists" => self.present += 1,
            mounted if mounted.starts_with("Mounted from ") => self.present += 1,
            status if status.starts_with("Status: ") => self.last = one_line(status, 200),
            _ => {}
        }
    }

    /// Says, once, that the Engine tries a layer again by itself, which takes it most of a minute.
    fn tell_retry(&mut self, status: &str, output: &mut (dyn FnMut(&str) + Send)) {
        if status.starts_with("Retrying in ") && !std::mem::replace(&mut self.retried, true) {
            output("a layer failed; the Engine tries it again, five times in all");
        }
    }

    fn told(&self) -> String {
        match (self.moved, self.present) {
            (0, 0) if self.last.starts_with("Status: Image is up to date") => "already here".to_owned(),
            (moved, 0) => format!("{moved} layers"),
            (moved, present) => format!("{moved} layers, {present} were there already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthcheck_runs_first_after_an_interval_unless_the_engine_knows_better() {
        let of = |text: &str| Healthcheck::of(serde_json::from_str(text).unwrap());
        for none in ["{}", r#"{"Test":[]}"#, r#"{"Test":["NONE"]}"#] {
            assert_eq!(of(none), None, "{none}");
        }
        for (text, old, new) in [
            (r#"{"Test":["CMD","/x"]}"#, 30, 30),
            (r#"{"Test":["CMD","/x"],"Interval":2000000000}"#, 2, 2),
            (r#"{"Test":["CMD","/x"],"StartPeriod":60000000000}"#, 30, 5),
            (
                r#"{"Test":["CMD","/x"],"StartPeriod":60000000000,"StartInterval":1000000000}"#,
                30,
                1,
            ),
        ] {
            let check = of(text).unwrap();
            let first = [false, true].map(|new| check.first_run(new).as_secs());
            assert_eq!(first, [old, new], "{text}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split_tag("127.0.0.1:5000/shop:a-1"),
            ("127.0.0.1:5000/shop", "a-1")
        );
        assert_eq!(
            split_tag("127.0.0.1:5000/shop"),
            ("127.0.0.1:5000/shop", "latest")
        );
        assert_eq!(split_tag("shop"), ("shop", "latest"));
    }

    #[test]
    fn the_digest_is_read_from_the_last_status() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let status = format!("a-1: digest: {digest} size: 527");
        assert_eq!(pushed_digest(&status).unwrap().as_str(), digest);
        assert_eq!(pushed_digest("Pushed"), None);
    }
}
