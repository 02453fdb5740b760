//! One request's way: route, ask an upstream, answer.

use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, obeying};
use super::dial::Link;
use super::exchange::{Delivery, Exchange, Failed, Lease};
use super::http1::{Answer, Request, Unreadable};
use super::page::Page;
use super::pulse::{Phase, Ruling};
use super::table::{Claim, Nowhere};
use super::tally::Tally;
use super::tunnel;
use super::upstream::Seat;
use super::watch;

/// Oldest idle connection that is used for a request that cannot be sent twice, in milliseconds. Servers close
/// idle connections after a time of their own, two seconds at the least among the usual ones; a request that
/// meets such a close half way is lost.
const FRESH: u64 = 1_000;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const BAD_BODY: Page = Page::BadRequest("400: the request's body is malformed.\n");

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It may bring the next request.
    Next,
    /// It ends.
    Close,
    /// It ends, and its client may be sending still.
    Goodbye,
    /// It is broken off.
    Break,
}

/// Why a request is not answered by an upstream.
enum Unanswered {
    /// The proxy answers itself.
    Page(Page),
    /// There is nobody to be answered any more.
    Gone,
}

impl From<Ruling> for Unanswered {
    fn from(ruling: Ruling) -> Self {
        Self::Page(match ruling {
            Ruling::StalledUpload => Page::RequestTimeout,
            Ruling::NoAnswer => Page::GatewayTimeout,
            Ruling::Lost => Page::BadGateway(Unreadable::Closed.into()),
            _ => Page::Cut,
        })
    }
}

