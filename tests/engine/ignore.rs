//! `.dockerignore`, checked against what the docker command itself sends.

use std::collections::BTreeSet;
use std::path::Path;

use super::support::{Place, Tag, build, docker, docker_at, docker_in, request, tree, write};
use super::tap::Tap;
use deployer::engine::Engine;

const FILES: &[&str] = &[
    "Dockerfile",
    "a",
    "b",
    "ab",
    "a.txt",
    "b.go",
    "foo/a",
    "foo/b.txt",
    "foo/bar/a",
    "foo/bar/b.go",
    "foo/bar/baz/a.txt",
    "foobar/a",
    "bar/foo/a",
    "bar/foo/b/c.txt",
    "x/foo",
    "x/y/foo",
    "x/y/z.txt",
    "x/[q]",
    "x/*",
    "with space",
    "#hash",
    "!bang",
    "dir/.hidden",
    ".env",
    ".git/config",
    "node_modules/m/index.js",
    "pkg/node_modules/n/index.js",
    "README.md",
    "docs/README.md",
    "docs/a/README-secret.md",
];

const PATTERNS: &[&str] = &[
    "",
    "a",
    "/a",
    "a/",
    "./a",
    "foo",
    "foo/",
    "/foo",
    "foo/*",
    "foo/**",
    "**/foo",
    "**/foo/**",
    "*.txt",
    "**/*.txt",
    "*/*.txt",
    "*/*/*",
    "f??",
    "[ab]",
    "[^a]",
    "x/\\[q\\]",
    "x/\\*",
    "x/*",
    "\\#hash",
    "#hash",
    "\\!bang",
    "  a  \n\tb",
    "with space",
    "# only\n\n#comments",
    "*\n!a",
    "*\n!foo",
    "*\n!foo/bar",
    "*\n!foo/bar/a\n!x/y",
    "foo\n!foo/bar\nfoo/bar/baz",
    "foo\n!foo/a\nfoo",
    "foo\n!foo/a\nfoo/**",
    "*.md\n!README*.md\nREADME-secret.md",
    "**/node_modules",
    "**/.*\n!.env",
    "*\n!*.txt",
    "foo/../bar",
    "../a",
    "foo//bar",
    "foo/./bar",
    ".",
    "/",
    "**",
    "**/",
    "***",
    "foo**",
    "**r",
    "**.txt",
    "fo*/b*",
    "foo/**/a",
    "**/b*",
    "foo*",
    "!foo\nfoo",
    "Dockerfile\n.dockerignore",
    "*\n!Dockerfile",
    "a\r\nb\r",
    "\u{feff}a",
    "x/y/../y/foo",
];

