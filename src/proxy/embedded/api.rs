//! The control socket's server: JSON over HTTP, and the page of metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::control::{MOVED, REFUSED, Reason, Upstreams};
use super::server::Server;
use crate::ground::told::Told;
use crate::proxy::error::ProxyError;

/// Largest request that is read: the routes of a few thousand apps.
const REQUEST_MAX: usize = 64 << 20;

/// How long a caller may take to send a request's head, its body, and to read the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Connections that one listener serves at once.
const CONNECTIONS_MAX: usize = 512;

/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A command, a worker: whoever finds the control socket.
    Anyone,
    /// The newer proxy that has taken over from this one.
    Successor,
    /// Whoever finds the port of the metrics.
    Scraper,
}

/// Serves `caller` at a unix socket.
pub(super) async fn serve_unix(server: Arc<Server>, listener: UnixListener, caller: Caller) {
    let places = Places::default();
    loop {
        let place = places.next().await;
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(Arc::clone(&server), stream, caller, place))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Serves the metrics at a TCP port.
pub(super) async fn serve_metrics(server: Arc<Server>, listener: TcpListener) {
    let places = Places::default();
    loop {
        let place = places.next().await;
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(
                Arc::clone(&server),
                stream,
                Caller::Scraper,
                place,
            ))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Connections that one listener may have; others wait until one of them has ended.
struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }
}

impl Places {
    /// A place for a connection, until it is dropped.
    async fn next(&self) -> OwnedSemaphorePermit {
        let place = Arc::clone(&self.0).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }
}

/// Serves one request. Its head, its body and its answer have [`DEADLINE`] each; what it asks for may take longer.
async fn serve(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    caller: Caller,
    _place: OwnedSemaphorePermit,
) {
    let _call = server.call();
    let answered = Notify::new();
    let service = service_fn(|request| {
        let (server, answered) = (Arc::clone(&server), &answered);
        async move {
            let answer = answer(&server, request, caller).await;
            answered.notify_one();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let overdue = async {
        answered.notified().await;
        tokio::time::sleep(DEADLINE).await;
    };
    tokio::select! {
        // A caller that goes away ends what it has asked for; there is nobody to be told.
        _ = connection => {}
        () = overdue => {}
    }
}

async fn answer(server: &Server, request: Request<Incoming>, caller: Caller) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if *request.method() == Method::GET && path == "/metrics" {
        return response(StatusCode::OK, "text/plain; version=0.0.4", server.metrics());
    }
    if caller == Caller::Scraper {
        return json(StatusCode::NOT_FOUND, &reason("only /metrics is here"));
    }
    if caller == Caller::Anyone && server.has_moved() {
        return json(MOVED, &reason("a newer proxy has taken over"));
    }
    match called(server, request, caller).await {
        Ok(answer) => answer,
        Err(ProxyError::Refused { reason }) => json(REFUSED, &Reason::from(reason)),
        Err(ProxyError::Failed { reason }) => json(StatusCode::INTERNAL_SERVER_ERROR, &Reason::from(reason)),
        Err(error) => json(StatusCode::INTERNAL_SERVER_ERROR, &reason(&error.to_string())),
    }
}

async fn called(
    server: &Server,
    request: Request<Incoming>,
    caller: Caller,
) -> Result<Response<Full<Bytes>>, ProxyError> {
    let (parts, body) = request.into_parts();
    match (parts.method, parts.uri.path()) {
        (Method::GET, "/v1/info") => Ok(done(&server.info())),
        (Method::GET, "/v1/routes") => Ok(done(&server.routes())),
        (Method::GET, "/v1/checks") => Ok(done(&server.checks())),
        (Method::GET, "/v1/out") => Ok(done(&server.out())),
        (Method::PUT, "/v1/routes") => match server.put_route(read(body).await?).await? {
            Some(applied) => Ok(done(&applied)),
            None => Ok(json(MOVED, &reason("a newer proxy has taken over"))),
        },
        (Method::DELETE, path) if path.starts_with("/v1/routes/") => {
            let app = path["/v1/routes/".len()..].parse();
            let app =
                app.map_err(|error: crate::model::ParseError| ProxyError::refused(error.to_string()))?;
            match server.remove_route(&app).await? {
                Some(()) => Ok(done(&())),
                None => Ok(json(MOVED, &reason("a newer proxy has taken over"))),
            }
        }
        (Method::PUT, "/v1/doors") => match server.change_doors(read(body).await?).await? {
            Some(closed) => Ok(done(&closed)),
            None => Ok(json(MOVED, &reason("a newer proxy has taken over"))),
        },
        (Method::POST, "/v1/leave") => match server.leave().await? {
            Some(()) => Ok(done(&())),
            None => Ok(json(MOVED, &reason("a newer proxy has taken over"))),
        },
        (Method::POST, "/v1/in-flight") => {
            let ask: Upstreams = read(body).await?;
            Ok(done(&server.in_flight(&ask.upstreams).await))
        }
        (Method::POST, "/v1/drain") => {
            let ask: Upstreams = read(body).await?;
            Ok(done(
                &server
                    .drain(&ask.upstreams, Duration::from_millis(ask.deadline))
                    .await,
            ))
        }
        (Method::POST, "/v1/follow") if caller == Caller::Successor => {
            server.follow(read(body).await?).await?;
            Ok(done(&()))
        }
        (method, path) => Ok(json(
            StatusCode::NOT_FOUND,
            &reason(&format!("there is no {method} {path}")),
        )),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, ProxyError> {
    let body = tokio::time::timeout(DEADLINE, Limited::new(body, REQUEST_MAX).collect()).await;
    let body =
        body.map_err(|_| ProxyError::refused(format!("the request took more than {DEADLINE:?} to arrive")))?;
    let body = body.map_err(|error| ProxyError::refused(format!("the request broke off: {error}")))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| ProxyError::refused(format!("the request cannot be understood: {error}")))
}

fn done(answer: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, answer)
}

fn reason(text: &str) -> Reason {
    Told::new(text).into()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    response(
        status,
        "application/json",
        serde_json::to_string(body).unwrap_or_default(),
    )
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
