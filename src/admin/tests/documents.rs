//! Documents: loaded, shown, listed, changed, deleted.

use http::Method;

use super::support::{Api, NOW_MS, spec};
use crate::store::Store;
use crate::value::Value;
use crate::value::msgpack::from_msgpack;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_spec_is_served_when_its_load_is_answered_and_gone_when_its_deletion_is() {
    let api = Api::new();
    let text = spec("a", "com.file", "/a");
    let reply = api.post("/api_specs", &text).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), "/api_specs/a");
    let etag = reply.header("etag").to_owned();
    assert_eq!(etag, "\"1.active\"");
    let info = r#"{"id":"a","name":"a","host":"_","realm_uri":"com.file","meta":{"team":"a"},"ts":1700000000000,"revision":1,"source":"store","state":"active"}"#;
    assert_eq!(reply.json().to_string(), info);
    assert_eq!(api.paths(), ["/a", "/filed"]);

    let other = format!("{text}\n");
    let reply = api.post("/v1.0/services/load_api_spec/", &other).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    let reply = api.post("/api_specs", &text).await;
    assert_eq!((reply.status, reply.header("location")), (200, ""));
    assert_eq!(reply.header("etag"), "\"3.active\"");

    let reply = api.get("/api_specs/a/info").await;
    assert_eq!(
        reply.json().to_string(),
        info.replace("\"revision\":1", "\"revision\":3")
    );
    let reply = api.get("/api_specs/a").await;
    assert_eq!(reply.header("etag"), "\"3.active\"");
    let shown = reply.json().to_string();
    assert!(
        shown.contains(r#""paths":{"/a":{"get":{"action":{"type":"static"}}}}"#),
        "{shown}"
    );
    assert!(
        shown.ends_with(r#""ts":1700000000000,"revision":3,"source":"store","state":"active"}"#),
        "{shown}"
    );
    // What is shown can be loaded again.
    let reply = api.put("/api_specs/a", &shown, &[]).await;
    assert_eq!(reply.status, 200, "{reply:?}");

    assert_eq!(api.delete("/api_specs/a").await.status, 204);
    assert_eq!(api.paths(), ["/filed"]);
    for reply in [
        api.delete("/api_specs/a").await,
        api.get("/api_specs/a").await,
        api.get("/api_specs/a/info").await,
    ] {
        assert_eq!(
            (reply.status, &*reply.code()),
            (404, "bondy.error.not_found")
        );
    }
}

#[tokio::test]
async fn a_spec_with_errors_changes_nothing_and_each_error_has_its_place() {
    let api = Api::new();
    api.post("/api_specs", &spec("a", "com.file", "/a")).await;
    let bad = spec("a", "com.nowhere", "/b").replace("\"host\"", "\"hots\"");
    let reply = api.post("/api_specs", &bad).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (422, "wampgate.error.unprocessable")
    );
    assert_eq!(reply.errors(), ["1:13 /hots D005 unknown key `hots`"]);
    let reply = api
        .post("/api_specs", &spec("a", "com.nowhere", "/b"))
        .await;
    let errors = reply.errors();
    assert!(errors[0].contains("/realm_uri S201"), "{errors:?}");
    assert_eq!(api.paths(), ["/a", "/filed"]);

    // The same route as another API's.
    let reply = api
        .post("/api_specs", &spec("b", "com.file", "/filed"))
        .await;
    assert_eq!(reply.status, 422);
    assert!(reply.errors()[0].contains("S204"), "{:?}", reply.errors());

    for (body, status, error) in [
        ("{\"id\": \"a\",\n x}", 400, "2:2  D001"),
        ("[]", 422, "1:1  D006 found list, expected a map"),
        ("{}", 422, "1:1  D007 missing key `id`"),
        (
            r#"{"id": 5}"#,
            422,
            "1:8 /id D006 `id`: found integer, expected text",
        ),
        (
            r#"{"id": ""}"#,
            422,
            "1:8 /id D008 `id`: expected a text that is not empty",
        ),
    ] {
        let reply = api.post("/api_specs", body).await;
        assert_eq!(reply.status, status, "{body}");
        assert!(reply.errors()[0].starts_with(error), "{:?}", reply.errors());
    }
    let reply = api
        .put("/api_specs/b", &spec("a", "com.file", "/a"), &[])
        .await;
    assert_eq!(
        (reply.status, reply.errors()[0].contains("/id")),
        (422, true)
    );
}

