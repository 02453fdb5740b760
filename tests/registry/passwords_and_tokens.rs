//! Registries that want to know who asks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use deployer::registry::{Registry, RegistryError, credentials};
use tempfile::TempDir;

use crate::support::{Server, answer, run, scripted, secret};

const PASSWORD: &str = "pa:ss/wörd+?";

/// A registry with one user, `ann`.
fn with_password() -> Server {
    let folder = TempDir::new().unwrap();
    let line = run(Command::new("htpasswd").args(["-Bbn", "ann", PASSWORD]));
    fs::write(folder.path().join("htpasswd"), line).unwrap();
    Server::start_in(
        folder,
        "delete: {enabled: true}",
        "",
        "auth: {htpasswd: {realm: r, path: FOLDER/htpasswd}}",
    )
}

#[tokio::test]
async fn the_password_is_read_anew_at_every_use() {
    let server = with_password();
    let mut settings = server.settings();
    let error = Registry::new(&settings).unwrap().check().await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { username: None, .. }),
        "{error}"
    );

    let path = server.folder.path().join("password");
    settings.username = Some("ann".into());
    settings.password_file = Some(path.clone());
    let registry = Registry::new(&settings).unwrap();
    let error = registry.check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Password { .. }), "{error}");

    secret(&path, "not the password");
    let error = registry.check().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Unauthorized { username: Some(name), .. } if name == "ann"));
    assert!(!format!("{error} {error:?}").contains("not the password"));

    for ending in ["", "\n", "\r\n"] {
        secret(&path, &format!("{PASSWORD}{ending}"));
        registry.check().await.unwrap();
    }
    assert_eq!(credentials(&settings).unwrap().unwrap().password, PASSWORD);
    assert_eq!(registry.digest("shop", "v1").await.unwrap(), None);
}

#[test]
fn a_password_file_that_is_no_safe_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("password");
    let mut settings = crate::support::settings(1);
    settings.username = Some("ann".into());
    let refused = |settings: &_| credentials(settings).unwrap_err();
    assert!(matches!(refused(&settings), RegistryError::NoPassword { .. }));

    settings.password_file = Some(path.clone());
    for mode in [0o644, 0o640, 0o604, 0o620] {
        secret(&path, "hidden");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(&settings);
        assert!(matches!(&error, RegistryError::PasswordMode { mode: found, .. } if *found == mode));
        assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("hidden"));
    }
    for bad in ["", "\n", &"x".repeat(1 << 20)] {
        secret(&path, bad);
        assert!(matches!(refused(&settings), RegistryError::Password { .. }));
    }
    for (bytes, told) in [
        (
            &b"\xef\xbb\xbfhidden\n"[..],
            "it begins with a byte order mark (U+FEFF)",
        ),
        (b"\xff\xfeh\0i\0", "it is UTF-16"),
        (b"hid\xe9", "it is not UTF-8"),
        (b"hidden\n\n", "it has more than one line"),
        (b"hid\r\nden\r\n", "it has more than one line"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&settings).to_string();
        assert!(error.contains(told) && !error.contains("hid"), "{error}");
    }
    for (written, read) in [
        ("p\r\n", "p"),
        ("p \n", "p "),
        ("p\u{200b}\u{feff}", "p\u{200b}\u{feff}"),
    ] {
        secret(&path, written);
        assert_eq!(credentials(&settings).unwrap().unwrap().password, read);
    }
    fs::remove_file(&path).unwrap();
    run(Command::new("mkfifo").args(["-m", "600"]).arg(&path));
    assert!(matches!(refused(&settings), RegistryError::Password { .. }));
    settings.password_file = Some(folder.path().to_owned());
    assert!(matches!(refused(&settings), RegistryError::Password { .. }));
}

/// A registry whose tokens are signed by a key in its folder, and the service that gives them: to `ann` all that
/// is asked for, to nobody the right to pull nothing.
fn with_tokens(rights: &'static str) -> Server {
    let folder = TempDir::new().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=tokens",
    ]);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    let pem = fs::read_to_string(&certificate).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("ann:{PASSWORD}")));

    let port = scripted(move |head| {
        let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        if authorization.is_some_and(|given| given != expected) {
            return answer("401 Unauthorized", "", "{}");
        }
        let access = match (authorization, head.contains("scope=repository%3Ashop")) {
            (Some(_), true) => {
                format!("[{{\"type\":\"repository\",\"name\":\"shop\",\"actions\":[{rights}]}}]")
            }
            _ => "[]".into(),
        };
        let header = format!("{{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"{der}\"]}}");
        let claims = format!(
            "{{\"iss\":\"test\",\"sub\":\"ann\",\"aud\":\"registry\",\"exp\":4102444800,\"nbf\":1,\"iat\":1,\
             \"jti\":\"1\",\"access\":{access}}}"
        );
        let signed = [header, claims]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let text = tempfile::NamedTempFile::new().unwrap();
        fs::write(text.path(), &signed).unwrap();
        let mut openssl = Command::new("openssl");
        let signature = run(openssl
            .args(["dgst", "-sha256", "-sign"])
            .arg(&key)
            .arg(text.path()));
        let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        answer(
            "200 OK",
            "content-type: application/json\r\n",
            &format!("{{\"token\":\"{token}\"}}"),
        )
    });
    let auth = format!(
        "auth: {{token: {{realm: 'http://127.0.0.1:{port}/token', service: registry, issuer: test, \
         rootcertbundle: FOLDER/cert.pem}}}}"
    );
    Server::start_in(folder, "delete: {enabled: true}", "", &auth)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_with_the_password() {
    let server = with_tokens("\"pull\",\"push\",\"delete\"");
    let mut settings = server.settings();
    settings.username = Some("ann".into());
    settings.password_file = Some(secret(&server.folder.path().join("password"), PASSWORD));
    let registry = Registry::new(&settings).unwrap();
    registry.check().await.unwrap();
    assert_eq!(registry.digest("shop", "v1").await.unwrap(), None);
    assert!(matches!(
        registry.tags("shop").await,
        Err(RegistryError::Unknown { .. })
    ));
    registry.try_upload("shop").await.unwrap();

    // Nothing of another repository, whoever asks.
    let error = registry.digest("other", "v1").await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    secret(settings.password_file.as_ref().unwrap(), "wrong");
    let error = registry.check().await.unwrap_err();
    assert!(
        matches!(
            error,
            RegistryError::Unauthorized {
                username: Some(_),
                ..
            }
        ),
        "{error}"
    );
    let anyone = server.registry().digest("shop", "v1").await.unwrap_err();
    assert!(
        matches!(anyone, RegistryError::Unauthorized { username: None, .. }),
        "{anyone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_is_denied_not_called_unknown() {
    let server = with_tokens("\"pull\"");
    let mut settings = server.settings();
    settings.username = Some("ann".into());
    settings.password_file = Some(secret(&server.folder.path().join("password"), PASSWORD));
    let registry = Registry::new(&settings).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = registry.delete("shop", &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}
