//! A world whose deployer lives by a wrong clock, which a test sets as it likes. The machine's own is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::World;
use super::process::run;

/// Starts `"$@"` with `$0` in the place of /etc, in a mount namespace that nobody else sees: the worker gets no
/// environment of its starter's, so that only /etc/ld.so.preload reaches it.
const ENTER: &str = "mount --bind \"$0\" /etc && exec \"$@\"";

/// See the module.
pub(crate) struct WrongClock {
    etc: PathBuf,
    seconds: PathBuf,
}

impl WrongClock {
    /// A clock for the processes of `world` that are started by [`Self::command`] and by the hooks after
    /// [`Self::rule_hooks`]; right until it is set.
    #[track_caller]
    pub(crate) fn new(world: &World) -> Self {
        let clock = Self {
            etc: world.path("etc"),
            seconds: world.path("clock"),
        };
        clock.set(0);
        let library = world.path("wrong_clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/wrong_clock.rs");
        let mut rustc = Command::new("rustc");
        rustc
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("WRONG_CLOCK_SECONDS", &clock.seconds)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"])
            .arg(&library)
            .arg(source);
        run(&mut rustc, &[]).good();
        run(Command::new("cp").arg("-a").arg("/etc").arg(&clock.etc), &[]).good();
        fs::write(
            clock.etc.join("ld.so.preload"),
            format!("{}\n", library.display()),
        )
        .expect("the library is named");
        clock
    }

    /// Sets the clock: wrong by so many seconds from now on.
    pub(crate) fn set(&self, seconds: i64) {
        let new = self.seconds.with_extension("new");
        fs::write(&new, seconds.to_string()).expect("the clock is set");
        fs::rename(new, &self.seconds).expect("the clock is set");
    }

    /// `deployer`, by this clock.
    pub(crate) fn command(&self, world: &World) -> Command {
        let plain = world.command();
        let mut command = Command::new("unshare");
        command
            .current_dir(world.path(""))
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .args(["--mount", "--propagation", "private", "sh", "-c", ENTER])
            .arg(&self.etc)
            .arg(plain.get_program())
            .args(plain.get_args());
        command
    }

    /// From now on the hooks of `app`, and so the workers that they start, live by this clock.
    #[track_caller]
    pub(crate) fn rule_hooks(&self, world: &World, app: &str) {
        for slot in ["green", "blue"] {
            let hook = world.state(&format!("git/{app}/{slot}.git/hooks/post-receive"));
            let script = fs::read_to_string(&hook).expect("the hook is there");
            let enter = format!(
                "exec unshare --mount --propagation private sh -c '{ENTER}' '{}' ",
                self.etc.display()
            );
            assert!(script.contains("exec "), "{script}");
            fs::write(&hook, script.replacen("exec ", &enter, 1)).expect("the hook is written");
        }
    }
}
