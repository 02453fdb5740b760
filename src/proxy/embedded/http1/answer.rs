//! An answer's head: what it says, and how it goes on to the client.

use std::mem::MaybeUninit;

use http::StatusCode;

use super::body::Body;
use super::fault::{Fault, Unreadable};
use super::fields::{Coding, Field, Fields, is_media_type, put, put_date, put_number};
use super::request::Request;
use super::trailers::Trailers;
use super::{FIELDS_FEW, FIELDS_MAX, RELEASE};

/// What is put into a head at most, beside what came.
const ROOM: usize = 192;

/// What an upstream's bytes begin with.
#[derive(Debug)]
pub(in crate::proxy::embedded) enum Begun {
    /// An interim answer (1xx): its length, and how it goes on to the client, which is empty where it does not.
    Meanwhile(usize, Vec<u8>),
    /// The answer, with the length of its head.
    Answer(Answer, usize),
}

/// An answer, as its head tells of it.
#[derive(Debug)]
pub(in crate::proxy::embedded) struct Answer {
    /// The head as it goes on, without the empty line: see [`Answer::head`].
    head: Vec<u8>,
    pub(in crate::proxy::embedded) status: StatusCode,
    pub(in crate::proxy::embedded) body: Body,
    /// Whether the body goes on in chunks.
    pub(in crate::proxy::embedded) is_chunked: bool,
    /// Whether to the client only the connection's end tells where the answer ends.
    pub(in crate::proxy::embedded) is_unframed: bool,
    /// Whether it is an event stream without an end of its own.
    pub(in crate::proxy::embedded) is_events: bool,
    /// Whether the upstream answers more on this connection.
    pub(in crate::proxy::embedded) keeps: bool,
    /// Whether the upstream has changed to a WebSocket.
    pub(in crate::proxy::embedded) is_websocket: bool,
    is_keep_alive_news: bool,
}

