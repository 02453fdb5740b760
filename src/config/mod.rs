//! The configuration: the server's `deployer.toml`, read, checked whole, and turned into the model.
//!
//! `find → read → parse → validate → Settings`: a file with a fault anywhere is refused as a whole, with every
//! fault at its line, and nothing that runs is touched by it.

mod defaults;
mod error;
mod fault;
mod file;
mod parse;
#[cfg(test)]
mod reference_tests;
mod refusal;
pub mod units;
mod validate;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::model::{NotText, Settings, text_of_file};

pub use defaults::DEFAULT_STATE;
pub use error::ConfigError;
pub use fault::Fault;
pub use refusal::Refusal;

/// Where the file is when neither `--config` nor `DEPLOYER_CONFIG` names one.
pub const DEFAULT_PATH: &str = "/etc/deployer/deployer.toml";

/// The most bytes that a configuration may have.
pub const SIZE_MAX: u64 = 1 << 20;

/// The file to read: `flag` (`--config`), else `DEPLOYER_CONFIG` where it is set and not empty, else
/// [`DEFAULT_PATH`]. The file need not exist.
pub fn find(flag: Option<&Path>) -> PathBuf {
    choose(flag, std::env::var_os("DEPLOYER_CONFIG"))
}

fn choose(flag: Option<&Path>, environment: Option<OsString>) -> PathBuf {
    let named = environment.filter(|value| !value.is_empty());
    flag.map(Path::to_path_buf)
        .or_else(|| named.map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_PATH))
}

/// The settings in the file at `path`, every default filled in. Relative paths in the file start at the file's
/// own folder.
///
/// # Errors
/// When the file is missing, cannot be read, or is wrong anywhere: see [`ConfigError`].
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    of_text(path, &read(path)?)
}

/// The settings in `text`, which stands in the file at `path`.
pub(crate) fn of_text(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|source| error::reading(path, source))?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse::file(text)
        .and_then(|file| validate::settings(folder, &file))
        .map_err(|findings| ConfigError::wrong(path, text, findings))
}

/// The file's text, at most [`SIZE_MAX`] bytes of it.
fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| error::reading(path, source);
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(failed(io::Error::other(format!(
            "it is larger than {SIZE_MAX} bytes"
        ))));
    }
    match text_of_file(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(not_text(path, &bytes, error)),
    }
}

/// The error for a file that is no text, at its first byte that is none.
fn not_text(path: &Path, bytes: &[u8], error: NotText) -> ConfigError {
    let good = str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let (at, message) = match error {
        NotText::Utf16 => (0, format!("the file cannot be read: {error}")),
        NotText::NotUtf8 { .. } => (good, "the file is not UTF-8 here".to_owned()),
    };
    let finding = fault::Finding {
        span: at..at + 1,
        refusal: Refusal::new(message),
    };
    ConfigError::wrong(path, &String::from_utf8_lossy(bytes), vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_default() {
        let flag = Path::new("/a.toml");
        assert_eq!(choose(Some(flag), Some("/b.toml".into())), flag);
        assert_eq!(choose(None, Some("/b.toml".into())), Path::new("/b.toml"));
        assert_eq!(choose(None, Some("".into())), Path::new(DEFAULT_PATH));
        assert_eq!(choose(None, None), Path::new(DEFAULT_PATH));
    }
}
