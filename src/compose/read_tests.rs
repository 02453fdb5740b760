//! Whole files: what is read, and what is refused.

use std::collections::BTreeMap;

use super::*;

pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    pub(super) fn read(&self) -> Result<Model, Faults> {
        let tree = Tree::open(self.0.path()).unwrap();
        read(&tree, find(&tree).expect("a compose file"), &BTreeMap::new())
    }
}

fn model(files: &[(&str, &str)]) -> Model {
    Folder::of(files)
        .read()
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a file, beside which there are a few others.
pub(super) fn faults(text: &str) -> String {
    let folder = Folder::of(&[
        ("compose.yaml", text),
        ("Dockerfile", "FROM scratch\n"),
        ("web/Dockerfile", "FROM scratch\n"),
        ("nginx.conf", "x"),
        ("conf/a", "x"),
    ]);
    std::os::unix::fs::symlink("/etc/passwd", folder.0.path().join("link")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        folder.0.path().join("fifo"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    match folder.read() {
        Ok(model) => panic!("it was taken: {text}\n{model:#?}"),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn a_file_of_many_parts_becomes_a_model() {
    let model = model(&[
        (".env", "TAG=16\nCOMPOSE_PROFILES=extra\n"),
        ("web.env", "A=file\nB=file\n"),
        ("web/Dockerfile", "FROM scratch\n"),
        ("nginx.conf", "x"),
        (
            "docker-compose.yml",
            "
version: '3'
x-base: &base
  restart: unless-stopped
  environment: {B: base}
services:
  web:
    <<: *base
    build: ./web
    env_file: web.env
    ports: ['8080:80']
    volumes: ['./nginx.conf:/etc/nginx.conf:ro', '.:/src', 'data:/data']
    depends_on: {db: {condition: service_healthy}, gone: {condition: service_started, required: false}}
    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 64M}}}
    logging: {driver: none}
  db:
    image: postgres:${TAG}
    profiles: [extra]
    healthcheck: {test: pg_isready, interval: 5s}
  gone:
    image: x
    profiles: [dev]
    privileged: true
volumes: {data: }
",
        ),
    ]);
    let web = &model.services["web"];
    assert_eq!(web.environment["A"].as_deref(), Some("file"));
    assert_eq!(web.environment["B"].as_deref(), Some("base"));
    assert_eq!(web.restart, Restart::UnlessStopped);
    assert_eq!(web.build.as_ref().unwrap().context, "web");
    assert_eq!((web.replicas, web.resources.memory), (2, Some(64 << 20)));
    assert_eq!(web.depends_on.keys().collect::<Vec<_>>(), ["db"]);
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
    let sources: Vec<&Source> = web.mounts.iter().map(|mount| &mount.source).collect();
    assert_eq!(
        sources[..2],
        [&Source::Copied("nginx.conf".into()), &Source::Dropped(".".into())]
    );
    assert_eq!(model.services["db"].image.as_deref(), Some("postgres:16"));
    assert!(model.left_out.contains_key("gone"));
    let ignored: Vec<&str> = model
        .ignored()
        .iter()
        .map(|(read, _)| read.key.as_str())
        .collect();
    assert_eq!(ignored, ["version", "x-base", "services.*.logging"]);
}

#[test]
fn the_old_form_is_read_with_paths_that_have_a_space() {
    let model = model(&[
        ("Service 1/Dockerfile", "FROM scratch\n"),
        (
            "docker-compose.yml",
            "one:\n  build: Service 1\n  volumes: ['Service 1:/usr/src/app']\n  links: [two]\ntwo:\n  image: x\n  links: ['one:uno']\n",
        ),
    ]);
    assert_eq!(
        model.services["one"].mounts[0].source,
        Source::Dropped("Service 1".into())
    );
    assert_eq!(model.services["two"].links["uno"], "one");
}

#[test]
fn every_way_to_the_host_is_refused_by_name_with_its_line() {
    for (key, told) in [
        ("privileged: true", "privileged is refused"),
        ("network_mode: host", "network_mode is refused"),
        ("pid: host", "pid is refused"),
        ("ipc: host", "ipc is refused"),
        ("uts: host", "uts is refused"),
        ("userns_mode: host", "userns_mode is refused"),
        ("cgroup_parent: x", "cgroup_parent is refused"),
        ("devices: [/dev/sda]", "devices is refused"),
        ("cap_add: [SYS_ADMIN]", "cap_add is refused"),
        ("security_opt: ['seccomp:unconfined']", "security_opt is refused"),
        ("sysctls: {a: 1}", "sysctls is refused"),
        ("runtime: x", "runtime is refused"),
        ("volumes_from: [db]", "volumes_from is refused"),
        ("external_links: [x]", "external_links is refused"),
        ("extra_hosts: ['a:host-gateway']", "host-gateway is refused"),
        (
            "volumes: ['/etc:/x']",
            "\"/etc\" is refused: it is a path of the host",
        ),
        (
            "volumes: ['~/x:/x']",
            "\"~/x\" is refused: it is a path of the host",
        ),
        (
            "volumes: ['../x:/x']",
            "\"../x\" is refused: it is a path of the host",
        ),
        (
            "volumes: ['/var/run/docker.sock:/x']",
            "docker.sock\" is refused: who has it has the host",
        ),
        (
            "volumes: [{type: bind, source: /etc, target: /x}]",
            "it is a path of the host",
        ),
        ("volumes: ['./link:/x']", "is a link that leads out of the tree"),
        ("volumes: ['./fifo:/x']", "is no file and no folder"),
        ("env_file: /etc/passwd", "leads out of the tree"),
        ("env_file: link", "leads out of the tree"),
        ("env_file: fifo", "\"fifo\" is no file"),
        ("labels: {deployer.app: other}", "\"deployer.app\" is refused"),
        (
            "networks: {default: {ipv4_address: 10.0.0.1}}",
            "ipv4_address is refused",
        ),
        ("build: /etc", "\"/etc\" leads out of the tree"),
        ("build: https://example.org/x.git", "nothing is fetched"),
        ("build: {context: ., ssh: [default]}", "ssh is refused"),
        ("build: {context: ., network: host}", "network is refused"),
        ("build: {context: ., dockerfile: ../x}", "leads out of the tree"),
        ("extends: {file: other.yml, service: a}", "is another file"),
        (
            "deploy: {resources: {reservations: {devices: [{driver: x}]}}}",
            "devices is refused",
        ),
    ] {
        let text = format!("services:\n  a:\n    image: x\n    {key}\n  db:\n    image: y\n");
        let told_is = faults(&text);
        assert!(
            told_is.starts_with("compose.yaml:4:") && told_is.contains(told),
            "{key}: {told_is}"
        );
    }
    for (key, told) in [
        ("volumes: {v: {external: true}}", "external is refused"),
        ("volumes: {v: {driver_opts: {o: bind}}}", "driver_opts is refused"),
        ("volumes: {v: {driver: nfs}}", "\"nfs\" is refused"),
        ("networks: {n: {driver: macvlan}}", "\"macvlan\" is refused"),
        ("networks: {n: {external: true}}", "external is refused"),
        (
            "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
            "ipam is refused",
        ),
        ("secrets: {s: {external: true}}", "external is refused"),
        ("secrets: {s: {file: /etc/shadow}}", "leads out of the tree"),
        ("configs: {c: {file: ./link}}", "leads out of the tree"),
        ("include: [other.yml]", "include is refused"),
    ] {
        let told_is = faults(&format!("services: {{a: {{image: x}}}}\n{key}\n"));
        assert!(
            told_is.starts_with("compose.yaml:2:") && told_is.contains(told),
            "{key}: {told_is}"
        );
    }
}

#[test]
fn one_fault_hides_no_other() {
    let told = faults(
        "services:\n  a:\n    extends: {file: other.yml, service: x}\n    image: x\n    privileged: true\n    pid: host\n  b:\n    \
         image: y\n    depends_on: [a]\n",
    );
    let places: Vec<&str> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        places,
        ["compose.yaml:3:14:", "compose.yaml:5:5:", "compose.yaml:6:5:"],
        "{told}"
    );
}

#[test]
fn a_key_that_gives_no_power_is_taken_where_it_says_nothing() {
    let text = "services: {a: {image: x, privileged: false, cap_add: [], security_opt: ['no-new-privileges:true']}}\n";
    assert!(
        model(&[("compose.yml", text)]).services["a"]
            .process
            .no_new_privileges
    );
}

#[test]
fn what_is_wrong_is_told_with_what_to_write_instead() {
    for (text, wanted) in [
        (
            "services: {}\n",
            "1:11: there is no service in services. Hint: write at least one",
        ),
        ("a: 1\n", "1:1: there is no key \"a\" in a compose file"),
        (
            "services:\n  a: {imag: x}\n",
            "2:7: service a: there is no key \"imag\" in a service. Hint: write image",
        ),
        (
            "services:\n  a: {build: nowhere}\n",
            "2:14: service a: build: there is no folder \"nowhere\"",
        ),
        (
            "services:\n  a: {image: x, ports: [1-65535]}\n",
            "ports: \"1-65535\" is no port",
        ),
        (
            "services:\n  a: {image: x, ports: [1-200]}\n",
            "ports: more than 100 ports",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n",
            "2:30: service a: depends_on: there is no service \"b\"",
        ),
        (
            "services:\n  a: {image: x, volumes: ['d:/d']}\n",
            "there is no volume \"d\". Hint: write d: in volumes",
        ),
        (
            "services:\n  a: {image: x, volumes: ['./conf:/d']}\n",
            "would be written to. Hint: write :ro behind it",
        ),
        (
            "services:\n  a: {image: x, volumes: ['./data:/d']}\n",
            "\"./data\" is not in the tree. Hint: write a named volume",
        ),
        (
            "services:\n  a: {image: x, command: a && b}\n",
            "Compose runs no shell",
        ),
        (
            "services:\n  a: {image: '${T:?no tag}'}\n",
            "the variable T is needed and not set: no tag",
        ),
        (
            "services:\n  a: {image: x, environment: {P: 'a$'}}\n",
            "Hint: write $$ for a $ of its own",
        ),
        (
            "services:\n  a: {image: x, deploy: {replicas: 100000}}\n",
            "\"100000\" is not a number of instances; 60 are the most",
        ),
        (
            "services:\n  a: {image: x, restart: sometimes}\n",
            "restart: \"sometimes\" is not no, always",
        ),
        ("services:\n  a: {image: x}\n  a: {image: y}\n", "3:3: "),
        (
            "services:\n  a: {image: x, x-deployer: {scope: green}}\n",
            "\"green\" is not slot, shared, background or job",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
            "depends_on goes round: a → b → a",
        ),
        (
            "services:\n  a: {extends: b}\n  b: {extends: a}\n",
            "extends goes round",
        ),
    ] {
        let told = faults(text);
        assert!(
            told.starts_with("compose.yaml:") && told.contains(wanted),
            "{text}: {told}"
        );
    }
}

#[test]
fn no_message_has_a_value_of_a_variable() {
    let folder = Folder::of(&[
        (".env", "SECRET=hunter2\n"),
        ("x.env", "A=1\nB C=hunter2\n"),
        (
            "compose.yaml",
            "services:\n  a:\n    image: x\n    env_file: x.env\n    environment: {A: [hunter2]}\n    healthcheck: {test: 'x ${SECRET'}\n",
        ),
    ]);
    let told = folder.read().unwrap_err().to_string();
    assert!(!told.contains("hunter2"), "{told}");
}
