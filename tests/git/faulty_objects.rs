//! Objects that `git fsck` finds fault with, pushed by a real git: which of them a slot's repository takes.

use std::collections::BTreeSet;
use std::path::Path;

use deployer::git::{FAULTS, ObjectId, SlotRepository, Verdict};
use deployer::model::Commit;
use git2::{ObjectType, Oid, Repository};

use crate::support::{Slot, git, run, told};

/// A pusher's repository, into which any bytes can be put.
struct Pusher(Repository);

impl Pusher {
    fn raw(&self, kind: ObjectType, content: impl AsRef<[u8]>) -> Oid {
        self.0.odb().unwrap().write(kind, content.as_ref()).unwrap()
    }

    fn blob(&self, content: &str) -> Oid {
        self.raw(ObjectType::Blob, content)
    }

    fn is_tag(&self, object: Oid) -> bool {
        self.0.odb().unwrap().read_header(object).unwrap().1 == ObjectType::Tag
    }

    /// A folder of these entries, as they are given.
    fn tree(&self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend(mode.bytes().chain([b' ']));
            raw.extend(*name);
            raw.push(0);
            raw.extend(id.as_bytes());
        }
        self.raw(ObjectType::Tree, raw)
    }

    /// An honest folder with one file.
    fn good_tree(&self) -> Oid {
        self.tree(&[("100644", b"file", self.blob("content"))])
    }

    /// A commit of an honest folder with these lines behind its tree.
    fn commit(&self, lines: &str) -> Oid {
        let tree = self.good_tree();
        self.raw(ObjectType::Commit, format!("tree {tree}\n{lines}"))
    }

    /// A commit whose author's and committer's lines are both this one.
    fn by(&self, person: &str) -> Oid {
        self.commit(&format!("author {person}\ncommitter {person}\n\nwork\n"))
    }

    /// An honest commit of this folder.
    fn of(&self, tree: Oid) -> Oid {
        let person = "Ann <ann@example.org> 1700000000 +0000";
        let text = format!("tree {tree}\nauthor {person}\ncommitter {person}\n\nwork\n");
        self.raw(ObjectType::Commit, text)
    }

    /// An honest commit of a folder with a file of modules.
    fn modules(&self, content: &str) -> Oid {
        let module = self.of(self.good_tree());
        let modules = self.blob(content);
        self.of(self.tree(&[("100644", b".gitmodules", modules), ("160000", b"x", module)]))
    }

    /// A tag with these lines behind the line `object`.
    fn tag(&self, lines: &str) -> Oid {
        let commit = self.of(self.good_tree());
        self.raw(ObjectType::Tag, format!("object {commit}\n{lines}"))
    }
}

