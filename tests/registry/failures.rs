//! Every way in which a registry is not there, told apart and within bounded time.

use std::process::Command;
use std::time::{Duration, Instant};

use deployer::registry::{Registry, RegistryError};
use tempfile::TempDir;

use crate::support::{Server, answer, free_port, scripted, settings};

async fn failed(port: u16) -> RegistryError {
    Registry::new(&settings(port)).unwrap().check().await.unwrap_err()
}

#[tokio::test]
async fn a_stopped_registry_refuses_and_is_not_waited_for_long() {
    let server = Server::open();
    let registry = server.registry();
    registry.check().await.unwrap();
    drop(server);
    let begun = Instant::now();
    let error = registry.check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. }), "{error}");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(1),
        "tried again within a second: {took:?}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_unreachable() {
    let mut settings = settings(1);
    settings.address = "no-such-host.invalid:5000".into();
    let error = Registry::new(&settings).unwrap().check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    // Connections wait in the listener's queue, and nobody takes them.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let error = failed(listener.local_addr().unwrap().port()).await;
    assert!(
        matches!(error, RegistryError::Timeout { seconds: 10, .. }),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn what_is_no_registry_is_told() {
    let page = scripted(|_| answer("200 OK", "content-type: text/html\r\n", "<h1>Welcome</h1>"));
    let loud = scripted(|_| answer("200 OK", "content-type: Text/HTML\r\n", "<h1>Welcome</h1>"));
    let missing = scripted(|_| answer("404 Not Found", "", "nothing\x1b[2J here"));
    let ssh = scripted(|_| b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n".to_vec());
    let closed = scripted(|_| answer("401 Unauthorized", "www-authenticate: Negotiate\r\n", ""));
    for port in [page, loud, missing, ssh, closed] {
        let error = failed(port).await;
        assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
    }
    let endless = scripted(|_| answer("200 OK", "", &"x".repeat(9 << 20)));
    let error = failed(endless).await;
    assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
}

#[tokio::test]
async fn a_passing_fault_is_tried_again_and_a_lasting_one_is_shown() {
    let times = std::sync::atomic::AtomicU32::new(0);
    let passing = scripted(
        move |_| match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => answer("503 Service Unavailable", "", ""),
            1 => Vec::new(),
            _ => answer("200 OK", "", "{}"),
        },
    );
    Registry::new(&settings(passing)).unwrap().check().await.unwrap();

    let lasting = scripted(|_| answer("502 Bad Gateway", "", &format!("no\x1b[2J {}", "x".repeat(1000))));
    let error = failed(lasting).await;
    assert!(
        matches!(error, RegistryError::Other { status: 502, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.len() < 500 && !text.contains('\x1b'), "{text:?}");
}

#[tokio::test]
async fn a_full_disk_is_told() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=5", "tmpfs"])
        .arg(&data);
    if !mount.output().unwrap().status.success() {
        println!("not root: a small disk cannot be mounted here");
        return;
    }
    let server = Server::start_in(folder, "delete: {enabled: true}", "", "");
    let error = server.registry().try_upload("shop").await;
    drop(Command::new("umount").arg("-l").arg(&data).status());
    let error = error.unwrap_err();
    assert!(matches!(error, RegistryError::NoSpace { .. }), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_sent() {
    let mut settings = settings(free_port());
    settings.address = "ann:secret@127.0.0.1".into();
    assert!(matches!(
        Registry::new(&settings).err(),
        Some(RegistryError::Address { .. })
    ));
}
