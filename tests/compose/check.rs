//! `deployer check`: what a push of a tree would do, told by hand and in CI.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const COMPOSE: &str = "\
services:
  web:
    build: .
    ports: ['8080:3000']
    depends_on: [db]
    volumes: ['.:/src']
    logging: {driver: none}
    environment: {SECRET: hunter2}
  worker: {build: ., command: work, logging: {driver: none}}
  db: {image: 'postgres:16', volumes: ['data:/var/lib/postgresql/data']}
  debug: {image: busybox, profiles: [dev], privileged: true}
volumes: {data: }
";

/// A tree of these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn check(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deployer"));
    // No configuration is there, and none of the caller's variables is read.
    command
        .env_clear()
        .env("DEPLOYER_CONFIG", "/nowhere/deployer.toml")
        .env("TAG", "from outside");
    command.arg("check").arg(folder).args(args);
    command.output().expect("deployer runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_compose_tree_is_told_as_a_table_with_every_ignored_key_once() {
    let tree = tree(&[
        ("compose.yaml", &COMPOSE.replace("build: .", "build: app")),
        ("app/Dockerfile", "FROM debian\n"),
    ]);
    let output = check(tree.path(), &[]);
    let told = out(&output);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<String> = told
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "web slot builds app port 3000 visitors reach it",
        "worker background builds app - it is built, without a port, and nothing needs it",
        "db shared postgres:16 - PostgreSQL by its image postgres:16",
        "note: service debug is left out, by its profiles: dev",
        "note: service web: \".\" is not mounted: a folder over what was built is for a developer's machine",
        "note: line 7: logging of web, worker is ignored: logs are kept by deployer, with a bound",
    ] {
        assert!(lines.iter().any(|told| told == line), "{line}\n{told}");
    }
    assert!(
        told.ends_with("\nThis version of deployer does not release compose apps yet.\n"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn explain_says_of_each_key_what_becomes_of_it() {
    let tree = tree(&[
        ("compose.yaml", &COMPOSE.replace("build: .", "build: app")),
        ("app/Dockerfile", "FROM debian\n"),
    ]);
    let told = out(&check(tree.path(), &["--explain"]));
    for line in [
        "compose.yaml:5:5: services.web.depends_on is taken: the order of the start, with its three conditions",
        "compose.yaml:7:5: services.web.logging is ignored: logs are kept by deployer, with a bound",
        "compose.yaml:12:1: volumes is taken: the named volumes: one each for both slots",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
}

#[test]
fn json_has_the_same() {
    let tree = tree(&[
        ("compose.yaml", &COMPOSE.replace("build: .", "build: app")),
        ("app/Dockerfile", "FROM debian\n"),
    ]);
    let output = check(tree.path(), &["--json"]);
    let shape: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = &shape["check"];
    assert_eq!(
        (&shape["version"], &check["kind"]),
        (&Value::from(1), &Value::from("compose"))
    );
    let web = check["services"]
        .as_array()
        .unwrap()
        .iter()
        .find(|service| service["service"] == "web")
        .unwrap();
    assert_eq!(web["scope"], "slot");
    assert_eq!(
        (&web["build"], &web["port"]),
        (&Value::from("app"), &Value::from(3000))
    );
    assert_eq!(
        check["ignored"][0]["services"],
        serde_json::json!(["web", "worker"])
    );
}

#[test]
fn every_fault_is_told_with_its_place_and_what_to_write() {
    let tree = tree(&[(
        "docker-compose.yml",
        "services:\n  a:\n    image: x:${TAG?}\n    privileged: true\n    volumes: ['/:/host']\n",
    )]);
    let output = check(tree.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = out(&output);
    for line in [
        "docker-compose.yml:3:12: service a: image: the variable TAG is needed and not set. Hint: set it in .env, or give it a default: \
         ${NAME:-default}",
        "docker-compose.yml:4:5: service a: privileged is refused: it gives a container power over the host, which no pushed file may. \
         Hint: write an image that needs no privilege",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    assert!(
        told.contains(
            "docker-compose.yml:5:15: service a: volumes: \"/\" is refused: it is a path of the host"
        ),
        "{told}"
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        told,
        "deployer: a push of this tree would be refused: docker-compose.yml has faults\n"
    );
    let shape: Value = serde_json::from_slice(&check(tree.path(), &["--json"]).stdout).unwrap();
    assert_eq!(shape["check"]["faults"][1]["line"], 4);
}

#[test]
fn no_escape_reaches_the_terminal() {
    let text = "services:\n  a:\n    image: \"x\\e[31m\"\n    \"k\\e[2J\": 1\n    x-\u{1b}: 1\n  \"s\\e[1m\": {image: x}\n";
    let tree = tree(&[("compose.yaml", text)]);
    for args in [&[][..], &["--explain"]] {
        let output = check(tree.path(), args);
        assert!(
            !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
            "{output:?}"
        );
    }
}

#[test]
fn a_tree_with_a_dockerfile_is_told_what_would_be_built() {
    let dockerfile = ("Dockerfile", "FROM golang AS build\nFROM alpine:3\nEXPOSE 8080\n");
    let alone = tree(&[dockerfile]);
    let output = check(alone.path(), &[]);
    assert_eq!(
        out(&output),
        "a push would build Dockerfile, which is from alpine:3, with port 8080\n"
    );
    let both = tree(&[
        dockerfile,
        ("compose.yaml", "services: {a: {privileged: true}}\n"),
    ]);
    let told = out(&check(both.path(), &[]));
    assert!(
        told.ends_with("note: compose.yaml is not read, since there is a Dockerfile\n"),
        "{told}"
    );
    let neither = tree(&[]);
    let output = check(neither.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("there is no Dockerfile and no compose file in"),
        "{told}"
    );
}
