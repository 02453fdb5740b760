//! What a client asked for, as words: split as a shell would, and never given to one.

/// The most bytes that a command may have.
pub const LENGTH_MAX: usize = 4096;

/// The most words that a command may have.
pub const WORDS_MAX: usize = 64;

/// What a shell acts on outside of quotes. None of it means anything here, so that it is refused: whoever wrote it
/// meant something that would not happen.
const ACTIVE: &str = "$`;&|<>()*?[]{}~#!";

/// What a backslash within `"…"` takes the meaning from; before anything else it stands for itself.
const ESCAPED_IN_DOUBLE_QUOTES: &str = "\"\\$`";

/// A command that is no plain list of words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// It has more than [`LENGTH_MAX`] bytes.
    #[error("the command is longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// It has more than [`WORDS_MAX`] words.
    #[error("the command has more than {WORDS_MAX} words")]
    TooManyWords,
    /// It is not UTF-8.
    #[error("the command is not UTF-8")]
    NotUtf8,
    /// It has a control character: a newline, a zero byte, an escape.
    #[error("the command has a control character (U+{:04X})", u32::from(*.0))]
    Control(char),
    /// A quote or a backslash is left open.
    #[error("the command ends within {0}")]
    Open(&'static str),
    /// It has a character that a shell would act on; there is no shell here.
    #[error(
        "the command has the character {0}, and there is no shell here: put it in single quotes if it is meant as text"
    )]
    Active(char),
}

/// The words of `command`, quotes and backslashes resolved as a POSIX shell does.
///
/// Every text that this accepts is the same list of words to `sh`; what `sh` would do more with than split it is
/// refused, and never interpreted.
///
/// # Errors
/// When it is too large, not UTF-8, has control characters, is left open, or has something that only a shell acts on.
pub fn split(command: &[u8]) -> Result<Vec<String>, WordsError> {
    if command.len() > LENGTH_MAX {
        return Err(WordsError::TooLong);
    }
    let text = str::from_utf8(command).map_err(|_| WordsError::NotUtf8)?;
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(WordsError::Control(control));
    }
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        if words.len() == WORDS_MAX {
            return Err(WordsError::TooManyWords);
        }
        let mut word = String::new();
        rest = take_word(rest, &mut word)?.trim_start_matches(' ');
        words.push(word);
    }
    Ok(words)
}

/// Takes one word from the front of `text`; gives what is left, from the space behind the word on.
fn take_word<'a>(text: &'a str, word: &mut String) -> Result<&'a str, WordsError> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ' ' => return Ok(rest),
            '\'' => take_single_quoted(after, word)?,
            '"' => take_double_quoted(after, word)?,
            '\\' => take_escaped(after, word)?,
            c if ACTIVE.contains(c) => return Err(WordsError::Active(c)),
            c => {
                word.push(c);
                after
            }
        };
    }
    Ok(rest)
}

fn take_single_quoted<'a>(text: &'a str, word: &mut String) -> Result<&'a str, WordsError> {
    let (inside, after) = text.split_once('\'').ok_or(WordsError::Open("single quotes"))?;
    word.push_str(inside);
    Ok(after)
}

fn take_double_quoted<'a>(text: &'a str, word: &mut String) -> Result<&'a str, WordsError> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(&text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, escaped)) => {
                    if !ESCAPED_IN_DOUBLE_QUOTES.contains(escaped) {
                        word.push('\\');
                    }
                    word.push(escaped);
                }
                None => break,
            },
            '$' | '`' => return Err(WordsError::Active(c)),
            c => word.push(c),
        }
    }
    Err(WordsError::Open("double quotes"))
}

fn take_escaped<'a>(text: &'a str, word: &mut String) -> Result<&'a str, WordsError> {
    let escaped = text.chars().next().ok_or(WordsError::Open("a backslash"))?;
    word.push(escaped);
    Ok(&text[escaped.len_utf8()..])
}

/// `word` as one word of a shell: as it is where that is plain, else in single quotes. [`split`] takes it apart again.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._@%+=:,-".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn words(command: &str) -> Vec<String> {
        split(command.as_bytes()).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    #[test]
    fn a_command_is_split_as_git_and_ssh_write_it() {
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("   "), [""; 0]);
        assert_eq!(words(" rollback   green "), ["rollback", "green"]);
        assert_eq!(
            words(r"git-receive-pack '/path/it'\''s'"),
            ["git-receive-pack", "/path/it's"]
        );
        assert_eq!(words(r"git-upload-pack 'a'\!'b'"), ["git-upload-pack", "a!b"]);
        assert_eq!(
            words("log '$(reboot); `x` & | < > * ~'")[1],
            "$(reboot); `x` & | < > * ~"
        );
        assert_eq!(words(r#"a"b c"'d e'f\ g"#), ["ab cd ef g"]);
        assert_eq!(words(r#""" '' x"#), ["", "", "x"]);
        assert_eq!(words(r#""\"\\\$\`\a\'""#), [r#""\$`\a\'"#]);
    }

    #[test]
    fn what_only_a_shell_acts_on_is_refused() {
        for (command, character) in [
            ("status; reboot", ';'),
            ("status && reboot", '&'),
            ("status | sh", '|'),
            ("status > /etc/passwd", '>'),
            ("status < /etc/passwd", '<'),
            ("log $(reboot)", '$'),
            ("log \"$(reboot)\"", '$'),
            ("log \"`reboot`\"", '`'),
            ("log `reboot`", '`'),
            ("(status)", '('),
            ("log *", '*'),
            ("git-receive-pack ~/x", '~'),
            ("status # x", '#'),
        ] {
            assert_eq!(
                split(command.as_bytes()),
                Err(WordsError::Active(character)),
                "{command}"
            );
        }
    }

    #[test]
    fn what_is_open_too_large_or_not_text_is_refused() {
        for open in ["'", "\"", "a'b", "\"a\\\"", "\\", "a\\", "\"\\"] {
            assert!(
                matches!(split(open.as_bytes()), Err(WordsError::Open(_))),
                "{open}"
            );
        }
        for control in [
            "a\nb",
            "'a\nb'",
            "\"\n\"",
            "a\0",
            "\u{1b}[1m",
            "a\tb",
            "\u{85}",
            "\x7f",
        ] {
            assert!(
                matches!(split(control.as_bytes()), Err(WordsError::Control(_))),
                "{control:?}"
            );
        }
        assert_eq!(split(b"log \xff"), Err(WordsError::NotUtf8));
        assert_eq!(words(&"a".repeat(LENGTH_MAX)).len(), 1);
        assert_eq!(
            split("a".repeat(LENGTH_MAX + 1).as_bytes()),
            Err(WordsError::TooLong)
        );
        assert_eq!(words(&"a ".repeat(WORDS_MAX)).len(), WORDS_MAX);
        assert_eq!(
            split("a ".repeat(WORDS_MAX + 1).as_bytes()),
            Err(WordsError::TooManyWords)
        );
    }
}
