//! Failing well: each failure says what failed and what still serves, and changes nothing that serves.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::docker::docker;
use crate::support::{App, Options, Repo, World, wait_for};

/// A world whose slot green is live with v1, the next pushes being the ones that fail.
pub(crate) fn live(name: &str, lines: &str) -> (World, App, Repo) {
    live_with(name, lines, Options::default())
}

pub(crate) fn live_with(name: &str, lines: &str, options: Options) -> (World, App, Repo) {
    let mut world = World::with(name, options);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    (world, shop, repo)
}

/// The push must fail at `step`, say each of `told`, and leave v1 as it was.
#[track_caller]
pub(crate) fn fails(world: &World, repo: &Repo, slot: &str, step: &str, told: &[&str]) {
    let before = world.containers();
    let said = repo.push(slot).failed();
    assert!(said.contains(&format!("at {step}: ")), "not at {step}:\n{said}");
    for told in told {
        assert!(said.contains(told), "{told:?} is not told in\n{said}");
    }
    assert!(said.contains("Release 1 is still live, on green"), "{said}");
    assert!(said.contains("Hint: "), "{said}");
    assert_eq!(world.version(), "v1");
    assert_eq!(world.containers(), before);
}

/// One after the other in one world: after each, all is as if it had not been.
#[test]
fn build_that_fails() {
    let (world, _, repo) = live("build-fails", "");
    repo.remove("Dockerfile").commit("none");
    fails(&world, &repo, "green", "build", &["Dockerfile"]);

    repo.write("Dockerfile", "").commit("empty");
    fails(&world, &repo, "blue", "build", &["Dockerfile", "empty"]);

    let broken = repo.dockerfile("RUN [\"/app\", \"--no-such\"]\nCOPY nowhere /\n");
    repo.write("Dockerfile", broken).commit("broken");
    fails(&world, &repo, "green", "build", &["nowhere"]);
}

#[test]
fn image_without_a_port() {
    let (world, _, repo) = live("no-expose", "");
    let silent = repo.dockerfile("").replace("EXPOSE 8080\n", "");
    repo.write("Dockerfile", silent).commit("no port");
    let told = ["names no port", "EXPOSE", "container_port"];
    fails(&world, &repo, "green", "build", &told);

    let two = repo.dockerfile("EXPOSE 9090\n");
    repo.write("Dockerfile", two).commit("two ports");
    let told = ["several ports (8080, 9090)", "container_port"];
    fails(&world, &repo, "blue", "build", &told);
}

#[test]
fn probe_that_is_answered_500() {
    let (world, _, repo) = live("answers-500", "probe = { deadline = \"2s\" }");
    repo.unwell("v2", "FAIL", "500");
    fails(
        &world,
        &repo,
        "green",
        "probe",
        &["not ready within 2", "last answer: 500 on /", "listening on 8080"],
    );
}

/// One after the other in one world: after each, all is as if it had not been.
#[test]
fn app_that_never_answers() {
    let (world, _, repo) = live("silent", "probe = { deadline = \"2s\", timeout = \"500ms\" }");
    repo.unwell("v2", "FAIL", "exit");
    let told = ["exit code 7", "cannot start: FAIL=exit"];
    fails(&world, &repo, "green", "probe", &told);

    repo.unwell("v3", "FAIL", "hang");
    let told = ["last answer: none on / within 0.50 s"];
    fails(&world, &repo, "blue", "probe", &told);

    repo.unwell("v4", "FAIL", "nolisten");
    let told = [
        "not ready within 2",
        ":8080: Connection refused",
        "nothing in the container listens yet",
    ];
    fails(&world, &repo, "green", "probe", &told);
}

#[test]
fn one_bad_instance_of_three() {
    let (world, _, repo) = live(
        "tcp-probe",
        "instances = 3\nprobe = { kind = \"tcp\", deadline = \"2s\" }",
    );
    repo.unwell("v2", "LISTEN", "127.0.0.1:3000");
    let told = [
        ":8080: Connection refused",
        "the app listens on 127.0.0.1:3000, where only its own container reaches it",
        "have it listen on 0.0.0.0:8080",
    ];
    fails(&world, &repo, "green", "probe", &told);
}

#[test]
fn image_without_the_healthcheck_that_is_asked_for() {
    let (world, _, repo) = live("healthcheck", "");
    world.reconfigure(
        "[app.shop]",
        "[app.shop]\nprobe = { kind = \"healthcheck\", deadline = \"2s\" }",
    );
    repo.version("v2");
    fails(
        &world,
        &repo,
        "green",
        "build",
        &["no HEALTHCHECK", "[app.shop.probe]"],
    );

    let late = repo.dockerfile("HEALTHCHECK --interval=1m CMD [\"/app\"]\nVOLUME /var/shop\n");
    repo.write("Dockerfile", late).commit("late");
    let told = [
        "for the first time 60.0 s after the start",
        "gives up after 2.00 s",
    ];
    fails(&world, &repo, "green", "build", &told);

    world.reconfigure(
        "probe = { kind = \"healthcheck\", deadline = \"2s\" }",
        "volumes = [\"/no/where:/x\"]",
    );
    repo.commit("a folder that is not there");
    let told = ["there is no /no/where on this host", "mounts at /x"];
    fails(&world, &repo, "green", "checkout", &told);

    world.reconfigure("volumes = [\"/no/where:/x\"]", "");
    let said = world.deployer(&["redeploy", "green"]).good();
    let note = "note: the image declares /var/shop as VOLUME";
    assert!(
        said.contains(note) && said.contains("volumes = [\"shop-shop:/var/shop\"]"),
        "{said}"
    );
}

