//! The base images of builds: their registries, the logins there, and the error where one cannot be pulled.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;

use super::error_mapping::registry_of;
use super::images::{Transfer, login};
use super::progress::METADATA_OF;
use super::{Engine, EngineError};
use crate::model::{Credentials, is_docker_hub};

/// How long a registry may make no progress with a base image.
const PROGRESS: Duration = Duration::from_secs(60);

impl Engine {
    /// Pulls those of `images` that this host has: BuildKit keeps what it pulls anew to itself, so that the next build
    /// would take this host's former image again. One that cannot be pulled is told and stays as it was.
    pub(super) async fn renew(
        &self,
        images: &[String],
        logins: &[(String, Credentials)],
        output: &mut (dyn FnMut(&str) + Send),
    ) {
        for image in images.iter().filter(|image| !image.contains('@')) {
            if !matches!(self.image(image).await, Ok(Some(_))) {
                continue;
            }
            let of_registry = |(address, _): &&(String, Credentials)| is_same(address, registry_of(image));
            let transfer = Transfer {
                credentials: logins.iter().find(of_registry).map(|(_, login)| login),
                timeout: PROGRESS,
            };
            if let Err(error) = self.pull_tag(image, transfer, &mut |_| {}).await {
                output(&format!("note: this host keeps its former {image}: {error}"));
            }
        }
    }
}

fn is_same(registry: &str, other: &str) -> bool {
    registry == other || (is_docker_hub(registry) && is_docker_hub(other))
}

/// The same error, where it is that a base image could not be pulled.
pub(super) fn of_base_image(error: EngineError) -> EngineError {
    match error {
        EngineError::Build {
            step: Some(step),
            reason,
            hints,
            ..
        } if base_image(&step).is_some() => EngineError::BaseImage {
            image: base_image(&step).unwrap_or_default().to_owned(),
            reason,
            hints,
        },
        error => error,
    }
}

/// The image that a step is about, where all that the step does is to get one.
pub(super) fn base_image(step: &str) -> Option<&str> {
    if let Some(image) = step.strip_prefix(METADATA_OF) {
        return Some(image);
    }
    let (_, instruction) = match step.starts_with("Step ") {
        true => step.split_once(" : ")?,
        false => step.split_once("] ")?,
    };
    let mut words = instruction.split_whitespace();
    let is_from = words.next()?.eq_ignore_ascii_case("FROM");
    words.find(|word| !word.starts_with("--")).filter(|_| is_from)
}

/// The logins under the names that the builders look for; none where there are none.
pub(super) fn logins(logins: &[(String, Credentials)]) -> Option<HashMap<String, DockerCredentials>> {
    let named = logins.iter().flat_map(|(registry, user)| {
        let names = login_names(registry);
        names.into_iter().map(|name| (name, login(user)))
    });
    Some(named.collect()).filter(|logins: &HashMap<_, _>| !logins.is_empty())
}

/// What a registry's login is called: by its address, but for the Docker Hub, which the classic builder knows by the
/// address of its former index and BuildKit by that of its registry.
fn login_names(registry: &str) -> Vec<String> {
    let names: &[&str] = match is_docker_hub(registry) {
        true => &["https://index.docker.io/v1/", "registry-1.docker.io"],
        false => &[registry],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_image_is_read_from_the_step_that_gets_it() {
        for (step, image) in [
            (
                "[internal] load metadata for r.example:5000/a:1",
                Some("r.example:5000/a:1"),
            ),
            (
                "[first 1/2] FROM r.example/a@sha256:0",
                Some("r.example/a@sha256:0"),
            ),
            ("Step 1/2 : FROM --platform=linux/amd64 a:1 AS first", Some("a:1")),
            ("Step 2/2 : RUN echo : FROM a", None),
            ("[2/3] RUN echo [x] FROM a", None),
            ("", None),
        ] {
            assert_eq!(base_image(step), image, "{step}");
        }
    }

    #[test]
    fn the_docker_hubs_login_has_the_names_that_the_builders_look_for() {
        let user = Credentials {
            username: "u".to_owned(),
            password: "p".to_owned(),
        };
        let both = [
            ("docker.io".to_owned(), user.clone()),
            ("[::1]:5000".to_owned(), user),
        ];
        let mut names: Vec<String> = logins(&both).unwrap().into_keys().collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "[::1]:5000",
                "https://index.docker.io/v1/",
                "registry-1.docker.io"
            ]
        );
        assert!(logins(&[]).is_none());
    }
}
