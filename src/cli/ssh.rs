//! `deployer ssh`: the forced command of every key. See [`crate::ssh`].

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

use clap::error::ErrorKind;

use super::access::{Access, AccessOf, NamedTarget};
use super::audited::{self, Subject};
use super::failure::{Code, Failure, Result};
use super::{caller, output, select};
use crate::git::MEMORY_MAX;
use crate::ground::told::Told;
use crate::model::{AppName, By, Grant, KeyName, Role, Scope, Slot, escaped, printable};
use crate::release::Context;
use crate::ssh::{
    Asked, ForcedCommand, Greeting, Refusal, Request, Service, Target, greeting, may, permit, repository,
    split,
};
use crate::store::ActionOutcome;

/// What sshd says of the client: its address and port, and the server's.
const CONNECTION: &str = "SSH_CONNECTION";

/// The command that the client gave to sshd, unchanged.
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// Where git's programs are looked for; never in a PATH that came from elsewhere.
const GIT_FOLDERS: [&str; 5] = [
    "/usr/bin",
    "/usr/local/bin",
    "/usr/lib/git-core",
    "/usr/libexec/git-core",
    "/usr/local/libexec/git-core",
];

/// The PATH of what is run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name under which the program is a login shell: see [`super::shell`].
pub(super) const LOGIN_SHELL: &str = "deployer-shell";

/// The values of `GIT_PROTOCOL` that are passed on.
const GIT_PROTOCOLS: [&str; 3] = ["version=0", "version=1", "version=2"];

/// Do what the holder of a key asks for over ssh, as far as the key may (sshd runs it; not for hands)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key's name
    #[arg(long, value_name = "NAME")]
    key: KeyName,
    /// What it may do
    #[arg(long)]
    role: Role,
    /// The apps that it is for; all of them when it is left out
    #[arg(long = "app", value_name = "APP")]
    apps: Vec<AppName>,
    /// The slots that it is for; both when it is left out
    #[arg(long = "slot", value_name = "SLOT")]
    slots: Vec<Slot>,
}

impl Args {
    /// `config` is what the forced command names, and nothing that the environment says; `access_of` tells what a command
    /// line requires.
    pub(super) fn run(self, config: Option<&Path>, access_of: AccessOf) -> Result {
        let grant = Grant {
            role: self.role,
            apps: self.apps,
            slots: self.slots,
        };
        Door::new(self.key, grant, config, access_of)?.open()
    }
}

/// Runs the forced command that sshd gave to the login shell: see [`super::shell`].
pub(super) fn run(command: ForcedCommand, access_of: AccessOf) -> Result {
    Door::new(command.key, command.grant, command.config.as_deref(), access_of)?.open()
}

/// One key at the front door.
struct Door {
    key: KeyName,
    grant: Grant,
    from: Option<IpAddr>,
    config: PathBuf,
    access_of: AccessOf,
}

impl Door {
    fn new(key: KeyName, grant: Grant, config: Option<&Path>, access_of: AccessOf) -> Result<Self> {
        let config = config.unwrap_or(Path::new(crate::config::DEFAULT_PATH));
        Ok(Self {
            key,
            grant,
            from: client_address(),
            config: std::path::absolute(config).map_err(anyhow::Error::from)?,
            access_of,
        })
    }

    /// Answers the request, and writes a refusal to the audit log.
    fn open(&self) -> Result {
        let command = std::env::var_os(ORIGINAL_COMMAND).unwrap_or_default();
        let mut subject = Subject {
            command: Some(command.to_string_lossy().into_owned()),
            ..Subject::default()
        };
        let ended = self.answer(command.as_encoded_bytes(), &mut subject);
        if let Err(failure) = &ended {
            self.tell_of(failure, &subject);
        }
        ended
    }

    fn answer(&self, command: &[u8], subject: &mut Subject) -> Result {
        let words = split(command).map_err(|error| not_allowed(&error))?;
        match Request::read(&words).map_err(|error| not_allowed(&error))? {
            Request::Login => self.greet(),
            Request::Git { service, remote } => self.git(service, &remote, subject),
            Request::Deployer(words) => self.deployer(&words, subject),
        }
    }

    /// Writes a refusal to the audit log, but not a usage error. Without a configuration there is no audit log.
    fn tell_of(&self, failure: &Failure, subject: &Subject) {
        let outcome = match failure.code() {
            Code::Usage => return,
            Code::NotAllowed | Code::NotFound => ActionOutcome::Refused,
            _ => ActionOutcome::Failed,
        };
        if let Ok(context) = self.context() {
            audited::note_at_door(&context, subject, outcome, failure.message().as_deref());
        }
    }

    fn greet(&self) -> Result {
        let context = self.context()?;
        output::lines(greeting(&Greeting {
            key: &self.key,
            grant: &self.grant,
            from: self.from,
            user: &context.by.user,
            apps: &select::apps(&context, None)?,
        }))
    }

