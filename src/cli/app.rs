//! `deployer app`

use clap::Subcommand;

use super::failure::{Code, Failure, Result};
use super::runtime::block_on;
use super::{audited, output, select};
use crate::model::{AppName, Slot};
use crate::release::{Context, apps};

/// Create, list, show and remove apps
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an app: its two repositories with their hooks, its slot ports and its addresses
    ///
    /// Its settings are the section [app.NAME] of the configuration, or the defaults where it has none. The remotes are
    /// printed. Run again, it writes the hooks anew, as after the program has moved, and puts a changed `gate` or
    /// `max_push` in force.
    Create {
        /// a-z, 0-9 and -, beginning with a letter
        name: AppName,
    },
    /// List the apps
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an app: its address, hosts, branch, slot ports, remotes and image repository
    Show {
        /// The app
        name: Option<AppName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop an app and remove its containers, history, worktrees and repositories; the registry keeps its images
    Remove {
        /// The app
        name: AppName,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        match self {
            Command::Create { name } => create(context, &name),
            Command::List { json } => list(context, json),
            Command::Show { name, json } => show(context, name.as_ref(), json),
            Command::Remove { name, yes } => remove(context, &name, yes),
        }
    }
}

fn create(context: &Context, name: &AppName) -> Result {
    let is_new = audited::audited(context, |subject| {
        subject.is_about(name, None);
        Ok(apps::create(context, name)?)
    })?;
    let app = context.app(name)?;
    let said = match is_new {
        true => format!(
            "{name} is created: green on port {}, blue on port {}",
            app.ports().green,
            app.ports().blue
        ),
        false => format!("{name} was there already; its hooks are written anew"),
    };
    let remotes = Slot::BOTH.map(|slot| {
        format!(
            "  git remote add {slot} {}",
            context.store.repository(name, slot).display()
        )
    });
    let push = format!("  git push green {}", app.settings.branch);
    let over_ssh =
        "Add the remotes in your clone (from elsewhere, put USER@HOST: before the path), then push:"
            .to_owned();
    output::lines([said, over_ssh].into_iter().chain(remotes).chain([push]))
}

fn list(context: &Context, json: bool) -> Result {
    let names = select::apps(context, None)?;
    if json {
        return output::json("apps", &names);
    }
    if names.is_empty() {
        return output::lines(["no app yet: `deployer app create NAME` makes one".to_owned()]);
    }
    output::lines(names.iter().map(AppName::to_string))
}

fn show(context: &Context, name: Option<&AppName>, json: bool) -> Result {
    let name = select::app(context, name)?;
    let shown = apps::show(context, &name)?;
    if json {
        return output::json("app", &shown);
    }
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let hosts = if shown.hosts.is_empty() {
        "every host that is no other app's".to_owned()
    } else {
        shown.hosts.join(", ")
    };
    let mut rows = vec![
        row("app", name.to_string()),
        row("address", shown.address),
        row("hosts", hosts),
        row("branch", shown.branch),
        row("gate", shown.gate.to_owned()),
        row(
            "green",
            format!(
                "port {}, remote {}",
                shown.ports.green,
                shown.remotes[&Slot::Green].display()
            ),
        ),
        row(
            "blue",
            format!(
                "port {}, remote {}",
                shown.ports.blue,
                shown.remotes[&Slot::Blue].display()
            ),
        ),
    ];
    for (service, of) in shown.services {
        let named = |what: &str| match service.is_web() {
            true => what.to_owned(),
            false => format!("{what} of {service}"),
        };
        rows.push(row(&named("instances"), of.instances.to_string()));
        rows.push(row(&named("images"), of.repository));
    }
    output::lines(output::table(&rows))
}

fn remove(context: &Context, name: &AppName, yes: bool) -> Result {
    let name = select::app(context, Some(name))?;
    if !yes {
        let what = format!(
            "this stops {name} and removes its containers, history, worktrees and repositories for good: add --yes to do it"
        );
        return Err(Failure::new(Code::Usage, what));
    }
    let told = audited::audited(context, |subject| {
        subject.is_about(&name, None);
        Ok(block_on(apps::remove(context, &name))??)
    })?;
    output::lines(told)
}
