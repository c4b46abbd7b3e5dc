//! The same requests give the same answers on Crossbar.io as on the embedded router.
//!
//! Both sides have the same gateway, the same specs and the same callee in Python. The sample's own
//! service in Rust is a third side: the demo answers what a real deployment answers.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wampgate::app::{App, Files, Plan, Settings};
use wampgate::catalog::SourceText;
use wampgate::config::{self, Config};
use wampgate::demo::{self, market::Market};
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::listener;
use wampgate::store::embedded::Embedded;
use wampgate::uri::{Uri, UriCheck};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::Client;
use wampgate::wamp::config::{PassOn, Reconnect, RouterConfig};

use crate::http::{Answer, Http, PATIENCE};
use crate::peers::{self, Callee, RealRouter};

/// The sample's realm, and the realm of the sample from Bondy's world.
const REALMS: [&str; 2] = ["com.example.market", "com.market.demo"];

const JSON: (&str, &str) = ("content-type", "application/json");

/// Method, path, body.
type Asked = (&'static str, &'static str, &'static str);

const MARKET: &[Asked] = &[
    ("GET", "/", ""),
    ("GET", "/v1/items", ""),
    ("GET", "/v1/items?limit=1", ""),
    ("GET", "/v1/items?limit=many", ""),
    ("GET", "/v1/items/lamp", ""),
    ("GET", "/items/lamp", ""),
    ("HEAD", "/v1/items/lamp", ""),
    ("OPTIONS", "/v1/items/lamp", ""),
    ("GET", "/v1/items/boat", ""),
    (
        "POST",
        "/v1/items",
        r#"{"name": "clock", "price": 30, "deadline": "soon"}"#,
    ),
    ("POST", "/v1/items", r#"{"name": "clock", "price": 30}"#),
    (
        "POST",
        "/v1/items",
        r#"{"name": "ünïcode/☃", "price": 0.5}"#,
    ),
    ("GET", "/v1/items/%C3%BCn%C3%AFcode%2F%E2%98%83", ""),
    ("POST", "/v1/items", r#"{"name": "free", "price": 0}"#),
    ("POST", "/v1/items", r#"{"name": "free", "price": "cheap"}"#),
    ("POST", "/v1/items", r#"{"price": 1}"#),
    ("POST", "/v1/items", r#"{"name": "half"#),
    ("POST", "/v1/bidders", r#"{"name": "bob"}"#),
    ("POST", "/v1/bidders", r#"{"name": "bob"}"#),
    (
        "POST",
        "/v1/items/clock/bids",
        r#"{"price": 31.5, "bidder": "bob"}"#,
    ),
    (
        "POST",
        "/v1/items/clock/bids",
        r#"{"price": 31, "bidder": "bob"}"#,
    ),
    (
        "POST",
        "/v1/items/clock/bids",
        r#"{"price": 32, "bidder": "eve"}"#,
    ),
    ("GET", "/v1/items/clock", ""),
    (
        "POST",
        "/v1/announcements",
        r#"{"text": "Everything must go"}"#,
    ),
    ("DELETE", "/v1/bidders/bob", ""),
    ("DELETE", "/v1/bidders/bob", ""),
    ("PUT", "/v1/items", "{}"),
    ("GET", "/nowhere", ""),
];

const BONDYS: &[Asked] = &[
    ("GET", "/v1.0/market", ""),
    ("GET", "/market", ""),
    ("OPTIONS", "/market", ""),
    (
        "POST",
        "/market/item",
        r#"{"name": "hat", "price": 7, "deadline": "2030-01-01"}"#,
    ),
    (
        "POST",
        "/market/item",
        r#"{"name": "hat", "price": 7, "deadline": "2030-01-01"}"#,
    ),
    ("GET", "/market/item/hat", ""),
    ("GET", "/market/item/boat", ""),
    ("POST", "/market/bidder", r#"{"name": "bob"}"#),
    (
        "PUT",
        "/market/item/hat",
        r#"{"price": 8, "bidder": "bob"}"#,
    ),
    (
        "PUT",
        "/market/item/hat",
        r#"{"price": 8, "bidder": "bob"}"#,
    ),
    ("DELETE", "/market/bidder/bob", ""),
    ("DELETE", "/market/bidder/bob", ""),
    ("POST", "/market/bidder", ""),
];

const PROTOCOL: &[Asked] = &[
    (
        "POST",
        "/test/echo",
        r#"{"i": [18446744073709551615, -9223372036854775808, 9007199254740993]}"#,
    ),
    (
        "POST",
        "/test/echo",
        r#"["nested", [[]], {"a": {}}, null, true, 1.5, 1e300, "ü☃\u0000"]"#,
    ),
    ("POST", "/test/echo", "null"),
    ("GET", "/test/big", ""),
    ("GET", "/test/binary", ""),
    ("GET", "/test/nothing", ""),
    ("GET", "/test/null", ""),
    ("POST", "/test/fail", r#"{"big": 18446744073709551615}"#),
    ("POST", "/test/fail-plainly", "{}"),
    ("GET", "/test/any/nobody", ""),
    ("GET", "/test/any/not%20a%20uri", ""),
    ("GET", "/test/any/..", ""),
    ("GET", "/test/slow", ""),
    ("GET", "/test/any/seen_interrupts", ""),
    ("POST", "/test/echo", r#""the sessions are as they were""#),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossbar_gives_the_answers_of_the_embedded_router() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let realms = REALMS.iter().map(|realm| uri(realm).into()).collect();
    let embedded = Router::new(DevRouterConfig {
        realms,
        ..DevRouterConfig::default()
    });
    let listening = embedded.listen("127.0.0.1:0").await.unwrap();
    let crossbar = RealRouter::shared_crossbar(&folder).await;
    let ours = Side::start(&folder, &listening.url()).await;
    let theirs = Side::start(&folder, &crossbar.url()).await;

    let mut asked = [MARKET, PROTOCOL].concat();
    if bondys_spec().is_some() {
        asked.extend(BONDYS);
    }
    let (mut wrong, mut transcript) = (Vec::new(), String::new());
    for (index, ask) in asked.into_iter().enumerate() {
        let (here, there) = (ours.answer(ask).await, theirs.answer(ask).await);
        if index < MARKET.len() + PROTOCOL.len() {
            writeln!(transcript, "{} {} {}\n  {here}", ask.0, ask.1, ask.2).unwrap();
        }
        if here != there {
            wrong.push(format!(
                "{} {}\n  embedded: {here}\n  Crossbar: {there}",
                ask.0, ask.1
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    insta::assert_snapshot!("answers", transcript);
    ours.app.stop().await;
    theirs.app.stop().await;
    embedded.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demos_service_gives_the_answers_of_the_callee_in_python() {
    let Some(folder) = peers::installed() else {
        return;
    };
    // One router for each: both callees register the same procedures.
    let realms = || REALMS.iter().map(|realm| uri(realm).into()).collect();
    let routers: [Router; 2] = std::array::from_fn(|_| {
        Router::new(DevRouterConfig {
            realms: realms(),
            ..DevRouterConfig::default()
        })
    });
    let url = routers[0].listen("127.0.0.1:0").await.unwrap().url();
    let python = Side::start(&folder, &url).await;
    let url = routers[1].listen("127.0.0.1:0").await.unwrap().url();
    let service = Client::connect(&uri(REALMS[0]), &sessions(&url))
        .await
        .unwrap();
    let market = Arc::new(Market::with_samples());
    let _registrations = demo::offer_market(&service, market).await.unwrap();
    let rust = Side::without_callees(&url).await;

    let mut wrong = Vec::new();
    for &ask in MARKET {
        let (expected, found) = (python.answer(ask).await, rust.answer(ask).await);
        if expected != found {
            wrong.push(format!(
                "{} {}\n  Python: {expected}\n  Rust:   {found}",
                ask.0, ask.1
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A gateway before one router, with the callee's two sessions.
pub(crate) struct Side {
    app: App,
    pub(crate) http: Http,
    callees: Vec<Callee>,
}

impl Side {
    pub(crate) async fn start(folder: &Path, url: &str) -> Self {
        let mut callees = Vec::new();
        for realm in REALMS {
            callees.push(Callee::start(folder, url, realm).await);
        }
        Self {
            callees,
            ..Self::without_callees(url).await
        }
    }

    async fn without_callees(url: &str) -> Self {
        let listen = vec!["127.0.0.1:0".to_owned()];
        let config = Config {
            http: listener::Config {
                listen,
                ..listener::Config::default()
            },
            router: config::Router::Remote(sessions(url)),
            ..Config::default()
        };
        let plan = Plan {
            settings: Settings {
                files: files(),
                ..Settings::new(&config)
            },
            ..Plan::new(&config, Arc::new(Embedded::in_memory()))
        };
        let app = App::start(plan).await.unwrap();
        let installed = app.installed().borrow().clone();
        assert!(
            !installed.findings().iter().any(|it| it.is_error()),
            "{:?}",
            installed.findings()
        );
        for realm in REALMS {
            let pool = app.gateway().pools.get(realm).expect("the realm is in use");
            pool.ready(PATIENCE).await.expect("a session");
        }
        let http = Http::to(app.local_addrs()[0]);
        Self {
            app,
            http,
            callees: Vec::new(),
        }
    }

    /// Waits until the callees have registered again.
    pub(crate) async fn callees_back(&mut self) {
        for callee in &mut self.callees {
            callee.back().await;
        }
    }

    /// What a client sees, without what differs from one run to the next.
    async fn answer(&self, (method, path, body): Asked) -> String {
        let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
        let mut answer = self.http.send(method, path, headers, body).await;
        // An interrupt is on its way while the next request is: ask until it is there.
        let mut more = 100;
        while path.ends_with("seen_interrupts") && answer.show() == "200 0" && more > 0 {
            more -= 1;
            answer = self.http.send(method, path, headers, body).await;
        }
        show(&answer)
    }
}

fn show(answer: &Answer) -> String {
    let body = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(Value::Map(mut map)) => {
            for volatile in ["request_id", "instance", "publication_id", "id"] {
                if let Some(value) = map.get_mut(volatile) {
                    *value = "...".into();
                }
            }
            Value::Map(map).to_string()
        }
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    let names = [
        "content-type",
        "location",
        "allow",
        "cache-control",
        "retry-after",
    ];
    let headers = names.map(|name| answer.header(name)).join(" | ");
    format!("{} [{headers}] {body}", answer.status.as_u16())
}

fn files() -> Files {
    let source = |name: &str, text: String| SourceText {
        name: name.to_owned(),
        text,
    };
    let mut specs = vec![
        source(demo::SPEC.0, demo::SPEC.1.to_owned()),
        source("protocol.json", include_str!("protocol.json").to_owned()),
    ];
    specs.extend(bondys_spec().map(|text| source("marketplace.json", text)));
    let realms = REALMS.map(|realm| source(realm, format!(r#"{{"uri": "{realm}"}}"#)));
    Files::Fixed {
        specs,
        realms: realms.to_vec(),
    }
}

/// The sample from Bondy's world, with `defaults.security` set to `{}` until security is built;
/// none where the folder with it is not beside this repository.
fn bondys_spec() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs/marketplace.json");
    let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap();
    let Value::Map(api) = &mut spec else {
        panic!("an API is an object")
    };
    let Some(Value::Map(defaults)) = api.get_mut("defaults") else {
        panic!("it has defaults")
    };
    defaults.insert("security".to_owned(), Map::new().into());
    Some(spec.to_string())
}

/// Sessions that come back quickly, so that the test of an outage is short.
pub(crate) fn sessions(url: &str) -> RouterConfig {
    let (min, max) = (Duration::from_millis(50), Duration::from_millis(500));
    RouterConfig {
        urls: vec![url.into()],
        reconnect: Reconnect { min, max },
        // All that there is, to see that nobody takes offence.
        pass_on: PassOn {
            trace_context: true,
            request_id: true,
        },
        ..RouterConfig::default()
    }
}

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}
