//! One or two gateways and one server: the laws of every store, and what is NATS's own.

#[path = "../store/laws.rs"]
mod laws;

use serde_json::json;
use wampgate::store::nats::Nats;
use wampgate::store::record::hash;
use wampgate::store::{self, Expect, Store, Write, WriteError};

use crate::gateways::{Gateway, PATIENCE, spec, write};
use crate::servers::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_hold_also_after_a_restart() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let mut gateway = Gateway::start(&servers.url("laws")).await;
    for name in ["first", "second"] {
        gateway.ready().await;
        laws::hold(&gateway.store, name).await;
        gateway = gateway.restart().await;
    }
    gateway.ready().await;
    laws::end(&gateway.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_servers_names_their_setting() {
    let Some(servers) = Servers::one("max_payload: 8KB") else {
        return;
    };
    let gateway = Gateway::start(&servers.url("small")).await;
    gateway.ready().await;
    gateway.put("fits", &"x".repeat(4000)).await.unwrap();
    let error = gateway.put("large", &"x".repeat(8192)).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("takes 8192 (`max_payload`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_used_and_never_said() {
    let Some(servers) = Servers::one("authorization { user: ann, password: \"s3cret/@\" }") else {
        return;
    };
    let url = |login: &str| {
        let url = servers.url("locked");
        url.replace("nats://", &format!("nats://{login}@"))
    };
    let gateway = Gateway::start(&url("ann:s3cret%2F%40")).await;
    gateway.ready().await;
    gateway.put("a", "1").await.unwrap();
    assert!(!format!("{:?}", gateway.store).contains("s3cret"));

    // Who has been there says why it cannot come back; never with what.
    let gateway = gateway.restart_with(&url("ann:wr0ng")).await;
    let mut state = gateway.store.state();
    let refused = |state: &store::State| {
        let reason = state.reason().unwrap_or_default();
        reason.contains("authorization violation")
    };
    let state = tokio::time::timeout(PATIENCE, state.wait_for(refused)).await;
    let reason = format!("{:?}", state.unwrap().unwrap());
    assert!(!reason.contains("wr0ng"), "{reason}");
    gateway.serves(&[("a", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_later_version_are_kept_and_those_before_them_served() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let url = servers.url("later");
    let gateway = Gateway::start(&url).await;
    gateway.ready().await;
    let first = gateway.put("a", "1").await.unwrap();
    let later = json!({"format": 2, "something": "else"});
    let later = servers.ask("$KV.later.spec.a", &later).await;
    let later = later["seq"].as_u64().unwrap();
    let show = |revision| move |contents: &store::Contents| contents.revision >= revision;
    gateway.shows("the later record", show(later)).await;
    gateway.serves(&[("a", "1")]).await;

    // One that has never seen the record before it finds it in the history.
    let fresh = Gateway::start(&url).await;
    fresh.ready().await;
    fresh.serves(&[("a", "1")]).await;
    for gateway in [&gateway, &fresh] {
        // Nobody overwrites what he cannot read, unless he knows what he does.
        let error = gateway.put("a", "2").await.unwrap_err();
        assert!(error.to_string().contains("a later version"), "{error}");
        let expect = Expect::Revision(first.revision);
        let error = gateway.store.write(write("a", Some("2"), expect)).await;
        assert!(
            matches!(error, Err(WriteError::Conflict { found: Some(found) }) if found == later),
            "{error:?}"
        );
    }
    let expect = Expect::Revision(later);
    fresh
        .store
        .write(write("a", Some("2"), expect))
        .await
        .unwrap();
    gateway.serves(&[("a", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_by_another_program_is_one() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let gateway = Gateway::start(&servers.url("other")).await;
    gateway.ready().await;
    gateway.put("a", "1").await.unwrap();
    let url = servers.url("");
    let client = async_nats::connect(url.trim_end_matches('/'))
        .await
        .unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("KV-Operation", "DEL");
    let request = client.request_with_headers("$KV.other.spec.a", headers, "".into());
    request.await.unwrap();
    gateway.serves(&[]).await;
    let revisions = gateway.store.revisions(&spec("a")).await.unwrap();
    assert_eq!(revisions.len(), 2);
    assert_eq!(
        (&revisions[0].text, &*revisions[0].author),
        (&None, "a tool of NATS")
    );
    assert!(revisions[0].time_ms > 1_700_000_000_000);
    assert_eq!(revisions[1].hash, hash("1"));
    gateway.put("a", "2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_disappears_without_a_trace_holds_the_store() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let gateway = Gateway::start(&servers.url("purged")).await;
    gateway.ready().await;
    gateway.put("a", "1").await.unwrap();
    gateway.put("b", "1").await.unwrap();
    let purge = json!({"filter": "$KV.purged.spec.a"});
    servers.ask("$JS.API.STREAM.PURGE.KV_purged", &purge).await;
    let reason = gateway.state("held").await;
    assert!(reason.contains("`spec.a` is gone"), "{reason}");
    gateway.serves(&[("a", "1"), ("b", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_made_anew_behind_an_open_connection_is_noticed() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let url = servers.url("anew");
    let gateway = Gateway::start(&url).await;
    gateway.ready().await;
    gateway.put("a", "1").await.unwrap();
    servers
        .ask("$JS.API.STREAM.DELETE.KV_anew", &json!({}))
        .await;
    // It holds nothing, and takes it for a new one: with more writes than there were.
    let fresh = Gateway::start(&url).await;
    fresh.ready().await;
    for text in ["2", "3", "4", "5"] {
        fresh.put("a", text).await.unwrap();
    }
    let reason = gateway.state("held").await;
    assert!(reason.contains("another store"), "{reason}");
    gateway.serves(&[("a", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_know_of_each_other() {
    let Some(servers) = Servers::one("") else {
        return;
    };
    let url = servers.url("known");
    let gateways = [Gateway::start(&url).await, Gateway::start(&url).await];
    let about = |id: &str, state: &str| store::Gateway {
        id: id.to_owned(),
        version: "0.1.0".to_owned(),
        revision: 7,
        state: state.to_owned(),
        time_ms: 1_795_280_400_123,
    };
    gateways[0].store.announce(about("one", "ready"));
    gateways[1].store.announce(about("two/ü", "ready"));
    let listed = async |store: &Nats, expected: &[store::Gateway]| {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
        let until = async {
            while store.gateways().await.ok().as_deref() != Some(expected) {
                tick.tick().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, until).await;
        assert!(found.is_ok(), "{:?}", store.gateways().await);
    };
    for gateway in &gateways {
        let both = [about("one", "ready"), about("two/ü", "ready")];
        listed(&gateway.store, &both).await;
    }
    gateways[0].store.announce(about("one", "draining"));
    let both = [about("one", "draining"), about("two/ü", "ready")];
    listed(&gateways[1].store, &both).await;
    gateways[0].store.close().await;
    listed(&gateways[1].store, &both[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_made_at_once_on_different_gateways_overwrite_nothing() {
    const ROUNDS: usize = 8;
    let Some(servers) = Servers::one("") else {
        return;
    };
    let gateways = Gateway::three(&servers.url("raced")).await;
    let count = async |gateway: &Gateway| {
        for _ in 0..ROUNDS {
            loop {
                let present = gateway
                    .store
                    .contents()
                    .borrow()
                    .records
                    .get(&spec("n"))
                    .cloned();
                let (number, expect) = match &present {
                    None => (0, Expect::Nothing),
                    Some(record) => (
                        record.text.as_deref().unwrap().parse::<usize>().unwrap(),
                        Expect::Revision(record.revision),
                    ),
                };
                let text = (number + 1).to_string();
                let write: Write = write("n", Some(&text), expect);
                match gateway.store.write(write).await {
                    Ok(_) => break,
                    Err(WriteError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let [one, two, three] = &gateways;
    tokio::join!(count(one), count(two), count(three));
    let total = (3 * ROUNDS).to_string();
    for gateway in &gateways {
        gateway.serves(&[("n", &total)]).await;
    }
}
