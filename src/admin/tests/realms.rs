//! Realms: their secrets, where their findings are, and the APIs that use them.

use super::support::{Api, spec};

#[tokio::test]
async fn a_realm_keeps_its_secrets_and_never_tells_them() {
    let api = Api::new();
    let auth = r#"{"method": "ticket", "authid": "me", "secret": "hush-1"}"#;
    let realm = |description: &str, auth: &str| {
        format!(
            r#"{{"uri": "com.a", "description": "{description}", "router":
                {{"urls": ["ws://127.0.0.1:1/ws"], "auth": {auth}}}}}"#
        )
    };
    let reply = api.post("/realms", &realm("x", auth)).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (201, "/realms/com.a")
    );
    let mut told = vec![String::from_utf8_lossy(&reply.body).into_owned()];
    let read = api.get("/realms/com.a").await;
    assert_eq!(read.member("description"), "\"x\"");
    // What was read is written back, with another description.
    let back = read.json().to_string().replace("\"x\"", "\"y\"");
    let reply = api
        .put("/realms/com.a", &back, &[("if-match", read.header("etag"))])
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.member("description"), "\"y\"");
    let kept = api.store.as_ref();
    let text = crate::store::Store::contents(kept)
        .borrow()
        .records
        .values()
        .next()
        .unwrap()
        .text
        .clone();
    assert!(text.unwrap().contains("hush-1"));
    // Another one to log in as has no secret yet.
    let reply = api
        .put(
            "/realms/com.a",
            &realm("y", r#"{"method": "ticket", "authid": "you"}"#),
            &[],
        )
        .await;
    assert_eq!(reply.status, 422);
    told.push(String::from_utf8_lossy(&reply.body).into_owned());
    let wrong = realm(
        "y",
        r#"{"method": "ticket", "authid": "me", "secret": "hush-2", "x": 1}"#,
    );
    for path in ["/realms/com.a", "/realms/com.a?dry_run=true"] {
        let reply = api.put(path, &wrong, &[]).await;
        told.push(String::from_utf8_lossy(&reply.body).into_owned());
    }
    for path in [
        "/realms",
        "/realms/com.a",
        "/realms/com.a/revisions",
        "/realms/com.a/revisions/1",
        "/realms/com.a/revisions/2",
    ] {
        let reply = api.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        told.push(String::from_utf8_lossy(&reply.body).into_owned());
    }
    assert!(told.iter().all(|told| !told.contains("hush")), "{told:#?}");
    let reply = api.post("/realms/com.a/revisions/1/restore", "").await;
    assert_eq!(
        (reply.status, &*reply.member("description")),
        (200, "\"x\"")
    );
}

#[tokio::test]
async fn findings_have_their_place_in_the_text_that_was_sent() {
    let api = Api::new();
    let realm = |secret: &str, more: &str| {
        format!(
            r#"{{"uri": "com.a",

"router": {{"urls": ["ws://127.0.0.1:1/ws"], "auth": {{"method": "ticket", "authid": "me"{secret}}},
      {more}"sessions": 1}}}}"#
        )
    };
    let first = realm(r#", "secret": "hush""#, "");
    assert_eq!(api.post("/realms", &first).await.status, 201);
    // The secret is kept, in a text that has other lines.
    let reply = api.post("/realms", &realm("", r#""sessionz": 1, "#)).await;
    assert_eq!(
        reply.errors(),
        ["4:7 /router/sessionz D005 unknown key `sessionz`"]
    );
    assert_eq!(api.post("/realms", &realm("", "")).await.status, 200);
}

#[tokio::test]
async fn a_realm_that_an_api_uses_stays() {
    let api = Api::new();
    api.post("/realms", r#"{"uri": "com.a"}"#).await;
    api.post("/api_specs", &spec("a", "com.a", "/a")).await;
    let reply = api.delete("/realms/com.a").await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (409, "wampgate.error.in_use")
    );
    assert!(reply.member("detail").contains("API `a`"), "{reply:?}");
    api.delete("/api_specs/a").await;
    assert_eq!(api.delete("/realms/com.a").await.status, 204);
    assert_eq!(api.get("/realms/com.a").await.status, 404);
    let reply = api.post("/realms", r#"[{"uri": "com.a"}]"#).await;
    assert_eq!(reply.status, 422);
    let later = r#"{"uri": "com.a", "grants": [{"roles": "all"}]}"#;
    let reply = api.post("/realms", later).await;
    assert!(reply.errors()[0].contains("D012"), "{reply:?}");
}
