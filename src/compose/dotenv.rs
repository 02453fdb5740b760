//! `.env` and `env_file`: lines of `NAME=value`, as Compose reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::interpolate::Variables;
use crate::model::text_of_file;

/// Variables of one file.
const NAMES_MAX: usize = 2_000;

/// What a file sets, in its order; a name without `=` has no value of its own.
pub(super) type Lines = Vec<(String, Option<String>)>;

/// Reads `bytes`. A value may use what earlier files have set, `before`, the variables of `from`, and those of earlier lines:
/// the first of them that has one.
///
/// # Errors
/// The line, from 1, and what is wrong with it; never a value.
pub(super) fn read(
    bytes: &[u8],
    from: &mut Variables,
    before: &BTreeMap<String, Option<String>>,
) -> Result<Lines, (u32, String)> {
    let text =
        text_of_file(bytes).map_err(|error| (u32::try_from(error.line()).unwrap_or(1), error.to_string()))?;
    let text = text.replace("\r\n", "\n");
    let mut parser = Parser {
        rest: &text,
        line: 1,
        variables: Variables {
            given: from.given.clone(),
            dotenv: from.dotenv.clone(),
            made: from.made,
            ..Variables::default()
        },
        own: BTreeSet::new(),
    };
    for (name, value) in before {
        parser
            .variables
            .given
            .extend(value.clone().map(|value| (name.clone(), value)));
    }
    let mut lines = Lines::new();
    while let Some((name, value)) = parser.next().map_err(|what| (parser.line, what))? {
        if lines.len() == NAMES_MAX {
            return Err((parser.line, format!("more than {NAMES_MAX} variables")));
        }
        lines.push((name, value));
    }
    from.made = parser.variables.made;
    Ok(lines)
}

struct Parser<'t> {
    rest: &'t str,
    line: u32,
    variables: Variables,
    /// The names that earlier lines have set.
    own: BTreeSet<String>,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Option<(String, Option<String>)>, String> {
        self.pass_blanks_and_comments();
        if self.rest.is_empty() {
            return Ok(None);
        }
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.rest = after.trim_start_matches([' ', '\t']);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim();
        check_name(name)?;
        let has_value = matches!(self.rest[end..].bytes().next(), Some(b'=' | b':'));
        self.rest = &self.rest[end..];
        if !has_value {
            return Ok(Some((name.to_owned(), None)));
        }
        self.rest = self.rest[1..].trim_start_matches([' ', '\t']);
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        self.hand_on(name, &value);
        Ok(Some((name.to_owned(), Some(value))))
    }

    fn pass_blanks_and_comments(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let passed = &self.rest[..self.rest.len() - trimmed.len()];
            self.line += newlines(passed);
            self.rest = trimmed;
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
        }
    }

    fn unquoted(&mut self) -> Result<String, String> {
        let (line, rest) = self
            .rest
            .split_at(self.rest.find('\n').unwrap_or(self.rest.len()));
        self.rest = rest;
        let value = line.split(" #").next().unwrap_or(line).trim_end();
        self.expand(value)
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut value = String::new();
        let mut is_escaped = false;
        for (at, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if character == quote && is_escaped => value.push(quote),
                _ if character == quote => {
                    self.line += newlines(&self.rest[..at]);
                    self.rest = &self.rest[at + 1..];
                    return match quote {
                        '"' => self.expand(&unescaped(&value)),
                        _ => Ok(value),
                    };
                }
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                _ => {
                    value.push_str(if is_escaped { "\\" } else { "" });
                    value.push(character);
                }
            }
            is_escaped = false;
        }
        Err("a quote that is not closed".to_owned())
    }

    fn expand(&mut self, value: &str) -> Result<String, String> {
        let expanded = self.variables.interpolate(value);
        expanded.map_err(|wrong| format!("{wrong}; a $ of its own is written $$"))
    }

    /// Hands a value on to later lines, unless the variable was set before this file.
    fn hand_on(&mut self, name: &str, value: &str) {
        if self.variables.get(name).is_none() || self.own.contains(name) {
            self.own.insert(name.to_owned());
            self.variables.dotenv.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

fn check_name(name: &str) -> Result<(), String> {
    let is_known = |character: char| character.is_ascii_alphanumeric() || "_.-[]".contains(character);
    match name.chars().find(|character| !is_known(*character)) {
        _ if name.is_empty() => Err("there is no name before =".to_owned()),
        Some(_) => {
            Err("not of the form NAME=value: the name may have letters, digits, _, . and -".to_owned())
        }
        None => Ok(()),
    }
}

/// The escapes of a shell in double quotes. `\$` is a dollar that begins no variable.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('f') => out.push('\x0c'),
            Some('v') => out.push('\x0b'),
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            Some('$') => out.push_str("$$"),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Lines, (u32, String)> {
        let mut from = Variables::default();
        from.given.insert("X".into(), "x".into());
        read(text.as_bytes(), &mut from, &BTreeMap::new())
    }

    #[test]
    fn values_are_what_compose_gives() {
        let text = "# c\nexport A=1\nB=\"a\\nb$X\\$\"\nC='q $X'\nD=a b # c\n\nE=${A}e#f\nF=\nG\nH: colon\nI=\"two\nlines\"\nX=y\nJ=$X";
        let read = read_text(text).unwrap();
        let wanted = [
            ("A", Some("1")),
            ("B", Some("a\nbx$")),
            ("C", Some("q $X")),
            ("D", Some("a b")),
            ("E", Some("1e#f")),
            ("F", Some("")),
            ("G", None),
            ("H", Some("colon")),
            ("I", Some("two\nlines")),
            ("X", Some("y")),
            ("J", Some("x")),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_its_value() {
        for (text, line) in [
            ("A=1\n=hunter2", 2),
            ("A=1\n\nB C=hunter2", 3),
            ("A=\"hunter2", 1),
            ("A=1\nB=$ hunter2", 2),
        ] {
            let (at, what) = read_text(text).unwrap_err();
            assert_eq!(at, line, "{text:?}: {what}");
            assert!(!what.contains("hunter2"), "{what}");
        }
    }
}
