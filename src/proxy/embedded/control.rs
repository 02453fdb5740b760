//! The client of the proxy's control socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::http1::{CHECK, RELEASE};
use crate::ground::told::Told;
use crate::model::AppName;
use crate::proxy::answers::{Applied, Checked, ClosedPort, Drained, OutInstance};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange;
use crate::proxy::exchange::exchange as one_request;
use crate::proxy::route::AppRoute;
use crate::proxy::route::StoredRoute;

/// How long the proxy may take for anything but a drain: a route change waits for the disk.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const ANSWER_MAX: usize = 64 << 20;

/// Pause before asking again a proxy that is handing over to a newer one.
const MOVED_PAUSE: Duration = Duration::from_millis(10);

/// The status of a proxy that has handed over: ask at the same path again.
pub(super) const MOVED: StatusCode = StatusCode::MISDIRECTED_REQUEST;
/// The status of a refusal.
pub(super) const REFUSED: StatusCode = StatusCode::CONFLICT;

/// The proxy, as it speaks of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyInfo {
    /// The deployer's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Where the public port is, whoever listens there.
    pub listen: SocketAddr,
    /// The unix socket that it listens at in the public port's stead, where another program stands in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The address that slot ports listen on.
    pub slot_listen: IpAddr,
    /// When it started.
    pub started: jiff::Timestamp,
    /// Where a routes file was put aside that could not be read at the start.
    pub recovered_from: Option<PathBuf>,
    /// Slot ports that could not be opened and are tried again and again.
    pub closed_ports: Vec<ClosedPort>,
}

/// The body of a drain's call, and of a look at the counts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Upstreams {
    pub(super) upstreams: Vec<SocketAddrV4>,
    /// Milliseconds; unused by a look.
    #[serde(default)]
    pub(super) deadline: u64,
}

/// Some of the doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DoorSet {
    /// The public port at this address.
    pub listen: Option<SocketAddr>,
    /// The unix socket for a program in front.
    pub socket: bool,
    /// The slot ports of every route, also of those to come.
    pub slots: bool,
}

/// The body of a change of the doors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DoorChange {
    pub(super) open: DoorSet,
    pub(super) close: DoorSet,
}

/// The body of an answer that is no success.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reason {
    pub(super) reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
}

impl From<Told> for Reason {
    fn from(told: Told) -> Self {
        Self {
            reason: told.message,
            hints: told.hints,
        }
    }
}

