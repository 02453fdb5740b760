//! Deployer's part of a program's configuration: written, checked by the program itself, and in force; or the former
//! one is back.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::door::{CHECK, VERSION};
use super::view::{VERSION_HOST, View};
use super::way::Way;
use super::{command, door};
use crate::ground::told::Told;
use crate::ground::{durable, failpoint};
use crate::model::{Program, ProxySettings};
use crate::proxy::answers::Mismatch;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange;

/// How long a program may take to put a configuration in force that it was told to read.
const TAKES_EFFECT: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// The program must be able to read it, whoever that runs as.
const MODE: u32 = 0o644;

/// Deployer's part of a program's configuration.
pub(super) struct Configuration<'a> {
    pub(super) program: Program,
    pub(super) settings: &'a ProxySettings,
    /// Where it is.
    pub(super) file: PathBuf,
    /// A file that must be there before it is checked.
    pub(super) beside: Option<PathBuf>,
    /// The command that checks it with all the rest.
    pub(super) check: Vec<String>,
    /// The command that puts it in force.
    pub(super) reload: Vec<String>,
    /// Where it is asked for.
    pub(super) door: Option<SocketAddrV4>,
    /// The version that this process has had checked already.
    pub(super) checked: Option<String>,
}

impl Configuration<'_> {
    /// Makes sure that the program has the configuration of `view`. Where it has, nothing is done.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the program does not take it: the former one is back and in force.
    pub(super) async fn put(&self, view: &View, check: &str, way: &dyn Way) -> Result<(), ProxyError> {
        let text = view.text()?;
        let former = self.read()?;
        let is_written = former.as_deref() == Some(text.as_str());
        if is_written && self.has(&view.version, check).await {
            return Ok(());
        }
        match is_written {
            true => self.make_beside()?,
            false => self.write(&text)?,
        }
        failpoint::at("configuration.written");
        let checked = match self.checked.as_ref() == Some(&view.version) {
            true => Ok(()),
            false => command::run(&self.check).await,
        };
        let (why, was_read) = match checked {
            Err(why) => (Some(Told::new(why)), false),
            Ok(()) => (self.take(view, check, way).await.err(), true),
        };
        if let Some(why) = why {
            self.put_back(former.as_deref(), was_read).await;
            way.after_reload(view);
            let mut why = why.behind(format_args!(
                "{} did not take its configuration, and the former one is back",
                self.program.name()
            ));
            if let Err(ProxyError::Unreachable { hint, .. }) = self.version(check).await {
                why = why.hint(hint);
            }
            return Err(ProxyError::refused(why));
        }
        failpoint::at("configuration.in-force");
        let settled = way.settled(view).await;
        way.after_reload(view);
        settled
    }

    /// Read, and answered by.
    async fn take(&self, view: &View, check: &str, way: &dyn Way) -> Result<(), Told> {
        way.before_reload(view, self.serves_visitors(view, check).await)
            .await;
        command::run(&self.reload).await?;
        let began = Instant::now();
        while began.elapsed() < TAKES_EFFECT {
            if self.has(&view.version, check).await {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        let told = format!(
            "it was reloaded and does not serve {} by it",
            self.settings.listen
        );
        Err(Told::new(told).hint(format!(
            "its configuration must include {}; its own log may tell more",
            self.file.display()
        )))
    }

    /// Whether visitors may have connections to deployer's part. In a switch they come to the program only afterwards, and
    /// nothing is to be waited for.
    async fn serves_visitors(&self, view: &View, check: &str) -> bool {
        let is_switch = self.checked.as_ref() == Some(&view.version);
        let is_deployers = async || {
            let asked = exchange::ask(self.settings.listen, VERSION_HOST, "/", &[(CHECK, check)]).await;
            asked.is_ok_and(|(_, headers)| headers.contains_key(VERSION))
        };
        view.is_public && (!is_switch || is_deployers().await)
    }

    /// Has the program take all of `view` but the public port and the slot ports, which somebody else has; after
    /// [`Configuration::prepare`]. When this returns it runs, and serves by it at the door. The whole configuration is
    /// written again, for the reload that is to come.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the program does not.
    pub(super) async fn rehearse(&self, view: &View, check: &str, way: &dyn Way) -> Result<(), ProxyError> {
        let tried = view.without_ports();
        self.write(&tried.text()?)?;
        let taken = self.take(&tried, check, way).await;
        self.write(&view.text()?)?;
        taken.map_err(|why| {
            let program = self.program.name();
            ProxyError::refused(why.behind(format_args!("{program} does not take its configuration")))
        })?;
        way.settled(view).await
    }

    /// Checks whether the program takes its configuration without deployer's part, which is away for that moment alone.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] with what it misses.
    pub(super) async fn check_without(&self) -> Result<(), ProxyError> {
        let away = self.away();
        match fs::rename(&self.file, &away) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved.map_err(|error| self.failed("moved", &error))?,
        }
        failpoint::at("configuration.away");
        let checked = command::run(&self.check).await;
        fs::rename(&away, &self.file).map_err(|error| self.failed("put back", &error))?;
        checked.map_err(|why| {
            ProxyError::refused(format!(
                "{} cannot do without deployer's part yet: {why}{}. Take out of your own files what names deployer's \
                 part, and give this command again",
                self.program.name(),
                missed(&self.check, &why)
            ))
        })
    }

    /// Where deployer's part is while it is tried whether the program can do without.
    fn away(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".away");
        name.into()
    }

    /// The former file is back; and in force again, as far as the program takes it, where it `was_read` that there was
    /// another one.
    async fn put_back(&self, former: Option<&str>, was_read: bool) {
        let written = match former {
            Some(text) => self.write(text).is_ok(),
            None => fs::remove_file(&self.file).is_ok(),
        };
        if written && was_read && command::run(&self.check).await.is_ok() {
            let _ = command::run(&self.reload).await;
        }
    }

    /// Writes the configuration of `view` and has the program check it, without putting it in force.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the program refuses it: the former file is back.
    pub(super) async fn prepare(&self, view: &View) -> Result<(), ProxyError> {
        let former = self.read()?;
        self.write(&view.text()?)?;
        let Err(why) = command::run(&self.check).await else {
            return Ok(());
        };
        // Nothing was put in force, so that the file is all there is to put back.
        let _ = match former {
            Some(text) => self.write(&text).is_ok(),
            None => fs::remove_file(&self.file).is_ok(),
        };
        Err(ProxyError::refused(format!(
            "{} does not take its configuration: {why}",
            self.program.name()
        )))
    }

    /// Removes deployer's part, and has the program go on without it. Returns once it does.
    ///
    /// # Errors
    /// When it cannot be removed, or the program does not take what is left.
    pub(super) async fn remove(&self, check: &str) -> Result<(), ProxyError> {
        let former = self.read()?;
        let was_there = match fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            removed => removed
                .map(|()| true)
                .map_err(|error| self.failed("removed", &error))?,
        };
        failpoint::at("configuration.removed");
        if !was_there && !self.is_deployers(check).await {
            return Ok(());
        }
        if let Err(why) = command::run(&self.reload).await {
            // A program that does not run serves nothing, and is started without deployer's part.
            if !self.is_deployers(check).await {
                return Ok(());
            }
            if let Some(former) = former {
                let _ = self.write(&former);
            }
            return Err(ProxyError::failed(format!(
                "{} goes on as before: {why}",
                self.program.name()
            )));
        }
        let began = Instant::now();
        while self.is_deployers(check).await {
            if began.elapsed() > TAKES_EFFECT {
                return Err(ProxyError::failed(format!(
                    "{} was reloaded, and still serves {} for deployer",
                    self.program.name(),
                    self.settings.listen
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Whether the program serves the public port by a configuration of deployer's, whichever.
    async fn is_deployers(&self, check: &str) -> bool {
        let version = self.version(check).await;
        version.is_ok_and(|version| version.is_some())
    }

    /// What is not as `view` says.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn mismatches(&self, view: &View, check: &str) -> Result<Vec<Mismatch>, ProxyError> {
        let mut mismatches = Vec::new();
        let program = self.program;
        if self.read()?.as_deref() != Some(view.text()?.as_str()) {
            let file = self.file.clone();
            mismatches.push(Mismatch::File { program, file });
        }
        match self.version(check).await {
            Err(error) => mismatches.push(Mismatch::Silent {
                reason: Told::of(&error),
            }),
            Ok(version) if version.as_deref() != Some(view.version.as_str()) => {
                let listen = self.settings.listen;
                mismatches.push(Mismatch::Version { program, listen });
            }
            Ok(_) => {}
        }
        Ok(mismatches)
    }

    async fn has(&self, version: &str, check: &str) -> bool {
        let has = self.version(check).await;
        has.is_ok_and(|has| has.as_deref() == Some(version))
    }

    /// The version of the configuration that the program serves the public port by; none where it is not deployer's.
    ///
    /// # Errors
    /// [`ProxyError::Unreachable`] when nothing answers there.
    pub(super) async fn version(&self, check: &str) -> Result<Option<String>, ProxyError> {
        let headers = [(CHECK, check)];
        let asked = door::ask(self.door, self.settings.listen, VERSION_HOST, "/", &headers).await;
        let (_, headers) = asked.map_err(|error| ProxyError::Unreachable {
            who: format!(
                "{} does not answer at {}",
                self.program.name(),
                self.settings.listen
            ),
            cause: io::Error::other(error.to_string()),
            hint: format!("does {} run?", self.program.as_str()),
        })?;
        let version = headers.get(VERSION).and_then(|value| value.to_str().ok());
        Ok(version.map(str::to_owned))
    }

    /// The text that is in place; none where there is no file.
    pub(super) fn read(&self) -> Result<Option<String>, ProxyError> {
        match fs::read(&self.file) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    /// Puts `text` into its place, unchecked.
    pub(super) fn write(&self, text: &str) -> Result<(), ProxyError> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        durable::make_folder(folder, 0o755).map_err(|error| self.failed("written", &error))?;
        // Of a deployer that was killed while the program was tried without.
        let _ = fs::remove_file(self.away());
        self.make_beside()?;
        durable::replace(&self.file, MODE, text.as_bytes()).map_err(|error| self.failed("written", &error))
    }

    /// What the configuration needs to be taken, as empty as it can be.
    fn make_beside(&self) -> Result<(), ProxyError> {
        match &self.beside {
            Some(beside) if !beside.exists() => durable::replace(beside, MODE, b"").map_err(|error| {
                ProxyError::refused(format!("{} cannot be written: {error}", beside.display()))
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> ProxyError {
        let told = Told::new(format!("{} cannot be {what}: {error}", self.file.display()));
        ProxyError::refused(match error.kind() {
            io::ErrorKind::PermissionDenied => told.hint(
                "`deployer install` makes the folder, or make it yourself and give it to deployer's user",
            ),
            _ => told,
        })
    }
}

/// Where the user's own files name a backend that `why` misses: HAProxy says which backend, and not where. `check` is the
/// command that has said so.
fn missed(check: &[String], why: &str) -> String {
    let mut places = Vec::new();
    for file in check.iter().map(Path::new).filter(|path| path.is_file()) {
        let text = fs::read_to_string(file).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| !word.ends_with("_backend"));
            let named = words.nth(1).unwrap_or_default();
            if named.starts_with("deployer") && why.contains(&format!("'{named}'")) {
                places.push(format!("{named} is named in {}:{}", file.display(), index + 1));
            }
        }
    }
    match places.is_empty() {
        true => String::new(),
        false => format!(" ({})", places.join(", ")),
    }
}
