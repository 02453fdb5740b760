//! The hooks of a slot's repository: which there are, and their texts.

use std::path::Path;

use super::error::GitError;
use crate::model::{Gate, SlotName};

/// A hook that deployer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before anything of a push is in its place; the only one before the branches move that git tells the push
    /// options.
    PreReceive,
    /// Once for each reference, before it moves; may decline it.
    Update,
    /// Once for all references that have moved.
    PostReceive,
}

impl Hook {
    /// Every hook, in the order in which they are written: `update` does nothing without `pre-receive` before it.
    pub const ALL: [Hook; 3] = [Hook::PostReceive, Hook::PreReceive, Hook::Update];

    /// Its file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Hook::PreReceive => "pre-receive",
            Hook::Update => "update",
            Hook::PostReceive => "post-receive",
        }
    }

    /// Whether a repository with `gate` has it.
    pub fn is_of(self, gate: Gate) -> bool {
        match self {
            Hook::PreReceive | Hook::PostReceive => true,
            Hook::Update => gate != Gate::None,
        }
    }

    /// Its text: it execs `deployer` with `config` for `slot`, all three quoted for sh.
    ///
    /// # Errors
    /// When a path is not valid UTF-8.
    pub fn script(self, deployer: &Path, config: &Path, slot: &SlotName) -> Result<String, GitError> {
        let text = |path: &Path| {
            let text = path.to_str().map(quoted);
            text.ok_or_else(|| GitError::NotUtf8 {
                path: path.to_owned(),
            })
        };
        let mut script = String::new();
        // The places stand between two `@`: every second part is one, and nothing that was filled in is read again.
        for (index, part) in self.template().split('@').enumerate() {
            match part {
                _ if index % 2 == 0 => script.push_str(part),
                "DEPLOYER" => script.push_str(&text(deployer)?),
                "CONFIG" => script.push_str(&text(config)?),
                "SLOT" => script.push_str(&quoted(&slot.to_string())),
                other => unreachable!("hooks/{} has the unknown place {other}", self.file_name()),
            }
        }
        Ok(script)
    }

    /// Its text with its three places to fill in.
    fn template(self) -> &'static str {
        match self {
            Hook::PreReceive => include_str!("../../hooks/pre-receive"),
            Hook::Update => include_str!("../../hooks/update"),
            Hook::PostReceive => include_str!("../../hooks/post-receive"),
        }
    }
}

/// `text` as one word of sh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_one_exec_line_however_odd_the_paths() {
        let slot: SlotName = "shop/green".parse().unwrap();
        let (deployer, config) = (Path::new("/usr/bin/deployer"), Path::new("/etc/@SLOT@ it's $(x)"));
        let told = r"exec '/usr/bin/deployer' --config '/etc/@SLOT@ it'\''s $(x)'";
        for hook in Hook::ALL {
            let script = hook.script(deployer, config, &slot).unwrap();
            let arguments = match hook {
                Hook::Update => r#" "$1" "$2" "$3""#,
                Hook::PreReceive | Hook::PostReceive => "",
            };
            assert_eq!(
                script.lines().last().unwrap(),
                format!("{told} hook {} --slot 'shop/green'{arguments}", hook.file_name())
            );
            assert!(script.starts_with("#!/bin/sh\n") && script.ends_with('\n'));
        }
        let invalid: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"/\xff");
        assert!(matches!(
            Hook::Update.script(Path::new(invalid), Path::new("/c"), &slot),
            Err(GitError::NotUtf8 { .. })
        ));
    }
}
