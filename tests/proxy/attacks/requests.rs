//! What clients send: trailers, and targets.

use super::row::{Others, Sent, sent};

/// Fields behind a body.
pub(super) fn trailers() -> Vec<Sent> {
    let trailed = |lines: &str| {
        format!(
            "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{lines}\r\n"
        )
    };
    vec![
        sent(
            "a trailer whose line could end with a line end alone",
            trailed("a: b\nc: d\r\n"),
        )
        .broken_off(400)
        .others(Others::Differ("nginx and HAProxy pass it")),
    ]
}

/// Where a request goes.
pub(super) fn targets() -> Vec<Sent> {
    let to = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let options = |target: &str| format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    vec![
        sent(
            "what browsers and curl send as it is",
            to("/<a>`\"{}|^\\[]?<a>`\"{}|^\\[]"),
        )
        .with(&["get /<a>`\"{}|^\\[]?<a>`\"{}|^\\[] http/1.1"]),
        sent("what is beyond ASCII", to("/\u{e9}?\u{e9}"))
            .with(&["get /\u{e9}?\u{e9} http/1.1"])
            .others(Others::Differ("HAProxy refuses it")),
        sent("a control character", to("/\u{7f}")).refused(400),
        sent(
            "a byte that begins no character",
            [b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n".to_vec()].concat(),
        )
        .refused(400)
        .others(Others::Differ("nginx passes it")),
        sent("a blank", to("/a b")).refused(400),
        sent("no path to ask for the options of", options("http://test"))
            .with(&["options * http/1.1"])
            .without(&["http://"])
            .others(Others::Differ("nginx sends /, HAProxy the whole address")),
        sent("a query to ask for the options of", options("http://test?a"))
            .with(&["options /?a http/1.1"])
            .others(Others::Differ("HAProxy sends the whole address")),
        sent("the server's options", options("*"))
            .with(&["options * http/1.1"])
            .others(Others::Differ("nginx refuses it")),
        sent("the server itself", to("*"))
            .refused(400)
            .others(Others::Differ("HAProxy passes it")),
    ]
}

/// Transfer codings of a request.
pub(super) fn codings() -> Vec<Sent> {
    let coded = |lines: &str| format!("POST /a HTTP/1.1\r\nHost: test\r\n{lines}\r\n2\r\nok\r\n0\r\n\r\n");
    vec![
        sent("chunked", coded("Transfer-Encoding: Chunked\r\n")),
        sent("chunked in two lines", {
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")
        })
        .refused(400),
        sent(
            "chunked twice in a line",
            coded("Transfer-Encoding: chunked, chunked\r\n"),
        )
        .refused(400)
        .others(Others::AgreeOnTheEnd),
    ]
}
