//! What a bucket holds that no gateway would have written there, or not as much of.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wampgate::store::{Confirm, Store, WriteError};

use crate::gateways::Gateway;
use crate::servers::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_reported_and_never_served() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let gateway = Gateway::start(&servers.url("garbage")).await;
    gateway.ready().await;
    gateway.put("a", "1").await.unwrap();
    let client = servers.client().await;
    let put = async |key: &str, payload: &[u8]| {
        let subject = format!("$KV.garbage.{key}");
        client
            .request(subject, payload.to_vec().into())
            .await
            .unwrap();
    };
    put("spec.a", b"\xFF\xFE{").await;
    put("spec.=FF", b"{}").await;
    put("spec.b", br#"{"format":1,"kind":"spec","id":"c"}"#).await;
    put("else.where", b"").await;
    gateway.put("d", "1").await.unwrap();
    gateway.serves(&[("a", "1"), ("d", "1")]).await;

    // Nobody knows which store it is any more: held, until somebody confirms.
    for meta in [
        "\u{0}",
        r#"{"format":1,"store":"x","base":18446744073709551615,"replaces":[]}"#,
        r#"{"format":1,"store":"x"}"#,
    ] {
        put("meta", meta.as_bytes()).await;
        let reason = gateway.state("held").await;
        assert!(reason.contains("`meta` cannot be read"), "{reason}");
        gateway.serves(&[("a", "1"), ("d", "1")]).await;
        let confirm = gateway.store.confirm(Confirm::Gateway, "ann".to_owned());
        confirm.await.unwrap();
        gateway.ready().await;
        gateway.serves(&[("a", "1"), ("d", "1")]).await;
    }
    // One of a later version is nothing that this one may write over.
    put("meta", br#"{"format":2,"store":7}"#).await;
    gateway.state("held").await;
    let confirm = gateway.store.confirm(Confirm::Gateway, "ann".to_owned());
    let error = confirm.await.unwrap_err().to_string();
    assert!(error.contains("a later version"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_into_a_bucket_made_anew_is_not_acknowledged() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let gateway = Gateway::start(&servers.url("remade")).await;
    gateway.ready().await;
    for text in ["1", "2", "3"] {
        gateway.put("a", text).await.unwrap();
    }
    let info = servers
        .ask("$JS.API.STREAM.INFO.KV_remade", &json!({}))
        .await;
    let client = servers.client().await;
    let ask = async |name: &str, request: &Value| {
        let subject = format!("$JS.API.STREAM.{name}.KV_remade");
        let answer = client.request(subject, request.to_string().into());
        let answer = answer.await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
    };
    ask("DELETE", &json!({})).await;
    ask("CREATE", &info["config"]).await;
    // Before it is noticed: the gateway looks each second.
    let result = gateway.put("new", "1").await;
    assert!(
        matches!(
            result,
            Err(WriteError::Unknown(_) | WriteError::Unavailable(_))
        ),
        "{result:?}"
    );
    gateway.state("held").await;
    gateway.serves(&[("a", "3")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_died_while_it_confirmed_is_not_waited_for_for_ever() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let (held, empty) = (servers.url("held"), servers.url("empty"));
    let known = Gateway::start(&held).await;
    known.ready().await;
    known.put("a", "1").await.unwrap();
    // Makes the bucket, and leaves it.
    Gateway::start(&empty).await.ready().await;
    let claim = json!({"format": 1, "claim": "dead", "author": "ann"});
    for bucket in ["held", "empty"] {
        let purge = format!("$JS.API.STREAM.PURGE.KV_{bucket}");
        servers.ask(&purge, &json!({})).await;
        servers.ask(&format!("$KV.{bucket}.meta"), &claim).await;
    }
    let fresh = Gateway::start(&empty).await;
    let reason = known.state("held").await;
    assert!(
        reason.contains("gateway dead writes its contents"),
        "{reason}"
    );
    let confirm = || known.store.confirm(Confirm::Gateway, "bob".to_owned());
    let error = confirm().await.unwrap_err().to_string();
    assert!(error.contains("at the moment"), "{error}");
    assert_eq!(fresh.store.state().borrow().name(), "connecting");

    fresh.ready().await;
    let begin = Instant::now();
    let confirmed = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while confirm().await.is_err() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(crate::gateways::PATIENCE, confirmed)
        .await
        .unwrap_or_else(|_| panic!("still not after {:?}", begin.elapsed()));
    known.ready().await;
    known.serves(&[("a", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_large_as_a_message_may_be_it_comes_to_all() {
    let Some(servers) = Servers::three() else {
        return;
    };
    let gateways = Gateway::three(&servers.url("large")).await;
    // `max_payload` is a mebibyte; what NATS answers is a third longer.
    let text = "x".repeat((1 << 20) - 1024);
    gateways[0].put("a", &text).await.unwrap();
    for gateway in gateways {
        let is_there = |contents: &wampgate::store::Contents| {
            let mut records = contents.records.values();
            records.any(|record| record.text.as_deref() == Some(&*text))
        };
        gateway.shows("the text", is_there).await;
        // Also where all of it is read.
        let fresh = Gateway::start(&servers.url("large")).await;
        fresh.shows("the text", is_there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_are_read_and_written_again_in_little_time() {
    const MANY: usize = 10_000;
    let Some(mut servers) = Servers::one("") else {
        return;
    };
    let url = servers.url("many");
    let gateway = Gateway::start(&url).await;
    gateway.ready().await;
    let first = gateway.put("first", "1").await.unwrap();
    let client = servers.client().await;
    for number in 0..MANY {
        let mut record = first.clone();
        record.key.id = number.to_string();
        let subject = format!("$KV.many.spec.{number}");
        let payload = record.encode().into();
        client.publish(subject, payload).await.unwrap();
    }
    let all = |contents: &wampgate::store::Contents| contents.records.len() == MANY + 1;
    let begin = Instant::now();
    gateway.shows("all", all).await;
    let followed = begin.elapsed();

    let begin = Instant::now();
    let fresh = Gateway::start(&url).await;
    fresh.shows("all", all).await;
    let listed = begin.elapsed();
    let fresh = fresh.restart().await;
    fresh.shows("all", all).await;

    servers.wipe();
    servers.start_rest();
    gateway.state("held").await;
    let begin = Instant::now();
    let confirm = gateway.store.confirm(Confirm::Gateway, "ann".to_owned());
    confirm.await.unwrap();
    gateway.ready().await;
    eprintln!(
        "{MANY} documents: followed in {followed:?}, read in {listed:?}, written in {:?}",
        begin.elapsed()
    );
    fresh.ready().await;
    fresh.shows("all", all).await;
}
