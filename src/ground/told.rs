//! What people are told: a message, and beside it the hints at what helps.
//!
//! An error's `Display` ends in a [`Hint`] where something helps. Where it is printed as it is, the hint stands behind the
//! message; [`Told::of`] keeps the two apart, through any chain of errors, so that nobody searches a text for a hint.

use std::cell::RefCell;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A message, and what helps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What is so, or what failed, with the value.
    pub message: String,
    /// What helps, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Told {
    /// A message without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What an error tells, with all of its causes.
    pub fn of(error: &(impl fmt::Display + ?Sized)) -> Self {
        let outer = HINTS.replace(Some(Vec::new()));
        let message = format!("{error:#}");
        let hints = HINTS.replace(outer).unwrap_or_default();
        Self { message, hints }
    }

    /// The same, each text of it changed by `change`.
    #[must_use]
    pub fn map(self, change: impl Fn(&str) -> String) -> Self {
        Self {
            message: change(&self.message),
            hints: self.hints.iter().map(|hint| change(hint)).collect(),
        }
    }

    /// The same as the end of a sentence that `beginning` begins.
    #[must_use]
    pub fn behind(self, beginning: impl fmt::Display) -> Self {
        Self {
            message: format!("{beginning}: {}", self.message),
            hints: self.hints,
        }
    }

    /// The message as the beginning of a sentence that goes on.
    pub fn without_full_stop(&self) -> &str {
        self.message.trim_end_matches('.')
    }
}

impl<T: Into<String>> From<T> for Told {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

impl std::error::Error for Told {}

impl fmt::Display for Told {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hints.is_empty() {
            true => to.write_str(&self.message),
            false => write!(to, "{}{}", self.without_full_stop(), Hints(&self.hints)),
        }
    }
}

/// What helps, as the end of an error's `Display`: `"no space is left{}", Hint("df -h")`.
pub struct Hint<T>(pub T);

impl<T: fmt::Display> fmt::Display for Hint<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hints(&[self.0.to_string()]).fmt(to)
    }
}

/// The same of several hints, or none.
pub struct Hints<'a>(pub &'a [String]);

impl fmt::Display for Hints<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_kept_apart = HINTS.with_borrow_mut(|kept| match kept {
            Some(kept) => {
                kept.extend_from_slice(self.0);
                true
            }
            None => false,
        });
        match is_kept_apart || self.0.is_empty() {
            true => Ok(()),
            false => write!(to, ". Hint: {}", self.0.join("; ")),
        }
    }
}

thread_local! {
    /// The hints of what [`Told::of`] formats.
    static HINTS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Wrong {
        #[error("the disk of {0} is full{hint}", hint = Hint("df -h"))]
        Full(&'static str),
        #[error("{0} has failed: {1}")]
        Other(&'static str, Box<Wrong>),
        #[error("it is so")]
        Plain,
    }

    #[test]
    fn an_error_is_printed_with_its_hints_behind_it() {
        assert_eq!(Wrong::Full("a").to_string(), "the disk of a is full. Hint: df -h");
        assert_eq!(Told::new("it is so.").to_string(), "it is so.");
        let told = Told::new("it is so.").hint("do this").hint("or that");
        assert_eq!(told.to_string(), "it is so. Hint: do this; or that");
    }

    #[test]
    fn hints_are_kept_apart_from_the_message_through_any_chain_of_errors() {
        let error = Wrong::Other("this", Box::new(Wrong::Full("a")));
        let error = anyhow!(error).context("while b").context("in c");
        let expected = Told::new("in c: while b: this has failed: the disk of a is full").hint("df -h");
        assert_eq!(Told::of(&error), expected);
        assert_eq!(
            Told::of(&Err::<(), _>(expected.clone()).context("d").unwrap_err()).hints,
            expected.hints
        );
        assert_eq!(Told::of(&Wrong::Plain), Told::new("it is so"));
        assert_eq!(
            format!("{error:#}"),
            expected.to_string(),
            "it is printed as before"
        );
    }

    #[test]
    fn one_error_that_tells_of_another_takes_no_hint_from_it() {
        struct Nested;
        impl fmt::Display for Nested {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                let inner = Told::of(&Wrong::Full("inner"));
                write!(to, "{}{}", inner.message, Hint("outer"))
            }
        }
        let told = Told::of(&Nested);
        assert_eq!(told, Told::new("the disk of inner is full").hint("outer"));
    }
}
