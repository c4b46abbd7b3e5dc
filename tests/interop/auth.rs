//! Who is let in: our client at real routers by every method that they have, and autobahn's client at
//! the embedded router.

use std::path::Path;

use wampgate::devrouter::{DevRouterConfig, RealmConfig, Router, User};
use wampgate::wamp::auth::cryptosign::PublicKey;
use wampgate::wamp::auth::scram::Dialect;
use wampgate::wamp::auth::{Auth, Secret};
use wampgate::wamp::client::Client;
use wampgate::wamp::config::{Endpoint, RouterConfig};
use wampgate::wamp::error::{SessionError, chain};

use crate::client::{LONG, REALM, uri};
use crate::peers::{self, Brand, Joiner, RealRouter};

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

fn scram(authid: &str, secret: &str) -> Auth {
    Auth::Scram {
        authid: authid.to_owned(),
        secret: Secret::text(secret),
        dialect: Dialect::Autobahn,
    }
}

fn cryptosign(authid: Option<&str>, private_key: &str, router_keys: &[&str]) -> Auth {
    let router_keys = router_keys.iter().map(|key| key.parse::<PublicKey>());
    Auth::Cryptosign {
        authid: authid.map(str::to_owned),
        private_key: Secret::text(private_key),
        router_keys: router_keys.map(Result::unwrap).collect(),
    }
}

/// Of the WAMP specification's check vectors: carol's, and another.
const KEYS: [&str; 2] = [
    "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510",
    "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd",
];

fn config(url: &str, auth: Auth) -> RouterConfig {
    RouterConfig {
        urls: vec![Endpoint::from(url)],
        auth,
        ..RouterConfig::default()
    }
}

async fn join(url: &str, auth: Auth) -> Result<Client, SessionError> {
    Client::connect(&uri(REALM), &config(url, auth)).await
}

/// Joins as somebody whom the router knows, and is refused in every other way.
async fn check(router: &RealRouter, welcome: &[(Auth, &str)], refused: &[Auth]) {
    let url = router.url();
    let anonymous = join(&url, Auth::Anonymous).await.unwrap();
    assert_eq!(anonymous.welcome().authrole(), Some("anonymous"));
    anonymous.close(LONG).await;
    for (auth, authid) in welcome {
        let client = match join(&url, auth.clone()).await {
            Ok(client) => client,
            Err(error) => panic!("{auth:?}: {}", chain(&error)),
        };
        assert_eq!(client.welcome().authid(), Some(*authid), "{auth:?}");
        assert_eq!(client.welcome().authrole(), Some("backend"), "{auth:?}");
        client.close(LONG).await;
    }
    for auth in refused {
        let error = join(&url, auth.clone()).await.unwrap_err();
        assert!(error.is_refusal(), "{auth:?}: {}", chain(&error));
    }
}

#[tokio::test]
async fn crossbar_lets_in_by_every_method_and_refuses_wrong_secrets() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let router = RealRouter::shared_crossbar(&folder).await;
    let key = router.public_key();
    let welcome = [
        (ticket("gateway", "ticket-of-gateway"), "gateway"),
        (wampcra("peter", "secret-of-peter"), "peter"),
        // Salted by the router.
        (wampcra("bob", "secret1"), "bob"),
        (scram("dave", "password-of-dave"), "dave"),
        (scram("erin", "password-of-erin"), "erin"),
        (cryptosign(Some("carol"), KEYS[0], &[]), "carol"),
        // The router knows whose key it is.
        (cryptosign(None, KEYS[0], &[]), "carol"),
        // And proves its own.
        (cryptosign(None, KEYS[0], &[KEYS[1], &key]), "carol"),
    ];
    let refused = [
        ticket("gateway", "wrong"),
        ticket("nobody", "ticket-of-gateway"),
        wampcra("peter", "wrong"),
        wampcra("bob", "wrong"),
        wampcra("nobody", "x"),
        scram("dave", "wrong"),
        scram("erin", "wrong"),
        scram("nobody", "x"),
        cryptosign(Some("carol"), KEYS[1], &[]),
        cryptosign(Some("nobody"), KEYS[0], &[]),
        cryptosign(None, KEYS[0], &[KEYS[1]]),
        // Crossbar knows it by its other name only.
        Auth::Scram {
            authid: "dave".to_owned(),
            secret: Secret::text("password-of-dave"),
            dialect: Dialect::Specified,
        },
    ];
    check(router, &welcome, &refused).await;
}

#[tokio::test]
async fn xconn_router_lets_in_by_every_method_that_it_has_and_refuses_wrong_secrets() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let router = RealRouter::start(Brand::Xconn, &folder, &[REALM]).await;
    let welcome = [
        (ticket("gateway", "ticket-of-gateway"), "gateway"),
        (wampcra("peter", "secret-of-peter"), "peter"),
        (wampcra("bob", "secret1"), "bob"),
        (cryptosign(Some("carol"), KEYS[0], &[]), "carol"),
    ];
    let refused = [
        ticket("gateway", "wrong"),
        wampcra("peter", "wrong"),
        wampcra("bob", "wrong"),
        wampcra("nobody", "x"),
        cryptosign(Some("carol"), KEYS[1], &[]),
        // It proves nothing, so it is not trusted where it should.
        cryptosign(Some("carol"), KEYS[0], &[KEYS[1]]),
        scram("dave", "password-of-dave"),
    ];
    check(&router, &welcome, &refused).await;
}

#[tokio::test]
async fn autobahns_client_joins_the_embedded_router() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let realm = RealmConfig {
        uri: uri(REALM),
        users: vec![User {
            authid: "peter".to_owned(),
            role: "clerk".to_owned(),
            secret: Secret::text("secret-of-peter"),
            is_enabled: true,
        }],
    };
    let router = Router::new(DevRouterConfig {
        realms: vec![realm],
        ..DevRouterConfig::default()
    });
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let attempt = async |folder: &Path, method: &str, authid: &str, secret: &str| {
        Joiner::attempt(folder, &[&url, REALM, method, authid, secret]).await
    };
    for (method, authid, secret, outcome) in [
        (
            "ticket",
            "Peter",
            "secret-of-peter",
            "joined peter clerk ticket",
        ),
        (
            "wampcra",
            "Peter",
            "secret-of-peter",
            "joined peter clerk wampcra",
        ),
        (
            "ticket",
            "Peter",
            "wrong",
            "refused wamp.error.authentication_denied",
        ),
        (
            "wampcra",
            "Peter",
            "wrong",
            "refused wamp.error.authentication_denied",
        ),
        (
            "wampcra",
            "nobody",
            "secret-of-peter",
            "refused wamp.error.authentication_denied",
        ),
        (
            "scram",
            "Peter",
            "secret-of-peter",
            "refused wamp.error.no_matching_auth_method",
        ),
    ] {
        let found = attempt(&folder, method, authid, secret).await;
        assert_eq!(found, outcome, "{method} {authid} {secret}");
    }
    router.shutdown().await;
}
