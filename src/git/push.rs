//! What a push was: the lines, the arguments and the environment that git gives to hooks.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::process::Command;

use git2::Oid;

use crate::ground::told::Hint;
use crate::model::{Asked, Commit, escaped};

/// Bytes of the hook's standard input that are read. A line is about 110 bytes.
const INPUT_MAX: u64 = 1 << 20;
/// References that one push may update.
const UPDATES_MAX: usize = 10_000;
/// Push options that are looked at.
const OPTIONS_MAX: usize = 100;
/// References and options that are named in an answer; the rest is only counted.
const NAMED_MAX: usize = 20;

/// A variable for the environment of every git that reads what was pushed: the most that it takes in one piece. Git
/// streams large files, but a delta of some hundred bytes unfolds into as much as it says, in memory. The largest file
/// that git itself makes a delta of has 512 MiB.
pub const MEMORY_MAX: (&str, &str) = ("GIT_ALLOC_LIMIT", "513m");

/// The id of a git object of any kind: a commit, or a tag that names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectId(pub(super) Oid);

impl fmt::Display for ObjectId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl From<&Commit> for ObjectId {
    fn from(commit: &Commit) -> Self {
        Self(Oid::from_str(commit.as_str()).expect("a commit is 40 hexadecimal digits"))
    }
}

/// One reference that a push has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// What it was before; absent where it is new.
    pub old: Option<ObjectId>,
    /// What it is now; absent where it was deleted.
    pub new: Option<ObjectId>,
    /// Its whole name: `refs/heads/main`. Not made printable.
    pub reference: String,
}

/// What the hook was told is not what git tells a hook.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A line is not `OLD NEW REFERENCE`.
    #[error("{line:?} is not what git gives to a hook: OLD NEW REFERENCE")]
    Line {
        /// The line, printable and cut to 120 characters.
        line: String,
    },
    /// More references than a push may update.
    #[error(
        "the push updates more than {UPDATES_MAX} references; nothing was released{}",
        Hint("push the branch alone")
    )]
    TooMany,
    /// The hook's input could not be read.
    #[error("could not read what was pushed: {0}")]
    Io(#[from] io::Error),
}

impl RefUpdate {
    /// Every update that `from`, the hook's standard input, tells of: at most 10,000 in at most 1 MiB.
    ///
    /// # Errors
    /// When a bound is passed, a line is malformed, or `from` cannot be read.
    pub fn read(from: impl Read) -> Result<Vec<Self>, PushError> {
        let mut input = Vec::new();
        from.take(INPUT_MAX + 1).read_to_end(&mut input)?;
        let lines: Vec<&[u8]> = input
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        if input.len() as u64 > INPUT_MAX || lines.len() > UPDATES_MAX {
            return Err(PushError::TooMany);
        }
        lines.into_iter().map(Self::parse).collect()
    }

    /// The update that git tells the hook `update` of, by its three arguments.
    ///
    /// # Errors
    /// When they are not what git gives.
    pub fn told(reference: &OsStr, old: &OsStr, new: &OsStr) -> Result<Self, PushError> {
        let words = [old, new, reference].map(OsStr::as_encoded_bytes);
        Self::parse(&words.join(&b' '))
    }

    /// The line that tells a hook of it.
    pub fn line(&self) -> String {
        let id = |id: Option<ObjectId>| id.map_or_else(|| "0".repeat(40), |id| id.to_string());
        format!("{} {} {}", id(self.old), id(self.new), self.reference)
    }

    fn parse(line: &[u8]) -> Result<Self, PushError> {
        let bad = || PushError::Line {
            line: escaped(line, 120),
        };
        let mut words = line.splitn(3, |&b| b == b' ');
        let mut next = || words.next().filter(|word| !word.is_empty()).ok_or_else(bad);
        let (old, new, reference) = (next()?, next()?, next()?);
        Ok(Self {
            old: object(old).ok_or_else(bad)?,
            new: object(new).ok_or_else(bad)?,
            reference: String::from_utf8_lossy(reference).into_owned(),
        })
    }
}

