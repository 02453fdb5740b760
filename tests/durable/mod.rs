//! What strace saw of durable writes: each in the order that a crash cannot hurt. For tests of several crates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How the name of a file begins that is not in its place yet.
const NEW: &str = ".deployer-";

/// Files that are replaced and need not outlive a crash of the machine.
const UNSYNCED: [&str; 3] = ["audit.repeats", ".index", "/pushes/"];

/// Files that are only ever added to.
const APPENDED: [&str; 2] = ["/journal", "/audit.log"];

const CALLS: &str = "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2,symlinkat,mkdir,mkdirat";

/// What runs a program, whose words follow, and all that it starts under strace. `calls` is a new folder, in which each
/// thread gets a file of its own.
pub(crate) fn strace(calls: &Path) -> Vec<String> {
    fs::create_dir(calls).expect("a folder for the calls");
    let file = calls.join("of").display().to_string();
    let words = [
        "strace",
        "-ff",
        "-qq",
        "-y",
        "-s",
        "0",
        "--seccomp-bpf",
        "-e",
        "signal=none",
        "-e",
        CALLS,
        "-o",
        &file,
    ];
    words.map(str::to_owned).to_vec()
}

/// What was written, each by its path, and in order.
#[derive(Debug, Default)]
pub(crate) struct Written {
    replaced: BTreeSet<String>,
    appended: BTreeSet<String>,
    /// Folders that were made, and synced in the one that they stand in.
    made: BTreeSet<String>,
    /// Marker files that were made.
    marked: BTreeSet<String>,
}

impl Written {
    /// Looks at the calls in `folders`.
    #[track_caller]
    pub(crate) fn read(folders: &[PathBuf]) -> Self {
        let mut written = Self::default();
        for folder in folders {
            for thread in fs::read_dir(folder).expect("the calls").flatten() {
                let text = fs::read(thread.path()).expect("the calls of a thread");
                written.thread(&String::from_utf8_lossy(&text));
            }
        }
        written
    }

    #[track_caller]
    fn thread(&mut self, text: &str) {
        let calls: Vec<Call> = text.lines().filter_map(Call::parse).collect();
        for (at, call) in calls.iter().enumerate() {
            let (before, after) = (&calls[..at], &calls[at + 1..]);
            match call.name.as_str() {
                "renameat" | "renameat2" | "rename" => self.replace(call, before, after),
                "write" => self.append(call, before, after),
                "mkdir" | "mkdirat" if after.iter().any(|call| call.syncs(&call_folder(&calls[at].path))) => {
                    self.made.insert(call.path.clone());
                }
                "openat" if call.makes && call.path.contains("/marks/") => self.mark(call, after),
                _ => {}
            }
        }
    }

