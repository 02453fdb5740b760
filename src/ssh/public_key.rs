//! A public key as people hand it in: one line of a `.pub` file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::KeyData;

use crate::model::{Hidden, NotText, hidden, text_of_file};

/// The most bytes that a public key's line may have; the largest RSA key that OpenSSH makes has a sixth of that.
const SIZE_MAX: usize = 16 << 10;

/// The least bits of an RSA key, as RFC 8332's signatures are worth having from there on.
const RSA_BITS_MIN: usize = 2048;

/// What keys people should have where theirs is refused.
const INSTEAD: &str = "`ssh-keygen -t ed25519` makes a good one";

/// A public key: its type and its content, without options or comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: String,
    blob: Vec<u8>,
    fingerprint: String,
}

/// A text that is no public key, or none that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// There is nothing.
    #[error(
        "there is no key: standard input is empty. The public key is wanted there, as in `deployer key add laptop < laptop.pub`"
    )]
    Empty,
    /// There is too much.
    #[error("this is no public key: it is larger than {SIZE_MAX} bytes")]
    TooLarge,
    /// It is no text.
    #[error("this is no public key: it is no text")]
    NotText,
    /// It is text in another encoding.
    #[error("this is no public key: {0}")]
    Encoding(NotText),
    /// There is something in it that nobody sees.
    #[error("this key has {0}: copy its whole line again, from the file that ends in .pub")]
    Hidden(Hidden),
    /// It is the secret half.
    #[error(
        "this is a private key, and belongs to nobody but its owner: hand in the file beside it that ends in .pub"
    )]
    Private,
    /// It is in the form of RFC 4716.
    #[error(
        "this key is in the form of RFC 4716: `ssh-keygen -i -f FILE` prints it in the form that is wanted"
    )]
    Rfc4716,
    /// It is more than one line.
    #[error("these are {0} lines: hand in one key at a time")]
    SeveralLines(usize),
    /// Something stands before the key.
    #[error(
        "something stands before the key, as options do in a file of keys: hand in the key alone; `--role`, `--app` and `--slot` say what it may do"
    )]
    Options,
    /// It is a certificate.
    #[error("this is a certificate: hand in its authority's public key with `--ca`")]
    Certificate,
    /// It is a DSA key.
    #[error("keys of type ssh-dss are not taken, since OpenSSH takes none either: {INSTEAD}")]
    Dsa,
    /// It is a short RSA key.
    #[error("this RSA key has {0} bits, and {RSA_BITS_MIN} are the least that is taken: {INSTEAD}")]
    RsaTooShort(usize),
    /// It is of a type that is not known here.
    #[error(
        "this is no public key of a type that is taken (ed25519, ecdsa, rsa, and the sk- types of security keys): {INSTEAD}"
    )]
    UnknownType,
    /// The key's content is broken.
    #[error("this {0} key is damaged: {1}. Copy its whole line again")]
    Damaged(&'static str, String),
}

/// The types of keys that are taken.
const TAKEN: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

impl PublicKey {
    /// The one public key that `input` is: `TYPE BASE64 [COMMENT]`.
    ///
    /// # Errors
    /// Each kind of wrong input has its own sentence: see [`PublicKeyError`].
    pub fn read(input: &[u8]) -> Result<Self, PublicKeyError> {
        let line = the_line(input)?;
        let mut words = line.split_ascii_whitespace();
        // Type and content; behind them stands a comment.
        let key = words.clone().take(2).collect::<Vec<_>>().join(" ");
        if let Some(hidden) = hidden(&key) {
            return Err(PublicKeyError::Hidden(hidden));
        }
        let kind = words.next().ok_or(PublicKeyError::Empty)?;
        if kind == "ssh-dss" {
            return Err(PublicKeyError::Dsa);
        }
        if is_certificate(kind) {
            return Err(PublicKeyError::Certificate);
        }
        let Some(kind) = TAKEN.into_iter().find(|taken| *taken == kind) else {
            let has_key = words.any(is_type);
            return Err(if has_key {
                PublicKeyError::Options
            } else {
                PublicKeyError::UnknownType
            });
        };
        let content = words.next().unwrap_or_default();
        let key = ssh_key::PublicKey::from_openssh(&format!("{kind} {content}"))
            .map_err(|error| PublicKeyError::Damaged(kind, error.to_string()))?;
        if let KeyData::Rsa(rsa) = key.key_data() {
            let bits = rsa.n.as_positive_bytes().map_or(0, bits);
            if bits < RSA_BITS_MIN {
                return Err(PublicKeyError::RsaTooShort(bits));
            }
        }
        let written_anew = key.to_bytes().ok();
        Self::in_line(kind, content)
            .filter(|key| Some(&key.blob) == written_anew.as_ref())
            .ok_or_else(|| PublicKeyError::Damaged(kind, "it is not as OpenSSH writes it".into()))
    }

