//! What instances print.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::errors::Error as Api;
use bollard::query_parameters::LogsOptions;
use futures_util::{Stream, StreamExt, stream};

use super::lines::Lines;
use super::said::is_gone;
use super::{ContainerId, Engine, EngineError};

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
        let mut pieces = Box::pin(self.docker.logs(id.as_str(), Some(options(lines, false))));
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

    /// What several instances print, as it comes: each line with the number that its container was given. Begins
    /// with the last `tail` lines of each. Ends when every container has ended or is gone.
    pub fn logs_follow(
        &self,
        instances: &[(u8, ContainerId)],
        tail: usize,
    ) -> impl Stream<Item = Result<(u8, String), EngineError>> + Send + use<> {
        let all = instances
            .iter()
            .map(|(index, id)| self.follow_one(*index, id, tail).boxed());
        stream::select_all(all.collect::<Vec<_>>())
    }

    fn follow_one(
        &self,
        index: u8,
        id: &ContainerId,
        tail: usize,
    ) -> impl Stream<Item = Result<(u8, String), EngineError>> + Send + use<> {
        let engine = self.clone();
        let pieces = self.docker.logs(id.as_str(), Some(options(tail, true)));
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
                    .map(|line| Ok((index, line)))
                    .collect::<Vec<_>>(),
            ),
            Err(error) => stream::iter(vec![Err(error)]),
        })
    }

    fn log_error(&self, api: Api) -> EngineError {
        self.call("read an instance's log").error(api)
    }
}

fn options(tail: usize, follow: bool) -> LogsOptions {
    LogsOptions {
        follow,
        stdout: true,
        stderr: true,
        tail: tail.to_string(),
        ..LogsOptions::default()
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
