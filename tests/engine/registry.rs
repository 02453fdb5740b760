use std::path::Path;
use std::process::Command;

use deployer::engine::{Engine, EngineError, Removed};
use deployer::model::{Credentials, Digest, ImageRef};

use super::support::{Place, Registry, base, build, docker, request, tree, with};

/// A small image with a name in this registry, removed at the end.
struct Local(String);

impl Local {
    async fn new(engine: &Engine, registry: &str, megabytes: usize) -> Self {
        let name = format!("{registry}/shop:1");
        let fill = format!("RUN dd if=/dev/urandom of=/fill bs=1M count={megabytes}");
        let folder = tree(&[("Dockerfile", &format!("FROM {}\n{fill}\n", base()))]);
        build(engine, &request(folder.path(), &name)).await.0.unwrap();
        Self(name)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.0]);
    }
}

fn quiet() -> impl FnMut(&str) + Send {
    |_| {}
}

fn none_at(registry: &str) -> ImageRef {
    ImageRef {
        repository: format!("{registry}/shop"),
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_its_digest() {
    let engine = Place::new().engine().await;
    let registry = Registry::start();
    let local = Local::new(&engine, &registry.address, 1).await;
    let mut lines = Vec::new();
    let digest: Digest = engine
        .push(&local.0, with(None), &mut |line| lines.push(line.to_owned()))
        .await
        .unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        engine.push(&local.0, with(None), &mut quiet()).await.unwrap(),
        digest
    );

    let image = ImageRef {
        repository: format!("{}/shop", registry.address),
        digest,
    };
    let facts = engine.image(&local.0).await.unwrap().unwrap();
    assert!(facts.repo_digests.contains(&image.to_string()), "{facts:?}");
    engine.pull(&image, with(None), &mut quiet()).await.unwrap();
    assert_eq!(engine.remove_image(&local.0).await.unwrap(), Removed::Yes);
    // With its last tag went the digest's name as well.
    assert_eq!(
        engine.remove_image(&image.to_string()).await.unwrap(),
        Removed::Absent
    );
    assert_eq!(engine.image(&image.to_string()).await.unwrap(), None);
    engine.pull(&image, with(None), &mut quiet()).await.unwrap();
    assert_eq!(
        engine.image(&image.to_string()).await.unwrap().unwrap().id,
        facts.id
    );

    engine
        .tag(&image.to_string(), &image.repository, "other")
        .await
        .unwrap();
    assert!(
        engine
            .image(&format!("{}:other", image.repository))
            .await
            .unwrap()
            .is_some()
    );
    docker(&[
        "rmi",
        "-f",
        &format!("{}:other", image.repository),
        &image.to_string(),
    ]);
    let error = engine
        .tag("deployer-test:none", "deployer-test", "x")
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::Unknown { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_with_any_password_works_and_a_wrong_one_is_told() {
    let engine = Place::new().engine().await;
    // Their JSON has both characters in which the two base64 alphabets differ.
    for password in ["p>>>???~~~", "~?~?~?>>>>", "plain", "ü§ßÿ"] {
        let good = Credentials {
            username: "deploy".to_owned(),
            password: password.to_owned(),
        };
        let registry = Registry::with_login(&good);
        let local = Local::new(&engine, &registry.address, 1).await;
        let digest = engine.push(&local.0, with(Some(&good)), &mut quiet()).await;
        let digest = digest.unwrap_or_else(|error| panic!("{password}: {error}"));
        let image = ImageRef {
            repository: format!("{}/shop", registry.address),
            digest,
        };
        docker(&["rmi", "-f", &local.0, &image.to_string()]);
        engine
            .pull(&image, with(Some(&good)), &mut quiet())
            .await
            .unwrap();
        engine
            .tag(&image.to_string(), &image.repository, "1")
            .await
            .unwrap();
        docker(&["rmi", "-f", &image.to_string()]);

        let wrong = Credentials {
            password: "wrong".to_owned(),
            ..good.clone()
        };
        for credentials in [None, Some(&wrong)] {
            for error in [
                engine
                    .push(&local.0, with(credentials), &mut quiet())
                    .await
                    .unwrap_err(),
                engine
                    .pull(&none_at(&registry.address), with(credentials), &mut quiet())
                    .await
                    .unwrap_err(),
            ] {
                assert!(matches!(error, EngineError::Unauthorized { .. }), "{error:?}");
                assert!(!error.is_transient());
                assert!(!error.to_string().contains("wrong") && !format!("{error:?}").contains("wrong"));
            }
        }
    }
}

#[tokio::test]
async fn a_base_image_is_pulled_with_the_login_by_either_builder() {
    use deployer::model::{Builder, EngineSettings};
    let good = Credentials {
        username: "deploy".to_owned(),
        password: "p>>>???~~~".to_owned(),
    };
    let registry = Registry::with_login(&good);
    for builder in [Builder::Buildkit, Builder::Classic] {
        let settings = EngineSettings {
            builder,
            ..Place::new().settings.clone()
        };
        let engine = Engine::connect(&settings).await.unwrap();
        let local = Local::new(&engine, &registry.address, 1).await;
        engine
            .push(&local.0, with(Some(&good)), &mut quiet())
            .await
            .unwrap();
        let digests = engine.image(&local.0).await.unwrap().unwrap().repo_digests;
        docker(&["rmi", "-f", &local.0]);
        for digest in &digests {
            docker(&["rmi", "-f", digest]);
        }
        let folder = tree(&[("Dockerfile", &format!("FROM {}\nCMD true\n", local.0))]);
        let tag = super::support::Tag::new();
        let mut request = request(folder.path(), &tag.0);
        assert!(build(&engine, &request).await.0.is_err());
        request.credentials = Some((registry.address.clone(), good.clone()));
        let (built, lines) = build(&engine, &request).await;
        built.unwrap_or_else(|error| panic!("{builder:?}: {error}\n{}", lines.join("\n")));
    }
}

#[tokio::test]
async fn a_registry_that_is_down_is_told_and_worth_another_try() {
    let engine = Place::new().engine().await;
    let mut registry = Registry::start();
    let local = Local::new(&engine, &registry.address, 1).await;
    registry.stop();
    for error in [
        engine.push(&local.0, with(None), &mut quiet()).await.unwrap_err(),
        engine
            .pull(&none_at(&registry.address), with(None), &mut quiet())
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, EngineError::RegistryRefused { .. }), "{error:?}");
        assert!(
            error.is_transient() && error.to_string().contains(&registry.address),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_image_that_the_registry_has_not_is_told() {
    let engine = Place::new().engine().await;
    let registry = Registry::start();
    let error = engine
        .pull(&none_at(&registry.address), with(None), &mut quiet())
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::Unknown { .. }), "{error:?}");
    let gone = format!("{}/shop:gone", registry.address);
    let error = engine.push(&gone, with(None), &mut quiet()).await.unwrap_err();
    assert!(matches!(error, EngineError::Unknown { .. }), "{error:?}");
}

/// A file system of a few megabytes, unmounted at the end.
struct Small(tempfile::TempDir);

impl Small {
    fn new(megabytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m"),
                "tmpfs",
                folder.path().to_str().unwrap(),
            ])
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a tmpfs: run it as root"
        );
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount")
            .args(["-l", self.path().to_str().unwrap()])
            .status()
            .ok();
    }
}

#[tokio::test]
async fn a_registry_whose_disk_is_full_is_told() {
    let engine = Place::new().engine().await;
    let disk = Small::new(2);
    let registry = Registry::with_data(disk.path());
    let local = Local::new(&engine, &registry.address, 4).await;
    let error = engine.push(&local.0, with(None), &mut quiet()).await.unwrap_err();
    assert!(matches!(error, EngineError::RegistryFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("disk"), "{error}");
}
