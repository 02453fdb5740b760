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
use super::websocket;

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
    let protocol = response.headers().get(UPGRADE).cloned();
    let phase = match websocket::is_websocket(protocol.as_ref()) {
        true => Phase::WebSocket,
        false => Phase::Tunnel,
    };
    tokio::spawn(tunnel.carry(phase, to_client, to_upstream));

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
    async fn carry(self, phase: Phase, to_client: OnUpgrade, to_upstream: OnUpgrade) {
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.plane.clock), phase));
        let upstream = &self.tally.claim.in_flight.seat().upstream;
        pulse.serve_by(upstream.id);
        let _registered = self.worker.register(Arc::clone(&pulse));
        let mut both = pin!(async {
            let (client, app) = tokio::try_join!(to_client, to_upstream).ok()?;
            let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
            if phase == Phase::WebSocket {
                let told = websocket::carry(client, app, &pulse).await.ok()?;
                return told.then(|| upstream.count_closed());
            }
            tokio::io::copy_bidirectional(&mut client, &mut app)
                .await
                .ok()
                .map(drop)
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
