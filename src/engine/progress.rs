//! A build's events, told as plain lines by either builder's ways.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bollard::models::{BuildInfo, BuildInfoAux};

use super::lines::{Lines, one_line};

/// Lines of the failing step that its error shows.
const LAST_LINES: usize = 20;
/// Characters of a step's name: a here-document can make it as long as a file.
const NAME_MAX: usize = 160;
/// Steps of one build that are kept in mind. A build beyond it is told without its later steps' names.
const STEPS_MAX: usize = 10_000;

/// How BuildKit calls the step that looks for a base image.
pub(super) const METADATA_OF: &str = "[internal] load metadata for ";

/// What is known of a running build.
#[derive(Debug, Default)]
pub(super) struct Progress {
    classic: Step,
    lines: Lines,
    steps: HashMap<String, Step>,
    failed: Option<String>,
    base_images: Vec<String>,
    image: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    number: usize,
    name: String,
    lines: Lines,
    last: VecDeque<String>,
    begun: bool,
    ended: bool,
}

impl Progress {
    /// Takes the next event; `output` gets the lines that it completes.
    pub(super) fn take(&mut self, event: BuildInfo, output: &mut (dyn FnMut(&str) + Send)) {
        match event.aux {
            Some(BuildInfoAux::BuildKit(status)) => self.take_buildkit(status, output),
            Some(BuildInfoAux::Default(image)) => self.image = image.id.or(self.image.take()),
            None => {}
        }
        if let Some(text) = event.stream {
            let step = &mut self.classic;
            self.lines
                .push(text.as_bytes(), |line| step.tell_classic(line, output));
        }
    }

    /// Tells what had no newline yet.
    pub(super) fn finish(&mut self, output: &mut (dyn FnMut(&str) + Send)) {
        let step = &mut self.classic;
        self.lines.finish(|line| step.tell_classic(line, output));
    }

    /// The id of the image that was built.
    pub(super) fn image(&self) -> Option<String> {
        self.image.clone()
    }

    /// The base images that BuildKit has looked for, by their whole names.
    pub(super) fn base_images(&self) -> &[String] {
        &self.base_images
    }

    /// The step that failed, or was the last to begin.
    pub(super) fn failed_step(&self) -> Option<String> {
        Some(self.failing_step().name.clone()).filter(|name| !name.is_empty())
    }

    /// The last lines of that step.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.failing_step().last.iter().cloned().collect()
    }

    fn failing_step(&self) -> &Step {
        let failed = self.failed.as_ref().and_then(|digest| self.steps.get(digest));
        failed.unwrap_or(&self.classic)
    }

    fn take_buildkit(&mut self, status: StatusResponse, output: &mut (dyn FnMut(&str) + Send)) {
        for vertex in status.vertexes {
            self.take_vertex(vertex, output);
        }
        for log in status.logs {
            if let Some(step) = self.steps.get_mut(&log.vertex) {
                let Step {
                    number, lines, last, ..
                } = step;
                lines.push(&log.msg, |line| {
                    remember(last, line);
                    output(&format!("#{number} {line}"));
                });
            }
        }
    }

    fn take_vertex(&mut self, vertex: Vertex, output: &mut (dyn FnMut(&str) + Send)) {
        let number = self.steps.len() + 1;
        if number > STEPS_MAX && !self.steps.contains_key(&vertex.digest) {
            return;
        }
        let base_images = &mut self.base_images;
        let step = self.steps.entry(vertex.digest.clone()).or_insert_with(|| {
            base_images.extend(vertex.name.strip_prefix(METADATA_OF).map(str::to_owned));
            Step {
                number,
                name: one_line(&vertex.name, NAME_MAX),
                ..Step::default()
            }
        });
        let cancelled = vertex.error.ends_with("context canceled");
        let failed = !vertex.error.is_empty() && !cancelled;
        // How the context and the Dockerfile get in is the builder's own affair, as long as it works.
        let internal = step.name.starts_with("[internal]") || step.name.starts_with("copy /context");
        let told = !internal || failed;
        if told && !step.begun && (vertex.started.is_some() || failed) {
            step.begun = true;
            output(&format!("#{} {}", step.number, step.name));
        }
        if step.ended || vertex.completed.is_none() && !failed {
            return;
        }
        step.ended = true;
        let Step {
            number, lines, last, ..
        } = step;
        lines.finish(|line| {
            remember(last, line);
            output(&format!("#{number} {line}"));
        });
        if failed {
            output(&format!("#{number} ERROR: {}", one_line(&vertex.error, 600)));
            self.failed = Some(vertex.digest);
            return;
        }
        // Nobody asks for these any more: the last lines of thousands of steps would be a lot of memory.
        *last = VecDeque::new();
        *lines = Lines::default();
        if told && !cancelled {
            match vertex.cached {
                true => output(&format!("#{number} CACHED")),
                false => output(&format!("#{number} DONE {:.1}s", seconds(&vertex))),
            }
        }
    }
}

impl Step {
    fn tell_classic(&mut self, line: &str, output: &mut (dyn FnMut(&str) + Send)) {
        // Ids of images and containers that nobody asked for.
        let noise = (line.starts_with(" ---> ") && !line.ends_with("Using cache"))
            || line.starts_with("Removing intermediate container ");
        if line.is_empty() || noise {
            return;
        }
        if line.starts_with("Step ") && line.contains(" : ") {
            self.name = one_line(line, NAME_MAX);
            self.last.clear();
        } else {
            remember(&mut self.last, line);
        }
        output(line);
    }
}

fn remember(last: &mut VecDeque<String>, line: &str) {
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(line.to_owned());
}

fn seconds(vertex: &Vertex) -> f64 {
    let nanos = |at: i64, nanos: i32| at as f64 + f64::from(nanos) / 1e9;
    match (&vertex.started, &vertex.completed) {
        (Some(from), Some(to)) => (nanos(to.seconds, to.nanos) - nanos(from.seconds, from.nanos)).max(0.0),
        _ => 0.0,
    }
}
