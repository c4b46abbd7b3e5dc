//! Writes that meet others, or a store that takes none.

use http::Method;

use super::support::{Api, spec};
use crate::store::{State, WriteError};

#[tokio::test]
async fn two_admins_do_not_overwrite_each_other_unseen() {
    let api = Api::new();
    let first = spec("a", "com.file", "/a");
    let second = spec("a", "com.file", "/b");
    let reply = api.put("/api_specs/a", &first, &[("if-match", "*")]).await;
    assert_eq!(reply.status, 412, "there is none");
    let reply = api
        .put("/api_specs/a", &first, &[("if-none-match", "*")])
        .await;
    assert_eq!(reply.status, 201);
    let etag = reply.header("etag").to_owned();
    let reply = api
        .put("/api_specs/a", &first, &[("if-none-match", "*")])
        .await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (412, "wampgate.error.precondition_failed")
    );
    let reply = api
        .put("/api_specs/a", &second, &[("if-match", &etag)])
        .await;
    assert_eq!(reply.status, 200);
    let reply = api
        .put("/api_specs/a", &first, &[("if-match", &etag)])
        .await;
    assert_eq!(
        (reply.status, reply.member("revision")),
        (412, "2".to_owned())
    );
    let reply = api
        .ask(Method::DELETE, "/api_specs/a", &[("if-match", &etag)])
        .await;
    assert_eq!(reply.status, 412);
    let reply = api.put("/api_specs/a", &first, &[("if-match", "2")]).await;
    assert_eq!(reply.status, 400, "not understood is not dropped");
    assert_eq!(api.paths(), ["/b", "/filed"]);

    let known = [("if-none-match", "W/\"2.active\"")];
    let reply = api.ask(Method::GET, "/api_specs/a", &known).await;
    assert_eq!((reply.status, reply.body.len()), (304, 0));
    assert_eq!(reply.header("etag"), "\"2.active\"");
}

#[tokio::test]
async fn somebody_who_is_faster_is_told_apart_by_whether_a_condition_was_set() {
    let api = Api::new();
    let conflict = || WriteError::Conflict { found: Some(9) };
    let text = spec("a", "com.file", "/a");
    api.store.fail(conflict());
    assert_eq!(
        api.post("/api_specs", &text).await.status,
        201,
        "tried once more"
    );
    let text = spec("a", "com.file", "/b");
    api.store.fail(conflict());
    api.store.fail(conflict());
    let reply = api.post("/api_specs", &text).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (409, "wampgate.error.conflict")
    );
    api.store.fail(conflict());
    let reply = api
        .put("/api_specs/a", &text, &[("if-match", "\"1\"")])
        .await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (412, "wampgate.error.precondition_failed")
    );
}

#[tokio::test]
async fn a_store_that_cannot_write_says_what_may_be_done() {
    let api = Api::new();
    let text = spec("a", "com.file", "/a");
    let failed = |error: WriteError| {
        api.store.fail(error);
        api.post("/api_specs", &text)
    };
    let reply = failed(WriteError::Unavailable("nats://secret".to_owned())).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (503, "wampgate.error.store_unavailable")
    );
    assert_eq!(reply.header("retry-after"), "1");
    assert!(!String::from_utf8_lossy(&reply.body).contains("nats://"));

    let reply = failed(WriteError::Unknown("timed out".to_owned())).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (503, "wampgate.error.outcome_unknown")
    );
    assert_eq!(reply.header("retry-after"), "", "look first");
    assert_eq!(
        reply.member("type"),
        "\"urn:wampgate:problem:outcome-unknown\""
    );

    let reply = failed(WriteError::Failed("disk".to_owned())).await;
    assert_eq!(reply.status, 500);
    let limit = WriteError::TooLarge {
        size: 9,
        limit: 8,
        setting: "max_payload",
    };
    assert_eq!(failed(limit).await.status, 413);

    let reason = "it came back empty".to_owned();
    api.store.state.send_replace(State::Held { reason });
    let reply = failed(WriteError::Unavailable(String::new())).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (503, "wampgate.error.store_held")
    );
    assert!(reply.member("detail").contains("POST /store/confirm"));
    assert_eq!(api.get("/store").await.member("state"), "\"held\"");
    assert_eq!(api.paths(), ["/filed"]);
}

#[tokio::test]
async fn what_is_there_already_makes_no_revision() {
    let api = Api::new();
    let text = spec("a", "com.file", "/a");
    let dry = api.put("/api_specs/a?dry_run=true", &text, &[]).await;
    assert_eq!(dry.member("unchanged"), "false");
    for status in [201, 200, 200] {
        let reply = api.put("/api_specs/a", &text, &[]).await;
        assert_eq!((reply.status, &*reply.member("revision")), (status, "1"));
        assert_eq!(reply.header("etag"), "\"1.active\"");
    }
    let dry = api.put("/api_specs/a?dry_run=true", &text, &[]).await;
    assert_eq!(dry.member("unchanged"), "true");
    let late = [("if-match", "\"7\"")];
    assert_eq!(api.put("/api_specs/a", &text, &late).await.status, 412);
    let revisions = api.get("/api_specs/a/revisions").await;
    assert_eq!(revisions.json().as_list().unwrap().len(), 1);
}
