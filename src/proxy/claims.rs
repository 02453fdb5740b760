//! Claims: the fields of a request by which somebody says who the client is and what it has asked for.
//!
//! Servers and frameworks believe them, so they go on only where a proxy that the operator trusts has written them. What is
//! removed from everybody else is this list and every name that begins with `X-Forwarded`, `X-SSL-Client` or `SSL-Client`.

/// The names that begin a claim, whatever follows. A name is that of a claim where nothing, or a sign, does.
pub(super) const PREFIXES: [&str; 3] = ["ssl-client", "x-forwarded", "x-ssl-client"];

/// The names of claims beside [`PREFIXES`] and `Forwarded`, shorter ones first.
pub(super) const CLAIMS: [&str; 55] = [
    "x-host",
    "x-scheme",
    "client-ip",
    "x-arr-ssl",
    "x-real-ip",
    "cf-visitor",
    "x-ssl-cert",
    "client-cert",
    "remote-addr",
    "remote-user",
    "x-client-dn",
    "x-client-ip",
    "x-remote-ip",
    "wl-proxy-ssl",
    "x-url-scheme",
    "cdn-client-ip",
    "fly-client-ip",
    "x-client-cert",
    "x-forward-for",
    "x-remote-addr",
    "x-remote-user",
    "x-rewrite-url",
    "true-client-ip",
    "x-original-uri",
    "x-original-url",
    "x-proxyuser-ip",
    "x-webauth-user",
    "front-end-https",
    "proxy-client-ip",
    "tls-client-cert",
    "x-client-verify",
    "x-forward-proto",
    "x-original-host",
    "cf-connecting-ip",
    "do-connecting-ip",
    "eo-connecting-ip",
    "fastly-client-ip",
    "x-arr-clientcert",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-original-proto",
    "x-originating-ip",
    "x-true-client-ip",
    "client-cert-chain",
    "cf-connecting-ipv6",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-auth-request-user",
    "x-cluster-client-ip",
    "x-vercel-forwarded-for",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "cloudfront-viewer-address",
    "x-nf-client-connection-ip",
    "cloudfront-forwarded-proto",
];

/// Those that begin so and are in use, for programs that remove fields by their whole names.
const PREFIXED: [&str; 27] = [
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-for",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-preferred-username",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-tls-client-cert",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-forwarded-user",
    "ssl-client-cert",
    "ssl-client-s-dn",
    "ssl-client-verify",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-ssl-client-verify",
];

/// What every request is given anew.
const OURS: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Names beside those of claims that mean something, and that nothing but a dash in it sets apart from others.
const MEANT: [&str; 9] = [
    "content-length",
    "content-type",
    "deployer-check",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "x-request-id",
];

/// The names of claims, but for what every request is given anew.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let all = ["forwarded", "proxy"].into_iter().chain(CLAIMS).chain(PREFIXED);
    all.filter(|name| !OURS.contains(name))
}

/// A regular expression for the names of claims, in lower case.
pub(super) fn pattern() -> String {
    let whole: Vec<String> = ["forwarded", "proxy"]
        .into_iter()
        .chain(CLAIMS)
        .map(|name| name.replace('-', "[^a-z0-9]"))
        .collect();
    let prefixes = PREFIXES.map(|prefix| prefix.replace('-', "[^a-z0-9]"));
    format!("^(({})([^a-z0-9].*)?|{})$", prefixes.join("|"), whole.join("|"))
}

/// Regular expressions for names, in lower case, that a server may take for one that means something, and that are none.
/// Each is for some of them: a line of a configuration has an end.
pub(super) fn folded_patterns() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in CLAIMS.iter().chain(&MEANT) {
        all.extend(folded(name));
    }
    for prefix in PREFIXES {
        all.extend(folded(prefix).map(|begins| begins + "([^a-z0-9].*)?"));
        all.push(format!(
            "{}([^a-z0-9-]|[^a-z0-9].*[^a-z0-9-]).*",
            prefix.replace('-', "[^a-z0-9]")
        ));
    }
    all.chunks(20)
        .map(|some| format!("^({})$", some.join("|")))
        .collect()
}

/// The ways in which `name` has another sign in the place of a dash: each of its dashes in turn, the others as they may be.
fn folded(name: &str) -> impl Iterator<Item = String> {
    let parts: Vec<&str> = name.split('-').collect();
    (1..parts.len()).map(move |at| {
        let (before, after) = (parts[..at].join("[^a-z0-9]"), parts[at..].join("[^a-z0-9]"));
        format!("{before}[^a-z0-9-]{after}")
    })
}

