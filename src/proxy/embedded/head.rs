//! What happens to the heads that pass through: what is refused, what is taken out, what is put in.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version};

use super::page::Page;

/// The header of a request by which a flip asks which release answers.
pub(super) const CHECK: HeaderName = HeaderName::from_static("deployer-check");
/// The header of the answer to it.
pub(super) const RELEASE: HeaderName = HeaderName::from_static("deployer-release");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is kept.
const REQUEST_ID_MAX: usize = 128;

/// The host that a request is for, as routes have it: lower case, no port.
#[derive(Debug)]
pub(super) struct Host {
    value: HeaderValue,
    length: usize,
    lowered: Option<String>,
}

impl Host {
    pub(super) fn as_str(&self) -> &str {
        match &self.lowered {
            Some(lowered) => lowered,
            None => std::str::from_utf8(&self.value.as_bytes()[..self.length]).unwrap_or_default(),
        }
    }
}

/// Checks a request's head, before anything is done with it.
///
/// # Errors
/// The page that refuses it.
pub(super) fn check(parts: &Parts) -> Result<(), Page> {
    if parts.method == Method::CONNECT {
        return Err(Page::MethodNotAllowed);
    }
    if let Some(expected) = parts.headers.get(EXPECT)
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Page::ExpectationFailed);
    }
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(Page::NotImplemented);
        }
    }
    Ok(())
}

/// The host of a request; where the target is absolute, it is the target's, and Host follows it.
///
/// # Errors
/// The page that refuses a request with no host, two, or one that is none.
pub(super) fn host(parts: &mut Parts) -> Result<Host, Page> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let value = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.clone(),
        (None, _) if parts.version == Version::HTTP_10 => HeaderValue::from_static("localhost"),
        (None, _) => return Err(Page::BadRequest("400: the request has no Host.\n")),
        (Some(_), Some(_)) => return Err(Page::BadRequest("400: the request has two Hosts.\n")),
    };
    let value = match parts.uri.authority() {
        None => value,
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| NO_HOST)?,
    };
    let host = parse_host(value).ok_or(NO_HOST)?;
    if parts.uri.authority().is_some() || parts.version == Version::HTTP_10 {
        parts.headers.insert(HOST, host.value.clone());
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    Ok(host)
}

const NO_HOST: Page = Page::BadRequest("400: the request's Host is none.\n");

fn parse_host(value: HeaderValue) -> Option<Host> {
    let bytes = value.as_bytes();
    let length = match bytes.first()? {
        b'[' => 1 + memchr::memchr(b']', bytes)?,
        _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
    };
    let (name, port) = bytes.split_at(length);
    let good = (1..=255).contains(&length)
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(b))
        && (port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit));
    if !good {
        return None;
    }
    let length = length - usize::from(length > 1 && name.ends_with(b"."));
    let lowered = bytes[..length]
        .iter()
        .any(u8::is_ascii_uppercase)
        .then(|| String::from_utf8_lossy(&bytes[..length]).to_ascii_lowercase());
    Some(Host {
        value,
        length,
        lowered,
    })
}

/// The protocol that a request asks to change to, where it may: not HTTP/2, which would be a way around us.
pub(super) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE)?;
    let asked = tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let h2c = upgrade
        .to_str()
        .map_or(true, |value| value.to_ascii_lowercase().contains("h2c"));
    (asked && !h2c && version == Version::HTTP_11).then(|| upgrade.clone())
}

