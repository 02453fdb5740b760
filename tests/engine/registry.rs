use std::path::Path;
use std::process::Command;

use deployer::engine::{BuildRequest, Engine, EngineError, Removed};
use deployer::model::{Builder, Credentials, Digest, EngineSettings, ImageRef};

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

/// What this host has of a registry's images, removed at the end.
struct Images(String);

impl Drop for Images {
    fn drop(&mut self) {
        let format = "{{.Repository}} {{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
        let all = docker(&["images", "--digests", "--format", format]);
        for line in all.lines().filter(|line| line.starts_with(&self.0)) {
            for name in line.split(' ').skip(1).filter(|name| !name.ends_with("<none>")) {
                docker(&["rmi", "-f", name]);
            }
        }
    }
}

/// Builds `FROM` this image by either builder, and gives what the label `version` of it says, or why it failed.
async fn built_on(
    engine: &Engine,
    base: &str,
    change: impl FnOnce(&mut BuildRequest),
) -> Result<String, EngineError> {
    let folder = tree(&[("Dockerfile", &format!("FROM {base}\nCMD true\n"))]);
    let tag = super::support::Tag::new();
    let mut request = request(folder.path(), &tag.0);
    change(&mut request);
    build(engine, &request).await.0?;
    let label = ["inspect", "-f", "{{index .Config.Labels \"version\"}}", &tag.0];
    Ok(docker(&label).trim().to_owned())
}

/// Makes a version of the image `name` on this host.
async fn make(engine: &Engine, name: &str, version: &str) {
    let dockerfile = format!("FROM {}\nLABEL version={version}\n", base());
    let folder = tree(&[("Dockerfile", &dockerfile)]);
    build(engine, &request(folder.path(), name)).await.0.unwrap();
}

/// Makes a version of the image `name`, pushes it and leaves none of it on this host.
async fn publish(engine: &Engine, name: &str, version: &str, login: &Credentials) {
    make(engine, name, version).await;
    engine.push(name, with(Some(login)), &mut quiet()).await.unwrap();
    let digests = engine.image(name).await.unwrap().unwrap().repo_digests;
    docker(&["rmi", "-f", name]);
    for digest in &digests {
        docker(&["rmi", "-f", digest]);
    }
}

#[tokio::test]
async fn base_images_are_pulled_with_their_registries_logins_and_anew_where_that_is_wanted() {
    let user = |password: &str| Credentials {
        username: "deploy".to_owned(),
        password: password.to_owned(),
    };
    // Its JSON has both characters in which the two base64 alphabets differ.
    let (other, good) = (user("other"), user("p>>>???~~~"));
    for builder in [Builder::Buildkit, Builder::Classic] {
        let settings = EngineSettings {
            builder,
            ..Place::new().settings.clone()
        };
        let engine = Engine::connect(&settings).await.unwrap();
        let mut registry = Registry::with_login(&good);
        let _images = Images(registry.address.clone());
        let base = format!("{}/base:1", registry.address);
        let logins = || {
            vec![
                ("registry.example:5000".to_owned(), other.clone()),
                (registry.address.clone(), good.clone()),
            ]
        };
        publish(&engine, &base, "one", &good).await;

        let none = built_on(&engine, &base, |_| {}).await.unwrap_err().to_string();
        let section = format!(
            "Hint: username and password_file in [registries.\"{}\"]",
            registry.address
        );
        assert!(none.contains(&section), "{builder:?}: {none}");
        assert!(!none.contains(&good.password), "{none}");
        let first = built_on(&engine, &base, |request| request.logins = logins()).await;
        assert_eq!(first.unwrap(), "one", "{builder:?}");

        // The tag has moved at its registry, and this host has the former image under it.
        publish(&engine, &base, "two", &good).await;
        make(&engine, &base, "one").await;
        let local = built_on(&engine, &base, |request| request.logins = logins()).await;
        assert_eq!(local.unwrap(), "one", "{builder:?}");
        let anew = |request: &mut BuildRequest| {
            request.logins = logins();
            request.pull = true;
        };
        assert_eq!(
            built_on(&engine, &base, anew).await.unwrap(),
            "two",
            "{builder:?}"
        );

        // This host has it now, as later builds without it show.
        assert_eq!(
            built_on(&engine, &base, |_| {}).await.unwrap(),
            "two",
            "{builder:?}"
        );

        registry.stop();
        let error = built_on(&engine, &base, |request| request.pull = true)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, EngineError::BaseImage { image, .. } if *image == base),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("connection refused"),
            "{builder:?}: {error}"
        );
        assert!(built_on(&engine, &base, |_| {}).await.is_ok(), "{builder:?}");
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
