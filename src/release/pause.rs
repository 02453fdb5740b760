//! What a client sees at a public port that goes from one proxy to another.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::proxy::{Served, serves_a_client};

/// How long after a client's end the next one comes.
const NEXT: Duration = Duration::from_millis(2);

/// What clients saw that came one after another, each on a connection of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pause {
    /// The longest time from one that was answered to the next, where others in between were not.
    pub longest: Duration,
    /// Those that nobody listened for.
    pub refused: u64,
    /// Those that were answered 503.
    pub unavailable: u64,
    /// Those that were connected, and got no answer.
    pub broken_off: u64,
}

/// Clients that come one after another.
pub(super) struct Watch {
    enough: oneshot::Sender<()>,
    seen: JoinHandle<Pause>,
}

impl Watch {
    /// Begins to ask for a path of a host at the public port `listen`.
    pub(super) fn begin(listen: SocketAddr, client: (String, String)) -> Self {
        let (enough, is_enough) = oneshot::channel();
        // On a thread of their own: what else happens meanwhile writes to disks, and they are to come in time.
        let seen = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_or_else(
                |_| Pause::default(),
                |runtime| runtime.block_on(watch(listen, client, is_enough)),
            )
        });
        Self { enough, seen }
    }

    /// What was seen; once a client has been answered that came from now on, or could not be.
    pub(super) async fn end(self) -> Pause {
        let _ = self.enough.send(());
        self.seen.await.unwrap_or_default()
    }
}

async fn watch(
    listen: SocketAddr,
    (host, path): (String, String),
    mut enough: oneshot::Receiver<()>,
) -> Pause {
    let mut pause = Pause::default();
    let (mut answered, mut is_paused) = (Instant::now(), false);
    loop {
        let is_last = !matches!(enough.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let served = serves_a_client(listen, &host, &path).await;
        match served {
            Served::Answered => {}
            Served::Refused => pause.refused += 1,
            Served::Unavailable => pause.unavailable += 1,
            Served::BrokenOff => pause.broken_off += 1,
        }
        let is_answered = served == Served::Answered;
        if is_paused || !is_answered {
            pause.longest = pause.longest.max(answered.elapsed());
        }
        if is_answered {
            (answered, is_paused) = (Instant::now(), false);
        } else {
            is_paused = true;
        }
        if is_last {
            return pause;
        }
        tokio::time::sleep(NEXT).await;
    }
}
