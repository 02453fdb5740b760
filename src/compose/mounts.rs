//! `volumes` and `tmpfs` of a service. Nothing of the host is mounted.

use super::amounts::bytes;
use super::fault::{At, shown};
use super::keys::MOUNT;
use super::model::{Mount, Source};
use super::node::{Map, Node, Value};
use super::reading::Reading;
use super::tree::Found;

const VOLUME: &str = "write a named volume, as data:/path, with data: in volumes at the top";

impl Reading<'_> {
    /// The mounts of a service, which is built or not.
    pub(super) fn mounts(&mut self, service: &Map, is_built: bool) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::new();
        for node in self.items(service, "volumes") {
            let mount = match &node.value {
                Value::Map(_) => self.long_mount(node, is_built),
                _ => self.short_mount(node, is_built),
            };
            // As in Compose the last one at a target holds.
            if let Some(mount) = mount {
                mounts.retain(|other| other.target != mount.target);
                mounts.push(mount);
            }
        }
        for (at, text) in self.texts(service, "tmpfs") {
            mounts.extend(self.tmpfs(at, &text));
        }
        mounts
    }

    fn tmpfs(&mut self, at: At, text: &str) -> Option<Mount> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let option = |name: &str| options.split(',').find_map(|option| option.strip_prefix(name));
        let source = Source::Memory {
            size: option("size=").and_then(bytes),
            mode: option("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok()),
        };
        let target = self.target(at, target)?;
        let read_only = options.split(',').any(|option| option == "ro");
        Some(Mount {
            at,
            source,
            target,
            read_only,
        })
    }

    fn short_mount(&mut self, node: &Node, is_built: bool) -> Option<Mount> {
        let text = self.text(node, "volumes")?;
        let at = node.at;
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => ("", target, ""),
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options),
            _ => {
                self.fault(at, format!("volumes: {} is no mount", shown(&text)), Some(VOLUME));
                return None;
            }
        };
        let read_only = options.split(',').any(|option| option == "ro");
        let nocopy = options.split(',').any(|option| option == "nocopy");
        let target = self.target(at, target)?;
        let source = match source {
            "" => Source::Anonymous,
            name if is_volume_name(name) => Source::Volume {
                name: name.to_owned(),
                subpath: None,
                nocopy,
            },
            path => self.bound(at, path, read_only, is_built)?,
        };
        Some(Mount {
            at,
            source,
            target,
            read_only,
        })
    }

    fn long_mount(&mut self, node: &Node, is_built: bool) -> Option<Mount> {
        let (at, map) = (node.at, self.fields(node, &MOUNT)?);
        let kind = self.text_of(map, "type").unwrap_or_else(|| "volume".to_owned());
        let given = self.text_of(map, "source");
        let read_only = self.flag(map, "read_only").unwrap_or(false);
        let target = self.text_of(map, "target").unwrap_or_default();
        let target = self.target(at, &target)?;
        let options = |kind: &str| map.get(kind).and_then(Node::map).cloned().unwrap_or_default();
        let source = match (kind.as_str(), given) {
            ("volume", None) => Source::Anonymous,
            ("volume", Some(name)) => Source::Volume {
                name,
                subpath: self.text_of(&options("volume"), "subpath"),
                nocopy: self.flag(&options("volume"), "nocopy").unwrap_or(false),
            },
            ("bind", Some(path)) => self.bound(at, &path, read_only, is_built)?,
            ("tmpfs", _) => Source::Memory {
                size: self.parsed(&options("tmpfs"), "size", "a size", bytes),
                mode: self.parsed(&options("tmpfs"), "mode", "a mode", |mode| mode.parse().ok()),
            },
            ("bind", None) => {
                self.fault(
                    at,
                    "volumes: the bind has no source",
                    Some("write source: and a path of the tree"),
                );
                return None;
            }
            (kind, _) => {
                let what = format!("volumes: the type {} is refused", shown(kind));
                self.fault(at, what, Some("write volume, bind or tmpfs"));
                return None;
            }
        };
        Some(Mount {
            at,
            source,
            target,
            read_only,
        })
    }

    fn target(&mut self, at: At, target: &str) -> Option<String> {
        let trimmed = target.trim_end_matches('/');
        let good = target.starts_with('/') && !target.split('/').any(|part| part == "..");
        if !good || trimmed.is_empty() {
            let what = format!("volumes: {} is no path in the container", shown(target));
            self.fault(at, what, Some("write a path that begins with /"));
            return None;
        }
        Some(trimmed.to_owned())
    }

    /// What becomes of a mount of the path `path`.
    fn bound(&mut self, at: At, path: &str, read_only: bool, is_built: bool) -> Option<Source> {
        if path.contains("docker.sock") {
            let what = format!("volumes: {} is refused: who has it has the host", shown(path));
            self.fault(at, what, Some("take it out"));
            return None;
        }
        let Some(inside) = self.inside(path) else {
            let what = format!("volumes: {} is refused: it is a path of the host", shown(path));
            self.fault(at, what, Some(&format!("{VOLUME}; or a path inside the tree")));
            return None;
        };
        match (self.tree.find(&inside), is_built) {
            (Found::File, _) => Some(Source::Copied(inside)),
            (Found::Folder, true) => Some(self.dropped(
                inside,
                "a folder over what was built is for a developer's machine",
            )),
            (Found::Nothing, true) => Some(self.dropped(inside, "it is not in the tree")),
            (Found::Folder, false) if read_only => Some(Source::Copied(inside)),
            (Found::Folder, false) => {
                let what = format!("volumes: the folder {} would be written to", shown(path));
                let instead = format!(
                    "write :ro behind it, then it is copied in; for what is kept, {}",
                    &VOLUME[6..]
                );
                self.fault(at, what, Some(&instead));
                None
            }
            (Found::Nothing, false) => {
                self.fault(
                    at,
                    format!("volumes: {} is not in the tree", shown(path)),
                    Some(VOLUME),
                );
                None
            }
            (Found::Other, _) => {
                self.fault(
                    at,
                    format!("volumes: {} is no file and no folder", shown(path)),
                    None,
                );
                None
            }
            (Found::Outside, _) => {
                self.fault(
                    at,
                    format!("volumes: {} is a link that leads out of the tree", shown(path)),
                    None,
                );
                None
            }
        }
    }

    fn dropped(&mut self, path: String, why: &str) -> Source {
        let service = self.service.clone().unwrap_or_default();
        self.notes.push(format!(
            "service {service}: {} is not mounted: {why}",
            shown(&path)
        ));
        Source::Dropped(path)
    }
}

/// Whether it is a volume's name; a path with a space, as Compose's old form had it, is none.
pub(super) fn is_volume_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