/// An object's id; all zeros is `Some(None)`, what is no id is `None`.
fn object(hex: &[u8]) -> Option<Option<ObjectId>> {
    let hex = std::str::from_utf8(hex).ok().filter(|hex| hex.len() == 40)?;
    let id = Oid::from_str(hex).ok()?;
    Some((!id.is_zero()).then_some(ObjectId(id)))
}

/// What a push means for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The slot's branch has a new tip, to be released.
    Branch {
        /// The branch's whole name.
        reference: String,
        /// Its new tip: a commit, as git itself sees to for references under `refs/heads/`.
        new: ObjectId,
        /// Other references in the same push, stored and not released: printable, at most 20.
        others: Vec<String>,
    },
    /// The slot's branch was deleted: nothing is released, nothing that runs is stopped.
    Deleted {
        /// The branch's whole name.
        reference: String,
    },
    /// Only other branches or tags: stored, not released.
    Other {
        /// Their whole names: printable, at most 20.
        references: Vec<String>,
    },
}

/// What `updates` mean for a slot that releases `branch` (`main`, or whole: `refs/heads/main`).
pub fn what_was_pushed(updates: &[RefUpdate], branch: &str) -> Pushed {
    let reference = whole_name(branch);
    let others = || {
        let names = updates.iter().map(|update| update.reference.as_str());
        let others = names.filter(|name| *name != reference).take(NAMED_MAX);
        others.map(|name| escaped(name.as_bytes(), 200)).collect()
    };
    match updates.iter().rfind(|update| update.reference == reference) {
        Some(RefUpdate { new: Some(new), .. }) => Pushed::Branch {
            new: *new,
            others: others(),
            reference,
        },
        Some(RefUpdate { new: None, .. }) => Pushed::Deleted { reference },
        None => Pushed::Other { references: others() },
    }
}

/// A branch's whole name.
pub(super) fn whole_name(branch: &str) -> String {
    match branch.strip_prefix("refs/heads/") {
        Some(_) => branch.to_owned(),
        None => format!("refs/heads/{branch}"),
    }
}

/// What `git push -o …` asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// `-o no-promote` and `-o pull`.
    pub asked: Asked,
    /// Options that mean nothing here: printable, at most 20.
    pub unknown: Vec<String>,
}

impl PushOptions {
    /// The options in this process's environment, as git sets it for a hook.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// The options that `var` gives under git's names: `GIT_PUSH_OPTION_COUNT`, `GIT_PUSH_OPTION_0`, …
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let count = var("GIT_PUSH_OPTION_COUNT").and_then(|count| count.to_str()?.parse::<usize>().ok());
        let mut options = Self::default();
        for index in 0..count.unwrap_or(0).min(OPTIONS_MAX) {
            let Some(option) = var(&format!("GIT_PUSH_OPTION_{index}")) else {
                continue;
            };
            match option.as_encoded_bytes() {
                b"no-promote" => options.asked.no_promote = true,
                b"pull" => options.asked.pull = true,
                unknown if options.unknown.len() < NAMED_MAX => options.unknown.push(escaped(unknown, 100)),
                _ => {}
            }
        }
        options
    }
}

/// Whether the push that this hook is about needs the repository to become shallow: it comes from a shallow clone whose
/// history the repository does not have. `var` gives the hook's environment.
pub fn is_shallow(var: impl Fn(&str) -> Option<OsString>) -> bool {
    // Git puts the roots that such a push would add where its hooks find them.
    var("GIT_SHALLOW_FILE").is_some_and(|file| !file.is_empty())
}

