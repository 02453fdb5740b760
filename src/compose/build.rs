//! `build` of a service.

use super::fault::shown;
use super::keys::BUILD;
use super::model::Build;
use super::node::{Map, Node, Value};
use super::reading::Reading;
use super::tree::Found;

impl Reading<'_> {
    pub(super) fn build(&mut self, service: &Map) -> Option<Build> {
        let node = service.get("build").filter(|node| !node.is_null())?;
        let Value::Map(_) = node.value else {
            let context = self.text(node, "build")?;
            return self.of_context(node, &context, "Dockerfile");
        };
        let map = self.fields(node, &BUILD)?;
        let context = self.text_of(map, "context").unwrap_or_else(|| ".".to_owned());
        let dockerfile = self
            .text_of(map, "dockerfile")
            .unwrap_or_else(|| "Dockerfile".to_owned());
        let inline = self.text_of(map, "dockerfile_inline");
        if let (Some(_), Some(node)) = (&inline, map.get("dockerfile")) {
            self.fault(
                node.at,
                "build has dockerfile and dockerfile_inline",
                Some("write one of them"),
            );
        }
        let build = match inline {
            Some(_) => self.context(node, &context).map(|context| Build {
                context,
                ..Build::default()
            }),
            None => self.of_context(node, &context, &dockerfile),
        }?;
        let args = self.pairs(map, "args").into_iter().map(|(_, name, value)| {
            let value = value.or_else(|| self.variables.get(&name).map(str::to_owned));
            (name, value)
        });
        let args = args.collect();
        Some(Build {
            at: node.at,
            args,
            target: self.text_of(map, "target").filter(|target| !target.is_empty()),
            dockerfile_inline: inline,
            ..build
        })
    }

    fn of_context(&mut self, node: &Node, context: &str, dockerfile: &str) -> Option<Build> {
        let context = self.context(node, context)?;
        let inside = format!("{context}/{dockerfile}");
        match self.tree.find(&inside) {
            Found::File if !dockerfile.starts_with('/') => {}
            Found::Outside => {
                let what = format!(
                    "build: {} leads out of the tree, of which alone files are read",
                    shown(&inside)
                );
                self.fault(node.at, what, Some("write a file inside the context"));
            }
            _ => {
                let what = format!("build: there is no file {}", shown(&inside));
                self.fault(
                    node.at,
                    what,
                    Some("write dockerfile: and its path, relative to the context"),
                );
            }
        }
        Some(Build {
            at: node.at,
            context,
            dockerfile: dockerfile.to_owned(),
            ..Build::default()
        })
    }

    fn context(&mut self, node: &Node, context: &str) -> Option<String> {
        let is_remote =
            context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/");
        if is_remote {
            let what = format!(
                "build: the context {} is not in the tree; nothing is fetched",
                shown(context)
            );
            self.fault(
                node.at,
                what,
                Some("write a folder of the tree, or image: with what others have built"),
            );
            return None;
        }
        let inside = self.path(node.at, context, "build")?;
        match self.tree.find(&inside) {
            Found::Folder => Some(inside),
            Found::Outside => {
                let what = format!(
                    "build: {} leads out of the tree, of which alone files are read",
                    shown(context)
                );
                self.fault(node.at, what, Some("write a folder inside the tree"));
                None
            }
            _ => {
                let what = format!("build: there is no folder {}", shown(context));
                self.fault(node.at, what, Some("write context: and a folder of the tree"));
                None
            }
        }
    }
}
