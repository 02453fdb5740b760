//! Hosts and ports: who answers where.

use super::{answer, users_own_site_is_untouched, world};
use crate::support::World;
use crate::support::http::{self, Request};
use crate::support::programs::Kind;

/// An app with hosts, and one that takes every other host; and what is answered where nothing is live or runs.
pub(super) fn reach_their_own_app_alone(kind: Kind) {
    let mut world = world(kind, "addresses");
    let blog = world.app(
        "blog",
        "hosts = [\"*.wild.blog.test\", \"blog.test\", \"www.blog.test\"]\npromote = \"manual\"",
    );
    let shop = world.app("shop", "standby = \"stopped\"");
    let status = |world: &World, address, host: &str| answer(world, address, host).expect("an answer").0;
    let good = |version: &str| Some((200, version.to_owned()));

    let of_blog = world.repo(&blog);
    of_blog.version("blog-1");
    let push = of_blog.push("green");
    assert!(push.verdict().starts_with("standby: "), "{}", push.said());
    assert_eq!(status(&world, world.public(), "blog.test"), 503);
    assert_eq!(answer(&world, blog.green, "any.test"), good("blog-1"));
    assert_eq!(status(&world, blog.blue, "blog.test"), 503);
    assert_eq!(status(&world, world.public(), "nobody.test"), 404);
    users_own_site_is_untouched(&world, kind);

    world.deployer(&["promote", "blog/green"]).good();
    for host in [
        "blog.test",
        "www.blog.test",
        "BLOG.test",
        "blog.test:8080",
        "blog.test.",
        "a.wild.blog.test",
        "B-2.Wild.blog.test:8080",
        "a.wild.blog.test.",
    ] {
        assert_eq!(answer(&world, world.public(), host), good("blog-1"), "{host}");
    }
    for host in [
        "nobody.test",
        "test",
        "a.blog.test",
        "blog.test.nobody",
        "wild.blog.test",
        "b.a.wild.blog.test",
        "a.wildxblog.test",
    ] {
        assert_eq!(status(&world, world.public(), host), 404, "{host}");
    }

    let of_shop = world.repo(&shop);
    for (version, slot) in [("shop-1", "blue"), ("shop-2", "green")] {
        of_shop.version(version);
        of_shop.push(slot).live();
    }
    for (host, version) in [
        ("blog.test", "blog-1"),
        ("nobody.test", "shop-2"),
        ("127.0.0.1", "shop-2"),
    ] {
        assert_eq!(answer(&world, world.public(), host), good(version), "{host}");
    }
    assert_eq!(answer(&world, shop.green, "blog.test"), good("shop-2"));
    // What ran there was stopped on standby.
    assert_eq!(status(&world, shop.blue, "localhost"), 503);
    nobody_learns_what_answers(&world, kind);

    world.deployer(&["app", "remove", "blog", "--yes"]).good();
    assert_eq!(answer(&world, world.public(), "blog.test"), good("shop-2"));
    assert_eq!(answer(&world, blog.green, "blog.test"), None);
    users_own_site_is_untouched(&world, kind);
}

/// Which configuration is in force, and which release answers, is told to deployer alone.
#[track_caller]
fn nobody_learns_what_answers(world: &World, kind: Kind) {
    let ask = |host: &str| {
        let request = Request {
            path: "/head".into(),
            host: host.into(),
            headers: vec![("Deployer-Check".into(), "guess".into())],
            ..Request::default()
        };
        http::request(world.public(), &request, super::DEADLINE).expect("an answer")
    };
    let reply = ask("blog.test");
    assert_eq!((reply.status, reply.header("deployer-release")), (200, None));
    assert!(
        !reply.text().to_lowercase().contains("deployer-check"),
        "{}",
        reply.text()
    );
    if kind.program().is_some() {
        let reply = ask("deployer.invalid");
        assert_eq!(
            (reply.status, reply.header("deployer-configuration")),
            (404, None)
        );
    }
}
