//! A Docker Engine with a network of the test's own, a base image made here, a registry on a free port.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deployer::engine::{BuildRequest, Engine, EngineError, ImageId, InstanceSpec, Transfer};
use deployer::model::{
    AddressPlan, Builder, Credentials, Digest, EngineSettings, ImageRef, InstanceName, Lane, ReleaseId,
    ServiceName, ServiceSettings, Slot,
};

use crate::lease::Lease;

/// The Engine that tests talk to.
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// A number that no other test of this run has.
pub(crate) fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Settings of an engine whose network has this name and subnet.
pub(crate) fn settings(network: &str, subnet: &str) -> EngineSettings {
    EngineSettings {
        host: host(),
        network: network.to_owned(),
        subnet: subnet.parse().unwrap(),
        builder: Builder::Auto,
    }
}

/// Engine settings with a name and a subnet of their own. What was made under the name is removed at the end, and what
/// a killed test left under it at the beginning.
pub(crate) struct Place {
    pub(crate) settings: EngineSettings,
    _lease: Lease,
}

impl Place {
    pub(crate) fn new() -> Self {
        let lease = Lease::take();
        let place = Self {
            settings: settings(&lease.network(), &lease.subnet()),
            _lease: lease,
        };
        place.clear();
        place
    }

    pub(crate) async fn engine(&self) -> Engine {
        Engine::connect(&self.settings).await.unwrap()
    }

    /// The address of instance 0 on this slot's lane.
    pub(crate) fn address(&self, slot: Slot, lane: Lane) -> Ipv4Addr {
        AddressPlan::new(self.settings.subnet, 0)
            .unwrap()
            .address(slot, lane, 0)
    }

    /// Where instance 0 listens on this slot's lane.
    pub(crate) fn endpoints(&self, slot: Slot, lane: Lane) -> Vec<SocketAddrV4> {
        vec![SocketAddrV4::new(self.address(slot, lane), 8080)]
    }

    /// Instance 0 of release 1 of the app `shop` on green's lane a.
    pub(crate) fn spec(&self, image: &ImageRef) -> InstanceSpec {
        InstanceSpec {
            by: "laptop".into(),
            app: "shop".parse().unwrap(),
            slot: Slot::Green,
            lane: Lane::A,
            name: InstanceName {
                service: ServiceName::web(),
                index: 0,
            },
            release: ReleaseId(1),
            commit: Some("0123456789abcdef0123456789abcdef01234567".parse().unwrap()),
            installation: String::new(),
            state: "/nowhere".into(),
            image: image.clone(),
            endpoints: self.endpoints(Slot::Green, Lane::A),
            run: ServiceSettings::default().run,
        }
    }