/// Takes every `GIT_*` variable of this process out of what `command` will inherit.
///
/// In a hook `GIT_DIR` is `.`, so that git run anywhere else would look for its repository there. The library
/// that this module uses reads these variables only when asked to open a repository from the environment, which
/// it never is; so this process's own environment needs no scrubbing, only its children's.
pub fn without_git(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if is_git(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_git(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"GIT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn pushed(lines: &str, branch: &str) -> Pushed {
        what_was_pushed(&RefUpdate::read(lines.as_bytes()).unwrap(), branch)
    }

    fn id(hex: &str) -> ObjectId {
        ObjectId(Oid::from_str(hex).unwrap())
    }

    #[test]
    fn only_the_slots_branch_is_released() {
        let lines = format!("{NONE} {A} refs/heads/main\n{A} {B} refs/tags/v1\n");
        assert_eq!(
            pushed(&lines, "main"),
            Pushed::Branch {
                reference: "refs/heads/main".into(),
                new: id(A),
                others: vec!["refs/tags/v1".into()]
            }
        );
        assert_eq!(pushed(&lines, "refs/heads/main"), pushed(&lines, "main"));
        let references = vec!["refs/heads/main".into(), "refs/tags/v1".into()];
        assert_eq!(pushed(&lines, "live"), Pushed::Other { references });
        // A tag of the branch's name is not the branch.
        let tag = format!("{NONE} {A} refs/tags/main\n");
        assert!(matches!(pushed(&tag, "main"), Pushed::Other { .. }));
    }

    #[test]
    fn a_deleted_branch_is_no_release() {
        let reference = "refs/heads/main".to_owned();
        assert_eq!(
            pushed(&format!("{A} {NONE} refs/heads/main\n"), "main"),
            Pushed::Deleted { reference }
        );
    }

    #[test]
    fn what_is_named_back_is_printable_and_bounded() {
        let lines: String = (0..100)
            .map(|n| format!("{NONE} {A} refs/heads/x\u{9b}{n}\n"))
            .collect();
        let Pushed::Other { references } = pushed(&lines, "main") else {
            panic!("released");
        };
        assert_eq!(references.len(), NAMED_MAX);
        assert_eq!(references[0], "refs/heads/x\\u{9b}0");
    }

    #[test]
    fn malformed_or_endless_input_is_refused() {
        for bad in [
            "hello",
            "1 2 refs/heads/main",
            &format!("{A} {B}"),
            &format!("{A} {B} "),
            &format!("{A}  refs/heads/main"),
            &format!("{A} {}g refs/heads/main", &B[1..]),
        ] {
            assert!(
                matches!(RefUpdate::read(bad.as_bytes()), Err(PushError::Line { .. })),
                "{bad}"
            );
        }
        let line = format!("{A} {B} r\n");
        let many = line.repeat(UPDATES_MAX + 1);
        assert!(matches!(
            RefUpdate::read(many.as_bytes()),
            Err(PushError::TooMany)
        ));
        assert!(matches!(
            RefUpdate::read(io::repeat(b'a')),
            Err(PushError::TooMany)
        ));
        assert_eq!(
            RefUpdate::read(&line.repeat(UPDATES_MAX).into_bytes()[..])
                .unwrap()
                .len(),
            UPDATES_MAX
        );
    }

    #[test]
    fn push_options_are_known_or_named() {
        let vars = |name: &str| match name {
            "GIT_PUSH_OPTION_COUNT" => Some("4".into()),
            "GIT_PUSH_OPTION_0" => Some("no-promote".into()),
            "GIT_PUSH_OPTION_1" => Some("no\x1b-promote".into()),
            "GIT_PUSH_OPTION_3" => Some("pull".into()),
            _ => None,
        };
        let options = PushOptions::from_vars(vars);
        let (no_promote, pull) = (true, true);
        assert_eq!(options.asked, Asked { no_promote, pull });
        assert_eq!(options.unknown, ["no\\u{1b}-promote"]);
        let endless = PushOptions::from_vars(|name| {
            Some(
                if name.ends_with("COUNT") {
                    usize::MAX.to_string()
                } else {
                    "x".into()
                }
                .into(),
            )
        });
        assert_eq!(endless.unknown.len(), NAMED_MAX);
        assert_eq!(PushOptions::from_vars(|_| None), PushOptions::default());
    }

    #[test]
    fn only_gits_own_variables_are_scrubbed() {
        assert!(is_git(OsStr::new("GIT_DIR")) && is_git(OsStr::new("GIT_PUSH_OPTION_0")));
        assert!(!is_git(OsStr::new("GITHUB_X")) && !is_git(OsStr::new("PATH")));
    }
}
