//! What a client asks sshd for, and what is executed for it: never a program that it chose.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::Stage;
use super::peak::Peaks;
use crate::support::DEPLOYER;
use crate::support::process::{Output, run};

/// The forced command's exit codes: done, failed, a wrong command line, nothing of that name, not allowed.
const ENDS: [i32; 5] = [0, 1, 2, 5, 6];
/// Memory of one process of deployer's or git's, in a build for tests: git's own bound, and the program.
const MEMORY_MAX: u64 = 700 << 20;

/// Commands at random, put together of what means something to somebody: a shell, git, or deployer.
const RANDOM: &str = r#"(git-receive-pack|git-upload-pack|git|deployer|status|log|rollback|sh -c|scp -t|)( |'|"|--upload-pack=|--exec=|shop/green|\.\./|green|-c|\$\(touch canary2\)|`touch canary2`|;|\||&|\\|>canary2|\n|é|\x{202e}|--config|/etc/passwd|[a-z0-9]{1,4}){1,10}"#;

/// A program under strace, and what was executed of it and of all that it started.
struct Traced {
    /// Paths as they were given to execve, where that worked, each with its environment.
    executed: Vec<(PathBuf, String)>,
    output: Output,
}

fn strace(file: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-qq",
            "-v",
            "-s",
            "4096",
            "-e",
            "trace=execve",
            "-e",
            "signal=none",
            "-o",
        ])
        .arg(file);
    strace
}

/// `line` of strace's: the path and the environment, where a program was executed.
fn executed(line: &str) -> Option<(PathBuf, String)> {
    let call = &line[line.find("execve(\"")? + 8..];
    let (path, rest) = call.split_once('"')?;
    let environment = rest
        .rsplit_once("], [")
        .map_or("", |(_, environment)| environment);
    line.ends_with("= 0")
        .then(|| (path.into(), environment.to_owned()))
}

fn executed_in(file: &Path) -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string(file).expect("what was traced");
    text.lines().filter_map(executed).collect()
}

impl Stage {
    /// The forced command of an administrator's key.
    fn forced(&self) -> Vec<String> {
        let config = self.world.config();
        let words = [
            DEPLOYER,
            "--config",
            config.to_str().expect("UTF-8"),
            "ssh",
            "--key",
            "laptop",
        ];
        let role = ["--role", "admin"];
        words.iter().chain(&role).map(|word| (*word).to_owned()).collect()
    }

