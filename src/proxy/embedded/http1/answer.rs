//! An answer's head: what it says, and how it goes on to the client.

use std::mem::MaybeUninit;

use http::StatusCode;

use super::body::{Body, Malformed};
use super::fields::{Coding, Field, Fields, put, put_date, put_number};
use super::request::Request;
use super::trailers::Trailers;
use super::{FIELDS_MAX, RELEASE};

/// What is put into a head at most, beside what came.
const ROOM: usize = 192;

/// What an upstream's bytes begin with.
#[derive(Debug)]
pub(in crate::proxy::embedded) enum Begun {
    /// A word meanwhile (1xx), as long as this. It goes no further: to what the proxy has asked for itself it is no news.
    Meanwhile(usize),
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
    ) -> Result<Option<Begun>, Malformed> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed),
        };
        let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Malformed);
        };
        let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !switches {
            return Ok(Some(Begun::Meanwhile(length)));
        }
        if switches && !asked.upgrades {
            return Err(Malformed);
        }
        let fields = Fields::new(parsed.headers);
        let has_coding = fields.coding() != Coding::None;
        let body = body(&fields, status, asked.is_head)?;
        let is_endless = body.length().is_none();
        let is_chunked = is_endless && !asked.is_http_10;
        let trailers = Trailers::of_answer(&fields);

        let mut head = Vec::with_capacity(length + ROOM);
        head.extend_from_slice(b"HTTP/1.1 ");
        put_number(&mut head, u64::from(code));
        head.push(b' ');
        head.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
        head.extend_from_slice(b"\r\n");
        let release = release();
        let has_release = release.is_some();
        let (mut has_date, mut is_events, mut is_websocket) = (false, false, false);
        for (kind, field) in fields.iter() {
            match kind {
                Field::Hop | Field::Connection | Field::TransferEncoding | Field::Te | Field::Trailer => {
                    continue;
                }
                // To a HEAD it tells of the body that is not there; where it frames one, it is written below.
                Field::ContentLength if has_coding || body.length() != Some(0) => continue,
                Field::Release if has_release => continue,
                Field::Upgrade if !switches => continue,
                Field::Upgrade => is_websocket = field.value.eq_ignore_ascii_case(b"websocket"),
                Field::Date => has_date = true,
                Field::ContentType => is_events = field.value.starts_with(b"text/event-stream"),
                _ => {}
            }
            put(&mut head, field.name, field.value);
        }
        if let Some(length @ 1..) = body.length() {
            head.extend_from_slice(b"content-length: ");
            put_number(&mut head, length);
            head.extend_from_slice(b"\r\n");
        }
        if is_chunked {
            put(&mut head, "transfer-encoding", b"chunked");
        }
        if is_chunked && asked.takes_trailers && !body.is_to_the_end() {
            head.extend_from_slice(&trailers.announcement(&fields));
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
        let has_both = has_coding && fields.values(Field::ContentLength).next().is_some();
        let keeps = !fields.says_close && (minor == 1 || fields.says_keep_alive);
        let answer = Self {
            head,
            status,
            is_chunked,
            is_unframed: is_endless && asked.is_http_10,
            is_events: is_events && is_endless,
            keeps: keeps && !has_both && !body.is_to_the_end(),
            is_websocket,
            is_keep_alive_news: asked.is_http_10,
            body: body.with(trailers),
        };
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

/// How an answer's body is framed (RFC 9112, section 6.3).
fn body(fields: &Fields<'_>, status: StatusCode, to_head: bool) -> Result<Body, Malformed> {
    let has_none = to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none {
        return Ok(Body::none());
    }
    match fields.coding() {
        Coding::Chunked => Ok(Body::chunked()),
        Coding::None => match fields.length().map_err(|_| Malformed)? {
            Some(length) => Ok(Body::of_length(length)),
            None => Ok(Body::to_the_end()),
        },
        Coding::Unknown | Coding::Endless => Err(Malformed),
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

    fn read(text: &str, to: &str) -> Result<Answer, Malformed> {
        let (asked, _) = Request::read(to.as_bytes(), Peer::Front).unwrap().unwrap();
        match Answer::read(text.as_bytes(), &asked, || None)?.expect("a whole head") {
            Begun::Answer(answer, length) => {
                assert_eq!(length, text.len());
                Ok(answer)
            }
            Begun::Meanwhile(_) => panic!("{text:?} is an answer"),
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
        for lines in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert_eq!(body(lines, GET), Err(Malformed), "{lines:?}");
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
    fn what_tells_of_a_body_that_is_not_there_goes_on() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\ndate: x\r\n\r\n";
        assert_eq!(lines(text, HEAD, false)[1], "content-length: 1234");
        let none = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(lines(none, GET, false)[1], "content-length: 0");
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
        assert_eq!(read(text, GET).err(), Some(Malformed));
    }

    #[test]
    fn a_word_meanwhile_is_no_answer() {
        let (asked, _) = Request::read(GET.as_bytes(), Peer::Front).unwrap().unwrap();
        let text = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n";
        let begun = Answer::read(text, &asked, || None);
        assert!(matches!(begun, Ok(Some(Begun::Meanwhile(37)))), "{begun:?}");
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
