use std::net::SocketAddr;
use std::time::Duration;

use deployer::engine::{ContainerId, Engine, EngineError, HealthStatus, InstanceState, LogRange, Status};
use deployer::model::{Lane, ReleaseId, Restart, Slot, Volume};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use super::support::{Place, Pushed, base, docker};

const SERVER: &str = "EXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]";

async fn ready(place: &Place) -> Engine {
    let engine = place.engine().await;
    engine.ensure_network().await.unwrap();
    engine
}

/// Polls until the instance's state is as wanted, for at most 30 s.
async fn state(engine: &Engine, id: &ContainerId, wanted: impl Fn(&InstanceState) -> bool) -> InstanceState {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let state = engine.instance_state(id).await.unwrap();
        if wanted(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{state:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(engine: &Engine, id: &ContainerId) -> Status {
    state(engine, id, |state| matches!(state.status, Status::Exited { .. }))
        .await
        .status
}

async fn answers(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "{address} does not answer");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_instance_answers_at_its_planned_address_and_is_known_by_its_labels() {
    let place = Place::new();
    let engine = ready(&place).await;
    let pushed = Pushed::new(&engine, SERVER).await;
    let mut spec = place.spec(&pushed.image);
    spec.run.memory = Some(64 << 20);
    spec.run.cpus = Some(0.5);
    spec.run.pids = Some(50);
    let id = engine.start(&spec).await.unwrap();
    answers(spec.endpoints[0].into()).await;

    let all = engine.instances(None).await.unwrap();
    let [instance] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!(
        (&instance.id, instance.slot, instance.lane),
        (&id, spec.slot, spec.lane)
    );
    assert_eq!((&instance.name, instance.release), (&spec.name, ReleaseId(1)));
    assert_eq!(instance.endpoints, spec.endpoints);
    assert_eq!((&instance.image, &instance.commit), (&pushed.image, &spec.commit));
    assert_eq!((instance.address, instance.running), (spec.address(), true));
    assert!(
        engine
            .instances(Some(&"other".parse().unwrap()))
            .await
            .unwrap()
            .is_empty()
    );
    let Status::Running { since } = engine.instance_state(&id).await.unwrap().status else {
        panic!()
    };
    assert!((jiff::Timestamp::now() - since).get_minutes() == 0);

    let look = |format: &str| docker(&["inspect", "-f", format, id.as_str()]).trim().to_owned();
    assert_eq!(
        look("{{.Name}}"),
        format!("/{}-shop-green-1-0", place.settings.network)
    );
    assert_eq!(
        look("{{.HostConfig.Init}} {{.HostConfig.SecurityOpt}}"),
        "true [no-new-privileges]"
    );
    assert_eq!(
        look("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"),
        "67108864 500000000 50"
    );
    assert_eq!(
        look("{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}"),
        "json-file map[max-file:3 max-size:10485760]"
    );
    assert_eq!(
        look("{{.HostConfig.RestartPolicy.Name}} {{.Config.StopTimeout}}"),
        "no 10"
    );
    assert_eq!(
        look("{{range $port, $on := .NetworkSettings.Ports}}{{len $on}}{{end}}"),
        "0"
    );
    engine.settle(&id, Restart::Always).await.unwrap();
    assert_eq!(look("{{.HostConfig.RestartPolicy.Name}}"), "always");

    engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert!(!engine.instances(None).await.unwrap()[0].running);
    engine.start_again(&id).await.unwrap();
    answers(spec.endpoints[0].into()).await;
    engine.remove(&id).await.unwrap();
    engine.remove(&id).await.unwrap();
    engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(engine.instance_state(&id).await.unwrap().status, Status::Gone);
    assert!(engine.logs_tail(&id, 10, 1000).await.unwrap().is_empty());
    assert!(engine.instances(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_an_interrupted_run_left_behind_gives_way_and_a_stranger_does_not() {
    let place = Place::new();
    let engine = ready(&place).await;
    let pushed = Pushed::new(&engine, SERVER).await;
    let spec = place.spec(&pushed.image);
    let first = engine.start(&spec).await.unwrap();
    let second = engine.start(&spec).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(engine.instances(None).await.unwrap().len(), 1);
    engine.remove(&second).await.unwrap();

    let (name, network) = (
        format!("{}-shop-green-1-0", place.settings.network),
        &place.settings.network,
    );
    let label = format!("deployer.network={network}");
    let stranger = docker(&["create", "--name", &name, base(), "sleep", "60"]);
    let error = engine.start(&spec).await.unwrap_err();
    docker(&["rm", "-f", stranger.trim()]);
    assert!(matches!(error, EngineError::NameTaken { .. }), "{error}");

    let address = spec.address().to_string();
    let squatter = format!("{network}-squatter");
    docker(&[
        "run",
        "-d",
        "--label",
        &label,
        "--name",
        &squatter,
        "--network",
        network,
        "--ip",
        &address,
        base(),
        "sleep",
        "60",
    ]);
    let error = engine.start(&spec).await.unwrap_err();
    assert!(matches!(error, EngineError::AddressTaken { .. }), "{error}");
    assert!(
        error.to_string().contains("shop/green release 1, instance 0"),
        "{error}"
    );
    assert!(
        error.to_string().contains(&squatter) && error.to_string().contains(&address),
        "{error}"
    );
    assert!(
        engine.instances(None).await.unwrap().is_empty(),
        "nothing is left, and a squatter is no instance"
    );
}

#[tokio::test]
async fn an_instance_that_ends_is_told_with_its_code_and_its_last_lines() {
    let place = Place::new();
    let engine = ready(&place).await;
    let body = "CMD [\"sh\", \"-c\", \"for i in $(seq 100); do echo line $i; done; sleep 2; printf '\\\\033[1mbye' >&2; exit 3\"]";
    let pushed = Pushed::new(&engine, body).await;
    let id = engine.start(&place.spec(&pushed.image)).await.unwrap();
    let status = ended(&engine, &id).await;
    assert_eq!(
        status,
        Status::Exited {
            code: 3,
            oom: false,
            error: String::new()
        }
    );
    let tail = engine.logs_tail(&id, 3, 10_000).await.unwrap();
    assert!(
        tail.len() == 3 && tail.contains(&"bye".to_owned()) && tail.contains(&"line 100".to_owned()),
        "{tail:?}"
    );
    let few = engine.logs_tail(&id, 50, 20).await.unwrap();
    assert!(
        !few.is_empty() && few.iter().map(String::len).sum::<usize>() <= 20,
        "{few:?}"
    );
    let follow = LogRange {
        follow: true,
        ..LogRange::default()
    };
    let all: Vec<_> = engine
        .logs(&[(7, id.clone())], follow)
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(all.len(), 101);
    assert!(all.contains(&(7, "line 1".to_owned())) && all.contains(&(7, "bye".to_owned())));

    let times = docker(&["logs", "-t", id.as_str()]);
    let bye = times.lines().find(|line| line.contains("bye")).unwrap();
    let since = bye.split_whitespace().next().unwrap().parse().ok();
    for follow in [false, true] {
        let range = LogRange {
            since,
            follow,
            tail: Some(50),
        };
        let late: Vec<_> = engine
            .logs(&[(7, id.clone())], range)
            .map(Result::unwrap)
            .collect()
            .await;
        assert_eq!(late, [(7, "bye".to_owned())], "follow: {follow}");
    }
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    let place = Place::new();
    let engine = ready(&place).await;
    let pushed = Pushed::new(&engine, "CMD [\"/no/such/program\"]").await;
    let mut spec = place.spec(&pushed.image);
    let id = engine.start(&spec).await;
    // With an init of the Engine's own the program is looked for inside: either is told.
    match id {
        Ok(id) => assert!(matches!(
            ended(&engine, &id).await,
            Status::Exited { code: 127, .. }
        )),
        Err(error) => assert!(error.to_string().contains("/no/such/program"), "{error}"),
    }
    spec.release = ReleaseId(2);
    spec.endpoints = place.endpoints(Slot::Green, Lane::B);
    spec.run.volumes = vec![Volume {
        source: "/no/such/folder".into(),
        target: "/x".into(),
        read_only: true,
    }];
    let error = engine.start(&spec).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
    spec.run.volumes.clear();
    spec.image.digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = engine.start(&spec).await.unwrap_err();
    assert!(matches!(error, EngineError::Unknown { .. }), "{error:?}");
    assert!(
        engine
            .instances(None)
            .await
            .unwrap()
            .iter()
            .all(|instance| instance.release == ReleaseId(1))
    );
}

#[tokio::test]
async fn environment_volumes_and_health_are_as_configured() {
    let place = Place::new();
    let engine = ready(&place).await;
    let body = "HEALTHCHECK --interval=100ms --start-period=1s CMD test -e /data/healthy || { echo not yet; exit 1; }\n\
                CMD [\"sh\", \"-c\", \"env; ls /host; sleep 600\"]";
    let pushed = Pushed::new(&engine, body).await;
    let folder = super::support::tree(&[
        (
            "env",
            "# secrets\nA=from file\nB=from file\nDEPLOYER_APP=from file\n",
        ),
        ("host/seen", ""),
    ]);
    let volume = format!("{}-data", place.settings.network);
    let mut spec = place.spec(&pushed.image);
    let env_file = folder.path().join("env");
    std::fs::set_permissions(&env_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    spec.run.env_file = Some(env_file);
    spec.run.env = ["B", "DEPLOYER_SLOT"]
        .map(|name| (name.to_owned(), "from env".to_owned()))
        .into();
    let on_host = folder.path().join("host").display().to_string();
    spec.run.volumes = vec![
        Volume {
            source: volume.clone(),
            target: "/data".into(),
            read_only: false,
        },
        Volume {
            source: on_host,
            target: "/host".into(),
            read_only: true,
        },
    ];
    let id = engine.start(&spec).await.unwrap();
    let sick = state(&engine, &id, |state| {
        state
            .health
            .as_ref()
            .is_some_and(|health| health.last_output == "not yet")
    });
    assert_ne!(sick.await.health.unwrap().status, HealthStatus::Healthy);
    docker(&["exec", id.as_str(), "sh", "-c", "echo > /data/healthy"]);
    state(&engine, &id, |state| {
        state
            .health
            .as_ref()
            .is_some_and(|health| health.status == HealthStatus::Healthy)
    })
    .await;
    let lines = engine.logs_tail(&id, 100, 10_000).await.unwrap();
    let commit = format!("DEPLOYER_COMMIT={}", spec.commit.as_ref().unwrap());
    for wanted in [
        "A=from file",
        "B=from env",
        "DEPLOYER_APP=from file",
        "DEPLOYER_SLOT=from env",
        "DEPLOYER_RELEASE=1",
        "DEPLOYER_INSTANCE=0",
        &commit,
        "seen",
    ] {
        assert!(lines.contains(&wanted.to_owned()), "{lines:?}");
    }
    assert!(docker(&["exec", id.as_str(), "sh", "-c", "echo > /host/x"]).contains("Read-only"));
    engine.remove(&id).await.unwrap();
    assert!(
        docker(&["volume", "rm", &volume]).contains(&volume),
        "a named volume outlives its instance"
    );

    std::fs::write(folder.path().join("env"), "A=1\nhunter2\n").unwrap();
    let error = engine.start(&spec).await.unwrap_err();
    assert!(
        matches!(error, EngineError::EnvFile { line: 2, .. }) && !format!("{error:?}").contains("hunter2")
    );
}

#[tokio::test]
async fn a_stop_waits_as_long_as_the_grace_and_no_longer() {
    let place = Place::new();
    let engine = ready(&place).await;
    let pushed = Pushed::new(
        &engine,
        "CMD [\"sh\", \"-c\", \"trap '' TERM; while true; do sleep 1; done\"]",
    )
    .await;
    let id = engine.start(&place.spec(&pushed.image)).await.unwrap();
    // Until the trap is set, TERM ends it.
    let ready = Instant::now() + Duration::from_secs(10);
    while !docker(&["top", id.as_str()]).contains("sleep 1") {
        assert!(Instant::now() < ready);
    }
    let begun = Instant::now();
    engine.stop(&id, Duration::from_secs(2)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(20));
    assert!(matches!(
        ended(&engine, &id).await,
        Status::Exited { code: 137, .. }
    ));
}

#[tokio::test]
async fn a_build_cannot_pass_its_own_containers_off_as_instances() {
    let place = Place::new();
    let engine = ready(&place).await;
    let pushed = Pushed::new(&engine, SERVER).await;
    let mut args = vec!["run".to_owned(), "-d".to_owned()];
    for (name, value) in [
        ("network", place.settings.network.clone()),
        ("app", "shop".to_owned()),
        ("slot", "green".to_owned()),
        ("lane", "a".to_owned()),
        ("index", "0".to_owned()),
        ("release", "1".to_owned()),
        ("image", pushed.image.to_string()),
        ("service", "web".to_owned()),
        (
            "endpoints",
            format!("{}:8080", place.address(Slot::Green, Lane::A)),
        ),
    ] {
        args.extend(["--label".to_owned(), format!("deployer.{name}={value}")]);
    }
    args.extend([base().to_owned(), "sleep".to_owned(), "60".to_owned()]);
    docker(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(engine.instances(None).await.unwrap().is_empty());
}
