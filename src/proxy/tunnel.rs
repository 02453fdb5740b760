//! Connections that are HTTP no longer: WebSockets and every other protocol that a client may change to.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::{Answer, Tally};
use super::connection::{Client, Plane, Worker};
use super::head;
use super::pulse::{Phase, Pulse, Ruling};

/// Changes protocol as the upstream has agreed to: gives the answer that says so, and carries bytes both ways
/// from then on, counted in flight on the upstream until both sides have ended.
pub(super) fn switch(
    client: &Client,
    mut response: Response<Incoming>,
    to_client: OnUpgrade,
    tally: Tally,
) -> Response<Answer> {
    let to_upstream = hyper::upgrade::on(&mut response);
    let tunnel = Tunnel {
        plane: Arc::clone(&client.plane),
        worker: Arc::clone(&client.worker),
        tally,
    };
    tokio::spawn(tunnel.carry(to_client, to_upstream));

    let protocol = response.headers().get(UPGRADE).cloned();
    let (mut parts, _) = response.into_parts();
    head::forward_answer(&mut parts.headers);
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
    }
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    client.pulse.enter(Phase::Tunnel);
    Response::from_parts(parts, Answer::page(Bytes::new(), Arc::clone(&client.pulse)))
}

struct Tunnel {
    plane: Arc<Plane>,
    worker: Arc<Worker>,
    tally: Tally,
}

impl Tunnel {
    async fn carry(self, to_client: OnUpgrade, to_upstream: OnUpgrade) {
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.plane.clock), Phase::Tunnel));
        pulse.serve_by(self.tally.claim.in_flight.seat().upstream.id);
        let _registered = self.worker.register(Arc::clone(&pulse));
        let mut both = pin!(async {
            let (client, upstream) = tokio::try_join!(to_client, to_upstream).ok()?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream))
                .await
                .ok()
        });
        poll_fn(|cx| {
            pulse.belongs_to(cx.waker());
            match pulse.orders(&self.plane.limits) {
                Ruling::Cut => Poll::Ready(()),
                _ => both.as_mut().poll(cx).map(drop),
            }
        })
        .await;
    }
}
