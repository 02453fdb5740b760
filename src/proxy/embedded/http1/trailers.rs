//! Trailers: the fields behind a chunked body, which ones go on, and how.
//!
//! A server may take a trailer for a field of the head, and one that reads trailers wrongly takes it for the next request.
//! So those of a request go on only to an app whose section asks for them, and by a list; those of an answer by the
//! table that its head goes by, but for what RFC 9110, section 6.5.1, wants in a head alone.

use super::FIELDS_FEW;
use super::fields::{Field, Fields, put, tokens};
use super::malformed::Malformed;
use crate::proxy::claims::likeness;

/// The trailers of a request that may go on: what is known of a body once it was read, and a call's outcome.
const OF_REQUESTS: [&str; 12] = [
    "content-digest",
    "content-md5",
    "digest",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "repr-digest",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// Fields that are no trailers of an answer: they say how it is to be read, kept or routed, or who may have it.
const NOT_OF_ANSWERS: [&str; 34] = [
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "cookie",
    "expires",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "status",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-accel-redirect",
    "x-content-type-options",
    "x-frame-options",
    "x-sendfile",
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    kind: Kind,
    /// What Connection names: it is for one hop.
    hop: Vec<Vec<u8>>,
    /// The lines as they came; with the empty line behind them at the end.
    lines: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Kind {
    OfRequest,
    #[default]
    OfAnswer,
}

impl Trailers {
    pub(super) fn of_request(head: &Fields<'_>) -> Self {
        Self::new(Kind::OfRequest, head)
    }

    pub(super) fn of_answer(head: &Fields<'_>) -> Self {
        Self::new(Kind::OfAnswer, head)
    }

    fn new(kind: Kind, head: &Fields<'_>) -> Self {
        Self {
            kind,
            hop: head.named.iter().map(|name| name.to_vec()).collect(),
            lines: Vec::new(),
        }
    }

    /// Bytes that have come.
    pub(super) fn length(&self) -> usize {
        self.lines.len()
    }

    /// Takes the next line, without its end; the last one is empty.
    ///
    /// # Errors
    /// When the last one has come, and the lines before it are no fields.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.lines.extend_from_slice(line);
        self.lines.extend_from_slice(b"\r\n");
        if line.is_empty() {
            parse(&self.lines, &mut [httparse::EMPTY_HEADER; FIELDS_FEW])?;
        }
        Ok(())
    }

    /// The field that announces those that may go on; empty where none of them may.
    pub(super) fn announcement(&self, head: &Fields<'_>) -> Vec<u8> {
        let announced = head.values(Field::Trailer).flat_map(tokens);
        let names: Vec<&[u8]> = announced
            .filter(|name| std::str::from_utf8(name).is_ok_and(|name| self.may_go_on(name)))
            .collect();
        let mut line = Vec::new();
        if !names.is_empty() {
            put(&mut line, "trailer", &names.join(&b", "[..]));
        }
        line
    }

    /// Writes those that may go on, a line each.
    pub(super) fn put(&self, to: &mut Vec<u8>) {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_FEW];
        for field in parse(&self.lines, &mut fields).unwrap_or_default() {
            if self.may_go_on(field.name) {
                put(to, field.name, field.value);
            }
        }
    }

    fn may_go_on(&self, name: &str) -> bool {
        let is_named = self
            .hop
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name.as_bytes()));
        !is_named
            && match self.kind {
                Kind::OfRequest => OF_REQUESTS.iter().any(|listed| listed.eq_ignore_ascii_case(name)),
                Kind::OfAnswer => {
                    let is_like = |listed: &&str| likeness(listed, name.as_bytes()).is_some();
                    Field::of(name) == Field::Other && !NOT_OF_ANSWERS.iter().any(is_like)
                }
            }
    }
}

fn parse<'fields, 'lines>(
    lines: &'lines [u8],
    fields: &'fields mut [httparse::Header<'lines>],
) -> Result<&'fields [httparse::Header<'lines>], Malformed> {
    match httparse::parse_headers(lines, fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == lines.len() => Ok(fields),
        _ => Err(Malformed),
    }
}
