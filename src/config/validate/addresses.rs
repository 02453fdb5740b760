//! The checks of addresses and names on networks: each takes what is written and gives what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::{DOCKER_HUB, Network, Subnet, is_docker_hub};

use super::super::refusal::{Refusal, quoted};
use super::words::{Checked, engine_name, host_path, parse_port, refusal, refuse};

pub(super) fn engine_host(value: &str) -> Checked<String> {
    match value.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => host_path(path).map(|_| value.to_owned()),
        _ => {
            Err(refusal(value, "the address of an Engine on this host")
                .hint("write unix:///var/run/docker.sock"))
        }
    }
}

pub(super) fn network(value: &str) -> Checked<String> {
    if matches!(value, "bridge" | "host" | "none" | "default") {
        return Err(
            Refusal::new(format!("the network {} is the Engine's own", quoted(value)))
                .hint("choose a name that no other network has"),
        );
    }
    if engine_name(value) {
        Ok(value.to_owned())
    } else {
        refuse(
            value,
            "a network's name: 2 to 128 characters of a-z, A-Z, 0-9, _, . and -, the first a letter or digit",
        )
    }
}

pub(super) fn subnet(value: &str) -> Checked<Subnet> {
    let subnet: Subnet = value.parse()?;
    let first = subnet.first();
    if first.octets()[0] == 0 || subnet.contains(Ipv4Addr::LOCALHOST) || first >= Ipv4Addr::new(224, 0, 0, 0)
    {
        return Err(refusal(value, "a subnet that containers can have")
            .hint("take a private one, like 10.213.0.0/16"));
    }
    Ok(subnet)
}

/// `HOST[:PORT]` as it stands before the first `/` of an image's name.
pub(super) fn registry_address(value: &str) -> Checked<String> {
    if value.contains('@') {
        // What stands before the @ may be a password.
        return Err(Refusal::new("credentials do not belong into the address")
            .hint("use username and password_file")
            .of_secret());
    }
    let wanted = "a registry's address";
    let hint = "write HOST or HOST:PORT, without a scheme and without a path, as in 127.0.0.1:5000";
    let Some((host, port)) = host_and_port(value) else {
        return Err(refusal(value, wanted).hint(hint));
    };
    let named = is_dns_name(&host.to_ascii_lowercase()) || is_bracketed_ipv6(host);
    if !named || port.is_some_and(|port| parse_port(port).is_none()) {
        return Err(refusal(value, wanted).hint(hint));
    }
    // Without a dot, a port or the name localhost, an image's name has no registry in it: SHOP/APP is a user's image.
    if !host.contains(['.', ':']) && port.is_none() && host != "localhost" {
        return Err(refusal(value, "an address that an image's name can begin with")
            .hint("add the port, as in registry:5000"));
    }
    Ok(value.to_owned())
}

/// A registry to log in at for base images; the Docker Hub under the one name [`DOCKER_HUB`].
pub(super) fn login_address(value: &str) -> Checked<String> {
    match is_docker_hub(value) {
        true => Ok(DOCKER_HUB.to_owned()),
        false => registry_address(value),
    }
}

pub(super) fn registry_prefix(value: &str) -> Checked<String> {
    let part = |part: &str| {
        let inner = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        inner
            && part.starts_with(ends)
            && part.ends_with(ends)
            && !part.contains("..")
            && !part.contains("___")
    };
    if value.is_empty() || (value.len() <= 128 && value.split('/').all(part)) {
        return Ok(value.to_owned());
    }
    Err(refusal(value, "the beginning of an image's name")
        .hint("write lower-case parts with / between them, as in team/apps"))
}

pub(super) fn listen(value: &str) -> Checked<SocketAddr> {
    let hint = "write ADDRESS:PORT, as in 0.0.0.0:80, or [::]:80 for IPv6 as well";
    match value.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) => Err(Refusal::new(format!("{} has port 0, which is no port", quoted(value))).hint(hint)),
        Err(_) => Err(refusal(value, "an address and a port").hint(hint)),
    }
}

pub(super) fn loopback_listen(value: &str) -> Checked<SocketAddr> {
    let address = listen(value)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(
        Refusal::new(format!("{} can be reached from other hosts", quoted(value)))
            .hint("metrics are served on a loopback address only, as in 127.0.0.1:9180"),
    )
}

pub(super) fn ip(value: &str) -> Checked<IpAddr> {
    let wrong = |_| {
        refusal(value, "an IP address")
            .hint("write 127.0.0.1, or 0.0.0.0 for every address; the ports are the apps'")
    };
    value.parse().map_err(wrong)
}

/// The addresses of other proxies.
pub(super) fn peers(value: &str) -> Checked<Network> {
    let hint = match value.rsplit_once('/') {
        Some((first, _)) if first.parse::<IpAddr>().is_ok() => {
            "the address before the / is the block's first one, as in 10.0.0.0/8, ::1 or 2001:db8::/32"
        }
        _ => "write addresses, not names and without ports, as in 10.0.0.0/8, ::1 or 2001:db8::/32",
    };
    let wrong = |_| refusal(value, "an IP address or a block of them").hint(hint);
    value.parse().map_err(wrong)
}

/// A host that requests name: a DNS name or an IPv4 address, lower case, without a port; or a wildcard, `*.` and a name of
/// two labels at least.
pub(super) fn host(value: &str) -> Checked<String> {
    let refused = |hint: &str| Err(refusal(value, "a host").hint(hint));
    if let Some(domain) = value.strip_prefix("*.")
        && domain.contains('.')
        && domain.contains(|char: char| char.is_ascii_lowercase())
        && value.len() <= 253
        && is_dns_name(domain)
    {
        return Ok(value.to_owned());
    }
    if value.contains('*') {
        return refused(
            "a wildcard stands for one label before a name of two at least, in lower case, as in *.shop.example; leave \
             hosts empty to take every host that no other app has",
        );
    }
    if value.contains("://") || value.contains('/') {
        return refused("write the name alone, as in shop.example.org");
    }
    if value.contains(':') {
        return refused("leave the port out: a host matches on every port");
    }
    if value.contains(char::is_uppercase) {
        return refused("write it in lower case: hosts are compared without regard to case");
    }
    if is_dns_name(value) {
        Ok(value.to_owned())
    } else {
        refused("write a name like shop.example.org; names in other scripts in their xn-- form")
    }
}

/// What a Host header holds: a host, with a port where one is wanted.
pub(super) fn host_header(value: &str) -> Checked<String> {
    let parts = host_and_port(value);
    let named = |host: &str| is_dns_name(&host.to_ascii_lowercase()) || is_bracketed_ipv6(host);
    match parts {
        Some((host, port)) if named(host) && port.is_none_or(|port| parse_port(port).is_some()) => {
            Ok(value.to_owned())
        }
        _ => Err(refusal(value, "a host for the Host header")
            .hint("write shop.example.org or shop.example.org:8080")),
    }
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT` in its two parts.
fn host_and_port(value: &str) -> Option<(&str, Option<&str>)> {
    let host_end = if value.starts_with('[') {
        value.find(']')? + 1
    } else {
        value.find(':').unwrap_or(value.len())
    };
    let (host, rest) = value.split_at(host_end);
    match rest {
        "" => Some((host, None)),
        _ => rest.strip_prefix(':').map(|port| (host, Some(port))),
    }
}

/// A DNS name or an IPv4 address, lower case.
fn is_dns_name(value: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    value.len() <= 253 && value.split('.').all(label)
}

fn is_bracketed_ipv6(value: &str) -> bool {
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}
