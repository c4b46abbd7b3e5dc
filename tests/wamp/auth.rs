//! Who is let in, and how both sides prove who they are: our client and the embedded router, each
//! against the other and against a peer that says what the test says.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, hmac, pbkdf2};
use wampgate::app;
use wampgate::catalog::{Catalog, SourceText};
use wampgate::devrouter::{DevRouterConfig, RealmConfig, Router, User};
use wampgate::value::{Map, Value};
use wampgate::wamp::auth::scram::Dialect;
use wampgate::wamp::auth::{Auth, Secret, cra};
use wampgate::wamp::client::Client;
use wampgate::wamp::config::{Endpoint, RouterConfig};
use wampgate::wamp::error::{SessionError, chain};
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use crate::fake_router::{self, FakeRouter, LONG};
use crate::peer::{HELLO, PATIENCE, Peer, REALM, config, connect, uri};

/// A router whose realm has users.
fn guarded() -> Router {
    let user = |authid: &str, role: &str, secret: &str| User {
        authid: authid.to_owned(),
        role: role.to_owned(),
        secret: Secret::text(secret),
        is_enabled: authid != "retired",
    };
    let realm = RealmConfig {
        uri: uri(REALM),
        users: vec![
            user("gateway", "backend", "ticket-of-gateway"),
            user("Peter", "clerk", "secret-of-peter"),
            user("retired", "clerk", "secret-of-retired"),
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
    Peer::new(connect(url, Serializer::Json).await)
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
        // A name's case does not matter.
        (wampcra("PETER", "secret-of-peter"), "peter", "clerk"),
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
async fn the_users_of_realm_files_join_the_embedded_router() {
    let text = format!(
        r#"[{{"uri": "{REALM}", "users": [{{"username": "Peter", "password": "${{PASSWORD}}"}},
            {{"username": "retired", "password": "secret-of-retired", "enabled": false}}]}},
            {{"uri": "com.example.open"}}]"#
    );
    let name = "realms.json".to_owned();
    let environment = |name: &str| (name == "PASSWORD").then(|| "secret-of-peter".to_owned());
    let catalog = Catalog::load(&[SourceText { name, text }], &environment);
    assert!(!catalog.has_errors(), "{:?}", catalog.findings());
    let router = Router::new(DevRouterConfig {
        realms: app::embedded_realms(catalog.realms()),
        ..DevRouterConfig::default()
    });
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let client = join(&url, wampcra("PETER", "secret-of-peter"))
        .await
        .unwrap();
    assert_eq!(client.welcome().authid(), Some("peter"));
    assert_eq!(client.welcome().authrole(), Some("user"));
    for auth in [
        ticket("retired", "secret-of-retired"),
        ticket("peter", "${PASSWORD}"),
        Auth::Anonymous,
    ] {
        assert!(join(&url, auth).await.unwrap_err().is_refusal());
    }
    let open = RouterConfig {
        urls: vec![Endpoint::from(url.as_str())],
        ..RouterConfig::default()
    };
    Client::connect(&uri("com.example.open"), &open)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_user_and_nobody_are_refused() {
    let (_router, url) = listening().await;
    for (auth, reason) in [
        (ticket("gateway", "wrong"), "authentication_denied"),
        (ticket("gateway", ""), "authentication_denied"),
        (
            ticket("nobody", "ticket-of-gateway"),
            "authentication_denied",
        ),
        (wampcra("peter", "wrong"), "authentication_denied"),
        (
            ticket("retired", "secret-of-retired"),
            "authentication_denied",
        ),
        (
            wampcra("retired", "secret-of-retired"),
            "authentication_denied",
        ),
        (
            wampcra("nobody", "secret-of-peter"),
            "authentication_denied",
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

/// Nor is one that does not exist told from it: there the only secret stands for any.
#[tokio::test]
async fn nobody_is_let_in_by_a_secret_that_cannot_be_read() {
    let user = User {
        authid: "peter".to_owned(),
        role: "clerk".to_owned(),
        secret: Secret::file("no/such/file"),
        is_enabled: true,
    };
    let router = Router::new(DevRouterConfig {
        realms: vec![RealmConfig {
            uri: uri(REALM),
            users: vec![user],
        }],
        ..config()
    });
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    for authid in ["peter", "nobody"] {
        let mut peer = dial(&url).await;
        let asks = hello(&format!(r#""authmethods":["ticket"],"authid":"{authid}""#));
        peer.asks(&asks, r#"[4,"ticket",{}]"#).await;
        peer.asks(
            r#"[5,"",{}]"#,
            r#"[3,{"message":"the credentials cannot be checked"},"wamp.error.authentication_failed"]"#,
        )
        .await;
    }
}

#[tokio::test]
async fn an_unknown_user_is_asked_as_a_known_one_is() {
    let (_router, url) = listening().await;
    let mut seen = Vec::new();
    for authid in ["Gateway", "Nobody", "nobody"] {
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
        assert_eq!(challenge["authid"], Value::from(authid.to_lowercase()));
        seen.push((challenge["authrole"].clone(), challenge["nonce"].clone()));
        peer.asks(
            r#"[5,"wrong",{}]"#,
            r#"[3,{"message":"the credentials are wrong"},"wamp.error.authentication_denied"]"#,
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
            r#"[3,{"message":"HELLO has no `authid`"},"wamp.error.authentication_required"]"#,
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
        format!(r#"{{"caller":{session},"caller_authid":"peter","caller_authrole":"clerk"}}"#);
    callee.hears(&format!("[68,1,1,{disclosed}]")).await;
}

/// Joins with `auth` what `script` plays.
async fn join_script(
    auth: Auth,
    connect_timeout: Duration,
    script: impl AsyncFnOnce(&mut fake_router::Peer),
) -> Result<Client, SessionError> {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        auth,
        connect_timeout,
        ..fake_router::config(endpoint)
    };
    let realm = fake_router::realm();
    let (client, ()) = tokio::join!(Client::connect(&realm, &config), async {
        let mut peer = router.accept().await;
        script(&mut peer).await;
    });
    client
}

/// Hears HELLO and returns its `authextra`.
async fn hello_extra(peer: &mut fake_router::Peer, method: &str) -> Map {
    let Message::Hello { details, .. } = peer.receive().await else {
        panic!("no HELLO");
    };
    assert_eq!(details["authmethods"], Value::List(vec![method.into()]));
    details["authextra"].as_map().unwrap().clone()
}

fn scram(dialect: Dialect) -> Auth {
    Auth::Scram {
        authid: "us=er".to_owned(),
        secret: Secret::text("pencil"),
        dialect,
    }
}

const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const ITERATIONS: u32 = 4096;

/// A router that stores what RFC 5802 says; asks for the proof of the password `pencil` and returns
/// its own.
async fn ask_for_scram(peer: &mut fake_router::Peer, dialect: Dialect) -> String {
    let extra = hello_extra(peer, dialect.method()).await;
    let ours = extra["nonce"].as_text().unwrap();
    let nonce = format!("{ours}c2VydmVyLW5vbmNl");
    peer.send_raw(&format!(
        r#"[4,"{}",{{"nonce":"{nonce}","salt":"{SALT}","kdf":"pbkdf2","iterations":{ITERATIONS},"memory":null}}]"#,
        dialect.method()
    ))
    .await;

    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS.try_into().unwrap(),
        &BASE64.decode(SALT.as_bytes()).unwrap(),
        b"pencil",
        &mut salted,
    );
    let hmac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let client_key = hmac(&salted, "Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let (name, binding) = match dialect {
        Dialect::Specified => ("us=3Der", "biws"),
        Dialect::Autobahn => ("us=er", ""),
    };
    let said = format!("n={name},r={ours},r={nonce},s={SALT},i={ITERATIONS},c={binding},r={nonce}");
    let Message::Authenticate { signature, extra } = peer.receive().await else {
        panic!("no AUTHENTICATE");
    };
    assert_eq!(extra["nonce"], Value::from(nonce.as_str()));
    let proof = BASE64.decode(signature.as_bytes()).unwrap();
    let client_signature = hmac(stored_key.as_ref(), &said);
    let recovered: Vec<u8> = proof
        .iter()
        .zip(client_signature)
        .map(|(proof, signature)| proof ^ signature)
        .collect();
    assert_eq!(recovered, client_key);
    BASE64.encode(&hmac(&hmac(&salted, "Server Key"), &said))
}

#[tokio::test]
async fn scram_proves_each_side_to_the_other() {
    for (dialect, member) in [
        (Dialect::Specified, r#""verifier":"v="#),
        (Dialect::Autobahn, r#""scram_server_signature":""#),
    ] {
        let client = join_script(scram(dialect), LONG, async |peer| {
            let proof = ask_for_scram(peer, dialect).await;
            peer.send_raw(&format!(
                r#"[2,7,{{"authid":"us=er","authextra":{{{member}{proof}"}},"roles":{{"dealer":{{}}}}}}]"#
            ))
            .await;
        })
        .await
        .unwrap();
        assert_eq!(client.welcome().authid(), Some("us=er"));
    }
}

#[tokio::test]
async fn a_router_that_does_not_know_the_password_is_left() {
    for welcome in [
        r#"{"roles":{"dealer":{}}}"#.to_owned(),
        r#"{"authextra":{"verifier":"v="},"roles":{"dealer":{}}}"#.to_owned(),
        format!(
            r#"{{"authextra":{{"verifier":"v={}="}},"roles":{{"dealer":{{}}}}}}"#,
            "A".repeat(43)
        ),
    ] {
        let dialect = Dialect::Specified;
        let error = join_script(scram(dialect), LONG, async |peer| {
            ask_for_scram(peer, dialect).await;
            peer.send_raw(&format!("[2,7,{welcome}]")).await;
            hears_cannot_authenticate(peer).await;
        })
        .await
        .unwrap_err();
        assert!(error.is_refusal());
        assert_eq!(
            chain(&error),
            "cannot authenticate: the router has not proved that it is the right one"
        );
    }
    // Nor may it leave the question out.
    let error = join_script(scram(Dialect::Autobahn), LONG, async |peer| {
        hello_extra(peer, "scram").await;
        peer.send_raw(r#"[2,7,{"roles":{"dealer":{}}}]"#).await;
        hears_cannot_authenticate(peer).await;
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
}

async fn hears_cannot_authenticate(peer: &mut fake_router::Peer) {
    match peer.receive().await {
        Message::Abort { reason, .. } => assert_eq!(reason, "wamp.error.cannot_authenticate"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn deriving_a_key_holds_up_neither_others_nor_the_deadline() {
    // A fraction of what it takes on any machine; the client and its router share one thread.
    let deadline = Duration::from_millis(20);
    let error = join_script(scram(Dialect::Specified), deadline, async |peer| {
        let extra = hello_extra(peer, "wamp-scram").await;
        let nonce = extra["nonce"].as_text().unwrap();
        peer.send_raw(&format!(
            r#"[4,"wamp-scram",{{"nonce":"{nonce}Zm9v","salt":"{SALT}","kdf":"pbkdf2","iterations":500000}}]"#
        ))
        .await;
        // Not AUTHENTICATE: it is not there yet.
        match peer.receive().await {
            Message::Abort { reason, .. } => assert_eq!(reason, "wamp.error.canceled"),
            other => panic!("{other:?}"),
        }
    })
    .await
    .unwrap_err();
    assert!(matches!(error, SessionError::JoinTimeout(_)), "{error}");
}

/// A key pair of RFC 8032, "Test Vectors for Ed25519".
const PRIVATE_KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn cryptosign_proves_that_the_client_has_its_key() {
    let auth = Auth::Cryptosign {
        authid: None,
        private_key: Secret::text(PRIVATE_KEY),
        router_keys: Vec::new(),
    };
    let client = join_script(auth, LONG, async |peer| {
        let extra = hello_extra(peer, "cryptosign").await;
        assert_eq!(extra["pubkey"], Value::from(PUBLIC_KEY));
        let challenge = "00ff".repeat(16);
        peer.send_raw(&format!(
            r#"[4,"cryptosign",{{"challenge":"{challenge}","channel_binding":null}}]"#
        ))
        .await;
        let Message::Authenticate { signature, .. } = peer.receive().await else {
            panic!("no AUTHENTICATE");
        };
        let (signature, message) = signature.split_at(128);
        assert_eq!(message, challenge);
        UnparsedPublicKey::new(&ED25519, unhex(PUBLIC_KEY))
            .verify(&unhex(message), &unhex(signature))
            .unwrap();
        peer.send_raw(r#"[2,7,{"authid":"device-1","roles":{"dealer":{}}}]"#)
            .await;
    })
    .await
    .unwrap();
    assert_eq!(client.welcome().authid(), Some("device-1"));
}

#[tokio::test]
async fn a_router_whose_keys_are_known_has_to_prove_that_it_has_one() {
    let router_key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public_key = HEXLOWER.encode(router_key.public_key().as_ref());
    let auth = || Auth::Cryptosign {
        authid: Some("gateway".to_owned()),
        private_key: Secret::text(PRIVATE_KEY),
        router_keys: vec![public_key.parse().unwrap()],
    };
    let challenge = "00ff".repeat(16);
    join_script(auth(), LONG, async |peer| {
        let extra = hello_extra(peer, "cryptosign").await;
        let asked = unhex(extra["challenge"].as_text().unwrap());
        let signed = [router_key.sign(&asked).as_ref(), &asked[..]].concat();
        let signed = HEXLOWER.encode(&signed);
        peer.send_raw(&format!(
            r#"[4,"cryptosign",{{"challenge":"{challenge}","pubkey":"{public_key}","signature":"{signed}"}}]"#
        ))
        .await;
        assert!(matches!(peer.receive().await, Message::Authenticate { .. }));
        peer.send_raw(r#"[2,7,{"roles":{"dealer":{}}}]"#).await;
    })
    .await
    .unwrap();
    let error = join_script(auth(), LONG, async |peer| {
        peer.receive().await;
        peer.send_raw(&format!(
            r#"[4,"cryptosign",{{"challenge":"{challenge}"}}]"#
        ))
        .await;
        hears_cannot_authenticate(peer).await;
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
}

#[tokio::test]
async fn a_key_that_cannot_be_read_ends_the_join_and_is_read_anew_at_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let auth = || Auth::Cryptosign {
        authid: None,
        private_key: Secret::file(&path),
        router_keys: Vec::new(),
    };
    let nobody = async |peer: &mut fake_router::Peer| assert!(peer.next().await.is_none());
    for wrong in [None, Some("hush")] {
        if let Some(text) = wrong {
            std::fs::write(&path, text).unwrap();
        }
        let error = join_script(auth(), LONG, nobody).await.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        assert!(!chain(&error).contains("hush"), "{}", chain(&error));
    }
    std::fs::write(&path, format!("{PRIVATE_KEY}\n")).unwrap();
    join_script(auth(), LONG, async |peer| {
        assert_eq!(
            hello_extra(peer, "cryptosign").await["pubkey"],
            Value::from(PUBLIC_KEY)
        );
        peer.send_raw(r#"[2,7,{"roles":{"dealer":{}}}]"#).await;
    })
    .await
    .unwrap();
}
