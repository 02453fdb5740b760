//! `ports` and `expose`: what a service listens at. Nothing is published.

use super::fault::{At, shown};
use super::keys::PORT;
use super::model::Port;
use super::node::{Map, Node, Value};
use super::reading::Reading;

/// Ports of one service: beyond that a range was not meant.
const PORTS_MAX: usize = 100;
const FORM: &str = "a port, as 8080, \"80:8080\" or \"127.0.0.1:80:8080/tcp\"";

impl Reading<'_> {
    pub(super) fn ports(&mut self, service: &Map) -> Vec<Port> {
        let mut ports = Vec::new();
        for node in self.items(service, "ports") {
            match &node.value {
                Value::Map(_) => ports.extend(self.long_port(node)),
                _ => self.short_port(node, "ports", &mut ports),
            }
        }
        ports
    }

    pub(super) fn expose(&mut self, service: &Map) -> Vec<Port> {
        let mut ports = Vec::new();
        for node in self.items(service, "expose") {
            self.short_port(node, "expose", &mut ports);
        }
        ports
    }

    /// The items of a list; anything else but null is a fault.
    pub(super) fn items<'n>(&mut self, map: &'n Map, key: &str) -> &'n [Node] {
        match map.get(key).map(|node| (node, &node.value)) {
            Some((_, Value::List(list))) => list,
            None | Some((_, Value::Null)) => &[],
            Some((node, _)) => {
                self.wants(node, key, "a list");
                &[]
            }
        }
    }

    fn short_port(&mut self, node: &Node, key: &str, ports: &mut Vec<Port>) {
        let Some(text) = self.text(node, key) else { return };
        let Some(read) = short(&text) else {
            let what = format!("{key}: {} is no port", shown(&text));
            return self.fault(node.at, what, Some(&format!("write {FORM}")));
        };
        if ports.len() + read.len() > PORTS_MAX {
            return self.too_many(node.at, key);
        }
        ports.extend(
            read.into_iter()
                .filter(|port| !ports.contains(port))
                .collect::<Vec<_>>(),
        );
    }

    fn too_many(&mut self, at: At, key: &str) {
        let what = format!("{key}: more than {PORTS_MAX} ports");
        self.fault(at, what, Some("write the port that is asked; none is published"));
    }

    fn long_port(&mut self, node: &Node) -> Option<Port> {
        let map = self.fields(node, &PORT)?;
        if map.get("target").is_none() {
            self.fault(
                node.at,
                "ports: it has no target",
                Some("write target: and the port in the container"),
            );
        }
        let target = self.parsed(map, "target", "a port", port)?;
        let protocol = self.parsed(map, "protocol", "tcp or udp", protocol);
        Some(Port {
            target,
            protocol: protocol.unwrap_or_else(|| "tcp".to_owned()),
            published: self.text_of(map, "published").filter(|text| !text.is_empty()),
            host_ip: self.text_of(map, "host_ip").filter(|text| !text.is_empty()),
        })
    }
}

/// The ports of `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`, in which both may be ranges of the same length.
fn short(text: &str) -> Option<Vec<Port>> {
    let (ports, said) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(said)?;
    let (before, target) = ports
        .rsplit_once(':')
        .map_or((None, ports), |(before, target)| (Some(before), target));
    let (host_ip, published) = match before.map(|before| before.rsplit_once(':')) {
        Some(Some((ip, published))) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), published),
        Some(None) => (None, before.unwrap_or_default()),
        None => (None, ""),
    };
    let targets = range(target)?;
    let published_range = if published.is_empty() {
        None
    } else {
        Some(range(published)?)
    };
    let count = targets.1 - targets.0;
    if usize::from(count) >= PORTS_MAX * 10 {
        return None;
    }
    let same = published_range.is_none_or(|(from, to)| to - from == count);
    if !same && count > 0 {
        return None;
    }
    let port = |offset: u16| Port {
        target: targets.0 + offset,
        protocol: protocol.clone(),
        published: published_range.map(|(from, _)| match same {
            true => (from + offset).to_string(),
            false => published.to_owned(),
        }),
        host_ip: host_ip.filter(|ip| !ip.is_empty()).map(str::to_owned),
    };
    Some((0..=count).map(port).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (port(from)?, port(to)?);
    (from <= to).then_some((from, to))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn protocol(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "tcp" | "udp" | "sctp").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ports_are_read_in_every_form() {
        let told = |text: &str| {
            let ports = short(text)?;
            let one = |port: &Port| {
                let published = port.published.as_deref().unwrap_or("-");
                format!(
                    "{}:{published}:{}/{}",
                    port.host_ip.as_deref().unwrap_or("-"),
                    port.target,
                    port.protocol
                )
            };
            Some(ports.iter().map(one).collect::<Vec<_>>().join(" "))
        };
        for (text, wanted) in [
            ("80", "-:-:80/tcp"),
            ("8080:80/UDP", "-:8080:80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:-:80/tcp"),
            ("[::1]:8080:80", "::1:8080:80/tcp"),
            ("3000-3001:4000-4001", "-:3000:4000/tcp -:3001:4001/tcp"),
            ("3000-3005:80", "-:3000-3005:80/tcp"),
        ] {
            assert_eq!(told(text).as_deref(), Some(wanted), "{text}");
        }
        for bad in [
            "",
            "x",
            "0",
            "65536",
            "80:",
            "2-1",
            "1-3:1-2",
            "80/foo",
            "1-65535:1-65535",
        ] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }
}
