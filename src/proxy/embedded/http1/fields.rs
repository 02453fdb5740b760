//! Header fields, as far as a proxy has to know them.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::body::Body;
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
    pub(super) fn of(name: &str) -> Self {
        let known: &[(&str, Self)] = match name.len() {
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
        };
        let name = name.as_bytes();
        let like = |(known, field): &(&str, Self)| Some((likeness(known, name)?, *field));
        let found = known.iter().find_map(like);
        match found.or_else(|| Some((claim(name)?, Self::Claim))) {
            None => Self::Other,
            Some((Likeness::Same, field)) => field,
            Some((Likeness::Folded, _)) => Self::Folded,
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
    kinds: [Field; super::FIELDS_MAX],
    /// What Connection names.
    pub(super) named: Vec<&'a [u8]>,
    pub(super) says_close: bool,
    pub(super) says_keep_alive: bool,
    pub(super) says_upgrade: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(all: &'a [httparse::Header<'a>]) -> Self {
        let mut fields = Self {
            all,
            kinds: [Field::Other; super::FIELDS_MAX],
            named: Vec::new(),
            says_close: false,
            says_keep_alive: false,
            says_upgrade: false,
        };
        for (field, kind) in all.iter().zip(&mut fields.kinds) {
            *kind = Field::of(field.name);
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
            for (field, kind) in all.iter().zip(&mut fields.kinds) {
                let is_named = fields
                    .named
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(field.name.as_bytes()));
                if is_named && !kind.stays() {
                    *kind = Field::Hop;
                }
            }
        }
        fields
    }

    /// All fields, with what they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &'a httparse::Header<'a>)> {
        self.kinds.iter().copied().zip(self.all)
    }

    /// Whether the field at `at` is said once more behind it, and not as nothing.
    pub(super) fn is_said_again(&self, at: usize) -> bool {
        let name = self.all[at].name;
        let mut behind = self.iter().skip(at + 1);
        behind.any(|(kind, field)| {
            kind == self.kinds[at] && field.name.eq_ignore_ascii_case(name) && !field.value.is_empty()
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

    /// What Transfer-Encoding says.
    pub(super) fn coding(&self) -> Coding {
        let mut values = self.values(Field::TransferEncoding);
        match (values.next(), values.next()) {
            (None, _) => Coding::None,
            (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
            (Some(first), second) => {
                let last = values.last().or(second).unwrap_or(first);
                match tokens(last).last() {
                    Some(last) if last.eq_ignore_ascii_case(b"chunked") => Coding::Unknown,
                    _ => Coding::Endless,
                }
            }
        }
    }
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
    /// One that does not tell where the body ends.
    Endless,
}

/// The parts of a list.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty())
}

/// Writes a field's line.
pub(super) fn put(head: &mut Vec<u8>, name: &str, value: &[u8]) {
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

/// Writes how a body is framed that goes on as it came.
pub(super) fn put_framing(head: &mut Vec<u8>, body: &Body) {
    if let Some(length) = body.length() {
        head.extend_from_slice(b"content-length: ");
        put_number(head, length);
        head.extend_from_slice(b"\r\n");
    } else {
        put(head, "transfer-encoding", b"chunked");
    }
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
    fn the_last_coding_tells_whether_a_body_has_an_end() {
        for (values, coding) in [
            (&[][..], Coding::None),
            (&["chunked"], Coding::Chunked),
            (&["Chunked"], Coding::Chunked),
            (&["gzip, chunked"], Coding::Unknown),
            (&["gzip", "chunked"], Coding::Unknown),
            (&["chunked", "chunked"], Coding::Unknown),
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
            assert_eq!(Fields::new(&fields).coding(), coding, "{values:?}");
        }
    }
}
