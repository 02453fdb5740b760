//! What a push does.

use crate::support::World;

#[test]
fn first_push_goes_live() {
    let mut world = World::new("first-push");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");

    repo.push("green").live();

    assert_eq!(world.version(), "v1");
    assert_eq!(world.version_at(shop.green), "v1");
}