/// Makes a request's head fit to go on: its hop's own headers out, ours in. `host` is the host as the client
/// wrote it; `client` is its address, where it is known here: else the program in front has written it down.
pub(super) fn forward_request(parts: &mut Parts, host: &Host, client: Option<&HeaderValue>) {
    let headers = &mut parts.headers;
    let trailers =
        headers.contains_key(TE) && tokens(headers, TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_hop(headers);
    headers.remove(EXPECT);
    // For what is put in below: growing is dear.
    headers.reserve(5);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match (headers.contains_key(FORWARDED_FOR), client) {
        (false, None) => {}
        (false, Some(client)) => drop(headers.insert(FORWARDED_FOR, client.clone())),
        (true, client) => drop(headers.insert(FORWARDED_FOR, chain(headers, client))),
    }
    // TLS usually ends before us, at something that says so.
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    headers
        .entry(FORWARDED_HOST)
        .or_insert_with(|| host.value.clone());
    let good = headers.get(REQUEST_ID).is_some_and(|id| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    if !good {
        headers.insert(REQUEST_ID, request_id());
    }
    parts.version = Version::HTTP_11;
}

/// Makes an answer's head fit to go on.
pub(super) fn forward_answer(headers: &mut HeaderMap) {
    strip_hop(headers);
    headers.remove(TRANSFER_ENCODING);
}

/// Takes out what is meant for one hop alone, and what Connection names. A request's Transfer-Encoding stays:
/// by then it says `chunked`, and hyper frames the body by it.
fn strip_hop(headers: &mut HeaderMap) {
    // Most heads hold one of these or none: a look at each name costs less than a search for each of them.
    if !headers.keys().any(is_for_one_hop) {
        return;
    }
    if !headers.get_all(CONNECTION).iter().all(names_no_header) {
        let named: Vec<HeaderName> = tokens(headers, CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    while let Some(name) = headers.keys().find(|name| is_for_one_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// What Connection says in most heads that have it.
fn names_no_header(connection: &HeaderValue) -> bool {
    let tokens: [&[u8]; 2] = [b"keep-alive", b"close"];
    tokens
        .iter()
        .any(|token| connection.as_bytes().eq_ignore_ascii_case(token))
}

fn is_for_one_hop(name: &HeaderName) -> bool {
    [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        UPGRADE,
    ]
    .contains(name)
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// All that was written of the way so far in one line, and where it came from last.
fn chain(headers: &HeaderMap, client: Option<&HeaderValue>) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(FORWARDED_FOR).into_iter().chain(client) {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&chain).expect("values of headers, and commas, are the value of a header")
}

/// An id that no other request has: 16 hexadecimal digits, without a system call.
fn request_id() -> HeaderValue {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    // SplitMix64: every number becomes another one, so no two that follow one seed are the same.
    let mut mixed = LAST
        .fetch_add(1, Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(*SEED);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(mixed >> (60 - 4 * at)) as usize & 15];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are a header's value")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(build: http::request::Builder) -> Parts {
        build.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_is_read_as_routes_have_it() {
        for (written, read) in [
            ("Shop.Example:8080", Some("shop.example")),
            ("shop.example.", Some("shop.example")),
            ("[::1]:80", Some("[::1]")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("", None),
            ("a/b", None),
            ("a b", None),
            ("user@host", None),
            ("a:80:90", None),
            ("[::1", None),
            ("a:x", None),
        ] {
            let mut parts = parts(Request::get("/").header(HOST, written));
            let host = host(&mut parts).ok();
            assert_eq!(host.as_ref().map(Host::as_str), read, "{written:?}");
        }
    }

    #[test]
    fn a_request_with_no_host_or_two_is_refused() {
        assert!(host(&mut parts(Request::get("/"))).is_err());
        assert!(host(&mut parts(Request::get("/").header(HOST, "a").header(HOST, "a"))).is_err());
        let mut old = parts(Request::get("/").version(Version::HTTP_10));
        assert_eq!(host(&mut old).unwrap().as_str(), "localhost");
    }

    #[test]
    fn an_absolute_target_names_the_host() {
        let mut parts = parts(Request::get("http://b.example:81/x?y").header(HOST, "a"));
        assert_eq!(host(&mut parts).unwrap().as_str(), "b.example");
        assert_eq!(parts.headers[HOST], "b.example:81");
        assert_eq!(parts.uri, "/x?y");
    }

    #[test]
    fn what_is_for_one_hop_goes_no_further_and_framing_cannot_be_taken_out() {
        let mut parts = parts(
            Request::post("/")
                .header(HOST, "a")
                .header(CONNECTION, "Keep-Alive, x-mine, host")
                .header(CONNECTION, "content-length")
                .header(CONTENT_LENGTH, "3")
                .header("x-mine", "1")
                .header("keep-alive", "5")
                .header(TE, "gzip, trailers")
                .header(EXPECT, "100-continue")
                .header("x-forwarded-for", "1.1.1.1")
                .header("x-forwarded-for", "2.2.2.2"),
        );
        let host = host(&mut parts).unwrap();
        forward_request(&mut parts, &host, Some(&HeaderValue::from_static("3.3.3.3")));
        let headers = &parts.headers;
        for gone in ["connection", "x-mine", "keep-alive", "expect"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers[TE], "trailers");
        assert_eq!(headers[CONTENT_LENGTH], "3");
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 3.3.3.3");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a");
        assert_eq!(headers["x-request-id"].len(), 16);
    }

    #[test]
    fn behind_another_program_the_way_so_far_is_what_that_one_wrote() {
        for (written, kept) in [
            (&["1.1.1.1, 2.2.2.2"][..], Some("1.1.1.1, 2.2.2.2")),
            (&["1.1.1.1", "2.2.2.2"], Some("1.1.1.1, 2.2.2.2")),
            (&[], None),
        ] {
            let mut request = Request::get("/").header(HOST, "a");
            for line in written {
                request = request.header("x-forwarded-for", *line);
            }
            let mut parts = parts(request);
            let host = host(&mut parts).unwrap();
            forward_request(&mut parts, &host, None);
            let lines: Vec<_> = parts.headers.get_all("x-forwarded-for").iter().collect();
            assert_eq!(lines, Vec::from_iter(kept), "{written:?}");
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
            let mut parts = parts(Request::get("/").header(HOST, "a").header("x-request-id", given));
            let host = host(&mut parts).unwrap();
            forward_request(&mut parts, &host, Some(&HeaderValue::from_static("1")));
            assert_eq!(parts.headers["x-request-id"] == given, kept, "{given:?}");
        }
        assert_ne!(request_id(), request_id());
    }

    #[test]
    fn an_upgrade_is_taken_where_connection_says_so_and_never_to_http_2() {
        let ask = |connection: &str, upgrade: &str| {
            let parts = parts(
                Request::get("/")
                    .header(CONNECTION, connection)
                    .header(UPGRADE, upgrade),
            );
            wanted_upgrade(parts.version, &parts.headers)
        };
        assert!(ask("keep-alive, Upgrade", "websocket").is_some());
        assert!(ask("keep-alive", "websocket").is_none());
        assert!(ask("upgrade", "h2c").is_none());
    }
}
