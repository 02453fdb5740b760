//! Header fields, as far as a proxy has to know them.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::{CHECK, RELEASE};
use crate::proxy::claims::{Likeness, claim, likeness};

/// A field, by what the proxy does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Goes on as it is.
    Other,
    /// Is meant for one hop alone.
    Hop,
    Host,
    Connection,
    ContentLength,
    ContentType,
    TransferEncoding,
    Date,
    Expect,
    Te,
    Upgrade,
    Trailer,
    Forwarded,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    /// Says in another way who the client is.
    Claim,
    /// A name that some servers take for one of the others, and that is none: `Content_Length`.
    Folded,
    RequestId,
    /// By which a flip asks which release answers.
    Check,
    /// By which it is told.
    Release,
}

impl Field {
    /// What a field of a request is: of the names that a server may take for others too.
    pub(super) fn of(name: &str) -> Self {
        let field = Self::of_answer(name);
        if field != Self::Other {
            return field;
        }
        let name = name.as_bytes();
        let is_like = |(known, _): &(&str, Self)| likeness(known, name).is_some();
        if Self::known(name.len()).iter().any(is_like) {
            return Self::Folded;
        }
        match claim(name) {
            None => Self::Other,
            Some(Likeness::Same) => Self::Claim,
            Some(Likeness::Folded) => Self::Folded,
        }
    }

    /// What a field of an answer is: nobody is claimed to be anybody there.
    pub(super) fn of_answer(name: &str) -> Self {
        let mut known = Self::known(name.len()).iter();
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Self::Other, |(_, field)| *field)
    }

    /// The names that are known, of this length.
    fn known(length: usize) -> &'static [(&'static str, Self)] {
        match length {
            2 => &[("te", Self::Te)],
            4 => &[("host", Self::Host), ("date", Self::Date)],
            6 => &[("expect", Self::Expect)],
            5 => &[("proxy", Self::Hop)],
            7 => &[("upgrade", Self::Upgrade), ("trailer", Self::Trailer)],
            9 => &[("forwarded", Self::Forwarded)],
            10 => &[("connection", Self::Connection), ("keep-alive", Self::Hop)],
            12 => &[
                ("content-type", Self::ContentType),
                ("x-request-id", Self::RequestId),
            ],
            14 => &[("content-length", Self::ContentLength), (CHECK, Self::Check)],
            15 => &[("x-forwarded-for", Self::ForwardedFor)],
            16 => &[
                ("proxy-connection", Self::Hop),
                ("x-forwarded-host", Self::ForwardedHost),
                (RELEASE, Self::Release),
            ],
            17 => &[
                ("transfer-encoding", Self::TransferEncoding),
                ("x-forwarded-proto", Self::ForwardedProto),
            ],
            18 => &[("proxy-authenticate", Self::Hop)],
            19 => &[("proxy-authorization", Self::Hop)],
            _ => &[],
        }
    }

    /// Whether Connection cannot name it as one for this hop alone: it tells where the message goes and ends; or it is
    /// for this hop, and what it says is taken.
    fn stays(self) -> bool {
        matches!(
            self,
            Self::Host | Self::ContentLength | Self::TransferEncoding | Self::Te
        )
    }
}

/// What each field of a head is, what the fields named Connection said, and how the body is framed.
pub(super) struct Fields<'a> {
    pub(super) all: &'a [httparse::Header<'a>],
    /// What Connection names.
    pub(super) named: Vec<&'a [u8]>,
    kinds: Kinds,
    pub(super) says_close: bool,
    pub(super) says_keep_alive: bool,
    pub(super) says_upgrade: bool,
}

/// What each field is: few of them without memory of their own.
enum Kinds {
    Few([Field; super::FIELDS_FEW]),
    Many(Vec<Field>),
}

impl Kinds {
    fn of(count: usize) -> Self {
        match count {
            0..=super::FIELDS_FEW => Self::Few([Field::Other; super::FIELDS_FEW]),
            _ => Self::Many(vec![Field::Other; count]),
        }
    }

    fn all(&self) -> &[Field] {
        match self {
            Self::Few(kinds) => kinds,
            Self::Many(kinds) => kinds,
        }
    }

    fn all_mut(&mut self) -> &mut [Field] {
        match self {
            Self::Few(kinds) => kinds,
            Self::Many(kinds) => kinds,
        }
    }
}

