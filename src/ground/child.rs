//! Programs that are run to their end: with a deadline, a bound on what is kept of their output, and an environment of
//! a few names. Any edge may run one.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    /// The beginning of its standard output.
    pub(crate) out: Vec<u8>,
    /// The beginning of its standard error.
    pub(crate) err: Vec<u8>,
}

/// A program that speaks English, reads nothing, and finds others by `path` alone.
pub(crate) fn command(program: impl AsRef<OsStr>, path: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs `command` to its end, and keeps the first `most` bytes of each of its outputs. None when it has not ended after
/// `deadline`: then it is killed.
///
/// # Errors
/// When it cannot be started or read.
pub(crate) async fn run(
    command: &mut tokio::process::Command,
    deadline: Duration,
    most: u64,
) -> io::Result<Option<Ended>> {
    let mut child = command.spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (out, err) = tokio::try_join!(beginning(out, most), beginning(err, most))?;
        let code = child.wait().await?.code();
        Ok(Ended { code, out, err })
    };
    tokio::time::timeout(deadline, ended).await.ok().transpose()
}

async fn beginning(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut bytes).await?;
        // The rest is read and dropped, so that the program does not wait for a reader.
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/usr/bin:/bin";

    async fn shell(script: &str, deadline: Duration) -> Option<Ended> {
        let mut shell = command("sh", PATH);
        shell.args(["-c", script]);
        run(&mut shell, deadline, 10).await.expect("a shell")
    }

    #[tokio::test]
    async fn a_program_that_says_more_than_is_kept_ends_all_the_same() {
        let said = shell(
            "head -c 1000000 /dev/zero; echo no >&2; exit 3",
            Duration::from_secs(60),
        )
        .await;
        let said = said.expect("it ends");
        assert_eq!(
            (said.code, said.out.len(), said.err),
            (Some(3), 10, b"no\n".to_vec())
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_given_up() {
        assert!(
            shell("exec sleep 600", Duration::from_millis(100))
                .await
                .is_none()
        );
    }
}
