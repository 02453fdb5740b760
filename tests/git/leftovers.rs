//! What a killed git leaves in a slot's repository, and who takes it away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Slot, git, run};

/// Blocks until it is killed, and says which processes wait: itself, and the `git receive-pack` that called it.
const BLOCKING_HOOK: &str = "#!/bin/sh\necho \"$$ $PPID\" >hook.new\nmv hook.new hook.pids\nexec sleep 60\n";

#[test]
fn what_a_killed_push_left_goes_and_what_a_push_uses_stays() {
    let slot = Slot::new();
    let repository = slot.repository.path();
    let client = a_clone_with_a_commit(slot.folder.path());
    let hook = repository.join("hooks/pre-receive");
    fs::write(&hook, BLOCKING_HOOK).unwrap();
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();

    let mut push = git(&client);
    push.args(["push", "-q"]).arg(repository).arg("main");
    let mut push = push.stderr(Stdio::null()).spawn().unwrap();
    let pids = soon(|| fs::read_to_string(repository.join("hook.pids")).ok());
    let quarantine = soon(|| named(&repository.join("objects"), "tmp_objdir-incoming-"));
    grow_old(&quarantine);
    assert_eq!(slot.repository.leftovers().unwrap(), [], "a push is using it");

    for pid in pids.split_whitespace() {
        run(Command::new("kill").args(["-KILL", pid]));
    }
    push.wait().unwrap();
    let fresh = repository.join("objects/pack/tmp_pack_fresh");
    fs::write(&fresh, "a pack that is being written").unwrap();
    let lock = repository.join("refs/heads/old.lock");
    fs::write(&lock, "").unwrap();
    grow_old(&lock);

    let leftovers = soon(|| Some(slot.repository.leftovers().unwrap()).filter(|all| !all.is_empty()));
    let paths: Vec<_> = leftovers.iter().map(|leftover| leftover.path.clone()).collect();
    assert_eq!(paths, [quarantine.clone(), lock.clone()]);
    assert!(leftovers[0].bytes > 100, "{leftovers:?}");
    for leftover in &leftovers {
        slot.repository.remove_leftover(leftover).unwrap();
    }
    assert!(!quarantine.exists() && !lock.exists() && fresh.exists());

    fs::remove_file(&hook).unwrap();
    run(git(&client).args(["push", "-q"]).arg(repository).arg("main"));
    assert!(slot.repository.tip("main").unwrap().is_some());
}

fn a_clone_with_a_commit(folder: &Path) -> PathBuf {
    let client = folder.join("client");
    fs::create_dir(&client).unwrap();
    run(git(&client).args(["init", "-q", "-b", "main"]));
    fs::write(client.join("file"), "some text\n".repeat(100)).unwrap();
    run(git(&client).args(["add", "."]));
    run(git(&client).args(["commit", "-qm", "one"]));
    client
}

/// The file or folder whose name begins with `begin`.
fn named(folder: &Path, begin: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(begin))
}

/// Sets the time of the last change of everything at and under `path` back by an hour.
fn grow_old(path: &Path) {
    run(Command::new("find").arg(path).args([
        "-depth",
        "-exec",
        "touch",
        "-h",
        "-d",
        "1 hour ago",
        "{}",
        ";",
    ]));
}

fn soon<T>(look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
