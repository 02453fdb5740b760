//! See [`crate::fuzzing`].

use super::arguments::declared_arguments;
use super::ignore::Ignore;
use super::lines::{Lines, one_line};

/// Names of a path that are looked at: a walk costs as much as the square of them.
const NAMES_MAX: usize = 20;

/// A Dockerfile: what it declares does not depend on an instruction before it.
pub(crate) fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut declared = declared_arguments(&text);
    // What is a directive in the first lines is a comment in later ones.
    if !text.trim_start().starts_with(['#', '\u{feff}']) {
        declared.insert("BEFORE".to_owned());
        let longer = format!("ARG BEFORE\n{text}");
        assert_eq!(declared_arguments(&longer), declared, "{text:?}");
    }
}

/// `data` is an ignore file and, after a NUL, a path: what a walk leaves out and takes back is also reached by it.
pub(crate) fn ignore(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, path) = text.split_once('\0').unwrap_or((&text, "a/b"));
    let Ok(ignore) = Ignore::parse(file) else { return };
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !matches!(*name, "" | "." | ".."))
        .take(NAMES_MAX)
        .collect();
    let (mut parent, mut left_out) = (None, Vec::<String>::new());
    for count in 1..=names.len() {
        let at = names[..count].join("/");
        let (excluded, matched) = ignore.excludes(&at, parent.as_ref());
        if !excluded {
            for folder in &left_out {
                assert!(
                    ignore.may_take_back_below(folder),
                    "{file:?} takes {at:?} back, and the walk does not enter {folder:?}"
                );
            }
        }
        if excluded {
            left_out.push(at);
        }
        parent = Some(matched);
    }
}

/// What a build or an instance prints, in pieces as long as the first byte says: the lines are printable, bounded, and
/// the same however it was cut.
pub(crate) fn output(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else {
        return;
    };
    let told = |size: usize| {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(size.max(1)) {
            lines.push(piece, |line| told.push(line.to_owned()));
        }
        lines.finish(|line| told.push(line.to_owned()));
        told
    };
    let lines = told(usize::from(*size));
    assert_eq!(lines, told(bytes.len()));
    for line in &lines {
        assert!(line.len() <= 3 * 8192 + 3, "{} bytes in a line", line.len());
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    let one = one_line(&String::from_utf8_lossy(bytes), 100);
    assert!(
        one.chars().count() <= 101 && !one.contains(char::is_control),
        "{one:?}"
    );
}