#[tokio::test]
async fn what_is_no_document_is_refused_before_it_is_read() {
    let api = Api::new();
    let ask = |content_type: &'static str, body: &'static [u8]| {
        let headers = [("content-type", content_type)];
        let api = &api;
        async move {
            api.ask_with(Method::POST, "/api_specs", &headers, body.to_vec())
                .await
        }
    };
    // What curl says of a body when nobody else does.
    let reply = ask("application/x-www-form-urlencoded", b"{}").await;
    assert_eq!(reply.status, 415);
    assert_eq!(
        reply.header("accept-post"),
        "application/json, application/msgpack"
    );
    assert_eq!(ask("", b"{}").await.status, 415);
    assert_eq!(ask("application/json", b"\xff").await.status, 400);
    assert_eq!(ask("application/msgpack", b"\xc1").await.status, 400);
    let large = vec![b' '; (8 << 20) + 1];
    let reply = api
        .ask_with(Method::POST, "/api_specs", &[JSON], large)
        .await;
    assert_eq!((reply.status, reply.header("connection")), (413, "close"));
    let reply = api.post("/api_specs?dryrun=true", "{}").await;
    assert_eq!(
        reply.status, 400,
        "a misspelt parameter must not change anything"
    );
    let both = "/api_specs?dry_run=false&dry_run=true";
    let reply = api.post(both, &spec("a", "com.file", "/a")).await;
    assert_eq!(reply.status, 400, "which one counts?");
    let packed = [JSON, ("content-encoding", "gzip")];
    let reply = api
        .ask_with(Method::POST, "/api_specs", &packed, b"\x1f\x8b".to_vec())
        .await;
    assert_eq!(
        (reply.status, reply.header("accept-encoding")),
        (415, "identity")
    );
    let reply = api
        .post("/api_specs?dry_run=maybe", &spec("a", "com.file", "/a"))
        .await;
    assert_eq!(reply.status, 400);
    assert_eq!(api.paths(), ["/filed"]);
}

#[tokio::test]
async fn messagepack_goes_in_and_out() {
    let api = Api::new();
    let value = crate::value::json::from_json(spec("a", "com.file", "/a").as_bytes()).unwrap();
    let body = rmp_serde::to_vec(&value).unwrap();
    let headers = [
        ("content-type", "application/msgpack"),
        ("accept", "application/msgpack"),
    ];
    let reply = api
        .ask_with(Method::POST, "/api_specs", &headers, body)
        .await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (201, "application/msgpack")
    );
    let info = from_msgpack(&reply.body).unwrap();
    assert_eq!(info.as_map().unwrap()["id"], Value::from("a"));
    let reply = api.ask(Method::GET, "/api_specs/a", &headers[1..]).await;
    let shown = from_msgpack(&reply.body).unwrap();
    assert_eq!(shown.as_map().unwrap()["host"], Value::from("_"));
    assert_eq!(shown.as_map().unwrap()["ts"].as_u64(), Some(NOW_MS));
}

#[tokio::test]
async fn what_a_file_holds_is_shown_and_not_changed() {
    let api = Api::new();
    let reply = api.get("/api_specs/filed").await;
    assert_eq!((reply.status, &*reply.member("source")), (200, "\"file\""));
    assert_eq!(reply.member("revision"), "null");
    let text = spec("filed", "com.file", "/filed");
    for reply in [
        api.put("/api_specs/filed", &text, &[]).await,
        api.post("/api_specs", &text).await,
        api.delete("/api_specs/filed").await,
        api.put("/realms/com.file", r#"{"uri": "com.file"}"#, &[])
            .await,
        api.delete("/realms/com.file").await,
    ] {
        assert_eq!(
            (reply.status, &*reply.code()),
            (409, "wampgate.error.read_only")
        );
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let api = Api::new();
    let reply = api
        .post("/api_specs?dry_run=true", &spec("a", "com.file", "/a"))
        .await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "201"));
    let routes = reply.member("routes");
    assert!(
        routes.contains(r#""added":[{"method":"GET","host":"_","path":"/a","action":"static""#),
        "{routes}"
    );
    assert!(routes.contains(r#""removed":[],"changed":[]"#), "{routes}");
    assert_eq!(api.get("/api_specs/a").await.status, 404);

    api.post("/api_specs", &spec("a", "com.file", "/a")).await;
    let other = spec("a", "com.file", "/b");
    let reply = api
        .put("/api_specs/a?dry_run", &other, &[("if-match", "\"1\"")])
        .await;
    assert_eq!(reply.member("status"), "200");
    let routes = reply.member("routes");
    assert!(
        routes.contains(r#""path":"/b""#) && routes.contains(r#""path":"/a""#),
        "{routes}"
    );
    let reply = api
        .put("/api_specs/a?dry_run=1", &other, &[("if-match", "\"7\"")])
        .await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "412"));
    let bad = spec("a", "com.nowhere", "/b");
    let reply = api.post("/api_specs?dry_run=true", &bad).await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "422"));
    assert!(reply.errors()[0].contains("S201"), "{reply:?}");
    let reply = api
        .ask(Method::DELETE, "/api_specs/a?dry_run=true", &[])
        .await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "204"));
    let reply = api
        .ask(Method::DELETE, "/realms/com.file?dry_run=true", &[])
        .await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "409"));
    let long = spec(&"x".repeat(600), "com.file", "/b");
    let reply = api.post("/api_specs?dry_run=true", &long).await;
    assert_eq!((reply.status, &*reply.member("status")), (200, "422"));
    assert_eq!(api.paths(), ["/a", "/filed"]);
}

