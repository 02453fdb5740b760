//! The few pages that the proxy itself answers with: plain text, one line each.

use std::borrow::Cow;

use http::StatusCode;

use super::http1::{FIELDS_MAX, Fault, HEAD_MAX, RELEASE, Unreadable, put, put_date};

/// An answer of the proxy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// The request contradicts itself or names no host.
    BadRequest(&'static str),
    /// CONNECT, which is for proxies of another kind.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// The head has too many bytes, or fields.
    HeadTooLarge,
    /// An expectation other than 100-continue.
    ExpectationFailed,
    /// A transfer coding other than chunked.
    NotImplemented,
    /// No app has this host.
    NotFound,
    /// The upstream broke off before its answer, or what it said cannot be passed on.
    BadGateway(Fault),
    /// Nothing is live, or nothing answers.
    Unavailable,
    /// The drain's deadline came first.
    Cut,
    /// The upstream took too long.
    GatewayTimeout,
}

impl Page {
    /// The page as an answer, which says whether the connection `closes` behind it; `to_head`: its head alone; `release`:
    /// what was asked, where that may be told.
    pub(super) fn answer(self, to_head: bool, closes: bool, release: Option<&str>) -> Vec<u8> {
        let (status, text) = (self.status(), self.text());
        let reason = status.canonical_reason().unwrap_or_default();
        let retry = match self {
            Page::Unavailable | Page::Cut => "retry-after: 1\r\n",
            _ => "",
        };
        let close = if closes { "connection: close\r\n" } else { "" };
        let mut answer = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
             content-length: {}\r\n{retry}{close}",
            status.as_u16(),
            text.len()
        )
        .into_bytes();
        put_date(&mut answer);
        if let Some(release) = release {
            put(&mut answer, RELEASE, release.as_bytes());
        }
        answer.extend_from_slice(b"\r\n");
        if !to_head {
            answer.extend_from_slice(text.as_bytes());
        }
        answer
    }

    /// Whether an instance has answered, though its answer cannot be passed on.
    pub(super) fn is_of_an_answer(self) -> bool {
        matches!(self, Page::BadGateway(fault) if fault.why != Unreadable::Closed)
    }

    /// Whether nobody knows where the next request begins: this one was refused unread, or broke off.
    pub(super) fn closes(self) -> bool {
        let refused = self.status().is_client_error() && self != Page::NotFound;
        refused || matches!(self, Page::NotImplemented | Page::Cut)
    }

    /// The page's status.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Page::BadRequest(_) => StatusCode::BAD_REQUEST,
            Page::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Page::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Page::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Page::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Page::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Page::NotFound => StatusCode::NOT_FOUND,
            Page::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Page::Unavailable | Page::Cut => StatusCode::SERVICE_UNAVAILABLE,
            Page::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn text(self) -> Cow<'static, str> {
        let text = match self {
            Page::BadRequest(why) => why,
            Page::MethodNotAllowed => "405: CONNECT is not served here.\n",
            Page::RequestTimeout => "408: the request took too long to arrive.\n",
            Page::HeadTooLarge => {
                let text = format!(
                    "431: the request's head has more than {} KiB, or more than {FIELDS_MAX} fields.\n",
                    HEAD_MAX >> 10
                );
                return text.into();
            }
            Page::ExpectationFailed => "417: only 100-continue can be expected.\n",
            Page::NotImplemented => "501: chunked is the only transfer coding served.\n",
            Page::NotFound => "404: no app answers for this host.\n",
            Page::BadGateway(fault) if fault.why == Unreadable::Closed => {
                "502: the app broke off before it answered.\n"
            }
            Page::BadGateway(fault) => {
                return format!("502: the app's answer cannot be passed on: {fault}.\n").into();
            }
            Page::Unavailable => "503: the app is not running.\n",
            Page::Cut => "503: the app was replaced before it answered.\n",
            Page::GatewayTimeout => "504: the app took too long to answer.\n",
        };
        text.into()
    }
}
