//! probe: every instance is asked until it is ready, has ended, or the deadline is over.

use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::future::join_all;

use super::entry::Learned;
use super::retry::engine_that_answers;
use super::route;
use super::run::{Done, Run};
use super::say;
use super::start::{instances_of, settle};
use crate::engine::{Engine, HealthStatus, Instance, Status};
use crate::model::{Probe, ProbeKind, printable};

/// Lines of a container's log that a failed probe shows.
const LOG_LINES: usize = 20;
/// Bytes of an answer's body that a failed probe shows.
const BODY_SHOWN: usize = 200;

pub(super) async fn probe(run: &mut Run<'_>) -> Done {
    let running = run.running()?;
    let engine = run.context.engine().await?;
    let upstreams = route::upstreams(run.context, &run.app, run.slot(), &running)?;
    let instances = instances_of(engine, &run.app, run.slot(), &running).await?;
    let prober = Prober {
        engine,
        probe: &run.app.settings.probe,
        host: run.app.settings.hosts.first().map_or("localhost", String::as_str),
        client: client(run.app.settings.probe.timeout)?,
    };
    let answers = join_all(instances.iter().map(|instance| {
        let upstream = upstreams[usize::from(instance.index)];
        prober.until_ready(instance, upstream)
    }))
    .await;

    if instances.len() != upstreams.len() {
        bail!(
            "only {} of {} are there",
            instances.len(),
            say::count(upstreams.len() as u64, "instance")
        );
    }
    let mut ready = String::new();
    for (instance, answer) in instances.iter().zip(answers) {
        match answer {
            Ok(answer) => ready = answer,
            Err(why) => {
                show_log(run, instance).await;
                bail!("instance {}: {why:#}", instance.index);
            }
        }
    }
    settle(engine_that_answers(run.context).await?, &run.app, &instances).await?;
    Ok((Learned::Nothing, format!("ready: {ready}")))
}

/// Puts the last lines of an instance's own log into the release's.
async fn show_log(run: &mut Run<'_>, instance: &Instance) {
    let Ok(engine) = run.context.engine().await else {
        return;
    };
    let lines = engine
        .logs_tail(&instance.id, LOG_LINES, 64 << 10)
        .await
        .unwrap_or_default();
    if lines.is_empty() {
        run.log
            .output(&format!("instance {} printed nothing", instance.index));
        return;
    }
    run.log
        .output(&format!("the last lines of instance {}:", instance.index));
    for line in lines {
        run.log.output(&printable(&line));
    }
}

/// A client that asks an instance and nobody else: no proxy, no redirect, no TLS.
fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .user_agent("deployer-probe")
        .build()?)
}

struct Prober<'a> {
    engine: &'a Engine,
    probe: &'a Probe,
    host: &'a str,
    client: reqwest::Client,
}

impl Prober<'_> {
    /// Asks until the answer is good, and gives it. An instance that has ended is told at once.
    async fn until_ready(&self, instance: &Instance, upstream: SocketAddrV4) -> anyhow::Result<String> {
        let began = Instant::now();
        // The first answers are worth waiting for closely; a slow start is asked at the set interval.
        let mut pause = Duration::from_millis(10).min(self.probe.interval);
        loop {
            let last = match self.ask(instance, upstream).await {
                Ok(answer) => return Ok(answer),
                Err(answer) => answer,
            };
            // An Engine that is away comes back, and the instance may be up all the while.
            let state = match self.engine.instance_state(&instance.id).await {
                Err(error) if error.is_transient() => None,
                told => Some(told?),
            };
            if let Some(Status::Exited { code, oom, .. }) = state.map(|state| state.status) {
                let oom = if oom { ", killed for want of memory" } else { "" };
                bail!("it ended by itself with exit code {code}{oom}");
            }
            if began.elapsed() + pause >= self.probe.deadline {
                bail!(
                    "it was not ready within {} (last answer: {last})",
                    say::time(self.probe.deadline)
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.probe.interval);
        }
    }

    async fn ask(&self, instance: &Instance, upstream: SocketAddrV4) -> Result<String, String> {
        match &self.probe.kind {
            ProbeKind::Http { path, status, host } => {
                let host = host.as_deref().unwrap_or(self.host);
                self.ask_http(upstream, path, *status, host).await
            }
            ProbeKind::Tcp => self.ask_tcp(upstream).await,
            ProbeKind::Healthcheck => self.ask_healthcheck(instance).await,
        }
    }

    async fn ask_http(
        &self,
        upstream: SocketAddrV4,
        path: &str,
        (from, to): (u16, u16),
        host: &str,
    ) -> Result<String, String> {
        let request = self
            .client
            .get(format!("http://{upstream}{path}"))
            .header("host", host);
        let mut answer = request
            .send()
            .await
            .map_err(|error| no_answer(&error, path, self.probe.timeout))?;
        let status = answer.status().as_u16();
        if (from..=to).contains(&status) {
            return Ok(format!("{status} on {path}"));
        }
        let mut told = format!("{status} on {path}");
        if let Ok(Some(body)) = answer.chunk().await {
            let body =
                String::from_utf8_lossy(&body[..body.len().min(BODY_SHOWN)]).replace(['\n', '\r'], " ");
            if !body.trim().is_empty() {
                let _ = write!(told, ": {:?}", printable(body.trim()));
            }
        }
        Err(told)
    }

    async fn ask_tcp(&self, upstream: SocketAddrV4) -> Result<String, String> {
        let port = upstream.port();
        match tokio::time::timeout(self.probe.timeout, tokio::net::TcpStream::connect(upstream)).await {
            Ok(Ok(_)) => Ok(format!("port {port} accepts")),
            Ok(Err(error)) => Err(format!("port {port}: {error}")),
            Err(_) => Err(format!(
                "port {port}: no answer within {}",
                say::time(self.probe.timeout)
            )),
        }
    }

    async fn ask_healthcheck(&self, instance: &Instance) -> Result<String, String> {
        let state = self
            .engine
            .instance_state(&instance.id)
            .await
            .map_err(|error| error.to_string())?;
        match state.health {
            Some(health) if health.status == HealthStatus::Healthy => Ok("HEALTHCHECK is healthy".to_owned()),
            Some(health) => {
                let word = if health.status == HealthStatus::Unhealthy {
                    "unhealthy"
                } else {
                    "still starting"
                };
                Err(format!(
                    "HEALTHCHECK is {word}: {:?}",
                    printable(health.last_output.trim())
                ))
            }
            None => Err("the image has no HEALTHCHECK; choose another probe".to_owned()),
        }
    }
}

/// Why there was no answer, in the words of whoever waits for it.
fn no_answer(error: &reqwest::Error, path: &str, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("none on {path} within {}", say::time(timeout));
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    format!("none on {path}: {source}")
}