/// An object with a fault for each id that can be brought about by hand; most of them are commits.
fn faulty(p: &Pusher) -> Vec<(&'static str, Oid)> {
    let (blob, good) = (p.blob("content"), p.good_tree());
    let file = |name: &[u8]| p.of(p.tree(&[("100644", name, blob)]));
    let special = |name: &[u8], mode: &str, id: Oid| p.of(p.tree(&[(mode, name, id)]));
    let ann = "Ann <ann@example.org> 1700000000 +0000";
    let tagger = format!("tagger {ann}\n");
    vec![
        ("badDate", p.by("Ann <ann@example.org> Thu, 1 Jan 1970 00:00:00")),
        (
            "badDateOverflow",
            p.by("Ann <ann@example.org> 18446744073709551617 +0000"),
        ),
        ("badEmail", p.by("Ann <ann@<example.org> 1700000000 +0000")),
        ("badName", p.by("Ann> <ann@example.org> 1700000000 +0000")),
        ("badTimezone", p.by("Ann <ann@example.org> 1700000000 +51800")),
        ("missingEmail", p.by("Ann 1700000000 +0000")),
        (
            "missingNameBeforeEmail",
            p.by("<ann@example.org> 1700000000 +0000"),
        ),
        (
            "missingSpaceBeforeDate",
            p.by("Ann <ann@example.org>1700000000 +0000"),
        ),
        (
            "missingSpaceBeforeEmail",
            p.by("Ann<ann@example.org> 1700000000 +0000"),
        ),
        ("zeroPaddedDate", p.by("Ann <ann@example.org> 0700000000 +0000")),
        ("missingAuthor", p.commit(&format!("committer {ann}\n\nwork\n"))),
        ("missingCommitter", p.commit(&format!("author {ann}\n\nwork\n"))),
        (
            "multipleAuthors",
            p.commit(&format!("author {ann}\nauthor {ann}\ncommitter {ann}\n\nwork\n")),
        ),
        (
            "nulInCommit",
            p.commit(&format!("author {ann}\ncommitter {ann}\n\nwo\0rk\n")),
        ),
        (
            "nulInHeader",
            p.commit(&format!("author A\0nn\ncommitter {ann}\n\nwork\n")),
        ),
        (
            "unterminatedHeader",
            p.commit(&format!("author {ann}\ncommitter {ann}")),
        ),
        (
            "missingTree",
            p.raw(
                ObjectType::Commit,
                format!("author {ann}\ncommitter {ann}\n\nwork\n"),
            ),
        ),
        (
            "badTreeSha1",
            p.raw(
                ObjectType::Commit,
                format!("tree 12\nauthor {ann}\ncommitter {ann}\n\nwork\n"),
            ),
        ),
        (
            "badParentSha1",
            p.commit(&format!("parent 12\nauthor {ann}\ncommitter {ann}\n\nwork\n")),
        ),
        ("badTree", p.of(p.raw(ObjectType::Tree, "100644 file"))),
        ("badFilemode", special(b"file", "100664", blob)),
        ("zeroPaddedFilemode", special(b"folder", "040000", good)),
        ("nullSha1", special(b"module", "160000", Oid::ZERO_SHA1)),
        (
            "duplicateEntries",
            p.of(p.tree(&[("100644", b"a", blob), ("100644", b"a", blob)])),
        ),
        (
            "treeNotSorted",
            p.of(p.tree(&[("100644", b"b", blob), ("100644", b"a", blob)])),
        ),
        ("emptyName", file(b"")),
        ("fullPathname", file(b"/etc/file")),
        ("hasDot", file(b".")),
        ("hasDotdot", file(b"..")),
        ("hasDotgit", file(b".git")),
        ("hasDotgit", file(".g\u{200c}it".as_bytes())),
        ("largePathname", file(&[b'n'; 4097])),
        ("gitmodulesBlob", special(b".gitmodules", "40000", good)),
        ("gitmodulesSymlink", special(b".gitmodules", "120000", blob)),
        (
            "gitmodulesName",
            p.modules("[submodule \"../../x\"]\n\tpath = x\n\turl = a\n"),
        ),
        (
            "gitmodulesPath",
            p.modules("[submodule \"x\"]\n\tpath = -x\n\turl = a\n"),
        ),
        (
            "gitmodulesUpdate",
            p.modules("[submodule \"x\"]\n\tpath = x\n\turl = a\n\tupdate = !touch y\n"),
        ),
        (
            "gitmodulesUrl",
            p.modules("[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch\n"),
        ),
        ("gitmodulesParse", p.modules("[submodule \"x\n")),
        ("gitattributesBlob", special(b".gitattributes", "40000", good)),
        (
            "gitattributesLineLength",
            special(b".gitattributes", "100644", p.blob(&"x".repeat(4000))),
        ),
        ("gitattributesSymlink", special(b".gitattributes", "120000", blob)),
        ("gitignoreSymlink", special(b".gitignore", "120000", blob)),
        ("mailmapSymlink", special(b".mailmap", "120000", blob)),
        (
            "badObjectSha1",
            p.raw(
                ObjectType::Tag,
                format!("object 12\ntype commit\ntag t\n{tagger}\nt\n"),
            ),
        ),
        (
            "badTagName",
            p.tag(&format!("type commit\ntag a..b\n{tagger}\nt\n")),
        ),
        ("badType", p.tag(&format!("type thing\ntag t\n{tagger}\nt\n"))),
        (
            "extraHeaderEntry",
            p.tag(&format!("type commit\ntag t\n{tagger}more x\n\nt\n")),
        ),
        (
            "missingObject",
            p.raw(ObjectType::Tag, format!("type commit\ntag t\n{tagger}\nt\n")),
        ),
        ("missingTag", p.tag("type commit\n\n")),
        ("missingTagEntry", p.tag(&format!("type commit\n{tagger}\nt\n"))),
        ("missingTaggerEntry", p.tag("type commit\ntag t\n\nt\n")),
        ("missingType", p.tag("type commit")),
        ("missingTypeEntry", p.tag(&format!("tag t\n{tagger}\nt\n"))),
    ]
}

/// The ids that no object here has. Of these git speaks where it cannot read a file that the same push should have
/// brought, of files of more than 50 MiB, and of kinds of objects that no push can name.
const NOT_MADE: [&str; 8] = [
    "badGpgsig",
    "badHeaderContinuation",
    "gitattributesLarge",
    "gitattributesMissing",
    "gitmodulesLarge",
    "gitmodulesMissing",
    "unknownType",
    "missingObject",
];

/// What leads out of the tree, or has a clone run or write something: never let through.
const LEADS_ELSEWHERE: [&str; 10] = [
    "emptyName",
    "fullPathname",
    "gitmodulesName",
    "gitmodulesPath",
    "gitmodulesSymlink",
    "gitmodulesUpdate",
    "gitmodulesUrl",
    "hasDot",
    "hasDotdot",
    "hasDotgit",
];

/// What old clients wrote into the lines of a commit: never declined.
const HISTORY: [&str; 9] = [
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedDate",
];

