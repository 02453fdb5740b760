//! What to do about a Dockerfile that the builder cannot read: most often it is newer than the builder.

use super::BuilderKind;
use super::lines::one_line;

/// Options of instructions that newer frontends know and older ones do not. Another one that is not known is a mistake.
const NEWER_OPTIONS: [&str; 13] = [
    "checksum",
    "chmod",
    "device",
    "exclude",
    "keep-git-dir",
    "link",
    "mount",
    "network",
    "parents",
    "platform",
    "security",
    "start-interval",
    "unpack",
];

/// The frontend that knows them all but the experimental ones.
const NEWER_FRONTEND: &str = "docker/dockerfile:1";

/// What to do about a build that failed, where the Dockerfile tells. `told` is what the builder said, its failed step
/// included.
pub(super) fn hint(told: &str, dockerfile: &str, kind: BuilderKind) -> Option<String> {
    let frontend = frontend(dockerfile);
    match (kind, frontend) {
        (BuilderKind::Buildkit, Some(name)) if told.contains(&name) => Some(format!(
            "the line `# syntax={name}` makes BuildKit fetch that image first; drop the line, or set `engine.builder` to \
             \"classic\""
        )),
        (BuilderKind::Classic, _) => unknown_to_classic(told, dockerfile).map(|what| {
            format!(
                "the classic builder knows no {what}, and BuildKit does: set `engine.builder` to \"auto\" or \"buildkit\". An \
                 older BuildKit may need `# syntax={NEWER_FRONTEND}` as the first line of the Dockerfile too"
            )
        }),
        (BuilderKind::Buildkit, Some(name)) => unknown(told, dockerfile).map(|what| {
            format!("the frontend {name}, which the line `# syntax=` names, knows no {what}: name a newer one, as {NEWER_FRONTEND}")
        }),
        (BuilderKind::Buildkit, None) => unknown(told, dockerfile).map(|what| {
            format!(
                "the BuildKit of this Engine knows no {what}. `# syntax={NEWER_FRONTEND}` as the first line of the Dockerfile \
                 has it fetch a newer frontend from the Docker Hub; a newer Engine needs no such line"
            )
        }),
    }
}

/// What to do where no step of any build can run, whatever the Dockerfile says: the bridge that they would all be on is gone.
pub(super) fn bridge_is_gone(told: &str) -> Option<String> {
    let (_, after) = told.split_once("could not find bridge ")?;
    let end = after.find(|c: char| c == ':' || c.is_whitespace());
    let bridge = one_line(&after[..end.unwrap_or(after.len())], 40);
    let made_by = match bridge.as_str() {
        "docker0" => "a restart of Docker makes it again: `systemctl restart docker`".to_owned(),
        other => format!("make the bridge {other} again, then restart Docker: `systemctl restart docker`"),
    };
    Some(format!(
        "the Engine's default bridge {bridge} is gone, as after the end of another dockerd, and without it no RUN of any \
         build can run; {made_by}"
    ))
}

fn unknown_to_classic(told: &str, dockerfile: &str) -> Option<String> {
    let requires = told.split_once(" option requires BuildKit");
    let option = requires.and_then(|(before, _)| before.rsplit(' ').next());
    match option {
        Some(option) => Some(format!("`{}`", one_line(option, 40))),
        None if told.contains("failed to parse platform") => Some("$BUILDPLATFORM and the like".to_owned()),
        None => unknown(told, dockerfile),
    }
}

/// What the builder did not know, where a newer one does.
fn unknown(told: &str, dockerfile: &str) -> Option<String> {
    let lower = told.to_ascii_lowercase();
    if let Some((_, option)) = lower.split_once("unknown flag: ") {
        let option = option.trim_start_matches('-');
        let end = option.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let option = &option[..end.unwrap_or(option.len())];
        return NEWER_OPTIONS.contains(&option).then(|| format!("`--{option}`"));
    }
    if lower.contains("unexpected key ") && lower.contains("parse error") {
        return Some("such key in a `--mount`".to_owned());
    }
    let line = failed_line(&lower)?;
    let is_in_one = |(first, last): (usize, usize)| (first..=last).contains(&line);
    heredocs(dockerfile)
        .into_iter()
        .any(is_in_one)
        .then(|| "heredocs (`<<EOF`)".to_owned())
}

