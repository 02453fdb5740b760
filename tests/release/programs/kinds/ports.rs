//! A slot port that another program has.

use std::net::TcpListener;

use super::{answer, await_version, world};
use crate::support::World;
use crate::support::programs::Kind;

/// Every kind of release of the app itself, of the slot itself and of another app goes through; who has the port is told;
/// once it is free it answers.
pub(super) fn stop_no_release(kind: Kind) {
    let mut world = world(kind, "taken-port");
    let [cart, shop] = ["cart", "shop"].map(|name| world.app(name, &format!("hosts = [\"{name}.test\"]")));
    let [of_cart, of_shop] = [&cart, &shop].map(|app| world.repo(app));
    let stranger = TcpListener::bind(shop.green).expect("the port is free");
    let taken = format!("port {} is taken by ", shop.green.port());
    let by = format!("(pid {})", std::process::id());
    let tells = |said: &str| said.contains(&taken) && said.contains(&by);
    let good = |version: &str| Some((200, version.to_owned()));
    let shown = |world: &World, host: &str| answer(world, world.public(), host);

    of_shop.version("shop-1");
    let push = of_shop.push("green");
    assert!(tells(&push.said()), "{}", push.said());
    push.live();
    assert_eq!(shown(&world, "shop.test"), good("shop-1"));
    of_cart.version("cart-1");
    let push = of_cart.push("green");
    assert!(!tells(&push.said()), "{}", push.said());
    push.live();
    of_cart.version("cart-2");
    of_cart.push("blue").live();
    world.deployer(&["promote", "cart/green"]).good();
    world.deployer(&["rollback", "--app", "cart"]).good();
    assert_eq!(shown(&world, "cart.test"), good("cart-2"));
    assert_eq!(answer(&world, cart.green, "any.test"), good("cart-1"));

    of_shop.version("shop-2");
    of_shop.push("blue").live();
    assert_eq!(answer(&world, shop.blue, "any.test"), good("shop-2"));
    world.deployer(&["rollback", "--app", "shop"]).good();
    assert_eq!(shown(&world, "shop.test"), good("shop-1"));

    let status = world.json(&["status"]);
    assert_eq!(status["apps"][0]["problems"], serde_json::json!([]), "{status}");
    assert!(tells(&status["apps"][1]["problems"].to_string()), "{status}");
    let said = world.deployer(&["recover", "shop"]).good();
    assert!(tells(&said), "{said}");
    drop(stranger);
    if !world.has_embedded_proxy() {
        let said = world.deployer(&["recover"]).good();
        assert!(said.contains("its slot ports are open again"), "{said}");
    }
    await_version(&world, shop.green, "any.test", "shop-1");
    let status = world.json(&["status"]);
    assert_eq!(status["apps"][1]["problems"], serde_json::json!([]), "{status}");
}
