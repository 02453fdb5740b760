//! A request's target in its parts (RFC 9112, section 3.2).

use std::borrow::Cow;

use http::uri::Authority;

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// The host with its port, where the target names it.
    pub(super) authority: Option<&'a str>,
    /// What goes on: path and query, or `*`.
    pub(super) path: Cow<'a, str>,
}

impl<'a> Target<'a> {
    /// Reads the `target` of a request with this `method`; none where it is not one. Beside what a URI may have, browsers and
    /// curl send `"<>^`{|}` and backslashes as they are, and curl whatever is beyond ASCII: that goes on as it came.
    pub(super) fn read(method: &str, target: &'a str) -> Option<Self> {
        let may_be = |char: char| char.is_ascii_graphic() || !char.is_ascii() && !char.is_control();
        if !target.chars().all(may_be) {
            return None;
        }
        let whole = target.split('#').next().unwrap_or_default();
        if whole.starts_with('/') || whole == "*" && method == "OPTIONS" {
            return Some(Self {
                authority: None,
                path: whole.into(),
            });
        }
        let (scheme, rest) = whole.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        (is_scheme(scheme) && authority.parse::<Authority>().is_ok()).then(|| Self {
            authority: Some(authority),
            path: match path {
                // RFC 9112, section 3.2.4.
                "" if method == "OPTIONS" => "*".into(),
                "" => "/".into(),
                path if path.starts_with('?') => format!("/{path}").into(),
                path => path.into(),
            },
        })
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.len() <= 64
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}