    fn ask(&self, asked: &str, more: &[(&str, &str)], input: &[u8]) -> Traced {
        let file = self.world.path("traced");
        let mut command = strace(&file);
        command
            .args(self.forced())
            .current_dir(self.world.path("home"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.world.path("home"))
            .env("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
            .env("SSH_ORIGINAL_COMMAND", asked)
            .envs(more.iter().copied());
        let output = run(&mut command, input);
        Traced {
            executed: executed_in(&file),
            output,
        }
    }
}

/// Whether the program at `path` is one that a key may bring to run: deployer, git's services and what they call, the
/// slots' hooks.
fn is_allowed(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let is_git = (name == "git" || name.starts_with("git-"))
        && [
            "/usr/bin",
            "/usr/local/bin",
            "/usr/lib/git-core",
            "/usr/libexec/git-core",
            "/usr/local/libexec/git-core",
        ]
        .contains(&folder);
    let hooks = ["hooks/pre-receive", "hooks/update", "hooks/post-receive"];
    let is_hook = hooks.iter().any(|hook| path == Path::new(hook));
    is_git || is_hook || path == Path::new(DEPLOYER) || path == Path::new("/proc/self/exe")
}

#[test]
fn no_command_of_a_client_executes_a_program_that_it_chose() {
    let stage = Stage::new("traced-commands");
    let remote = stage.world.remote(&stage.shop, "green");
    let long = "x".repeat(120_000);
    let mut asked: Vec<String> = [
        "",
        "status",
        "deployer status",
        "git-upload-pack 'shop/green'",
        "git upload-pack '/shop/green.git'",
        "git-upload-archive 'shop/green'",
        "git-upload-pack '--upload-pack=touch canary2'",
        "git-upload-pack --exec=/bin/sh shop/green",
        "git-receive-pack 'shop/green;touch canary2'",
        "git-receive-pack '../../../../etc'",
        "git-receive-pack '/etc/passwd'",
        "git-receive-pack '~root/x.git'",
        "git-receive-pack $(touch canary2)",
        "git-shell -c 'touch canary2'",
        "git -c core.pager=touch log",
        "git --exec-path=/tmp upload-pack shop/green",
        "status; touch canary2",
        "status\ntouch canary2",
        "status | sh",
        "`touch canary2`",
        "sh -c 'touch canary2'",
        "/bin/sh",
        "bash -i",
        "scp -t /tmp",
        "/usr/lib/openssh/sftp-server",
        "rsync --server . /",
        "--config /etc/passwd status",
        "worker shop 1",
        "hook post-receive --slot shop/green",
        "proxy run",
        "ssh --key root --role admin",
        "install",
        "log '$(touch canary2)'",
        "logs green --tail '`touch canary2`'",
        "app create '../../x'",
        "rollback green --to '-1'",
        "'un\u{202e}finished",
        "\u{1b}]0;title\u{7}",
        "status \u{9b}31m",
        &format!("git-upload-pack '{remote}'"),
        &long,
        &format!("git-upload-pack '{long}'"),
    ]
    .map(str::to_owned)
    .to_vec();
    let mut random = TestRunner::deterministic();
    let strategy = proptest::string::string_regex(RANDOM).expect("a pattern");
    asked.extend((0..60).map(|_| strategy.new_tree(&mut random).expect("a command").current()));

    let mut seen = BTreeSet::new();
    for asked in &asked {
        let traced = stage.ask(asked, &[], b"0000");
        let shown: String = asked.chars().take(200).collect();
        for (path, _) in &traced.executed {
            assert!(is_allowed(path), "{shown:?} executed {}", path.display());
            seen.insert(path.clone());
        }
        let Output {
            code, stdout, stderr, ..
        } = &traced.output;
        assert!(
            code.is_some_and(|code| ENDS.contains(&code) || code == 128),
            "{shown:?}: {traced:?}",
            traced = traced.output
        );
        assert!(
            stderr.len() + stdout.len() < 64 << 10,
            "{shown:?}: {} bytes",
            stderr.len()
        );
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\0') || c == '\u{202e}';
        assert!(!stderr.contains(steers), "{shown:?}: {stderr:?}");
    }
    assert!(
        seen.iter().any(|path| path.ends_with("git-upload-pack")),
        "{seen:?}"
    );
    for folder in [
        stage.world.path("home"),
        stage.world.path(""),
        stage.world.state(""),
        remote.into(),
        "/".into(),
    ] {
        assert!(!folder.join("canary2").exists(), "{}", folder.display());
    }
    stage.assert_canaries("commands");
}

#[test]
fn a_push_a_rollback_and_all_that_they_start_execute_nothing_else() {
    let stage = Stage::new("traced-push");
    let file = stage.world.path("traced");
    let ssh = stage.world.path("traced-ssh");
    let words: Vec<String> = stage.forced().iter().map(|word| format!("'{word}'")).collect();
    let strace = format!("{:?}", strace(&file)).replace('"', "'");
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\nexport SSH_ORIGINAL_COMMAND=\"$last\"\nexec {strace} {}\n",
        words.join(" ")
    );
    fs::write(&ssh, script).expect("a client in the place of ssh");
    fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).expect("a mode");
    stage.repo.write("large", vec![b'x'; 10 << 20]);
    stage.repo.version("v2");

    let mut push = stage.repo.command();
    push.env("GIT_SSH", &ssh).env("GIT_SSH_VARIANT", "simple");
    let pushed = run(push.args(["push", "deploy@server:shop/green", "main"]), &[]);
    assert!(
        pushed.stderr.contains("live: shop/green release 2"),
        "{}",
        pushed.stderr
    );
    let mut all = executed_in(&file);
    let back = stage.ask("rollback green", &[], &[]);
    assert!(
        back.output.stdout.contains("live: shop/green release 3"),
        "{:?}",
        back.output
    );
    all.extend(back.executed);

    assert_eq!(stage.world.version(), "v1");
    for (path, _) in &all {
        assert!(is_allowed(path), "{} was executed", path.display());
    }
    for name in ["git-receive-pack", "hooks/post-receive", "deployer"] {
        assert!(
            all.iter().any(|(path, _)| path.ends_with(name)),
            "{name} was not seen: {all:?}"
        );
    }
}