impl Answer {
    /// Reads what `bytes` begin with, in answer to `asked`; none where its end has not come. `release` is what has
    /// answered, where the client may know.
    ///
    /// # Errors
    /// When it is no answer, or one that was not asked for.
    pub(in crate::proxy::embedded) fn read(
        bytes: &[u8],
        asked: &Request,
        release: impl FnOnce() -> Option<String>,
    ) -> Result<Option<Begun>, Fault> {
        let mut few = [const { MaybeUninit::uninit() }; FIELDS_FEW];
        let mut many = Vec::new();
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let mut read = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut few);
        if read == Err(httparse::Error::TooManyHeaders) {
            many.resize(FIELDS_MAX, MaybeUninit::uninit());
            read = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut many);
        }
        let length = match read {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Fault::of(error, bytes)),
        };
        let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Unreadable::StatusLine.into());
        };
        let line = Line {
            status: StatusCode::from_u16(code).map_err(|_| Unreadable::StatusLine)?,
            reason: parsed.reason.unwrap_or_default(),
            is_http_10: minor == 0,
        };
        let fields = Fields::of_answer(parsed.headers);
        if line.status.is_informational() && !line.switches() {
            return Ok(Some(Begun::Meanwhile(
                length,
                line.interim(&fields, asked, length),
            )));
        }
        let answer = line.answer(&fields, asked, length, release())?;
        Ok(Some(Begun::Answer(answer, length)))
    }

    /// Whether the protocol changes.
    pub(in crate::proxy::embedded) fn switches(&self) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// The head as it goes on, which says whether the client's connection `closes` behind the answer.
    pub(in crate::proxy::embedded) fn head(&mut self, closes: bool) -> Vec<u8> {
        let mut head = std::mem::take(&mut self.head);
        if closes {
            put(&mut head, "connection", b"close");
        } else if self.is_keep_alive_news {
            put(&mut head, "connection", b"keep-alive");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The status line.
struct Line<'a> {
    status: StatusCode,
    reason: &'a str,
    is_http_10: bool,
}

impl Line<'_> {
    fn switches(&self) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// How an interim answer goes on; empty where it does not. A client of HTTP/1.0 knows none, and the proxy itself says
    /// 100 where that was asked for.
    fn interim(&self, fields: &Fields<'_>, asked: &Request, length: usize) -> Vec<u8> {
        if asked.is_http_10 || self.status == StatusCode::CONTINUE {
            return Vec::new();
        }
        let mut head = self.head(length);
        for (kind, field) in fields.iter() {
            if matches!(kind, Field::Other | Field::ContentType | Field::Date) {
                put(&mut head, field.name, field.value);
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    fn answer(
        &self,
        fields: &Fields<'_>,
        asked: &Request,
        length: usize,
        release: Option<String>,
    ) -> Result<Answer, Fault> {
        let switches = self.switches();
        if switches && !asked.upgrades {
            return Err(Unreadable::Switch.into());
        }
        let has_coding = fields.coding() != Coding::None;
        let has_both = has_coding && fields.values(Field::ContentLength).next().is_some();
        // A coding overrides every length (RFC 9112, section 6.3).
        let told = match has_coding {
            true => None,
            false => fields.length().map_err(|_| Unreadable::Lengths)?,
        };
        let body = self.body(fields, told, asked.is_head)?;
        let is_endless = body.length().is_none();
        let is_chunked = is_endless && !asked.is_http_10;
        let has_chunks = is_endless && !body.is_to_the_end();
        let trailers = has_chunks.then(|| Trailers::of_answer(fields));

        let mut head = self.head(length);
        let has_release = release.is_some();
        let (mut has_date, mut is_events, mut is_websocket) = (false, false, false);
        for (kind, field) in fields.iter() {
            match kind {
                Field::Hop | Field::Connection | Field::TransferEncoding | Field::Te | Field::Trailer => {
                    continue;
                }
                // Written below.
                Field::ContentLength => continue,
                Field::Release if has_release => continue,
                Field::Upgrade if !switches => continue,
                Field::Upgrade => is_websocket = field.value.eq_ignore_ascii_case(b"websocket"),
                Field::Date => has_date = true,
                Field::ContentType => is_events = is_media_type(field.value, "text/event-stream"),
                _ => {}
            }
            put(&mut head, field.name, field.value);
        }
        if let Some(length) = told
            && !self.has_no_content()
        {
            head.extend_from_slice(b"content-length: ");
            put_number(&mut head, length);
            head.extend_from_slice(b"\r\n");
        }
        if is_chunked {
            put(&mut head, "transfer-encoding", b"chunked");
        }
        if let Some(trailers) = trailers.as_ref().filter(|_| is_chunked && asked.takes_trailers) {
            head.extend_from_slice(&trailers.announcement(fields));
        }
        if !has_date {
            put_date(&mut head);
        }
        if let Some(release) = release {
            put(&mut head, RELEASE, release.as_bytes());
        }
        if switches {
            put(&mut head, "connection", b"upgrade");
        }
        // Where the head speaks of a body in two ways, or of one that cannot be, nobody knows what else comes.
        let contradicts = has_both
            || has_coding && self.is_http_10
            || self.has_no_content() && (has_coding || told.is_some_and(|length| length > 0));
        let keeps = !fields.says_close && (!self.is_http_10 || fields.says_keep_alive);
        Ok(Answer {
            head,
            status: self.status,
            is_chunked,
            is_unframed: is_endless && asked.is_http_10,
            is_events: is_events && is_endless,
            keeps: keeps && !contradicts && !body.is_to_the_end(),
            is_websocket,
            is_keep_alive_news: asked.is_http_10,
            body: match trailers {
                Some(trailers) => body.with(trailers),
                None => body,
            },
        })
    }

    /// The status line as it goes on, with room for a head of `length` bytes.
    fn head(&self, length: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(length + ROOM);
        head.extend_from_slice(b"HTTP/1.1 ");
        put_number(&mut head, u64::from(self.status.as_u16()));
        head.push(b' ');
        head.extend_from_slice(self.reason.as_bytes());
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Whether no body can be there, nor a Content-Length (RFC 9110, section 8.6).
    fn has_no_content(&self) -> bool {
        self.status.is_informational() || self.status == StatusCode::NO_CONTENT
    }

    /// How the body is framed (RFC 9112, section 6.3), where its length is `told` or none is.
    fn body(&self, fields: &Fields<'_>, told: Option<u64>, to_head: bool) -> Result<Body, Unreadable> {
        if to_head || self.has_no_content() || self.status == StatusCode::NOT_MODIFIED {
            return Ok(Body::none());
        }
        match (fields.coding(), told) {
            (Coding::Chunked, _) => Ok(Body::chunked()),
            (Coding::None, Some(length)) => Ok(Body::of_length(length)),
            (Coding::None, None) => Ok(Body::to_the_end()),
            (Coding::ChunkedTwice, _) => Err(Unreadable::ChunkedTwice),
            (Coding::Unknown | Coding::Endless, _) => Err(Unreadable::Coding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sender::Peer;
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

    fn read(text: &str, to: &str) -> Result<Answer, Fault> {
        let (asked, _) = Request::read(to.as_bytes(), Peer::Front).unwrap().unwrap();
        match Answer::read(text.as_bytes(), &asked, || None)?.expect("a whole head") {
            Begun::Answer(answer, length) => {
                assert_eq!(length, text.len());
                Ok(answer)
            }
            Begun::Meanwhile(..) => panic!("{text:?} is an answer"),
        }
    }

    fn lines(text: &str, to: &str, closes: bool) -> Vec<String> {
        let head = read(text, to).unwrap().head(closes);
        let head = String::from_utf8(head).unwrap();
        let lines = head
            .strip_suffix("\r\n\r\n")
            .expect("an empty line")
            .split("\r\n");
        lines.map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_head_goes_on_as_it_came_but_for_what_is_for_one_hop() {
        let text = "HTTP/1.1 404 Nowhere to be found\r\nServer: x\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\
                    Keep-Alive: 5\r\nDate: now\r\nContent-Length: 007\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let wanted = [
            "HTTP/1.1 404 Nowhere to be found",
            "Server: x",
            "Date: now",
            "Set-Cookie: a",
            "Set-Cookie: b",
            "content-length: 7",
        ];
        assert_eq!(lines(text, GET, false), wanted);
        assert_eq!(lines(text, GET, true)[6], "connection: close");
        assert_eq!(lines(text, OLD, false)[6], "connection: keep-alive");
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let body = |lines: &str, to| {
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
            read(&text, to).map(|answer| {
                (
                    answer.body.length(),
                    answer.is_chunked,
                    answer.is_unframed,
                    answer.keeps,
                )
            })
        };
        for (lines, to, wanted) in [
            ("Content-Length: 5\r\n", GET, (Some(5), false, false, true)),
            ("Content-Length: 5\r\n", HEAD, (Some(0), false, false, true)),
            ("Content-Length: 5\r\n", OLD, (Some(5), false, false, true)),
            (
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                GET,
                (Some(5), false, false, true),
            ),
            (
                "Content-Length: 5\r\nConnection: close\r\n",
                GET,
                (Some(5), false, false, false),
            ),
            ("Transfer-Encoding: chunked\r\n", GET, (None, true, false, true)),
            ("Transfer-Encoding: chunked\r\n", OLD, (None, false, true, true)),
            (
                "Transfer-Encoding: chunked\r\n",
                HEAD,
                (Some(0), false, false, true),
            ),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                GET,
                (None, true, false, false),
            ),
            ("", GET, (None, true, false, false)),
            ("", OLD, (None, false, true, false)),
        ] {
            assert_eq!(body(lines, to), Ok(wanted), "{lines:?} to {to:?}");
        }
        for (lines, why) in [
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Unreadable::Lengths),
            ("Content-Length: x\r\n", Unreadable::Lengths),
            ("Transfer-Encoding: gzip, chunked\r\n", Unreadable::Coding),
            ("Transfer-Encoding: gzip\r\n", Unreadable::Coding),
            (
                "Transfer-Encoding: chunked, chunked\r\n",
                Unreadable::ChunkedTwice,
            ),
        ] {
            assert_eq!(body(lines, GET), Err(why.into()), "{lines:?}");
        }
        for code in [204, 304] {
            let answer = read(&format!("HTTP/1.1 {code} X\r\n\r\n"), GET).unwrap();
            assert_eq!(
                (answer.body.length(), answer.is_chunked, answer.keeps),
                (Some(0), false, true)
            );
        }
        assert!(
            !read("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", GET)
                .unwrap()
                .keeps
        );
    }

    #[test]
    fn a_length_goes_on_once_and_only_where_there_may_be_one() {
        for (status, fields, to, wanted) in [
            (200, "content-length: 1234\r\n", HEAD, Ok(Some("1234"))),
            (
                200,
                "content-length: 12\r\nContent-Length: 012\r\n",
                HEAD,
                Ok(Some("12")),
            ),
            (
                200,
                "content-length: 12\r\ncontent-length: 13\r\n",
                HEAD,
                Err(Unreadable::Lengths),
            ),
            (
                200,
                "content-length: 12\r\ntransfer-encoding: chunked\r\n",
                HEAD,
                Ok(None),
            ),
            (304, "content-length: 12\r\n", GET, Ok(Some("12"))),
            (
                304,
                "content-length: 12\r\ncontent-length: 13\r\n",
                GET,
                Err(Unreadable::Lengths),
            ),
            (204, "content-length: 12\r\n", GET, Ok(None)),
            (204, "content-length: 0\r\n", GET, Ok(None)),
            (205, "content-length: 0\r\n", GET, Ok(Some("0"))),
            (200, "content-length: 0\r\n", GET, Ok(Some("0"))),
        ] {
            let text = format!("HTTP/1.1 {status} X\r\n{fields}date: x\r\n\r\n");
            let found = read(&text, to).map(|mut answer| {
                let head = String::from_utf8(answer.head(false)).unwrap();
                let lengths: Vec<_> = head
                    .lines()
                    .filter_map(|line| line.strip_prefix("content-length: "))
                    .map(ToOwned::to_owned)
                    .collect();
                assert!(!head.contains("transfer-encoding"), "{head}");
                lengths
            });
            let wanted = wanted.map(|length| length.map(ToOwned::to_owned).into_iter().collect());
            assert_eq!(
                found,
                wanted.map_err(Fault::from),
                "{status} {fields:?} to {to:?}"
            );
        }
        // Whether what was announced comes is not waited for.
        for (status, fields, keeps) in [
            (204, "content-length: 2\r\n", false),
            (204, "transfer-encoding: chunked\r\n", false),
            (204, "content-length: 0\r\n", true),
            (304, "content-length: 2\r\n", true),
        ] {
            let text = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
            assert_eq!(read(&text, GET).unwrap().keeps, keeps, "{status} {fields:?}");
        }
    }

    #[test]
    fn an_event_stream_is_known_by_its_media_type() {
        for (media_type, is_events) in [
            ("text/event-stream", true),
            ("Text/Event-Stream;charset=utf-8", true),
            ("text/event-streamx", false),
            ("text/plain", false),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n");
            assert_eq!(read(&text, GET).unwrap().is_events, is_events, "{media_type}");
        }
    }

    #[test]
    fn a_protocol_is_changed_where_that_was_asked_for() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nDate: x\r\n\r\n";
        let answer = read(text, UPGRADE).unwrap();
        assert!(answer.switches() && answer.is_websocket && answer.body.is_done());
        assert_eq!(
            lines(text, UPGRADE, false)[1..],
            ["Upgrade: WebSocket", "Date: x", "connection: upgrade"]
        );
        assert_eq!(read(text, GET).err(), Some(Unreadable::Switch.into()));
    }

    #[test]
    fn an_interim_answer_goes_on_to_those_who_know_it() {
        let fields = "Link: x\r\nConnection: x-mine\r\nX-Mine: 1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n";
        for (code, asked, goes_on) in [
            (103, GET, true),
            (102, HEAD, true),
            (100, GET, false),
            (103, OLD, false),
        ] {
            let (asked, _) = Request::read(asked.as_bytes(), Peer::Front).unwrap().unwrap();
            let text = format!("HTTP/1.1 {code} X\r\n{fields}\r\n");
            let more = format!("{text}HTTP/1.1 200 OK\r\n");
            match Answer::read(more.as_bytes(), &asked, || None) {
                Ok(Some(Begun::Meanwhile(length, head))) => {
                    assert_eq!(length, text.len());
                    let wanted = match goes_on {
                        true => format!("HTTP/1.1 {code} X\r\nLink: x\r\n\r\n"),
                        false => String::new(),
                    };
                    assert_eq!(String::from_utf8(head).unwrap(), wanted);
                }
                other => panic!("{code}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_head_is_told() {
        let cookies = |count| "Set-Cookie: a=b\r\n".repeat(count);
        for (head, wanted) in [
            (
                "HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\n\r\n",
                "the field X-Long goes on in a second line",
            ),
            (
                "HTTP/1.1 200 OK\r\nA: b\r\nX-Blank : a\r\n\r\n",
                "the field X-Blank has a blank before its colon",
            ),
            (
                "HTTP/1.1 200 OK\r\nX-\u{1}\u{e9}: a\r\n\r\n",
                "the field X-??? has a byte",
            ),
            (
                "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\n\r\n",
                "the field X-Nul has a byte",
            ),
            (
                "HTTP/1.1 200 OK\r\njunk\r\n\r\n",
                "the field junk has a byte that no field may have, or no colon",
            ),
            ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", "a field has a byte"),
            ("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", "the field A has a byte"),
            ("HTTP/1.1 abc OK\r\n\r\n", "it does not begin with a status line"),
            ("HTTP/2 200 OK\r\n\r\n", "it does not begin with a status line"),
            ("hello\r\n\r\n", "it does not begin with a status line"),
            (
                &format!("HTTP/1.1 200 OK\r\n{}\r\n", cookies(1_001)),
                "its head has more than 1000 fields",
            ),
        ] {
            let told = read(head, GET)
                .err()
                .map(|fault| fault.to_string())
                .unwrap_or_default();
            assert!(told.starts_with(wanted), "{head:?}: {told:?}");
            assert!(told.is_ascii() && told.len() < 120, "{told:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\n{} : a\r\n\r\n", "x".repeat(1000));
        let told = read(&long, GET).unwrap_err().to_string();
        assert_eq!(
            told,
            format!("the field {} has a blank before its colon", "x".repeat(32))
        );
        assert_eq!(
            lines(&format!("HTTP/1.1 200 OK\r\n{}\r\n", cookies(1_000)), GET, false).len(),
            1_003
        );
    }

    #[test]
    fn a_release_is_told_by_the_proxy_where_it_tells_one() {
        let (asked, _) = Request::read(GET.as_bytes(), Peer::Front).unwrap().unwrap();
        let text = b"HTTP/1.1 200 OK\r\nDeployer-Release: mine\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        let head = |release: Option<&str>| match Answer::read(text, &asked, || release.map(ToOwned::to_owned))
        {
            Ok(Some(Begun::Answer(mut answer, _))) => String::from_utf8(answer.head(false)).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(head(None).contains("Deployer-Release: mine\r\n"));
        let told = head(Some("green/3"));
        assert!(
            !told.contains("mine") && told.contains("deployer-release: green/3\r\n"),
            "{told}"
        );
    }
}
