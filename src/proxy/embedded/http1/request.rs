//! A request's head: what it says, whether it may go on, and how it goes on.

use std::mem::MaybeUninit;

use super::body::Body;
use super::fields::{Coding, Field, Fields, put};
use super::sender::{Peer, put_fields};
use super::target::Target;
use super::trailers::Trailers;
use super::{FIELDS_FEW, FIELDS_MAX};
use crate::proxy::embedded::page::Page;

/// What is put into a head at most, beside what came.
const ROOM: usize = 256;

/// A request, as its head tells of it.
#[derive(Debug)]
pub(in crate::proxy::embedded) struct Request {
    /// The head as it goes on: without what is for one hop, with what the proxy adds, the empty line included.
    pub(in crate::proxy::embedded) head: Vec<u8>,
    /// The host that it is for, as routes have it: lower case, no port.
    pub(in crate::proxy::embedded) host: String,
    pub(in crate::proxy::embedded) body: Body,
    pub(in crate::proxy::embedded) is_head: bool,
    pub(in crate::proxy::embedded) is_http_10: bool,
    /// Whether the client wants to ask something else on this connection.
    pub(in crate::proxy::embedded) keeps: bool,
    /// Whether it may be sent a second time: it changes nothing, and has no body that would have to be read again.
    pub(in crate::proxy::embedded) is_repeatable: bool,
    /// Whether the client waits for a word before it sends the body.
    pub(in crate::proxy::embedded) expects: bool,
    /// Whether the client takes trailers.
    pub(in crate::proxy::embedded) takes_trailers: bool,
    /// The field that announces those of its trailers that an app may get; empty where there are none.
    pub(in crate::proxy::embedded) announcement: Vec<u8>,
    /// Whether it asks to change protocol, and may.
    pub(in crate::proxy::embedded) upgrades: bool,
    /// The token by which a flip asks which release answers.
    pub(in crate::proxy::embedded) check: Option<Vec<u8>>,
}

/// A request that does not go on.
#[derive(Debug)]
pub(in crate::proxy::embedded) struct Refused {
    pub(in crate::proxy::embedded) page: Page,
    /// Whether the answer has no body.
    pub(in crate::proxy::embedded) is_head: bool,
}

const NO_HOST: Page = Page::BadRequest("400: the request's Host is none.\n");
const NO_HTTP: Page = Page::BadRequest("400: the request is not HTTP/1.1.\n");
const NO_TARGET: Page = Page::BadRequest("400: the request's target is none.\n");
const CONFLICT: Page = Page::BadRequest(
    "400: the request has both Content-Length and Transfer-Encoding, or a length that is none.\n",
);

const CHUNKED_TWICE: Page = Page::BadRequest("400: the request's Transfer-Encoding is chunked twice.\n");

impl Request {
    /// Reads the head that `bytes` begin with, of a request that comes from `peer`. Gives its length too; none where its
    /// end has not come.
    ///
    /// # Errors
    /// The page that refuses it.
    pub(in crate::proxy::embedded) fn read(
        bytes: &[u8],
        peer: Peer,
    ) -> Result<Option<(Self, usize)>, Refused> {
        let mut few = [const { MaybeUninit::uninit() }; FIELDS_FEW];
        let mut many = Vec::new();
        let mut parsed = httparse::Request::new(&mut []);
        let mut read = parsed.parse_with_uninit_headers(bytes, &mut few);
        if read == Err(httparse::Error::TooManyHeaders) {
            many.resize(FIELDS_MAX, MaybeUninit::uninit());
            read = parsed.parse_with_uninit_headers(bytes, &mut many);
        }
        let length = match read {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => {
                let page = match error {
                    httparse::Error::TooManyHeaders => Page::HeadTooLarge,
                    _ => NO_HTTP,
                };
                return Err(Refused { page, is_head: false });
            }
        };
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Ok(None);
        };
        let line = Line {
            method,
            target,
            is_http_10: minor == 0,
        };
        line.request(&Fields::of_request(parsed.headers), peer, length)
            .map(|request| Some((request, length)))
            .map_err(|page| Refused {
                page,
                is_head: method == "HEAD",
            })
    }
}

/// The request line.
struct Line<'a> {
    method: &'a str,
    target: &'a str,
    is_http_10: bool,
}

