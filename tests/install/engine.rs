//! The machine's Docker Engine beside a root: a registry in a container, and deployer's network.

use std::net::TcpListener;
use std::process::Command;

use crate::root::Root;

/// Packs Debian's registry, and `du`, with what they are linked to and a configuration, into an image of its own.
const IMPORT: &str = r#"
cd "$(mktemp -d)"
printf 'version: 0.1\nlog: { level: error }\nstorage: { cache: { blobdescriptor: inmemory }, filesystem: { rootdirectory: /var/lib/registry }, delete: { enabled: true } }\nhttp: { addr: ":5000" }\n' >config.yml
tar -chf - config.yml -C / usr/bin/docker-registry usr/bin/du $(ldd /usr/bin/docker-registry /usr/bin/du | grep -o '/lib[^ ]*' | sort -u | sed 's,^/,,') |
  docker import --change 'ENTRYPOINT ["/usr/bin/docker-registry"]' --change 'CMD ["serve", "/config.yml"]' - "$1"
rm -r "$PWD"
"#;

/// A container of the machine's Engine that is a registry. It goes, with its image and its volume, when this is dropped.
pub(crate) struct Registry {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Registry {
    /// Starts one; `name` is the test's.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Self {
        let name = format!("deployer-test-{name}-{}", std::process::id());
        let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let port = free.expect("a free port").port();
        machine(&["sh", "-euc", IMPORT, "sh", &name]);
        let (publish, volume) = (
            format!("127.0.0.1:{port}:5000"),
            format!("{name}:/var/lib/registry"),
        );
        machine(&[
            "docker", "run", "-d", "--name", &name, "-p", &publish, "-v", &volume, &name,
        ]);
        let registry = Self { name, port };
        registry.is_up();
        registry
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn is_up(&self) {
        let url = format!("http://127.0.0.1:{}/v2/", self.port);
        machine(&[
            "timeout",
            "30",
            "sh",
            "-c",
            "until curl --silent --fail \"$0\"; do sleep 0.05; done",
            &url,
        ]);
    }

    /// Since when it runs, and whether it does.
    pub(crate) fn state(&self) -> String {
        let format = "{{.State.StartedAt}} {{.State.Running}}";
        machine(&["docker", "container", "inspect", "--format", format, &self.name])
    }

    /// Uploads a layer that no image needs; gives its URL.
    #[track_caller]
    pub(crate) fn upload(&self) -> String {
        upload(&format!("http://127.0.0.1:{}", self.port), |line| {
            machine(&["sh", "-euc", line])
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let all = "docker rm -f \"$0\"; docker volume rm \"$0\"; docker rmi \"$0\"";
        let _ = Command::new("sh").args(["-c", all, &self.name]).output();
    }
}

/// Uploads a layer that no image needs to the registry at `address`, by curl in `run`; gives its URL.
pub(crate) fn upload(address: &str, run: impl Fn(&str) -> String) -> String {
    let line = format!(
        "printf unneeded >/tmp/layer; digest=sha256:$(sha256sum </tmp/layer | cut -c1-64)
         to=$(curl --silent --fail -X POST -D - {address}/v2/shop/blobs/uploads/ | tr -d '\\r' | sed -n 's/^Location: //p')
         curl --silent --fail -X PUT -H 'Content-Type: application/octet-stream' --data-binary @/tmp/layer \"$to&digest=$digest\"
         echo {address}/v2/shop/blobs/$digest"
    );
    run(&line).trim().to_owned()
}

/// Runs a command of the machine's own, which must be good.
#[track_caller]
pub(crate) fn machine(command: &[&str]) -> String {
    let ended = Command::new(command[0]).args(&command[1..]).output();
    let ended = ended.expect("it starts");
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}

/// Writes the configuration of a deployer that uses the machine's Engine, and installs it.
#[track_caller]
pub(crate) fn install(root: &Root, registry: &Registry, network: &str) -> String {
    let number = std::process::id() % 64 * 4;
    root.sh(&format!(
        "mkdir -p /etc/deployer; printf '[engine]\nnetwork = \"{network}\"\nsubnet = \"10.229.{number}.0/22\"\n[registry]\naddress = \
         \"127.0.0.1:{}\"\n' >/etc/deployer/deployer.toml; chmod -R a+rX /etc/deployer",
        registry.port
    ))
    .good();
    root.deployer(&["install"]).good()
}

/// A network of the machine's Engine, which goes when this is dropped.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}

#[test]
fn purge_removes_the_network_that_a_release_made_unless_something_is_on_it() {
    let registry = Registry::start("purge");
    let network = Network(format!("deployer-test-purge-{}", std::process::id()));
    let Network(name) = &network;
    let root = Root::with_engine();
    install(&root, &registry, name);
    let there = || {
        let filter = format!("name=^{name}$");
        machine(&[
            "docker",
            "network",
            "ls",
            "--filter",
            &filter,
            "--format",
            "{{.Name}}",
        ])
    };
    // A release that fails at its start: what it runs is no program, and could not be reached from the root either.
    let said = root.sh(
        "deployer app create shop
         install -d -o deploy -g deploy /srv/work && cd /srv/work
         as() { setpriv --reuid=deploy --regid=deploy --init-groups env HOME=/srv/work \"$@\"; }
         as git init -q -b main . && echo none >app && printf 'FROM scratch\\nCOPY app /app\\nEXPOSE 80\\nCMD [\"/app\"]\\n' >Dockerfile
         as git add . && as git -c user.name=a -c user.email=a@b commit -q -m v1
         as git push -q /var/lib/deployer/git/shop/green.git main 2>&1",
    );
    let image = format!("127.0.0.1:{}/shop", registry.port);
    let said = said.good();
    assert!(said.contains("shop/green release 1 at probe"), "{said}");
    assert_eq!(there(), format!("{name}\n"), "{said}");
    root.deployer(&["app", "remove", "shop", "--yes"]).good();

    // Somebody else's container on it keeps it.
    let other = format!("{}-other", registry.name);
    machine(&[
        "docker",
        "create",
        "--name",
        &other,
        "--network",
        name,
        &registry.name,
    ]);
    machine(&["docker", "start", &other]);
    let dry = root
        .run(&["/usr/local/bin/deployer", "uninstall", "--purge", "--dry-run"])
        .good();
    machine(&["docker", "rm", "-f", &other]);
    let kept =
        format!("left out:      the network {name} of the Docker Engine: containers are on it ({other})");
    assert!(dry.contains(&kept), "{dry}");
    assert_eq!(there(), format!("{name}\n"));

    let said = root
        .run(&["/usr/local/bin/deployer", "uninstall", "--purge"])
        .good();

    let removed = format!("removed        the network {name} of the Docker Engine\n");
    assert!(said.contains(&removed), "{said}");
    assert_eq!(there(), "");
    for left in ["/etc/deployer", "/var/lib/deployer", "/usr/local/bin/deployer"] {
        assert!(!root.path(left).exists(), "{left}");
    }
    let images = machine(&[
        "docker",
        "images",
        "--quiet",
        "--filter",
        &format!("reference={image}"),
    ]);
    assert_eq!(images, "", "the images went with the app");
}
