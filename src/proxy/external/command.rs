//! The program's own commands: bounded in time and in what is read of them.

use std::path::Path;
use std::time::Duration;

use crate::ground::child::{self, Ended};
use crate::model::escaped;

/// How long a check or a reload may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The most bytes that are read of each output.
const OUTPUT_MAX: u64 = 64 << 10;

/// The most characters of each of its lines, and the most lines, that are repeated.
const LINE_MAX: usize = 600;
const LINES_MAX: usize = 6;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `words` as the default for whoever runs this: through sudo where it is not root.
pub(super) fn as_root(words: &[&str]) -> Vec<String> {
    let prefix: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["sudo", "-n"],
    };
    prefix
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect()
}

/// Whether there is a program called `name` where programs are looked for.
pub(super) fn is_there(name: &str) -> bool {
    PATH.split(':')
        .any(|folder| Path::new(folder).join(name).is_file())
}

/// Runs `words` to the end.
///
/// # Errors
/// When it cannot be started, does not end in time, or fails: a sentence, with the program's own last lines.
pub(super) async fn run(words: &[String]) -> Result<(), String> {
    let told = words.join(" ");
    let cannot = |error: std::io::Error| format!("`{told}` cannot be run: {error}");
    let [program, arguments @ ..] = words else {
        return Err(cannot(std::io::ErrorKind::InvalidInput.into()));
    };
    let mut command = child::command(program, PATH);
    command.args(arguments);
    command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
    let ended = child::run(&mut command, DEADLINE, OUTPUT_MAX)
        .await
        .map_err(cannot)?;
    let Some(Ended { code, mut out, err }) = ended else {
        return Err(format!("`{told}` did not end within {} s", DEADLINE.as_secs()));
    };
    out.extend(err);
    match code {
        Some(0) => Ok(()),
        _ => Err(format!("`{told}` failed: {}", last_lines(&out))),
    }
}

/// The last lines that it said, fit to be repeated; without what Caddy logs beside its error.
fn last_lines(said: &[u8]) -> String {
    let lines: Vec<&[u8]> = said
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"{\"level\":"))
        .collect();
    let last = &lines[lines.len().saturating_sub(LINES_MAX)..];
    let last: Vec<String> = last.iter().map(|line| escaped(line, LINE_MAX)).collect();
    match last.as_slice() {
        [] => "it said nothing".to_owned(),
        last => last.join("; "),
    }
}
