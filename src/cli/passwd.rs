//! The machine's own file of users, read without the C library.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The fields of a line `NAME:x:UID:GID:COMMENT:HOME:SHELL` that are asked for.
#[derive(Debug, Clone, Copy)]
enum Field {
    Name = 0,
    Home = 5,
}

/// The name of the user with the number `uid`. `None` where the file has none.
pub(super) fn name(uid: u32) -> Option<Vec<u8>> {
    find(&users(), uid, Field::Name).map(<[u8]>::to_vec)
}

/// The home of the user with the number `uid`, absolute. `None` where the file has none.
pub(super) fn home(uid: u32) -> Option<PathBuf> {
    let users = users();
    let home = find(&users, uid, Field::Home)?;
    let home = PathBuf::from(OsString::from_vec(home.to_vec()));
    home.is_absolute().then_some(home)
}

fn users() -> Vec<u8> {
    fs::read("/etc/passwd").unwrap_or_default()
}

fn find(users: &[u8], uid: u32, field: Field) -> Option<&[u8]> {
    let uid = uid.to_string();
    users.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let named = fields.first().is_some_and(|name| !name.is_empty());
        let is_asked = fields.get(2) == Some(&uid.as_bytes());
        fields.get(field as usize).copied().filter(|_| named && is_asked)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_alone() {
        let users = b"root:x:0:0::/root:/bin/sh\n\nbroken\n:x:7:\ndeploy:x:1000:1000::/home/deploy:/bin/sh\n";
        assert_eq!(find(users, 0, Field::Name), Some(&b"root"[..]));
        assert_eq!(find(users, 1000, Field::Name), Some(&b"deploy"[..]));
        assert_eq!(find(users, 1000, Field::Home), Some(&b"/home/deploy"[..]));
        for unknown in [1, 7, 100] {
            assert_eq!(find(users, unknown, Field::Name), None, "{unknown}");
        }
    }
}
