//! The machine's own file of users, read without the C library.

use std::fs;

/// The name of the user with the number `uid`. `None` where the file has none.
pub(super) fn name(uid: u32) -> Option<Vec<u8>> {
    let users = fs::read("/etc/passwd").unwrap_or_default();
    find(&users, uid).map(<[u8]>::to_vec)
}

/// The name beside the number `uid` in a text like /etc/passwd: `NAME:x:UID:…` lines.
fn find(users: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    users.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == uid.as_bytes()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_alone() {
        let users = b"root:x:0:0::/root:/bin/sh\n\nbroken\n:x:7:\ndeploy:x:1000:1000::/home/deploy:/bin/sh\n";
        assert_eq!(find(users, 0), Some(&b"root"[..]));
        assert_eq!(find(users, 1000), Some(&b"deploy"[..]));
        for unknown in [1, 7, 100] {
            assert_eq!(find(users, unknown), None, "{unknown}");
        }
    }
}
