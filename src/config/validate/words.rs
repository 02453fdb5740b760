//! The checks of single values: each takes what is written and gives what it means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::model::{Builder, INSTANCES_MAX, ProbeKind, Promote, Restart, Standby, Subnet, Volume};

use super::super::fault::quoted;
use super::super::units::{Refusal, size};

/// The least memory that the Engine gives a container.
const MEMORY_MIN: u64 = 6 << 20;

/// The least share of a CPU that the kernel's scheduler gives: 1 ms of every 100 ms.
const CPUS_MIN: f64 = 0.01;
const CPUS_MAX: f64 = 1024.0;

type Checked<T> = Result<T, Refusal>;

fn refuse<T>(value: &str, wanted: &str) -> Checked<T> {
    Err(refusal(value, wanted))
}

fn refusal(value: &str, wanted: &str) -> Refusal {
    Refusal::new(format!("{} is not {wanted}", quoted(value)))
}

/// One of a few words.
fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Checked<T> {
    let known = choices.iter().find(|(word, _)| *word == value);
    known.map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        refusal(value, &format!("one of {}", words.join(", ")))
    })
}

pub(super) fn builder(value: &str) -> Checked<Builder> {
    let choices = [
        ("auto", Builder::Auto),
        ("buildkit", Builder::Buildkit),
        ("classic", Builder::Classic),
    ];
    one_of(value, &choices)
}

pub(super) fn restart(value: &str) -> Checked<Restart> {
    let choices = [
        ("always", Restart::Always),
        ("on-failure", Restart::OnFailure),
        ("no", Restart::No),
    ];
    one_of(value, &choices)
}

pub(super) fn promote(value: &str) -> Checked<Promote> {
    one_of(value, &[("auto", Promote::Auto), ("manual", Promote::Manual)])
}

pub(super) fn standby(value: &str) -> Checked<Standby> {
    one_of(value, &[("warm", Standby::Warm), ("stopped", Standby::Stopped)])
}

/// Refuses every word, since those that are kinds of probes were told apart before.
pub(super) fn no_probe_kind(value: &str) -> Checked<ProbeKind> {
    refuse(value, "one of http, tcp, healthcheck")
}

/// A text that is not empty and has no control characters.
pub(super) fn one_line(value: &str) -> Checked<String> {
    if value.is_empty() || value.contains(char::is_control) {
        return refuse(value, "a text of one line that is not empty");
    }
    Ok(value.to_owned())
}

pub(super) fn engine_host(value: &str) -> Checked<String> {
    match value.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') && one_line(path).is_ok() => Ok(value.to_owned()),
        _ => {
            Err(refusal(value, "the address of an Engine on this host")
                .hint("write unix:///var/run/docker.sock"))
        }
    }
}

