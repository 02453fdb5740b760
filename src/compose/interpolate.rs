//! `$NAME` and `${NAME…}`, as Compose has them.

use std::collections::{BTreeMap, BTreeSet};

/// `${…}` in `${…}`.
const DEPTH_MAX: u32 = 16;
/// Bytes that all interpolation of one file may make.
const BYTES_MAX: usize = 4 << 20;

/// The variables of a file: those that the caller gives go before those of the tree's `.env`.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) given: BTreeMap<String, String>,
    pub(super) dotenv: BTreeMap<String, String>,
    /// Names that were asked for and are not there, without a default.
    pub(super) unset: BTreeSet<String>,
    /// Bytes made so far, in values and files.
    pub(super) made: usize,
}

/// Why a text is not interpolated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("a $ that begins no variable")]
    Dollar,
    #[error("a ${{ that is not closed, or has no name")]
    Braces,
    #[error("${{…}} is nested too deep: {DEPTH_MAX} levels are the most")]
    Deep,
    #[error("its variables make more than {} MiB", BYTES_MAX >> 20)]
    Large,
    #[error("the variable {name} is needed and not set{}", behind(.message))]
    Needed { name: String, message: String },
}

fn behind(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(": {message}"),
    }
}

impl Variables {
    /// The value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.given.get(name).or_else(|| self.dotenv.get(name));
        found.map(String::as_str)
    }

    /// `text` with the values of its variables. One that is not set is empty, and noted.
    pub(super) fn interpolate(&mut self, text: &str) -> Result<String, Wrong> {
        if !text.contains('$') {
            return Ok(text.to_owned());
        }
        let (out, rest) = self.until(text, false, 0)?;
        debug_assert!(rest.is_empty());
        Ok(out)
    }

    /// The text up to its end or, where it stands in braces, up to the brace that closes them.
    fn until<'t>(&mut self, text: &'t str, in_braces: bool, depth: u32) -> Result<(String, &'t str), Wrong> {
        if depth > DEPTH_MAX {
            return Err(Wrong::Deep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(if in_braces { &['$', '}'][..] } else { &['$'][..] }) {
            self.put(&mut out, &rest[..at])?;
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix('}') {
                return Ok((out, after));
            } else if let Some(after) = rest.strip_prefix("$$") {
                self.put(&mut out, "$")?;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let (value, after) = self.braced(after, depth)?;
                self.put(&mut out, &value)?;
                rest = after;
            } else {
                let (name, after) = name(&rest[1..]).ok_or(Wrong::Dollar)?;
                let value = self.plain(name);
                self.put(&mut out, &value)?;
                rest = after;
            }
        }
        if in_braces {
            return Err(Wrong::Braces);
        }
        self.put(&mut out, rest)?;
        Ok((out, ""))
    }

    fn braced<'t>(&mut self, text: &'t str, depth: u32) -> Result<(String, &'t str), Wrong> {
        let (name, rest) = name(text).ok_or(Wrong::Braces)?;
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((self.plain(name), after));
        }
        let (empty_counts, rest) = match rest.strip_prefix(':') {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let operator = rest.chars().next().filter(|operator| "-?+".contains(*operator));
        let operator = operator.ok_or(Wrong::Braces)?;
        // What is not used is not looked at either: its variables need not be set.
        let noted = self.unset.clone();
        let is_set = self
            .get(name)
            .is_some_and(|value| empty_counts || !value.is_empty());
        let (word, after) = match self.until(&rest[1..], true, depth + 1) {
            Err(Wrong::Needed { .. }) if is_set => {
                (String::new(), end_of_braces(&rest[1..]).ok_or(Wrong::Braces)?)
            }
            word => word?,
        };
        let is_used = (operator == '+') == is_set;
        if !is_used {
            self.unset = noted;
        }
        let value = match (operator, is_set) {
            ('-', false) | ('+', true) => word,
            ('+', false) => String::new(),
            ('?', false) => {
                let name = name.to_owned();
                return Err(Wrong::Needed { name, message: word });
            }
            _ => self.get(name).unwrap_or_default().to_owned(),
        };
        Ok((value, after))
    }

    fn plain(&mut self, name: &str) -> String {
        match self.get(name) {
            Some(value) => value.to_owned(),
            None => {
                self.unset.insert(name.to_owned());
                String::new()
            }
        }
    }

    fn put(&mut self, out: &mut String, text: &str) -> Result<(), Wrong> {
        self.spend(text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// Counts what is kept.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Wrong> {
        self.made = self.made.saturating_add(bytes);
        match self.made > BYTES_MAX {
            true => Err(Wrong::Large),
            false => Ok(()),
        }
    }
}

/// What follows the brace that closes those that `text` begins in.
fn end_of_braces(text: &str) -> Option<&str> {
    let mut open = 1_u32;
    for (at, character) in text.char_indices() {
        match character {
            '{' if text[..at].ends_with('$') => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(&text[at + 1..]);
        }
    }
    None
}

/// The name that `text` begins with, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    begins.then(|| text.split_at(end.unwrap_or(text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let map = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        Variables {
            given: map(&[("A", "given"), ("EMPTY", "")]),
            dotenv: map(&[("A", "dotenv"), ("B", "b")]),
            ..Variables::default()
        }
    }

    #[test]
    fn every_form_gives_what_compose_gives() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("$A-${B}.$$A", "given-b.$A"),
            ("${X:-d}${X-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${A:+y}${EMPTY:+y}${EMPTY+y}${X+y}", "yy"),
            ("${A?no}${B:?no}", "givenb"),
            ("${X:-${Y:-${B}x}}}", "bx}"),
            ("${A:-${X:?never}}", "given"),
            ("${X:-http://a:1/$B}", "http://a:1/b"),
            ("[$X]", "[]"),
        ] {
            assert_eq!(variables().interpolate(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_noted_unless_it_has_a_default() {
        let mut variables = variables();
        variables.interpolate("$X ${Y:-} ${A:-$Z} ${B}").unwrap();
        assert_eq!(variables.unset, BTreeSet::from(["X".to_owned()]));
    }

    #[test]
    fn what_compose_refuses_is_refused() {
        for (text, wrong) in [
            ("$1", Wrong::Dollar),
            ("a$", Wrong::Dollar),
            ("${A", Wrong::Braces),
            ("${}", Wrong::Braces),
            ("${A!b}", Wrong::Braces),
        ] {
            assert_eq!(variables().interpolate(text), Err(wrong), "{text}");
        }
        let needed = variables().interpolate("${X:?say $B}").unwrap_err();
        assert_eq!(needed.to_string(), "the variable X is needed and not set: say b");
        let deep = "${X:-".repeat(40) + &"}".repeat(40);
        assert_eq!(variables().interpolate(&deep), Err(Wrong::Deep));
        let mut large = variables();
        large.given.insert("L".into(), "x".repeat(1 << 20));
        assert_eq!(large.interpolate(&"$L".repeat(5)), Err(Wrong::Large));
    }
}
