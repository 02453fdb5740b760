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
