//! A router that dies and comes back under load: clear errors, no wrong answers, no restart of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;
use wampgate::value::Value;

use crate::http::{Http, PATIENCE};
use crate::support::{Callee, REALM, router, serve, url};

const SPEC: &str = r#"{
    "id": "test", "host": "_", "realm_uri": "com.test",
    "versions": {"1": {"base_path": "/", "paths": {
        "/echo/:n": {"get": {"action": {
            "type": "wamp_call", "procedure": "com.test.echo",
            "args": ["{{request.bindings.n |> integer}}"],
            "timeout": 2000, "connect_timeout": 50}}}
    }}}
}"#;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    right: AtomicUsize,
    unavailable: AtomicUsize,
    nobody: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_killed_and_restarted_under_load_costs_errors_but_no_wrong_answer() {
    let first = router();
    let address = first.listen("127.0.0.1:0").await.unwrap().local_addr;
    let mut callee = Callee::join(url(address)).await;
    callee.register_echo("com.test.echo").await;
    let app = serve(SPEC, url(address)).await;
    let http = Http::to(app.local_addrs()[0]);

    let seen = Arc::new(Seen::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..16_u64 {
        let (http, seen, stop) = (http.clone(), seen.clone(), stop.clone());
        clients.spawn(async move {
            let mut n = client << 32;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let answer = http.get(&format!("/echo/{n}")).await;
                match answer.status.as_u16() {
                    200 => {
                        assert_eq!(answer.value(), Value::from(n), "another request's answer");
                        seen.right.fetch_add(1, Ordering::Relaxed);
                    }
                    502 | 503 => {
                        assert!(answer.status != 503 || !answer.header("retry-after").is_empty());
                        seen.unavailable.fetch_add(1, Ordering::Relaxed);
                    }
                    501 => {
                        seen.nobody.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => panic!("{}", answer.show()),
                }
            }
        });
    }

    // Each phase lasts until the clients have seen it.
    grows(&seen.right, 200).await;
    first.kill().await;
    grows(&seen.unavailable, 50).await;
    let second = router();
    second
        .listen(address)
        .await
        .expect("the port is free again");
    grows(&seen.nobody, 50).await;
    let mut callee = Callee::join(url(address)).await;
    callee.register_echo("com.test.echo").await;
    grows(&seen.right, 200).await;

    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let status = app.gateway().pools.get(REALM).unwrap().status();
    assert!(
        status.sessions.iter().all(|session| session.in_flight == 0),
        "{status:?}"
    );
    app.stop().await;
    second.shutdown().await;
}

/// Waits until `count` has grown by `more`.
async fn grows(count: &AtomicUsize, more: usize) {
    let target = count.load(Ordering::Relaxed) + more;
    let grown = async {
        while count.load(Ordering::Relaxed) < target {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, grown)
        .await
        .expect("the clients to see it");
}
