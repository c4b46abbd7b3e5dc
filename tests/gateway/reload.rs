//! Specs, realms and routers that change while the gateway runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use wampgate::app::Settings;
use wampgate::catalog::installed::State;
use wampgate::config;
use wampgate::devrouter::{DevRouterConfig, RealmConfig, Router};
use wampgate::store::Kind;
use wampgate::value::Value;
use wampgate::wamp::client::{Call, Client};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::message::Payload;

use crate::http::PATIENCE;
use crate::live::{Live, calling, fixed, realm, swap_link};
use crate::support::{Callee, REALM, result, router, session_config, uri};

/// A router that nobody asks anything of: the specs of these tests do not call.
fn nowhere() -> config::Router {
    config::Router::Remote(RouterConfig::default())
}

#[tokio::test]
async fn files_are_followed_and_a_bad_one_changes_nothing() {
    let files = [
        ("realms/r.json", r#"{"uri": "com.a"}"#),
        ("specs/x.json", &fixed("x", "com.a", "/x", "one")),
    ];
    let live = Live::start(&files, nowhere()).await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    live.write("specs/x.json", &fixed("x", "com.a", "/x", "two"));
    live.until_table(2).await;
    assert_eq!(live.get("/x").await, "200 \"two\"");

    live.write("specs/x.json", "{");
    live.write("specs/y.json", &fixed("y", "com.a", "/y", "why"));
    let installed = live
        .until(|it| it.rejected() == (1, 0) && it.specs.len() == 2)
        .await;
    assert!(installed.specs[0].serves_older);
    assert_eq!(live.get("/x").await, "200 \"two\"");
    assert_eq!(live.get("/y").await, "200 \"why\"");

    live.remove("specs/x.json");
    live.until(|it| it.specs.len() == 1).await;
    assert_eq!(live.get("/x").await, "404");
    // A folder that is gone is not an empty one.
    fs::remove_dir_all(live.path("specs")).unwrap();
    live.until(|it| it.others.iter().any(|finding| finding.is_error()))
        .await;
    assert_eq!(live.get("/y").await, "200 \"why\"");
    live.app.stop().await;
}

#[tokio::test]
async fn a_volume_that_swaps_its_link_is_one_change() {
    let live = Live::start(&[("realms/r.json", r#"{"uri": "com.a"}"#)], nowhere()).await;
    let specs = live.path("specs");
    let volume = |version: &str| {
        let folder = specs.join(version);
        fs::create_dir(&folder).unwrap();
        for name in ["x", "y"] {
            let text = fixed(name, "com.a", &format!("/{name}"), version);
            fs::write(folder.join(format!("{name}.json")), text).unwrap();
        }
    };
    volume("..1");
    swap_link(&specs, "..1");
    for name in ["x.json", "y.json"] {
        symlink(format!("..data/{name}"), specs.join(name)).unwrap();
    }
    let first = live.until(|it| it.specs.len() == 2).await;
    volume("..2");
    swap_link(&specs, "..2");
    live.until_table(first.number + 1).await;
    assert_eq!(live.get("/x").await, "200 \"..2\"");
    assert_eq!(live.get("/y").await, "200 \"..2\"");
    live.app.stop().await;
}

#[tokio::test]
async fn stored_documents_are_followed_beside_files() {
    let files = [("realms/r.json", r#"{"uri": "com.a"}"#)];
    let live = Live::start(&files, nowhere()).await;
    let put = async |text: Option<&str>| live.put_and_wait(Kind::Spec, "x", text).await;
    put(Some(&fixed("x", "com.a", "/x", "one"))).await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    put(Some("{")).await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    live.write("specs/x.json", &fixed("x", "com.a", "/x", "file"));
    live.until(|it| it.specs.len() == 2 && it.specs[0].state == State::Active)
        .await;
    assert_eq!(live.get("/x").await, "200 \"file\"");
    put(None).await;
    live.remove("specs/x.json");
    live.until(|it| it.specs.is_empty()).await;
    assert_eq!(live.get("/x").await, "404");
    live.app.stop().await;
}

#[tokio::test]
async fn a_stored_document_that_does_not_load_at_a_start_serves_as_it_last_did() {
    let live = Live::changed(
        &[("realms/r.json", r#"{"uri": "com.a"}"#)],
        nowhere(),
        |_| {},
    )
    .await;
    // Two writes that the gateway sees at once: it has never served the first.
    let store = live.store.clone();
    live.app.stop().await;
    let key = |text: &str| wampgate::store::Write {
        key: wampgate::store::Key {
            kind: Kind::Spec,
            id: "x".to_owned(),
        },
        text: Some(text.into()),
        expect: wampgate::store::Expect::Anything,
        author: "test".to_owned(),
        time_ms: 0,
    };
    use wampgate::store::Store as _;
    store
        .write(key(&fixed("x", "com.a", "/x", "one")))
        .await
        .unwrap();
    store.write(key("{")).await.unwrap();
    let files = [("realms/r.json", r#"{"uri": "com.a"}"#)];
    let live = Live::changed(&files, nowhere(), |plan| plan.store = store).await;
    assert_eq!(live.get("/x").await, "200 \"one\"");
    let installed = live.app.installed().borrow().clone();
    assert!(installed.specs[0].serves_older, "{:?}", installed.specs);
    live.app.stop().await;
}

/// A router on a port, with somebody in each realm who says which router it is.
async fn named_router(name: &'static str, realms: &[&str]) -> (Arc<Router>, String, Vec<Client>) {
    let router = Arc::new(Router::new(DevRouterConfig {
        creates_realms: true,
        ..DevRouterConfig::default()
    }));
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let mut callees = Vec::new();
    for realm in realms {
        let callee = Client::connect(&uri(realm), &session_config(router.endpoint())).await;
        let callee = callee.unwrap();
        let options = Default::default();
        let answer = move |_| std::future::ready(result(name));
        let registration = callee
            .register(&uri("com.test.name"), options, answer)
            .await;
        std::mem::forget(registration.unwrap());
        callees.push(callee);
    }
    (router, url, callees)
}

/// How many sessions are in the realm of a callee, itself aside.
async fn others(callee: &Client) -> u64 {
    let count = Call::new(uri("wamp.session.count"), Payload::default(), PATIENCE);
    let counted = callee.call(count).await.unwrap();
    match counted.payload.args()[0] {
        Value::U64(count) => count - 1,
        Value::I64(count) => u64::try_from(count).unwrap() - 1,
        _ => panic!("a count"),
    }
}

async fn until_others_are(callee: &Client, expected: u64) {
    let counting = async {
        while others(callee).await != expected {
            tokio::task::yield_now().await;
        }
    };
    let counted = tokio::time::timeout(PATIENCE, counting).await;
    counted.unwrap_or_else(|_| panic!("{expected} sessions"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_realm_moves_to_another_router_and_no_request_notices_nor_any_other_realm() {
    let (first, first_url, at_first) = named_router("first", &["com.a", "com.b"]).await;
    let (second, second_url, at_second) = named_router("second", &["com.a"]).await;
    let files = [
        ("realms/a.json", &*realm("com.a", &first_url, 2)),
        ("realms/b.json", &realm("com.b", &first_url, 3)),
        (
            "specs/a.json",
            &calling("a", "com.a", "/a", "com.test.name"),
        ),
        (
            "specs/b.json",
            &calling("b", "com.b", "/b", "com.test.name"),
        ),
    ];
    let live = Live::start(&files, nowhere()).await;
    assert_eq!(live.get("/a").await, "200 \"first\"");
    until_others_are(&at_first[0], 2).await;
    until_others_are(&at_first[1], 3).await;
    let opened = |live: &Live| {
        let status = live.app.gateway().pools.get("com.b").unwrap().status();
        status.sessions.iter().map(|it| it.opened).sum::<u64>()
    };
    let opened_before = opened(&live);

    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (http, stop, answered) = (live.http.clone(), stop.clone(), answered.clone());
        clients.spawn(async move {
            let mut last = "\"first\"".to_owned();
            while !stop.load(Ordering::Relaxed) {
                let answer = http.get("/a").await;
                assert_eq!(answer.status, 200, "{}", answer.show());
                last = String::from_utf8_lossy(&answer.body).into_owned();
                answered.fetch_add(1, Ordering::Relaxed);
            }
            last
        });
    }
    live.write("realms/a.json", &realm("com.a", &second_url, 2));
    live.until_table(2).await;
    assert_eq!(live.get("/a").await, "200 \"second\"");
    until_others_are(&at_first[0], 0).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(last) = clients.join_next().await {
        assert_eq!(last.unwrap(), "\"second\"");
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert_eq!(
        opened(&live),
        opened_before,
        "the other realm kept its sessions"
    );
    assert_eq!(others(&at_first[1]).await, 3);

    // The API goes, and with it the realm's sessions.
    live.remove("specs/a.json");
    live.until(|it| it.specs.len() == 1).await;
    until_others_are(&at_second[0], 0).await;
    assert_eq!(live.get("/b").await, "200 \"first\"");
    live.app.stop().await;
    drop((at_first, at_second));
    first.shutdown().await;
    second.shutdown().await;
}

/// A callee that says when it is called, and answers when it may.
async fn slow_callee(router: &Arc<Router>) -> (Callee, Arc<Notify>, Arc<Notify>) {
    let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut callee = Callee::join(router.endpoint()).await;
    let signals = (called.clone(), release.clone());
    callee
        .register("com.test.slow", move |_| {
            let (called, release) = signals.clone();
            async move {
                called.notify_one();
                release.notified().await;
                result("done")
            }
        })
        .await;
    (callee, called, release)
}

/// Calls, and takes API and realm away meanwhile.
async fn outlives(live: &Live, called: &Notify, release: &Notify) {
    let http = live.http.clone();
    let mut asked = JoinSet::new();
    asked.spawn(async move { http.get("/x").await });
    called.notified().await;
    live.remove("specs/x.json");
    live.remove("realms/r.json");
    live.until(|it| it.specs.is_empty() && it.realms.is_empty())
        .await;
    assert_eq!(live.get("/x").await, "404");
    release.notify_one();
    let answer = asked.join_next().await.unwrap().unwrap();
    assert_eq!(answer.show(), r#"200 "done""#);
}

#[tokio::test]
async fn a_call_in_flight_outlives_its_api_and_its_realm() {
    let (router, url, _callees) = named_router("it", &[REALM]).await;
    let (_callee, called, release) = slow_callee(&router).await;
    let files = [
        ("realms/r.json", &*realm(REALM, &url, 1)),
        ("specs/x.json", &calling("x", REALM, "/x", "com.test.slow")),
    ];
    let live = Live::start(&files, nowhere()).await;
    outlives(&live, &called, &release).await;
    live.app.stop().await;
    router.shutdown().await;
}

#[tokio::test]
async fn a_call_in_flight_outlives_its_realm_of_the_embedded_router() {
    let embedded = Arc::new(router());
    let files = [
        ("realms/r.json", &*format!(r#"{{"uri": "{REALM}"}}"#)),
        ("specs/x.json", &calling("x", REALM, "/x", "com.test.slow")),
    ];
    let live = Live::changed(&files, config::Router::default(), |plan| {
        plan.embedded = Some(embedded.clone());
    })
    .await;
    let (callee, called, release) = slow_callee(&embedded).await;
    outlives(&live, &called, &release).await;
    // And then it is gone.
    tokio::time::timeout(PATIENCE, callee.client.closed())
        .await
        .expect("GOODBYE");
    live.app.stop().await;
}

#[tokio::test]
async fn the_default_router_can_be_another_one() {
    let (first, _, _first_callees) = named_router("first", &["com.a"]).await;
    let (second, _, _second_callees) = named_router("second", &["com.a"]).await;
    let files = [
        ("realms/a.json", r#"{"uri": "com.a"}"#),
        (
            "specs/a.json",
            &*calling("a", "com.a", "/a", "com.test.name"),
        ),
    ];
    let remote = |router: &Arc<Router>| config::Router::Remote(session_config(router.endpoint()));
    let live = Live::changed(&files, remote(&first), |_| {}).await;
    assert_eq!(live.get("/a").await, "200 \"first\"");
    let config = config::Config {
        specs_dir: live.path("specs"),
        realms_dir: live.path("realms"),
        router: remote(&second),
        ..config::Config::default()
    };
    let installed = live
        .app
        .reloads()
        .reload(Some(Settings::new(&config)))
        .await
        .unwrap();
    assert_eq!(installed.number, 1, "the table is the same");
    assert_eq!(live.get("/a").await, "200 \"second\"");
    live.app.stop().await;
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn the_embedded_router_follows_the_realms() {
    let embedded = Arc::new(router());
    let files = [
        ("realms/a.json", r#"{"uri": "com.a"}"#),
        ("specs/a.json", &*fixed("a", "com.a", "/a", "a")),
    ];
    let default = config::Router::default();
    let live = Live::changed(&files, default, |plan| {
        plan.embedded = Some(embedded.clone());
    })
    .await;
    let join = async |realm: &str| {
        Client::connect(&uri(realm), &session_config(embedded.endpoint())).await
    };
    assert!(join("com.b").await.is_err());
    let text = r#"{"uri": "com.b", "users": [{"username": "ann", "password": "hunter2"}]}"#;
    live.put_and_wait(Kind::Realm, "com.b", Some(text)).await;
    let spec = calling("b", "com.b", "/b", "com.test.name");
    live.put_and_wait(Kind::Spec, "b", Some(&spec)).await;
    let callee = join("com.b").await.unwrap();
    let answer = move |_| std::future::ready(result("b"));
    let options = Default::default();
    let _registered = callee
        .register(&uri("com.test.name"), options, answer)
        .await
        .unwrap();
    assert_eq!(live.get("/b").await, "200 \"b\"");
    // In this order: a realm in use stays.
    live.put_and_wait(Kind::Realm, "com.b", None).await;
    assert_eq!(live.get("/b").await, "200 \"b\"");
    live.put_and_wait(Kind::Spec, "b", None).await;
    tokio::time::timeout(PATIENCE, callee.closed())
        .await
        .expect("GOODBYE");
    assert!(join("com.b").await.is_err());
    live.app.stop().await;
}

#[tokio::test]
async fn whoever_may_not_join_any_more_has_to_go() {
    let router = Arc::new(router());
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let open = |users: Vec<wampgate::devrouter::User>| RealmConfig {
        uri: uri(REALM),
        users,
    };
    router.set_realms(&[open(Vec::new())]);
    let sessions = session_config(url.as_str().into());
    let stranger = Client::connect(&uri(REALM), &sessions).await.unwrap();
    let ours = Client::connect(&uri(REALM), &session_config(router.endpoint()))
        .await
        .unwrap();
    router.set_realms(&[open(vec![wampgate::devrouter::User {
        authid: "ann".to_owned(),
        role: "user".to_owned(),
        secret: wampgate::wamp::auth::Secret::text("hunter2"),
        is_enabled: true,
    }])]);
    tokio::time::timeout(PATIENCE, stranger.closed())
        .await
        .expect("GOODBYE");
    assert!(ours.is_open());
    router.shutdown().await;
}
