//! The checks of single values: each takes what is written and gives what it means.

use crate::model::{
    Builder, Gate, INSTANCES_MAX, ProbeKind, Program, Promote, Restart, Standby, Volume, hidden, hidden_told,
};

use super::super::refusal::{Refusal, quoted};
use super::super::units::size;

/// The least memory that the Engine gives a container.
const MEMORY_MIN: u64 = 6 << 20;

/// The least share of a CPU that the kernel's scheduler gives: 1 ms of every 100 ms.
const CPUS_MIN: f64 = 0.01;
const CPUS_MAX: f64 = 1024.0;

pub(super) type Checked<T> = Result<T, Refusal>;

pub(super) fn refuse<T>(value: &str, wanted: &str) -> Checked<T> {
    Err(refusal(value, wanted))
}

pub(super) fn refusal(value: &str, wanted: &str) -> Refusal {
    Refusal::new(format!("{} is not {wanted}{}", quoted(value), hidden_told(value)))
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

/// The program that serves the public port; none for the embedded proxy.
pub(super) fn proxy_kind(value: &str) -> Checked<Option<Program>> {
    let mut choices = vec![("embedded", None)];
    choices.extend(Program::ALL.map(|program| (program.as_str(), Some(program))));
    one_of(value, &choices)
}

/// Whether it stands in front of the embedded proxy.
pub(super) fn proxy_mode(value: &str) -> Checked<bool> {
    one_of(value, &[("flip", false), ("front", true)])
}

pub(super) fn gate(value: &str) -> Checked<Gate> {
    let choices = [Gate::None, Gate::Check, Gate::Release];
    one_of(value, &choices.map(|gate| (gate.as_str(), gate)))
}

/// Refuses every word, since those that are kinds of probes were told apart before.
pub(super) fn no_probe_kind(value: &str) -> Checked<ProbeKind> {
    refuse(value, "one of http, tcp, healthcheck")
}

/// A name or a path: not empty, and without what nobody sees in it.
pub(super) fn one_line(value: &str) -> Checked<String> {
    if value.is_empty() || value.contains(char::is_control) {
        return refuse(value, "a text of one line that is not empty");
    }
    if hidden(value).is_some() {
        return refuse(value, "what it looks like");
    }
    Ok(value.to_owned())
}

/// A path on this host. A part that a shell, sshd or systemd would expand is refused: nothing expands it here.
pub(super) fn host_path(value: &str) -> Checked<String> {
    one_line(value)?;
    let Some(part) = would_be_expanded(value) else {
        return Ok(value.to_owned());
    };
    let home = std::env::var("HOME").ok().filter(|home| home.starts_with('/'));
    let rest = ["~", "$HOME", "${HOME}", "%h"].iter().find_map(|home| {
        value
            .strip_prefix(home)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let instead = match (home, rest) {
        (Some(home), Some(rest)) => format!(
            "as {} for the user who runs this",
            quoted(&format!("{home}{rest}"))
        ),
        _ => "as in \"/home/deploy/shop.env\"".to_owned(),
    };
    Err(Refusal::new(format!(
        "{} stays as it is in {}: paths are not expanded",
        quoted(part),
        quoted(value)
    ))
    .hint(format!("write the absolute path, {instead}")))
}

/// The first part of a path that a shell, sshd or systemd would expand: `~`, `~shop`, `$HOME`, `${HOME}`, `%h`.
fn would_be_expanded(path: &str) -> Option<&str> {
    let is_variable = |part: &str| {
        let named = part.split('$').skip(1);
        named
            .into_iter()
            .any(|name| name.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic()))
    };
    let is_token = |part: &str| matches!(part.as_bytes(), [b'%', c] if c.is_ascii_alphabetic());
    let mut parts = path.split('/');
    let first = path.split('/').next().filter(|first| first.starts_with('~'));
    first.or_else(|| parts.find(|part| is_variable(part) || is_token(part)))
}

/// A network's or a volume's name, as the Engine takes it.
pub(super) fn engine_name(value: &str) -> bool {
    let first = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    first && rest && (2..=128).contains(&value.len())
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
        && hidden(value).is_none()
        && !value.contains(|c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if good {
        Ok(value.to_owned())
    } else {
        refuse(value, "a branch's name")
    }
}

pub(super) fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

pub(super) fn port(value: &i64) -> Checked<u16> {
    in_range(*value, 1, u16::MAX.into(), "a port")
}

pub(super) fn instances(value: &i64) -> Checked<u8> {
    in_range(*value, 1, INSTANCES_MAX.into(), "a number of instances")
}

/// One process is the Engine's init, so that with a limit of 1 nothing else could run.
pub(super) fn pids(value: &i64) -> Checked<u32> {
    in_range(*value, 2, i32::MAX.into(), "a limit of processes")
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
    host_path(source)?;
    if !target.starts_with('/') || target.trim_matches('/').is_empty() || upwards(target) {
        return Err(Refusal::new(format!(
            "the target {} is not an absolute path below /",
            quoted(target)
        ))
        .hint("the target is the path in the container, as in data:/var/lib/app"));
    }
    if matches!(target.trim_end_matches('/'), "/proc" | "/dev") {
        return Err(
            Refusal::new(format!("the target {} is the kernel's own", quoted(target)))
                .hint("mount it at another path of the container"),
        );
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
