//! What apps say that nobody asked for.

use super::row::{Others, Said, said};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
const HEAD: &str = "HEAD /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

const NGINX: Others = Others::Differ("nginx 1.22 may take what comes late for the next answer");

/// More than was asked for, or sooner.
pub(super) fn unasked() -> Vec<Said> {
    vec![
        said("an answer", OK).with(&["first"]),
        said("an answer that ends with its connection", "HTTP/1.1 200 OK\r\n\r\nfirst")
            .closing()
            .with(&["first"])
            .others(Others::AgreeOnTheEnd),
        said("two answers in one write", [OK, SECOND].concat())
            .with(&["first"])
            .without(&["second"])
            .never_again(),
        said("two answers one after another", OK)
            .and(SECOND)
            .with(&["first"])
            .without(&["second"])
            .never_again()
            .others(NGINX),
        said("an answer in two parts, and another in the second", &OK[..38])
            .and([&OK[38..], SECOND].concat())
            .with(&["first"])
            .without(&["second"])
            .never_again()
            .others(NGINX),
        said("a body behind the answer to a HEAD", OK)
            .to(HEAD)
            .without(&["first"])
            .never_again(),
        said("a body behind the answer to a HEAD, later", &OK[..OK.len() - 5])
            .and("first")
            .to(HEAD)
            .without(&["first"])
            .never_again()
            .others(NGINX),
        said("a body behind 304", "HTTP/1.1 304 Not Modified\r\n\r\nfirst")
            .passed(304)
            .without(&["first"])
            .never_again(),
        said("a body behind 204", "HTTP/1.1 204 No Content\r\n\r\nfirst")
            .passed(204)
            .without(&["first"])
            .never_again(),
        said("a length that is too small", OK.replace('5', "3"))
            .with(&["fir"])
            .without(&["first"])
            .never_again(),
        said("bytes behind the last chunk", [CHUNKED, "\r\nsecond"].concat())
            .with(&["first"])
            .without(&["second"])
            .never_again(),
        said("a word meanwhile, behind the answer", [OK, CONTINUE].concat())
            .with(&["first"])
            .never_again(),
        said("101 that nobody asked for", [SWITCHES, SECOND].concat())
            .refused(502)
            .without(&["second"])
            .others(Others::Differ("HAProxy passes it")),
        said("an answer before the request's body has come", OK)
            .to("POST /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 9\r\n\r\nabc")
            .early()
            .with(&["first"])
            .never_again()
            .others(Others::Differ("they wait for the request to end")),
        said("the request's body taken for the next request", OK)
            .to(format!(
                "POST /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ))
            .early()
            .with(&["first"])
            .without(&["smuggled"])
            .never_again()
            .others(NGINX),
    ]
}

/// Trailers of answers.
pub(super) fn trailers() -> Vec<Said> {
    let asked = "GET /row HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: close, te\r\n\r\n";
    let says = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-named\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n\
                5\r\nfirst\r\n0\r\nX-Sum: 42\r\nSet-Cookie: evil=1\r\nContent-Length: 666\r\nDeployer-Release: evil\r\n\
                Deployer-Check: evil\r\nX-Named: evil\r\nConnection: evil\r\nTransfer-Encoding: evil\r\nLocation: /evil\r\n\
                Date: evil\r\nContent-Type: evil\r\nX-Forwarded-For: evil\r\nKeep-Alive: evil\r\nSet_Cookie: evil\r\n\
                Grpc-Status: 0\r\n\r\n";
    let own = Others::Differ("each has a list of its own");
    vec![
        said("trailers to a client that takes them", says)
            .to(asked)
            .with(&["trailer: x-sum", "x-sum: 42", "grpc-status: 0"])
            .without(&["evil", ": 666"])
            .others(own),
        said("trailers to one that does not", says)
            .with(&["first"])
            .without(&["evil", ": 666", "x-sum", "trailer:"])
            .others(own),
        said("trailers that are none", CHUNKED)
            .and("Set-Cookie\r\n\r\n")
            .to(asked)
            .broken_off(200)
            .without(&["cookie"])
            .others(Others::Differ("nginx skips them")),
    ]
}
