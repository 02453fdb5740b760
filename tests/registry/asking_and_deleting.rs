//! Tags, digests and deletion.

use deployer::registry::{Deleted, RegistryError};

use crate::support::{Server, answer, scripted, settings};

#[tokio::test]
async fn an_open_registry_tells_what_it_holds() {
    let server = Server::open();
    let registry = server.registry();
    registry.check().await.unwrap();
    let error = registry.tags("team/shop").await.unwrap_err();
    assert!(matches!(&error, RegistryError::Unknown { repository, .. } if repository == "team/shop"));
    assert_eq!(registry.digest("team/shop", "v1").await.unwrap(), None);

    let v1 = server.push("team/shop", "v1", "one");
    let v2 = server.push("team/shop", "v2", "two");
    server.push("team/shop", "also-v2", "two");
    let mut tags = registry.tags("team/shop").await.unwrap();
    tags.sort();
    assert_eq!(tags, ["also-v2", "v1", "v2"]);
    let found = registry.digest("team/shop", "v1").await.unwrap().unwrap();
    assert_eq!(found.as_str(), v1);
    assert_eq!(
        registry.digest("team/shop", &v2).await.unwrap().unwrap().as_str(),
        v2
    );
    for odd in [
        "v3",
        "../v1",
        "v1?x",
        "",
        "sha256:x",
        &format!("sha256:{}", "0".repeat(64)),
    ] {
        assert_eq!(registry.digest("team/shop", odd).await.unwrap(), None, "{odd}");
    }
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let server = Server::open();
    let registry = server.registry();
    let v1 = server.push("shop", "v1", "one").parse().unwrap();
    let v2 = server.push("shop", "v2", "two").parse().unwrap();
    assert_eq!(registry.delete("shop", &v1).await.unwrap(), Deleted::Yes);
    assert_eq!(registry.delete("shop", &v1).await.unwrap(), Deleted::Absent);
    assert_eq!(registry.delete("other", &v1).await.unwrap(), Deleted::Absent);
    assert_eq!(registry.digest("shop", "v1").await.unwrap(), None);
    assert_eq!(registry.digest("shop", "v2").await.unwrap(), Some(v2));
    assert_eq!(registry.tags("shop").await.unwrap(), ["v2"]);
}

#[tokio::test]
async fn a_registry_that_does_not_delete_says_so() {
    let server = Server::start("delete: {enabled: false}", "", "");
    let digest = server.push("shop", "v1", "one").parse().unwrap();
    let registry = server.registry();
    assert_eq!(
        registry.delete("shop", &digest).await.unwrap(),
        Deleted::NotAllowed
    );
    assert_eq!(registry.digest("shop", "v1").await.unwrap(), Some(digest));
}

#[tokio::test]
async fn an_upload_that_was_only_tried_is_cancelled() {
    let server = Server::open();
    server.registry().try_upload("shop").await.unwrap();
    let uploads = server
        .folder
        .path()
        .join("data/docker/registry/v2/repositories/shop/_uploads");
    let tried: Vec<_> = std::fs::read_dir(uploads)
        .unwrap()
        .map(|upload| upload.unwrap().path())
        .collect();
    assert_eq!(tried.len(), 1);
    // The registry leaves an empty shell, which it purges by itself after a week.
    assert!(!tried[0].join("data").exists() && !tried[0].join("startedat").exists());
}

#[tokio::test]
async fn tags_are_read_page_by_page_and_only_from_the_registry_itself() {
    let port = scripted(|head| {
        let page = |tags: &str, link: &str| {
            let link = if link.is_empty() {
                String::new()
            } else {
                format!("link: <{link}>; rel=\"next\"\r\n")
            };
            answer(
                "200 OK",
                &format!("content-type: application/json\r\n{link}"),
                &format!("{{\"tags\":{tags}}}"),
            )
        };
        match head.split(' ').nth(1).unwrap() {
            "/v2/shop/tags/list?n=1000" => {
                page("[\"a\",\"../b\",\"-x\"]", "/v2/shop/tags/list?n=1000&last=a")
            }
            "/v2/shop/tags/list?n=1000&last=a" => {
                page("[\"c\"]", "http://127.0.0.1:9/v2/shop/tags/list?last=c")
            }
            // The same page again and again.
            "/v2/loop/tags/list?n=1000" => page("[\"a\"]", "/v2/loop/tags/list?n=1000"),
            "/v2/null/tags/list?n=1000" => page("null", ""),
            _ => page("[]", &format!("/v2/endless/tags/list?last={}", head.len())),
        }
    });
    let registry = deployer::registry::Registry::new(&settings(port)).unwrap();
    assert_eq!(registry.tags("shop").await.unwrap(), ["a", "c"]);
    assert_eq!(registry.tags("loop").await.unwrap(), ["a"]);
    assert!(registry.tags("null").await.unwrap().is_empty());
    assert!(registry.tags("endless").await.unwrap().is_empty());
}