    /// Before it the new file or folder was made, written and then synced; after it, at once, the folder is.
    #[track_caller]
    fn replace(&mut self, rename: &Call, before: &[Call], after: &[Call]) {
        let is_new = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(NEW));
        let to = &rename.to;
        if !is_new(&rename.path) || UNSYNCED.iter().any(|part| to.contains(part)) {
            return;
        }
        let of_it: Vec<&str> = before
            .iter()
            .rev()
            .take_while(|call| !matches!(call.name.as_str(), "rename" | "renameat" | "renameat2"))
            .filter(|call| call.path == rename.path)
            .map(|call| call.name.as_str())
            .collect();
        match of_it.as_slice() {
            ["symlinkat", ..] => {}
            ["fsync", "openat", "mkdirat"] => {
                self.made.insert(to.clone());
            }
            ["fsync", writes @ .., "openat"] if writes.iter().all(|call| *call == "write") => {}
            other => panic!(
                "{to}: the new file was not synced before it was put into its place: {other:?} (last first)"
            ),
        }
        let next = after.first();
        assert!(
            next.is_some_and(|call| call.syncs(&call_folder(to))),
            "{to}: its folder was not synced after it was put into its place: {next:?}"
        );
        self.replaced.insert(to.clone());
    }

    /// It is synced at once; and its folder was, since it may have been made.
    #[track_caller]
    fn append(&mut self, write: &Call, before: &[Call], after: &[Call]) {
        let path = &write.path;
        if !APPENDED.iter().any(|name| path.ends_with(name)) {
            return;
        }
        let next = after
            .iter()
            .find(|call| call.name != "write" || call.path != *path);
        assert!(
            next.is_some_and(|call| call.name == "fdatasync" && call.path == *path),
            "{path}: what was added was not synced: {next:?}"
        );
        let opened = before
            .iter()
            .rposition(|call| call.name == "openat" && call.path == *path && call.makes);
        if let Some(opened) = opened {
            let folder = call_folder(path);
            assert!(
                before[opened..].iter().any(|call| call.syncs(&folder)),
                "{path}: its folder was not synced before it was written to"
            );
        }
        self.appended.insert(path.clone());
    }

    /// The folders down to it are synced behind it.
    #[track_caller]
    fn mark(&mut self, made: &Call, after: &[Call]) {
        let mut folder = made.path.clone();
        while folder.contains("/marks") {
            folder = call_folder(&folder);
            assert!(
                after.iter().any(|call| call.syncs(&folder)),
                "{}: {folder} was not synced behind it",
                made.path
            );
        }
        self.marked.insert(made.path.clone());
    }

    /// Whether files with all of these ends were replaced.
    #[track_caller]
    pub(crate) fn has_replaced(&self, ends: &[&str]) {
        all(&self.replaced, ends, "replaced");
    }

    /// Whether files with all of these ends were added to.
    #[track_caller]
    pub(crate) fn has_appended(&self, ends: &[&str]) {
        all(&self.appended, ends, "added to");
    }

    /// Whether folders with all of these ends were made, and are durable.
    #[track_caller]
    pub(crate) fn has_made(&self, ends: &[&str]) {
        all(&self.made, ends, "made and durable");
    }

    /// Whether marker files with all of these ends were made.
    #[track_caller]
    pub(crate) fn has_marked(&self, ends: &[&str]) {
        all(&self.marked, ends, "marked");
    }
}

#[track_caller]
fn all(paths: &BTreeSet<String>, ends: &[&str], what: &str) {
    for end in ends {
        assert!(
            paths.iter().any(|path| path.ends_with(end)),
            "nothing that ends in {end} is {what}: {paths:#?}"
        );
    }
}

fn call_folder(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
}

/// A call that worked.
#[derive(Debug)]
struct Call {
    name: String,
    /// What it is about: the file of its descriptor, or the one that it names.
    path: String,
    /// Where it is moved.
    to: String,
    /// Whether the file is made where it is missing.
    makes: bool,
}

impl Call {
    /// `fsync(3</state/apps>) = 0`; `renameat(3</state>, ".deployer-1-0", 3</state>, "state.json") = 0`.
    fn parse(line: &str) -> Option<Self> {
        let (call, result) = line.rsplit_once(" = ")?;
        let (name, arguments) = call.split_once('(')?;
        if result.starts_with('-') {
            return None;
        }
        let mut paths = paths(arguments).into_iter();
        let path = match name {
            "write" | "fsync" | "fdatasync" => arguments.split_once('<')?.1.split_once('>')?.0.to_owned(),
            // The link's own path is the second.
            "symlinkat" => paths.nth(1)?,
            _ => paths.next()?,
        };
        Some(Self {
            name: name.to_owned(),
            path,
            to: paths.next().unwrap_or_default(),
            makes: arguments.contains("O_CREAT"),
        })
    }

    fn syncs(&self, folder: &str) -> bool {
        self.name == "fsync" && self.path == folder
    }
}

/// The paths among a call's arguments: a name is in the folder of the descriptor before it.
fn paths(arguments: &str) -> Vec<String> {
    let (mut found, mut folder, mut rest) = (Vec::new(), None::<String>, arguments);
    while let Some(at) = rest.find(['<', '"']) {
        let end = if rest.as_bytes()[at] == b'<' { '>' } else { '"' };
        let Some(length) = rest[at + 1..].find(end) else {
            break;
        };
        let text = &rest[at + 1..at + 1 + length];
        rest = &rest[at + length + 2..];
        match (end, folder.take()) {
            ('>', before) => {
                found.extend(before);
                folder = Some(text.to_owned());
            }
            (_, Some(folder)) if !text.starts_with('/') => found.push(format!("{folder}/{text}")),
            _ => found.push(text.to_owned()),
        }
    }
    found.extend(folder);
    found
}
