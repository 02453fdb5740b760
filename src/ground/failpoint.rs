//! Fail points: named moments at which a test has this process killed, or held so that the test can kill another one.
//!
//! They exist where the feature `failpoints` is on, which only the crate's own tests ask for, and never in a build
//! without debug assertions: in every other build [`at`] is nothing. Points stand before and after every side effect
//! and every durable write; the many are named by the generic places (a file that is replaced, an entry of a journal).
//!
//! A test names a folder in the environment, [`ENVIRONMENT`], and puts files into it:
//!
//! - `trace`: every process appends the points that it passes, a line `KIND POINT` each. The kind is `worker`, `hook`,
//!   `proxy` or `command`; a point that a process passes for the second time ends in `#2`, and so on, but at the
//!   proxy, which passes them for one release after the other.
//! - `order`: `kill KIND POINT` or `hold KIND POINT`. The first process of that kind that comes to the point renames
//!   the file, so that it is obeyed once: to `killed`, and ends by SIGKILL; or to `held`, and waits until that is gone.
//!   `kill KIND *` is for the first point that is not in the file `tried`, to which it is added.

pub(crate) use on::{ENVIRONMENT, at};

#[cfg(all(feature = "failpoints", debug_assertions))]
mod on {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    /// What a worker inherits of its hook's environment so that it has fail points too.
    pub(crate) const ENVIRONMENT: &[&str] = &["DEPLOYER_FAILPOINTS"];

    /// How often each point was passed by this process.
    static PASSED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    /// Passes `point`.
    pub(crate) fn at(point: impl Display) {
        if let Some(folder) = std::env::var_os(ENVIRONMENT[0]) {
            let kind = kind();
            let point = match kind {
                "proxy" => point.to_string(),
                _ => numbered(point.to_string()),
            };
            pass(Path::new(&folder), kind, &point);
        }
    }

    fn pass(folder: &Path, kind: &str, point: &str) {
        if let Ok(mut trace) = File::options().append(true).open(folder.join("trace")) {
            let _ = trace.write_all(format!("{kind} {point}\n").as_bytes());
        }
        let order = fs::read_to_string(folder.join("order")).unwrap_or_default();
        let is_meant = |what: &str, done: &str, point: &str| {
            order.trim_end() == format!("{what} {kind} {point}")
                && fs::rename(folder.join("order"), folder.join(done)).is_ok()
        };
        let is_next = || add_new(&folder.join("tried"), point) && is_meant("kill", "killed", "*");
        let is_for_the_next = order.trim_end() == format!("kill {kind} *");
        if is_meant("kill", "killed", point) || (is_for_the_next && is_next()) {
            let _ = kill_process(getpid(), Signal::KILL);
        } else if is_meant("hold", "held", point) {
            while folder.join("held").exists() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Adds a line to a file; false where it has that line already.
    fn add_new(path: &Path, line: &str) -> bool {
        let text = fs::read_to_string(path).unwrap_or_default();
        let is_new = !text.lines().any(|there| there == line);
        is_new && fs::write(path, format!("{text}{line}\n")).is_ok()
    }

    fn numbered(point: String) -> String {
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(point.clone()).or_default();
        *count += 1;
        match *count {
            1 => point,
            count => format!("{point}#{count}"),
        }
    }

    /// What this process is: the first of its arguments that says so.
    fn kind() -> &'static str {
        let named = std::env::args().find_map(|argument| {
            ["worker", "hook", "proxy"]
                .into_iter()
                .find(|kind| argument == *kind)
        });
        named.unwrap_or("command")
    }
}

#[cfg(not(all(feature = "failpoints", debug_assertions)))]
mod on {
    /// No name.
    pub(crate) const ENVIRONMENT: &[&str] = &[];

    /// Nothing.
    #[inline(always)]
    pub(crate) fn at(_point: impl std::fmt::Display) {}
}
