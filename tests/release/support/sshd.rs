//! A real sshd on loopback, and people with keys who come to it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Daemon, Output, run};
use super::{World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// An sshd for one test alone. Its file of keys is the one that the world's deployer writes.
pub(crate) struct Sshd {
    daemon: Daemon,
    port: u16,
    user: String,
}

/// Somebody's key: the private file, with the public one beside it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    path: PathBuf,
}

impl Key {
    /// A new ed25519 key in the file `path`.
    #[track_caller]
    pub(crate) fn new(path: PathBuf) -> Self {
        Self::of_type(path, &["-t", "ed25519"])
    }

    /// A new key in the file `path`, of the type that `arguments` tell ssh-keygen.
    #[track_caller]
    pub(crate) fn of_type(path: PathBuf, arguments: &[&str]) -> Self {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", "a comment"]).args(arguments);
        run(keygen.arg("-f").arg(&path), &[]).good();
        Self { path }
    }

    /// The private key's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The public key's line.
    pub(crate) fn public(&self) -> String {
        let mut path = self.path.clone().into_os_string();
        path.push(".pub");
        fs::read_to_string(path).expect("the public key is read")
    }
}

impl Sshd {
    /// An sshd where nobody may come in yet. `lines` are further ones of its configuration.
    #[track_caller]
    pub(crate) fn start(world: &World, lines: &str) -> Self {
        let port = world.spare().port();
        let host = Key::new(world.path("host-key"));
        fs::create_dir_all("/run/sshd").expect("sshd's folder");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n{lines}\n",
            host.path().display(),
            world.authorized_keys().display(),
        );
        fs::write(world.path("sshd_config"), config).expect("the configuration is written");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(world.path("sshd_config"));
        let daemon = Daemon::start(&mut command, &world.path("sshd.log"));
        wait_for("sshd", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).ok());
        let user = run(Command::new("id").arg("-un"), &[]).good().trim().to_owned();
        Self { daemon, port, user }
    }

    /// Lets `key` in with all that the user may: a line that deployer did not write.
    pub(crate) fn let_in(&self, world: &World, key: &Key) {
        let path = world.authorized_keys();
        let mut lines = fs::read_to_string(&path).unwrap_or_default();
        lines += &key.public();
        fs::write(&path, lines).expect("the file of keys is written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("a mode");
    }

    /// The command `ssh`, for the holder of `key`, up to and without the host.
    pub(crate) fn client(&self, key: &Key) -> Vec<String> {
        let words = [
            "ssh",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-p",
            &self.port.to_string(),
            "-i",
            key.path().to_str().expect("a path in UTF-8"),
        ];
        words.map(str::to_owned).to_vec()
    }

    /// `USER@127.0.0.1`
    pub(crate) fn host(&self) -> String {
        format!("{}@127.0.0.1", self.user)
    }

    /// What git calls the repository `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ssh://{}:{}{path}", self.host(), self.port)
    }

    /// The command `ssh OPTIONS HOST COMMAND`, for what [`Self::ssh`] cannot do. No command: a login.
    pub(crate) fn command(&self, key: &Key, options: &[&str], command: &str) -> Command {
        let client = self.client(key);
        let mut ssh = Command::new(&client[0]);
        ssh.args(&client[1..]).args(options).arg(self.host());
        if !command.is_empty() {
            ssh.arg(command);
        }
        ssh
    }

    /// `ssh HOST COMMAND` by the holder of `key`, with nothing on standard input.
    #[track_caller]
    pub(crate) fn ssh(&self, key: &Key, command: &str) -> Output {
        run(&mut self.command(key, &[], command), &[])
    }

    /// What sshd has logged.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }
}
