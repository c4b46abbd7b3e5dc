//! A WAMP call by HTTP: through the demo (embedded router and service included), through wampgate
//! and Crossbar.io, and through Crossbar's own HTTP bridge on the same router and callee.
//!
//! Rounds are interleaved, so that whatever else the machine does hits all; the median of the
//! rounds counts, and the ratios more than the figures. CPU is user plus system time of the
//! processes named, divided by the requests: the fairest figure where everything shares the cores.
//!
//! `make bench` installs Crossbar and says where (`WAMPGATE_PEERS`); without it only the demo is
//! measured.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod calls {
    pub(crate) mod load;
    pub(crate) mod processes;
}
#[path = "../tests/interop/peers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod peers;

use std::time::Duration;

use calls::load::{self, Outcome, Request};
use calls::processes::{self, Gateway};
use peers::{Brand, RealRouter};
use wampgate::uri::{Uri, UriCheck};
use wampgate::wamp::client::{Client, RegisterOptions, Registration};
use wampgate::wamp::config::RouterConfig;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const REALM: &str = "com.example.bench";
const PROCEDURE: &str = "com.example.bench.echo";
/// 100 bytes of JSON.
const BODY: &str = r#"{"id":18446744073709551615,"name":"a hundred bytes of JSON","tags":["a","b","c"],"price":1234.5678}"#;

/// One way for a call to go.
struct Way {
    name: &'static str,
    /// Whose CPU is counted: parts of command lines.
    counted: &'static [&'static str],
    request: Request,
    outcomes: Vec<Outcome>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let demo = Gateway::demo().await;
    let mut ways = vec![Way::new(
        "wampgate demo (router and service too)",
        &["wampgate demo"],
        Request::get(&demo.address, "/v1/items/lamp"),
    )];
    // All of these live until the end.
    let mut crossbar = None;
    if let Some(folder) = peers::installed() {
        let router = RealRouter::start(Brand::Crossbar, &folder, &[REALM]).await;
        let callee = echo(&router.url()).await;
        let gateway = Gateway::serve(&router.url(), REALM, PROCEDURE).await;
        let bridge = router.url().replace("ws://", "").replace("/ws", "");
        let call = format!(r#"{{"procedure": "{PROCEDURE}", "args": [{BODY}]}}"#);
        let bridge = Request::post(&bridge, "/call", &call);
        let through = Request::post(&gateway.address, "/echo", BODY);
        ways.push(Way::new("wampgate, Crossbar", &["wampgate serve"], through));
        ways.push(Way::new("Crossbar's own bridge", &["crossbar"], bridge));
        crossbar = Some((router, callee, gateway));
    }
    for way in &mut ways {
        load::warm_up(&way.request).await;
    }
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for way in &mut ways {
            let before = processes::cpu(way.counted);
            let mut outcome = load::run(&way.request, ROUND).await;
            outcome.cpu = processes::cpu(way.counted).saturating_sub(before);
            way.outcomes.push(outcome);
        }
    }
    report(&ways);
    drop((demo, crossbar));
}

/// A callee of our own, so that it is not what is measured.
async fn echo(url: &str) -> (Client, Registration) {
    let uri = |text| Uri::parse(text, UriCheck::Strict).expect("a URI");
    let config = RouterConfig {
        urls: vec![url.into()],
        ..RouterConfig::default()
    };
    let client = Client::connect(&uri(REALM), &config)
        .await
        .expect("Crossbar welcomes us");
    let registration = client
        .register(
            &uri(PROCEDURE),
            RegisterOptions::default(),
            |invocation| async { Ok(invocation.payload) },
        )
        .await
        .expect("Crossbar takes the registration");
    (client, registration)
}

impl Way {
    fn new(name: &'static str, counted: &'static [&'static str], request: Request) -> Self {
        Self {
            name,
            counted,
            request,
            outcomes: Vec::new(),
        }
    }

    fn median(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        let mut all: Vec<f64> = self.outcomes.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    fn rate(&self) -> f64 {
        self.median(|outcome| outcome.requests as f64 / outcome.took.as_secs_f64())
    }

    fn cpu_micros(&self) -> f64 {
        self.median(|outcome| outcome.cpu.as_secs_f64() * 1e6 / outcome.requests as f64)
    }

    fn p99_millis(&self) -> f64 {
        self.median(|outcome| outcome.percentile(99).as_secs_f64() * 1e3)
    }
}

fn report(ways: &[Way]) {
    println!(
        "{:40} {:>12} {:>12} {:>9} {:>9}",
        "", "requests/s", "CPU µs/req", "p50 ms", "p99 ms"
    );
    for way in ways {
        let p50 = way.median(|outcome| outcome.percentile(50).as_secs_f64() * 1e3);
        println!(
            "{:40} {:12.0} {:12.1} {p50:9.2} {:9.2}",
            way.name,
            way.rate(),
            way.cpu_micros(),
            way.p99_millis()
        );
    }
    if let [_, gateway, bridge] = ways {
        println!("\nwampgate beside Crossbar's bridge, on the same router and callee:");
        println!("  requests/s {:.2} x", gateway.rate() / bridge.rate());
        println!(
            "  p99        {:.2} x",
            gateway.p99_millis() / bridge.p99_millis()
        );
        println!(
            "  CPU        1/{:.0} (the bridge is part of the router, so its figure holds both)",
            bridge.cpu_micros() / gateway.cpu_micros()
        );
    }
}
