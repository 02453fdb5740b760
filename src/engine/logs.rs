//! What instances print.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::errors::Error as Api;
use bollard::query_parameters::LogsOptions;
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;

use super::error_mapping::is_gone;
use super::lines::Lines;
use super::{ContainerId, Engine, EngineError};

/// Which lines of what instances print.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRange {
    /// The last lines of each instance; absent: all that the Engine keeps.
    pub tail: Option<usize>,
    /// Only what was printed since then, to the whole second before it.
    pub since: Option<Timestamp>,
    /// Whether to go on as more is printed.
    pub follow: bool,
}

impl Engine {
    /// The last lines of what an instance printed, both streams in their order: at most `lines`, and at most
    /// `bytes` of text, of which the latest are kept. None of a container that is gone.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn logs_tail(
        &self,
        id: &ContainerId,
        lines: usize,
        bytes: usize,
    ) -> Result<Vec<String>, EngineError> {
        let range = LogRange {
            tail: Some(lines),
            ..LogRange::default()
        };
        let mut pieces = Box::pin(self.docker.logs(id.as_str(), Some(range.options())));
        let mut gathered = PerStream::default();
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut size = 0;
        let mut keep = |line: String| {
            size += line.len();
            tail.push_back(line);
            while tail.len() > lines || size > bytes {
                size -= tail.pop_front().map_or(0, |line| line.len());
            }
        };
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => gathered.push(piece).into_iter().for_each(&mut keep),
                Err(api) if is_gone(&api) => return Ok(Vec::new()),
                Err(api) => return Err(self.call("read an instance's log").error(api)),
            }
        }
        gathered.finish().into_iter().for_each(&mut keep);
        Ok(tail.into())
    }

    /// What several instances print, as it comes: each line with the name that its container was given. Ends with
    /// the last line, or where it is followed when every container has ended or is gone.
    pub fn logs<N: Clone + Send + 'static>(
        &self,
        instances: &[(N, ContainerId)],
        range: LogRange,
    ) -> impl Stream<Item = Result<(N, String), EngineError>> + Send + use<N> {
        let all = instances
            .iter()
            .map(|(name, id)| self.logs_of(name.clone(), id, range).boxed());
        stream::select_all(all.collect::<Vec<_>>())
    }

    fn logs_of<N: Clone + Send + 'static>(
        &self,
        name: N,
        id: &ContainerId,
        range: LogRange,
    ) -> impl Stream<Item = Result<(N, String), EngineError>> + Send + use<N> {
        let engine = self.clone();
        let pieces = self.docker.logs(id.as_str(), Some(range.options()));
        // A none marks the end, where the last line may want a newline.
        let pieces = pieces.map(Some).chain(stream::iter([None]));
        let mut gathered = PerStream::default();
        let told = pieces.map(move |piece| match piece {
            Some(Ok(piece)) => Ok(gathered.push(piece)),
            Some(Err(api)) if is_gone(&api) => Ok(Vec::new()),
            Some(Err(api)) => Err(engine.log_error(api)),
            None => Ok(gathered.finish()),
        });
        told.flat_map(move |lines| match lines {
            Ok(lines) => stream::iter(
                lines
                    .into_iter()
                    .map(|line| Ok((name.clone(), line)))
                    .collect::<Vec<_>>(),
            ),
            Err(error) => stream::iter(vec![Err(error)]),
        })
    }

    fn log_error(&self, api: Api) -> EngineError {
        self.call("read an instance's log").error(api)
    }
}

impl LogRange {
    fn options(self) -> LogsOptions {
        let since = self
            .since
            .map_or(0, |since| since.as_second().clamp(0, i32::MAX.into()));
        LogsOptions {
            follow: self.follow,
            stdout: true,
            stderr: true,
            since: i32::try_from(since).unwrap_or(i32::MAX),
            tail: self.tail.map_or("all".to_owned(), |tail| tail.to_string()),
            ..LogsOptions::default()
        }
    }
}

/// A line that began on one stream does not end on the other.
#[derive(Debug, Default)]
struct PerStream {
    stdout: Lines,
    stderr: Lines,
}

impl PerStream {
    fn push(&mut self, piece: LogOutput) -> Vec<String> {
        let mut told = Vec::new();
        let lines = match piece {
            LogOutput::StdErr { .. } => &mut self.stderr,
            _ => &mut self.stdout,
        };
        lines.push(&piece.into_bytes(), |line| told.push(line.to_owned()));
        told
    }

    fn finish(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        self.stdout.finish(|line| told.push(line.to_owned()));
        self.stderr.finish(|line| told.push(line.to_owned()));
        told
    }
}
