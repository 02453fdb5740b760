//! What is wrong with a compose file, and where.

use std::fmt;

use crate::ground::told::Hint;
use crate::model::printable;

/// Most faults that are told of one file: whoever has more mends these first.
pub(super) const FAULTS_MAX: usize = 50;
/// Most characters that a message shows of a value.
const SHOWN_MAX: usize = 80;

/// A place in a file: line and column, both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct At {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The file, relative to the tree.
    pub file: String,
    /// Where in it.
    #[serde(flatten)]
    pub at: At,
    /// What is wrong, with the key and the value.
    pub what: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let At { line, column } = self.at;
        write!(to, "{}:{line}:{column}: {}", self.file, self.what)?;
        self.instead
            .as_ref()
            .map_or(Ok(()), |instead| Hint(instead).fmt(to))
    }
}

/// All that is wrong with a compose file, in the order of its lines; at most 50 faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// A single one.
    pub(super) fn one(file: &str, at: At, what: impl Into<String>, instead: Option<&str>) -> Self {
        Self(vec![Fault {
            file: file.to_owned(),
            at,
            what: what.into(),
            instead: instead.map(str::to_owned),
        }])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(to, "{newline}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A value as a message shows it: in quotes, printable, at most 80 characters.
pub(super) fn shown(value: &str) -> String {
    let cut: String = value.chars().take(SHOWN_MAX).collect();
    let dots = if cut.len() < value.len() { "…" } else { "" };
    let one_line = cut.replace('\n', " ");
    format!("\"{}{dots}\"", printable(&one_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_short_and_printable() {
        assert_eq!(shown("a\x1b[31mb\nc"), "\"ab c\"");
        assert_eq!(shown(&"x".repeat(100)), format!("\"{}…\"", "x".repeat(80)));
    }
}
