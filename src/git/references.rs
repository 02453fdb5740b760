//! The names of references: which of them a push may not bring, and which make another one ambiguous.

use super::push::whole_name;

/// The references that a push, and a fetch, may not name: of several rules that fit, the last one holds.
pub(super) const HIDDEN: [(&str, &[&str]); 2] = [
    (
        "receive.hideRefs",
        &[
            // Only branches and tags are pushed.
            "refs",
            "!refs/heads",
            "!refs/tags",
            // `refs/heads/main` would then name two branches, and every push of one of them would fail at the pusher's.
            "refs/heads/refs",
            "refs/tags/refs",
            // In a clone it would be the same name as the clone's own HEAD.
            "refs/heads/HEAD",
            "refs/tags/HEAD",
        ],
    ),
    ("uploadpack.hideRefs", &["refs/deployer"]),
];

/// Why git does not take a reference, whatever a hook says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// It is neither a branch nor a tag.
    Kind,
    /// A branch or tag of that name makes other names ambiguous.
    Name,
}

/// Whether a slot's repository hides `reference` from pushes.
pub fn not_taken(reference: &str) -> Option<NotTaken> {
    let is_under = |folder: &str| {
        let rest = reference.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (_, rules) = HIDDEN[0];
    let rule = rules
        .iter()
        .rfind(|rule| is_under(rule.strip_prefix('!').unwrap_or(rule)))?;
    match *rule {
        "refs" => Some(NotTaken::Kind),
        rule if rule.starts_with('!') => None,
        _ => Some(NotTaken::Name),
    }
}

/// Whether git can no longer tell `reference` from `branch` where a pusher writes the branch in short: `HEAD:main`.
pub fn is_mistaken_for(reference: &str, branch: &str) -> bool {
    let whole = whole_name(branch);
    let short = whole.strip_prefix("refs/heads/").unwrap_or(&whole);
    let name = reference.strip_prefix("refs/tags/").or_else(|| {
        reference
            .strip_prefix("refs/heads/heads/")
            .filter(|name| *name == short)
    });
    name.is_some_and(|name| name == short || name.strip_prefix("heads/") == Some(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_branches_and_tags_with_unambiguous_names_are_taken() {
        for (reference, told) in [
            ("refs/heads/main", None),
            ("refs/heads/refsman", None),
            ("refs/heads/HEADS/x", None),
            ("refs/tags/v1", None),
            ("refs/notes/commits", Some(NotTaken::Kind)),
            ("refs/deployer/releases/1", Some(NotTaken::Kind)),
            ("refs/headsman/x", Some(NotTaken::Kind)),
            ("refs/x", Some(NotTaken::Kind)),
            ("refs/heads/refs/heads/main", Some(NotTaken::Name)),
            ("refs/heads/refs/x", Some(NotTaken::Name)),
            ("refs/tags/refs/heads/main", Some(NotTaken::Name)),
            ("refs/heads/HEAD", Some(NotTaken::Name)),
            ("refs/tags/HEAD", Some(NotTaken::Name)),
        ] {
            assert_eq!(not_taken(reference), told, "{reference}");
        }
    }

    #[test]
    fn a_tag_of_the_branchs_name_is_mistaken_for_it() {
        for branch in ["main", "refs/heads/main"] {
            for reference in ["refs/tags/main", "refs/tags/heads/main", "refs/heads/heads/main"] {
                assert!(is_mistaken_for(reference, branch), "{reference}");
            }
            for reference in [
                "refs/heads/main",
                "refs/tags/v1",
                "refs/heads/x",
                "refs/heads/heads/x",
            ] {
                assert!(!is_mistaken_for(reference, branch), "{reference}");
            }
        }
    }
}