/// A network's or a volume's name, as the Engine takes it.
fn engine_name(value: &str) -> bool {
    let first = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    first && rest && (2..=63).contains(&value.len())
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
            "a network's name: 2 to 63 characters of a-z, A-Z, 0-9, _, . and -, the first a letter or digit",
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
        return Err(
            Refusal::new("credentials do not belong into the address").hint("use username and password_file")
        );
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

/// Whether the registry is on this machine, so that nobody else can hear a password sent in the clear.
pub(super) fn is_loopback_registry(address: &str) -> bool {
    let Some((host, _)) = host_and_port(address) else {
        return false;
    };
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
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

/// A branch's name by git's rules.
pub(super) fn branch(value: &str) -> Checked<String> {
    if value.starts_with("refs/") {
        return Err(refusal(value, "a branch's name alone").hint("write main, not refs/heads/main"));
    }
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = value.split('/').all(part)
        && !value.starts_with('-')
        && !value.ends_with('.')
        && value != "@"
        && value.len() <= 200
        && !["..", "@{"].iter().any(|bad| value.contains(bad))
        && !value.contains(|c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if good {
        Ok(value.to_owned())
    } else {
        refuse(value, "a branch's name")
    }
}

/// A host that requests name: a DNS name or an IPv4 address, lower case, without a port.
pub(super) fn host(value: &str) -> Checked<String> {
    let refused = |hint: &str| Err(refusal(value, "a host").hint(hint));
    if value.contains('*') {
        return refused(
            "there are no wildcards: name each host, or leave hosts empty to take every other one",
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
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

pub(super) fn port(value: &i64) -> Checked<u16> {
    in_range(*value, 1, u16::MAX.into(), "a port")
}

pub(super) fn instances(value: &i64) -> Checked<u8> {
    in_range(*value, 1, INSTANCES_MAX.into(), "a number of instances")
}

pub(super) fn pids(value: &i64) -> Checked<u32> {
    in_range(*value, 1, i32::MAX.into(), "a limit of processes")
}

pub(super) fn count(value: &i64) -> Checked<u32> {
    in_range(*value, 0, i32::MAX.into(), "a number of releases")
}

fn in_range<T: TryFrom<i64>>(value: i64, from: i64, to: i64, what: &str) -> Checked<T> {
    let fits = (from..=to)
        .contains(&value)
        .then(|| T::try_from(value).ok())
        .flatten();
    fits.ok_or_else(|| Refusal::new(format!("{value} is not {what}: it goes from {from} to {to}")))
}

pub(super) fn cpus(value: &f64) -> Checked<f64> {
    if (CPUS_MIN..=CPUS_MAX).contains(value) {
        return Ok(*value);
    }
    Err(Refusal::new(format!(
        "{value} is not a number of CPUs: it goes from {CPUS_MIN} to {CPUS_MAX}"
    )))
}

pub(super) fn memory(value: &str) -> Checked<u64> {
    let bytes = size(value)?;
    if bytes < MEMORY_MIN {
        let less = format!(
            "{} is less memory than the Engine gives a container: 6m",
            quoted(value)
        );
        return Err(Refusal::new(less).hint("a number alone is bytes: 512 megabytes are 512m"));
    }
    Ok(bytes)
}

/// A path within the tree that was pushed: relative, and never upwards.
pub(super) fn path_in_tree(value: &str) -> Checked<String> {
    one_line(value)?;
    let hint = "write it relative to the top of the tree, as in services/shop";
    if value.starts_with('/') {
        return Err(Refusal::new(format!("{} is absolute", quoted(value))).hint(hint));
    }
    if value.split('/').any(|part| part == "..") {
        return Err(Refusal::new(format!("{} leads upwards", quoted(value))).hint(hint));
    }
    Ok(value.to_owned())
}

/// The name of a variable. Dots and dashes are taken, as some programs have them in theirs.
pub(super) fn variable(value: &str) -> Checked<String> {
    let good =
        !value.is_empty() && value.len() <= 256 && value.bytes().all(|b| b.is_ascii_graphic() && b != b'=');
    if good {
        Ok(value.to_owned())
    } else {
        refuse(
            value,
            "a variable's name: letters, digits and signs but =, no spaces",
        )
    }
}

/// `source:target[:ro]`
pub(super) fn volume(value: &str) -> Checked<Volume> {
    one_line(value)?;
    let form = || {
        refusal(value, "a volume").hint("write data:/var/lib/app, /srv/files:/files or /srv/files:/files:ro")
    };
    let parts: Vec<&str> = value.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err(form()),
    };
    let upwards = |path: &str| path.split('/').any(|part| part == "..");
    if !target.starts_with('/') || target.trim_matches('/').is_empty() || upwards(target) {
        return Err(Refusal::new(format!(
            "the target {} is not an absolute path below /",
            quoted(target)
        ))
        .hint("the target is the path in the container, as in data:/var/lib/app"));
    }
    if !(engine_name(source) || source.starts_with('/') && !upwards(source)) {
        return Err(
            Refusal::new(format!("the source {} is neither a volume's name nor an absolute path", quoted(source)))
                .hint("a path on the host begins with /; a name has at least two characters of a-z, A-Z, 0-9, _, . and -"),
        );
    }
    Ok(Volume {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
    })
}

/// Path and query of a request.
pub(super) fn probe_path(value: &str) -> Checked<String> {
    let good = value.starts_with('/') && value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if good {
        Ok(value.to_owned())
    } else {
        Err(refusal(value, "a path to ask for").hint("begin it with /, as in /healthz; write a space as %20"))
    }
}

/// A status, or two with `-` between: the range from one to the other, both included.
pub(super) fn status(value: &str) -> Checked<(u16, u16)> {
    let wrong =
        || refusal(value, "a status or a range of them").hint("write 200 or \"200-399\", from 200 to 599");
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    let code = |text: &str| parse_port(text).filter(|code| (200..=599).contains(code));
    match (code(from), code(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        _ => Err(wrong()),
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
