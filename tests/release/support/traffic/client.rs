//! What one client does, again and again.

use std::time::Duration;

use super::super::http::{Connection, Failure, Reply, Request};
use super::outcome::Good;
use super::{Begun, Shared, bulk, streams, version_of};

/// Bytes of an upload that is no download's counterpart.
const UPLOAD: usize = 16 << 10;

/// Requests that are sent in one go.
const PIPELINED: usize = 4;

/// What one client does, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// `GET /` on one connection.
    KeptGet,
    /// `GET /`, a connection each.
    FreshGet,
    /// `POST /upload` of 16 KiB on one connection; the answer's length and hash are checked.
    Upload,
    /// `GET /slow?ms=N` on one connection.
    Slow(u64),
    /// `POST /count` of an order that no other client sends; see [`super::Outcome::orders`].
    Order,
    /// `HEAD /` on one connection: a length, and no body.
    Head,
    /// `GET /` by HTTP/1.0, a connection each.
    Old,
    /// `GET /` by HTTP/1.0 on one connection, as long as the other side keeps it.
    OldKept,
    /// Several requests in one go; the answers must come in their order.
    Pipelined,
    /// `POST /upload` with a body that waits to be told to come.
    Expecting,
    /// 10 MiB from the app, slowly; every byte is checked.
    Download,
    /// 10 MiB to the app, slowly; the hash is checked.
    BigUpload,
    /// A WebSocket with a counter each way, until the other side closes it.
    WebSocket,
    /// An event stream, until the other side ends it.
    Events,
}

impl Client {
    /// One of each.
    pub(crate) const ALL: [Client; 14] = [
        Client::KeptGet,
        Client::FreshGet,
        Client::Upload,
        Client::Slow(2_000),
        Client::Order,
        Client::Head,
        Client::Old,
        Client::OldKept,
        Client::Pipelined,
        Client::Expecting,
        Client::Download,
        Client::BigUpload,
        Client::WebSocket,
        Client::Events,
    ];

    /// What it does, for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Client::KeptGet => "GET, kept connection",
            Client::FreshGet => "GET, a connection each",
            Client::Upload => "POST of 16 KiB, by hash",
            Client::Slow(_) => "slow answer",
            Client::Order => "order (POST, once)",
            Client::Head => "HEAD",
            Client::Old => "HTTP/1.0",
            Client::OldKept => "HTTP/1.0, kept connection",
            Client::Pipelined => "pipelined GET",
            Client::Expecting => "Expect: 100-continue",
            Client::Download => "download of 10 MiB, every byte",
            Client::BigUpload => "upload of 10 MiB, by hash",
            Client::WebSocket => "WebSocket",
            Client::Events => "event stream",
        }
    }

    /// What it waits beyond the pause of all: what is large is not for ever under way.
    pub(super) fn rest(self) -> Duration {
        match self {
            Client::Download | Client::BigUpload => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    /// One round, counted in `shared`; `name` is no other round's. `connection` is kept from round to round.
    pub(super) fn round(self, shared: &Shared, connection: &mut Option<Connection>, name: &str) {
        if self == Client::Pipelined {
            return pipelined(shared, connection);
        }
        let begun = shared.begin();
        let result = self.exchange(shared, connection, name);
        shared.count(self.label(), begun, result);
    }

    fn exchange(
        self,
        shared: &Shared,
        connection: &mut Option<Connection>,
        name: &str,
    ) -> Result<Good, Failure> {
        let mut open = shared.connect(connection)?;
        if self == Client::WebSocket {
            return streams::websocket(shared, &mut open);
        }
        if self == Client::Events {
            return streams::events(shared, &mut open);
        }
        let request = self.request(shared, name);
        let timeout = shared.load.timeout;
        let reply = match self {
            Client::Download => bulk::download(shared, &mut open),
            Client::BigUpload => bulk::upload(shared, &mut open),
            Client::Expecting => open.send_when_told(&request, timeout),
            _ => open.send(&request, timeout),
        }?;
        if self.keeps(&reply) {
            *connection = Some(open);
        }
        self.check(&request, &reply)?;
        let order = (self == Client::Order).then(|| String::from_utf8_lossy(&request.body).into_owned());
        Ok(Good {
            version: version_of(&reply),
            order,
            closed: None,
        })
    }

    fn request(self, shared: &Shared, name: &str) -> Request {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let (method, path, body) = match self {
            Client::Upload | Client::Expecting => {
                let body = name.bytes().cycle().take(UPLOAD).collect();
                ("POST", "/upload".into(), body)
            }
            Client::Slow(ms) => ("GET", format!("/slow?ms={ms}"), Vec::new()),
            Client::Order => ("POST", "/count".into(), format!("order {name}").into_bytes()),
            Client::Head => ("HEAD", "/".into(), Vec::new()),
            _ => ("GET", "/".into(), Vec::new()),
        };
        Request {
            method: method.into(),
            path,
            host: shared.load.host.clone(),
            headers: match self {
                Client::Expecting => header("Expect", "100-continue"),
                Client::OldKept => header("Connection", "keep-alive"),
                _ => Vec::new(),
            },
            body,
            close: self == Client::FreshGet,
            old: matches!(self, Client::Old | Client::OldKept),
        }
    }

    /// Whether the connection can take another request behind `reply`.
    fn keeps(self, reply: &Reply) -> bool {
        match self {
            Client::FreshGet | Client::Old => false,
            Client::OldKept => reply
                .header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")),
            _ => reply.keeps_alive(),
        }
    }

    fn check(self, request: &Request, reply: &Reply) -> Result<(), Failure> {
        if reply.status != 200 {
            return Err(Failure::Status(reply.status));
        }
        let good = match self {
            Client::Upload | Client::Expecting => reply.text() == bulk::answer_to(&request.body),
            Client::Head => reply.body.is_empty() && reply.header("content-length").is_some(),
            // Checked on their way.
            Client::Download | Client::BigUpload => true,
            _ => !reply.body.is_empty(),
        };
        if good { Ok(()) } else { Err(Failure::WrongBody) }
    }
}

/// Each request asks for a body of another length, so that the order of the answers shows.
fn pipelined(shared: &Shared, connection: &mut Option<Connection>) {
    let requests: Vec<_> = (1..=PIPELINED)
        .map(|bytes| Request {
            path: format!("/download?bytes={bytes}"),
            host: shared.load.host.clone(),
            ..Request::default()
        })
        .collect();
    let label = Client::Pipelined.label();
    let begun: Vec<Begun> = requests.iter().map(|_| shared.begin()).collect();
    let mut open = match shared.connect(connection) {
        Ok(open) => open,
        Err(failure) => {
            return begun
                .into_iter()
                .for_each(|begun| shared.count(label, begun, Err(failure)));
        }
    };
    let replies = open.send_all(&requests, shared.load.timeout);
    if let Some(Ok(last)) = replies.last()
        && last.keeps_alive()
    {
        *connection = Some(open);
    }
    for (number, (begun, reply)) in begun.into_iter().zip(replies).enumerate() {
        let result = reply.and_then(|reply| match (reply.status, reply.body.len()) {
            (200, length) if length == number + 1 => Ok(Good {
                version: version_of(&reply),
                ..Good::default()
            }),
            (200, _) => Err(Failure::WrongBody),
            (status, _) => Err(Failure::Status(status)),
        });
        shared.count(label, begun, result);
    }
}
