//! People who wish no good: what they push, what their builds print, and who else is on the machine.

mod commands;
mod forge;
mod neighbours;
mod output;
mod packs;
mod peak;
mod refs;
mod trees;

use std::fs;
use std::path::PathBuf;

use crate::failures::live;
use crate::support::docker::Container;
use crate::support::{App, Push, Repo, World};
use forge::Forge;

/// The most that a pusher is told of anything, in bytes: what a build prints, and some lines.
const TOLD_MAX: usize = 6 << 20;

/// A world whose slot green is live with v1, and what nobody may touch.
struct Stage {
    world: World,
    shop: App,
    repo: Repo,
    forge: Forge,
    containers: Vec<Container>,
    canaries: Vec<(PathBuf, Vec<u8>)>,
}

impl Stage {
    #[track_caller]
    fn new(name: &str) -> Self {
        let (world, shop, repo) = live(name, "");
        let strangers = [
            world.path("canary"),
            world.path("home/.profile"),
            world.state("canary"),
            world.state("apps/shop/worktrees/canary"),
            world.state("git/shop/canary"),
        ];
        for stranger in &strangers {
            fs::write(stranger, "canary").expect("a canary is written");
        }
        let own =
            ["config", "hooks/post-receive", "HEAD"].map(|name| world.state("git/shop/green.git").join(name));
        let kept = |path: PathBuf| {
            let content = fs::read(&path).expect("a file that is to stay as it is");
            (path, content)
        };
        Self {
            canaries: strangers.into_iter().chain(own).map(kept).collect(),
            containers: world.containers(),
            forge: Forge::new(repo.path()),
            world,
            shop,
            repo,
        }
    }

    /// Pushes the object `id` as the branch, whatever stands there, with checks off on the pusher's side.
    #[track_caller]
    fn push(&self, id: git2::Oid) -> Push {
        let push = self
            .repo
            .push_with(&["--force", "green", &format!("{id}:refs/heads/main")]);
        assert_fit_for_a_terminal(&push);
        push
    }

    /// The push of `id` must be declined by git, in words that have `told` in them, and change nothing.
    #[track_caller]
    fn declined(&self, case: &str, id: git2::Oid, told: &str) {
        let before = self.tip();
        let push = self.push(id);
        let stderr = &push.output.stderr;
        assert_eq!(push.output.code, Some(1), "{case}: {stderr}");
        assert!(stderr.contains(told), "{case}: {told:?} is not told in {stderr}");
        assert_eq!(self.tip(), before, "{case}: the branch has moved");
        self.assert_unharmed(case);
    }

    /// The release of `id` must fail, in words that have `told` in them, and change nothing.
    #[track_caller]
    fn fails(&self, case: &str, id: git2::Oid, told: &str) {
        let said = self.push(id).failed();
        assert!(said.contains(told), "{case}: {told:?} is not told in {said}");
        assert!(
            said.contains("Release 1 is still live, on green"),
            "{case}: {said}"
        );
        self.assert_unharmed(case);
    }

    /// What serves is what served, and nothing that was not the pusher's has changed.
    #[track_caller]
    fn assert_unharmed(&self, case: &str) {
        assert_eq!(self.world.version(), "v1", "{case}");
        assert_eq!(self.world.containers(), self.containers, "{case}");
        self.assert_canaries(case);
    }

    #[track_caller]
    fn assert_canaries(&self, case: &str) {
        for (path, content) in &self.canaries {
            let now = fs::read(path).unwrap_or_else(|error| panic!("{case}: {}: {error}", path.display()));
            assert!(now == *content, "{case}: {} has changed", path.display());
        }
    }

    /// Where green's branch is.
    #[track_caller]
    fn tip(&self) -> String {
        let repository = self.world.remote(&self.shop, "green");
        self.repo
            .git(&["--git-dir", &repository, "rev-parse", "refs/heads/main"])
            .good()
    }
}

/// What the pusher's terminal got is bounded, and nothing in it can steer a terminal.
#[track_caller]
fn assert_fit_for_a_terminal(push: &Push) {
    let told = &push.output.stderr;
    assert!(told.len() < TOLD_MAX, "{} bytes were told", told.len());
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r') || c == '\u{202e}';
    if let Some(line) = told.lines().find(|line| line.contains(steers)) {
        let from: String = line.chars().take(500).collect();
        panic!("a control character in {from:?}");
    }
}
