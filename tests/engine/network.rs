use deployer::engine::{Engine, EngineError, NetworkEnd};
use deployer::model::EngineSettings;

use super::support::{Place, docker};

#[tokio::test]
async fn two_that_make_the_network_at_once_get_the_same_one() {
    let place = Place::new();
    let engines = [
        place.engine().await,
        place.engine().await,
        place.engine().await,
        place.engine().await,
    ];
    let made = futures_util::future::join_all(engines.iter().map(Engine::ensure_network)).await;
    let ids: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(place.engine().await.ensure_network().await.unwrap(), ids[0]);

    let name = &place.settings.network;
    let listed = docker(&[
        "network",
        "ls",
        "-q",
        "--no-trunc",
        "--filter",
        &format!("name=^{name}$"),
    ]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), [ids[0].as_str()]);
}

#[tokio::test]
async fn a_stranger_on_the_network_gets_no_planned_address() {
    let place = Place::new();
    place.engine().await.ensure_network().await.unwrap();
    let subnet = place.settings.subnet.first().octets();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}";
    let name = &place.settings.network;
    let label = format!("deployer.network={name}");
    let image = super::support::base();
    let id = docker(&[
        "run",
        "-d",
        "--label",
        &label,
        "--network",
        name,
        image,
        "sleep",
        "60",
    ]);
    let told = docker(&["inspect", "-f", format, id.trim()]);
    let (address, gateway) = told.trim().split_once(' ').unwrap();
    let block = format!("{}.{}.{}.", subnet[0], subnet[1], subnet[2]);
    assert!(address.starts_with(&block), "{address}");
    assert_eq!(gateway, place.settings.subnet.gateway().to_string());

    // Nor is the network taken from under it.
    let engine = place.engine().await;
    let ended = engine.remove_network(false).await.unwrap();
    assert!(
        matches!(&ended, NetworkEnd::Used(names) if names.len() == 1),
        "{ended:?}"
    );
    docker(&["rm", "-f", id.trim()]);
    assert_eq!(engine.remove_network(true).await.unwrap(), NetworkEnd::Removed);
    assert_eq!(engine.remove_network(false).await.unwrap(), NetworkEnd::Removed);
    assert_eq!(engine.remove_network(false).await.unwrap(), NetworkEnd::None);
    docker(&["network", "create", name]);
    assert_eq!(engine.remove_network(false).await.unwrap(), NetworkEnd::None);
    docker(&["network", "rm", name]);
}

#[tokio::test]
async fn a_network_with_another_subnet_is_told() {
    let place = Place::new();
    place.engine().await.ensure_network().await.unwrap();
    let other = EngineSettings {
        subnet: Place::new().settings.subnet,
        ..place.settings.clone()
    };
    let error = Engine::connect(&other)
        .await
        .unwrap()
        .ensure_network()
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::NetworkDiffers { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains(&other.subnet.to_string()) && told.contains(&place.settings.subnet.to_string()));
}

#[tokio::test]
async fn a_subnet_that_another_network_has_is_told_with_its_name() {
    let place = Place::new();
    place.engine().await.ensure_network().await.unwrap();
    let second = Place::new();
    let clashing = EngineSettings {
        subnet: place.settings.subnet,
        ..second.settings.clone()
    };
    let error = Engine::connect(&clashing)
        .await
        .unwrap()
        .ensure_network()
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::NetworkClash { .. }), "{error}");
    assert!(error.to_string().contains(&place.settings.network), "{error}");
}

#[tokio::test]
async fn several_networks_of_the_name_are_told_with_their_ids() {
    let place = Place::new();
    let name = &place.settings.network;
    let label = format!("deployer.network={name}");
    let docker_1_41 = |subnet: &str| {
        let body = format!(
            "{{\"Name\":\"{name}\",\"CheckDuplicate\":false,\"Labels\":{{\"deployer.network\":\"{name}\"}},\
             \"IPAM\":{{\"Config\":[{{\"Subnet\":\"{subnet}\"}}]}}}}"
        );
        let socket = place.settings.host.strip_prefix("unix://").unwrap().to_owned();
        let url = "http://docker/v1.41/networks/create";
        let header = "Content-Type: application/json";
        std::process::Command::new("curl")
            .args(["-sf", "--unix-socket", &socket, "-H", header, "-d", &body, url])
            .output()
            .unwrap()
    };
    let others = [Place::new(), Place::new()];
    for other in &others {
        docker_1_41(&other.settings.subnet.to_string());
    }
    let ids = docker(&[
        "network",
        "ls",
        "-q",
        "--no-trunc",
        "--filter",
        &format!("label={label}"),
    ]);
    if ids.lines().count() < 2 {
        return; // Engines from 25 on refuse the second.
    }
    let error = place.engine().await.ensure_network().await.unwrap_err();
    assert!(matches!(error, EngineError::NetworkAmbiguous { .. }), "{error}");
    assert!(ids.lines().all(|id| error.to_string().contains(id)), "{error}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_from_one_that_may_not_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let connect = |host: String| async move {
        let settings = EngineSettings {
            host,
            ..Place::new().settings.clone()
        };
        Engine::connect(&settings).await.unwrap_err()
    };
    let missing = connect(format!("unix://{}/none.sock", folder.path().display())).await;
    assert!(matches!(missing, EngineError::Unreachable { .. }), "{missing}");

    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let refused = connect(format!("unix://{}", dead.display())).await;
    assert!(refused.to_string().contains("refused"), "{refused}");

    let mute = folder.path().join("mute.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let silent = connect(format!("unix://{}", mute.display())).await;
    assert!(silent.to_string().contains("no answer within"), "{silent}");

    let bad = connect("docker.sock".to_owned()).await;
    assert!(matches!(bad, EngineError::BadHost { .. }), "{bad}");
}

#[tokio::test]
async fn a_subnet_that_a_route_of_the_host_leads_into_is_told() {
    let place = Place::new();
    let part = format!("{}/24", place.settings.subnet.first());
    let ip = |verb: &str| {
        std::process::Command::new("ip")
            .args(["route", verb, &part, "dev", "lo"])
            .status()
    };
    assert!(
        ip("add").unwrap().success(),
        "this test adds a route: run it as root"
    );
    let error = place.engine().await.ensure_network().await;
    ip("del").unwrap();
    let error = error.unwrap_err();
    assert!(matches!(error, EngineError::NetworkClash { .. }), "{error}");
    assert!(
        error.to_string().contains(&part) && error.to_string().contains("engine.subnet"),
        "{error}"
    );
    place.engine().await.ensure_network().await.unwrap();
}

/// As a user that is in no group: this test's own program, run by `setpriv`.
#[test]
fn a_user_who_may_not_talk_to_the_engine_is_told_so() {
    let folder = super::support::tree(&[]);
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let told = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args([
            "--exact",
            "network::connect_without_permission",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("not allowed to talk to the Docker Engine"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "run by a_user_who_may_not_talk_to_the_engine_is_told_so"]
async fn connect_without_permission() {
    // No place of its own: this user may not take a lease, and makes nothing.
    let settings = super::support::settings("denied", "10.230.0.0/22");
    let error = Engine::connect(&settings).await.unwrap_err();
    assert!(matches!(error, EngineError::Denied { .. }), "{error:?}");
    println!("\n{error}");
}
