//! What apps say that nobody asked for.

use super::row::{Others, Said, said};

/// More than was asked for.
pub(super) fn unasked() -> Vec<Said> {
    vec![
        said(
            "two answers in one write",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond",
        )
        .with(&["first"])
        .without(&["second"])
        .never_again()
        .others(Others::Agree),
    ]
}
