//! Why an upstream's answer cannot be passed on: the reason, as the log, the metrics and the 502 page give it.

use std::fmt;

use super::{FIELDS_MAX, HEAD_MAX, INTERIM_MAX};

/// Longest field name that is shown, in bytes; a longer one is cut.
const NAME_MAX: usize = 32;

/// A reason, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::proxy::embedded) enum Unreadable {
    /// The connection ended before a byte of the answer.
    Closed,
    /// It ended within the head.
    ClosedInHead,
    /// It ended within the body.
    ClosedInBody,
    HeadTooLarge,
    TooManyFields,
    StatusLine,
    /// A field goes on in a second line (RFC 9112, section 5.2).
    FoldedField,
    /// RFC 9112, section 5.1.
    BlankBeforeColon,
    /// A field with a byte that none may have, or without a colon.
    Field,
    /// A Content-Length that is no number, or two that differ.
    Lengths,
    /// A transfer coding other than chunked.
    Coding,
    /// RFC 9112, section 6.1: chunked must not be applied twice.
    ChunkedTwice,
    /// A body that is not chunked as its head says.
    Chunk,
    /// 101 where no other protocol was asked for.
    Switch,
    TooManyInterim,
}

impl Unreadable {
    /// All of them, by number.
    pub(in crate::proxy::embedded) const ALL: [Self; 15] = [
        Self::Closed,
        Self::ClosedInHead,
        Self::ClosedInBody,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::StatusLine,
        Self::FoldedField,
        Self::BlankBeforeColon,
        Self::Field,
        Self::Lengths,
        Self::Coding,
        Self::ChunkedTwice,
        Self::Chunk,
        Self::Switch,
        Self::TooManyInterim,
    ];

    /// The value of the metrics' label `reason`.
    pub(in crate::proxy::embedded) fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedInHead => "closed_in_head",
            Self::ClosedInBody => "closed_in_body",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::StatusLine => "status_line",
            Self::FoldedField => "folded_field",
            Self::BlankBeforeColon => "blank_before_colon",
            Self::Field => "field",
            Self::Lengths => "content_length",
            Self::Coding => "transfer_encoding",
            Self::ChunkedTwice => "chunked_twice",
            Self::Chunk => "chunk",
            Self::Switch => "upgrade",
            Self::TooManyInterim => "too_many_interim",
        }
    }
}

/// A reason, with the name of the field at fault where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::embedded) struct Fault {
    pub(in crate::proxy::embedded) why: Unreadable,
    name: Name,
}

/// The beginning of a field name: printable ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    bytes: [u8; NAME_MAX],
    length: u8,
}

impl From<Unreadable> for Fault {
    fn from(why: Unreadable) -> Self {
        Self {
            why,
            name: Name::of(b""),
        }
    }
}

impl Fault {
    /// Why httparse refuses the answer that `bytes` begin with.
    pub(super) fn of(error: httparse::Error, bytes: &[u8]) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Unreadable::TooManyFields.into(),
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Self::of_fields(bytes),
            _ if bytes.contains(&b'\n') && is_status_line(bytes) => Self::of_fields(bytes),
            _ => Unreadable::StatusLine.into(),
        }
    }

    /// What is wrong with the first malformed field of a head.
    fn of_fields(head: &[u8]) -> Self {
        let mut last: &[u8] = b"";
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let [b' ' | b'\t', ..] = line {
                return Self::at(Unreadable::FoldedField, last);
            }
            let end = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at(end);
            if name.trim_ascii_end().len() < name.len() && !value.is_empty() {
                return Self::at(Unreadable::BlankBeforeColon, name.trim_ascii_end());
            }
            if !is_token(name) || value.is_empty() || !value.iter().all(|byte| is_in_value(*byte)) {
                return Self::at(Unreadable::Field, name);
            }
            last = name;
        }
        Unreadable::Field.into()
    }

    fn at(why: Unreadable, name: &[u8]) -> Self {
        Self {
            why,
            name: Name::of(name),
        }
    }
}

impl Name {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [b'?'; NAME_MAX];
        for (to, byte) in bytes.iter_mut().zip(name) {
            if byte.is_ascii_graphic() {
                *to = *byte;
            }
        }
        Self {
            bytes,
            length: name.len().min(NAME_MAX) as u8,
        }
    }
}

/// "the field NAME", or "a field" where its name is not known.
impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.bytes[..usize::from(self.length)]) {
            Ok("") | Err(_) => to.write_str("a field"),
            Ok(name) => write!(to, "the field {name}"),
        }
    }
}

/// What is wrong with the answer, as a sentence whose subject is the answer: "its head has ...".
impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.why {
            Unreadable::Closed => to.write_str("the connection closed before it began"),
            Unreadable::ClosedInHead => to.write_str("the connection closed within its head"),
            Unreadable::ClosedInBody => to.write_str("the connection closed within its body"),
            Unreadable::HeadTooLarge => write!(to, "its head has more than {} KiB", HEAD_MAX >> 10),
            Unreadable::TooManyFields => write!(to, "its head has more than {FIELDS_MAX} fields"),
            Unreadable::StatusLine => {
                to.write_str("it does not begin with a status line of HTTP/1.0 or HTTP/1.1")
            }
            Unreadable::FoldedField => write!(to, "{name} goes on in a second line (obsolete line folding)"),
            Unreadable::BlankBeforeColon => write!(to, "{name} has a blank before its colon"),
            Unreadable::Field => write!(to, "{name} has a byte that no field may have, or no colon"),
            Unreadable::Lengths => {
                to.write_str("its Content-Length is not a number, or there are two that differ")
            }
            Unreadable::Coding => to.write_str("its Transfer-Encoding is not chunked"),
            Unreadable::ChunkedTwice => to.write_str("its Transfer-Encoding is chunked twice"),
            Unreadable::Chunk => to.write_str("its body is not chunked as its head says"),
            Unreadable::Switch => to.write_str("it changes the protocol, which was not asked for"),
            Unreadable::TooManyInterim => {
                write!(to, "more than {INTERIM_MAX} interim answers (1xx) came before it")
            }
        }
    }
}

/// Whether the first line is a status line that httparse takes.
fn is_status_line(bytes: &[u8]) -> bool {
    let line = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    matches!(
        parsed.parse(line),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders)
    )
}

fn is_token(name: &[u8]) -> bool {
    let is_in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_in_token)
}

fn is_in_value(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
