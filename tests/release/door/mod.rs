//! The front door: who comes in by which key, and what they can do there.

mod environment;
mod keys;
mod login;
mod permits;
mod pushes;
mod shell;
mod told;
mod words;

use std::path::PathBuf;
use std::process::Command;

use crate::support::World;
use crate::support::process::{Output, run};
use crate::support::sshd::Key;

/// The exit code of what a key may not do.
const NOT_ALLOWED: Option<i32> = Some(6);

/// A key that `deployer key add NAME ARGUMENTS` let in.
#[track_caller]
pub(crate) fn key(world: &World, name: &str, arguments: &[&str]) -> Key {
    let key = Key::new(world.path(&format!("key-{name}")));
    add(world, name, arguments, &key.public()).good();
    key
}

/// `deployer key add NAME ARGUMENTS`, with `public` on standard input.
#[track_caller]
fn add(world: &World, name: &str, arguments: &[&str], public: &str) -> Output {
    let mut command = world.command();
    command.args(["key", "add", name]).args(arguments);
    run(&mut command, public.as_bytes())
}

/// A folder with a configuration in which there is nothing but a state folder and a file of keys: no Engine, no proxy.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = Self { folder };
        std::fs::create_dir(keys.path("state")).expect("a state folder");
        std::fs::create_dir(keys.path("home")).expect("a home");
        let text = format!(
            "state = {:?}\n[ssh]\nauthorized_keys = {:?}\n",
            keys.path("state"),
            keys.file()
        );
        std::fs::write(keys.path("deployer.toml"), text).expect("the configuration is written");
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("home/.ssh/authorized_keys")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("the file of keys is read")
    }

    fn write(&self, text: &str) {
        std::fs::create_dir_all(self.path("home/.ssh")).expect("a folder for keys");
        std::fs::write(self.file(), text).expect("the file of keys is written");
    }

    /// A new key's public line, of the type that `arguments` tell ssh-keygen.
    #[track_caller]
    fn public(&self, name: &str, arguments: &[&str]) -> String {
        Key::of_type(self.path(name), arguments).public()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::support::DEPLOYER);
        command
            .arg("--config")
            .arg(self.path("deployer.toml"))
            .args(arguments);
        command
    }

    /// `deployer key ARGUMENTS`, with `input` on standard input.
    #[track_caller]
    fn key(&self, arguments: &[&str], input: &str) -> Output {
        run(self.command(&["key"]).args(arguments), input.as_bytes())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = run(self.command(&["key"]).args(arguments).arg("--json"), &[]).good();
        serde_json::from_str(&text).expect("JSON")
    }
}