    fn git(&self, service: Service, remote: &str, subject: &mut Subject) -> Result {
        let (role, what) = match service {
            Service::ReceivePack => (Role::Deploy, "push to"),
            Service::UploadPack | Service::UploadArchive => (Role::Read, "fetch from"),
        };
        may(&self.key, &self.grant, what, role).map_err(|refusal| not_allowed(&refusal))?;
        let context = self.context()?;
        let named =
            repository(remote, &context.store.all_repositories()).map_err(|error| not_allowed(&error))?;
        let (app, slot) = subject.slot(&context, &named)?;
        let target = Target::Slot(app.clone(), slot);
        self.permit(&Asked { what, role, target })?;
        let program = git_program(service)?;
        if role == Role::Read {
            // A push is written by its hook.
            audited::note_at_door(&context, subject, ActionOutcome::Done, None);
        }
        let folder = context.store.repository(&app, slot);
        self.exec(&program, [folder.into_os_string()], &[MEMORY_MAX])
    }

    fn deployer(&self, words: &[String], subject: &mut Subject) -> Result {
        let access = match (self.access_of)(words) {
            Ok(access) => access,
            Err(error) => return answered_by_clap(&error, words),
        };
        match access {
            Access::Never(name) => return Err(not_allowed(&Refusal::Never(name))),
            Access::Everybody => {}
            Access::Role { role, what, to } => {
                may(&self.key, &self.grant, what, role).map_err(|refusal| not_allowed(&refusal))?;
                let target = self.target(&to, subject)?;
                self.permit(&Asked { what, role, target })?;
            }
        }
        let program = std::env::current_exe().map_err(anyhow::Error::from)?;
        let config = ["--config".into(), self.config.clone().into_os_string()];
        self.exec(
            &program,
            config.into_iter().chain(words.iter().map(OsString::from)),
            &[],
        )
    }

    /// The target of a command, looked up among what this key can see.
    fn target(&self, to: &NamedTarget, subject: &mut Subject) -> Result<Target> {
        Ok(match to {
            NamedTarget::Visible => Target::Visible,
            NamedTarget::Server => Target::Server,
            NamedTarget::Slot(named) => {
                let (app, slot) = subject.slot(&self.context()?, named)?;
                Target::Slot(app, slot)
            }
            NamedTarget::BothSlots(named) => {
                Target::BothSlots(subject.app(&self.context()?, named.as_ref())?)
            }
            NamedTarget::Release(named) => {
                let (release, record) = select::release_with_record(&self.context()?, named)?;
                subject.is_about(release.app(), Some(record.slot));
                Target::Slot(release.app().clone(), record.slot)
            }
        })
    }

    fn permit(&self, asked: &Asked) -> Result {
        permit(&self.key, &self.grant, asked).map_err(|refusal| not_allowed(&refusal))
    }

    /// The context with this key's scope.
    fn context(&self) -> Result<Context> {
        let by = By {
            key: Some(self.key.clone()),
            user: caller::user(),
            from: self.from,
        };
        let scope = Scope {
            apps: self.grant.apps.clone(),
            slots: self.grant.slots.clone(),
        };
        let settings = crate::config::load(&self.config)?;
        Ok(Context::new(settings, self.config.clone(), by, scope))
    }

    /// Executes `program` in place of this process. Of the client's environment it gets only git's protocol version;
    /// `more` is added.
    fn exec(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        more: &[(&str, &str)],
    ) -> Result {
        let mut command = Program::new(program);
        // By its usual name: under the login shell's name the program would be a login shell again.
        command
            .arg0(
                program
                    .file_name()
                    .filter(|name| *name != LOGIN_SHELL)
                    .unwrap_or("deployer".as_ref()),
            )
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .envs(home().map(|home| ("HOME", home)))
            .envs(git_protocol().map(|version| ("GIT_PROTOCOL", version)))
            .envs(more.iter().copied())
            .envs([caller::variable(&self.key, self.from, &self.grant)]);
        let error = command.exec();
        Err(Failure::new(
            Code::Failed,
            format!("cannot run {}: {error}", program.display()),
        ))
    }
}

/// The client's address. sshd appends the interface to a link-local address, which is cut off here.
fn client_address() -> Option<IpAddr> {
    let connection = std::env::var(CONNECTION).ok()?;
    let address = connection.split(' ').next()?;
    address.split('%').next()?.parse().ok()
}

/// The user's home as sshd found it.
fn home() -> Option<OsString> {
    std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute())
}

fn git_protocol() -> Option<&'static str> {
    let asked = std::env::var("GIT_PROTOCOL").ok()?;
    GIT_PROTOCOLS.into_iter().find(|known| *known == asked)
}

fn git_program(service: Service) -> Result<PathBuf> {
    let name = service.program();
    let mut places = GIT_FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    places.find(|path| path.is_file()).ok_or_else(|| {
        let folders = GIT_FOLDERS.join(", ");
        Failure::new(
            Code::Failed,
            format!("there is no {name} in {folders}: is git installed?"),
        )
    })
}

/// Help and the version are printed; an unknown command is refused; anything else is a usage error.
fn answered_by_clap(error: &clap::Error, words: &[String]) -> Result {
    let text = error.render().to_string();
    let lines = text.lines().map(|line| printable(line).into_owned());
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::lines(lines),
        ErrorKind::InvalidSubcommand => {
            let words = escaped(words.join(" ").as_bytes(), 80);
            Err(not_allowed(&format!(
                "there is no command {words:?} here, and no shell: `help` shows the commands"
            )))
        }
        _ => {
            for line in lines {
                eprintln!("{line}");
            }
            Err(Failure::silent(Code::Usage))
        }
    }
}

fn not_allowed(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Code::NotAllowed,
        Told::of(why).map(|text| printable(text).into_owned()),
    )
}