#[tokio::test]
async fn revisions_are_kept_and_restored_also_of_what_was_deleted() {
    let api = Api::new();
    let from = [JSON, ("from", "ann@example.org")];
    let post = |text: String| api.ask_with(Method::POST, "/api_specs", &from, text.into());
    post(spec("a", "com.file", "/a")).await;
    post(spec("a", "com.file", "/b")).await;
    assert_eq!(api.delete("/api_specs/a").await.status, 204);
    let reply = api.get("/api_specs/a/revisions").await;
    let list = reply.json().to_string();
    assert!(list.starts_with(r#"[{"revision":3,"ts":1700000000000,"author":"admin","deleted":true,"hash":null},{"revision":2,"ts":1700000000000,"author":"ann@example.org","deleted":false"#), "{list}");
    let reply = api.get("/api_specs/a/revisions/1").await;
    assert!(reply.member("text").contains("\"/a\""), "{reply:?}");
    assert_eq!(
        api.get("/api_specs/a/revisions/3").await.member("text"),
        "null"
    );

    let reply = api.post("/api_specs/a/revisions/1/restore", "").await;
    assert_eq!((reply.status, &*reply.member("revision")), (201, "4"));
    assert_eq!(api.paths(), ["/a", "/filed"]);
    let reply = api
        .post("/api_specs/a/revisions/2/restore?dry_run=true", "")
        .await;
    assert_eq!(reply.member("status"), "200");
    assert_eq!(
        api.post("/api_specs/a/revisions/2/restore", "")
            .await
            .status,
        200
    );
    assert_eq!(api.paths(), ["/b", "/filed"]);

    assert_eq!(
        api.post("/api_specs/a/revisions/3/restore", "")
            .await
            .status,
        409
    );
    assert_eq!(
        api.post("/api_specs/a/revisions/99/restore", "")
            .await
            .status,
        404
    );
    assert_eq!(api.get("/api_specs/a/revisions/x").await.status, 400);
    assert_eq!(api.get("/api_specs/none/revisions").await.status, 404);
}

#[tokio::test]
async fn ids_are_any_text() {
    let api = Api::new();
    for (number, id) in ["a/b", "../x", "a b\r\nx: y", "ä%2F\"<>", "?q#f"]
        .into_iter()
        .enumerate()
    {
        let path = format!("/p{number}");
        let reply = api.post("/api_specs", &spec(id, "com.file", &path)).await;
        assert_eq!(reply.status, 201, "{id}: {reply:?}");
        let location = reply.header("location").to_owned();
        assert!(!location.contains(['\r', '\n', ' ']), "{location}");
        let reply = api.get(&location).await;
        assert_eq!(reply.member("id"), Value::from(id).to_string());
        assert_eq!(api.delete(&location).await.status, 204);
    }
    let long = "x".repeat(600);
    let reply = api.post("/api_specs", &spec(&long, "com.file", "/x")).await;
    assert_eq!(reply.status, 422);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::new();
    for id in ["c", "a\u{0}b", "b"] {
        let path = format!("/{}", id.len());
        let path = format!("{path}{}", id.chars().next().unwrap());
        assert_eq!(
            api.post("/api_specs", &spec(id, "com.file", &path))
                .await
                .status,
            201
        );
    }
    let mut ids = Vec::new();
    let mut path = "/v1.0/api_specs?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let reply = api.get(&path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let list = reply.json();
        ids.extend(
            list.as_list()
                .unwrap()
                .iter()
                .map(|spec| spec.as_map().unwrap()["id"].as_text().unwrap().to_owned()),
        );
        pages += 1;
        let Some(next) = reply.header("link").strip_prefix('<') else {
            break;
        };
        let (next, rel) = next.split_once('>').unwrap();
        assert_eq!(rel, "; rel=\"next\"");
        assert!(
            next.starts_with("/v1.0/api_specs?limit=2&cursor="),
            "{next}"
        );
        path = next.to_owned();
    }
    assert_eq!(
        (pages, ids),
        (
            2,
            ["a\u{0}b", "b", "c", "filed"].map(str::to_owned).to_vec()
        )
    );
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=!", "page=2"] {
        assert_eq!(
            api.get(&format!("/api_specs?{query}")).await.status,
            400,
            "{query}"
        );
    }
    let routes = api.get("/routes?limit=1").await;
    assert_eq!(routes.json().as_list().unwrap().len(), 1);
    assert!(!routes.header("link").is_empty());
}

