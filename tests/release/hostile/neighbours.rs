//! Another user of the machine: what they can read, write and connect to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::process::{Output, run, words_of};
use crate::support::{App, DEPLOYER, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "hunter2-of-the-registry";
const SECRET: &str = "hunter2-of-the-app";

/// A world with every kind of secret in it, in a folder that anybody may enter.
fn world(name: &str) -> (World, App, Repo) {
    let options = Options {
        registry_password: Some(PASSWORD.into()),
        ..Options::default()
    };
    let mut world = World::with(name, options);
    let env_file = world.path("shop.env");
    fs::write(&env_file, format!("SECRET={SECRET}\n")).expect("the variables are written");
    set_mode(&env_file, 0o600);
    set_mode(&world.config(), 0o640);
    set_mode(&world.path(""), 0o755);
    let shop = world.app("shop", &format!("env_file = {env_file:?}"));
    let repo = world.repo(&shop);
    (world, shop, repo)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode is set");
}

/// Runs `program` as the user `nobody`, in no group.
fn as_nobody(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    run(command.args(arguments).current_dir("/"), &[])
}

/// What of these paths, and of all below them, `nobody` may read or write.
fn open_to_nobody(paths: &[&Path]) -> Vec<String> {
    let paths = paths.iter().map(|path| path.to_str().expect("a path in UTF-8"));
    let mut arguments: Vec<&str> = paths.collect();
    arguments.extend(["!", "-type", "l", "(", "-readable", "-o", "-writable", ")"]);
    let found = as_nobody("find", &arguments).stdout;
    found.lines().map(str::to_owned).collect()
}

#[test]
fn another_user_reads_no_state_no_secret_and_no_process_and_reaches_no_socket() {
    let (world, _, repo) = world("neighbour");
    repo.unwell("v1", "SLOWSTART", "1000");
    let mut push = repo.begin_push("green");
    let worker = wait_for("the worker", DEADLINE, || world.worker(1));
    let proxy = fs::read_to_string(world.state("proxy/lock")).expect("the proxy's number");
    let processes = [worker, proxy.trim().parse().expect("a number")];
    for pid in processes {
        let environment = format!("/proc/{pid}/environ");
        assert_ne!(
            as_nobody("cat", &[&environment]).code,
            Some(0),
            "{environment} is readable"
        );
        let open = String::from_utf8_lossy(&fs::read(environment).expect("its environment")).into_owned()
            + &words_of(pid).join(" ");
        for secret in [PASSWORD, SECRET] {
            assert!(!open.contains(secret), "a secret in what {pid} was started with");
        }
    }
    push.wait().expect("git ends");
    wait_for("the release", DEADLINE, || {
        world.workers().is_empty().then_some(())
    });
    assert_eq!(world.version(), "v1");

    let state = world.state("");
    let secrets = [
        world.path("shop.env"),
        world.path("registry-password"),
        world.config(),
    ];
    let mut all: Vec<&Path> = secrets.iter().map(|path| path.as_path()).collect();
    all.push(&state);
    assert_eq!(open_to_nobody(&all), Vec::<String>::new());

    // Where the state folder itself was made by hand, and is open, what is in it is not.
    set_mode(&state, 0o777);
    let open = open_to_nobody(&[&state]);
    assert_eq!(open, [state.to_str().expect("a path in UTF-8")]);
    for socket in ["proxy/control.sock", "proxy/takeover.sock"] {
        let path = world.state(socket);
        let arguments = [
            "-sS",
            "--max-time",
            "5",
            "--unix-socket",
            path.to_str().expect("UTF-8"),
            "http://proxy/",
        ];
        let tried = as_nobody("curl", &arguments);
        assert!(!matches!(tried.code, Some(0 | 28)), "{socket} answers: {tried:?}");
    }
    set_mode(&world.config(), 0o644);
    let tried = as_nobody(
        DEPLOYER,
        &["--config", world.config().to_str().expect("UTF-8"), "status"],
    );
    assert_ne!(tried.code, Some(0), "{tried:?}");
}

/// `command` under the umask `mask`.
fn under(mask: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("umask {mask} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    shell
}

/// Everything in the state folder of a world that lived under the umask `mask`, by its path, with its mode.
fn modes_under(mask: &str) -> BTreeMap<String, u32> {
    let (mut world, shop, repo) = world(&format!("umask-{mask}"));
    world.deployer(&["app", "remove", &shop.name, "--yes"]).good();
    fs::remove_dir_all(world.state("git")).expect("what was made under another umask goes");
    fs::remove_dir_all(world.state("apps")).expect("what was made under another umask goes");
    let mut proxy = world.command();
    world.restart_proxy_as(&mut under(mask, proxy.args(["proxy", "run"])));
    let mut create = world.command();
    run(&mut under(mask, create.args(["app", "create", "shop"])), &[]).good();
    for version in ["v1", "v2"] {
        repo.write("below/it", version).write("run", "#!/bin/sh\n");
        repo.version(version);
        let receive = format!("umask {mask} && git-receive-pack");
        repo.push_with(&["--receive-pack", &receive, "green", "main"])
            .live();
    }
    let mut rollback = world.command();
    run(&mut under(mask, rollback.args(["rollback", "green"])), &[]).good();
    let mut modes = BTreeMap::new();
    note_modes(&world.state(""), Path::new(""), &mut modes);
    modes
}

fn note_modes(root: &Path, folder: &Path, modes: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(root.join(folder)).expect("a folder is listed") {
        let path = folder.join(entry.expect("an entry").file_name());
        let stat = fs::symlink_metadata(root.join(&path)).expect("an entry is looked at");
        modes.insert(path.display().to_string(), stat.mode() & 0o7777);
        if stat.is_dir() {
            note_modes(root, &path, modes);
        }
    }
}

#[test]
fn every_file_of_the_state_folder_is_its_owners_alone_whatever_the_umask() {
    let (open, closed) = (modes_under("000"), modes_under("077"));
    for (path, mode) in &open {
        // A build gets the modes of the tree, and git runs a hook that may be run; both stand in closed folders.
        let is_tree = path.starts_with("apps/shop/worktrees/green") || path.contains(".git/hooks/");
        assert!(is_tree || mode & 0o077 == 0, "{path} has the mode {mode:o}");
    }
    let both = open.iter().filter(|(path, _)| closed.contains_key(*path));
    let differ: Vec<_> = both.filter(|(path, mode)| closed[*path] != **mode).collect();
    assert!(differ.is_empty(), "other modes under another umask: {differ:?}");
    assert!(
        open.len() > 60 && open.len().abs_diff(closed.len()) < 10,
        "{open:#?}"
    );
}
