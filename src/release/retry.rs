//! Trying again where it can help: a registry that restarts, a connection that broke.

use std::time::{Duration, Instant};

use super::context::Context;
use super::log::Log;
use crate::engine::{Engine, EngineError};

/// The pauses before the second, third and fourth try.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How long tries may have taken for another one to be made: the Engine tries again by itself too, and where it
/// took long about it, it has.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long an engine that is away is waited for: its supervisor starts it again, and it starts its containers.
const ENGINE_COMES_BACK: Duration = Duration::from_secs(30);

/// The engine, once it answers: for what must be done, and can wait.
///
/// # Errors
/// When it does not answer within 30 seconds.
pub(super) async fn engine_that_answers(context: &Context) -> anyhow::Result<&Engine> {
    let began = Instant::now();
    loop {
        let answered = match context.engine().await {
            Ok(engine) => engine.answers().await.map(|()| engine).map_err(Into::into),
            Err(error) => Err(error),
        };
        match answered {
            Err(error) if is_away(&error) && began.elapsed() < ENGINE_COMES_BACK => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            ended => return ended,
        }
    }
}

/// Whether the engine could not be reached, or broke off.
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(EngineError::is_transient)
}

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