/// Where the names of each length begin in [`CLAIMS`].
const STARTS: [u8; LONGEST + 2] = {
    let mut starts = [0; LONGEST + 2];
    let mut length = 0;
    while length < starts.len() {
        while (starts[length] as usize) < CLAIMS.len() && CLAIMS[starts[length] as usize].len() < length {
            starts[length] += 1;
        }
        length += 1;
    }
    starts
};

/// The letters that names of claims begin with.
const FIRST_LETTERS: &[u8] = b"cdefprstwx";

/// The longest name of [`CLAIMS`], in bytes.
const LONGEST: usize = CLAIMS[CLAIMS.len() - 1].len();

/// How a name is like another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It is the same, whatever the case of its letters.
    Same,
    /// It becomes the same where a server makes one sign of all signs, as CGI does: `X_Forwarded.For`.
    Folded,
}

/// How `name` is like that of a claim; none where it is not.
pub(super) fn claim(name: &[u8]) -> Option<Likeness> {
    // Most names are none, and most of them are seen to be none by this.
    if !FIRST_LETTERS.contains(&(name.first()? | 0x20)) {
        return None;
    }
    let starts = STARTS.get(name.len()..name.len() + 2);
    let same_length = starts.map_or(&[][..], |starts| &CLAIMS[starts[0] as usize..starts[1] as usize]);
    let whole = same_length.iter().find_map(|claim| likeness(claim, name));
    whole.or_else(|| PREFIXES.iter().find_map(|prefix| prefix_likeness(prefix, name)))
}

/// How `name` is like `known`, a name of lower-case letters and dashes.
#[inline]
pub(super) fn likeness(known: &str, name: &[u8]) -> Option<Likeness> {
    let known = known.as_bytes();
    let is_like = |(known, found): (&u8, &u8)| match known {
        b'-' => !found.is_ascii_alphanumeric(),
        letter => *letter == found.to_ascii_lowercase(),
    };
    if known.len() != name.len() || !known.iter().zip(name).all(is_like) {
        return None;
    }
    let is_same = known
        .iter()
        .zip(name)
        .all(|(known, found)| *known != b'-' || *found == b'-');
    Some(if is_same { Likeness::Same } else { Likeness::Folded })
}

fn prefix_likeness(prefix: &str, name: &[u8]) -> Option<Likeness> {
    let (begins, rest) = name.split_at_checked(prefix.len())?;
    let like = likeness(prefix, begins)?;
    match rest.first() {
        Some(sign) if sign.is_ascii_alphanumeric() => None,
        _ if rest
            .iter()
            .all(|byte| *byte == b'-' || byte.is_ascii_alphanumeric()) =>
        {
            Some(like)
        }
        _ => Some(Likeness::Folded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_lists_every_claim_and_no_other() {
        let page = crate::reference::read("fields.md");
        let list = page
            .split("\n\n")
            .find(|paragraph| paragraph.starts_with("Claims are "));
        let listed = list.expect("a paragraph").split('`').skip(1).step_by(2);
        let mut listed: Vec<String> = listed.map(str::to_ascii_lowercase).collect();
        let mut known: Vec<&str> = PREFIXES.into_iter().chain(CLAIMS).collect();
        listed.sort();
        known.sort();
        assert_eq!(listed, known, "docs/reference/fields.md");
    }

    #[test]
    fn the_names_stand_in_the_order_in_which_they_are_looked_up() {
        assert!(CLAIMS.is_sorted_by_key(|name| (name.len(), *name)));
        for name in CLAIMS.iter().chain(&PREFIXED) {
            assert_eq!(claim(name.as_bytes()), Some(Likeness::Same), "{name}");
            assert_eq!(
                claim(name.to_ascii_uppercase().as_bytes()),
                Some(Likeness::Same),
                "{name}"
            );
            if name.contains('-') {
                let folded = name.replacen('-', "_", 1);
                assert_eq!(claim(folded.as_bytes()), Some(Likeness::Folded), "{folded}");
            }
        }
    }

    #[test]
    fn a_name_is_like_that_of_a_claim_or_not() {
        for (name, like) in [
            ("X-Forwarded", Some(Likeness::Same)),
            ("X-Forwarded-Anything-Else", Some(Likeness::Same)),
            ("X-Forwarded_For", Some(Likeness::Folded)),
            ("X.Forwarded!For", Some(Likeness::Folded)),
            ("SSL_CLIENT_S_DN", Some(Likeness::Folded)),
            ("X-Forwardedly", None),
            ("XForwarded-For", None),
            ("X-Forwarde", None),
            ("Accept", None),
            ("", None),
            ("X-Mine", None),
            ("my_own_field", None),
            ("x-nf-client-connection-ips", None),
        ] {
            assert_eq!(claim(name.as_bytes()), like, "{name}");
        }
    }
}