    /// The key that stands as `kind content` in a file of keys, of whatever type. `None` where it is none.
    pub(super) fn in_line(kind: &str, content: &str) -> Option<Self> {
        let blob = STANDARD.decode(content).ok()?;
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let named = rest.get(..u32::from_be_bytes(*length).try_into().ok()?)?;
        if !is_type(kind) || named != kind.as_bytes() {
            return None;
        }
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&blob);
        let fingerprint = ssh_key::Fingerprint::Sha256(digest.into()).to_string();
        Some(Self {
            kind: kind.to_owned(),
            blob,
            fingerprint,
        })
    }

    /// The type: `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// `SHA256:…`, as `ssh-keygen -l` and sshd's log print it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// `TYPE BASE64`.
    pub fn to_line(&self) -> String {
        format!("{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

/// Whether `word` is the name of a type of key, one that is not taken included.
pub(super) fn is_type(word: &str) -> bool {
    TAKEN.contains(&word) || word == "ssh-dss" || is_certificate(word)
}

fn is_certificate(word: &str) -> bool {
    word.ends_with("-cert-v01@openssh.com")
}

/// The one line that `input` is.
fn the_line(input: &[u8]) -> Result<&str, PublicKeyError> {
    if input.len() > SIZE_MAX {
        return Err(PublicKeyError::TooLarge);
    }
    let text = text_of_file(input).map_err(|error| match error {
        NotText::Utf16 => PublicKeyError::Encoding(error),
        NotText::NotUtf8 { .. } => PublicKeyError::NotText,
    })?;
    let text = text.trim();
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        return Err(PublicKeyError::Private);
    }
    if text.starts_with("---- BEGIN SSH2 PUBLIC KEY") {
        return Err(PublicKeyError::Rfc4716);
    }
    match text.lines().filter(|line| !line.trim().is_empty()).count() {
        0 => return Err(PublicKeyError::Empty),
        1 => {}
        several => return Err(PublicKeyError::SeveralLines(several)),
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(PublicKeyError::NotText);
    }
    Ok(text)
}

/// The bits of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |first| first.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(leading)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_key_with_a_mark_is_taken_and_one_with_what_nobody_sees_is_not() {
        for good in [
            format!("\u{feff}{KEY} ada\r\n"),
            format!("{KEY} \u{200b}ada\u{202e}\n"),
        ] {
            assert_eq!(PublicKey::read(good.as_bytes()).unwrap().to_line(), KEY);
        }
        for (bad, code) in [
            (format!("\u{200b}{KEY}"), "U+200B, as character 1"),
            (KEY.replace("AAAAC3", "AAAA\u{200b}C3"), "U+200B, as character 17"),
            (KEY.replace(' ', "\u{a0}"), "U+00A0, as character 12"),
        ] {
            let refused = PublicKey::read(bad.as_bytes()).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("this key has an invisible character, {code}")),
                "{refused}"
            );
        }
        let utf16: Vec<u8> = KEY.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let refused = PublicKey::read(&utf16).unwrap_err().to_string();
        assert!(
            refused.starts_with("this is no public key: it is UTF-16"),
            "{refused}"
        );
    }
}
