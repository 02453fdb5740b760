//! Paths of the tree, as a compose file names them.

use super::fault::{At, shown};
use super::reading::Reading;

impl Reading<'_> {
    /// `path`, which is relative to the compose file's folder, relative to the tree and without `.` and `..`; a fault where
    /// it leads out by its own words.
    pub(super) fn path(&mut self, at: At, path: &str, key: &str) -> Option<String> {
        let inside = self.inside(path);
        if inside.is_none() {
            let what = format!(
                "{key}: {} leads out of the tree, of which alone files are read",
                shown(path)
            );
            self.fault(at, what, Some("write a path inside the tree"));
        }
        inside
    }

    /// The same without a fault.
    pub(super) fn inside(&self, path: &str) -> Option<String> {
        let folder = self.file.rsplit_once('/').map_or("", |(folder, _)| folder);
        if path.starts_with('/') || path.starts_with('~') || path.contains('\0') {
            return None;
        }
        normal(&format!("{folder}/{path}"))
    }
}

/// A relative path without `.` and `..`; `.` is the tree itself.
fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    match parts.is_empty() {
        true => Some(".".to_owned()),
        false => Some(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn a_path_is_normal_or_leads_out() {
        for (path, wanted) in [
            ("./a/../b//c/", Some("b/c")),
            ("Service 1", Some("Service 1")),
            ("a/..", Some(".")),
            ("a/../../b", None),
            ("..", None),
        ] {
            assert_eq!(normal(path).as_deref(), wanted, "{path}");
        }
    }
}
