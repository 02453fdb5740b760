//! HTTP/1.1 as bytes (RFC 9112): heads are parsed by httparse and written anew, bodies are followed to their end.
//!
//! Plain functions over bytes, which know no sockets. What they refuse, they refuse before a byte of it goes on: a
//! request whose end could be told in two ways is how one request is smuggled inside another past a proxy.
//! `fuzzing.rs` holds them against hyper.

mod answer;
mod body;
mod fault;
mod fields;
mod malformed;
mod request;
mod sender;
mod target;
mod trailers;

pub(super) use answer::{Answer, Begun};
pub(super) use body::{Body, put_size};
pub(super) use fault::{Fault, Unreadable};
pub(super) use fields::{put, put_date};
pub(super) use malformed::Malformed;
pub(super) use request::{Refused, Request};
pub(super) use sender::Peer;

/// The field of a request by which a flip asks which release answers, with a token that its app's route has.
pub(super) const CHECK: &str = "deployer-check";
/// The field of the answer to it.
pub(super) const RELEASE: &str = "deployer-release";

/// Largest head of a request or an answer, in bytes.
pub(super) const HEAD_MAX: usize = 64 << 10;

/// Most fields that a head may have: what nginx takes of a client, and passes on of an app that sets many cookies.
pub(super) const FIELDS_MAX: usize = 1_000;

/// Fields that are read into an array on the stack. A head with more is read a second time, into memory of its own.
const FIELDS_FEW: usize = 100;

/// Most interim answers (1xx) before an answer.
pub(super) const INTERIM_MAX: usize = 64;

/// Whether `head` holds its own end, of which the first `seen` bytes have none: a look at the new bytes costs less than
/// parsing all of them again whenever a few have come.
pub(super) fn has_end(head: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(3);
    let ends = memchr::memchr_iter(b'\n', &head[from..]);
    ends.map(|at| &head[from + at + 1..])
        .any(|rest| rest.starts_with(b"\n") || rest.starts_with(b"\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{read, row};

    #[test]
    fn the_reference_has_the_limits_and_every_reason() {
        let page = read("http.md");
        let head = format!("{} KiB, {} fields", HEAD_MAX >> 10, grouped(FIELDS_MAX));
        for wanted in [
            row(["head of a request", &head, "431"]),
            row(["head of an answer", &head, "502 with the reason"]),
            row([
                "interim answers (1xx) before an answer",
                &INTERIM_MAX.to_string(),
                "502 with the reason",
            ]),
            format!(
                "| a chunk's line, extensions included | {} KiB |",
                body::SIZE_LINE_MAX >> 10
            ),
            format!(
                "| trailers | {} KiB, {FIELDS_FEW} fields |",
                body::TRAILERS_MAX >> 10
            ),
            row(["a host name", &format!("{} bytes", request::HOST_MAX), "400"]),
        ] {
            assert!(page.contains(&wanted), "docs/reference/http.md lacks {wanted}");
        }
        for why in Unreadable::ALL {
            let label = format!("`{}`", why.label());
            let rows = page
                .lines()
                .filter(|line| line.starts_with("| `") && line.contains(&label));
            assert_eq!(rows.count(), 1, "docs/reference/http.md has one row with {label}");
        }
    }

    fn grouped(number: usize) -> String {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_was_cut() {
        for head in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"] {
            for seen in 0..head.len() {
                let whole = head.as_bytes();
                assert!(!has_end(&whole[..whole.len() - 1], seen.min(whole.len() - 1)));
                assert!(has_end(whole, seen), "{seen} of {head:?} were seen");
            }
        }
    }
}
