//! When a flip is in force: the embedded proxy says it in its log as soon as it is, before the flip's reply. Of another
//! program it is known when the release has ended.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks at the log: no request that begins later than this after a flip is taken for an earlier one.
const LOOK: Duration = Duration::from_millis(1);

/// What is to be done at an app's next flips.
type Actions = Mutex<HashMap<String, VecDeque<Box<dyn FnOnce() + Send>>>>;

/// Follows a proxy's log; see the module.
pub(super) struct Flips {
    actions: Arc<Actions>,
    stop: Arc<AtomicBool>,
    /// None where no log tells of flips.
    thread: Option<JoinHandle<()>>,
}

impl Flips {
    /// Those of a program that tells nothing of them.
    pub(super) fn untold() -> Self {
        Self {
            actions: Arc::default(),
            stop: Arc::default(),
            thread: None,
        }
    }

    /// Those that `log` tells of from now on.
    pub(super) fn of(log: &Path) -> Self {
        let (actions, stop) = (Arc::<Actions>::default(), Arc::new(AtomicBool::new(false)));
        let mut file = File::open(log).expect("the proxy's log opens");
        let mut said = String::new();
        file.read_to_string(&mut said).expect("the proxy's log is read");
        let (acting, stopped) = (Arc::clone(&actions), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut said = String::new();
            while !stopped.load(Relaxed) {
                file.read_to_string(&mut said).expect("the proxy's log is read");
                while let Some((line, rest)) = said.split_once('\n') {
                    act(&acting, line);
                    said = rest.to_owned();
                }
                thread::sleep(LOOK);
            }
        });
        Self {
            actions,
            stop,
            thread: Some(thread),
        }
    }

    /// Does `action` as soon as the next change of the route of `app` is in force.
    pub(super) fn next(&self, app: &str, action: impl FnOnce() + Send + 'static) {
        let mut actions = self.actions.lock().expect("no action panicked");
        actions
            .entry(app.to_owned())
            .or_default()
            .push_back(Box::new(action));
    }

    /// Where no log tells of flips: a release of `app` has ended, and so its flip is in force.
    pub(super) fn at_the_latest_now(&self, app: &str) {
        if self.thread.is_none() {
            act(&self.actions, &format!("proxy: {app}: live"));
        }
    }

    /// Whether there was a change for each action of `app`.
    pub(super) fn are_all_done(&self, app: &str) -> bool {
        let actions = self.actions.lock().expect("no action panicked");
        actions.get(app).is_none_or(VecDeque::is_empty)
    }
}

impl Drop for Flips {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `proxy: shop: live green, release 2 → …`, `proxy: shop: live stays …`
fn act(actions: &Actions, line: &str) {
    let Some((app, what)) = line
        .strip_prefix("proxy: ")
        .and_then(|line| line.split_once(": "))
    else {
        return;
    };
    if what.starts_with("live") {
        let mut actions = actions.lock().expect("no action panicked");
        if let Some(action) = actions.get_mut(app).and_then(VecDeque::pop_front) {
            action();
        }
    }
}