/// The line, from 1, that a parse error names.
fn failed_line(lower: &str) -> Option<usize> {
    let (_, after) = lower.split_once("parse error ")?;
    let (_, number) = after.split_once("line ")?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

/// The first and the last line of every heredoc, from 1.
fn heredocs(dockerfile: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(dockerfile.lines());
    while let Some((first, line)) = lines.next() {
        for word in delimiters(line) {
            let end = lines.find(|(_, line)| line.trim_start_matches('\t') == word);
            found.push((first, end.map_or(usize::MAX, |(last, _)| last)));
        }
    }
    found
}

/// The words at which the heredocs that begin in this line end.
fn delimiters(line: &str) -> Vec<&str> {
    let takes = ["RUN", "COPY", "ADD"];
    let instruction = line.split_whitespace().next().unwrap_or_default();
    if !takes.iter().any(|takes| instruction.eq_ignore_ascii_case(takes)) {
        return Vec::new();
    }
    line.split_whitespace().filter_map(delimiter).collect()
}

/// `EOF` of `<<EOF`, `<<-"EOF"` and `3<<EOF`; none of `<<<`.
fn delimiter(word: &str) -> Option<&str> {
    let after = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let word = after.strip_prefix('-').unwrap_or(after).trim_matches(['"', '\'']);
    (!word.is_empty() && !word.starts_with('<')).then_some(word)
}

/// The image that a Dockerfile's `# syntax=` line names.
fn frontend(dockerfile: &str) -> Option<String> {
    let directives = dockerfile
        .trim_start_matches('\u{feff}')
        .lines()
        .take_while(|line| line.trim_start().starts_with('#'));
    let found = directives.filter_map(|line| line.trim_start_matches(['#', ' ', '\t']).split_once('='));
    found
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("syntax"))
        .map(|(_, image)| one_line(image, 100))
        .next()
}

#[cfg(test)]
mod tests {
    use super::BuilderKind::{Buildkit, Classic};
    use super::*;

    #[test]
    fn what_an_old_builder_does_not_know_is_told_with_what_to_write() {
        // As Engine 20.10 says it.
        for (kind, told, line, wanted) in [
            (
                Buildkit,
                "dockerfile parse error line 3: unknown instruction: ECHO",
                "RUN <<EOF\necho hi\nEOF",
                "heredocs",
            ),
            (
                Buildkit,
                "dockerfile parse error line 3: unknown instruction: HELLO",
                "COPY <<-'E' /x\nhello\n\tE",
                "heredocs",
            ),
            (
                Buildkit,
                "dockerfile parse error on line 3: unknown instruction: {",
                "COPY <<\"E\" /x\n{\nE",
                "heredocs",
            ),
            (
                Buildkit,
                "dockerfile parse error line 2: Unknown flag: link",
                "COPY --link a /a",
                "`--link`",
            ),
            (
                Buildkit,
                "dockerfile parse error line 2: Unknown flag: parents",
                "COPY --parents a /a",
                "`--parents`",
            ),
            (
                Buildkit,
                "dockerfile parse error line 2: unknown flag: --checksum (did",
                "ADD --checksum=x a /a",
                "`--checksum`",
            ),
            (
                Buildkit,
                "dockerfile parse error line 2: unexpected key 'env' in 'env=Y'",
                "RUN --mount=env=Y x",
                "`--mount`",
            ),
            (
                Classic,
                "dockerfile parse error line 3: unknown instruction: ECHO",
                "RUN <<EOF\necho hi\nEOF",
                "heredocs",
            ),
            (
                Classic,
                "the --mount option requires BuildKit. Refer to https://",
                "RUN --mount=type=cache x",
                "`--mount`",
            ),
            (
                Classic,
                "the --chmod option requires BuildKit. Refer to https://",
                "COPY --chmod=1 a /a",
                "`--chmod`",
            ),
            (
                Classic,
                "failed to parse platform : \"\" is an invalid component of \"\"",
                "FROM --platform=$X a",
                "$BUILDPLATFORM",
            ),
        ] {
            let hint = hint(told, &format!("FROM x\n{line}\n"), kind).unwrap_or_default();
            assert!(hint.contains(wanted), "{told}: {hint}");
            let does = if kind == Classic {
                "`engine.builder`"
            } else {
                "# syntax=docker/dockerfile:1"
            };
            assert!(hint.contains(does), "{told}: {hint}");
        }
        let named = "# syntax=docker/dockerfile:1.2\nFROM x\nCOPY --link a /a\n";
        let old = hint(
            "dockerfile parse error line 3: Unknown flag: link",
            named,
            Buildkit,
        )
        .unwrap();
        assert!(
            old.contains("docker/dockerfile:1.2, which") && old.contains("a newer one"),
            "{old}"
        );
    }

