//! What a restart of the proxy costs: by SIGTERM and by SIGKILL, under a supervisor that starts it again at once.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::table::Table;
use crate::support::http::{self, Request};
use crate::support::traffic::{Client, Load, Outcome, Traffic};
use crate::support::{World, wait_for};

/// How long the proxy may be away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Restarts the proxy `count` times by each signal, under traffic.
pub(super) fn restarts(world: &mut World, count: u64, table: &mut Table) {
    let orders = world.path("orders-restarts");
    fs::create_dir(&orders).expect("a folder for orders");
    let app = world.app(
        "restarts",
        &format!(
            "hosts = [\"restarts.test\"]\nvolumes = [\"{}:/data\"]",
            orders.display()
        ),
    );
    let repo = world.repo(&app);
    repo.version("restarted");
    repo.push("green").live();

    let clients = world.clients(&load().clients);
    let [stop, kill] = match world.has_embedded_proxy() {
        true => [World::stop_proxy as fn(&mut World), World::kill_proxy],
        false => [World::stop_program as fn(&mut World), World::kill_program],
    };
    for (restarts, restart) in [(&mut table.restarted, stop), (&mut table.killed, kill)] {
        let _ = fs::remove_file(orders.join("orders"));
        let traffic = Traffic::start(
            world.public(),
            Load {
                clients: clients.clone(),
                embedded: world.is_embedded(),
                ..load()
            },
        );
        traffic.expect(&["restarted"]);
        for _ in 0..count {
            comes_round(&traffic);
            let begun = Instant::now();
            restart(world);
            match world.has_embedded_proxy() {
                true => world.launch_proxy(),
                false => world.start_program(),
            }
            serves_again(world);
            restarts.away.push(begun.elapsed());
        }
        comes_round(&traffic);
        restarts.traffic = traffic.stop();
        let recorded = fs::read_to_string(orders.join("orders")).unwrap_or_default();
        restarts.orders.compare(&restarts.traffic.orders, &recorded);
    }
}

/// Kinds that are short, so that what is counted is what a restart meets, and one that is not.
fn load() -> Load {
    Load {
        clients: vec![
            Client::KeptGet,
            Client::KeptGet,
            Client::FreshGet,
            Client::Order,
            Client::Order,
            Client::Upload,
            Client::Slow(500),
            Client::WebSocket,
            Client::Events,
        ],
        pause: Duration::from_millis(5),
        timeout: Duration::from_secs(30),
        host: "restarts.test".into(),
        embedded: true,
    }
}

/// Waits until the traffic has got answers of all that is short.
fn comes_round(traffic: &Traffic) {
    let answered = |outcome: &Outcome| outcome.of("restarted");
    let before = answered(&traffic.so_far());
    wait_for("traffic between two restarts", PATIENCE, || {
        (answered(&traffic.so_far()) > before + 100).then_some(())
    });
}

/// Asks on a connection each, without a pause to speak of, until an answer is good.
fn serves_again(world: &World) {
    let request = Request {
        path: "/version".into(),
        host: "restarts.test".into(),
        ..Request::default()
    };
    let end = Instant::now() + PATIENCE;
    while http::request(world.public(), &request, PATIENCE).map_or(true, |reply| reply.status != 200) {
        assert!(
            Instant::now() < end,
            "the proxy has not come back within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}
