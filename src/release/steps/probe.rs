//! probe: every instance is asked until it is ready, has ended, or the deadline is over.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use tokio::join;
use tokio::sync::OnceCell;

use crate::engine::{Engine, HealthStatus, Instance, InstanceState, Status};
use crate::model::{InstanceName, Probe, ProbeKind, Slot, printable};
use crate::proxy::local_ports;
use crate::release::context::{App, Context};
use crate::release::instances::instances_of;
use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::retry::{engine_that_answers, is_away};
use crate::release::work::{Done, Work};
use crate::store::Running;

/// Lines of a container's log that a failed probe shows.
const LOG_LINES: usize = 20;
/// The pause after the first question that was not answered well; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Bytes of an answer's body that a failed probe shows.
const BODY_SHOWN: usize = 200;

pub(in crate::release) async fn probe(work: &mut Work<'_>) -> Done {
    let (attempt, running) = (&work.attempt, work.attempt.running()?);
    let prober = Prober::new(work.context, &attempt.app, attempt.slot(), running).await?;
    let asked = running.endpoints().map(|(name, at)| prober.until_ready(name, at));
    let (there, answers) = join!(prober.there(), join_all(asked));

    let there = match there {
        // An Engine that went away at that very moment comes back, as for the questions beside it.
        Err(error) if is_away(&error) => {
            engine_that_answers(work.context).await?;
            prober.there().await?.clone()
        }
        there => there?.clone(),
    };
    if there.len() != running.instances() {
        bail!(messages::too_few_instances(there.len(), running.instances()));
    }
    let mut ready = String::new();
    for (instance, answer) in there.iter().zip(answers) {
        match answer {
            Ok(answer) => ready = answer,
            Err(why) => {
                show_log(work, instance).await;
                bail!("instance {}: {why:#}", instance.name);
            }
        }
    }
    Ok((Learned::Nothing, format!("ready: {ready}")))
}

/// Probes the instances of what a slot runs, which were started again, and gives a sentence for each that was not
/// ready within the probe's deadline.
///
/// # Errors
/// When the engine does not answer.
pub(in crate::release) async fn started_again(
    context: &Context,
    app: &App,
    slot: Slot,
    running: &Running,
) -> anyhow::Result<Vec<String>> {
    let prober = Prober::new(context, app, slot, running).await?;
    let asked = running.endpoints().map(async |(name, at)| {
        let why = prober.until_ready(name.clone(), at).await.err()?;
        Some(messages::not_ready_again(slot, &name, &why))
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// Puts the last lines of an instance's own log into the release's.
async fn show_log(work: &mut Work<'_>, instance: &Instance) {
    let Ok(engine) = work.context.engine().await else {
        return;
    };
    let lines = engine
        .logs_tail(&instance.id, LOG_LINES, 64 << 10)
        .await
        .unwrap_or_default();
    if lines.is_empty() {
        work.log
            .output(&format!("instance {} printed nothing", instance.name));
        return;
    }
    work.log
        .output(&format!("the last lines of instance {}:", instance.name));
    for line in lines {
        work.log.output(&printable(&line));
    }
}

/// A client that asks an instance and nobody else: no proxy, no redirect, no TLS.
fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("deployer-probe")
        .build()?)
}

struct Prober<'a> {
    engine: &'a Engine,
    app: &'a App,
    slot: Slot,
    running: &'a Running,
    /// The release's instances, once they were looked for.
    there: OnceCell<Vec<Instance>>,
    host: String,
    client: reqwest::Client,
}