/// The client of the control socket. Costs nothing to make, and holds no connection between two calls.
#[derive(Debug, Clone)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// A client of the proxy that listens at `socket`: `STATE/proxy/control.sock`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// What the proxy is and where it listens.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn info(&self) -> Result<ProxyInfo, ProxyError> {
        self.call(Method::GET, "/v1/info", &(), DEADLINE).await
    }

    /// Makes `route` the whole route of its app. When this returns, the route is durable, and every request
    /// that is routed from then on follows it, also on connections that were open before.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the route clashes with another, or cannot be written: nothing has changed then.
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        self.call(Method::PUT, "/v1/routes", route, DEADLINE).await
    }

    /// Removes the route of `app`, and closes its slot ports. Without such a route nothing happens.
    ///
    /// # Errors
    /// As for [`Control::put_route`].
    pub async fn remove_route(&self, app: &AppName) -> Result<(), ProxyError> {
        self.call(Method::DELETE, &format!("/v1/routes/{app}"), &(), DEADLINE)
            .await
    }

    /// Every route in force, by the app's name.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn routes(&self) -> Result<Vec<AppRoute>, ProxyError> {
        self.call(Method::GET, "/v1/routes", &(), DEADLINE).await
    }

    /// The instances that are out, by app, slot and number.
    ///
    /// # Errors
    /// When the proxy does not answer, or is of a version that does not put instances out.
    pub async fn out(&self) -> Result<Vec<OutInstance>, ProxyError> {
        self.call(Method::GET, "/v1/out", &(), DEADLINE).await
    }

    /// Opens doors; those that are open stay so. Gives the slot ports that cannot be had, which are tried again and
    /// again.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the public port is taken: nothing has changed then.
    pub async fn open(&self, open: DoorSet) -> Result<Vec<ClosedPort>, ProxyError> {
        let close = DoorSet::default();
        self.change_doors(DoorChange { open, close }).await
    }

    /// Closes doors, which are another proxy's from then on: their ports are free when this returns, and what was
    /// accepted there goes on.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn close(&self, close: DoorSet) -> Result<(), ProxyError> {
        let open = DoorSet::default();
        self.change_doors(DoorChange { open, close }).await.map(drop)
    }

    /// Has the proxy forget its routes, close every door for good, and end once what it has in flight has ended:
    /// another kind of proxy serves. Returns at once.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn leave(&self) -> Result<(), ProxyError> {
        self.call(Method::POST, "/v1/leave", &(), DEADLINE).await
    }

    /// How many requests and upgraded connections are in flight on `upstreams`, routed or not.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn in_flight(&self, upstreams: &[SocketAddrV4]) -> Result<u64, ProxyError> {
        let ask = Upstreams {
            upstreams: upstreams.to_vec(),
            deadline: 0,
        };
        self.call(Method::POST, "/v1/in-flight", &ask, DEADLINE).await
    }

    /// Waits until nothing is in flight on `upstreams`, or until `deadline`, and then breaks off what is left;
    /// event streams and WebSockets are ended in form.
    /// When this future is dropped the waiting ends, and nothing is broken off.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Result<Drained, ProxyError> {
        let ask = Upstreams {
            upstreams: upstreams.to_vec(),
            deadline: deadline.as_millis().try_into().unwrap_or(u64::MAX),
        };
        self.call(Method::POST, "/v1/drain", &ask, deadline.saturating_add(DEADLINE))
            .await
    }

    /// Asks for `path` of `host` at the public port, as any client would, and gives which release has answered.
    /// `check` is the token that [`Control::put_route`] gave.
    ///
    /// # Errors
    /// When nothing answers there within 10 seconds.
    pub async fn check(
        &self,
        public: SocketAddr,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        let asked = exchange::ask(public, host, path, &[(CHECK, check)]).await?;
        Ok(checked(&asked))
    }

    /// As [`Control::check`], at the unix socket that the proxy listens at where another program stands in front of it:
    /// no rule of that program can answer.
    ///
    /// # Errors
    /// When nothing answers there within 10 seconds.
    pub async fn check_at_socket(
        &self,
        socket: &Path,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        let asked = exchange::ask_at_socket(socket, host, path, &[(CHECK, check)]).await?;
        Ok(checked(&asked))
    }

    /// The token of each app's check.
    ///
    /// # Errors
    /// When the proxy does not answer, or is of a version that does not tell.
    pub async fn checks(&self) -> Result<BTreeMap<AppName, String>, ProxyError> {
        self.call(Method::GET, "/v1/checks", &(), DEADLINE).await
    }

    /// Tells a proxy that has handed over which routes are in force.
    pub(super) async fn follow(&self, routes: &[StoredRoute]) -> Result<(), ProxyError> {
        self.call(Method::POST, "/v1/follow", &routes, DEADLINE).await
    }

    async fn change_doors(&self, change: DoorChange) -> Result<Vec<ClosedPort>, ProxyError> {
        // A proxy of an older version says nothing.
        let closed: Option<Vec<ClosedPort>> = self.call(Method::PUT, "/v1/doors", &change, DEADLINE).await?;
        Ok(closed.unwrap_or_default())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, ProxyError> {
        let body =
            Bytes::from(serde_json::to_vec(body).map_err(|error| ProxyError::failed(error.to_string()))?);
        let called = async {
            loop {
                let (status, answer) = self.once(&method, path, body.clone()).await?;
                if status != MOVED {
                    return understand(status, &answer);
                }
                tokio::time::sleep(MOVED_PAUSE).await;
            }
        };
        tokio::time::timeout(deadline, called).await.unwrap_or_else(|_| {
            Err(ProxyError::failed(format!(
                "{method} {path} took more than {deadline:?}"
            )))
        })
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ProxyError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|cause| ProxyError::Unreachable {
                who: format!("the proxy does not answer at {}", self.socket.display()),
                cause,
                hint: "is `deployer proxy run` up?".to_owned(),
            })?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "proxy")
            .body(Full::new(body))
            .map_err(|error| ProxyError::failed(error.to_string()))?;
        let broke = |error: &dyn std::fmt::Display| ProxyError::BrokeOff {
            reason: format!("while answering {method} {path}: {error}"),
        };
        let response = one_request(stream, request)
            .await
            .map_err(|error| broke(&error))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        Ok((status, answer.map_err(|error| broke(&error))?.to_bytes()))
    }
}

/// What the head of an answer tells.
fn checked((status, headers): &(StatusCode, HeaderMap)) -> Checked {
    let release = headers.get(RELEASE).and_then(|value| {
        let (slot, release) = value.to_str().ok()?.split_once('/')?;
        Some((slot.parse().ok()?, release.parse().ok()?))
    });
    Checked {
        status: status.as_u16(),
        release,
    }
}

fn understand<T: DeserializeOwned>(status: StatusCode, answer: &[u8]) -> Result<T, ProxyError> {
    if status.is_success() {
        return serde_json::from_slice(answer)
            .map_err(|error| ProxyError::failed(format!("its answer cannot be understood: {error}")));
    }
    let reason = match serde_json::from_slice(answer) {
        Ok(Reason { reason, hints }) => Told {
            message: reason,
            hints,
        },
        Err(_) => Told::new(format!("status {status}")),
    };
    Err(match status {
        REFUSED => ProxyError::Refused { reason },
        _ => ProxyError::Failed { reason },
    })
}
