//! The command that frees the disk of a registry.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::ground::child::{self, Ended};
use crate::model::escaped;

/// How long a collection may take: it reads every manifest.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Bytes of the end of its output that are read, and characters of its last line that are repeated.
const OUTPUT_MAX: u64 = 64 << 10;
const LINE_MAX: usize = 300;
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The unit that `deployer install` makes for a registry on this host.
pub const COLLECT_UNIT: &str = "deployer-registry-collect.service";

/// The command that starts [`COLLECT_UNIT`], which sudo lets deployer's user give.
pub fn usual_command() -> Vec<String> {
    ["sudo", "-n", "systemctl", "start", COLLECT_UNIT]
        .map(str::to_owned)
        .to_vec()
}

/// Runs the command `words` to its end, at most 30 minutes. `lock` stays open in it, whatever becomes of this process.
///
/// # Errors
/// When it cannot be started, does not end in time, or fails: a sentence, with its own last line.
pub async fn collect(words: &[String], lock: File) -> Result<(), String> {
    let told = words.join(" ");
    let [program, arguments @ ..] = words else {
        return Err("the command `registry.collect` is empty".to_owned());
    };
    let cannot = |error: io::Error| format!("`{told}` cannot be run: {error}");
    // No pipe, which would end the command at its next word were this process killed: it has stopped the registry, and is to
    // start it again.
    let mut said = tempfile::tempfile().map_err(cannot)?;
    let mut command = child::command(Path::new(program), PATH);
    command.args(arguments).stdin(lock).kill_on_drop(false);
    command.stdout(said.try_clone().map_err(cannot)?);
    command.stderr(said.try_clone().map_err(cannot)?);
    let ended = child::run(&mut command, DEADLINE, OUTPUT_MAX).await;
    match ended.map_err(cannot)? {
        Some(Ended { code: Some(0), .. }) => Ok(()),
        Some(_) => {
            let end = end_of(&mut said).map_err(cannot)?;
            let mut lines = end.trim_ascii().split(|byte| *byte == b'\n');
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

/// The last bytes of what it said.
fn end_of(said: &mut File) -> io::Result<Vec<u8>> {
    let length = said.seek(SeekFrom::End(0))?;
    said.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_MAX)))?;
    let mut end = Vec::new();
    said.take(OUTPUT_MAX).read_to_end(&mut end)?;
    Ok(end)
}