#[test]
fn engine_that_is_down() {
    let mut world = World::new("engine-down");
    // A name of its own for the Engine's socket, that can go away.
    let host = crate::support::docker::host();
    let link = world.path("docker.sock");
    std::os::unix::fs::symlink(host.trim_start_matches("unix://"), &link).expect("a link");
    world.reconfigure(&host, &format!("unix://{}", link.display()));
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    std::fs::remove_file(&link).expect("the link goes");
    repo.version("v2");
    let told = ["Docker Engine", link.to_str().expect("a path of the test's")];
    fails(&world, &repo, "green", "build", &told);
}

#[test]
fn proxy_that_is_down_stops_the_release_before_the_flip() {
    let (mut world, _, repo) = live("proxy-down", "");
    world.stop_proxy();
    repo.version("v2");

    let said = repo.push("green").failed();

    assert!(
        said.contains("at flip: ") && said.contains("deployer proxy run"),
        "{said}"
    );
    assert!(world.containers().iter().all(|container| container.release == 1));
    world.start_proxy();
    assert_eq!(world.version(), "v1");
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
}

#[test]
fn slot_port_that_the_proxy_could_not_open_is_told_and_opened_once_it_is_free() {
    let (mut world, app, _) = live("closed-port", "");
    world.stop_proxy();
    let stranger = TcpListener::bind(app.blue).expect("the port is free");
    world.start_proxy();
    let told = format!("port {} is taken by ", app.blue.port());
    assert!(world.deployer(&["status"]).good().contains(&told));
    assert!(world.deployer(&["proxy", "routes"]).good().contains(&told));
    let said = world.deployer(&["recover"]).good();
    assert!(
        said.contains("passes by itself: ") && said.contains(&told),
        "{said}"
    );
    assert_eq!(world.version(), "v1");

    drop(stranger);
    wait_for("the port to be opened", Duration::from_secs(30), || {
        let problems = world.json(&["status"])["apps"][0]["problems"].clone();
        (problems == serde_json::json!([])).then_some(())
    });
    assert_eq!(
        world
            .get_at(app.blue, "localhost", "/")
            .expect("an answer")
            .status,
        503
    );
}

#[test]
fn unknown_apps_slots_and_releases() {
    let (world, _, _) = live("unknown", "");
    for (arguments, code, told) in [
        (&["status", "cart"][..], 5, "there is no app cart; there is shop"),
        (&["promote", "cart/green"], 5, "there is no app cart"),
        (&["log", "9"], 5, "has no release 9"),
        (
            &["promote", "red"],
            2,
            "is not a slot: blue, green, APP/blue or APP/green",
        ),
        (&["promote", "blue"], 1, "runs nothing"),
        (&["promote", "green"], 1, "live already"),
        (&["app", "create", "Cart"], 2, "an app's name"),
    ] {
        let output = world.deployer(arguments);
        assert_eq!(output.code, Some(code), "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn wrong_configuration_is_refused_whole_and_nothing_stops() {
    let (world, _, repo) = live("wrong-config", "");
    world.reconfigure("[app.shop]", "[app.shop]\ninstanses = 2");
    repo.version("v2");

    let push = repo.push("green");

    assert!(
        push.said().contains("instanses") && push.said().contains('^'),
        "{}",
        push.said()
    );
    assert_eq!(world.deployer(&["status"]).code, Some(1));
    assert_eq!(world.version(), "v1");
}

#[test]
fn an_instance_that_dies_while_live_is_told_and_recovered() {
    let (world, _, _) = live("dies", "restart = \"no\"");
    let container = world.containers().remove(0);
    docker(&["kill", &container.id]).good();
    wait_for("the container to end", Duration::from_secs(20), || {
        (world.containers()[0].state == "exited").then_some(())
    });

    let status = world.deployer(&["status"]).good();
    assert!(status.contains("only 0 of 1 instance run"), "{status}");
    assert!(world.get("/").expect("an answer").status >= 502);

    world.deployer(&["recover"]).good();
    wait_for("the app to answer", Duration::from_secs(20), || {
        world.get("/version").ok().filter(|reply| reply.status == 200)
    });
}

#[test]
fn an_instance_that_is_made_anew_comes_back_by_itself_as_before() {
    let (world, _, _) = live("made-anew", "restart = \"always\"");
    let container = world.containers().remove(0);
    docker(&["rm", "-f", &container.id]).good();

    world.deployer(&["recover"]).good();

    let container = world.containers().remove(0);
    let policy = docker(&[
        "inspect",
        "--format",
        "{{.HostConfig.RestartPolicy.Name}}",
        &container.id,
    ]);
    assert_eq!(policy.good().trim(), "always");
}

#[test]
fn an_app_that_cannot_be_mended_keeps_no_other_from_it() {
    let mut world = World::new("recover-others");
    world.app("blog", "hosts = [\"blog.test\"]");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    docker(&["rm", "-f", &world.containers()[0].id]).good();
    let blog = fs::File::create(world.state("apps/blog/lock")).unwrap();
    blog.lock().unwrap();

    let output = world.deployer(&["recover"]);

    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert!(output.stderr.contains("blog"), "{}", output.stderr);
    assert!(output.stdout.contains("started again"), "{}", output.stdout);
}
