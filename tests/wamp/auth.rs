//! Who is let in, and how both sides prove who they are: our client and the embedded router, each
//! against the other and against a peer that says what the test says.

use wampgate::devrouter::{DevRouterConfig, RealmConfig, Router, User};
use wampgate::value::Value;
use wampgate::wamp::auth::{Auth, Secret, cra};
use wampgate::wamp::client::Client;
use wampgate::wamp::config::{Endpoint, RouterConfig};
use wampgate::wamp::error::SessionError;
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;
use wampgate::wamp::transport;

use crate::peer::{HELLO, PATIENCE, Peer, REALM, config, uri};

/// A router whose realm has users.
fn guarded() -> Router {
    let user = |authid: &str, role: &str, secret: &str| User {
        authid: authid.to_owned(),
        role: role.to_owned(),
        secret: Secret::text(secret),
    };
    let realm = RealmConfig {
        uri: uri(REALM),
        users: vec![
            user("gateway", "backend", "ticket-of-gateway"),
            user("Peter", "clerk", "secret-of-peter"),
        ],
    };
    Router::new(DevRouterConfig {
        realms: vec![realm],
        ..config()
    })
}

/// The same, and the URL where it listens.
async fn listening() -> (Router, String) {
    let router = guarded();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    (router, url)
}

fn ticket(authid: &str, secret: &str) -> Auth {
    Auth::Ticket {
        authid: authid.to_owned(),
        secret: Secret::text(secret),
    }
}

fn wampcra(authid: &str, secret: &str) -> Auth {
    Auth::WampCra {
        authid: authid.to_owned(),
        secret: Secret::text(secret),
    }
}

async fn join(url: &str, auth: Auth) -> Result<Client, SessionError> {
    let config = RouterConfig {
        urls: vec![Endpoint::from(url)],
        auth,
        ..RouterConfig::default()
    };
    Client::connect(&uri(REALM), &config).await
}

/// A peer over a socket, which has said nothing yet.
async fn dial(url: &str) -> Peer {
    let transport = transport::connect(url, &[Serializer::Json], 1 << 20, PATIENCE)
        .await
        .unwrap();
    Peer::new(transport)
}