impl Line<'_> {
    fn request(&self, fields: &Fields<'_>, peer: Peer, length: usize) -> Result<Request, Page> {
        let body = self.body(fields)?;
        if self.method == "CONNECT" {
            return Err(Page::MethodNotAllowed);
        }
        let mut expects = false;
        for expected in fields.values(Field::Expect) {
            if !expected.eq_ignore_ascii_case(b"100-continue") {
                return Err(Page::ExpectationFailed);
            }
            expects = !self.is_http_10;
        }
        let target = Target::read(self.method, self.target).ok_or(NO_TARGET)?;
        let host = self.host(fields, target.authority)?;
        let name = check_host(host).ok_or(NO_HOST)?;
        let upgrade = self.upgrade(fields, &body);
        let is_safe = matches!(self.method, "GET" | "HEAD" | "OPTIONS");

        let mut head = Vec::with_capacity(length + ROOM);
        for part in [self.method, " ", &target.path, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        put(&mut head, "host", host);
        let takes_trailers = put_fields(&mut head, fields, host, peer, self.is_http_10);
        if body.length() != Some(0) || fields.values(Field::ContentLength).next().is_some() {
            body.put_framing(&mut head);
        }
        if let Some(protocol) = upgrade {
            put(&mut head, "upgrade", protocol);
            put(&mut head, "connection", b"upgrade");
        }
        head.extend_from_slice(b"\r\n");

        let (body, announcement) = match body.length() {
            Some(_) => (body, Vec::new()),
            None => {
                let trailers = Trailers::of_request(fields);
                let announcement = trailers.announcement(fields);
                (body.with(trailers), announcement)
            }
        };
        Ok(Request {
            host: name.to_ascii_lowercase(),
            is_head: self.method == "HEAD",
            is_http_10: self.is_http_10,
            keeps: !fields.says_close && (!self.is_http_10 || fields.says_keep_alive),
            is_repeatable: is_safe && body.is_done(),
            expects: expects && !body.is_done(),
            takes_trailers,
            announcement,
            upgrades: upgrade.is_some(),
            check: fields.values(Field::Check).next().map(<[u8]>::to_vec),
            body,
            head,
        })
    }

    /// How the body is framed: in one way, which everybody who reads it finds.
    fn body(&self, fields: &Fields<'_>) -> Result<Body, Page> {
        let length = fields.length().map_err(|_| CONFLICT)?;
        match (fields.coding(), length) {
            (Coding::None, None) => Ok(Body::none()),
            (Coding::None, Some(length)) => Ok(Body::of_length(length)),
            (_, Some(_)) => Err(CONFLICT),
            (Coding::Chunked, None) if !self.is_http_10 => Ok(Body::chunked()),
            (Coding::Unknown, None) if !self.is_http_10 => Err(Page::NotImplemented),
            (Coding::ChunkedTwice, None) => Err(CHUNKED_TWICE),
            _ => Err(Page::BadRequest("400: the request's end cannot be told.\n")),
        }
    }

    /// The host as the client wrote it; where the target has an `authority`, it is that one.
    fn host<'a>(&'a self, fields: &Fields<'a>, authority: Option<&'a str>) -> Result<&'a [u8], Page> {
        let mut hosts = fields.values(Field::Host);
        let written = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host,
            (None, _) if self.is_http_10 => b"localhost",
            (None, _) => return Err(Page::BadRequest("400: the request has no Host.\n")),
            (Some(_), Some(_)) => return Err(Page::BadRequest("400: the request has two Hosts.\n")),
        };
        Ok(authority.map_or(written, str::as_bytes))
    }

    /// The protocol that it asks to change to, where it may: not HTTP/2, which would be a way around us.
    fn upgrade<'a>(&self, fields: &Fields<'a>, body: &Body) -> Option<&'a [u8]> {
        let protocol = fields.values(Field::Upgrade).next()?;
        let is_http_2 = protocol
            .to_ascii_lowercase()
            .windows(3)
            .any(|part| part == b"h2c");
        (fields.says_upgrade && !is_http_2 && !self.is_http_10 && body.is_done()).then_some(protocol)
    }
}

/// Longest name of a host, in bytes.
pub(super) const HOST_MAX: usize = 255;

