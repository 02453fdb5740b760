use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use deployer::engine::{ContextError, EngineError};

use super::support::{Place, Tag, base, build, docker, path, request, tree, write};

#[tokio::test]
async fn modes_links_odd_names_and_empty_folders_arrive_as_they_are() {
    let long = "n".repeat(120);
    let odd = [
        "-f",
        "a b",
        "new\nline",
        "ünï",
        "back\\slash",
        "...",
        long.as_str(),
    ];
    let folder = tree(&[
        ("Dockerfile", &format!("FROM {}\nCOPY . /in/\n", base())),
        ("empty/", ""),
    ]);
    for name in odd {
        write(folder.path(), &format!("odd/{name}"), name);
    }
    write(folder.path(), &format!("deep/{long}/{long}/file"), "deep");
    write(folder.path(), "run", "#!/bin/sh\n");
    fs::set_permissions(path(&folder, "run"), Permissions::from_mode(0o750)).unwrap();
    symlink("../outside//x", path(&folder, "out")).unwrap();
    symlink("run", path(&folder, "link")).unwrap();
    symlink(format!("{long}/{long}"), path(&folder, "far")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path(&folder, "socket")).unwrap();

    let engine = Place::new().engine().await;
    let tag = Tag::new();
    let (built, lines) = build(&engine, &request(folder.path(), &tag.0)).await;
    built.unwrap_or_else(|error| panic!("{error}\n{}", lines.join("\n")));
    let run = |command: &str| docker(&["run", "--rm", "--network", "none", &tag.0, "sh", "-c", command]);
    for name in odd {
        let quoted = name.replace('\'', "'\\''");
        assert_eq!(run(&format!("cat '/in/odd/{quoted}'")), name);
    }
    assert_eq!(run(&format!("cat /in/deep/{long}/{long}/file")), "deep");
    assert!(
        run("ls -lnd /in/run").starts_with("-rwxr-x---    1 0        0 "),
        "{}",
        run("ls -lnd /in/run")
    );
    assert!(
        run("ls -l /in/out").trim_end().ends_with("-> ../outside//x"),
        "{}",
        run("ls -l /in/out")
    );
    assert!(
        run("ls -l /in/far")
            .trim_end()
            .ends_with(&format!("-> {long}/{long}"))
    );
    assert!(run("ls -l /in/link").trim_end().ends_with("-> run"));
    assert_eq!(run("ls -a /in/empty").split_whitespace().count(), 2);
    assert!(run("ls /in/socket").contains("No such file"));
}

#[tokio::test]
async fn the_dockerfiles_own_ignore_file_comes_before_the_common_one() {
    let dockerfile = format!("FROM {}\nCOPY . /in/\n", base());
    let folder = tree(&[
        ("docker/web", &dockerfile),
        ("docker/web.dockerignore", "b\n"),
        (".dockerignore", "a\n"),
        ("a", "a"),
        ("b", "b"),
    ]);
    let engine = Place::new().engine().await;
    let tag = Tag::new();
    let mut request = request(folder.path(), &tag.0);
    request.dockerfile = "./docker/web".to_owned();
    build(&engine, &request).await.0.unwrap();
    let listed = docker(&["run", "--rm", "--network", "none", &tag.0, "ls", "/in"]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["a", "docker"]);
}

#[tokio::test]
async fn a_context_below_the_root_is_sent_alone() {
    let dockerfile = format!("FROM {}\nCOPY . /in/\n", base());
    let folder = tree(&[("app/Dockerfile", &dockerfile), ("app/a", ""), ("secret", "")]);
    let engine = Place::new().engine().await;
    let tag = Tag::new();
    let mut request = request(folder.path(), &tag.0);
    request.context.push("app");
    build(&engine, &request).await.0.unwrap();
    let listed = docker(&["run", "--rm", "--network", "none", &tag.0, "ls", "/in"]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["Dockerfile", "a"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_is_told() {
    let folder = tree(&[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    let file = File::create(path(&folder, "growing")).unwrap();
    file.set_len(64 << 20).unwrap();
    let engine = Place::new().engine().await;
    let tag = Tag::new();
    let growing = path(&folder, "growing");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let mut file = File::options().append(true).open(growing).unwrap();
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            file.write_all(b"x").unwrap();
        }
    });
    let error = build(&engine, &request(folder.path(), &tag.0))
        .await
        .0
        .unwrap_err();
    drop(stop);
    writer.join().unwrap();
    assert!(
        matches!(&error, EngineError::Context(ContextError::Changed(name)) if name == "growing"),
        "{error:?}"
    );
}

/// In a process of its own: the memory that counts is that of one build alone.
#[test]
fn a_gigabyte_of_context_is_never_held_in_memory() {
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "context::peak_memory_of_a_gigabyte_of_context",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&alone.stdout);
    let peak = told
        .lines()
        .find_map(|line| line.strip_prefix("peak KiB: "))
        .expect(&told);
    let peak: u64 = peak.parse().unwrap();
    println!("{peak} KiB");
    assert!(peak < 60 << 10, "{peak} KiB");
}

#[tokio::test]
#[ignore = "run by a_gigabyte_of_context_is_never_held_in_memory"]
async fn peak_memory_of_a_gigabyte_of_context() {
    let folder = tree(&[("Dockerfile", "FROM scratch\nCOPY small /\n"), ("small", "x")]);
    // Sparse: this disk holds nothing of them, the walk and the socket see every byte.
    for at in 0..4 {
        File::create(path(&folder, &format!("part{at}")))
            .unwrap()
            .set_len(256 << 20)
            .unwrap();
    }
    let engine = Place::new().engine().await;
    build(&engine, &request(folder.path(), &Tag::new().0))
        .await
        .0
        .unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    println!("\npeak KiB: {}", peak.trim().trim_end_matches(" kB"));
}
