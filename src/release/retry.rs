//! Trying again where it can help: a registry that restarts, a connection that broke.

use std::time::Duration;

use crate::engine::EngineError;
use crate::store::Log;

/// The pauses before the second, third and fourth try.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Does `what` until it succeeds, fails for good, or has failed four times.
pub(super) async fn retrying<T>(
    log: &mut Log,
    what: impl AsyncFn(&mut Log) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    for pause in PAUSES {
        match what(log).await {
            Err(error) if error.is_transient() => {
                log.output(&format!("{error}; trying again"));
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
    what(log).await
}