#[tokio::test]
async fn the_store_and_who_shares_it_are_shown() {
    let api = Api::new();
    api.post("/api_specs", &spec("a", "com.file", "/a")).await;
    let reply = api.get("/store").await;
    let expected = r#"{"state":"ready","reason":null,"revision":1,"served_revision":1,"documents":{"specs":1,"realms":0}}"#;
    assert_eq!(reply.json().to_string(), expected);
    assert_eq!(api.get("/cluster").await.status, 200);
    assert_eq!(
        api.post("/store/confirm", r#"{"use": "store"}"#)
            .await
            .status,
        204
    );
    let reply = api.post("/store/confirm", r#"{"use": "mine"}"#).await;
    assert_eq!(reply.status, 422);
}

#[tokio::test]
async fn what_comes_later_says_so() {
    let api = Api::new();
    for path in [
        "/api_specs/a/openapi",
        "/realms/com.a/users",
        "/realms/com.a/api_keys/k",
        "/realms/com.a/users/u/enabled",
    ] {
        let reply = api.get(path).await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (501, "wampgate.error.not_built"),
            "{path}"
        );
    }
    assert_eq!(api.get("/realms/com.a/nothing").await.status, 404);
    let reply = api
        .post("/services/call", r#"{"procedure": "com.a"}"#)
        .await;
    assert_eq!(reply.status, 403);
    assert!(reply.member("detail").contains("admin.allow_calls"));
    assert_eq!(api.get("/realms/com.a/registrations").await.status, 404);
}

#[tokio::test]
async fn a_text_comes_back_letter_for_letter_but_for_secrets() {
    let api = Api::new();
    let text = format!(" {}\n\n", spec("a", "com.file", "/a"));
    assert_eq!(api.put("/api_specs/a", &text, &[]).await.status, 201);
    let reply = api.get("/api_specs/a/text").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("etag"), "\"1.active\"");
    assert_eq!(reply.body, text.as_bytes());
    let filed = api.get("/api_specs/filed/text").await;
    assert_eq!(filed.body, spec("filed", "com.file", "/filed").as_bytes());

    let plain = "{\"uri\":  \"com.a\"}";
    api.put("/realms/com.a", plain, &[]).await;
    assert_eq!(api.get("/realms/com.a/text").await.body, plain.as_bytes());
    let secret = r#"{"uri": "com.a", "users": [{"username": "ann", "password": "hushhush"}]}"#;
    api.put("/realms/com.a", secret, &[]).await;
    let shown = api.get("/realms/com.a/text").await;
    let shown = String::from_utf8(shown.body).unwrap();
    assert!(shown.contains("ann") && !shown.contains("hush"), "{shown}");
    // What was got can be put again, and keeps the secret; the second time it is nothing new.
    for revision in ["4", "4"] {
        let reply = api.put("/realms/com.a", &shown, &[]).await;
        assert_eq!((reply.status, &*reply.member("revision")), (200, revision));
    }
    let contents = api.store.contents().borrow().clone();
    let mut texts = contents.records.values().map(|it| it.text.clone().unwrap());
    assert!(texts.any(|text| text.contains("hushhush")));

    let earlier = api.get("/realms/com.a/text?revision=2").await;
    assert_eq!(earlier.body, plain.as_bytes());
    api.delete("/api_specs/a").await;
    let earlier = api.get("/api_specs/a/text?revision=1").await;
    assert_eq!(earlier.body, text.as_bytes());
    for (path, status) in [
        ("/api_specs/a/text", 404),
        ("/api_specs/a/text?revision=5", 409),
        ("/api_specs/a/text?revision=3", 404),
        ("/api_specs/a/text?revision=x", 400),
    ] {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
}
