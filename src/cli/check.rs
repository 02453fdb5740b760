//! `deployer check`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::failure::{Code, Failure, Result};
use super::output;
use crate::compose::{self, Build, Dockerfile, Faults, KeyRead, Model, Placed, Tree};
use crate::model::printable;

/// The Dockerfile of an app without a compose file, as the configuration has it by default.
const DOCKERFILE: &str = "Dockerfile";

/// What stands behind everything that is told of a compose app.
const NOT_YET: &str = "This version of deployer does not release compose apps yet.";

/// Look at a tree as a push would
///
/// It says what a push of the tree would build and run, or what is wrong with it, line by line. It needs no server, no
/// configuration and no Docker. Files that git ignores are looked at, too, though no push has them: in CI there are none.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tree's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Say of each key of a compose file what becomes of it
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result {
        let tree = Tree::open(&self.path);
        let tree = tree.with_context(|| format!("cannot open the folder {}", self.path.display()))?;
        let has_dockerfile = tree.has_file(DOCKERFILE);
        match compose::find(&tree) {
            Some(file) if !has_dockerfile => self.compose(&tree, file),
            beside if has_dockerfile => self.dockerfile(&tree, beside),
            _ => Err(Failure::new(
                Code::Failed,
                format!(
                    "there is no {DOCKERFILE} and no compose file in {}",
                    self.path.display()
                ),
            )),
        }
    }

    fn compose(&self, tree: &Tree, file: &str) -> Result {
        let read = compose::read(tree, file, &BTreeMap::new());
        let placed = read.and_then(|model| {
            let placed = compose::place(tree, &model)?;
            Ok((model, placed))
        });
        match placed {
            Ok((model, placed)) if self.json => output::json("check", &shape(&model, &placed, self.explain)),
            Ok((model, placed)) => output::lines(told(&model, &placed, self.explain)),
            Err(faults) => self.refused(file, &faults),
        }
    }

    fn refused(&self, file: &str, faults: &Faults) -> Result {
        if self.json {
            output::json(
                "check",
                &json!({ "kind": "compose", "file": file, "faults": faults.0 }),
            )?;
        } else {
            let all = faults.to_string();
            let lines = all.lines().map(|line| printable(line).into_owned());
            output::lines(lines.chain([NOT_YET.to_owned()]))?;
        }
        Err(Failure::new(
            Code::Failed,
            format!("a push of this tree would be refused: {file} has faults"),
        ))
    }

    fn dockerfile(&self, tree: &Tree, compose_file: Option<&str>) -> Result {
        let build = Build {
            context: ".".to_owned(),
            dockerfile: DOCKERFILE.to_owned(),
            ..Build::default()
        };
        let Dockerfile { from, ports } = Dockerfile::read(tree, &build);
        let Some(from) = from else {
            return Err(Failure::new(
                Code::Failed,
                format!("{DOCKERFILE} has no FROM line"),
            ));
        };
        if self.json {
            let shape = json!({ "kind": "dockerfile", "file": DOCKERFILE, "from": from, "ports": ports });
            return output::json("check", &shape);
        }
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let port = match &ports[..] {
            [] => "no EXPOSE: set `container_port` for the app".to_owned(),
            [port] => format!("port {port}"),
            ports => format!("the ports {}: set `container_port` for the app", ports.join(", ")),
        };
        let beside =
            compose_file.map(|file| format!("note: {file} is not read, since there is a {DOCKERFILE}"));
        let line = format!("a push would build {DOCKERFILE}, which is from {from}, with {port}");
        output::lines([printable(&line).into_owned()].into_iter().chain(beside))
    }
}

/// All that is told of a compose app.
fn told(model: &Model, placed: &BTreeMap<String, Placed>, explain: bool) -> Vec<String> {
    let mut rows = vec![
        ["SERVICE", "SCOPE", "FROM", "PUBLIC AT", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, placed) in placed {
        let public = match (placed.public, placed.port) {
            (false, _) => "-".to_owned(),
            (true, Some(port)) => format!("port {port}"),
            (true, None) => "its EXPOSE".to_owned(),
        };
        let why = placed.why.clone();
        rows.push(vec![
            name.clone(),
            placed.scope.to_string(),
            from(model, name),
            public,
            why,
        ]);
    }
    let mut lines = output::table(&rows);
    lines.extend(model.left_out.iter().map(|(name, profiles)| {
        let profiles: Vec<&str> = profiles.iter().map(String::as_str).collect();
        format!(
            "note: service {name} is left out, by its profiles: {}",
            profiles.join(", ")
        )
    }));
    lines.extend(model.notes.iter().map(|note| format!("note: {note}")));
    if explain {
        lines.extend(model.keys.iter().map(|read| explained(model, read)));
    } else {
        lines.extend(model.ignored().into_iter().map(|(read, services)| {
            let services: Vec<&str> = services.into_iter().collect();
            let of = if services.is_empty() {
                String::new()
            } else {
                format!(" of {}", services.join(", "))
            };
            format!(
                "note: line {}: {}{of} is ignored: {}",
                read.at.line,
                last(&read.key),
                read.becomes
            )
        }));
    }
    lines.push(NOT_YET.to_owned());
    lines.iter().map(|line| printable(line).into_owned()).collect()
}

/// A key and what becomes of it, for `--explain`.
fn explained(model: &Model, read: &KeyRead) -> String {
    let fate = if read.taken { "taken" } else { "ignored" };
    let key = match &read.service {
        Some(service) => read.key.replacen('*', service, 1),
        None => read.key.clone(),
    };
    format!(
        "{}:{}:{}: {key} is {fate}: {}",
        model.file, read.at.line, read.at.column, read.becomes
    )
}

/// `services.*.build.tags` as `build.tags`.
fn last(key: &str) -> &str {
    key.strip_prefix("services.*.").unwrap_or(key)
}

/// What a service comes from.
fn from(model: &Model, name: &str) -> String {
    let service = model.services.get(name);
    let build = service.and_then(|service| service.build.as_ref());
    match (build, service.and_then(|service| service.image.as_ref())) {
        (Some(build), _) => format!("builds {}", build.context),
        (None, Some(image)) => image.clone(),
        (None, None) => "-".to_owned(),
    }
}

/// The same as JSON.
fn shape(model: &Model, placed: &BTreeMap<String, Placed>, explain: bool) -> Value {
    let services = placed.iter().map(|(name, placed)| {
        let service = &model.services[name];
        json!({
            "service": name,
            "scope": placed.scope,
            "why": placed.why,
            "image": service.image,
            "build": service.build.as_ref().map(|build| &build.context),
            "public": placed.public,
            "port": placed.port,
        })
    });
    let ignored = model.ignored().into_iter().map(|(read, services)| {
        json!({ "key": read.key, "line": read.at.line, "column": read.at.column, "services": services, "why": read.becomes })
    });
    json!({
        "kind": "compose",
        "file": model.file,
        "services": services.collect::<Vec<_>>(),
        "left_out": model.left_out,
        "ignored": ignored.collect::<Vec<_>>(),
        "notes": model.notes,
        "keys": explain.then_some(&model.keys),
        "faults": [],
    })
}
