//! Another process of this machine, known again later: a number alone is given again.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// How many parents up git's own process is looked for: a wrapper or two may stand between it and its hook.
const PARENTS_MAX: usize = 4;

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pid: u32,
    /// Clock ticks from the boot to its start.
    began: u64,
}

/// What the kernel tells of a process that matters here.
struct Stat {
    state: u8,
    parent: u32,
    began: u64,
}

impl Process {
    /// The `git receive-pack` that has called this hook: the nearest of its parents that is one, else its parent.
    /// `None` where the kernel tells nothing of it.
    pub fn receive_pack() -> Option<Self> {
        let parent = stat("self")?.parent;
        let mut pid = parent;
        for _ in 0..PARENTS_MAX {
            if is_receive_pack(pid) {
                return Self::of(pid);
            }
            pid = stat(&pid.to_string())?.parent;
        }
        Self::of(parent)
    }

    /// Whether it has not ended.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn of(pid: u32) -> Option<Self> {
        let stat = stat(&pid.to_string())?;
        let has_ended = matches!(stat.state, b'Z' | b'X');
        (!has_ended).then_some(Self {
            pid,
            began: stat.began,
        })
    }
}

/// `PID-TICKS`
impl fmt::Display for Process {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.pid, self.began)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, began) = text.split_once('-').ok_or(())?;
        Ok(Self {
            pid: pid.parse().map_err(drop)?,
            began: began.parse().map_err(drop)?,
        })
    }
}

fn is_receive_pack(pid: u32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = arguments.split(|&byte| byte == 0);
    // `git-receive-pack PATH`, by whatever path, or `git … receive-pack PATH`.
    let program = words.next().unwrap_or_default();
    program.ends_with(b"git-receive-pack")
        || program.ends_with(b"git") && words.any(|word| word == b"receive-pack")
}

/// `/proc/PID/stat`: proc_pid_stat(5) has the fields' numbers.
fn stat(pid: &str) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let after = text.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&text[after + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?);
    Some(Stat {
        state: *state.as_bytes().first()?,
        parent: parent.parse().ok()?,
        began: fields.nth(22 - 5)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_has_ended() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert_eq!(process.to_string().parse(), Ok(process));
        let other = Process {
            began: process.began + 1,
            ..process
        };
        assert!(!other.is_alive(), "the number alone is not enough");

        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert_eq!("12".parse::<Process>(), Err(()));
    }
}
