//! A commit as it was written, by whatever wrote it.
//!
//! Git's library reads no commit whose author line is malformed, and such commits are in honest histories. A release needs
//! of a commit its tree, and for people a subject, a name and a time: those are read here, and nothing else is demanded.

use git2::Oid;

/// What a commit's object says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    /// Its tree.
    pub(super) tree: Oid,
    /// The author's name; empty where there is none.
    pub(super) author: &'a [u8],
    /// When it was committed, in seconds since the epoch; none where that is no number, or one too large.
    pub(super) seconds: Option<i64>,
    /// The first paragraph of the message, in one line.
    pub(super) subject: Vec<u8>,
}

/// Bytes of the first paragraph that are looked at: much more than anybody is shown.
const SUBJECT_MAX: usize = 4096;

impl<'a> Written<'a> {
    /// What the object says; none where it names no tree.
    pub(super) fn read(object: &'a [u8]) -> Option<Self> {
        let tree = id_after(b"tree ", object)?;
        let (headers, message) = match object.windows(2).position(|two| two == b"\n\n") {
            Some(end) => (&object[..end], &object[end + 2..]),
            None => (object, &b""[..]),
        };
        let line = |name: &[u8]| {
            headers
                .split(|&b| b == b'\n')
                .find_map(|line| line.strip_prefix(name))
        };
        let (author, _) = person(line(b"author ").unwrap_or_default());
        let (_, committed) = person(line(b"committer ").unwrap_or_default());
        Some(Self {
            tree,
            author,
            seconds: seconds(committed),
            subject: subject(message),
        })
    }
}

/// The object that a tag's object names; none where it names none.
pub(super) fn tagged(object: &[u8]) -> Option<Oid> {
    id_after(b"object ", object)
}

fn id_after(word: &[u8], object: &[u8]) -> Option<Oid> {
    let hex = object.strip_prefix(word)?.get(..41)?.strip_suffix(b"\n")?;
    Oid::from_str(std::str::from_utf8(hex).ok()?).ok()
}

/// A person's name, and what stands behind the address: the time, by the rules. Where there is no address, the name ends
/// where numbers begin.
fn person(line: &[u8]) -> (&[u8], &[u8]) {
    let begins_a_number = |at: &usize| {
        let is_first = *at == 0 || line[at - 1].is_ascii_whitespace();
        is_first && line[*at].is_ascii_digit()
    };
    let (name, rest) = match line.iter().position(|&b| b == b'<') {
        Some(at) => {
            let end = line.iter().rposition(|&b| b == b'>').unwrap_or(at);
            (&line[..at], line.get(end + 1..).unwrap_or_default())
        }
        None => line.split_at((0..line.len()).find(begins_a_number).unwrap_or(line.len())),
    };
    (name.trim_ascii(), rest)
}

fn seconds(behind_address: &[u8]) -> Option<i64> {
    let digits = behind_address.trim_ascii_start();
    let end = digits.iter().position(|b| !b.is_ascii_digit() && *b != b'-');
    std::str::from_utf8(&digits[..end.unwrap_or(digits.len())])
        .ok()?
        .parse()
        .ok()
}

fn subject(message: &[u8]) -> Vec<u8> {
    let end = message.iter().position(|&b| b == 0).unwrap_or(message.len());
    let message = message[..end].trim_ascii_start();
    let lines = message[..message.len().min(SUBJECT_MAX)]
        .split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn written(headers: &str, message: &[u8]) -> (String, Option<i64>, String) {
        let object = [format!("tree {TREE}\n{headers}\n\n").as_bytes(), message].concat();
        let written = Written::read(&object).expect("a commit");
        assert_eq!(written.tree.to_string(), TREE);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(written.author), written.seconds, text(&written.subject))
    }

    #[test]
    fn what_is_wrong_in_a_persons_line_is_no_more_than_missing() {
        for (line, name, seconds) in [
            ("Ann <a@b> 12 +0000", "Ann", Some(12)),
            ("Ann <a@b> 00012 +0000", "Ann", Some(12)),
            ("Ann <a@b> -12 +0000", "Ann", Some(-12)),
            ("Ann <a@b>12 +0000", "Ann", Some(12)),
            ("Ann<a@b> 12 +9", "Ann", Some(12)),
            ("<a@b> 12 +0000", "", Some(12)),
            ("Ann 12 +0000", "Ann", Some(12)),
            ("Ann <a@b 12 +0000", "Ann", None),
            ("Ann > b <a@b> 12 +0000", "Ann > b", Some(12)),
            ("Ann <a@b> 99999999999999999999 +0000", "Ann", None),
            ("Ann <a@b> Thu Jan 1", "Ann", None),
            ("Ann <a@b>", "Ann", None),
            ("", "", None),
        ] {
            let headers = format!("author {line}\ncommitter {line}");
            assert_eq!(
                written(&headers, b"work\n"),
                (name.into(), seconds, "work".into()),
                "{line}"
            );
        }
        let twice = "author Ann <a@b> 1 +0000\nauthor Bob <b@b> 2 +0000\ncommitter C <c@b> 3 +0000";
        assert_eq!(written(twice, b"").0, "Ann");
        let signed = "gpgsig x\n author Eve <e@b> 9 +0000";
        assert_eq!(written(signed, b""), (String::new(), None, String::new()));
    }

    #[test]
    fn a_subject_is_the_first_paragraph_in_one_line_up_to_a_nul() {
        for (message, subject) in [
            (&b"\n\n  one\n two \n\nthree"[..], "one two"),
            (b"one\0two", "one"),
            (b"caf\xe9\n", "caf\u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(written("author A <a@b> 1 +0000", message).2, subject);
        }
    }

    #[test]
    fn what_names_no_tree_is_no_commit_and_what_names_no_object_no_tag() {
        for object in [
            "",
            "tree",
            "tree 4b82\n",
            &format!("tree {TREE}"),
            &format!("object {TREE}\n"),
        ] {
            assert_eq!(Written::read(object.as_bytes()), None, "{object}");
        }
        let tag = format!("object {TREE}\ntype tree\n");
        assert_eq!(
            tagged(tag.as_bytes()).map(|id| id.to_string()).as_deref(),
            Some(TREE)
        );
        assert_eq!(tagged(b"object x\n"), None);
    }
}
