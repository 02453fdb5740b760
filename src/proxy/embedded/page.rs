//! The few pages that the proxy itself answers with: plain text, one line each.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::body::Answer;
use super::pulse::Pulse;

/// An answer of the proxy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// The request contradicts itself or names no host.
    BadRequest(&'static str),
    /// CONNECT, which is for proxies of another kind.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// An expectation other than 100-continue.
    ExpectationFailed,
    /// A transfer coding other than chunked.
    NotImplemented,
    /// No app has this host.
    NotFound,
    /// The upstream broke off before its answer.
    BadGateway,
    /// Nothing is live, or nothing answers.
    Unavailable,
    /// The drain's deadline came first.
    Cut,
    /// The upstream took too long.
    GatewayTimeout,
}

impl Page {
    /// The page as an answer.
    pub(super) fn response(self, pulse: &Arc<Pulse>) -> Response<Answer> {
        let (status, text) = self.text();
        let mut response = Response::new(Answer::page(
            Bytes::from_static(text.as_bytes()),
            Arc::clone(pulse),
        ));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Page::Unavailable | Page::Cut) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // After a request that was refused unread, or broke off, nobody knows where the next one begins.
        let refused = status.is_client_error() && self != Page::NotFound;
        if refused || matches!(self, Page::NotImplemented | Page::Cut) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The page's status.
    pub(super) fn status(self) -> StatusCode {
        self.text().0
    }

    fn text(self) -> (StatusCode, &'static str) {
        match self {
            Page::BadRequest(why) => (StatusCode::BAD_REQUEST, why),
            Page::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "405: CONNECT is not served here.\n",
            ),
            Page::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "408: the request took too long to arrive.\n",
            ),
            Page::ExpectationFailed => (
                StatusCode::EXPECTATION_FAILED,
                "417: only 100-continue can be expected.\n",
            ),
            Page::NotImplemented => (
                StatusCode::NOT_IMPLEMENTED,
                "501: chunked is the only transfer coding served.\n",
            ),
            Page::NotFound => (StatusCode::NOT_FOUND, "404: no app answers for this host.\n"),
            Page::BadGateway => (
                StatusCode::BAD_GATEWAY,
                "502: the app broke off before it answered.\n",
            ),
            Page::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "503: the app is not running.\n"),
            Page::Cut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "503: the app was replaced before it answered.\n",
            ),
            Page::GatewayTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "504: the app took too long to answer.\n",
            ),
        }
    }
}
