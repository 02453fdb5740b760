//! The command that frees the disk of a registry.

use std::path::Path;
use std::time::Duration;

use crate::ground::child::{self, Ended};
use crate::model::escaped;

/// How long a collection may take: it reads every manifest.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Bytes of each output that are read, and characters of its last line that are repeated.
const OUTPUT_MAX: u64 = 1 << 20;
const LINE_MAX: usize = 300;
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the command `words` to its end, at most 30 minutes. `lock` stays open in it, whatever becomes of this process.
///
/// # Errors
/// When it cannot be started, does not end in time, or fails: a sentence, with its own last line.
pub async fn collect(words: &[String], lock: std::fs::File) -> Result<(), String> {
    let told = words.join(" ");
    let [program, arguments @ ..] = words else {
        return Err("the command `registry.collect` is empty".to_owned());
    };
    let mut command = child::command(Path::new(program), PATH);
    command.args(arguments).stdin(lock).kill_on_drop(false);
    let ended = child::run(&mut command, DEADLINE, OUTPUT_MAX).await;
    match ended.map_err(|error| format!("`{told}` cannot be run: {error}"))? {
        Some(Ended { code: Some(0), .. }) => Ok(()),
        Some(Ended { mut out, err, .. }) => {
            out.extend(err);
            let mut lines = out.trim_ascii().split(|byte| *byte == b'\n');
            let last = escaped(lines.next_back().unwrap_or_default(), LINE_MAX);
            let last = if last.is_empty() { "it said nothing" } else { &last };
            Err(format!("`{told}` failed: {last}"))
        }
        None => Err(format!(
            "`{told}` did not end within {} min",
            DEADLINE.as_secs() / 60
        )),
    }
}