    fn clear(&self) {
        let name = &self.settings.network;
        let filter = format!("label=deployer.network={name}");
        for id in docker(&["ps", "-aq", "--filter", &filter]).lines() {
            docker(&["rm", "-fv", id]);
        }
        for id in docker(&["network", "ls", "-q", "--filter", &filter]).lines() {
            docker(&["network", "rm", id]);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Runs the docker command; gives what it printed, both streams.
pub(crate) fn docker(args: &[&str]) -> String {
    docker_in(Path::new("/"), args).1
}

pub(crate) fn docker_in(folder: &Path, args: &[&str]) -> (bool, String) {
    docker_at(&host(), folder, args)
}

pub(crate) fn docker_at(host: &str, folder: &Path, args: &[&str]) -> (bool, String) {
    let out = Command::new("docker")
        .args(args)
        .current_dir(folder)
        .env("DOCKER_BUILDKIT", "0")
        .env("DOCKER_HOST", host)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A base image with a shell, made from the host's static busybox once and kept: give it another tag when it changes.
pub(crate) fn base() -> &'static str {
    static BASE: OnceLock<()> = OnceLock::new();
    const NAME: &str = "deployer-test-base:1";
    BASE.get_or_init(|| {
        if docker_in(Path::new("/"), &["image", "inspect", NAME]).0 {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("rootfs.tar");
        let mut tar = tar::Builder::new(fs::File::create(&rootfs).unwrap());
        tar.append_path_with_name("/bin/busybox", "bin/busybox").unwrap();
        for name in [
            "sh", "cat", "ls", "sleep", "env", "echo", "httpd", "nc", "test", "true", "dd", "seq", "find",
            "id",
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, format!("bin/{name}"), "busybox")
                .unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_data(&mut header, "tmp", std::io::empty()).unwrap();
        tar.into_inner().unwrap().flush().unwrap();
        let path = rootfs.to_str().unwrap();
        let (good, text) = docker_in(Path::new("/"), &["import", "-c", "ENV PATH=/bin", path, NAME]);
        assert!(good, "{text}");
    });
    NAME
}

/// A tree with these files; a name that ends in `/` is a folder.
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    if name.ends_with('/') {
        fs::create_dir_all(path).unwrap();
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A build of `folder` into an image of this name.
pub(crate) fn request(folder: &Path, tag: &str) -> BuildRequest {
    BuildRequest {
        context: folder.to_owned(),
        root: folder.to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        args: Default::default(),
        target: None,
        tag: tag.to_owned(),
        labels: Default::default(),
        offered: Default::default(),
        pull: false,
        logins: Vec::new(),
    }
}

/// An image name of the test's own, removed at the end.
pub(crate) struct Tag(pub(crate) String);

impl Tag {
    pub(crate) fn new() -> Self {
        Self(format!("deployer-test-{}:{}", std::process::id(), number()))
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.0]);
    }
}

/// Builds, and gives the result with every line that came.
pub(crate) async fn build(
    engine: &Engine,
    request: &BuildRequest,
) -> (Result<ImageId, EngineError>, Vec<String>) {
    let mut lines = Vec::new();
    let built = engine
        .build(request, &mut |line| lines.push(line.to_owned()))
        .await;
    (built, lines)
}

/// A docker-registry as a child of the test.
pub(crate) struct Registry {
    pub(crate) address: String,
    child: Child,
    _folder: tempfile::TempDir,
    /// The htpasswd file's folder, kept as long as the registry reads it.
    login: Option<tempfile::TempDir>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::with("", None)
    }

    pub(crate) fn with_login(credentials: &Credentials) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("htpasswd");
        let made = Command::new("htpasswd")
            .args([
                // The cheapest cost that bcrypt has: each push asks many times.
                "-BbcC",
                "4",
                file.to_str().unwrap(),
                &credentials.username,
                &credentials.password,
            ])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let auth = format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            file.display()
        );
        let mut registry = Self::with(&auth, None);
        registry.login = Some(folder);
        registry
    }

    /// A registry that keeps its data in `data`.
    pub(crate) fn with_data(data: &Path) -> Self {
        Self::with("", Some(data))
    }

    fn with(auth: &str, data: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = data.map_or_else(|| folder.path().join("data"), Path::to_owned);
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
            data.display()
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", path.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            address,
            child,
            _folder: folder,
            login: None,
        };
        until("the registry listens", || {
            TcpStream::connect(&registry.address).is_ok()
        });
        registry
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Polls until `holds`, for at most 30 s.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An image in a registry of its own: what instances run.
pub(crate) struct Pushed {
    pub(crate) image: ImageRef,
    _registry: Registry,
    tag: String,
}

impl Pushed {
    /// Builds a Dockerfile's body on the base image, pushes it and pulls it by digest.
    pub(crate) async fn new(engine: &Engine, body: &str) -> Self {
        let registry = Registry::start();
        let folder = tree(&[("Dockerfile", &format!("FROM {}\n{body}\n", base()))]);
        let repository = format!("{}/shop", registry.address);
        let tag = format!("{repository}:1");
        let (built, lines) = build(engine, &request(folder.path(), &tag)).await;
        built.unwrap_or_else(|error| panic!("{error}\n{}", lines.join("\n")));
        let digest: Digest = engine.push(&tag, with(None), &mut |_| {}).await.unwrap();
        let image = ImageRef { repository, digest };
        engine.pull(&image, with(None), &mut |_| {}).await.unwrap();
        Self {
            image,
            _registry: registry,
            tag,
        }
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.tag, &self.image.to_string()]);
    }
}

pub(crate) fn path(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// A push or pull with these credentials.
pub(crate) fn with(credentials: Option<&Credentials>) -> Transfer<'_> {
    Transfer {
        credentials,
        timeout: Duration::from_secs(60),
    }
}
