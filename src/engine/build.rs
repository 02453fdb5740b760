//! Builds: the context is sent to the Engine, which answers with lines of output and an image.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::body_try_stream;
use bollard::errors::Error as Api;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures_util::{Stream, StreamExt, stream};

use tokio::time::timeout;

use super::arguments::declared_arguments;
use super::base_images::{base_image, logins, of_base_image};
use super::build_context::BuildContext;
use super::build_hint::{bridge_is_gone, hint};
use super::error_mapping::{registry_of, says_no_space, says_unauthorized};
use super::lines::one_line;
use super::progress::Progress;
use super::{BuilderKind, ContextError, Engine, EngineError, ImageId};
use crate::ground::failpoint;
use crate::model::{Builder, Credentials};

/// How long the Engine may take to begin its answer to a build: the classic builder reads the whole context
/// first. The caller's own deadline, which drops the build, comes before.
const CONTEXT_SENT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to wait for the Engine to close the connection of a failed build's context.
const HANG_UP: Duration = Duration::from_secs(2);

/// What to build, and under which name.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The context: an absolute path inside `root`.
    pub context: PathBuf,
    /// The tree that the context is of: nothing outside it is read.
    pub root: PathBuf,
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Further build arguments, each given only where the Dockerfile declares it and `args` does not name it.
    pub offered: BTreeMap<String, String>,
    /// The stage to build; absent: the last one.
    pub target: Option<String>,
    /// The image's name: `REPOSITORY:TAG`.
    pub tag: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Whether the registries are asked for the base images anew, also for those that this host has.
    pub pull: bool,
    /// Registries that base images may come from, as `HOST[:PORT]`, and how to log in at each.
    pub logins: Vec<(String, Credentials)>,
}

