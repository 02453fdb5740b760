//! What a Dockerfile says of the image that it makes: the image that it is from, and its ports. It is not evaluated.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Build;
use super::tree::Tree;

/// Bytes that are looked at.
const DOCKERFILE_MAX: u64 = 1 << 20;

/// What a Dockerfile says of its image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The image that the stage comes from in the end.
    pub from: Option<String>,
    /// The ports of EXPOSE, of the stage and those that it is from.
    pub ports: BTreeSet<u16>,
}

impl Dockerfile {
    /// Reads the Dockerfile of `build`; of one that cannot be read, nothing.
    pub fn read(tree: &Tree, build: &Build) -> Self {
        if let Some(text) = &build.dockerfile_inline {
            return Self::parse(text, build.target.as_deref());
        }
        let path = format!("{}/{}", build.context, build.dockerfile);
        let text = tree.read(&path, DOCKERFILE_MAX).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&text), build.target.as_deref())
    }

    /// What `text` says of its stage `target`, or its last one.
    pub fn parse(text: &str, target: Option<&str>) -> Self {
        let mut stages: Vec<Stage> = Vec::new();
        let mut args = BTreeMap::new();
        for line in instructions(text) {
            let mut words = line.split_whitespace();
            let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
            match (instruction.as_str(), stages.last_mut()) {
                ("FROM", _) => stages.push(Stage::from(words, &args)),
                ("ARG", None) => args.extend(words.filter_map(|word| word.split_once('=')).map(owned)),
                ("EXPOSE", Some(stage)) => stage.ports.extend(words.filter_map(port)),
                _ => {}
            }
        }
        let named = |name: &str| {
            stages
                .iter()
                .position(|stage| stage.name.eq_ignore_ascii_case(name))
        };
        let mut at = match target {
            Some(target) => named(target),
            None => stages.len().checked_sub(1),
        };
        let mut image = Self::default();
        while let Some(stage) = at.and_then(|at| stages.get(at)) {
            image.ports.extend(&stage.ports);
            image.from = Some(stage.from.clone());
            // A stage is from an earlier one.
            at = named(&stage.from).filter(|below| Some(*below) < at);
        }
        image
    }
}

struct Stage {
    from: String,
    name: String,
    ports: Vec<u16>,
}

impl Stage {
    fn from<'w>(words: impl Iterator<Item = &'w str>, args: &BTreeMap<String, String>) -> Self {
        let mut words = words.filter(|word| !word.starts_with("--"));
        let mut from = words.next().unwrap_or_default().to_owned();
        for (name, value) in args {
            from = from
                .replace(&format!("${{{name}}}"), value)
                .replace(&format!("${name}"), value);
        }
        let is_named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
        let name = if is_named { words.next() } else { None };
        Self {
            from,
            name: name.unwrap_or_default().to_owned(),
            ports: Vec::new(),
        }
    }
}

/// The lines, those that go on made one; no comments.
fn instructions(text: &str) -> Vec<String> {
    let mut instructions = Vec::new();
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        if part.starts_with('#') || part.is_empty() {
            continue;
        }
        match part.strip_suffix('\\') {
            Some(part) => line += part,
            None => {
                line += part;
                instructions.push(std::mem::take(&mut line));
            }
        }
        line += if line.is_empty() { "" } else { " " };
    }
    instructions.push(line);
    instructions
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.trim_matches(['"', '\'']).to_owned())
}

fn port(word: &str) -> Option<u16> {
    word.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_that_of_the_stage_with_all_its_ports() {
        let text = "ARG V=16\nFROM --platform=$X golang AS build\nEXPOSE 1\nRUN a \\\n  EXPOSE 2\n# EXPOSE 3\n\
                    FROM redis:${V} as base\nexpose 6379/tcp $P\nFROM base\nEXPOSE 80 443/udp\n";
        let last = Dockerfile::parse(text, None);
        assert_eq!(last.from.as_deref(), Some("redis:16"));
        assert_eq!(last.ports, [80, 443, 6379].into());
        let build = Dockerfile::parse(text, Some("Build"));
        assert_eq!((build.from.as_deref(), build.ports), (Some("golang"), [1].into()));
        assert_eq!(
            Dockerfile::parse("FROM a AS a\n", None).from.as_deref(),
            Some("a")
        );
        assert_eq!(Dockerfile::parse("", None), Dockerfile::default());
    }
}
