//! Text → file: the syntax, the keys and the types.

use toml::de::{DeTable, Deserializer};

use super::fault::Finding;
use super::file::File;
use super::refusal::{Refusal, quoted};
use crate::model::{Hidden, hidden};

/// The file that `text` is.
///
/// # Errors
/// Every fault of syntax; or else the first key that is unknown or value that has the wrong type.
pub(super) fn file(text: &str) -> Result<File, Vec<Finding>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let finding = |error| at(text, error, Refusal::new(error.message()));
        return Err(errors.iter().map(finding).collect());
    }
    serde::Deserialize::deserialize(Deserializer::from(table)).map_err(|error: toml::de::Error| {
        let refusal = match unknown_key(error.message()) {
            Some((key, known)) => {
                Refusal::new(format!("there is no key {} here", quoted(key))).hint(hint(key, &known))
            }
            None => Refusal::new(in_words(error.message())),
        };
        vec![at(text, &error, refusal)]
    })
}

/// An error without a place is about the end of the file.
fn at(text: &str, error: &toml::de::Error, refusal: Refusal) -> Finding {
    let span = error.span().unwrap_or(text.len()..text.len());
    let refusal = match (refusal.hint.is_none(), hidden_near(text, span.start)) {
        (true, Some(hidden)) => refusal.hint(format!("the line has {hidden}")),
        _ => refusal,
    };
    Finding { span, refusal }
}

/// What nobody sees in the line of a fault, and may be what is wrong with it.
fn hidden_near(text: &str, at: usize) -> Option<Hidden> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    hidden(text[start..].lines().next()?)
}

/// The key that serde refuses and those that it knows instead: ``unknown field `a`, expected one of `b`, `c` ``.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let (key, rest) = message
        .strip_prefix("unknown field `")?
        .rsplit_once("`, expected ")?;
    // The key may hold the separator itself; the list of known keys never does.
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((key, known))
}

/// The nearest of the known keys where one is near, else all of them.
fn hint(key: &str, known: &[&str]) -> String {
    let far = key.chars().count().clamp(2, 6) / 2;
    let nearest = known
        .iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .min();
    match nearest {
        Some((steps, candidate)) if steps <= far => format!("did you mean `{candidate}`?"),
        _ => format!("the keys here are {}", known.join(", ")),
    }
}

/// How many characters must be put in, taken out or changed to make `b` of `a`; of `a` the first 40 count.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(40).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// serde's message in the words of a configuration, without the value, which may be secret.
fn in_words(message: &str) -> String {
    let Some((_, wanted)) = message.rsplit_once("expected ") else {
        return "the value is of the wrong type, or too large".to_owned();
    };
    let wanted = match wanted {
        "i64" => "a whole number",
        "f64" => "a number",
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list: [ … ]",
        "a map" => "a section or a table: { … }",
        other if other.starts_with("struct ") => "a section or a table: { … }",
        "a text or a whole number" => "a text in quotes or a whole number",
        _ => "another type of value",
    };
    format!("expected {wanted}")
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    fn faults(text: &str) -> Vec<Fault> {
        let findings = file(text).err().expect("a fault");
        findings
            .into_iter()
            .map(|finding| Fault::new(text, finding))
            .collect()
    }

    fn first(text: &str) -> Fault {
        faults(text).remove(0)
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        for (text, hint) in [
            ("[app.shop]\nhots = []", "did you mean `hosts`?"),
            ("[app.shop]\nbuildargs = {}", "did you mean `build_args`?"),
            ("[app.shop]\nenvfile = \"x\"", "did you mean `env_file`?"),
            ("stat = \"x\"", "did you mean `state`?"),
            ("apps = {}", "did you mean `app`?"),
            ("[app.shop.ports]\nred = 1", "the keys here are green, blue"),
            (
                "[app.shop.probe]\nurl = 1",
                "the keys here are kind, path, status, host, interval, timeout, deadline",
            ),
        ] {
            let fault = first(text);
            assert_eq!(fault.hint.as_deref(), Some(hint), "{fault}");
        }
    }

    #[test]
    fn an_unknown_key_is_marked_and_its_value_hidden() {
        let shown = first("[registry]\npassword = \"hunter2\"").to_string();
        assert_eq!(
            shown,
            "2:1: there is no key \"password\" here\n  |\n2 | password = …\n  | ^^^^^^^^\n\
             Hint: the keys here are address, prefix, username, password_file, plain_http, transfer_timeout, collect"
        );
    }

    #[test]
    fn a_strange_unknown_key_stays_bounded() {
        let key = format!("`, expected \u{1b}`{}", "x".repeat(10_000));
        let shown = first(&format!("{key:?} = 1").replace("\\u{1b}", "\\u001b")).to_string();
        assert!(
            shown.contains("there is no key") && shown.len() < 2_000,
            "{shown}"
        );
    }

    #[test]
    fn a_wrong_type_is_told_in_words() {
        for (text, message) in [
            ("[app.shop]\nkeep = \"x\"", "expected a whole number"),
            ("[app.shop]\nkeep = 1.5", "expected a whole number"),
            ("state = 1", "expected a text in quotes"),
            ("[app.shop]\nhosts = \"x\"", "expected a list: [ … ]"),
            ("engine = 1", "expected a section or a table: { … }"),
            (
                "[app.shop]\nmemory = 1.5",
                "expected a text in quotes or a whole number",
            ),
            ("[registry]\nplain_http = 1", "expected true or false"),
        ] {
            assert_eq!(first(text).message, message);
        }
    }

    #[test]
    fn several_faults_of_syntax_are_told_at_once() {
        let faults = faults("[engine]\nhost = \n[proxy]\nlisten = x\n");
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 4], "{faults:?}");
    }
}