/// The name in a host as it is written, without its port and a dot at its end; none where it is no host.
fn check_host(host: &[u8]) -> Option<&str> {
    let length = match host.first()? {
        b'[' => 1 + memchr::memchr(b']', host)?,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(length);
    let good = (1..=HOST_MAX).contains(&length)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(byte))
        && (port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit));
    let name = match name {
        [name @ .., b'.'] if !name.is_empty() => name,
        name => name,
    };
    std::str::from_utf8(name).ok().filter(|_| good)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::sender::request_id;
    use super::*;

    fn read(text: &str) -> Result<Request, Page> {
        read_from(text, Peer::Stranger(Ipv4Addr::new(3, 3, 3, 3).into()))
    }

    fn read_from(text: &str, peer: Peer) -> Result<Request, Page> {
        let whole = Request::read(text.as_bytes(), peer).map_err(|refused| refused.page)?;
        let (request, length) = whole.expect("a whole head");
        assert_eq!(length, text.len());
        Ok(request)
    }

    /// The values of a field of what goes on.
    fn values<'a>(request: &'a Request, wanted: &str) -> Vec<&'a str> {
        let head = std::str::from_utf8(&request.head).unwrap();
        assert!(head.ends_with("\r\n\r\n"), "{head:?}");
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let whole = "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Mine:  as it is \r\n\r\n";
        for cut in 0..whole.len() {
            assert!(
                matches!(Request::read(&whole.as_bytes()[..cut], Peer::Front), Ok(None)),
                "{cut}"
            );
        }
        let request = read(whole).unwrap();
        assert!(
            request
                .head
                .starts_with(b"GET /a?b HTTP/1.1\r\nhost: a\r\nX-Mine: as it is\r\n")
        );
        assert!(request.keeps && request.is_repeatable && request.body.is_done());
    }

    #[test]
    fn a_host_is_read_as_routes_have_it() {
        for (written, host) in [
            ("shop.example", Some("shop.example")),
            ("Shop.Example:8080", Some("shop.example")),
            ("shop.example.", Some("shop.example")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("localhost:", Some("localhost")),
            ("", None),
            (":80", None),
            ("a b", None),
            ("user@host", None),
            ("a:80:90", None),
            ("[::1", None),
            ("a:x", None),
        ] {
            let request = read(&format!("GET / HTTP/1.1\r\nHost: {written}\r\n\r\n"));
            assert_eq!(
                request.as_ref().ok().map(|request| request.host.as_str()),
                host,
                "{written:?}"
            );
            if let Ok(request) = request {
                assert_eq!(values(&request, "host"), [written]);
            }
        }
    }

    #[test]
    fn a_request_with_no_host_or_two_is_refused() {
        assert!(read("GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(read("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").is_err());
        let old = read("GET / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(
            (old.host.as_str(), values(&old, "host")),
            ("localhost", vec!["localhost"])
        );
        assert!(!old.keeps && old.head.starts_with(b"GET / HTTP/1.1\r\n"));
    }

    #[test]
    fn an_absolute_target_names_the_host() {
        let request = read("GET http://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(request.host, "b.example");
        assert_eq!(values(&request, "host"), ["b.example:81"]);
        assert!(request.head.starts_with(b"GET /x?y HTTP/1.1\r\n"));
        for (method, address, path) in [
            ("GET", "http://b.example", "/"),
            ("GET", "http://b.example?y", "/?y"),
            ("GET", "http://b.example#x", "/"),
            ("GET", "HTTP://b.example/<`>", "/<`>"),
            ("OPTIONS", "http://b.example", "*"),
            ("OPTIONS", "http://b.example:81", "*"),
            ("OPTIONS", "http://b.example/", "/"),
            ("OPTIONS", "http://b.example?y", "/?y"),
            ("OPTIONS", "*", "*"),
        ] {
            let request = read(&format!("{method} {address} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            let line = format!("{method} {path} HTTP/1.1\r\n");
            assert!(request.head.starts_with(line.as_bytes()), "{address}");
        }
    }

    #[test]
    fn a_target_is_a_path_or_a_whole_address() {
        for target in [
            "a",
            "a:80",
            "http:///x",
            "http://u@b/",
            "http://",
            "http://?x",
            "1http://b/",
            "://b/",
            "http://b`/",
            "http://\u{e9}/",
            "/\u{80}",
            "/\u{7f}",
            "?x",
            "*",
        ] {
            assert!(
                read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).is_err(),
                "{target}"
            );
        }
        for target in ["/<b>`\"{}|^\\[]?<b>`\"{}|^\\[]", "//b`", "/\u{e9}?\u{e9}"] {
            let request = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            let line = format!("GET {target} HTTP/1.1\r\n");
            assert!(request.head.starts_with(line.as_bytes()), "{target}");
        }
        let cut = read("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(cut.head.starts_with(b"GET /a HTTP/1.1\r\n"));
        assert!(read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn what_is_for_one_hop_goes_no_further_and_framing_cannot_be_taken_out() {
        let request = read(
            "POST / HTTP/1.1\r\nHost: A\r\nConnection: Keep-Alive, x-mine, host\r\n\
             Connection: content-length\r\nContent-Length: 03\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             TE: gzip, trailers\r\nExpect: 100-Continue\r\nX-Forwarded-For: 1.1.1.1\r\n\
             x-forwarded-for: 2.2.2.2\r\nDeployer-Check: x\r\nProxy-Authorization: y\r\n\r\n",
        )
        .unwrap();
        for gone in [
            "connection",
            "x-mine",
            "keep-alive",
            "expect",
            "deployer-check",
            "proxy-authorization",
        ] {
            assert!(values(&request, gone).is_empty(), "{gone}");
        }
        assert_eq!(values(&request, "te"), ["trailers"]);
        assert_eq!(values(&request, "content-length"), ["3"]);
        assert_eq!(values(&request, "x-forwarded-for"), ["3.3.3.3"]);
        assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&request, "x-forwarded-host"), ["A"]);
        assert_eq!(values(&request, "x-request-id")[0].len(), 16);
        assert!(request.expects && request.takes_trailers && !request.is_repeatable);
        assert_eq!(request.check.as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn behind_another_program_the_way_so_far_is_what_that_one_wrote() {
        for (written, kept) in [
            (&["1.1.1.1, 2.2.2.2"][..], Some("1.1.1.1, 2.2.2.2")),
            (&["1.1.1.1", "2.2.2.2"], Some("1.1.1.1, 2.2.2.2")),
            (&[], None),
        ] {
            let lines: String = written
                .iter()
                .map(|line| format!("X-Forwarded-For: {line}\r\n"))
                .collect();
            let request =
                read_from(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), Peer::Front).unwrap();
            assert_eq!(
                values(&request, "x-forwarded-for"),
                Vec::from_iter(kept),
                "{written:?}"
            );
        }
    }

    #[test]
    fn a_request_id_is_kept_where_it_is_printable_and_made_where_it_is_not() {
        let long = "x".repeat(129);
        for (given, kept) in [
            ("abc-1", true),
            ("", false),
            ("a b", false),
            (long.as_str(), false),
        ] {
            let request = read(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {given}\r\n\r\n"
            ))
            .unwrap();
            let ids = values(&request, "x-request-id");
            assert_eq!((ids.len(), ids[0] == given), (1, kept), "{given:?}");
        }
        assert_ne!(request_id(), request_id());
    }

    #[test]
    fn an_upgrade_is_taken_where_connection_says_so_and_never_to_http_2() {
        let ask = |connection: &str, upgrade: &str| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\r\n"
            );
            let request = read(&head).unwrap();
            assert_eq!(values(&request, "upgrade").len(), usize::from(request.upgrades));
            request.upgrades
        };
        assert!(ask("keep-alive, Upgrade", "websocket"));
        assert!(!ask("keep-alive", "websocket"));
        assert!(!ask("upgrade", "h2c"));
        assert!(!ask("upgrade", "websocket, H2C"));
    }

    #[test]
    fn a_request_whose_end_could_be_told_in_two_ways_is_refused() {
        for lines in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: \r\n",
            "Content-Length : 3\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding:\r\n",
        ] {
            let refused = read(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
            assert!(
                matches!(refused, Err(Page::BadRequest(_))),
                "{lines:?}: {refused:?}"
            );
        }
        let refused = read("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
        assert!(matches!(refused, Err(Page::NotImplemented)));
        for lines in [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, Chunked\r\n",
        ] {
            let refused = read(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
            assert!(matches!(refused, Err(CHUNKED_TWICE)), "{lines:?}");
        }
        let old = read("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(old, Err(Page::BadRequest(_))));
        let twice =
            read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n").unwrap();
        assert_eq!(values(&twice, "content-length"), ["3"]);
    }
}
