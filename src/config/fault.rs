//! One thing that is wrong in the file, shown at its line.

use std::fmt;
use std::ops::Range;

use super::refusal::{Refusal, cut};
use crate::model::is_hidden;

/// The most characters of a line and of a message that are shown.
const LINE_MAX: usize = 100;
const MESSAGE_MAX: usize = 400;

/// Keys whose values are shown beside a fault. Whatever stands on any other line may be a secret: a variable in
/// `env`, or a `password` that somebody wrote here although there is no such key.
pub(super) const SHOWN: &[&str] = &[
    "state",
    "engine",
    "host",
    "network",
    "subnet",
    "builder",
    "registry",
    "address",
    "prefix",
    "username",
    "registries",
    "password_file",
    "plain_http",
    "transfer_timeout",
    "collect",
    "proxy",
    "kind",
    "mode",
    "folder",
    "snippets",
    "socket",
    "nginx",
    "haproxy",
    "caddy",
    "check",
    "reload",
    "admin",
    "listen",
    "slot_listen",
    "trusted",
    "metrics_listen",
    "header_timeout",
    "idle_timeout",
    "body_timeout",
    "response_timeout",
    "ssh",
    "authorized_keys",
    "branch",
    "hosts",
    "trailers",
    "ports",
    "green",
    "blue",
    "container_port",
    "dockerfile",
    "context",
    "target",
    "build_pull",
    "build_deadline",
    "instances",
    "env_file",
    "volumes",
    "memory",
    "cpus",
    "pids",
    "restart",
    "stop_grace",
    "log_size",
    "probe",
    "path",
    "status",
    "interval",
    "timeout",
    "deadline",
    "drain_deadline",
    "promote",
    "standby",
    "keep",
    "gate",
    "max_push",
];

/// Keys and sections whose values are never shown.
pub(super) const SECRET: &[&str] = &["env", "build_args"];

/// What is refused, and the bytes of the file where it stands.
pub(super) struct Finding {
    pub(super) span: Range<usize>,
    pub(super) refusal: Refusal,
}

/// One thing that is wrong, with its line. Everything in it is printable and bounded, and shows no value that
/// may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// The line and, under it, the mark.
    excerpt: [String; 2],
}

impl Fault {
    /// The finding as it stands in `source`, the file's text.
    pub(super) fn new(source: &str, finding: Finding) -> Self {
        let Finding { span, refusal } = finding;
        let start = char_start(source, span.start);
        let end = char_start(source, span.end).max(start);
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = source[line_start..].lines().next().unwrap_or_default();
        let shown = if refusal.secret || !shows_value(source, line_start) {
            without_value(text)
        } else {
            printable(text)
        };
        let column = source[line_start..start].chars().count();
        let marked = source[start..end].lines().next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            message: cut(&printable(&refusal.message), MESSAGE_MAX),
            hint: refusal.hint.map(|hint| cut(&printable(&hint), MESSAGE_MAX)),
            excerpt: mark(&shown, column, marked.chars().count()),
        }
    }
}