impl<'a> Fields<'a> {
    /// The fields of a request.
    pub(super) fn of_request(all: &'a [httparse::Header<'a>]) -> Self {
        Self::new(all, Field::of)
    }

    /// The fields of an answer.
    pub(super) fn of_answer(all: &'a [httparse::Header<'a>]) -> Self {
        Self::new(all, Field::of_answer)
    }

    fn new(all: &'a [httparse::Header<'a>], of: impl Fn(&str) -> Field) -> Self {
        let mut fields = Self {
            all,
            named: Vec::new(),
            kinds: Kinds::of(all.len()),
            says_close: false,
            says_keep_alive: false,
            says_upgrade: false,
        };
        for (field, kind) in all.iter().zip(fields.kinds.all_mut()) {
            *kind = of(field.name);
            if *kind == Field::Connection {
                for token in tokens(field.value) {
                    match () {
                        () if token.eq_ignore_ascii_case(b"close") => fields.says_close = true,
                        () if token.eq_ignore_ascii_case(b"keep-alive") => fields.says_keep_alive = true,
                        () if token.eq_ignore_ascii_case(b"upgrade") => fields.says_upgrade = true,
                        () => fields.named.push(token),
                    }
                }
            }
        }
        if !fields.named.is_empty() {
            let named = Named::new(fields.named.clone());
            for (field, kind) in all.iter().zip(fields.kinds.all_mut()) {
                if named.has(field.name) && !kind.stays() {
                    *kind = Field::Hop;
                }
            }
        }
        fields
    }

    /// All fields, with what they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &'a httparse::Header<'a>)> {
        self.kinds.all().iter().copied().zip(self.all)
    }

    /// Whether the field at `at` is said once more behind it, and not as nothing.
    pub(super) fn is_said_again(&self, at: usize) -> bool {
        let name = self.all[at].name;
        let mut behind = self.iter().skip(at + 1);
        behind.any(|(kind, field)| {
            kind == self.kinds.all()[at] && field.name.eq_ignore_ascii_case(name) && !field.value.is_empty()
        })
    }

    /// The values of the fields that are `wanted`.
    pub(super) fn values(&self, wanted: Field) -> impl Iterator<Item = &'a [u8]> {
        let wanted = move |(kind, field): (Field, &'a httparse::Header<'a>)| {
            (kind == wanted).then(|| field.value.trim_ascii())
        };
        self.iter().filter_map(wanted)
    }

    /// What Content-Length says: nothing, one number, or nonsense.
    pub(super) fn length(&self) -> Result<Option<u64>, NoLength> {
        let mut length = None;
        for value in self.values(Field::ContentLength) {
            let number = decimal(value).ok_or(NoLength)?;
            if length.is_some_and(|length| length != number) {
                return Err(NoLength);
            }
            length = Some(number);
        }
        Ok(length)
    }

    /// What Transfer-Encoding says, in one line or several: of a request and of an answer alike.
    pub(super) fn coding(&self) -> Coding {
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let mut lines = self.values(Field::TransferEncoding);
        let (Some(first), second) = (lines.next(), lines.next()) else {
            return Coding::None;
        };
        if second.is_none() && is_chunked(first) {
            return Coding::Chunked;
        }
        let (mut chunked, mut last_is_chunked) = (0, false);
        for coding in self.values(Field::TransferEncoding).flat_map(tokens) {
            last_is_chunked = is_chunked(coding);
            chunked += usize::from(last_is_chunked);
        }
        match () {
            () if chunked > 1 => Coding::ChunkedTwice,
            () if last_is_chunked => Coding::Unknown,
            () => Coding::Endless,
        }
    }
}

/// Names in their order, whatever their case: a head with many fields may name many.
struct Named<'a>(Vec<&'a [u8]>);

impl<'a> Named<'a> {
    fn new(mut names: Vec<&'a [u8]>) -> Self {
        names.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
        Self(names)
    }

    fn has(&self, name: &str) -> bool {
        let name = name.as_bytes();
        self.0
            .binary_search_by(|named| lower(named).cmp(lower(name)))
            .is_ok()
    }
}

fn lower(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(u8::to_ascii_lowercase)
}

/// Whether a Content-Type is `media_type`, whatever its case and its parameters (RFC 9110, section 8.3.1).
pub(super) fn is_media_type(value: &[u8], media_type: &str) -> bool {
    let end = value.iter().position(|byte| b"; \t".contains(byte));
    value[..end.unwrap_or(value.len())].eq_ignore_ascii_case(media_type.as_bytes())
}