#[test]
fn odd_variables_of_a_client_reach_neither_git_nor_deployer() {
    let stage = Stage::new("odd-variables");
    let long = "x".repeat(100_000);
    for protocol in [
        "",
        "version=99",
        "version=2:key=value",
        "version=2\n",
        "--upload-pack=sh",
        long.as_str(),
    ] {
        let odd = [
            ("GIT_PROTOCOL", protocol),
            ("LANG", "../../../../tmp/x"),
            ("LC_ALL", "\u{1b}[2J"),
            ("LANGUAGE", long.as_str()),
            ("GIT_EXEC_PATH", "/tmp"),
            ("GIT_CONFIG_PARAMETERS", "'core.hooksPath=/tmp'"),
            ("GIT_ALLOC_LIMIT", "1"),
            ("LD_PRELOAD", "/nowhere.so"),
            ("RUST_LOG", "trace"),
            ("DOCKER_HOST", "tcp://192.0.2.1:1"),
            ("DEPLOYER_BY", "{\"key\":\"root\",\"user\":\"root\"}"),
        ];
        let git = stage.ask("git-upload-pack 'shop/green'", &odd, b"0000");
        assert_eq!(git.output.code, Some(0), "{:?}", git.output);
        assert!(!git.output.stdout.contains("version 2"), "{protocol:?}");
        let status = stage.ask("status", &odd, &[]);
        assert!(
            status.output.clone().good().contains("release 1"),
            "{:?}",
            status.output
        );
        for (path, environment) in git.executed.iter().chain(&status.executed).skip(1) {
            if path == Path::new(DEPLOYER) && environment.contains("SSH_ORIGINAL_COMMAND") {
                continue;
            }
            for variable in [
                "LANG=../",
                "LC_ALL",
                "LANGUAGE",
                "GIT_PROTOCOL",
                "GIT_EXEC_PATH=/tmp",
                "GIT_CONFIG",
                "LIMIT=1\"",
                "LD_PRELOAD",
                "RUST_LOG",
                "DOCKER_HOST",
                "\\\"root\\\"",
            ] {
                assert!(
                    !environment.contains(variable),
                    "{variable} reached {}: {environment}",
                    path.display()
                );
            }
        }
    }
}

/// Bytes that inflate to `content`, as zlib writes them without compressing.
fn stored(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut parts = content.chunks(65_535).peekable();
    while let Some(part) = parts.next() {
        out.push(u8::from(parts.peek().is_none()));
        let length = u16::try_from(part.len()).expect("a part is short");
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in content {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// A number in groups of seven bits, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// The head of a pack's entry.
fn entry(kind: u8, length: usize) -> Vec<u8> {
    let rest = length >> 4;
    let first = kind << 4 | (length & 0x0f) as u8;
    match rest {
        0 => vec![first],
        rest => [vec![first | 0x80], varint(rest as u64)].concat(),
    }
}

/// A pack of 80 kB, one of whose files is made of the other, 16,384 times: a gigabyte.
fn bomb() -> Vec<u8> {
    const BASE: usize = 64 << 10;
    const TIMES: usize = 16 << 10;
    let base = [entry(3, BASE), stored(&[0; BASE])].concat();
    // `0x80` alone copies 64 KiB from the base's beginning.
    let delta = [
        varint(BASE as u64),
        varint((BASE * TIMES) as u64),
        vec![0x80; TIMES],
    ]
    .concat();
    let mut offset = vec![(base.len() & 0x7f) as u8];
    let mut left = base.len() >> 7;
    while left > 0 {
        left -= 1;
        offset.insert(0, (left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    let mut pack = [&b"PACK"[..], &2_u32.to_be_bytes(), &2_u32.to_be_bytes()].concat();
    for part in [base, entry(6, delta.len()), offset, stored(&delta)] {
        pack.extend(part);
    }
    let sum = run(&mut Command::new("sha1sum"), &pack).good();
    let digits = sum.as_bytes()[..40].chunks(2);
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16);
    pack.extend(digits.map(|pair| digit(pair).expect("two digits")));
    pack
}

#[test]
fn a_delta_that_unfolds_into_a_gigabyte_is_declined_before_it_does() {
    let stage = Stage::new("delta-bomb");
    let line = format!(
        "{} {} refs/heads/bomb\0report-status\n",
        "0".repeat(40),
        stage.tip().trim()
    );
    let input = [format!("{:04x}{line}0000", line.len() + 4).into_bytes(), bomb()].concat();
    let mut receive = Command::new(DEPLOYER);
    receive
        .args(&stage.forced()[1..])
        .env_clear()
        .env("HOME", stage.world.path("home"))
        .env("SSH_ORIGINAL_COMMAND", "git-receive-pack 'shop/green'");

    let peaks = Peaks::watch(&stage.world);
    let told = run(&mut receive, &input);
    peaks.assert_all_below(MEMORY_MAX);

    assert!(
        told.stdout.contains("ng refs/heads/bomb unpacker error"),
        "{told:?}"
    );
    assert!(told.stderr.contains("attempting to allocate"), "{told:?}");
    stage.assert_unharmed("a delta bomb");
}