    #[test]
    fn a_bridge_that_is_gone_is_told_with_what_makes_it_again() {
        // As the classic builder of Engine 20.10 says it.
        let told = |bridge: &str| {
            format!(
                "failed to create endpoint zen_x on network bridge: adding interface veth1 to bridge {bridge} failed: could \
                 not find bridge {bridge}: route ip+net: no such network interface"
            )
        };
        let hint = bridge_is_gone(&told("docker0")).unwrap();
        assert!(
            hint.contains("docker0 is gone") && hint.contains("a restart of Docker makes it"),
            "{hint}"
        );
        let hint = bridge_is_gone(&told("br7")).unwrap();
        assert!(hint.contains("make the bridge br7 again"), "{hint}");
        assert_eq!(bridge_is_gone("executor failed running: exit code: 1"), None);
    }

    #[test]
    fn a_plain_mistake_gets_no_hint() {
        for (told, lines) in [
            (
                "dockerfile parse error line 3: unknown instruction: FOO",
                "RUN cat <<< EOF\nFOO bar",
            ),
            (
                "dockerfile parse error line 6: unknown instruction: FOO",
                "RUN <<EOF\necho\nEOF\nUSER a\nFOO bar",
            ),
            (
                "dockerfile parse error line 3: unknown instruction: FOO",
                "ENV A=<<EOF\nFOO bar",
            ),
            (
                "dockerfile parse error line 2: Unknown flag: chwon",
                "COPY --chwon=1 a /a",
            ),
            (
                "executor failed running [/bin/sh -c x]: exit code: 1",
                "RUN <<EOF\nx\nEOF",
            ),
        ] {
            for kind in [Buildkit, Classic] {
                assert_eq!(hint(told, &format!("FROM x\n{lines}\n"), kind), None, "{told}");
            }
        }
    }

    #[test]
    fn a_frontend_that_could_not_be_fetched_is_told_as_what_it_is() {
        let told = "failed to resolve source metadata for docker.io/docker/dockerfile:1";
        let hint = hint(told, "# syntax=docker/dockerfile:1\nFROM x\n", Buildkit).unwrap();
        assert!(hint.contains("fetch that image first"), "{hint}");
    }

    #[test]
    fn the_frontend_is_read_from_the_leading_comments_only() {
        assert_eq!(
            frontend("\u{feff}# syntax=docker/dockerfile:1\nFROM x"),
            Some("docker/dockerfile:1".to_owned())
        );
        assert_eq!(frontend("#escape=`\n#Syntax = a/b\n"), Some("a/b".to_owned()));
        assert_eq!(frontend("FROM x\n# syntax=a"), None);
    }
}
