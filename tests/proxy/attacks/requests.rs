//! What clients send: trailers.

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
