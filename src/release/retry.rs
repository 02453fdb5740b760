//! Trying again where it can help: a registry that restarts, a connection that broke.

use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::store::Log;

/// The pauses before the second, third and fourth try.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How long tries may have taken for another one to be made: the Engine tries again by itself too, and where it
/// took long about it, it has.
const PATIENCE: Duration = Duration::from_secs(15);

/// Does `what` until it succeeds, fails for good, has failed four times, or has taken its time.
pub(super) async fn retrying<T>(
    log: &mut Log,
    what: impl AsyncFn(&mut Log) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let began = Instant::now();
    for pause in PAUSES {
        match what(log).await {
            Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                log.output(&format!("{error}; trying again"));
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
    what(log).await
}
