//! What reads bytes that somebody else wrote, each as one function that takes any bytes at all, and panics where a
//! promise about them is broken. `fuzz/` and `tests/bytes/` look for such bytes.

use std::path::Path;

use crate::compose;
use crate::config;
use crate::git::{Pushed, RefUpdate, what_was_pushed};
use crate::model::{Intent, Promotion, ReleaseId, Source, escaped, printable};
use crate::release::{Entry, Learned, Next, next, way};
use crate::ssh;
use crate::store::{self, AppFile, AppState, Record};
use crate::{engine, proxy};

/// Longest error about bytes, in bytes of its own.
const ERROR_MAX: usize = 64 << 10;

/// A compose file.
pub fn compose(data: &[u8]) {
    compose::fuzzing::compose(data);
}

/// A configuration's text: it is taken, or refused in words that are printable and bounded.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = config::of_text(Path::new("/etc/deployer/deployer.toml"), &text) {
        let told = error.to_string();
        assert!(told.len() < ERROR_MAX, "{} bytes of error", told.len());
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
}

/// A WebSocket's frames.
pub fn frames(data: &[u8]) {
    proxy::embedded::fuzzing::frames(data);
}

/// What git tells a hook: it is read or refused, and what is named of it is printable and bounded.
pub fn hook_input(data: &[u8]) {
    let updates = match RefUpdate::read(data) {
        Ok(updates) => updates,
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 1_000 && !told.contains(char::is_control), "{told:?}");
            return;
        }
    };
    assert!(updates.len() <= 10_000);
    let named = match what_was_pushed(&updates, "main") {
        Pushed::Branch { others, .. } => others,
        Pushed::Deleted { .. } => Vec::new(),
        Pushed::Other { references } => references,
    };
    assert!(named.len() <= 20);
    for name in named {
        assert!(!name.contains(char::is_control) && name.len() < 4_000, "{name:?}");
    }
}

/// A Dockerfile's build arguments.
pub fn dockerfile(data: &[u8]) {
    engine::fuzzing::dockerfile(data);
}

/// A client's HTTP.
pub fn http(data: &[u8]) {
    proxy::embedded::fuzzing::http(data);
}

/// An ignore file, and a path.
pub fn ignore(data: &[u8]) {
    engine::fuzzing::ignore(data);
}

/// What a build or an instance prints.
pub fn output(data: &[u8]) {
    engine::fuzzing::output(data);
}

/// Files of the state folder. Whatever a journal says, its release comes to an end.
pub fn state(data: &[u8]) {
    store::fuzzing::sealed::<AppState>(data);
    store::fuzzing::sealed::<AppFile>(data);
    store::fuzzing::sealed::<Record>(data);
    let mut entries = store::fuzzing::journal::<Entry>(data);
    let source = match data.first() {
        Some(b'p' | b'r') => Source::of_release(ReleaseId(1), None),
        _ => Source::Commit {
            commit: "0".repeat(40).parse().expect("it is a commit"),
            subject: String::new(),
            reference: String::new(),
        },
    };
    let intent = match data.first() {
        Some(b'p') => Intent::Promote { from: None },
        _ => Intent::Deploy {
            promote: Promotion::Yes,
        },
    };
    for _ in 0..100 {
        match next(way(&source, &intent), data.len().is_multiple_of(2), &entries) {
            Next::Do(step) => entries.push(Entry::Done {
                step,
                learned: Learned::Nothing,
            }),
            Next::TakeEffect => entries.push(Entry::TakesEffect { yields_to: None }),
            Next::Undo(step) => entries.push(Entry::Undone { step }),
            Next::Finish(_) | Next::Ended(_) => return,
        }
    }
    panic!("the release does not end: {entries:?}");
}

/// What a client asks sshd for: words within their bounds that come through quoting as they are, a request, and a
/// repository that is a slot's or none. A line of the file of keys.
pub fn words(data: &[u8]) {
    if let Ok(words) = ssh::split(data) {
        assert!(words.len() <= ssh::WORDS_MAX && !words.concat().contains(char::is_control));
        let quoted: Vec<String> = words.iter().map(|word| ssh::quoted(word)).collect();
        let quoted = quoted.join(" ");
        if quoted.len() <= ssh::LENGTH_MAX {
            assert_eq!(ssh::split(quoted.as_bytes()).as_ref(), Ok(&words));
        }
        if let Some(forced) = ssh::ForcedCommand::read(&words)
            && let Ok(line) = forced.to_line()
        {
            let again = ssh::split(line.as_bytes()).expect("what is written so is words");
            assert_eq!(ssh::ForcedCommand::read(&again), Some(forced));
        }
        if let Ok(ssh::Request::Git { remote, .. }) = ssh::Request::read(&words)
            && let Ok(slot) = ssh::repository(&remote, Path::new("/var/lib/deployer/git"))
        {
            assert!(remote.contains(slot.slot.as_str()), "{remote:?} is {slot}");
        }
    }
    if let Ok(key) = ssh::PublicKey::read(data) {
        let line = key.to_line();
        assert!(!line.contains(char::is_control), "{line:?}");
        let again = ssh::PublicKey::read(line.as_bytes()).map(|key| key.to_line());
        assert_eq!(again.ok(), Some(line));
    }
}

/// Names and lines for a terminal.
pub fn text(data: &[u8]) {
    let name = escaped(data, 80);
    assert!(
        name.chars().count() <= 80 * 10 + 1 && !name.contains(char::is_control),
        "{name:?}"
    );
    let text = String::from_utf8_lossy(data);
    let line = printable(&text);
    assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    assert_eq!(printable(&line), line, "what is printable stays as it is");
}
