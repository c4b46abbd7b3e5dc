//! Crossbar.io is killed and started again under load: errors while it is away, never a wrong
//! answer, and service again without a restart of ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answers::Side;
use crate::http::Http;
use crate::peers::{self, Brand, RealRouter};

const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_comes_back_with_the_router_and_no_answer_is_wrong() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let mut router = RealRouter::start(
        Brand::Crossbar,
        &folder,
        &["com.example.market", "com.market.demo"],
    )
    .await;
    let mut side = Side::start(&folder, &router.url()).await;

    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(ask_on(side.http.clone(), client, done.clone()));
    }
    wait_for(&side.http, "200").await;
    router.kill();
    wait_for(&side.http, "503").await;
    router.restart(&folder).await;
    side.callees_back().await;
    wait_for(&side.http, "200").await;
    done.store(true, Ordering::Relaxed);

    let mut seen = BTreeMap::new();
    for (status, count) in clients.join_all().await.into_iter().flatten() {
        *seen.entry(status).or_insert(0) += count;
    }
    let statuses: Vec<u16> = seen.keys().copied().collect();
    // Lost in mid-call, no session, no callee yet.
    assert!(
        statuses
            .iter()
            .all(|status| [200, 501, 502, 503].contains(status)),
        "{seen:?}"
    );
    assert!(seen[&200] > CLIENTS, "{seen:?}");
}

/// Asks until it is done and counts the statuses. What is answered must be what was asked.
async fn ask_on(http: Http, client: usize, done: Arc<AtomicBool>) -> BTreeMap<u16, usize> {
    let mut seen = BTreeMap::new();
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let body = format!(r#""{client}-{number}""#);
        let answer = http.json("POST", "/test/echo", &body).await;
        let status = answer.status.as_u16();
        if status == 200 {
            let start = format!(r#"{{"args":[{body},"#);
            assert!(answer.show().contains(&start), "{body}: {}", answer.show());
        } else {
            // A refusal is at once: do not spin.
            tokio::task::yield_now().await;
        }
        *seen.entry(status).or_insert(0) += 1;
    }
    seen
}

async fn wait_for(http: &Http, status: &str) {
    let wanted = async {
        while !http
            .json("POST", "/test/echo", "0")
            .await
            .show()
            .starts_with(status)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(peers::PATIENCE, wanted).await.expect(status);
}
