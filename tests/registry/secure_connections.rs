//! TLS, with a certificate authority of one's own.

use std::fs;
use std::path::Path;
use std::process::Command;

use deployer::model::RegistrySettings;
use deployer::registry::{Registry, RegistryError};
use tempfile::TempDir;

use crate::support::{Server, run};

/// A registry with a certificate for 127.0.0.1, signed by the authority in its folder's `ca.crt`.
fn with_tls() -> (Server, RegistrySettings) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let openssl = |args: &[&str]| run(Command::new("openssl").args(args).current_dir(folder.path()));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=Test authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ]);
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=registry",
        "-keyout",
        "key.pem",
        "-out",
        "csr",
    ]);
    fs::write(path("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "cert.pem",
    ]);
    let tls = "tls: {certificate: FOLDER/cert.pem, key: FOLDER/key.pem}";
    let server = Server::start_in(folder, "delete: {enabled: true}", tls, "");
    let settings = RegistrySettings {
        plain_http: false,
        transfer_timeout: std::time::Duration::from_secs(60),
        ..server.settings()
    };
    (server, settings)
}

#[tokio::test]
async fn an_authority_is_trusted_where_docker_finds_it() {
    let (server, settings) = with_tls();
    let error = Registry::new(&settings).unwrap().check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");

    let certificates = TempDir::new().unwrap();
    let own = certificates.path().join(&settings.address);
    fs::create_dir(&own).unwrap();
    fs::write(own.join("client.key"), "not looked at").unwrap();
    fs::write(own.join("broken.crt"), "left out").unwrap();
    fs::copy(server.folder.path().join("ca.crt"), own.join("ca.crt")).unwrap();
    let registry = Registry::with_certificates(&settings, certificates.path()).unwrap();
    registry.check().await.unwrap();
    assert_eq!(registry.digest("shop", "v1").await.unwrap(), None);
}

#[test]
fn the_systems_authorities_are_trusted() {
    let (server, settings) = with_tls();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "secure_connections::child_with_an_authority",
            "--ignored",
        ])
        .env("SSL_CERT_FILE", server.folder.path().join("ca.crt"))
        .env("TEST_ADDRESS", settings.address);
    run(&mut child);
}

#[tokio::test]
#[ignore = "run by another test, with an authority in its environment"]
async fn child_with_an_authority() {
    let Ok(address) = std::env::var("TEST_ADDRESS") else {
        return;
    };
    let settings = RegistrySettings {
        address,
        plain_http: false,
        transfer_timeout: std::time::Duration::from_secs(60),
        ..crate::support::settings(1)
    };
    let registry = Registry::with_certificates(&settings, Path::new("/nonexistent")).unwrap();
    registry.check().await.unwrap();
}

#[tokio::test]
async fn http_and_https_mixed_up_are_told() {
    let (_server, settings) = with_tls();
    let plain = RegistrySettings {
        plain_http: true,
        transfer_timeout: std::time::Duration::from_secs(60),
        ..settings
    };
    let error = Registry::new(&plain).unwrap().check().await.unwrap_err();
    assert!(
        error.to_string().contains("HTTP request to an HTTPS server"),
        "{error}"
    );

    let open = Server::open();
    let secure = RegistrySettings {
        plain_http: false,
        transfer_timeout: std::time::Duration::from_secs(60),
        ..open.settings()
    };
    let error = Registry::new(&secure).unwrap().check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("registry.plain_http"), "{error}");
}
