//! What the router tells about itself.

use wampgate::devrouter::{DevRouterConfig, RealmConfig, Router, User};
use wampgate::value::Value;
use wampgate::wamp::auth::Secret;
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, REALM, config, router, uri};

/// Subscribes to events of the router's own, and returns who did.
async fn watcher(router: &Router, topics: &[&str]) -> Peer {
    let mut watcher = Peer::join(router, Serializer::Json).await;
    for (request, topic) in (1..).zip(topics) {
        watcher
            .tell(&format!(r#"[32,{request},{{}},"{topic}"]"#))
            .await;
        assert!(matches!(
            watcher.hear().await,
            Some(Message::Subscribed { .. })
        ));
    }
    watcher
}

/// The positional arguments of the next event.
async fn told(watcher: &mut Peer) -> String {
    match watcher.hear().await {
        Some(Message::Event { payload, .. }) => Value::List(payload.args().to_vec()).to_string(),
        other => panic!("no EVENT: {other:?}"),
    }
}

/// The positional results of a call.
async fn call(caller: &mut Peer, procedure: &str, args: &str) -> Vec<Value> {
    caller
        .tell(&format!(r#"[48,1,{{}},"{procedure}",{args}]"#))
        .await;
    match caller.hear().await {
        Some(Message::Result { payload, .. }) => payload.args().to_vec(),
        other => panic!("no RESULT: {other:?}"),
    }
}

async fn shown(caller: &mut Peer, procedure: &str, args: &str) -> String {
    Value::List(call(caller, procedure, args).await).to_string()
}

#[tokio::test]
async fn sessions_are_counted_listed_and_described() {
    let router = router();
    let (mut peer, other) = pair(&router).await;
    let mut ids = [peer.session, other.session];
    ids.sort_unstable();
    let [a, b] = ids;
    for (procedure, args, answer) in [
        ("wamp.session.count", "[]", "[2]".to_owned()),
        ("wamp.session.count", r#"[["anonymous"]]"#, "[2]".to_owned()),
        ("wamp.session.count", r#"[["admin"]]"#, "[0]".to_owned()),
        ("wamp.session.count", "[[]]", "[0]".to_owned()),
        ("wamp.session.list", "[]", format!("[[{a},{b}]]")),
        ("wamp.session.list", r#"[["admin"]]"#, "[[]]".to_owned()),
        (
            "wamp.session.get",
            &format!("[{b}]"),
            format!(
                r#"[{{"session":{b},"authid":"anonymous-{b}","authrole":"anonymous","authmethod":"anonymous","authprovider":"static"}}]"#
            ),
        ),
    ] {
        assert_eq!(shown(&mut peer, procedure, args).await, answer);
    }
    peer.asks(
        r#"[48,2,{},"wamp.session.get",[1]]"#,
        r#"[8,48,2,{},"wamp.error.no_such_session",["there is no other session 1"]]"#,
    )
    .await;
    for (request, args) in (3..).zip([r#"["admin"]"#, r#"[["admin",1]]"#]) {
        peer.asks(
            &format!(r#"[48,{request},{{}},"wamp.session.list",{args}]"#),
            &format!(r#"[8,48,{request},{{}},"wamp.error.invalid_argument",["argument 1 must be a list of roles"]]"#),
        )
        .await;
    }
}

#[tokio::test]
async fn sessions_are_seen_to_come_and_go() {
    let router = router();
    let mut watcher = watcher(&router, &["wamp.session.on_join", "wamp.session.on_leave"]).await;
    let peer = Peer::join(&router, Serializer::Msgpack).await;
    let id = peer.session;
    assert_eq!(
        told(&mut watcher).await,
        format!(
            r#"[{{"session":{id},"authid":"anonymous-{id}","authrole":"anonymous","authmethod":"anonymous","authprovider":"static"}}]"#
        )
    );
    peer.vanish();
    assert_eq!(
        told(&mut watcher).await,
        format!(r#"[{id},"anonymous-{id}","anonymous"]"#)
    );
}

#[tokio::test]
async fn a_killed_session_is_told_why_and_gone_at_once() {
    let router = router();
    let (mut killer, mut victim) = pair(&router).await;
    let mut watcher = watcher(&router, &["wamp.session.on_leave"]).await;
    let (id, own) = (victim.session, killer.session);
    victim.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    killer.tell(r#"[48,1,{},"a.b"]"#).await;
    victim.hears("[68,1,1,{}]").await;
    killer
        .tell(&format!(
            r#"[48,2,{{}},"wamp.session.kill",[{id}],{{"reason":"com.kick","message":"enough"}}]"#
        ))
        .await;
    killer
        .hears(r#"[8,48,1,{},"wamp.error.canceled",["the callee is gone"]]"#)
        .await;
    killer.hears("[50,2,{}]").await;
    assert_eq!(
        told(&mut watcher).await,
        format!(r#"[{id},"anonymous-{id}","anonymous"]"#)
    );
    killer
        .asks(
            r#"[48,3,{},"a.b"]"#,
            r#"[8,48,3,{},"wamp.error.no_such_procedure",["nobody has registered `a.b`"]]"#,
        )
        .await;
    victim.hears(r#"[6,{"message":"enough"},"com.kick"]"#).await;
    victim
        .asks(r#"[6,{},"wamp.close.goodbye_and_out"]"#, "end")
        .await;
    watcher.hears_nothing_more().await;

    for (args, error) in [
        (
            format!("[{id}]"),
            format!(r#""wamp.error.no_such_session",["there is no other session {id}"]"#),
        ),
        (
            format!("[{own}]"),
            format!(r#""wamp.error.no_such_session",["there is no other session {own}"]"#),
        ),
        (
            format!(r#"[{own}],{{"reason":"no uri"}}"#),
            r#""wamp.error.invalid_uri",["`reason` must be a URI"]"#.to_owned(),
        ),
        (
            "[]".to_owned(),
            r#""wamp.error.invalid_argument",["argument 1 must be an id"]"#.to_owned(),
        ),
    ] {
        killer
            .asks(
                &format!(r#"[48,4,{{}},"wamp.session.kill",{args}]"#),
                &format!("[8,48,4,{{}},{error}]"),
            )
            .await;
    }
}

#[tokio::test]
async fn all_others_of_a_name_or_a_role_are_killed_together() {
    let user = |authid: &str| User {
        authid: authid.to_owned(),
        role: "clerk".to_owned(),
        is_enabled: true,
        secret: Secret::text("ticket"),
    };
    let router = Router::new(DevRouterConfig {
        realms: vec![RealmConfig {
            uri: uri(REALM),
            users: vec![user("ann"), user("bob")],
        }],
        ..config()
    });
    let join = async |authid: &str| {
        let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
        peer.asks(
            &format!(r#"[1,"{REALM}",{{"roles":{{"caller":{{}},"subscriber":{{}}}},"authmethods":["ticket"],"authid":"{authid}"}}]"#),
            r#"[4,"ticket",{}]"#,
        )
        .await;
        peer.tell(r#"[5,"ticket",{}]"#).await;
        match peer.hear().await {
            Some(Message::Welcome { session, .. }) => peer.session = session.0,
            other => panic!("no WELCOME: {other:?}"),
        }
        peer
    };
    let mut killer = join("ann").await;
    let mut watcher = watcher(&router, &["wamp.session.on_leave"]).await;
    const KILLED: &str = r#"[6,{},"wamp.close.killed"]"#;

    let mut twin = join("ann").await;
    let answer = shown(&mut killer, "wamp.session.kill_by_authid", r#"["ann"]"#).await;
    assert_eq!(answer, format!("[[{}]]", twin.session));
    twin.hears(KILLED).await;
    told(&mut watcher).await;

    let (mut ann, mut bob) = (join("ann").await, join("bob").await);
    let answer = shown(&mut killer, "wamp.session.kill_by_authrole", r#"["clerk"]"#).await;
    assert_eq!(answer, "[2]");
    ann.hears(KILLED).await;
    bob.hears(KILLED).await;
    let left = [told(&mut watcher).await, told(&mut watcher).await];
    assert!(left.iter().any(|it| it.ends_with(r#","bob","clerk"]"#)));
    let answer = shown(&mut killer, "wamp.session.count", r#"[["clerk"]]"#).await;
    assert_eq!(answer, "[1]");

    // Who watches is killed as well, so nobody is left to hear of it; also the killer does not.
    killer
        .asks(r#"[32,2,{},"wamp.session.on_leave"]"#, "[33,2,1]")
        .await;
    let answer = shown(&mut killer, "wamp.session.kill_all", "[]").await;
    assert_eq!(answer, "[1]");
    watcher.hears(KILLED).await;
    killer.hears_nothing_more().await;
}

#[tokio::test]
async fn registrations_are_listed_found_and_described() {
    let router = router();
    let (mut peer, mut callee) = pair(&router).await;
    for (request, options, procedure) in [
        (1, r#"{"invoke":"roundrobin"}"#, "a.b"),
        (2, r#"{"match":"prefix"}"#, "a"),
        (3, r#"{"match":"wildcard","invoke":"last"}"#, "a..c"),
    ] {
        callee
            .asks(
                &format!(r#"[64,{request},{options},"{procedure}"]"#),
                &format!("[65,{request},{request}]"),
            )
            .await;
    }
    peer.asks(r#"[64,9,{"invoke":"roundrobin"},"a.b"]"#, "[65,9,1]")
        .await;
    let (first, second) = (callee.session, peer.session);
    for (procedure, args, answer) in [
        (
            "list",
            "[]",
            r#"[{"exact":[1],"prefix":[2],"wildcard":[3]}]"#.to_owned(),
        ),
        ("lookup", r#"["a.b"]"#, "[1]".to_owned()),
        ("lookup", r#"["a",{"match":"prefix"}]"#, "[2]".to_owned()),
        ("lookup", r#"["a"]"#, "[null]".to_owned()),
        ("match", r#"["a.b"]"#, "[1]".to_owned()),
        ("match", r#"["a.x.c"]"#, "[2]".to_owned()),
        ("match", r#"["b"]"#, "[null]".to_owned()),
        ("list_callees", "[1]", format!("[[{first},{second}]]")),
        ("count_callees", "[1]", "[2]".to_owned()),
        ("count_callees", "[3]", "[1]".to_owned()),
    ] {
        let procedure = format!("wamp.registration.{procedure}");
        let found = shown(&mut peer, &procedure, args).await;
        assert_eq!(found, answer, "{procedure} {args}");
    }
    let described = call(&mut peer, "wamp.registration.get", "[3]").await;
    let mut details = described[0].as_map().unwrap().clone();
    let created = details.shift_remove("created").unwrap();
    let created = created.as_text().unwrap();
    assert!(created.len() == 24 && created.starts_with("20") && created.ends_with('Z'));
    assert_eq!(
        Value::Map(details).to_string(),
        r#"{"id":3,"uri":"a..c","match":"wildcard","invoke":"last"}"#
    );
    for procedure in ["get", "list_callees", "count_callees"] {
        peer.asks(
            &format!(r#"[48,2,{{}},"wamp.registration.{procedure}",[77]]"#),
            r#"[8,48,2,{},"wamp.error.no_such_registration",["there is none of id 77"]]"#,
        )
        .await;
    }
    peer.asks(
        r#"[48,3,{},"wamp.registration.match",["a..b"]]"#,
        r#"[8,48,3,{},"wamp.error.invalid_argument",["argument 1: component 2 is empty"]]"#,
    )
    .await;
}

#[tokio::test]
async fn registrations_are_seen_to_come_and_go() {
    let router = router();
    let topics = ["on_create", "on_register", "on_unregister", "on_delete"];
    let topics = topics.map(|topic| format!("wamp.registration.{topic}"));
    let mut watcher = watcher(&router, &topics.each_ref().map(String::as_str)).await;
    let (mut first, mut second) = pair(&router).await;
    let (a, b) = (first.session, second.session);
    let register = r#"[64,1,{"invoke":"first"},"a.b"]"#;
    first.asks(register, "[65,1,1]").await;
    second.asks(register, "[65,1,1]").await;
    let created = told(&mut watcher).await;
    assert!(
        created.starts_with(&format!(r#"[{a},{{"id":1,"created":"20"#))
            && created.ends_with(r#"Z","uri":"a.b","match":"exact","invoke":"first"}]"#),
        "{created}"
    );
    assert_eq!(told(&mut watcher).await, format!("[{a},1]"));
    assert_eq!(told(&mut watcher).await, format!("[{b},1]"));
    first.asks("[66,2,1]", "[67,2]").await;
    assert_eq!(told(&mut watcher).await, format!("[{a},1]"));
    second.vanish();
    assert_eq!(told(&mut watcher).await, format!("[{b},1]"));
    assert_eq!(told(&mut watcher).await, format!("[{b},1]"));
    watcher.hears_nothing_more().await;
}

#[tokio::test]
async fn subscriptions_are_listed_found_and_described() {
    let router = router();
    let (mut peer, mut subscriber) = pair(&router).await;
    let id = subscriber.session;
    for (request, options, topic) in [
        (1, "{}", "a.b"),
        (2, r#"{"match":"prefix"}"#, "a"),
        (3, r#"{"match":"wildcard"}"#, ".b"),
    ] {
        subscriber
            .asks(
                &format!(r#"[32,{request},{options},"{topic}"]"#),
                &format!("[33,{request},{request}]"),
            )
            .await;
    }
    for (procedure, args, answer) in [
        (
            "list",
            "[]",
            r#"[{"exact":[1],"prefix":[2],"wildcard":[3]}]"#.to_owned(),
        ),
        ("lookup", r#"[".b",{"match":"wildcard"}]"#, "[3]".to_owned()),
        ("match", r#"["a.b"]"#, "[[1,2,3]]".to_owned()),
        ("match", r#"["b.c"]"#, "[null]".to_owned()),
        ("list_subscribers", "[2]", format!("[[{id}]]")),
        ("count_subscribers", "[2]", "[1]".to_owned()),
    ] {
        let procedure = format!("wamp.subscription.{procedure}");
        let found = shown(&mut peer, &procedure, args).await;
        assert_eq!(found, answer, "{procedure} {args}");
    }
    let described = call(&mut peer, "wamp.subscription.get", "[2]").await;
    let details = described[0].as_map().unwrap();
    assert_eq!(details["uri"], Value::from("a"));
    assert_eq!(details["match"], Value::from("prefix"));
    peer.asks(
        r#"[48,2,{},"wamp.subscription.get",[77]]"#,
        r#"[8,48,2,{},"wamp.error.no_such_subscription",["there is none of id 77"]]"#,
    )
    .await;
}

#[tokio::test]
async fn subscriptions_are_seen_to_come_and_go() {
    let router = router();
    let mut watcher = Peer::join(&router, Serializer::Json).await;
    watcher
        .asks(
            r#"[32,1,{"match":"prefix"},"wamp.subscription."]"#,
            "[33,1,1]",
        )
        .await;
    // Its own subscription is the first that it hears of.
    let own = watcher.session;
    assert!(told(&mut watcher).await.contains("wamp.subscription."));
    assert_eq!(told(&mut watcher).await, format!("[{own},1]"));
    let mut peer = Peer::join(&router, Serializer::Json).await;
    let id = peer.session;
    peer.asks(r#"[32,1,{},"a.b"]"#, "[33,1,2]").await;
    // Asked for again, it is nothing new.
    peer.asks(r#"[32,2,{},"a.b"]"#, "[33,2,2]").await;
    peer.asks("[34,3,2]", "[35,3]").await;
    for topic in ["on_create", "on_subscribe", "on_unsubscribe", "on_delete"] {
        let Some(Message::Event {
            details, payload, ..
        }) = watcher.hear().await
        else {
            panic!("no EVENT");
        };
        let expected = format!("wamp.subscription.{topic}");
        assert_eq!(details["topic"], Value::from(expected.as_str()));
        assert_eq!(payload.args()[0], Value::from(id));
        if topic != "on_create" {
            assert_eq!(payload.args()[1], Value::from(2_u64));
        }
    }
    watcher.hears_nothing_more().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_error() {
    let router = Router::new(DevRouterConfig {
        max_message_bytes: 1000,
        ..config()
    });
    let mut peer = Peer::join(&router, Serializer::Json).await;
    for request in 1..=300 {
        peer.asks(
            &format!(r#"[32,{request},{{}},"a.{request}"]"#),
            &format!("[33,{request},{request}]"),
        )
        .await;
    }
    peer.tell(r#"[48,301,{},"wamp.subscription.list"]"#).await;
    let answer = peer.hear_json().await;
    assert!(
        answer.starts_with(r#"[8,48,301,{},"wamp.error.payload_size_exceeded",["a message of "#),
        "{answer}"
    );
}