/// A Content-Length that is none.
#[derive(Debug)]
pub(super) struct NoLength;

/// A transfer coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    None,
    Chunked,
    /// Others, and chunked as the last.
    Unknown,
    /// Chunked more than once, which nobody may apply (RFC 9112, section 6.1).
    ChunkedTwice,
    /// One that does not tell where the body ends.
    Endless,
}

/// The parts of a list.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty())
}

/// Writes a field's line.
pub(in crate::proxy::embedded) fn put(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal digits.
pub(super) fn put_number(head: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    head.extend_from_slice(&digits[at..]);
}

/// Now, as the field Date has it.
pub(in crate::proxy::embedded) fn put_date(head: &mut Vec<u8>) {
    thread_local! {
        /// The second that was written last, and how.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now {
            let written = i64::try_from(now)
                .ok()
                .and_then(|now| Timestamp::from_second(now).ok());
            let written =
                written.and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok());
            *text = written.unwrap_or_default();
            *second = now;
        }
        put(head, "date", text.as_bytes());
    });
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut written = Vec::new();
            put_number(&mut written, number);
            assert_eq!(written, number.to_string().as_bytes());
            assert_eq!(decimal(&written), Some(number));
        }
        for nonsense in ["", "+3", "-1", "3 ", "0x3", "18446744073709551616", "3,3"] {
            assert_eq!(decimal(nonsense.as_bytes()), None, "{nonsense:?}");
        }
    }

    #[test]
    fn the_date_is_as_http_has_it() {
        let mut head = Vec::new();
        put_date(&mut head);
        let line = String::from_utf8(head).unwrap();
        assert!(
            line.starts_with("date: ") && line.ends_with(" GMT\r\n") && line.len() == 37,
            "{line:?}"
        );
    }

    #[test]
    fn a_media_type_is_told_without_its_case_and_its_parameters() {
        for (value, is_it) in [
            ("text/event-stream", true),
            ("Text/Event-Stream", true),
            ("text/event-stream;charset=utf-8", true),
            ("text/event-stream ; charset=utf-8", true),
            ("text/event-streamx", false),
            ("text/event-stream-2", false),
            ("text/event", false),
            ("", false),
        ] {
            assert_eq!(
                is_media_type(value.as_bytes(), "text/event-stream"),
                is_it,
                "{value:?}"
            );
        }
    }

    #[test]
    fn what_connection_names_is_found_among_many_names() {
        let names: Vec<String> = (0..500).map(|number| format!("X-{number}")).collect();
        let connection = names.join(",");
        let field = |name, value| httparse::Header { name, value };
        let mut all: Vec<_> = names.iter().map(|name| field(name.as_str(), &b"1"[..])).collect();
        all.extend([field("x-500", b"1"), field("connection", connection.as_bytes())]);
        let fields = Fields::of_request(&all);
        let stay: Vec<_> = fields
            .iter()
            .filter(|(kind, _)| *kind == Field::Other)
            .map(|(_, field)| field.name)
            .collect();
        assert_eq!(stay, ["x-500"]);
    }

    #[test]
    fn the_last_coding_tells_whether_a_body_has_an_end() {
        for (values, coding) in [
            (&[][..], Coding::None),
            (&["chunked"], Coding::Chunked),
            (&["Chunked"], Coding::Chunked),
            (&["gzip, chunked"], Coding::Unknown),
            (&["gzip", "chunked"], Coding::Unknown),
            (&["chunked", "chunked"], Coding::ChunkedTwice),
            (&["chunked, Chunked"], Coding::ChunkedTwice),
            (&["chunked, gzip, chunked"], Coding::ChunkedTwice),
            (&[", chunked"], Coding::Unknown),
            (&["chunked, gzip"], Coding::Endless),
            (&["chunked", "gzip"], Coding::Endless),
            (&["xchunked"], Coding::Endless),
            (&[""], Coding::Endless),
        ] {
            let fields: Vec<_> = values
                .iter()
                .map(|value| httparse::Header {
                    name: "Transfer-Encoding",
                    value: value.as_bytes(),
                })
                .collect();
            assert_eq!(Fields::of_request(&fields).coding(), coding, "{values:?}");
        }
    }
}
