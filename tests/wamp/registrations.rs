//! The map of registered procedures, against a router that has the meta API and ones that have not.

use std::time::Duration;

use futures_util::FutureExt;
use wampgate::uri::Match;
use wampgate::wamp::message::Message;
use wampgate::wamp::pool::{Pool, Registrations, RegistrationsState};

use crate::fake_router::{FEATURES, FakeRouter, Peer, call, config, realm};

const SECOND: Duration = Duration::from_secs(1);

const META_API: &str = r#"{"roles": {"broker": {},
    "dealer": {"features": {"registration_meta_api": true}}}}"#;

/// Answers the two subscriptions; their ids are 1 and 2.
async fn take_subscriptions(peer: &mut Peer) {
    for (id, wanted) in [
        (1, "wamp.registration.on_create"),
        (2, "wamp.registration.on_delete"),
    ] {
        let message = peer.receive().await;
        let Message::Subscribe { request, topic, .. } = message else {
            panic!("{message:?}");
        };
        assert_eq!(topic, wanted);
        peer.send_raw(&format!("[33,{request},{id}]")).await;
    }
}

/// Answers a question about all registrations.
async fn list(peer: &mut Peer, lists: &str) {
    let (request, procedure, _) = peer.call().await;
    assert_eq!(procedure, "wamp.registration.list");
    peer.send_raw(&format!("[50,{request},{{}},[{lists}]]"))
        .await;
}