fn hello(details: &str) -> String {
    format!(r#"[1,"{REALM}",{{"roles":{{"caller":{{}}}},{details}}}]"#)
}

#[tokio::test]
async fn users_join_by_ticket_and_wampcra() {
    let (router, url) = listening().await;
    for (auth, authid, authrole) in [
        (ticket("gateway", "ticket-of-gateway"), "gateway", "backend"),
        (
            wampcra("gateway", "ticket-of-gateway"),
            "gateway",
            "backend",
        ),
        // A name's case does not matter; what the router calls it does.
        (wampcra("peter", "secret-of-peter"), "Peter", "clerk"),
    ] {
        let method = auth.method();
        let client = join(&url, auth).await.unwrap();
        let welcome = client.welcome();
        assert_eq!(welcome.authid(), Some(authid));
        assert_eq!(welcome.authrole(), Some(authrole));
        assert_eq!(welcome.details["authmethod"], Value::from(method));
        assert_eq!(welcome.details["authprovider"], Value::from("static"));
        client.close(PATIENCE).await;
    }
    router.shutdown().await;
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_user_and_nobody_are_refused() {
    let (_router, url) = listening().await;
    for (auth, reason) in [
        (ticket("gateway", "wrong"), "authentication_failed"),
        (ticket("gateway", ""), "authentication_failed"),
        (
            ticket("nobody", "ticket-of-gateway"),
            "authentication_failed",
        ),
        (wampcra("peter", "wrong"), "authentication_failed"),
        (
            wampcra("nobody", "secret-of-peter"),
            "authentication_failed",
        ),
        (Auth::Anonymous, "no_matching_auth_method"),
    ] {
        let error = join(&url, auth.clone()).await.unwrap_err();
        assert!(error.is_refusal(), "{auth:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(reason), "{auth:?}: {text}");
        assert!(!text.contains("secret-of"), "{text}");
    }
}

#[tokio::test]
async fn an_unknown_user_is_asked_as_a_known_one_is() {
    let (_router, url) = listening().await;
    let mut seen = Vec::new();
    for authid in ["gateway", "nobody", "nobody"] {
        let mut peer = dial(&url).await;
        peer.tell(&hello(&format!(
            r#""authmethods":["wampcra"],"authid":"{authid}""#
        )))
        .await;
        let Some(Message::Challenge { method, extra }) = peer.hear().await else {
            panic!("no CHALLENGE");
        };
        assert_eq!(method, "wampcra");
        let challenge = extra["challenge"].as_text().unwrap();
        let challenge: Value = serde_json::from_str(challenge).unwrap();
        let challenge = challenge.as_map().unwrap().clone();
        let names: Vec<_> = challenge.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "authid",
                "authrole",
                "authmethod",
                "authprovider",
                "nonce",
                "timestamp",
                "session"
            ]
        );
        assert_eq!(challenge["authid"], Value::from(authid));
        seen.push((challenge["authrole"].clone(), challenge["nonce"].clone()));
        peer.asks(
            r#"[5,"wrong",{}]"#,
            r#"[3,{"message":"the credentials are wrong"},"wamp.error.authentication_failed"]"#,
        )
        .await;
        assert!(peer.hear().await.is_none());
    }
    // Asked twice, one that does not exist has the same role twice, and a nonce of its own each time.
    assert_eq!(seen[1].0, seen[2].0);
    assert_ne!(seen[1].1, seen[2].1);
}

#[tokio::test]
async fn the_first_method_that_will_do_is_taken() {
    let (_router, url) = listening().await;
    for (methods, asked) in [
        (r#"["cryptosign","wampcra","ticket"]"#, Some("wampcra")),
        (r#"["anonymous","ticket"]"#, Some("ticket")),
        (r#"["scram"]"#, None),
        ("[]", None),
    ] {
        let mut peer = dial(&url).await;
        peer.tell(&hello(&format!(
            r#""authmethods":{methods},"authid":"gateway""#
        )))
        .await;
        match (peer.hear().await, asked) {
            (Some(Message::Challenge { method, .. }), Some(asked)) => assert_eq!(method, asked),
            (Some(Message::Abort { reason, .. }), None) => {
                assert_eq!(reason, "wamp.error.no_matching_auth_method");
            }
            other => panic!("{methods}: {other:?}"),
        }
    }
    let mut nameless = dial(&url).await;
    nameless
        .asks(
            &hello(r#""authmethods":["ticket"]"#),
            r#"[3,{"message":"HELLO has no `authid`"},"wamp.error.authentication_failed"]"#,
        )
        .await;
}

#[tokio::test]
async fn a_proof_is_asked_for_once_and_out_of_turn_it_is_no_proof() {
    let (_router, url) = listening().await;
    let asking = hello(r#""authmethods":["ticket"],"authid":"gateway""#);
    let mut peer = dial(&url).await;
    peer.asks(&asking, r#"[4,"ticket",{}]"#).await;
    peer.asks(
        &asking,
        r#"[3,{"message":"AUTHENTICATE must come now"},"wamp.error.protocol_violation"]"#,
    )
    .await;
    let mut peer = dial(&url).await;
    peer.asks(
        r#"[5,"ticket-of-gateway",{}]"#,
        r#"[3,{"message":"HELLO must come first"},"wamp.error.protocol_violation"]"#,
    )
    .await;
    // Giving up in between is nobody's fault.
    let mut peer = dial(&url).await;
    peer.asks(&asking, r#"[4,"ticket",{}]"#).await;
    peer.asks(r#"[3,{},"wamp.error.cannot_authenticate"]"#, "end")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_not_waited_for() {
    let router = guarded();
    // In process too, where a proof is offered.
    let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
    let begin = tokio::time::Instant::now();
    peer.asks(
        &hello(r#""authmethods":["ticket"],"authid":"gateway""#),
        r#"[4,"ticket",{}]"#,
    )
    .await;
    peer.hears(r#"[3,{"message":"no AUTHENTICATE in time"},"wamp.error.protocol_violation"]"#)
        .await;
    assert_eq!(
        begin.elapsed(),
        DevRouterConfig::default().handshake_timeout
    );
}

#[tokio::test]
async fn whoever_is_called_may_learn_who_calls() {
    let (router, url) = listening().await;
    // In process nobody has to prove anything.
    let mut callee = Peer::new(router.connect_in_process(Serializer::Json));
    callee.tell(HELLO).await;
    let Some(Message::Welcome { details, .. }) = callee.hear().await else {
        panic!("no WELCOME");
    };
    assert_eq!(details["authrole"], Value::from("anonymous"));
    callee
        .asks(r#"[64,1,{"disclose_caller":true},"a.who"]"#, "[65,1,1]")
        .await;

    let mut caller = dial(&url).await;
    caller
        .tell(&hello(r#""authmethods":["wampcra"],"authid":"peter""#))
        .await;
    let Some(Message::Challenge { extra, .. }) = caller.hear().await else {
        panic!("no CHALLENGE");
    };
    let challenge = extra["challenge"].as_text().unwrap();
    let signature = cra::sign("secret-of-peter", challenge);
    caller.tell(&format!(r#"[5,"{signature}",{{}}]"#)).await;
    let Some(Message::Welcome { session, .. }) = caller.hear().await else {
        panic!("no WELCOME");
    };
    let challenge: Value = serde_json::from_str(challenge).unwrap();
    let promised = challenge.as_map().unwrap()["session"].as_u64();
    assert_eq!(promised, Some(session.0));
    caller.tell(r#"[48,1,{},"a.who"]"#).await;
    let disclosed =
        format!(r#"{{"caller":{session},"caller_authid":"Peter","caller_authrole":"clerk"}}"#);
    callee.hears(&format!("[68,1,1,{disclosed}]")).await;
}