/// The git programs of this machine that may take a push.
fn receivers() -> Vec<&'static str> {
    let all = ["/usr/bin/git-receive-pack", "/usr/local/bin/git-receive-pack"];
    all.into_iter().filter(|path| Path::new(path).exists()).collect()
}

#[test]
fn faults_that_are_history_pass_and_faults_that_lead_elsewhere_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let pusher = Pusher(Repository::init_bare(folder.path().join("pusher.git")).unwrap());
    let (passing, refused): (Vec<_>, Vec<_>) = faulty(&pusher).into_iter().partition(|(id, _)| passes(id));
    assert!(!LEADS_ELSEWHERE.into_iter().any(passes) && HISTORY.into_iter().all(passes));
    let receivers = receivers();
    assert!(!receivers.is_empty(), "git is installed");
    for receiver in receivers {
        let slot = Slot::new();
        let push = |objects: &[(&str, Oid)]| {
            let mut push = git(pusher.0.path());
            push.arg("push").arg(format!("--receive-pack={receiver}"));
            push.arg(slot.repository.path());
            push.args(objects.iter().map(|(id, object)| match pusher.is_tag(*object) {
                true => format!("{object}:refs/tags/{id}"),
                false => format!("{object}:refs/heads/{id}"),
            }));
            push.output().unwrap()
        };
        let all = push(&passing);
        assert!(all.status.success(), "{receiver}: {}", told(&all));
        for (id, object) in &passing {
            match pusher.is_tag(*object) {
                true => leads_to_a_commit(&slot.repository, *object),
                false => can_be_released(&slot, id, *object),
            }
        }
        for (id, object) in &refused {
            let one = push(&[(id, *object)]);
            assert!(!one.status.success(), "{receiver}: {id}: {}", told(&one));
        }
    }
}

fn passes(id: &str) -> bool {
    let fault = FAULTS.iter().find(|fault| fault.id == id).unwrap();
    matches!(fault.verdict, Verdict::Passes | Verdict::Warned)
}

/// What a release needs of a commit.
fn can_be_released(slot: &Slot, id: &str, commit: Oid) {
    let commit: Commit = commit.to_string().parse().unwrap();
    let facts = slot.repository.commit_facts(ObjectId::from(&commit)).expect(id);
    assert_eq!(facts.commit, commit);
    assert_eq!(
        facts.subject,
        if id == "nulInCommit" { "wo" } else { "work" },
        "{id}"
    );
    slot.repository
        .keep(deployer::model::ReleaseId(1), &commit)
        .expect(id);
    slot.repository.find(&commit, Path::new("file")).expect(id);
    let checked_out = slot.repository.checkout(&commit, &slot.worktree(), &|| true);
    checked_out.unwrap_or_else(|error| panic!("{id}: {error}"));
}

fn leads_to_a_commit(repository: &SlotRepository, tag: Oid) {
    let line = format!("{} {tag} refs/tags/t\n", "0".repeat(40));
    let update = deployer::git::RefUpdate::read(line.as_bytes()).unwrap();
    let facts = repository.commit_facts(update[0].new.unwrap()).unwrap();
    assert_eq!(facts.subject, "work");
}

#[test]
fn every_fault_that_the_installed_git_knows_has_a_verdict_and_most_an_object() {
    let folder = tempfile::TempDir::new().unwrap();
    let judged: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.id).collect();
    let known = run(git(folder.path()).args(["help", "--config-for-completion"]));
    let ids = known
        .lines()
        .filter_map(|line| line.strip_prefix("receive.fsck."));
    let unjudged: Vec<&str> = ids
        .filter(|id| *id != "skipList" && !judged.contains(id))
        .collect();
    assert_eq!(unjudged, [""; 0], "new ids of git");

    let pusher = Pusher(Repository::init_bare(folder.path()).unwrap());
    // Each object has the fault that it is made for.
    let faulty = faulty(&pusher);
    let seen = git(folder.path())
        .args(["fsck", "--strict", "--no-dangling"])
        .output()
        .unwrap();
    let is_unseen = |id: &&str| !told(&seen).contains(&format!(": {id}: "));
    // An object that is refused for another reason is refused all the same; one that passes must have its fault.
    let passing = faulty
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| passes(id) && *id != "extraHeaderEntry");
    let unseen: Vec<&str> = passing.filter(is_unseen).collect();
    assert_eq!(unseen, [""; 0], "{}", told(&seen));
    let mut made: BTreeSet<&str> = faulty.into_iter().map(|(id, _)| id).collect();
    made.extend(NOT_MADE);
    let pushed = FAULTS.iter().filter(|fault| fault.verdict != Verdict::NotPushed);
    let unmade: Vec<&str> = pushed
        .map(|fault| fault.id)
        .filter(|id| !made.contains(id))
        .collect();
    assert_eq!(unmade, [""; 0], "without an object in the test");
}