impl Engine {
    /// Builds an image. `output` gets the builder's lines as they come, printable and bounded in length.
    /// Dropping the future cancels the build at the Engine.
    ///
    /// # Errors
    /// [`EngineError::Context`] before the Engine is asked, or when the tree changes meanwhile;
    /// [`EngineError::Build`] with the step that failed; [`EngineError::BaseImage`]; [`EngineError::NoSpace`].
    pub async fn build(
        &self,
        request: &BuildRequest,
        output: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ImageId, EngineError> {
        let opened = request.clone();
        let context = tokio::task::spawn_blocking(move || {
            BuildContext::open(&opened.root, &opened.context, &opened.dockerfile)
        });
        let context = context
            .await
            .map_err(|panic| EngineError::other("read the build context", panic))??;
        let kind = self.builder_kind();
        let dockerfile = context.dockerfile_text();
        let options = options(request, context.dockerfile(), &dockerfile, kind);
        let (mut pieces, sending) = context.send();
        let body = body_try_stream(stream::poll_fn(move |task| pieces.poll_recv(task)));
        let logins = logins(&request.logins);
        let docker = self.patient(CONTEXT_SENT);
        failpoint::at("image.build");
        let events = docker.build_image(options, logins, Some(body));

        let mut progress = Progress::default();
        let followed = follow(events, &mut progress, output).await;
        failpoint::at("image.built");
        if request.pull && followed.is_ok() {
            self.renew(progress.base_images(), &request.logins, output).await;
        }
        match followed {
            Ok(Some(id)) => Ok(id),
            Ok(None) => self.built(&request.tag).await,
            Err(api) => {
                // A context that could not be read is the cause, and what the Engine says only its effect. The
                // thread ends when the Engine hangs up; one that has answered without reading may not do so soon.
                if let Ok(Ok(Err(cause))) = timeout(HANG_UP, sending).await
                    && !was_hung_up_on(&cause)
                {
                    return Err(cause.into());
                }
                let error = self.build_error(api, &progress, &dockerfile, kind);
                Err(if request.pull { of_base_image(error) } else { error })
            }
        }
    }

    /// The builder that builds use: the configuration's, else the newest that the Engine has.
    fn builder_kind(&self) -> BuilderKind {
        match self.settings.builder {
            Builder::Buildkit => BuilderKind::Buildkit,
            Builder::Classic => BuilderKind::Classic,
            Builder::Auto => self.builder,
        }
    }

    async fn built(&self, tag: &str) -> Result<ImageId, EngineError> {
        match self.image(tag).await? {
            Some(facts) => Ok(facts.id),
            None => Err(EngineError::other(
                "build the image",
                format!("the Engine ended without {tag}"),
            )),
        }
    }

    fn build_error(&self, api: Api, progress: &Progress, dockerfile: &str, kind: BuilderKind) -> EngineError {
        let text = match &api {
            Api::DockerStreamError { error } => error,
            Api::DockerResponseServerError { message, .. } => message,
            _ => return self.call("build the image").error(api),
        };
        let mut reason = one_line(without_wrapping(text), 600);
        if says_no_space(text) {
            let what = "build the image".to_owned();
            return EngineError::NoSpace { what, reason };
        }
        let code = exit_code(text);
        if let Some(code) = code {
            reason = format!("its command ended with exit code {code}");
        }
        let step = progress.failed_step();
        let told = format!("{} {text}", step.as_deref().unwrap_or_default());
        let helps = bridge_is_gone(text).or_else(|| hint(&told, dockerfile, kind));
        let mut hints: Vec<String> = helps.into_iter().collect();
        if let Some(image) = step.as_deref().and_then(base_image)
            && says_unauthorized(text)
        {
            hints.push(format!(
                "username and password_file in [registries.{:?}], or in [registry] where it is that one",
                registry_of(image)
            ));
        }
        EngineError::Build {
            step,
            code,
            reason,
            hints,
            last: progress.last_lines(),
        }
    }
}

async fn follow(
    mut events: impl Stream<Item = Result<BuildInfo, Api>> + Unpin,
    progress: &mut Progress,
    output: &mut (dyn FnMut(&str) + Send),
) -> Result<Option<ImageId>, Api> {
    while let Some(event) = events.next().await {
        progress.take(event?, output);
    }
    progress.finish(output);
    Ok(progress.image().map(ImageId))
}

fn options(request: &BuildRequest, dockerfile: String, text: &str, kind: BuilderKind) -> BuildImageOptions {
    BuildImageOptions {
        dockerfile,
        t: Some(request.tag.clone()),
        buildargs: Some(arguments(request, text)),
        pull: request.pull.then(|| "true".to_owned()),
        labels: Some(request.labels.clone().into_iter().collect()),
        target: request.target.clone().unwrap_or_default(),
        rm: true,
        forcerm: true,
        version: match kind {
            BuilderKind::Buildkit => BuilderVersion::BuilderBuildKit,
            BuilderKind::Classic => BuilderVersion::BuilderV1,
        },
        session: (kind == BuilderKind::Buildkit).then(session_id),
        ..BuildImageOptions::default()
    }
}

/// The build arguments for a Dockerfile: one that it does not declare would make the classic builder warn.
fn arguments(request: &BuildRequest, dockerfile: &str) -> HashMap<String, String> {
    let declared = declared_arguments(dockerfile);
    let offered = request
        .offered
        .iter()
        .filter(|(name, _)| declared.contains(*name));
    let all = offered.chain(&request.args);
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// An id that no other build's session has: the Engine pairs a build with its session by it.
fn session_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("deployer-{}-{}-{count}", std::process::id(), now.as_nanos())
}

/// Whether the context's own error is only that the Engine stopped reading.
fn was_hung_up_on(error: &ContextError) -> bool {
    matches!(error, ContextError::Unreadable { reason, .. } if reason.kind() == io::ErrorKind::BrokenPipe)
}

/// BuildKit's words without what they are wrapped in, which says nothing about the build.
fn without_wrapping(text: &str) -> &str {
    let wrappings = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to create LLB definition: ",
    ];
    wrappings
        .iter()
        .fold(text, |text, wrapping| text.strip_prefix(wrapping).unwrap_or(text))
}

/// The exit code that a failed command's message ends in.
fn exit_code(text: &str) -> Option<i64> {
    let line = text.lines().rev().find(|line| line.contains("code: "))?;
    let (_, code) = line.rsplit_once("code: ")?;
    code.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_read_whatever_the_builder() {
        for text in [
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
            "executor failed running [/bin/sh -c exit 3]: exit code: 3",
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
        ] {
            assert_eq!(exit_code(text), Some(3));
        }
        assert_eq!(exit_code("dockerfile parse error line 1"), None);
    }
}