impl From<Page> for Unanswered {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

/// Answers one request.
pub(super) async fn answer(client: &mut Client, request: Request) -> Then {
    client.pulse.begin(!request.body.is_done());
    let mut exchange = Exchange::new(request);
    match ask(client, &mut exchange).await {
        Ok(answer) if answer.switches() => match exchange.leave() {
            Some((lease, answers)) => tunnel::carry(client, answer, lease, answers).await,
            None => Then::Break,
        },
        Ok(answer) => pass_on(client, &mut exchange, answer).await,
        Err(Unanswered::Page(_)) if exchange.is_within_interim() => Then::Break,
        Err(Unanswered::Page(page)) => say(client, &mut exchange, page).await,
        Err(Unanswered::Gone) => Then::Break,
    }
}

/// Answers by an upstream's answer.
async fn pass_on(client: &mut Client, exchange: &mut Exchange, answer: Answer) -> Then {
    let closes = answer.is_unframed || !exchange.is_asked() || is_last(client, &exchange.request);
    client.stream.is_unframed = answer.is_unframed;
    client.pulse.enter(match answer.is_events {
        true => Phase::Quiet,
        false => Phase::Stream,
    });
    let mut delivery = Delivery::new(answer, closes, exchange.request.takes_trailers);
    let delivered = poll_fn(|cx| exchange.poll_deliver(cx, client, &mut delivery)).await;
    match delivered {
        Ok(()) => {}
        Err(Failed::Broken(fault)) => {
            exchange.report(fault);
            if delivery.has_begun() {
                return Then::Break;
            }
            client.stream.is_unframed = false;
            return say(client, exchange, Page::BadGateway(fault)).await;
        }
        Err(_) => return Then::Break,
    }
    client.stream.is_unframed = false;
    match exchange.discard(client) {
        false => Then::Goodbye,
        true if closes || delivery.ends_with_connection() => Then::Close,
        true => Then::Next,
    }
}

/// Answers by a page of our own.
async fn say(client: &mut Client, exchange: &mut Exchange, page: Page) -> Then {
    let mut release = None;
    if let Some((mut lease, _)) = exchange.leave() {
        lease.tally.status = page.status();
        // A flip asks who answers, and not whether that can be read.
        let told = lease.tally.claim.told(exchange.request.check.as_deref());
        release = told.filter(|_| page.is_of_an_answer());
    }
    let is_whole = exchange.discard(client);
    let request = &exchange.request;
    let closes = page.closes() || !is_whole || request.is_http_10 || is_last(client, request);
    client.pulse.serve_by(0);
    client.pulse.enter(Phase::Stream);
    match client
        .say(&page.answer(request.is_head, closes, release.as_deref()))
        .await
    {
        Err(_) => Then::Break,
        Ok(()) if !is_whole => Then::Goodbye,
        Ok(()) if closes => Then::Close,
        Ok(()) => Then::Next,
    }
}

/// Whether the connection ends behind a request that has come whole. One that was sent behind it is answered first.
fn is_last(client: &Client, request: &Request) -> bool {
    !request.keeps || client.plane.is_lingering() && !client.has_another()
}

/// Asks one instance after another, until one answers or there is no other that may be asked.
async fn ask(client: &mut Client, exchange: &mut Exchange) -> Result<Answer, Unanswered> {
    let begun = Instant::now();
    let mut tried: Vec<SocketAddrV4> = Vec::new();
    let mut last = Page::Unavailable;
    let mut idle_allowed = true;
    let mut is_asked_for = !exchange.request.expects;
    loop {
        let claim = claim(client, &exchange.request.host, &tried, last)?;
        let seat = Arc::clone(claim.in_flight.seat());
        client.pulse.serve_by(seat.upstream.id);
        client.pulse.limit(claim.app.limits);
        let tally = Tally::new(claim, client.worker.index, begun);

        let idle = idle_allowed.then(|| idle(&seat, &exchange.request, client.pulse.now()));
        let idle = idle.flatten();
        let reused = idle.is_some();
        let link = match idle {
            Some(link) => link,
            // On memory of its own: most requests find a connection, and wait with less.
            None => match obeying(&client.pulse, Box::pin(Link::open(&seat.upstream))).await? {
                Ok(link) => link,
                Err(error) => {
                    watch::put_out(&seat.upstream, &error);
                    last = page_of(&error);
                    tried.push(seat.upstream.address);
                    tally.forget();
                    continue;
                }
            },
        };
        exchange.begin(Lease { link, tally });
        // What has come of the body goes out with the head.
        let staged = exchange.upload.stage(&mut client.buffer);
        staged.map_err(|_| BAD_BODY)?;
        if !is_asked_for && client.buffer.is_empty() {
            client.say(CONTINUE).await.map_err(|_| Unanswered::Gone)?;
        }
        is_asked_for = true;

        match poll_fn(|cx| exchange.poll_answer(cx, client)).await? {
            Ok(answer) => return Ok(answer),
            Err(Failed::Gone) => return Err(Unanswered::Gone),
            Err(Failed::Malformed) => return Err(BAD_BODY.into()),
            Err(Failed::Unsent) if reused => {}
            Err(Failed::Unsent) => {
                last = Page::BadGateway(Unreadable::Closed.into());
                tried.push(seat.upstream.address);
            }
            Err(Failed::Broken(_)) if exchange.met_a_close(reused) => {}
            Err(Failed::Broken(fault)) => {
                exchange.report(fault);
                return Err(Page::BadGateway(fault).into());
            }
        }
        idle_allowed = false;
        if let Some((lease, _)) = exchange.leave() {
            lease.tally.forget();
        }
    }
}

/// An idle connection that this request may be sent on.
fn idle(seat: &Arc<Seat>, request: &Request, now: u64) -> Option<Link> {
    let age = if request.is_repeatable {
        u64::MAX / 2
    } else {
        FRESH
    };
    seat.take_idle(now, age)
}

fn claim(client: &Client, host: &str, tried: &[SocketAddrV4], last: Page) -> Result<Claim, Page> {
    client
        .plane
        .switch
        .claim(client.worker.index, client.door, host, tried)
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
                .count(client.worker.index, slot, status, Duration::ZERO);
            page
        })
}

/// What a request is answered that reached no instance, the last one failing with `error`.
fn page_of(error: &std::io::Error) -> Page {
    match error.kind() {
        std::io::ErrorKind::TimedOut => Page::GatewayTimeout,
        _ => Page::Unavailable,
    }
}
