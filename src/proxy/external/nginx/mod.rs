//! nginx: a flip is a marker file, which it looks up for every request; what is in flight stands in its shared memory.

mod connections;
mod in_flight;
mod workers;

use std::fs::{self, File};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use self::in_flight::Counter;
use super::command::as_root;
use super::kept::Choice;
use super::marks::Marks;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// The file that has nginx keep no connection, while it is there.
const CLOSING: &str = "closing";

/// How long it is there before a reload: whoever sends more than a request in this time has left its connection.
const CLOSES: Duration = Duration::from_secs(1);

/// nginx, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Nginx {
    settings: ProgramSettings,
    listen: SocketAddr,
    folder: PathBuf,
    marks: Marks,
    counter: Counter,
    /// The workers that accepted connections before the reload that is under way.
    former: Mutex<Option<Vec<u32>>>,
}

impl Nginx {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Nginx).cloned();
        let folder = settings.folder.join(Program::Nginx.as_str());
        let marks = Marks::new(&folder);
        Self {
            settings: own.unwrap_or_default(),
            listen: settings.listen,
            counter: Counter::new(settings.listen, marks.clone()),
            marks,
            folder,
            former: Mutex::default(),
        }
    }
}

impl Way for Nginx {
    fn file(&self) -> &'static str {
        "deployer.conf"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../../templates/nginx/flip.conf"),
            false => include_str!("../../../../templates/nginx/front.conf"),
        }
    }

    fn check(&self) -> Vec<String> {
        let own = self.settings.check.clone();
        own.unwrap_or_else(|| as_root(&["nginx", "-t", "-q"]))
    }

    fn reload(&self) -> Vec<String> {
        let own = self.settings.reload.clone();
        own.unwrap_or_else(|| as_root(&["nginx", "-s", "reload"]))
    }

    /// nginx closes the idle connections of former workers, also one on which a request is under way to it.
    fn before_reload<'a>(&'a self, view: &'a View, serves: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let former = workers::accepting(self.listen, view).await;
            *lock(&self.former) = former;
            if serves && self.marks.are_any() && File::create(self.folder.join(CLOSING)).is_ok() {
                tokio::time::sleep(CLOSES).await;
            }
        })
    }

    fn after_reload(&self, _view: &View) {
        let _ = fs::remove_file(self.folder.join(CLOSING));
    }

    fn settled<'a>(&'a self, _view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            let former = lock(&self.former).take();
            workers::accept_no_more(former).await;
            Ok(())
        })
    }

    fn choose<'a>(&'a self, view: &'a View, choices: &'a [Choice]) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            let chosen = self.marks.choose(choices);
            // Of a deployer that was killed while nginx was reloaded.
            self.after_reload(view);
            chosen.map_err(|error| ProxyError::failed(format!("the markers cannot be set: {error}")))
        })
    }

    fn chosen<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>> {
        let apps = view.apps.iter().map(|app| &app.name);
        Box::pin(async { Ok(self.marks.chosen(apps)) })
    }

    fn in_flight<'a>(
        &'a self,
        view: &'a View,
        upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>> {
        Box::pin(self.counter.count(view, upstreams))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
