//! What a visitor of an app is answered, where rules and sites of the user's may stand in front of it.

use crate::ground::told::Told;
use crate::proxy::{AnsweredBy, Visit};

/// A fact about what visitors see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisitorsSee {
    /// A rule of the user's: as it should be, as far as anybody can tell.
    Note(Told),
    /// Something else than the app, where nothing tells that it is meant.
    Problem(Told),
}

/// What a visitor of `address` is answered; none where that is the app. `program` has the public port.
pub fn visitors_see(address: &str, program: &str, visit: &Visit) -> Option<VisitorsSee> {
    let who = match visit.by {
        AnsweredBy::App => return None,
        AnsweredBy::Rule => format!("a rule in the app's own part of {program}'s configuration"),
        AnsweredBy::Other => format!("another part of {program}'s configuration than deployer's"),
    };
    let status = visit.status;
    let is_rule = visit.by == AnsweredBy::Rule;
    let visitor = format!("a visitor of {address} is");
    let (text, is_meant) = match (status, &visit.location) {
        (300..=399, Some(location)) => {
            let (end, is_meant) = secure_end(visit);
            (
                format!(
                    "{visitor} sent to {} ({status}) by {who}{end}",
                    printable(location)
                ),
                is_meant,
            )
        }
        (401, _) => (format!("{visitor} asked for a login (401) by {who}"), true),
        (403, _) => (format!("{visitor} refused (403) by {who}"), true),
        (429, _) => (format!("{visitor} told to come later (429) by {who}"), true),
        (503, _) => (format!("{visitor} answered 503 by {who}"), true),
        _ => (format!("{visitor} answered {status} by {who}"), is_rule),
    };
    Some(match is_meant {
        true => VisitorsSee::Note(Told::new(text)),
        false => VisitorsSee::Problem(
            Told::new(format!("{text}, and does not come to the app"))
                .hint("does another site have its host there?"),
        ),
    })
}

/// A visitor of `address` gets no answer.
pub fn visitors_wait(address: &str, error: &str) -> VisitorsSee {
    VisitorsSee::Note(Told::new(format!(
        "a visitor of {address} is not answered: {error}"
    )))
}

/// What the https side of a redirect leads to, and whether that can be meant.
fn secure_end(visit: &Visit) -> (String, bool) {
    match &visit.secure {
        None => (String::new(), true),
        Some(Ok((_, AnsweredBy::App))) => (", where the app answers".to_owned(), true),
        Some(Ok((status, AnsweredBy::Rule))) => (
            format!(", where a rule in the app's own part answers {status}"),
            true,
        ),
        Some(Ok((status @ (401 | 403 | 429 | 503), _))) => {
            (format!(", where another part answers {status}"), true)
        }
        Some(Ok((status, _))) => (format!(", where another part answers {status}"), false),
        Some(Err(error)) => (format!(", where nothing answers: {error}"), false),
    }
}

fn printable(text: &str) -> String {
    crate::model::escaped(text.as_bytes(), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(
        status: u16,
        by: AnsweredBy,
        secure: Option<Result<(u16, AnsweredBy), String>>,
    ) -> Option<VisitorsSee> {
        let location = (300..400)
            .contains(&status)
            .then(|| "https://shop.example/".to_owned());
        let visit = Visit {
            status,
            by,
            location,
            secure,
        };
        visitors_see("http://shop.example/", "nginx", &visit)
    }

    #[test]
    fn the_app_itself_is_nothing_to_tell_whatever_it_answers() {
        for status in [200, 301, 401, 503] {
            assert_eq!(sees(status, AnsweredBy::App, None), None);
        }
    }

    #[test]
    fn rules_are_notes_and_foreign_answers_are_problems() {
        use AnsweredBy::{App, Other, Rule};
        for (status, by, secure, is_note) in [
            (301, Other, Some(Ok((200, App))), true),
            (301, Other, Some(Ok((401, Rule))), true),
            (301, Other, None, true),
            (301, Other, Some(Ok((200, Other))), false),
            (308, Other, Some(Err("refused".to_owned())), false),
            (401, Other, None, true),
            (403, Rule, None, true),
            (429, Other, None, true),
            (503, Rule, None, true),
            (200, Rule, None, true),
            (200, Other, None, false),
            (404, Other, None, false),
            (502, Other, None, false),
        ] {
            let told = sees(status, by, secure.clone());
            let is = matches!(told, Some(VisitorsSee::Note(_)));
            assert_eq!(is, is_note, "{status} {by:?} {secure:?}: {told:?}");
        }
    }
}
