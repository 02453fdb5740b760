//! What is nginx's own.

use crate::support::programs::{Kind, Program};
use crate::support::{App, Options, Repo, World};

/// A world with nginx and the app `shop`, live with v1 on green.
fn live(name: &str, lines: &str) -> (World, App, Repo) {
    let options = Options {
        kind: Kind::Flip(Program::Nginx),
        ..Options::default()
    };
    let mut world = World::with(name, options);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    (world, shop, repo)
}

#[test]
fn nginx_scratch() {
    let (world, shop, repo) = live("nginx-scratch", "");
    assert_eq!(world.version(), "v1");
    assert_eq!(world.version_at(shop.green), "v1");
    repo.version("v2");
    println!("{}", repo.push("blue").said());
    assert_eq!(world.version(), "v2");
    println!("{}", world.deployer(&["status"]).good());
    if let Ok(file) = std::env::var("SCRATCH_WAIT") {
        println!(
            "public {} green {} blue {} {}",
            world.public(),
            shop.green,
            shop.blue,
            world.path("").display()
        );
        while std::path::Path::new(&file).exists() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn nginx_scratch_reload() {
    let (world, _shop, repo) = live("nginx-reload", "instances = 1");
    let mut load = crate::support::traffic::Load::default();
    load.clients.extend([crate::support::traffic::Client::KeptGet; 6]);
    load.clients.extend([crate::support::traffic::Client::Order; 10]);
    load.pause =
        std::time::Duration::from_millis(std::env::var("SCRATCH_PAUSE").map_or(5, |p| p.parse().unwrap()));
    let traffic = world.traffic_with(load);
    let mut instances = 1;
    for n in 2..8 {
        let next = if instances == 1 { 3 } else { 1 };
        world.reconfigure(
            &format!("instances = {instances}"),
            &format!("instances = {next}"),
        );
        instances = next;
        repo.version(&format!("v{n}"));
        println!(
            "{}",
            repo.push(["green", "blue"][n % 2])
                .said()
                .lines()
                .filter(|l| l.contains("flip") || l.contains("drain") || l.contains("live:"))
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    println!("{}", traffic.stop());
}