/// Answers a question about one registration: its id, and what is told (`None`: it is gone).
async fn get(peer: &mut Peer, describe: impl Fn(u64) -> Option<(&'static str, &'static str)>) {
    let (request, procedure, payload) = peer.call().await;
    assert_eq!(procedure, "wamp.registration.get");
    let id = payload.args()[0].as_u64().unwrap();
    let answer = match describe(id) {
        Some((uri, policy)) => format!("[50,{request},{{}},[{}]]", details(id, uri, policy)),
        None => format!(r#"[8,48,{request},{{}},"wamp.error.no_such_registration"]"#),
    };
    peer.send_raw(&answer).await;
}

fn details(id: u64, uri: &str, policy: &str) -> String {
    format!(
        r#"{{"id":{id},"created":"2026-11-21T14:00:00.000Z","uri":"{uri}","match":"{policy}","invoke":"single"}}"#
    )
}

async fn create(peer: &mut Peer, id: u64, uri: &str, policy: &str) {
    let details = details(id, uri, policy);
    peer.send_raw(&format!("[36,1,9,{{}},[77,{details}]]"))
        .await;
}

async fn delete(peer: &mut Peer, id: u64) {
    peer.send_raw(&format!("[36,2,9,{{}},[77,{id}]]")).await;
}

async fn live(registrations: &Registrations) {
    registrations
        .wait_until(|map| map.status().state == RegistrationsState::Live)
        .await;
}

fn listed(registrations: &Registrations) -> Vec<String> {
    let all = registrations.list();
    let shown = all.iter().map(|pattern| match pattern.policy() {
        Match::Exact => pattern.to_string(),
        policy => format!("{pattern} ({})", policy.name()),
    });
    shown.collect()
}

#[tokio::test(start_paused = true)]
async fn the_map_holds_what_there_is_and_follows_what_changes() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let pool = Pool::start(realm(), config(endpoint));
    assert!(pool.status().registrations.is_none(), "nobody has asked");
    let registrations = pool.registrations();
    assert_eq!(registrations.covers("com.a"), None, "not known yet");
    let mut peer = router.welcome_with(META_API).await;
    take_subscriptions(&mut peer).await;
    let (request, ..) = peer.call().await;
    // While it is being filled: one is deleted that is in the list, one is created that is not, and
    // one comes and goes.
    delete(&mut peer, 12).await;
    create(&mut peer, 15, "com.late", "exact").await;
    create(&mut peer, 16, "com.brief", "exact").await;
    delete(&mut peer, 16).await;
    let lists = r#"{"exact":[11,12,13],"prefix":[20],"wildcard":[30]}"#;
    peer.send_raw(&format!("[50,{request},{{}},[{lists}]]"))
        .await;
    for _ in 0..5 {
        get(&mut peer, |id| match id {
            11 => Some(("com.a", "exact")),
            12 => Some(("com.deleted", "exact")),
            20 => Some(("com.shop.", "prefix")),
            30 => Some(("com..get", "wildcard")),
            _ => None,
        })
        .await;
    }
    live(&registrations).await;
    registrations
        .wait_until(|map| map.covers("com.late") == Some(true))
        .await;
    assert_eq!(
        listed(&registrations),
        [
            "com..get (wildcard)",
            "com.a",
            "com.late",
            "com.shop. (prefix)"
        ]
    );
    for (procedure, covered) in [
        ("com.a", true),
        ("com.a.b", false),
        ("com.deleted", false),
        ("com.shop.buy", true),
        ("com.user.get", true),
    ] {
        assert_eq!(
            registrations.covers(procedure),
            Some(covered),
            "{procedure}"
        );
    }
    assert_eq!(registrations.covers("wamp.session.count"), None);
    delete(&mut peer, 20).await;
    registrations
        .wait_until(|map| map.covers("com.shop.buy") == Some(false))
        .await;
    let status = pool.status().registrations.unwrap();
    assert_eq!((status.count, status.is_partial), (3, false));

    // The session is lost: nothing is known until the next has told.
    drop(peer);
    registrations
        .wait_until(|map| map.covers("com.a").is_none())
        .await;
    assert!(registrations.list().is_empty());
    let mut peer = router.welcome_with(META_API).await;
    take_subscriptions(&mut peer).await;
    list(&mut peer, r#"{"exact":[40]}"#).await;
    get(&mut peer, |_| Some(("com.b", "exact"))).await;
    live(&registrations).await;
    assert_eq!(listed(&registrations), ["com.b"]);
    // The same map for everybody, and it ends with the pool.
    assert_eq!(pool.registrations().covers("com.b"), Some(true));
    drop((pool, peer));
    registrations
        .wait_until(|map| map.covers("com.b").is_none())
        .await;
}

#[tokio::test(start_paused = true)]
async fn when_events_are_lost_it_is_filled_anew() {
    let (mut router, endpoint) = FakeRouter::in_process(8192);
    let pool = Pool::start(realm(), config(endpoint));
    let registrations = pool.registrations();
    let mut peer = router.welcome_with(META_API).await;
    take_subscriptions(&mut peer).await;
    let (request, ..) = peer.call().await;
    // More than wait at once, before the list is answered.
    for id in 100..2000 {
        create(&mut peer, id, &format!("com.p{id}"), "exact").await;
    }
    peer.send_raw(&format!(r#"[50,{request},{{}},[{{"exact":[]}}]]"#))
        .await;
    list(&mut peer, r#"{"exact":[7]}"#).await;
    get(&mut peer, |_| Some(("com.seven", "exact"))).await;
    registrations
        .wait_until(|map| map.covers("com.seven") == Some(true))
        .await;
    assert_eq!(listed(&registrations), ["com.seven"]);
}

#[tokio::test(start_paused = true)]
async fn a_uri_that_is_none_makes_the_map_partial() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let pool = Pool::start(realm(), config(endpoint));
    let registrations = pool.registrations();
    let mut peer = router.welcome_with(META_API).await;
    take_subscriptions(&mut peer).await;
    list(&mut peer, r#"{"exact":[1,2]}"#).await;
    for _ in 0..2 {
        get(&mut peer, |id| {
            Some(if id == 1 {
                ("com.a", "exact")
            } else {
                ("not a uri", "exact")
            })
        })
        .await;
    }
    live(&registrations).await;
    assert_eq!(registrations.covers("com.a"), Some(true));
    assert_eq!(registrations.covers("com.b"), None, "it may be there");
}

#[tokio::test(start_paused = true)]
async fn without_the_api_the_map_knows_nothing_and_nobody_is_troubled() {
    for (features, answers) in [
        (FEATURES, &[][..]),
        (META_API, &["wamp.error.not_authorized"]),
    ] {
        let (mut router, endpoint) = FakeRouter::in_process(1024);
        let pool = Pool::start(realm(), config(endpoint));
        let registrations = pool.registrations();
        let mut peer = router.welcome_with(features).await;
        for error in answers {
            let Message::Subscribe { request, .. } = peer.receive().await else {
                panic!("no SUBSCRIBE");
            };
            peer.send_raw(&format!(r#"[8,32,{request},{{}},"{error}"]"#))
                .await;
        }
        registrations
            .wait_until(|map| map.status().state == RegistrationsState::Unavailable)
            .await;
        let status = registrations.status();
        assert!(status.reason.is_some(), "{status:?}");
        assert_eq!(registrations.covers("com.a"), None);
        // It is not asked again on this session, however long that lasts.
        tokio::time::sleep(1000 * SECOND).await;
        assert!(peer.receive().now_or_never().is_none());
        let (result, _) = tokio::join!(pool.call(call("com.a"), SECOND), peer.echo());
        result.unwrap();
        // But on the next.
        drop(peer);
        let mut peer = router.welcome_with(META_API).await;
        take_subscriptions(&mut peer).await;
        list(&mut peer, r#"{"exact":[]}"#).await;
        live(&registrations).await;
        assert_eq!(registrations.covers("com.a"), Some(false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_answers_nonsense_has_no_map() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let pool = Pool::start(realm(), config(endpoint));
    let registrations = pool.registrations();
    let mut peer = router.welcome_with(META_API).await;
    take_subscriptions(&mut peer).await;
    list(&mut peer, "null").await;
    registrations
        .wait_until(|map| map.status().state == RegistrationsState::Unavailable)
        .await;
    // What was subscribed to for it is left.
    for _ in 0..2 {
        assert!(matches!(peer.receive().await, Message::Unsubscribe { .. }));
    }
}
