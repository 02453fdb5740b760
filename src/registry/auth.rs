//! Authentication at the registry: the password's file, and the registry's challenge.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use rustix::fs::{Mode, OFlags};

use super::error::RegistryError;
use crate::model::{BYTE_ORDER_MARK, Credentials, RegistrySettings, Settings, text_of_file};

/// Bytes that a password, and a token, may have.
const SECRET_MAX: usize = 64 << 10;

/// The configured user with the password as its file holds it now; none where no user is configured.
///
/// # Errors
/// When the password's file is missing, unreadable, empty, or open to others than its owner.
pub fn credentials(settings: &RegistrySettings) -> Result<Option<Credentials>, RegistryError> {
    let Some(username) = settings.username.clone() else {
        return Ok(None);
    };
    let Some(path) = &settings.password_file else {
        let section = settings.section.clone();
        return Err(RegistryError::NoPassword { section, username });
    };
    let password = password(path)?;
    Ok(Some(Credentials { username, password }))
}

/// How to log in at every registry that is configured with a user, by its address: for base images.
///
/// # Errors
/// As [`credentials`], for each of them.
pub fn logins(settings: &Settings) -> Result<Vec<(String, Credentials)>, RegistryError> {
    let main = credentials(&settings.registry)?;
    let mut logins: Vec<_> = main
        .map(|login| (settings.registry.address.clone(), login))
        .into_iter()
        .collect();
    for (address, login) in &settings.registries {
        let credentials = Credentials {
            username: login.username.clone(),
            password: password(&login.password_file)?,
        };
        logins.push((address.clone(), credentials));
    }
    Ok(logins)
}

fn password(path: &Path) -> Result<String, RegistryError> {
    let unread = |detail: String| RegistryError::Password {
        path: path.to_owned(),
        detail,
    };
    // Without NONBLOCK a pipe in the file's place would hold us for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| unread(e.to_string()))?;
    let file = std::fs::File::from(file);
    let stat = file.metadata().map_err(|e| unread(e.to_string()))?;
    if !stat.is_file() {
        return Err(unread("it is not a file".into()));
    }
    if stat.mode() & 0o077 != 0 {
        return Err(RegistryError::PasswordMode {
            path: path.to_owned(),
            mode: stat.mode() & 0o7777,
        });
    }
    let mut bytes = Vec::new();
    let read = file.take(SECRET_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| unread(e.to_string()))?;
    // The mark is not part of the password, but every program that reads the file would send it.
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(unread(
            "it begins with a byte order mark (U+FEFF): save it as UTF-8 without one".into(),
        ));
    }
    let text = text_of_file(&bytes).map_err(|error| unread(error.to_string()))?;
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.contains(['\n', '\r']) {
        return Err(unread(
            "it has more than one line: the password alone is wanted".into(),
        ));
    }
    match password.len() {
        0 => Err(unread("it is empty".into())),
        1..=SECRET_MAX => Ok(password.to_owned()),
        _ => Err(unread(format!("it has more than {SECRET_MAX} bytes"))),
    }
}

/// What a registry asks for in its 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The user and the password themselves.
    Basic,
    /// A token, to be fetched from this address.
    Bearer(Url),
}

impl Challenge {
    /// The challenge in `headers`: a token before a password, where both would do.
    ///
    /// `plain_http` allows a token's address without TLS; the password goes there.
    pub(super) fn of(headers: &HeaderMap, plain_http: bool) -> Option<Self> {
        let all = headers.get_all("www-authenticate").iter();
        let all: Vec<_> = all.filter_map(|value| value.to_str().ok()).collect();
        let token = all
            .iter()
            .find_map(|value| token_address(after_scheme(value, "bearer")?));
        match token {
            Some(url) if plain_http || url.scheme() == "https" => Some(Self::Bearer(url)),
            _ => all
                .iter()
                .any(|value| after_scheme(value, "basic").is_some())
                .then_some(Self::Basic),
        }
    }
}

/// The parameters of a challenge of this `scheme`.
fn after_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Where to fetch a token: the realm with service and scope as its query.
fn token_address(challenge: &str) -> Option<Url> {
    let given = parameters(challenge);
    let find = |name: &str| {
        given
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    };
    let mut url = Url::parse(find("realm")?).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    for name in ["service", "scope"] {
        if let Some(value) = find(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Some(url)
}

/// `name="value", name=value`, with names in lower case. A quoted value may hold commas.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        found.push((name, value.trim().to_owned()));
        rest = after;
    }
    found
}

/// The token in the answer of a token's address.
pub(super) fn token(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.or(answer.access_token);
    token.filter(|token| (1..=SECRET_MAX).contains(&token.len()))
}

/// The header's value for a user and a password.
pub(super) fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    secret(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

/// The header's value for a token.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret(format!("Bearer {token}"))
}

fn secret(value: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str], plain_http: bool) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("www-authenticate", value.parse().unwrap());
        }
        Challenge::of(&headers, plain_http)
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let url = |text: &str| Some(Challenge::Bearer(Url::parse(text).unwrap()));
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted =
            "https://auth.docker.io/token?service=registry.docker.io&scope=repository%3Aa%2Fb%3Apull%2Cpush";
        assert_eq!(challenge(&[docker], false), url(wanted));
        assert_eq!(
            challenge(&["bearer Realm=https://a/t, service=x"], false),
            url("https://a/t?service=x")
        );
        assert_eq!(challenge(&[r#"Basic realm="x""#], false), Some(Challenge::Basic));
        assert_eq!(
            challenge(&["Basic", r#"Bearer realm="https://a/t""#], false),
            url("https://a/t")
        );
        for none in [
            &["Negotiate"][..],
            &[],
            &["Bearer"],
            &[r#"Bearer realm="file:///etc""#],
        ] {
            assert_eq!(challenge(none, true), None);
        }
    }

    #[test]
    fn no_password_goes_to_a_tokens_address_without_tls() {
        let plain = r#"Bearer realm="http://a/t""#;
        assert_eq!(challenge(&[plain], false), None);
        assert!(challenge(&[plain], true).is_some());
    }

    #[test]
    fn odd_challenges_end() {
        for odd in ["=", "\"", "a=\"", "a=,b", ",,,=,", "realm==\"\"=\"x"] {
            parameters(odd);
        }
    }

    #[test]
    fn a_token_is_found_under_both_names() {
        assert_eq!(token(br#"{"token":"a","expires_in":3}"#).unwrap(), "a");
        assert_eq!(token(br#"{"access_token":"b"}"#).unwrap(), "b");
        assert_eq!(token(br#"{"token":""}"#), None);
        assert_eq!(token(b"<html>"), None);
    }
}
