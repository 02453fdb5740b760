//! What clients send behind a body.

use super::row::{Others, Sent, Setup, sent};

fn trailed(fields: &str, lines: &str) -> String {
    format!(
        "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n{fields}\r\n3\r\nabc\r\n0\r\n{lines}\r\n"
    )
}

/// Trailers that an app may take for fields of the head, or for the next request.
const HARMFUL: &str = "A: /admin HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=9.9.9.9\r\n\
                       X-Real-IP: 9.9.9.9\r\nX-Request-Id: mine-9\r\nCookie: admin=1\r\nAuthorization: Basic YQ==\r\n\
                       Proxy-Authorization: Basic YQ==\r\nProxy: http://evil.example\r\nDeployer-Check: x\r\n\
                       Deployer-Release: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil.example\r\n\
                       Connection: close\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: x\r\nExpect: 100-continue\r\nX-Named: 1\r\n\
                       X_Forwarded_For: 9.9.9.9\r\n";

/// What stands in none of the requests that an app gets with [`HARMFUL`], whatever it has asked for.
const NONE: [&str; 14] = [
    "/admin",
    "9.9.9.9",
    "forwarded: for",
    "cookie",
    "authorization",
    "proxy",
    "deployer",
    "evil",
    "content-length",
    "trailer:",
    "mine-9",
    "expect",
    "x-named",
    "upgrade",
];

pub(super) fn rows() -> Vec<Sent> {
    const HAPROXY: Others = Others::Differ("HAProxy passes trailers");
    vec![
        sent(
            "trailers that look like a request and like fields",
            trailed("", HARMFUL),
        )
        .with(&["3", "abc", "0", "x-forwarded-for: 127.0.0.1"])
        .without(&NONE)
        .others(HAPROXY),
        sent(
            "the same to an app that asks for trailers",
            trailed("Connection: x-named\r\n", HARMFUL),
        )
        .setup(Setup::Trailers)
        .with(&["x-forwarded-for: 127.0.0.1"])
        .without(&NONE)
        .others(HAPROXY),
        sent(
            "a digest that is announced",
            trailed(
                "Trailer: Content-Digest\r\n",
                "Content-Digest: sha-256=:YQ==:\r\n",
            ),
        )
        .without(&["trailer", "digest"])
        .others(HAPROXY),
        sent(
            "a digest that is announced, to an app that asks for trailers",
            trailed(
                "Trailer: X-Sum, Content-Digest,, cookie\r\nTrailer: grpc-status\r\n",
                "X-Sum: 1\r\ncontent-DIGEST:  sha-256=:YQ==: \r\nGrpc-Status: 0\r\n",
            ),
        )
        .setup(Setup::Trailers)
        .with(&[
            "trailer: content-digest, grpc-status",
            "content-digest: sha-256=:yq==:",
            "grpc-status: 0",
        ])
        .without(&["x-sum", "cookie"])
        .others(Others::Differ("they pass the announcement as it is")),
        sent(
            "trailers that Connection names",
            trailed(
                "Connection: content-digest\r\nTrailer: Content-Digest\r\n",
                "Content-Digest: x\r\n",
            ),
        )
        .setup(Setup::Trailers)
        .without(&["digest", "trailer"])
        .others(HAPROXY),
        sent(
            "an announcement without a body",
            "GET /a HTTP/1.1\r\nHost: test\r\nTrailer: Content-Digest\r\n\r\n",
        )
        .setup(Setup::Trailers)
        .without(&["trailer"])
        .others(Others::Differ("they pass the announcement as it is")),
        sent(
            "an announcement beside a length",
            "POST /a HTTP/1.1\r\nHost: test\r\nTrailer: Content-Digest\r\nContent-Length: 3\r\n\r\nabc",
        )
        .setup(Setup::Trailers)
        .without(&["trailer"])
        .others(Others::Differ("they pass the announcement as it is")),
        sent(
            "TE that says for which hop it is",
            "GET /a HTTP/1.1\r\nHost: test\r\nConnection: TE\r\nTE: gzip, trailers\r\n\r\n",
        )
        .with(&["te: trailers"])
        .without(&["gzip"])
        .others(Others::AgreeOnTheEnd),
        sent(
            "TE of a client that has no chunks",
            "GET /a HTTP/1.0\r\nHost: test\r\nTE: trailers\r\nConnection: keep-alive\r\n\r\n",
        )
        .without(&["te: trailers"])
        .others(Others::AgreeOnTheEnd),
        sent(
            "a trailer whose line ends with a line end alone",
            trailed("", "a: b\nc: d\r\n"),
        )
        .broken_off(400)
        .others(Others::Differ("both take it")),
        sent(
            "a trailer without a colon",
            trailed("", "GET /admin HTTP/1.1\r\n"),
        )
        .broken_off(400)
        .others(Others::Differ("nginx skips it")),
        sent("a trailer without a name", trailed("", ": x\r\n"))
            .broken_off(400)
            .others(Others::Differ("nginx skips it")),
        sent(
            "a trailer with a blank before the colon",
            trailed("", "A : b\r\n"),
        )
        .broken_off(400)
        .others(Others::Differ("nginx skips it")),
        sent("a trailer that is folded", trailed("", "A: b\r\n c\r\n"))
            .broken_off(400)
            .others(Others::Differ("nginx skips it")),
        sent("a trailer with a zero byte", trailed("", "A: b\0c\r\n"))
            .broken_off(400)
            .others(Others::Differ("nginx skips it")),
        sent(
            "a trailer with a carriage return within",
            trailed("", "A: b\rc\r\n"),
        )
        .broken_off(400)
        .others(Others::Differ("nginx skips it")),
        sent(
            "malformed trailers to an app that asks for them",
            trailed("", "Content-Digest: a\r\nb\r\n"),
        )
        .setup(Setup::Trailers)
        .broken_off(400)
        .others(Others::Differ("nginx skips it")),
        sent(
            "trailers of nine kilobytes",
            trailed("", &format!("A: {}\r\n", "b".repeat(9 << 10))),
        )
        .broken_off(400)
        .others(Others::Differ("they have other limits")),
        sent("a hundred and one trailers", trailed("", &"A: b\r\n".repeat(101)))
            .broken_off(400)
            .others(Others::Differ("they have other limits")),
    ]
}