impl<'a> Prober<'a> {
    async fn new(
        context: &'a Context,
        app: &'a App,
        slot: Slot,
        running: &'a Running,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            engine: context.engine().await?,
            app,
            slot,
            running,
            there: OnceCell::new(),
            host: app.settings.own_host(),
            client: client()?,
        })
    }

    /// The release's instances, by their names. The Engine is asked once, beside the first questions to
    /// the instances themselves, whose addresses are known without it.
    async fn there(&self) -> anyhow::Result<&Vec<Instance>> {
        let look = || instances_of(self.engine, self.app, self.slot, self.running);
        self.there.get_or_try_init(look).await
    }

    /// When an instance is ready.
    fn probe(&self, name: &InstanceName) -> &Probe {
        &self.app.settings.service(&name.service).probe
    }

    /// How an instance is, as the Engine sees it.
    async fn state(&self, name: &InstanceName) -> anyhow::Result<InstanceState> {
        let there = self.there().await?;
        let instance = there.iter().find(|instance| instance.name == *name);
        let instance = instance.context("it is not there")?;
        Ok(self.engine.instance_state(&instance.id).await?)
    }

    /// Asks until the answer is good, and gives it. An instance that has ended is told at once.
    async fn until_ready(&self, name: InstanceName, upstream: SocketAddrV4) -> anyhow::Result<String> {
        let probe = self.probe(&name);
        let began = Instant::now();
        // The first answers are worth waiting for closely; a slow start is asked at the set interval.
        let mut pause = FIRST_PAUSE.min(probe.interval);
        loop {
            let last = match self.ask(&name, upstream).await {
                Ok(answer) => return Ok(answer),
                Err(answer) => answer,
            };
            // An Engine that is away comes back, and the instance may be up all the while.
            let state = match self.state(&name).await {
                Err(error) if is_away(&error) => None,
                told => Some(told?),
            };
            if let Some(Status::Exited { code, oom, .. }) = state.map(|state| state.status) {
                bail!("it ended by itself with {}", messages::ended_with(code, oom));
            }
            if began.elapsed() + pause >= probe.deadline {
                let why = self.why_refused(&name, upstream, &last).await.unwrap_or_default();
                bail!(
                    "it was not ready within {} (last answer: {}){why}",
                    messages::time(probe.deadline),
                    last.told
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(probe.interval);
        }
    }

    /// Where the app listens instead, where nothing does where it was asked.
    async fn why_refused(
        &self,
        name: &InstanceName,
        upstream: SocketAddrV4,
        last: &NotReady,
    ) -> Option<String> {
        if !last.is_refused {
            return None;
        }
        let there = self.there().await.ok()?;
        let instance = there.iter().find(|instance| instance.name == *name)?;
        let listens = self.engine.listens_at(&instance.id, *upstream.ip()).await?;
        let why = messages::nothing_answers(&self.app.name, upstream, &listens);
        Some(format!(": {why}"))
    }

    async fn ask(&self, name: &InstanceName, upstream: SocketAddrV4) -> Result<String, NotReady> {
        let Probe { kind, timeout, .. } = self.probe(name);
        let timeout = *timeout;
        match kind {
            ProbeKind::Http { path, status, host } => {
                let host = host.as_deref().unwrap_or(&self.host);
                self.ask_http(upstream, path, *status, host, timeout).await
            }
            ProbeKind::Tcp => self.ask_tcp(upstream, timeout).await,
            ProbeKind::Healthcheck => Ok(self.ask_healthcheck(name).await?),
        }
    }

    async fn ask_http(
        &self,
        upstream: SocketAddrV4,
        path: &str,
        (from, to): (u16, u16),
        host: &str,
        timeout: Duration,
    ) -> Result<String, NotReady> {
        let request = self
            .client
            .get(format!("http://{upstream}{path}"))
            .header("host", host)
            .timeout(timeout);
        let mut answer = request
            .send()
            .await
            .map_err(|error| no_answer(&error, upstream, path, timeout))?;
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
        Err(told.into())
    }

    async fn ask_tcp(&self, upstream: SocketAddrV4, timeout: Duration) -> Result<String, NotReady> {
        match tokio::time::timeout(timeout, local_ports::connect(upstream.into())).await {
            Ok(Ok(_)) => Ok(format!("port {} accepts", upstream.port())),
            Ok(Err(error)) => Err(NotReady {
                is_refused: error.kind() == ErrorKind::ConnectionRefused,
                told: format!("{upstream}: {error}"),
            }),
            Err(_) => Err(format!("{upstream}: no answer within {}", messages::time(timeout)).into()),
        }
    }

    async fn ask_healthcheck(&self, name: &InstanceName) -> Result<String, String> {
        let state = self.state(name).await.map_err(|error| error.to_string())?;
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

/// What an instance that is not ready answered.
struct NotReady {
    /// In the words of whoever waits for it.
    told: String,
    /// Whether nothing listened where it was asked.
    is_refused: bool,
}

impl From<String> for NotReady {
    fn from(told: String) -> Self {
        let is_refused = false;
        Self { told, is_refused }
    }
}

/// Why there was no answer.
fn no_answer(error: &reqwest::Error, upstream: SocketAddrV4, path: &str, timeout: Duration) -> NotReady {
    if error.is_timeout() {
        return format!("none on {path} within {}", messages::time(timeout)).into();
    }
    let mut source: &dyn std::error::Error = error;
    let mut is_refused = false;
    while let Some(deeper) = source.source() {
        source = deeper;
        let system = deeper.downcast_ref::<io::Error>();
        is_refused |= system.is_some_and(|system| system.kind() == ErrorKind::ConnectionRefused);
    }
    NotReady {
        told: format!("none on {path} at {upstream}: {source}"),
        is_refused,
    }
}
