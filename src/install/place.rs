//! Where a server has the program.

use std::path::{Path, PathBuf};

/// The file name of the login shell of deployer's user: a link to the program, which knows itself by it.
pub(super) const SHELL_NAME: &str = "deployer-shell";
/// Where a Debian package has the program.
pub(super) const PACKAGED: &str = "/usr/bin/deployer";
/// Where the program is copied to otherwise.
pub(super) const LOCAL: &str = "/usr/local/bin/deployer";

/// Where a server has the program and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The program.
    pub program: PathBuf,
    /// The link to it that is a login shell.
    pub shell: PathBuf,
    /// Whether program, units, manual and completions are a Debian package's.
    pub is_packaged: bool,
}

impl Place {
    /// The place for a program that runs from `program`: that of a package, else /usr/local.
    pub fn of(program: &Path) -> Place {
        let is_packaged = program == Path::new(PACKAGED);
        let (program, lib) = match is_packaged {
            true => (PACKAGED, "/usr/lib/deployer"),
            false => (LOCAL, "/usr/local/lib/deployer"),
        };
        Place {
            program: program.into(),
            shell: Path::new(lib).join(SHELL_NAME),
            is_packaged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_a_package_stays_where_it_is() {
        let packaged = Place::of(Path::new("/usr/bin/deployer"));
        assert!(packaged.is_packaged);
        assert_eq!(packaged.shell, Path::new("/usr/lib/deployer/deployer-shell"));
        let built = Place::of(Path::new("/root/deployer/target/release/deployer"));
        assert_eq!(built.program, Path::new("/usr/local/bin/deployer"));
        assert_eq!(built, Place::of(Path::new("/usr/local/bin/deployer")));
    }
}
