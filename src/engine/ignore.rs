//! `.dockerignore`: which paths of a context are left out, by Docker's rules.
//!
//! A pattern is matched against the whole path relative to the context: `*` and `?` stay within one name, `**`
//! spans any number of folders, `[…]` is a set, `\` takes the next character as it is, `!` in front takes back.
//! A pattern that matches a folder counts for everything below it, and the last pattern that matches decides.

use std::str::Chars;

use crate::model::hidden;

/// Longest line of an ignore file in bytes, as the docker command has it.
const LINE_MAX: usize = 64 * 1024;

/// The patterns of one ignore file.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

/// Which patterns matched a folder: what its children's verdicts start from.
#[derive(Debug, Clone, Default)]
pub(super) struct Matched(Vec<bool>);

/// A line that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct BadPattern {
    line: usize,
    reason: String,
}

impl Ignore {
    /// Reads an ignore file's text.
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (at, line) in text.split('\n').enumerate() {
            let bad = |reason: &str| BadPattern {
                line: at + 1,
                reason: reason.to_owned(),
            };
            if line.len() >= LINE_MAX {
                return Err(bad("it is longer than 64 KiB"));
            }
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            // A control character is what a file's name may well have: patterns with one are written on purpose.
            if let Some(hidden) = hidden(&line.trim().replace(char::is_control, "?")) {
                return Err(bad(&format!(
                    "the pattern has {hidden}, and would not match what it looks like; where a name really has it, write ? \
                     in its place"
                )));
            }
            patterns.push(Pattern::parse(line.trim()).map_err(|reason| bad(&reason))?);
        }
        Ok(Self { patterns })
    }

    /// Whether `path` (relative, `/` between names) is left out, and what its children need to know.
    /// `parent` is the verdict's second half for the folder that holds it; none at the context's root.
    pub(super) fn excludes(&self, path: &str, parent: Option<&Matched>) -> (bool, Matched) {
        let mut excluded = false;
        let mut matched = vec![false; self.patterns.len()];
        let characters: Vec<char> = path.chars().collect();
        for (at, pattern) in self.patterns.iter().enumerate() {
            let by_parent = parent.is_some_and(|parent| parent.0[at]);
            // A pattern that would not change the verdict is not tried, and so counts for no child either: with
            // "a", "!a/b", "a" the file a/b stays in. That is Docker's way.
            if !by_parent && pattern.takes_back != excluded {
                continue;
            }
            if by_parent || pattern.matches(path, &characters) {
                matched[at] = true;
                excluded = !pattern.takes_back;
            }
        }
        (excluded, Matched(matched))
    }

    /// Whether a folder that is left out can hold something that is taken back.
    pub(super) fn may_take_back_below(&self, folder: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.takes_back && pattern.reaches_below(folder))
    }
}

#[derive(Debug)]
struct Pattern {
    takes_back: bool,
    /// The path up to the first name with a wildcard.
    fixed: String,
    has_wildcard: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// This character.
    Char(char),
    /// One character but `/`.
    One,
    /// Any number of characters but `/`.
    Name,
    /// Nothing, or anything up to and with a `/`.
    Folders,
    /// Anything.
    Rest,
    /// One character of a set.
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    fn parse(line: &str) -> Result<Self, String> {
        let (takes_back, body) = match line.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, line),
        };
        if body.is_empty() {
            return Err("\"!\" alone takes nothing back".to_owned());
        }
        let body = clean(body);
        let fixed: Vec<&str> = body
            .split('/')
            .take_while(|name| !name.contains(['*', '?', '[', '\\']))
            .collect();
        let fixed = fixed.join("/");
        Ok(Self {
            takes_back,
            has_wildcard: fixed.len() != body.len(),
            fixed,
            parts: parts(&body)?,
        })
    }

    fn matches(&self, text: &str, path: &[char]) -> bool {
        if !self.has_wildcard || !text.starts_with(&self.fixed) {
            return text == self.fixed;
        }
        // Where the pattern read so far can end: place i means that the first i characters are used up.
        let mut ends = vec![false; path.len() + 1];
        ends[0] = true;
        for part in &self.parts {
            ends = part.advance(path, &ends);
            if !ends.contains(&true) {
                return false;
            }
        }
        ends[path.len()]
    }

    fn reaches_below(&self, folder: &str) -> bool {
        let inside = |outer: &str, inner: &str| {
            outer.is_empty()
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        inside(folder, &self.fixed)
            || (self.has_wildcard && (self.fixed == folder || inside(&self.fixed, folder)))
    }
}

impl Part {
    fn advance(&self, path: &[char], ends: &[bool]) -> Vec<bool> {
        let mut next = vec![false; ends.len()];
        let mut one = |fits: &dyn Fn(char) -> bool| {
            for (at, c) in path.iter().enumerate() {
                next[at + 1] = ends[at] && fits(*c);
            }
        };
        match self {
            Part::Char(wanted) => one(&|c| c == *wanted),
            Part::One => one(&|c| c != '/'),
            Part::Set { negated, ranges } => {
                one(&|c| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated);
            }
            Part::Name => {
                for at in 0..ends.len() {
                    next[at] = ends[at] || (at > 0 && next[at - 1] && path[at - 1] != '/');
                }
            }
            Part::Folders => {
                let mut begun = false;
                for at in 0..ends.len() {
                    next[at] = ends[at] || (begun && path[at - 1] == '/');
                    begun |= ends[at];
                }
            }
            Part::Rest => {
                let mut begun = false;
                for at in 0..ends.len() {
                    begun |= ends[at];
                    next[at] = begun;
                }
            }
        }
        next
    }
}

