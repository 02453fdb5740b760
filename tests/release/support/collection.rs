//! The collection of a world's registry, with the test in systemd's place: it stops the registry and starts it again.

use std::fs;
use std::time::Duration;

use super::{World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

impl World {
    /// Configures the command that `deployer prune --registry` runs.
    #[track_caller]
    pub(crate) fn configure_collection(&self) {
        let script = format!(
            "touch {stop:?}; timeout 60 sh -c 'until rm {stopped:?} 2>/dev/null; do sleep 0.02; done' && \
             docker-registry garbage-collect {config:?} && touch {start:?}",
            stop = self.path("stop"),
            stopped = self.path("stopped"),
            config = self.path("registry.yml"),
            start = self.path("start"),
        );
        let collect = format!("[registry]\ncollect = [\"sh\", \"-c\", {script:?}]\n");
        self.reconfigure("[registry]\n", &collect);
    }

    /// Waits until the command has begun.
    #[track_caller]
    pub(crate) fn await_collection(&self) {
        self.await_and_remove("stop");
    }

    /// Stops the registry for it, and waits until it has collected.
    #[track_caller]
    pub(crate) fn let_collect(&mut self) {
        self.stop_registry();
        fs::write(self.path("stopped"), "").expect("the file is written");
        self.await_and_remove("start");
    }

    /// Prunes and collects.
    #[track_caller]
    pub(crate) fn collect_registry(&mut self) {
        let mut collecting = self.command();
        collecting.args(["prune", "--registry"]);
        collecting.stdout(std::process::Stdio::null());
        let mut collecting = collecting.spawn().expect("deployer starts");
        self.await_collection();
        self.let_collect();
        self.start_registry();
        let ended = collecting.wait().expect("it can be waited for");
        assert!(ended.success(), "{ended}");
    }

    #[track_caller]
    fn await_and_remove(&self, name: &str) {
        let path = self.path(name);
        wait_for(&format!("the collection: {name}"), DEADLINE, || {
            fs::remove_file(&path).ok()
        });
    }
}
