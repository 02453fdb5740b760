//! The fail points of a world's deployer (`src/ground/failpoint.rs`): which ones are passed, and who is held or killed at one.

use std::fs::{self, File};
use std::path::PathBuf;

/// The world's folder of orders and traces.
pub(super) const FOLDER: &str = "fail-points";

/// Where deployer is told of that folder.
pub(super) const VARIABLE: &str = "DEPLOYER_FAILPOINTS";

/// The kinds of processes that have fail points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Worker,
    Hook,
    Proxy,
    Command,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Worker => "worker",
            Kind::Hook => "hook",
            Kind::Proxy => "proxy",
            Kind::Command => "command",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Kind::Worker, Kind::Hook, Kind::Proxy, Kind::Command];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One fail point of one kind of process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl std::fmt::Display for Point {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} {}", self.kind.as_str(), self.name)
    }
}

/// See the module.
pub(crate) struct FailPoints {
    folder: PathBuf,
}

impl FailPoints {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The points that are passed while `what` is done, in their order.
    #[track_caller]
    pub(crate) fn trace(&self, what: impl FnOnce()) -> Vec<Point> {
        let trace = self.folder.join("trace");
        File::create(&trace).expect("the trace is made");
        what();
        let text = fs::read_to_string(&trace).expect("the trace is read");
        fs::remove_file(&trace).expect("the trace is removed");
        let point = |line: &str| {
            let (kind, name) = line.split_once(' ')?;
            let (kind, name) = (Kind::parse(kind)?, name.to_owned());
            Some(Point { kind, name })
        };
        let points = text.lines().map(|line| point(line).expect("a line of a trace"));
        points.collect()
    }

    /// The next process to come to `point` is killed there by SIGKILL.
    pub(crate) fn kill_at(&self, point: &Point) {
        self.order("kill", point);
    }

    /// The next process to come to `point` is held there until [`Self::go_on`].
    pub(crate) fn hold_at(&self, point: &Point) {
        self.order("hold", point);
    }

    fn order(&self, what: &str, point: &Point) {
        let new = self.folder.join("order.new");
        fs::write(&new, format!("{what} {point}\n")).expect("the order is written");
        fs::rename(new, self.folder.join("order")).expect("the order is given");
    }

    /// Whether a process came to the point that was ordered.
    pub(crate) fn was_reached(&self) -> bool {
        self.folder.join("killed").exists() || self.folder.join("held").exists()
    }

    /// Whoever is held goes on, and nothing is ordered any more.
    pub(crate) fn go_on(&self) {
        for name in ["order", "killed", "held"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}