#[tokio::test]
async fn every_pattern_leaves_out_what_the_docker_command_leaves_out() {
    let both = Both::new().await;
    let mut differing = Vec::new();
    for pattern in PATTERNS {
        differing.extend(both.difference(FILES, pattern).await);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test]
async fn any_tree_and_any_patterns_leave_out_what_the_docker_command_leaves_out() {
    let mut seed: u64 = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 42,
    };
    let rounds = std::env::var("ROUNDS").map_or(15, |rounds| rounds.parse().unwrap());
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let both = Both::new().await;
    let mut differing = Vec::new();
    for _ in 0..rounds {
        let mut files = vec!["Dockerfile".to_owned()];
        for _ in 0..25 {
            let names = ["a", "b", "ab", "ba", "a.x", "b.x"];
            let depth = 1 + random(4);
            files.push(
                (0..depth)
                    .map(|_| names[random(names.len())])
                    .collect::<Vec<_>>()
                    .join("/"),
            );
        }
        // A name is a file or a folder, not both.
        let folders: BTreeSet<String> = files
            .iter()
            .flat_map(|f| f.match_indices('/').map(|(at, _)| f[..at].to_owned()))
            .collect();
        files.retain(|file| !folders.contains(file));
        let mut lines = Vec::new();
        for _ in 0..1 + random(5) {
            let takes_back = random(3) == 0;
            // The command passes over a folder that is left out, wherever a wildcard takes back what is in it;
            // by the documented rule, and with BuildKit, it is taken back. Compared is what both agree on.
            let pieces: &[&str] = match takes_back {
                true => &["a", "b", "ab", "ba", "a.x", "b.x"],
                false => &[
                    "a", "b", "ab", "*", "**", "a*", "*.x", "?", "[ab]", "**b", "a**", "[^a]*", ".", "..",
                ],
            };
            let depth = 1 + random(3);
            let path = (0..depth)
                .map(|_| pieces[random(pieces.len())])
                .collect::<Vec<_>>()
                .join("/");
            lines.push(format!(
                "{}{path}{}",
                if takes_back { "!" } else { "" },
                ["", "", "/"][random(3)]
            ));
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        differing.extend(both.difference(&files, &lines.join("\n")).await);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test]
async fn a_wildcard_takes_back_what_is_in_a_folder_that_is_left_out() {
    let engine = classic(super::support::host()).await;
    let folder = tree(&[
        ("Dockerfile", "FROM scratch\nCOPY . /in/\nCMD x\n"),
        ("d/e/a.txt", ""),
        ("d/e/b", ""),
        ("c.txt", ""),
    ]);
    write(folder.path(), ".dockerignore", "*\n!**/*.txt\n");
    assert_eq!(
        sent_by_deployer(&engine, folder.path()).await,
        set(&["c.txt", "d", "d/e", "d/e/a.txt"])
    );
}

async fn classic(host: String) -> Engine {
    let mut settings = Place::new().settings.clone();
    settings.builder = deployer::model::Builder::Classic;
    settings.host = host;
    Engine::connect(&settings).await.unwrap()
}

/// Deployer and the docker command, side by side.
struct Both {
    tap: Tap,
    tapped: Engine,
    engine: Engine,
}

impl Both {
    async fn new() -> Self {
        let tap = Tap::open();
        Self {
            tapped: classic(tap.host()).await,
            engine: classic(super::support::host()).await,
            tap,
        }
    }

    /// How the two differ over a tree of `files` and an ignore file; none when they agree.
    async fn difference(&self, files: &[&str], ignore: &str) -> Option<String> {
        let folder = tree(&[]);
        for file in files {
            write(folder.path(), file, "");
        }
        // Its own label, so that no other test has the same image and removes it.
        let dockerfile = format!("FROM scratch\nLABEL of={:?}\nCOPY . /in/\nCMD x\n", folder.path());
        write(folder.path(), "Dockerfile", &dockerfile);
        write(folder.path(), ".dockerignore", ignore);
        // Where the same arrives the Engine makes the same of it. Else what it makes of it is what counts.
        if self.send_the_same(folder.path()).await {
            return None;
        }
        let (theirs, ours) = (
            sent_by_docker(folder.path()),
            sent_by_deployer(&self.engine, folder.path()).await,
        );
        let (more, fewer) = (ours.difference(&theirs), theirs.difference(&ours));
        let (more, fewer): (Vec<_>, Vec<_>) = (more.collect(), fewer.collect());
        (ours != theirs).then(|| format!("{ignore:?}: sent though ignored {more:?}, missing {fewer:?}"))
    }

    async fn send_the_same(&self, folder: &Path) -> bool {
        docker_at(&self.tap.host(), folder, &["build", "-q", "."]);
        let theirs = self.tap.take();
        let _ = build(&self.tapped, &request(folder, "seen")).await;
        let ours = self.tap.take();
        theirs == ours
    }
}

fn sent_by_docker(folder: &Path) -> BTreeSet<String> {
    let tag = Tag::new();
    let (good, text) = docker_in(folder, &["build", "-q", "-t", &tag.0, "."]);
    if good {
        contents(&tag.0)
    } else {
        set(&[&refusal(&text)])
    }
}

async fn sent_by_deployer(engine: &Engine, folder: &Path) -> BTreeSet<String> {
    let tag = Tag::new();
    match build(engine, &request(folder, &tag.0)).await.0 {
        Ok(_) => contents(&tag.0),
        Err(error) => set(&[&refusal(&error.to_string())]),
    }
}

/// COPY refuses a context with nothing in it; both sides then have to.
fn refusal(text: &str) -> String {
    match text.contains("no source files were specified") {
        true => "nothing to copy".to_owned(),
        false => text.to_owned(),
    }
}

fn contents(tag: &str) -> BTreeSet<String> {
    let id = docker(&["create", "--network", "none", tag]);
    let exported = std::process::Command::new("docker")
        .args(["export", id.trim()])
        .output()
        .unwrap();
    docker(&["rm", "-f", id.trim()]);
    let mut archive = tar::Archive::new(exported.stdout.as_slice());
    let names = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let inside = names.filter_map(|name| Some(name.strip_prefix("in/")?.trim_end_matches('/').to_owned()));
    inside.filter(|name| !name.is_empty()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
