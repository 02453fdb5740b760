//! What a client asks for: a word list as a request.

use std::path::Path;

use crate::ground::told::Hint;
use crate::model::SlotName;

/// One of git's three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `git push`
    ReceivePack,
    /// `git fetch`, `git clone`
    UploadPack,
    /// `git archive --remote`
    UploadArchive,
}

impl Service {
    const ALL: [Service; 3] = [Service::ReceivePack, Service::UploadPack, Service::UploadArchive];

    /// The name of the program: `git-receive-pack`.
    pub fn program(self) -> &'static str {
        match self {
            Service::ReceivePack => "git-receive-pack",
            Service::UploadPack => "git-upload-pack",
            Service::UploadArchive => "git-upload-archive",
        }
    }
}

/// The programs that a client of Git LFS asks for: by its two protocols.
const LFS: [&str; 2] = ["git-lfs-authenticate", "git-lfs-transfer"];

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Nothing: whoever it is wants to log in.
    Login,
    /// One of git's services on a repository.
    Git {
        /// Which.
        service: Service,
        /// The repository as the client wrote it: see [`repository`].
        remote: String,
    },
    /// A command of deployer's own, without the program's name. At least one word.
    Deployer(Vec<String>),
}

/// Words that are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// One of git's services without a repository, or with more than one word after it.
    #[error("{0} takes the name of one repository, as in {0} shop/green")]
    GitArguments(&'static str),
    /// A program of Git LFS, which a client asks for where a push brings its files.
    #[error(
        "Git LFS is not served here: a build finds its files as pointers{}",
        Hint(
            "`git push --no-verify` pushes without them; where another server keeps them, `git config remote.NAME.lfsurl \
             ADDRESS` sends them there"
        )
    )]
    Lfs,
    /// A repository that is no slot's.
    #[error("there is no repository {0:?}: the remotes are APP/green and APP/blue")]
    NoRepository(String),
}

impl Request {
    /// What `words` ask for.
    ///
    /// # Errors
    /// When one of git's services is asked for with anything but one word, or one of Git LFS.
    pub fn read(words: &[String]) -> Result<Self, RequestError> {
        if words.first().is_some_and(|word| LFS.contains(&word.as_str())) {
            return Err(RequestError::Lfs);
        }
        if let Some((service, arguments)) = git_service(words) {
            let [remote] = arguments else {
                return Err(RequestError::GitArguments(service.program()));
            };
            let remote = remote.clone();
            return Ok(Request::Git { service, remote });
        }
        let own = match words {
            [program, own @ ..] if program == "deployer" => own,
            own => own,
        };
        Ok(match own {
            [] => Request::Login,
            own => Request::Deployer(own.to_vec()),
        })
    }
}

/// The service and its arguments, however git names it: `git-receive-pack X` or `git receive-pack X`.
fn git_service(words: &[String]) -> Option<(Service, &[String])> {
    let (program, arguments) = match words {
        [git, service, arguments @ ..] if git == "git" => (format!("git-{service}"), arguments),
        [program, arguments @ ..] => (program.clone(), arguments),
        [] => return None,
    };
    let service = Service::ALL
        .into_iter()
        .find(|service| service.program() == program)?;
    Some((service, arguments))
}

/// The slot whose repository `remote` names: `shop/green`, `shop/green.git`, `green`, with or without a `/` before it,
/// as an address with `ssh://` puts one there; or the repository's whole path in the folder `repositories`. The path is
/// compared as text, and never opened as the client wrote it.
///
/// # Errors
/// When it is none of these.
pub fn repository(remote: &str, repositories: &Path) -> Result<SlotName, RequestError> {
    let inside = repositories
        .to_str()
        .and_then(|folder| remote.strip_prefix(folder)?.strip_prefix('/'));
    let relative = match inside {
        Some(inside) if inside.contains('/') => inside,
        _ => remote.strip_prefix('/').unwrap_or(remote),
    };
    let slot = relative.strip_suffix(".git").unwrap_or(relative).parse();
    slot.map_err(|_| RequestError::NoRepository(remote.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Request, RequestError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Request::read(&words)
    }

    fn repository(remote: &str) -> Result<SlotName, RequestError> {
        super::repository(remote, Path::new("/var/lib/deployer/git"))
    }

    #[test]
    fn a_remote_is_written_short_or_whole() {
        for (written, slot) in [
            ("shop/green", "shop/green"),
            ("/shop/green", "shop/green"),
            ("shop/green.git", "shop/green"),
            ("/shop/green.git", "shop/green"),
            ("green", "green"),
            ("/blue.git", "blue"),
            ("/var/lib/deployer/git/shop/green.git", "shop/green"),
            ("/var/lib/deployer/git/shop/green", "shop/green"),
        ] {
            assert_eq!(repository(written), Ok(slot.parse().unwrap()), "{written}");
        }
    }

    #[test]
    fn git_names_its_services_in_one_word_or_two() {
        for words in [&["git-receive-pack", "x"][..], &["git", "receive-pack", "x"]] {
            let (service, remote) = (Service::ReceivePack, "x".to_owned());
            assert_eq!(read(words), Ok(Request::Git { service, remote }));
        }
    }

    #[test]
    fn nothing_else_is_a_remote() {
        for written in [
            "",
            "/",
            "..",
            "../shop/green",
            "shop/../shop/green",
            "//shop/green",
            "shop//green",
            "shop/green/",
            "shop/green.git/",
            "shop/green.git.git",
            "./shop/green",
            "~/shop/green",
            "~deploy/git/shop/green.git",
            "/var/lib/deployer/git",
            "/var/lib/deployer/git/green.git",
            "/var/lib/deployer/git/../git/shop/green.git",
            "/var/lib/deployer/git//shop/green.git",
            "/var/lib/deployer/gitshop/green.git",
            "/etc/passwd",
            "--exec=/bin/sh",
            "shop/green\u{200b}",
            "SHOP/green",
            "shop/red",
        ] {
            assert!(
                matches!(repository(written), Err(RequestError::NoRepository(_))),
                "{written}"
            );
        }
        for words in [
            &["git-receive-pack"][..],
            &["git", "upload-pack"],
            &["git-upload-pack", "--strict", "shop/green"],
            &["git", "upload-archive", "shop/green", "x"],
        ] {
            assert!(
                matches!(read(words), Err(RequestError::GitArguments(_))),
                "{words:?}"
            );
        }
    }

    #[test]
    fn git_lfs_is_answered_with_what_to_do_instead() {
        for words in [
            &["git-lfs-authenticate", "shop/green", "upload"][..],
            &["git-lfs-transfer", "shop/green.git", "download"],
        ] {
            let told = read(words).unwrap_err().to_string();
            assert!(
                told.contains("Git LFS is not served here") && told.contains("--no-verify"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_command_is_taken_with_and_without_the_programs_name() {
        for words in [&["status"][..], &["deployer", "status"]] {
            assert_eq!(read(words), Ok(Request::Deployer(vec!["status".into()])));
        }
        for words in [&[][..], &["deployer"]] {
            assert_eq!(read(words), Ok(Request::Login));
        }
        let other = ["git", "gc"];
        assert_eq!(
            read(&other),
            Ok(Request::Deployer(other.map(str::to_owned).to_vec()))
        );
    }
}
