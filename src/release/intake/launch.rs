//! A release gets its number, its record and its worker.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::ground::failpoint;
use crate::model::{Intent, ReleaseId, Slot, Source};
use crate::release::audit;
use crate::release::context::{App, Context};
use crate::store::{Gated, Meant, Moment, Numbers, Process, PushNote, Record, ReleaseDir};

/// A release that has no number yet.
pub(super) struct Draft {
    pub(super) slot: Slot,
    pub(super) source: Source,
    pub(super) intent: Intent,
    pub(super) redeploys: Option<ReleaseId>,
    pub(super) pull: bool,
    pub(super) meant: Option<Meant>,
    pub(super) gated: Option<Held>,
    /// What was asked, where the command's own words do not tell.
    pub(super) command: Option<String>,
}

impl Draft {
    pub(super) fn new(slot: Slot, source: Source, intent: Intent) -> Self {
        Self {
            slot,
            source,
            intent,
            redeploys: None,
            pull: false,
            meant: None,
            gated: None,
            command: None,
        }
    }
}

/// A push that is held until its release has ended.
pub(super) struct Held {
    pub(super) gated: Gated,
    pub(super) receiver: Process,
    pub(super) note: PushNote,
}

/// Tells the audit log, writes the record and starts the worker, which holds its lock from the first moment on.
pub(super) fn launch(context: &Context, app: &App, numbers: &Numbers, draft: Draft) -> Result<ReleaseDir> {
    let (release, record, lock) = context.store.new_release(numbers, |id| {
        let record = Record {
            id,
            slot: draft.slot,
            source: draft.source,
            intent: draft.intent,
            redeploys: draft.redeploys,
            pull: draft.pull,
            meant: draft.meant,
            gated: draft.gated.as_ref().map(|held| held.gated.clone()),
            by: Some(context.by.clone()),
            command: Some(draft.command.unwrap_or_else(|| context.command.clone())),
            received: Moment::now(),
        };
        if let Some(held) = draft.gated {
            // Before anybody can see the release end: the push's other hook would release it once more.
            let release = Some(id);
            let note = PushNote { release, ..held.note };
            context.store.note_push(&app.name, held.receiver, &note)?;
        }
        // Before the record, by which others see the release: one that cannot be told of never was.
        audit::begun(context, &app.name, &record)?;
        Ok(record)
    })?;
    let environment = ["PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let environment = environment
        .iter()
        .chain(failpoint::ENVIRONMENT)
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    // The program as it runs now, even if another one was installed in its place meanwhile.
    Command::new("/proc/self/exe")
        .arg("--config")
        .arg(&context.config)
        .args(["worker", app.name.as_str(), &record.id.to_string()])
        .env_clear()
        .envs(environment)
        .current_dir("/")
        // From its first moment neither a Ctrl-C nor a hang-up of the pusher's terminal reaches the worker.
        .process_group(0)
        .stdin(lock.into_stdio())
        .stdout(Stdio::null())
        .stderr(release.log_as_stdio()?)
        .spawn()
        .with_context(|| format!("the worker of release {} could not be started", record.id))?;
    failpoint::at("worker.spawned");
    Ok(release)
}
