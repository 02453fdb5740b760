//! What a visitor of the public port is answered, where another program has it: rules and sites of the user's may stand in
//! front of an app, and that is the user's business. It is told, and proves nothing.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use reqwest::Url;
use rustix::net::sockopt::set_socket_linger;

use super::error::ProxyError;
use super::exchange::{self, dialled};
use super::local_ports;

/// The header of a request that asks who answers; its value is a token that only deployer knows.
const CHECK: &str = "deployer-check";

/// The answer's header where an instance has answered.
const RELEASE: &str = "deployer-release";

/// The answer's header where deployer's part of a program's configuration was reached.
const PART: &str = "deployer-part";

/// Who asks, for the user's own logs.
const AGENT: (&str, &str) = ("user-agent", "deployer");

/// How long a client that looks whether a port is served waits for its answer.
const CLIENT: Duration = Duration::from_secs(2);

/// What a visitor is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The answer's status.
    pub status: u16,
    /// Who has answered.
    pub by: AnsweredBy,
    /// Where the answer sends the visitor.
    pub location: Option<String>,
    /// What the visitor is answered there, where that is the same host by https.
    pub secure: Option<Result<(u16, AnsweredBy), String>>,
}

/// Who has answered a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The app.
    App,
    /// A rule that the user has added to deployer's part of the configuration.
    Rule,
    /// Another part of the configuration, or another program.
    Other,
}

/// What became of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It was answered, and not by 503.
    Answered,
    /// Nobody listened.
    Refused,
    /// It was answered 503.
    Unavailable,
    /// It was connected, and got no answer.
    BrokenOff,
}

/// What a new client gets at the public port `listen` that asks for `path` of `host`.
pub async fn serves_a_client(listen: SocketAddr, host: &str, path: &str) -> Served {
    let Ok(stream) = local_ports::connect(dialled(listen)).await else {
        return Served::Refused;
    };
    // Closed by a reset: a port of ours that waits for late packets could be one that is to be listened at.
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
    let asked = exchange::ask_on(stream, "the public port", host, path, &[]);
    match tokio::time::timeout(CLIENT, asked).await {
        Ok(Ok((status, _))) if status == StatusCode::SERVICE_UNAVAILABLE => Served::Unavailable,
        Ok(Ok(_)) => Served::Answered,
        _ => Served::BrokenOff,
    }
}

/// Asks for `path` of `host` at the public port `listen`, as a visitor would; `check` lets the answer tell whose it is.
/// Takes no longer than `within`.
///
/// # Errors
/// When no answer comes.
pub(super) async fn visit(
    listen: SocketAddr,
    host: &str,
    path: &str,
    check: &str,
    within: Duration,
) -> Result<Visit, ProxyError> {
    let looked = tokio::time::timeout(within, look(listen, host, path, check)).await;
    looked.map_err(|_| {
        let seconds = within.as_secs();
        ProxyError::failed(format!("http://{host}{path} was not answered within {seconds} s"))
    })?
}

async fn look(listen: SocketAddr, host: &str, path: &str, check: &str) -> Result<Visit, ProxyError> {
    let (status, headers) = exchange::ask(listen, host, path, &[(CHECK, check), AGENT]).await?;
    let mut by = answered_by(&headers);
    if by == AnsweredBy::Other && has_part(listen, host, path, check).await {
        by = AnsweredBy::Rule;
    }
    let location = headers.get(LOCATION).filter(|_| status.is_redirection());
    let location = location.and_then(|location| location.to_str().ok());
    let secure = match location.and_then(|location| secure_side(location, host)) {
        Some(url) if by != AnsweredBy::App => Some(look_securely(listen, url, check).await),
        _ => None,
    };
    Ok(Visit {
        status: status.as_u16(),
        by,
        location: location.map(str::to_owned),
        secure,
    })
}

/// Whether deployer's part is what `host` leads to, and only a rule in it has answered: nginx looks at no rule for this.
async fn has_part(listen: SocketAddr, host: &str, path: &str, check: &str) -> bool {
    let check = format!("{check}/part");
    let asked = exchange::ask(listen, host, path, &[(CHECK, &check), AGENT]).await;
    asked.is_ok_and(|(_, headers)| headers.contains_key(PART))
}

fn answered_by(headers: &HeaderMap) -> AnsweredBy {
    match (headers.contains_key(RELEASE), headers.contains_key(PART)) {
        (true, _) => AnsweredBy::App,
        (_, true) => AnsweredBy::Rule,
        _ => AnsweredBy::Other,
    }
}

/// The innermost cause, which tells most.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Where `location` is `host` by https.
fn secure_side(location: &str, host: &str) -> Option<Url> {
    let url = Url::parse(location).ok()?;
    let is_same = url.host_str().is_some_and(|at| at.eq_ignore_ascii_case(host));
    (url.scheme() == "https" && is_same).then_some(url)
}

/// Whose answer stands at `url`, on the machine that `listen` is of. Whether its certificate is good is not asked.
async fn look_securely(listen: SocketAddr, url: Url, check: &str) -> Result<(u16, AnsweredBy), String> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let client = reqwest::Client::builder()
        .no_proxy()
        .user_agent(AGENT.1)
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .resolve(&host, SocketAddr::new(dialled(listen).ip(), 0))
        .build()
        .map_err(|error| error.to_string())?;
    let ask = async |check: &str| {
        let asked = client.get(url.clone()).header(CHECK, check).send().await;
        asked.map_err(|error| deepest(&error))
    };
    let answer = ask(check).await?;
    let (status, mut by): (StatusCode, _) = (answer.status(), answered_by(answer.headers()));
    if by == AnsweredBy::Other {
        let asked = ask(&format!("{check}/part")).await;
        if asked.is_ok_and(|answer| answer.headers().contains_key(PART)) {
            by = AnsweredBy::Rule;
        }
    }
    Ok((status.as_u16(), by))
}
