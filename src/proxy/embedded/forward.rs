//! One request's way: check, route, ask an upstream, answer.

use std::future::{Future, poll_fn};
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{Answer, Lease, Tally, Upload};
use super::connection::Client;
use super::dial::{Link, Unanswered};
use super::head::{self, Host};
use super::page::Page;
use super::pulse::{Phase, Pulse, Ruling};
use super::table::{Claim, Nowhere};
use super::tunnel;
use super::watch;

/// Oldest idle connection that is used for a request that cannot be sent twice, in milliseconds. Servers close
/// idle connections after a time of their own, two seconds at the least among the usual ones; a request that
/// meets such a close half way is lost.
const FRESH: u64 = 1_000;

/// Answers one request.
pub(super) async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Response<Answer> {
    let conflicting = client.pulse.begin(!request.body().is_end_stream());
    let mut response = match relay(&client, request, conflicting).await {
        Ok(response) => response,
        Err(page) => page.response(&client.pulse),
    };
    // A request that was sent behind this one is answered before the connection closes.
    if client.plane.is_lingering()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !client.pulse.has_another()
    {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn relay(
    client: &Client,
    mut request: Request<Incoming>,
    conflicting: bool,
) -> Result<Response<Answer>, Page> {
    let begun = Instant::now();
    let upgrade = Upgrade::wanted(&mut request);
    let (mut parts, body) = request.into_parts();
    let host = examine(&mut parts, conflicting).inspect_err(|_| client.count_unrouted())?;
    let check = parts.headers.remove(head::CHECK);
    let version = parts.version;
    head::forward_request(&mut parts, &host, client.address.as_ref());
    if let Some(upgrade) = &upgrade {
        upgrade.put_into(&mut parts.headers);
    }
    parts.extensions = http::Extensions::new();
    let body = match body.is_end_stream() {
        true => Upload::Empty,
        false => Upload::Streaming(body, Arc::clone(&client.pulse)),
    };
    let (response, lease) = ask(client, &host, Request::from_parts(parts, body), begun).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = upgrade.ok_or(Page::BadGateway)?;
        return Ok(tunnel::switch(client, response, upgrade.client, lease.tally));
    }
    Ok(pass_on(client, version, response, lease, check.as_ref()))
}

fn examine(parts: &mut Parts, conflicting: bool) -> Result<Host, Page> {
    if conflicting {
        return Err(Page::BadRequest(
            "400: the request has both Content-Length and Transfer-Encoding, or a length that is none.\n",
        ));
    }
    head::check(parts)?;
    head::host(parts)
}

/// A change of protocol that the client asks for.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    fn wanted(request: &mut Request<Incoming>) -> Option<Self> {
        if !request.headers().contains_key(UPGRADE) || !request.body().is_end_stream() {
            return None;
        }
        let protocol = head::wanted_upgrade(request.version(), request.headers())?;
        Some(Self {
            protocol,
            client: hyper::upgrade::on(request),
        })
    }

    fn put_into(&self, headers: &mut HeaderMap) {
        headers.insert(UPGRADE, self.protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Asks one instance after another, until one answers or there is no other that may be asked.
async fn ask(
    client: &Client,
    host: &Host,
    mut request: Request<Upload>,
    begun: Instant,
) -> Result<(Response<Incoming>, Lease), Page> {
    let mut tried: Vec<SocketAddrV4> = Vec::new();
    let mut last = Page::Unavailable;
    let mut idle_allowed = true;
    loop {
        let now = client.pulse.now();
        let claim = claim(client, host, &tried, last)?;
        let seat = Arc::clone(claim.in_flight.seat());
        let upstream = &seat.upstream;
        client.pulse.serve_by(upstream.id);
        let mut tally = Tally::new(claim, client.worker.index, begun);

        let repeatable = is_repeatable(&request);
        let idle = if idle_allowed {
            seat.take_idle(now, if repeatable { u64::MAX / 2 } else { FRESH })
        } else {
            None
        };
        let reused = idle.is_some();
        let mut link = match idle {
            Some(link) => link,
            None => match obeying(&client.pulse, Link::open(upstream)).await? {
                Ok(link) => link,
                Err(error) => {
                    watch::put_out(upstream, &error);
                    last = page_of(&error);
                    tried.push(upstream.address);
                    tally.forget();
                    continue;
                }
            },
        };
        let spare = (reused && repeatable).then(|| copy_head(&request));
        match obeying(&client.pulse, link.ask(request)).await? {
            Ok(response) => {
                tally.status = response.status();
                return Ok((response, Lease { tally, link }));
            }
            Err(Unanswered::Unsent(unsent)) => {
                request = *unsent;
                if !reused {
                    last = Page::BadGateway;
                    tried.push(upstream.address);
                }
            }
            Err(Unanswered::Broken { heard: false }) if spare.is_some() => {
                request = spare.expect("looked at in the guard");
            }
            Err(Unanswered::Broken { .. }) => return Err(Page::BadGateway),
        }
        idle_allowed = false;
        tally.forget();
    }
}

fn claim(client: &Client, host: &Host, tried: &[SocketAddrV4], last: Page) -> Result<Claim, Page> {
    client
        .plane
        .switch
        .claim(client.worker.index, client.door, host.as_str(), tried)
        .map_err(|nowhere| {
            let (app, slot, page) = match nowhere {
                Nowhere::Unknown => {
                    client.count_unrouted();
                    return Page::NotFound;
                }
                Nowhere::NoRoutes => {
                    client.count_unrouted();
                    return Page::Unavailable;
                }
                Nowhere::NotLive(app, slot) => (app, slot, Page::Unavailable),
                Nowhere::Exhausted(app, slot) => (app, slot, last),
            };
            let status = page.status();
            app.counters
                .count(client.worker.index, slot, status, std::time::Duration::ZERO);
            page
        })
}

/// Whether a request may be sent a second time: it changes nothing, and there is no body to be read again.
fn is_repeatable(request: &Request<Upload>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && matches!(request.body(), Upload::Empty)
}

fn copy_head(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// What a request is answered that reached no instance, the last one failing with `error`.
fn page_of(error: &std::io::Error) -> Page {
    match error.kind() {
        std::io::ErrorKind::TimedOut => Page::GatewayTimeout,
        _ => Page::Unavailable,
    }
}

/// Waits for `future` as long as the connection's pulse allows.
async fn obeying<F: Future>(pulse: &Pulse, future: F) -> Result<F::Output, Page> {
    let mut future = pin!(future);
    poll_fn(|cx| match pulse.ruling() {
        Ruling::StalledUpload => Poll::Ready(Err(Page::RequestTimeout)),
        Ruling::NoAnswer => Poll::Ready(Err(Page::GatewayTimeout)),
        Ruling::Lost => Poll::Ready(Err(Page::BadGateway)),
        Ruling::CutBeforeAnswer => Poll::Ready(Err(Page::Cut)),
        _ => future.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// `version` is the client's.
fn pass_on(
    client: &Client,
    version: Version,
    response: Response<Incoming>,
    lease: Lease,
    check: Option<&HeaderValue>,
) -> Response<Answer> {
    let (mut parts, body) = response.into_parts();
    head::forward_answer(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let claim = &lease.tally.claim;
    if check.is_some_and(|check| same(check.as_bytes(), claim.app.check.as_bytes()))
        && let Ok(release) = HeaderValue::from_str(&format!("{}/{}", claim.slot, claim.release))
    {
        parts.headers.insert(head::RELEASE, release);
    }
    let events = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let pulse = Arc::clone(&client.pulse);
    pulse.enter(if events { Phase::Quiet } else { Phase::Stream });
    let endless = body.size_hint().exact().is_none();
    if version == Version::HTTP_10 && endless {
        pulse.is_framed(false);
    }
    let answer = match events && endless {
        true => Answer::events(body, lease, pulse),
        false => Answer::streaming(body, lease, pulse),
    };
    Response::from_parts(parts, answer)
}

/// Whether two tokens are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}
