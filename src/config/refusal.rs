//! Why a value is refused, and how it is quoted.

/// The most characters of a quoted value that are shown.
const QUOTED_MAX: usize = 80;

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong with the value, the value in it unless it may be secret.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
    /// Whether the line of the file that it is about holds a secret and is not to be shown.
    pub(super) secret: bool,
}

impl Refusal {
    /// A refusal without a hint.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            secret: false,
        }
    }

    /// The same refusal for a value that may be a secret.
    pub(super) fn of_secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same refusal with a hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<crate::model::ParseError> for Refusal {
    fn from(error: crate::model::ParseError) -> Self {
        Refusal::new(error.to_string())
    }
}

/// `value` in quotes, printable and cut, for use in a message.
pub(super) fn quoted(value: &str) -> String {
    format!("{:?}", cut(value, QUOTED_MAX))
}

/// The first `max` characters of `text`.
pub(super) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_printable_and_cut() {
        assert_eq!(quoted("a\u{1b}"), r#""a\u{1b}""#);
        assert_eq!(quoted(&"é".repeat(81)), format!("\"{}…\"", "é".repeat(80)));
    }
}
