//! A thousand table swaps under load: no request fails, and none sees half of a change.
//!
//! Every version of the spec says its number in two places of each answer and on two routes. Half of
//! a change would be an answer with two numbers, or a route that is older than the other was before.
//! Now and then the realm's router settings change too, so that its sessions are replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use wampgate::config;
use wampgate::store::Kind;
use wampgate::value::Value;
use wampgate::wamp::config::RouterConfig;

use crate::http::{Http, PATIENCE};
use crate::live::{Live, realm};
use crate::support::{Callee, REALM, router, url};

const CLIENTS: usize = 64;
const SWAPS: u64 = 1_000;

/// So often the realm's settings change.
const SWAPS_OF_ROUTER: u64 = 100;

/// Requests that measure how it is without swaps.
const CALM: usize = 6_000;

fn spec(number: u64) -> String {
    let operation = format!(
        r#"{{"get": {{"action": {{"type": "wamp_call", "procedure": "com.test.echo", "args": [{number}]}},
            "response": {{"on_result": {{"body": {{"here": {number},
                "there": "{{{{action.result.args |> head}}}}"}}}}}}}}}}"#
    );
    format!(
        r#"{{"id": "it", "host": "_", "realm_uri": "{REALM}", "versions": {{"1": {{
            "base_path": "/", "pool_size": 1000, "paths": {{"/a": {operation}, "/b": {operation}}}}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_are_seen_by_nobody() {
    let router = Arc::new(router());
    let address = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let mut callee = Callee::join(url(address)).await;
    callee.register_echo("com.test.echo").await;
    let url = format!("ws://{address}/ws");
    let live = Live::start(&[], config::Router::Remote(RouterConfig::default())).await;
    live.put_and_wait(Kind::Realm, REALM, Some(&realm(REALM, &url, 2)))
        .await;
    live.put_and_wait(Kind::Spec, "it", Some(&spec(0))).await;
    live.app
        .gateway()
        .pools
        .get(REALM)
        .unwrap()
        .ready(PATIENCE)
        .await
        .unwrap();

    let load = Load::start(&live.http);
    load.until_counted(CALM).await;
    let calm = load.stop().await;

    let load = Load::start(&live.http);
    for number in 1..=SWAPS {
        if number % SWAPS_OF_ROUTER == 0 {
            let sessions = usize::try_from(2 + number / SWAPS_OF_ROUTER % 2).unwrap();
            live.put(Kind::Realm, REALM, Some(&realm(REALM, &url, sessions)))
                .await;
        }
        live.put_and_wait(Kind::Spec, "it", Some(&spec(number)))
            .await;
    }
    let swapping = load.stop().await;

    let installed = live.app.installed().borrow().clone();
    assert!(installed.number > SWAPS, "{}", installed.number);
    let (calm, busy) = (p99(calm), p99(swapping.clone()));
    eprintln!(
        "{} requests by {CLIENTS} clients during {SWAPS} swaps; p99 {busy:?}, without swaps {calm:?}, \
         ratio {:.2}",
        swapping.len(),
        busy.as_secs_f64() / calm.as_secs_f64()
    );
    live.app.stop().await;
    router.shutdown().await;
}

/// Clients that ask both routes in turn, until they are stopped.
struct Load {
    clients: JoinSet<Vec<Duration>>,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(http: &Http) -> Self {
        let (count, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client(http.clone(), count.clone(), stop.clone()));
        }
        Self {
            clients,
            count,
            stop,
        }
    }

    async fn until_counted(&self, count: usize) {
        while self.count.load(Ordering::Relaxed) < count as u64 {
            tokio::task::yield_now().await;
        }
    }

    /// Returns how long each request took.
    async fn stop(mut self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(times) = self.clients.join_next().await {
            all.extend(times.unwrap());
        }
        all
    }
}

async fn client(http: Http, count: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut seen = 0;
    for path in ["/a", "/b"].iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let answer = http.get(path).await;
        times.push(began.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.show());
        let value = answer.value();
        let number = |key: &str| match &value.as_map().unwrap()[key] {
            Value::U64(number) => *number,
            Value::I64(number) => u64::try_from(*number).unwrap(),
            _ => panic!("{value}"),
        };
        assert_eq!(number("here"), number("there"), "half of a change");
        assert!(
            number("here") >= seen,
            "{path} is older than what was there before"
        );
        seen = number("here");
        count.fetch_add(1, Ordering::Relaxed);
    }
    times
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}
