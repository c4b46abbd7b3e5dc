//! A store that comes back with other contents than it can have: nothing changes until somebody
//! confirms, and then everywhere.

use std::path::Path;
use std::process::Command;

use wampgate::store::{Confirm, Store};

use crate::gateways::Gateway;
use crate::servers::Servers;

/// Three gateways with two documents, and their server.
async fn three_with_two(bucket: &str) -> Option<(Servers, [Gateway; 3])> {
    let servers = Servers::one("")?;
    let gateways = Gateway::three(&servers.url(bucket)).await;
    gateways[0].put("a", "1").await.unwrap();
    gateways[1].put("b", "1").await.unwrap();
    all_serve(&gateways, &[("a", "1"), ("b", "1")]).await;
    Some((servers, gateways))
}

async fn all_serve(gateways: &[Gateway], expected: &[(&str, &str)]) {
    for gateway in gateways {
        gateway.serves(expected).await;
    }
}

/// Waits until all are held for this reason: they serve what they did, and take no writes.
async fn all_held(gateways: &[Gateway], reason: &str, serve: &[(&str, &str)]) {
    for gateway in gateways {
        let said = gateway.state("held").await;
        assert!(said.contains(reason), "{said}");
        gateway.serves(serve).await;
        gateway.refuses("confirm").await;
    }
}

async fn all_ready(gateways: &[Gateway], expected: &[(&str, &str)]) {
    for gateway in gateways {
        gateway.ready().await;
        gateway.serves(expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_empty_store_the_gateways_contents_count_if_one_confirms_that() {
    let Some((mut servers, [one, two, three])) = three_with_two("wiped").await else {
        return;
    };
    let before = one.store.contents().borrow().revision;
    servers.wipe();
    servers.start_rest();
    let both = [("a", "1"), ("b", "1")];
    // Also who starts meanwhile knows what it has seen.
    let gateways = [one, two.restart().await, three];
    all_held(&gateways, "the store is empty", &both).await;
    gateways[1]
        .store
        .confirm(Confirm::Gateway, "ann".to_owned())
        .await
        .unwrap();
    all_ready(&gateways, &both).await;
    let record = gateways[2].put("c", "1").await.unwrap();
    assert!(
        record.revision > before,
        "{} after {before}",
        record.revision
    );
    all_serve(&gateways, &[("a", "1"), ("b", "1"), ("c", "1")]).await;
    // There is nothing to confirm any more.
    gateways[0]
        .store
        .confirm(Confirm::Store, "ann".to_owned())
        .await
        .unwrap();
    all_ready(&gateways, &[("a", "1"), ("b", "1"), ("c", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_counts_if_one_confirms_that_also_for_who_was_away() {
    let Some((mut servers, [one, two, three])) = three_with_two("emptied").await else {
        return;
    };
    let away = three.stop().await;
    servers.wipe();
    servers.start_rest();
    let gateways = [one, two];
    all_held(&gateways, "the store is empty", &[("a", "1"), ("b", "1")]).await;
    gateways[0]
        .store
        .confirm(Confirm::Store, "ann".to_owned())
        .await
        .unwrap();
    all_ready(&gateways, &[]).await;
    gateways[1].put("c", "1").await.unwrap();
    let back = away.start().await;
    all_ready(&[back], &[("c", "1")]).await;
    all_ready(&gateways, &[("c", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_a_backup_is_held_also_when_it_was_written_to_since() {
    let Some((mut servers, gateways)) = three_with_two("older").await else {
        return;
    };
    servers.kill_all();
    let backup = tempfile::tempdir().unwrap();
    copy(&servers.data(0), backup.path());
    // Else one may be found ready that has not noticed yet.
    for gateway in &gateways {
        gateway.state("degraded").await;
    }
    servers.start_rest();
    for gateway in &gateways {
        gateway.ready().await;
    }
    gateways[0].put("a", "2").await.unwrap();
    gateways[0].delete("b").await.unwrap();
    all_serve(&gateways, &[("a", "2")]).await;

    servers.wipe();
    copy(backup.path(), &servers.data(0));
    servers.start_rest();
    all_held(&gateways, "older than what was seen", &[("a", "2")]).await;
    // One that knows nothing takes it, and goes on with it past what the others have seen.
    let fresh = Gateway::start(&servers.url("older")).await;
    fresh.ready().await;
    for text in ["x", "y", "z"] {
        fresh.put("c", text).await.unwrap();
    }
    let [one, two, three] = gateways;
    let gateways = [one.restart().await, two, three];
    all_held(&gateways, "what was seen", &[("a", "2")]).await;
    gateways[2]
        .store
        .confirm(Confirm::Store, "ann".to_owned())
        .await
        .unwrap();
    let expected = [("a", "1"), ("b", "1"), ("c", "z")];
    all_ready(&gateways, &expected).await;
    all_ready(&[fresh], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_began_anew_follows_those_that_were_held() {
    let Some((mut servers, gateways)) = three_with_two("founded").await else {
        return;
    };
    servers.wipe();
    servers.start_rest();
    let fresh = Gateway::start(&servers.url("founded")).await;
    fresh.ready().await;
    fresh.put("c", "1").await.unwrap();
    fresh.put("a", "0").await.unwrap();
    let both = [("a", "1"), ("b", "1")];
    all_held(&gateways, "another store", &both).await;
    gateways[0]
        .store
        .confirm(Confirm::Gateway, "ann".to_owned())
        .await
        .unwrap();
    all_ready(&gateways, &both).await;
    all_ready(&[fresh], &both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_confirm_at_once_one_is_done_whole() {
    let Some((mut servers, gateways)) = three_with_two("twice").await else {
        return;
    };
    servers.wipe();
    servers.start_rest();
    all_held(&gateways, "the store is empty", &[("a", "1"), ("b", "1")]).await;
    let confirm = |at: usize, choice| gateways[at].store.confirm(choice, format!("admin {at}"));
    let results = tokio::join!(
        confirm(0, Confirm::Store),
        confirm(1, Confirm::Gateway),
        confirm(2, Confirm::Gateway)
    );
    assert!(
        results.0.is_ok() || results.1.is_ok() || results.2.is_ok(),
        "{results:?}"
    );
    for gateway in &gateways {
        gateway.ready().await;
    }
    // Whatever counts now, all have it, and a write comes to all.
    gateways[0].put("c", "1").await.unwrap();
    let is_there =
        |contents: &wampgate::store::Contents| contents.records.keys().any(|key| key.id == "c");
    let mut found = Vec::new();
    for gateway in &gateways {
        gateway.shows("the write", is_there).await;
        found.push(gateway.texts());
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
    assert!([1, 3].contains(&found[0].len()), "{found:?} of {results:?}");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-RT").args([from, to]).status();
    assert!(copied.unwrap().success());
}
