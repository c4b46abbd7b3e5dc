//! Real routers end, by a signal or by their own fault, and come back.

use futures_util::future::join_all;
use tokio::time::timeout;
use wampgate::wamp::client::Client;
use wampgate::wamp::error::chain;

use crate::answers::{sessions, uri};
use crate::peers::{self, Brand, Library, PATIENCE, RealRouter};
use crate::routers::{Cell, show};

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// SIGKILL: connections drop.
    Killed,
    /// SIGTERM: the router may say goodbye.
    Asked,
}

/// What a client sees of a call that is out when the router ends, and of the next one.
const LOST: &str = "502 wamp.error.network_failure";
const CALLEE_GONE: &str = "400 wamp.error.canceled";
const AWAY: &str = "503 bondy.error.bad_gateway";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_way_a_router_ends_the_gateway_outlives_it() {
    let Some(peers) = peers::installed() else {
        return;
    };
    // Crossbar killed under load: see `outage.rs`.
    let ends = [
        (Brand::Crossbar, End::Asked, Library::AutobahnJs, "json"),
        (Brand::Xconn, End::Killed, Library::Wampy, "cbor"),
        (Brand::Xconn, End::Asked, Library::Python, "cbor"),
        (Brand::Fox, End::Killed, Library::AutobahnJs, "json"),
        (Brand::Fox, End::Asked, Library::Wampy, "json"),
    ];
    let ends = ends.map(|(brand, end, library, serializer)| {
        let peers = &peers;
        async move {
            let what = format!("{brand:?} {end:?}");
            let mut router = RealRouter::start(brand, peers, &["realm"]).await;
            let mut cell = Cell::start(peers, &router.url(), "realm", library, serializer).await;
            let http = cell.http.clone();
            let (lost, ()) = tokio::join!(http.get("/test/any/slow"), async {
                cell.started.next().await;
                match end {
                    End::Killed => router.kill(),
                    End::Asked => router.terminate().await,
                }
            });
            let lost = show(&lost);
            // Asked to end, it says goodbye to one session after the other: a caller may still be
            // told that its callee is gone.
            let callee_first = (brand, end) == (Brand::Xconn, End::Asked) && lost == CALLEE_GONE;
            assert!(lost == LOST || callee_first, "{what}: {lost}");
            assert_eq!(cell.http("POST", "/test/echo", "1").await, AWAY, "{what}");
            let ended = timeout(PATIENCE, cell.ours.closed()).await.expect("an end");
            assert!(!ended.is_refusal(), "{what}: {}", chain(&ended));

            router.restart(peers).await;
            cell.callee.back().await;
            served_again(&cell).await;
        }
    });
    join_all(ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_realm_that_crashes_its_router_costs_others_nothing_but_the_time() {
    let Some(peers) = peers::installed() else {
        return;
    };
    let mut router = RealRouter::start(Brand::Fox, &peers, &["realm"]).await;
    let url = router.url();
    let mut cell = Cell::start(&peers, &url, "realm", Library::Wampy, "json").await;
    // fox-wamp takes no dots in a name, and the exception ends its process.
    let crash = Client::connect(&uri("com.example.realm"), &sessions(&url)).await;
    let error = crash.expect_err("no WELCOME");
    assert!(!error.is_refusal(), "{}", chain(&error));
    router.ended().await;
    assert_eq!(cell.http("POST", "/test/echo", "1").await, AWAY);

    router.restart(&peers).await;
    cell.callee.back().await;
    served_again(&cell).await;
}

/// Waits until the pool has found the router again.
async fn served_again(cell: &Cell) {
    let served = async {
        while cell.http("POST", "/test/echo", "1").await
            != r#"200 {"args":[1,"second"],"kwargs":{"body":1,"length":1}}"#
        {}
    };
    timeout(PATIENCE, served).await.expect("service");
}