/// The path without `.`, empty names, what `..` undoes, and the slashes at both ends.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    match names.is_empty() {
        true => ".".to_owned(),
        false => names.join("/"),
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.as_str().starts_with('*') => {
                rest.next();
                let slash = rest.as_str().starts_with('/');
                if slash {
                    rest.next();
                }
                // "**name" at the very beginning, without another wildcard, is "ends in name": Docker's way.
                let suffix =
                    parts.is_empty() && !slash && !rest.as_str().contains(['*', '?', '[', ']', '\\']);
                parts.push(match rest.as_str().is_empty() || suffix {
                    true => Part::Rest,
                    false => Part::Folders,
                });
            }
            '*' => parts.push(Part::Name),
            '?' => parts.push(Part::One),
            '[' => parts.push(set(&mut rest).ok_or_else(|| format!("{pattern:?} has a [ that is no set"))?),
            '\\' => match rest.next() {
                Some(escaped) => parts.push(Part::Char(escaped)),
                None => return Err(format!("{pattern:?} ends in a lone \\")),
            },
            c => parts.push(Part::Char(c)),
        }
    }
    Ok(parts)
}

/// A set, from after its `[` to its `]`.
fn set(rest: &mut Chars<'_>) -> Option<Part> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.as_str().starts_with(']') {
            rest.next();
            return Some(Part::Set { negated, ranges });
        }
        let from = member(rest)?;
        let to = match rest.as_str().starts_with('-') {
            true => {
                rest.next();
                member(rest)?
            }
            false => from,
        };
        ranges.push((from, to));
    }
}

fn member(rest: &mut Chars<'_>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(file: &str, path: &str) -> bool {
        let ignore = Ignore::parse(file).unwrap();
        let mut parent = None;
        let mut excluded = false;
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let (verdict, matched) = ignore.excludes(&path[..at], parent.as_ref());
            (excluded, parent) = (verdict, Some(matched));
        }
        excluded
    }

    #[test]
    fn each_wildcard_spans_what_it_should() {
        for (file, path, wanted) in [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("./a/../b", "b", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("*/*.txt", "d/a.txt", true),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "d/e/a.txt", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/bz", false),
            ("**", "a/b", true),
            ("**z", "xyz", true),
            ("**/z", "xyz", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("# a\n  a  \n", "a", true),
            ("\u{feff}a\r\n", "a", true),
            ("#a", "#a", false),
            ("\\#a", "#a", true),
            (".", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(excludes(file, path), wanted, "{file:?} on {path:?}");
        }
    }

    #[test]
    fn the_last_match_wins_and_a_folder_counts_for_what_is_below() {
        assert!(!excludes("*\n!a", "a/b"));
        assert!(excludes("*\n!a/b", "a/c"));
        assert!(!excludes("*\n!a/b", "a/b"));
        assert!(excludes("a\n!a/b\na/b/c", "a/b/c/d"));
        assert!(excludes("!a\na", "a"));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_told_with_its_number() {
        for bad in ["ok\n[", "ok\n[]a]", "ok\n[a", "ok\na\\", "ok\n!", "ok\n[-a]"] {
            assert!(
                Ignore::parse(bad)
                    .unwrap_err()
                    .to_string()
                    .starts_with("line 2: "),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_pattern_with_what_nobody_sees_is_refused_by_its_code() {
        for (file, told) in [
            (
                "ok\nsecret\u{200b}s",
                "line 2: the pattern has an invisible character, U+200B, as character 7",
            ),
            (
                "\u{feff}ok\n!\u{202e}x",
                "line 2: the pattern has an invisible character, U+202E, as character 2",
            ),
            (
                "ok\n\u{feff}x",
                "line 2: the pattern has an invisible character, U+FEFF, as character 1",
            ),
        ] {
            let refused = Ignore::parse(file).unwrap_err().to_string();
            assert!(refused.starts_with(told), "{refused}");
        }
        Ignore::parse("\u{feff}ok\r\n# \u{200b}\r\nx\ty \u{a0}\r\n\u{1b}x\n").unwrap();
    }

    #[test]
    fn a_folder_is_walked_where_something_in_it_may_be_taken_back() {
        let below = |file: &str, folder: &str| Ignore::parse(file).unwrap().may_take_back_below(folder);
        assert!(below("!a/b", "a"));
        assert!(!below("!a/b", "a/b"));
        assert!(!below("!a/b", "ab"));
        assert!(below("!**/x", "a/b"));
        assert!(below("!a/*/x", "a/b"));
        assert!(!below("!a/*/x", "b"));
        assert!(!below("a\nb", "a"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(2_000);
        assert!(!excludes(&pattern, &"a".repeat(1_000)));
        assert!(!excludes(&"**/a/".repeat(1_000), &"a/".repeat(50)));
    }
}
