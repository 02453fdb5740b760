//! What apps say that cannot be read, or that contradicts itself.

use super::row::{Others, Said, said};

/// The text of the 502 page begins so.
macro_rules! told {
    ($($fault:tt)*) => {
        &[concat!("502: the app's answer cannot be passed on: ", $($fault)*)]
    };
}

const NGINX_PASSES: Others = Others::Differ("nginx passes it");

/// Heads that cannot be read.
pub(super) fn heads() -> Vec<Said> {
    let cookies = |count: usize| {
        let lines = "Set-Cookie: a=b\r\n".repeat(count);
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok")
    };
    let with = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 2\r\n\r\nok");
    let large = |size: usize| with(&format!("X-Large: {}", "x".repeat(size)));
    vec![
        said("as many fields as fit with nginx", cookies(200)).others(Others::Differ("HAProxy takes 101")),
        said("as many fields as there may be", cookies(999))
            .others(Others::Differ("nginx takes 4 KiB, HAProxy 101")),
        said("more fields than there may be", cookies(1_000))
            .refused(502)
            .with(told!["its head has more than 1000 fields."])
            .others(Others::AgreeOnTheEnd),
        said("a large head", large(60_000)).others(Others::Differ("nginx takes 4 KiB, HAProxy 16 KiB")),
        said("a head of 100 KiB", large(100 << 10))
            .refused(502)
            .with(told!["its head has more than 64 kib."])
            .others(Others::AgreeOnTheEnd),
        said("a folded field", with("X-Long: a\r\n b"))
            .refused(502)
            .with(told![
                "the field x-long goes on in a second line (obsolete line folding)."
            ])
            .others(Others::Differ("HAProxy puts blanks for the fold")),
        said("a blank before the colon", with("X-Blank : a"))
            .refused(502)
            .with(told!["the field x-blank has a blank before its colon."])
            .others(Others::AgreeOnTheEnd),
        said(
            "a length with a blank before the colon",
            "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        )
        .refused(502)
        .with(told!["the field content-length has a blank before its colon."])
        .others(Others::AgreeOnTheEnd),
        said("a field without a name", with(": a"))
            .refused(502)
            .with(told!["a field has a byte that no field may have, or no colon."])
            .others(Others::AgreeOnTheEnd),
        said("a field without a colon", with("junk"))
            .refused(502)
            .with(told![
                "the field junk has a byte that no field may have, or no colon."
            ])
            .others(NGINX_PASSES),
        said("a field with a NUL", with("X-Nul: a\0b"))
            .refused(502)
            .with(told![
                "the field x-nul has a byte that no field may have, or no colon."
            ])
            .others(Others::Differ("HAProxy passes it")),
        said("a field with a line end of one byte", with("X-A: b\rX-C: d"))
            .refused(502)
            .with(told![
                "the field x-a has a byte that no field may have, or no colon."
            ])
            .without(&["x-c: d"])
            .others(Others::Differ("both pass it")),
        said(
            "a status that is none",
            "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        )
        .refused(502)
        .with(told![
            "it does not begin with a status line of http/1.0 or http/1.1."
        ])
        .others(NGINX_PASSES),
        said("another protocol", "220 mail.example ESMTP\r\n\r\n")
            .refused(502)
            .with(told![
                "it does not begin with a status line of http/1.0 or http/1.1."
            ])
            .without(&["mail.example"])
            .others(NGINX_PASSES),
        said("nothing", "")
            .closing()
            .refused(502)
            .with(&["502: the app broke off before it answered."])
            .others(Others::AgreeOnTheEnd),
        said("half a head", "HTTP/1.1 200 OK\r\nX-Half: 1\r\n")
            .closing()
            .refused(502)
            .with(told!["the connection closed within its head."])
            .without(&["x-half"])
            .others(Others::AgreeOnTheEnd),
    ]
}

/// Lengths and codings that contradict, and bodies that are not what the head says.
pub(super) fn framing() -> Vec<Said> {
    let chunked = "2\r\nok\r\n0\r\n\r\n";
    let with = |status: &str, lines: &str, body: &str| format!("HTTP/1.1 {status}\r\n{lines}\r\n{body}");
    let head = "HEAD /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let two = "Content-Length: 2\r\nContent-Length: 3\r\n";
    let lengths = told!["its content-length is not a number, or there are two that differ."];
    let coding = told!["its transfer-encoding is not chunked."];
    let twice = told!["its transfer-encoding is chunked twice."];
    let chunk = told!["its body is not chunked as its head says."];
    vec![
        said("two lengths", with("200 OK", two, "ok"))
            .refused(502)
            .with(lengths)
            .others(NGINX_PASSES),
        said("two lengths to a HEAD", with("200 OK", two, ""))
            .to(head)
            .refused(502)
            .others(NGINX_PASSES),
        said("two lengths of what did not change", with("304 X", two, ""))
            .refused(502)
            .with(lengths)
            .others(NGINX_PASSES),
        said(
            "a length that is none",
            with("200 OK", "Content-Length: +2\r\n", "ok"),
        )
        .refused(502)
        .with(lengths)
        .others(NGINX_PASSES),
        said(
            "one length twice",
            with("200 OK", "Content-Length: 2\r\nContent-Length: 2\r\n", "ok"),
        )
        .with(&["content-length: 2", "ok"])
        .others(Others::AgreeOnTheEnd),
        said(
            "a length of no content",
            with("204 X", "Content-Length: 2\r\n", ""),
        )
        .passed(204)
        .without(&["content-length"])
        .never_again()
        .others(NGINX_PASSES),
        said(
            "a length and a body of no content",
            with("204 X", "Content-Length: 2\r\n", "ok"),
        )
        .passed(204)
        .without(&["content-length", "ok"])
        .never_again()
        .others(NGINX_PASSES),
        said(
            "a coding and a body of no content",
            with("204 X", "Transfer-Encoding: chunked\r\n", chunked),
        )
        .passed(204)
        .without(&["transfer-encoding", "ok"])
        .never_again(),
        said(
            "a body of what did not change",
            with("304 X", "Content-Length: 2\r\n", "ok"),
        )
        .passed(304)
        .with(&["content-length: 2"])
        .never_again(),
        said(
            "a coding of what did not change",
            with("304 X", "Transfer-Encoding: chunked\r\n", ""),
        )
        .passed(304)
        .without(&["transfer-encoding"])
        .others(Others::AgreeOnTheEnd),
        said(
            "a reset with a length",
            with("205 X", "Content-Length: 0\r\n", ""),
        )
        .passed(205)
        .others(Others::AgreeOnTheEnd),
        said("a coding and a length", {
            with(
                "200 OK",
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                chunked,
            )
        })
        .with(&["transfer-encoding: chunked"])
        .without(&["content-length"])
        .never_again(),
        said(
            "chunked in two lines",
            with(
                "200 OK",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                chunked,
            ),
        )
        .refused(502)
        .with(twice)
        .others(NGINX_PASSES),
        said(
            "chunked twice in a line",
            with("200 OK", "Transfer-Encoding: chunked, chunked\r\n", chunked),
        )
        .refused(502)
        .with(twice)
        .others(NGINX_PASSES),
        said(
            "a coding beside chunked",
            with("200 OK", "Transfer-Encoding: gzip, chunked\r\n", chunked),
        )
        .refused(502)
        .with(coding)
        .others(NGINX_PASSES),
        said(
            "another coding",
            with("200 OK", "Transfer-Encoding: gzip\r\n", "ok"),
        )
        .closing()
        .refused(502)
        .with(coding)
        .others(NGINX_PASSES),
        said(
            "a first chunk that is none",
            with(
                "200 OK",
                "Transfer-Encoding: chunked\r\n",
                "zz\r\nok\r\n0\r\n\r\n",
            ),
        )
        .refused(502)
        .with(chunk)
        .others(Others::Differ("nginx breaks off without an answer")),
        said(
            "a second chunk that is none",
            with("200 OK", "Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"),
        )
        .and("zz\r\n")
        .broken_off(200)
        .with(&["ok"])
        .without(&["zz"]),
        said("half a body", with("200 OK", "Content-Length: 5\r\n", "ok"))
            .closing()
            .broken_off(200),
    ]
}

/// Interim answers.
pub(super) fn interim() -> Vec<Said> {
    let hints =
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let differ = Others::Differ("nginx passes the framing on");
    vec![
        said("hints before the answer", format!("{hints}{ok}"))
            .with(&["http/1.1 103 early hints", "link: x", "http/1.1 200 ok", "ok"])
            .without(&["content-length: 9", "transfer-encoding"])
            .others(differ),
        said("hints by themselves", hints)
            .early()
            .and(format!("{hints}HTTP/1.1 102 Processing\r\n\r\n"))
            .and(ok)
            .with(&[
                "http/1.1 103 early hints",
                "http/1.1 102 processing",
                "http/1.1 200 ok",
                "ok",
            ])
            .without(&["content-length: 9"])
            .others(differ),
        said("hints to an old client", format!("{hints}{ok}"))
            .to("GET /row HTTP/1.0\r\nHost: test\r\nConnection: close\r\n\r\n")
            .with(&["http/1.1 200 ok", "ok"])
            .without(&["103", "link"])
            .others(Others::Differ("nginx passes them")),
        said(
            "a word to go on that was not asked for",
            format!("HTTP/1.1 100 Continue\r\n\r\n{ok}"),
        )
        .with(&["http/1.1 200 ok", "ok"])
        .without(&["http/1.1 100"])
        .others(Others::Differ("both pass it")),
        said(
            "hints without an end",
            format!("{}{ok}", "HTTP/1.1 103 X\r\n\r\n".repeat(65)),
        )
        .refused(502)
        .with(told!["more than 64 interim answers (1xx) came before it."])
        .others(Others::Differ("both pass them")),
        said(
            "another protocol that was not asked for",
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        )
        .refused(502)
        .with(told!["it changes the protocol, which was not asked for."])
        .others(Others::Differ("nginx passes it")),
    ]
}