impl fmt::Display for Fault {
    /// `LINE:COLUMN: message`, the line with its mark, and the hint.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        let gutter = line.to_string().len();
        writeln!(to, "{line}:{}: {}", self.column, self.message)?;
        writeln!(to, "{:gutter$} |", "")?;
        writeln!(to, "{line} | {}", self.excerpt[0])?;
        write!(to, "{:gutter$} | {}", "", self.excerpt[1])?;
        match &self.hint {
            Some(hint) => write!(to, "\nHint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Where the character that holds byte `at` begins; the end, where there is none.
fn char_start(source: &str, at: usize) -> usize {
    let is_start = |at: &usize| source.is_char_boundary(*at);
    (0..=at.min(source.len()))
        .rev()
        .find(is_start)
        .unwrap_or_default()
}

/// The text with everything that nobody sees replaced, each by one character so that columns stay true.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if is_hidden(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The line, cut to the part around the mark, and the mark: at least one caret, at most to the line's end.
fn mark(line: &str, column: usize, width: usize) -> [String; 2] {
    let chars: Vec<char> = line.chars().collect();
    let column = column.min(chars.len());
    let first = if chars.len() > LINE_MAX {
        column.saturating_sub(LINE_MAX / 2)
    } else {
        0
    };
    let last = chars.len().min(first + LINE_MAX);
    let lead = if first > 0 { "…" } else { "" };
    let tail = if last < chars.len() { "…" } else { "" };
    let text: String = chars[first..last].iter().collect();
    let indent = column - first + lead.chars().count();
    let carets = width.min(last - column).max(1);
    [
        format!("{lead}{text}{tail}"),
        format!("{}{}", " ".repeat(indent), "^".repeat(carets)),
    ]
}

/// Whether the value on the line that starts at `line_start` may be shown: it belongs to one of [`SHOWN`] and to
/// none of [`SECRET`], as far as the lines alone can tell, since the file may not parse. In doubt it is hidden.
fn shows_value(source: &str, line_start: usize) -> bool {
    let before = &source[..line_start];
    // Within or after a text of several lines, a line that looks like a key may be a part of a value.
    if before.contains("\"\"\"") || before.contains("'''") {
        return false;
    }
    let line = source[line_start..].lines().next().unwrap_or_default();
    let upwards = || std::iter::once(line).chain(before.lines().rev());
    let header = upwards().find(|line| is_header(line)).unwrap_or_default();
    let mut section = before.lines().rev().take_while(|line| !is_header(line));
    if is_secret(header) || section.any(|line| is_secret(key(line)) && !line.trim_end().ends_with('}')) {
        return false;
    }
    let owner = upwards().find(|line| is_header(line) || line.contains('='));
    owner.is_none_or(|line| is_header(line) || is_shown(line))
}

fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    line.starts_with('[') && line.ends_with(']') && !line.contains(['=', ','])
}

/// What stands before the line's first `=`; nothing where there is none.
fn key(line: &str) -> &str {
    line.split_once('=').map_or("", |(key, _)| key)
}

fn is_secret(key: &str) -> bool {
    words(key).any(|word| SECRET.contains(&word))
}

/// Whether every key on the line is one of [`SHOWN`]: an inline table has several. A `=` within a value counts as one.
fn is_shown(line: &str) -> bool {
    let mut keys: Vec<&str> = line.split('=').collect();
    keys.pop();
    let is_known = |key: &&str| {
        let name = key
            .trim_end()
            .rsplit(|c: char| c.is_whitespace() || "{,".contains(c))
            .next();
        words(name.unwrap_or_default())
            .last()
            .is_some_and(|word| SHOWN.contains(&word))
    };
    keys.iter().all(is_known) && !is_secret(key(line))
}

/// The parts of a dotted key or of a header, bare.
fn words(key: &str) -> impl Iterator<Item = &str> {
    let key = key.split('#').next().unwrap_or_default();
    key.split('.')
        .map(|word| word.trim_matches(|c: char| c.is_whitespace() || "[]\"'".contains(c)))
}

/// The line's key without its value.
fn without_value(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("{}= …", printable(key)),
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(source: &str, span: Range<usize>, refusal: Refusal) -> Fault {
        Fault::new(source, Finding { span, refusal })
    }

    fn at(source: &str, marked: &str) -> Fault {
        let start = source.find(marked).unwrap();
        fault(source, start..start + marked.len(), Refusal::new("wrong"))
    }

    #[test]
    fn a_fault_points_at_its_place() {
        let fault = at("a\n[proxy]\nlisten = \"x\"\n", "\"x\"");
        assert_eq!(
            fault.to_string(),
            "3:10: wrong\n  |\n3 | listen = \"x\"\n  |          ^^^"
        );
    }

    #[test]
    fn a_value_that_may_be_secret_is_not_shown() {
        for (source, mark) in [
            ("[app.shop.env]\nTOKEN = \"hunter2\"", "\"hunter2\""),
            ("[app.shop.env]\nhost = \"hunter2\"", "host"),
            ("[app.shop.env] # ours\nhost = \"hunter2\"", "host"),
            ("[app.shop]\nenv = {\n  host = \"hunter2\",\n}", "host"),
            ("[app.shop]\nenv = { TOKEN = \"hunter2\" }", "TOKEN"),
            ("[app.shop]\nenv = {\n  TOKEN = \"hunter2\",\n}", "TOKEN"),
            ("[app.shop]\nenv.host = \"hunter2\"", "host"),
            ("[app.shop]\n\"env\".host = \"hunter2\"", "host"),
            ("[app.shop]\nbuild_args = { A = \"hunter2\" }", "A"),
            ("[app]\nshop = { keep = 1, env = { A = \"hunter2\" } }", "keep"),
            ("[registry]\npassword = \"hunter2\"", "password"),
            ("[registry]\npassword = hunter2", "hunter2"),
            ("registry = { username = \"u\", password = \"hunter2\" }", "\"u\""),
            ("[registries.\"a:1\"]\npassword = \"hunter2\"", "password"),
            (
                "registries = { \"a:1\" = { password = \"hunter2\" } }",
                "password",
            ),
            ("env = { A = \"\"\"\nhost = hunter2\n\"\"\" }", "host"),
            ("[app.shop.env]\nA = [\n\"hunter2\"\n]", "\"hunter2\""),
        ] {
            let shown = at(source, mark).to_string();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for (source, mark) in [
            ("[app.shop]\nhosts = [\n  \"a\",\n  \"B\",\n]", "\"B\""),
            ("[app.shop]\nprobe = { kind = \"x\" }", "\"x\""),
            ("[app.shop]\nprobe.kind = \"x\"", "\"x\""),
            ("[nonsense]", "nonsense"),
        ] {
            let shown = at(source, mark).to_string();
            assert!(shown.contains(mark), "{shown}");
        }
    }

    #[test]
    fn a_fault_is_printable_and_bounded_whatever_the_file_holds() {
        let hostile = format!("host = \"\u{1b}[31m\u{202e}{}\" x", "é".repeat(100_000));
        for span in [
            0..hostile.len(),
            hostile.len()..hostile.len(),
            7..12,
            9..usize::MAX,
        ] {
            let fault = fault(&hostile, span, Refusal::new(&hostile).hint(&hostile));
            let shown = fault.to_string();
            assert!(
                shown.chars().count() < 1_200,
                "{} characters",
                shown.chars().count()
            );
            assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        }
    }
}
