//! Which app, slot or release a person means.

use std::fmt;
use std::str::FromStr;

use super::failure::{Code, Failure, Result};
use crate::model::{AppName, ParseError, ReleaseId, Slot, SlotName};
use crate::release::Context;
use crate::store::{Record, ReleaseDir};

/// A release as a person writes it: `42`, or `shop/42`.
#[derive(Debug, Clone)]
pub(super) struct ReleaseName {
    app: Option<AppName>,
    id: ReleaseId,
}

impl FromStr for ReleaseName {
    type Err = ParseError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseError> {
        let (app, id) = match text.split_once('/') {
            Some((app, id)) => (Some(app.parse()?), id),
            None => (None, text),
        };
        Ok(Self { app, id: id.parse()? })
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.app {
            Some(app) => write!(to, "{app}/{}", self.id),
            None => self.id.fmt(to),
        }
    }
}

/// The app that was named, or the only one.
pub(super) fn app(context: &Context, named: Option<&AppName>) -> Result<AppName> {
    let apps = visible(context)?;
    match (named, apps.as_slice()) {
        (Some(named), _) if apps.contains(named) => Ok(named.clone()),
        (Some(named), []) => Err(not_found(format!(
            "there is no app {named}, nor any other: `deployer app create {named}` makes it"
        ))),
        (Some(named), _) => Err(not_found(format!(
            "there is no app {named}; there is {}",
            list(&apps)
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(not_found(
            "there is no app yet: `deployer app create NAME` makes one".to_owned(),
        )),
        (None, _) => Err(Failure::new(
            Code::Usage,
            format!(
                "there is more than one app ({}): name it, as in {}/green",
                list(&apps),
                apps[0]
            ),
        )),
    }
}

/// The apps to work on: the one that was named, or all.
pub(super) fn apps(context: &Context, named: Option<&AppName>) -> Result<Vec<AppName>> {
    match named {
        Some(named) => Ok(vec![app(context, Some(named))?]),
        None => visible(context),
    }
}

/// The apps that the caller can see. A key cannot see other apps.
fn visible(context: &Context) -> Result<Vec<AppName>> {
    let mut apps = context.store.apps()?;
    apps.retain(|app| context.scope.has_app(app));
    Ok(apps)
}

/// The slot that was named, with its app.
pub(super) fn slot(context: &Context, named: &SlotName) -> Result<(AppName, Slot)> {
    Ok((app(context, named.app.as_ref())?, named.slot))
}

/// The release that was named.
pub(super) fn release(context: &Context, named: &ReleaseName) -> Result<ReleaseDir> {
    Ok(release_with_record(context, named)?.0)
}

/// The release that was named, with its record.
pub(super) fn release_with_record(context: &Context, named: &ReleaseName) -> Result<(ReleaseDir, Record)> {
    let app = app(context, named.app.as_ref())?;
    let release = context.store.release(&app, named.id);
    match release.record()? {
        Some(record) => Ok((release, record)),
        None => Err(not_found(format!(
            "{app} has no release {}: `deployer releases {app}` shows those there are",
            named.id
        ))),
    }
}

fn not_found(message: String) -> Failure {
    Failure::new(Code::NotFound, message)
}

fn list(apps: &[AppName]) -> String {
    apps.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ")
}
