//! The client of the registry's API.

use std::path::Path;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};

use super::answer::Answer;
use super::auth::{self, Challenge};
use super::error::RegistryError;
use super::transport::Transport;
use crate::ground::failpoint;
use crate::model::{Digest, RegistrySettings, escaped};

/// The kinds of manifest that an image's digest may stand for.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const JSON: &str = "application/json";
/// Waits before the second and the third try of what may pass: together a second.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// Pages of tags that are read, and tags that are kept.
const PAGES_MAX: usize = 100;
const TAGS_MAX: usize = 100_000;
/// Where Docker looks for a registry's own authorities.
const DOCKER_CERTIFICATES: &str = "/etc/docker/certs.d";

/// The registry of the settings.
pub struct Registry {
    settings: RegistrySettings,
    transport: Transport,
    /// `SCHEME://ADDRESS/v2/`
    base: Url,
}

/// What became of a manifest that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is deleted, with every tag that named it.
    Yes,
    /// It was not there.
    Absent,
    /// The registry does not delete: it is configured so.
    NotAllowed,
}

impl Registry {
    /// The registry of `settings`. Nothing is sent yet.
    ///
    /// It trusts the system's authorities, and like Docker those in `/etc/docker/certs.d/ADDRESS/*.crt`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        Self::with_certificates(settings, Path::new(DOCKER_CERTIFICATES))
    }

    /// Like [`Registry::new`], with the authorities in `folder/ADDRESS/*.crt`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn with_certificates(settings: &RegistrySettings, folder: &Path) -> Result<Self, RegistryError> {
        let base = base(settings).ok_or_else(|| RegistryError::Address {
            address: settings.address.clone(),
        })?;
        let own = folder.join(&settings.address);
        Ok(Self {
            transport: Transport::new(&settings.address, &own, is_loopback(&base))?,
            settings: settings.clone(),
            base,
        })
    }

    /// Checks that a registry answers and accepts the user.
    ///
    /// # Errors
    /// When it does not, with the reason.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let answer = self.ask(Method::GET, self.base.clone(), JSON).await?;
        let kind = answer
            .header("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let named = answer.header("docker-distribution-api-version").is_some();
        match answer.status {
            200 if named || !kind.starts_with("text/html") => Ok(()),
            200 => Err(self.not_a_registry("it answers /v2/ with a web page")),
            404 | 405 => Err(self.not_a_registry(format!("it answers /v2/ with {}", answer.status))),
            _ => Err(self.refused(&answer)),
        }
    }

    /// The tags of the repository `path` (`team/shop`), as the registry orders them: at most 100,000.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] when nothing was ever pushed there; otherwise when the registry fails.
    pub async fn tags(&self, path: &str) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut next = Some(self.url(&format!("{path}/tags/list?n=1000"))?);
        let mut tags = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else { break };
            let answer = self.ask(Method::GET, url.clone(), JSON).await?;
            match answer.status {
                200 => {}
                404 => return Err(self.unknown(path)),
                _ => return Err(self.refused(&answer)),
            }
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|e| self.not_a_registry(format!("its list of tags is none ({e})")))?;
            tags.extend(
                page.tags
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|tag| is_tag(tag)),
            );
            tags.truncate(TAGS_MAX);
            // A link to elsewhere is not followed: the password would go with it.
            next = answer
                .header("link")
                .and_then(|link| next_page(&url, link))
                .filter(|next| next.origin() == url.origin() && *next != url);
        }
        Ok(tags)
    }

    /// The digest that `reference` (a tag or a digest) of the repository `path` has; none where it is not there.
    ///
    /// # Errors
    /// When the registry fails.
    pub async fn digest(&self, path: &str, reference: &str) -> Result<Option<Digest>, RegistryError> {
        if !is_tag(reference) && reference.parse::<Digest>().is_err() {
            return Ok(None);
        }
        let url = self.url(&format!("{path}/manifests/{reference}"))?;
        let answer = self.ask(Method::HEAD, url, MANIFESTS).await?;
        match answer.status {
            200 => {
                let digest = answer
                    .header("docker-content-digest")
                    .and_then(|text| text.parse().ok());
                let missing = || self.not_a_registry("it names no sha256 digest for a manifest");
                digest.map(Some).ok_or_else(missing)
            }
            404 => Ok(None),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Deletes the manifest `digest` of the repository `path`, and with it every tag that names it.
    ///
    /// # Errors
    /// When the registry fails.
    pub async fn delete(&self, path: &str, digest: &Digest) -> Result<Deleted, RegistryError> {
        let url = self.url(&format!("{path}/manifests/{digest}"))?;
        let answer = self.ask(Method::DELETE, url, JSON).await?;
        failpoint::at("manifest.deleted");
        match answer.status {
            200..=299 => Ok(Deleted::Yes),
            404 => Ok(Deleted::Absent),
            405 => Ok(Deleted::NotAllowed),
            400 if says_unsupported(&answer.body) => Ok(Deleted::NotAllowed),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Begins an upload to the repository `path` and cancels it: what to ask when a push failed and the Engine
    /// passed on no reason. A full disk, for one, reaches it as "unknown error".
    ///
    /// # Errors
    /// [`RegistryError::NoSpace`] and the like, when the registry does not take uploads.
    pub async fn try_upload(&self, path: &str) -> Result<(), RegistryError> {
        let url = self.url(&format!("{path}/blobs/uploads/"))?;
        let answer = self.ask(Method::POST, url.clone(), JSON).await?;
        if answer.status != 202 {
            return Err(self.refused(&answer));
        }
        let upload = answer.header("location").and_then(|to| url.join(to).ok());
        if let Some(upload) = upload.filter(|upload| upload.origin() == url.origin()) {
            // Left alone, the registry forgets it by itself.
            let _ = self.ask_once(Method::DELETE, upload, JSON).await;
        }
        Ok(())
    }

    /// Sends a request, and retries after an error that may pass.
    async fn ask(&self, method: Method, url: Url, accept: &'static str) -> Result<Answer, RegistryError> {
        let mut asked = 1;
        loop {
            match self.ask_once(method.clone(), url.clone(), accept).await {
                Err(error) if asked < error.tries() => tokio::time::sleep(PAUSES[asked - 1]).await,
                done => return done,
            }
            asked += 1;
        }
    }

    /// Sends a request, and authenticates when the registry challenges it. An answer of 5xx or 429 is an error.
    async fn ask_once(
        &self,
        method: Method,
        url: Url,
        accept: &'static str,
    ) -> Result<Answer, RegistryError> {
        let mut answer = self
            .transport
            .send(method.clone(), url.clone(), accept, None)
            .await?;
        if answer.status == 401 {
            let (authorization, known) = self.authorization(&answer).await?;
            answer = self
                .transport
                .send(method, url, accept, Some(authorization))
                .await?;
            if answer.status == 401 && known {
                // The token was good for someone, and not for this.
                return Err(self.refused(&answer));
            }
        }
        match answer.status {
            401 => Err(self.unauthorized()),
            429 | 500.. => Err(self.refused(&answer)),
            _ => Ok(answer),
        }
    }

    /// What to send in answer to a 401, and whether that proves who we are.
    async fn authorization(&self, asked: &Answer) -> Result<(HeaderValue, bool), RegistryError> {
        let credentials = auth::credentials(&self.settings)?;
        let user = credentials.as_ref().and_then(auth::basic);
        match Challenge::of(&asked.headers, self.settings.plain_http) {
            Some(Challenge::Basic) => Ok((user.ok_or_else(|| self.unauthorized())?, false)),
            Some(Challenge::Bearer(url)) => {
                let known = user.is_some();
                let answer = self.transport.send(Method::GET, url, JSON, user).await?;
                let token = match answer.status {
                    200 => auth::token(&answer.body).and_then(|token| auth::bearer(&token)),
                    400 | 401 | 403 => return Err(self.unauthorized()),
                    _ => return Err(self.refused(&answer)),
                };
                let missing = || self.not_a_registry("its token service gave no token");
                Ok((token.ok_or_else(missing)?, known))
            }
            None => Err(self
                .not_a_registry("it asks for neither a password nor a token that could be fetched safely")),
        }
    }

    fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        // Appended, not joined: a name with a colon would lead to another host.
        Url::parse(&format!("{}{rest}", self.base)).map_err(|_| RegistryError::Address {
            address: self.settings.address.clone(),
        })
    }

    fn unauthorized(&self) -> RegistryError {
        RegistryError::Unauthorized {
            address: self.settings.address.clone(),
            username: self.settings.username.clone(),
            section: self.settings.section.clone(),
        }
    }

    fn unknown(&self, path: &str) -> RegistryError {
        RegistryError::Unknown {
            address: self.settings.address.clone(),
            repository: path.to_owned(),
        }
    }

    fn not_a_registry(&self, detail: impl Into<String>) -> RegistryError {
        RegistryError::NotARegistry {
            address: self.settings.address.clone(),
            detail: escaped(detail.into().as_bytes(), 300),
        }
    }

    fn refused(&self, answer: &Answer) -> RegistryError {
        RegistryError::refused(&self.settings.address, answer)
    }
}

/// The address of the registry's interface.
fn base(settings: &RegistrySettings) -> Option<Url> {
    let scheme = if settings.plain_http { "http" } else { "https" };
    let host = match settings.address.as_str() {
        // Images are named by one host, and served by another.
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        host => host,
    };
    let url = Url::parse(&format!("{scheme}://{host}/v2/")).ok()?;
    let whole = url.path() == "/v2/" && url.username().is_empty() && url.query().is_none();
    (whole && url.password().is_none() && !host.is_empty()).then_some(url)
}

/// Whether the registry is on this host, where no proxy could reach it.
fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Whether `text` is a tag by the distribution specification; so it is also safe in an address.
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && text.bytes().next().is_some_and(word)
}

/// The page that a `Link` header names as the next: `</v2/…>; rel="next"`.
fn next_page(from: &Url, link: &str) -> Option<Url> {
    let (target, kind) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = kind.contains("rel=\"next\"") || kind.contains("rel=next");
    if next { from.join(target).ok() } else { None }
}

fn says_unsupported(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("\"UNSUPPORTED\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str) -> RegistrySettings {
        RegistrySettings {
            address: address.into(),
            section: "registry".into(),
            prefix: String::new(),
            username: None,
            password_file: None,
            plain_http: false,
            transfer_timeout: std::time::Duration::from_secs(60),
            collect: None,
        }
    }

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        assert_eq!(
            base(&settings("127.0.0.1:5000")).unwrap().as_str(),
            "https://127.0.0.1:5000/v2/"
        );
        assert_eq!(
            base(&settings("docker.io")).unwrap().host_str(),
            Some("registry-1.docker.io")
        );
        for bad in [
            "",
            "a/b",
            "user@host",
            "user:word@host",
            "host?x",
            "host#x",
            "host:port",
            "a b",
        ] {
            assert_eq!(base(&settings(bad)), None, "{bad}");
        }
        for (address, loopback) in [
            ("[::1]:5000", true),
            ("localhost", true),
            ("127.1.2.3", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                is_loopback(&base(&settings(address)).unwrap()),
                loopback,
                "{address}"
            );
        }
    }

    #[test]
    fn a_next_page_is_found_relative_or_whole() {
        let from = Url::parse("https://r/v2/a/tags/list?n=1000").unwrap();
        let next = |link: &str| next_page(&from, link).map(String::from);
        assert_eq!(
            next(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#).unwrap(),
            "https://r/v2/a/tags/list?last=b&n=2"
        );
        assert_eq!(next("<https://other/x>; rel=next").unwrap(), "https://other/x");
        assert_eq!(next(r#"<x>; rel="prev""#), None);
        assert_eq!(next("x"), None);
    }

    #[test]
    fn what_is_no_tag_is_never_put_into_an_address() {
        assert!(is_tag("1f2e-42") && is_tag("_x") && is_tag(&"a".repeat(128)));
        for bad in ["", ".", "..", "-a", "a/b", "a?b", "a b", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
