//! HELLO to WELCOME, and what goes wrong on the way.

use super::*;

async fn join(auth: Auth, script: impl AsyncFnOnce(&mut Peer)) -> Result<Client, SessionError> {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        auth,
        ..config(endpoint)
    };
    let realm = realm();
    let serve = async {
        let mut peer = router.accept().await;
        script(&mut peer).await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&realm, &config), serve);
    client
}

#[tokio::test(start_paused = true)]
async fn a_challenge_by_ticket_is_answered_with_it() {
    let auth = Auth::Ticket {
        authid: "bob".to_owned(),
        secret: Secret::text("t-1"),
    };
    let client = join(auth, async |peer| {
        let Message::Hello { details, .. } = peer.receive().await else {
            panic!("no HELLO");
        };
        assert_eq!(details["authid"], Value::from("bob"));
        peer.send_raw(r#"[4,"ticket",{}]"#).await;
        assert!(matches!(
            peer.receive().await,
            Message::Authenticate { signature, .. } if signature == "t-1"
        ));
        peer.send_raw(
            r#"[2,77,{"authid":"bob","authrole":"user","roles":{"dealer":{},"broker":{}}}]"#,
        )
        .await;
    })
    .await
    .unwrap();
    assert_eq!(client.welcome().session.0, 77);
    assert_eq!(client.welcome().authrole(), Some("user"));
}

#[tokio::test(start_paused = true)]
async fn a_salted_challenge_of_wampcra_is_signed_with_the_derived_key() {
    let auth = Auth::WampCra {
        authid: "bob".to_owned(),
        secret: Secret::text("secret1"),
    };
    join(auth, async |peer| {
        peer.receive().await;
        peer.send_raw(
            r#"[4,"wampcra",{"challenge":"c","salt":"salt123","iterations":100,"keylen":16}]"#,
        )
        .await;
        let Message::Authenticate { signature, .. } = peer.receive().await else {
            panic!("no AUTHENTICATE");
        };
        assert!(cra::verify("prq7+YkJ1/KlW1X0YczMHw==", "c", &signature));
        peer.send_raw(r#"[2,1,{"roles":{"broker":{}}}]"#).await;
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_challenge_that_cannot_be_answered_is_aborted() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.send_raw(r#"[4,"cryptosign",{}]"#).await;
        assert!(matches!(peer.receive().await, Message::Abort { .. }));
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        chain(&error),
        "cannot authenticate: the router asks for `cryptosign`, only `anonymous` was offered"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_five_elements_is_understood() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.send_raw(r#"[3,{},"wamp.error.no_such_realm",["no realm of that name"],{"a":1}]"#)
            .await;
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        error.to_string(),
        "aborted by the router: wamp.error.no_such_realm (no realm of that name)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_router_that_says_nothing_costs_the_connect_timeout_and_no_more() {
    let began = Instant::now();
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        assert!(matches!(peer.receive().await, Message::Abort { .. }));
    })
    .await
    .unwrap_err();
    assert!(matches!(error, SessionError::JoinTimeout(_)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_welcome_is_an_error() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.writer.close().await.unwrap();
    })
    .await
    .unwrap_err();
    assert!(matches!(error, SessionError::Dropped), "{error}");
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://bob:pw@{}/ws", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::connect(&realm(), &config(url.as_str().into()))
        .await
        .unwrap_err();
    assert!(matches!(error, SessionError::Connect { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot connect to ws://127.0.0.1:")
    );
}
