//! The same requests on every router, with callees of every library.
//!
//! One table says what each request gives. Where a router or a library cannot do it, the table says
//! what it does instead, and why: nothing is left out, and a peer that learns better is noticed.

mod cases;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Notify;
use tokio::time::timeout;
use wampgate::app::{App, Files, Plan, Settings};
use wampgate::catalog::SourceText;
use wampgate::config::{self, Config};
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::listener;
use wampgate::store::embedded::Embedded;
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{
    CallStep, Client, ProgressLimits, Publish, RegisterOptions, Registration, SubscribeOptions,
    Subscription,
};
use wampgate::wamp::error::{ApplicationError, CallError};
use wampgate::wamp::message::Payload;
use wampgate::wamp::options::CancelMode;

use cases::CASES;

use crate::answers::{sessions, uri};
use crate::http::{Answer, Http};
use crate::peers::{self, Brand, Callee, Library, PATIENCE, RealRouter};

/// One thing that is asked of each router and callee.
struct Case {
    what: &'static str,
    ask: Ask,
    gives: &'static str,
    /// Who gives something else: the first whose pattern fits.
    but: &'static [But],
}

enum Ask {
    /// A request to the gateway: method, path, body.
    Http(&'static str, &'static str, &'static str),
    /// Anything else.
    Do(for<'a> fn(&'a mut Cell) -> BoxFuture<'a, String>),
}

/// A known quirk.
struct But {
    /// `router/callee`, where `*` stands for any.
    who: &'static str,
    gives: &'static str,
    /// Whether it costs the callee its session. It comes back by itself.
    costs_session: bool,
}

/// A quirk, and why it is.
const fn but(who: &'static str, gives: &'static str, _why: &'static str) -> But {
    But {
        who,
        gives,
        costs_session: false,
    }
}

impl But {
    const fn and_costs_session(self) -> Self {
        Self {
            costs_session: true,
            ..self
        }
    }
}

impl Case {
    fn quirk(&self, router: &str, callee: &str) -> Option<&But> {
        self.but.iter().find(|but| {
            let (routers, callees) = but.who.split_once('/').expect("router/callee");
            ["*", router].contains(&routers) && ["*", callee].contains(&callees)
        })
    }
}

/// A callee on a router, in a realm of its own, and a gateway and a client of ours beside it.
pub(crate) struct Cell {
    library: Library,
    pub(crate) callee: Callee,
    app: App,
    pub(crate) http: Http,
    pub(crate) ours: Client,
    realm: &'static str,
    /// Somebody has called what takes long.
    pub(crate) started: Subscription,
    events: Subscription,
    interrupted: Arc<Notify>,
    _offers: Vec<Registration>,
    /// Where another callee may be started.
    peers: PathBuf,
    url: String,
    serializer: &'static str,
}

const LIBRARIES: [(&str, Library, &str); 3] = [
    ("python", Library::Python, "msgpack"),
    ("wampy", Library::Wampy, "msgpack"),
    ("autobahn_js", Library::AutobahnJs, "json"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossbar_with_each_library() {
    with_each_library(Some(Brand::Crossbar)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xconn_with_each_library() {
    with_each_library(Some(Brand::Xconn)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fox_with_each_library() {
    with_each_library(Some(Brand::Fox)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_router_with_each_library() {
    with_each_library(None).await;
}

/// Asks all of the table on one router: `None` is the embedded one.
async fn with_each_library(brand: Option<Brand>) {
    let Some(peers) = peers::installed() else {
        return;
    };
    let realms = LIBRARIES.map(|(realm, ..)| realm);
    let name = brand.map_or("embedded".to_owned(), |brand| {
        format!("{brand:?}").to_lowercase()
    });
    let embedded = Router::new(DevRouterConfig {
        realms: realms.iter().map(|realm| uri(realm).into()).collect(),
        ..DevRouterConfig::default()
    });
    // fox-wamp crashes when it writes to a client who has just gone: one for each.
    let together = if brand == Some(Brand::Fox) {
        1
    } else {
        realms.len()
    };
    let (mut routers, mut urls) = (Vec::new(), Vec::new());
    for realms in realms.chunks(together) {
        let url = match brand {
            Some(Brand::Crossbar) => RealRouter::shared_crossbar(&peers).await.url(),
            Some(brand) => {
                let router = RealRouter::start(brand, &peers, realms).await;
                let url = router.url();
                routers.push(router);
                url
            }
            None => embedded.listen("127.0.0.1:0").await.unwrap().url(),
        };
        urls.extend(realms.iter().map(|_| url.clone()));
    }
    let cells = LIBRARIES
        .iter()
        .zip(&urls)
        .map(|(&(callee, library, serializer), url)| {
            // It speaks nothing else.
            let serializer = if brand == Some(Brand::Fox) {
                "json"
            } else {
                serializer
            };
            let (peers, name) = (&peers, &name);
            async move {
                let mut cell = Cell::start(peers, url, callee, library, serializer).await;
                let mut wrong = Vec::new();
                for case in CASES {
                    let gave = cell.ask(&case.ask).await;
                    let quirk = case.quirk(name, callee);
                    let expected = quirk.map_or(case.gives, |but| but.gives);
                    if quirk.is_some_and(|but| but.costs_session) {
                        cell.callee.back().await;
                    }
                    if gave != expected {
                        wrong.push(format!(
                            "{name}/{callee}: {}\n  gave   {gave}\n  wanted {expected}",
                            case.what
                        ));
                    }
                }
                cell.app.stop().await;
                wrong
            }
        });
    let wrong = join_all(cells).await.concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    embedded.shutdown().await;
}

impl Cell {
    pub(crate) async fn start(
        peers: &Path,
        url: &str,
        realm: &'static str,
        library: Library,
        serializer: &'static str,
    ) -> Self {
        let callee = Callee::of(library, peers, url, realm, serializer).await;
        let config = Config {
            http: listener::Config {
                listen: vec!["127.0.0.1:0".to_owned()],
                ..listener::Config::default()
            },
            router: config::Router::Remote(sessions(url)),
            ..Config::default()
        };
        let plan = Plan {
            settings: Settings {
                files: files(realm),
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
        let pool = app.gateway().pools.get(realm).expect("the realm is in use");
        pool.ready(PATIENCE).await.expect("a session");
        let ours = Client::connect(&uri(realm), &sessions(url)).await.unwrap();
        let interrupted = Arc::new(Notify::new());
        let offers = offer(&ours, interrupted.clone()).await;
        let none = SubscribeOptions::default();
        let events = ours
            .subscribe(&uri("com.example.ours.hear"), none, 8)
            .await
            .unwrap();
        let none = SubscribeOptions::default();
        let started = ours
            .subscribe(&uri("com.example.test.started"), none, 8)
            .await
            .unwrap();
        Self {
            library,
            callee,
            http: Http::to(app.local_addrs()[0]),
            app,
            ours,
            realm,
            started,
            events,
            interrupted,
            _offers: offers,
            peers: peers.to_owned(),
            url: url.to_owned(),
            serializer,
        }
    }

    async fn ask(&mut self, ask: &Ask) -> String {
        match ask {
            Ask::Http(method, path, body) => self.http(method, path, body).await,
            Ask::Do(ask) => timeout(PATIENCE, ask(self))
                .await
                .unwrap_or_else(|_| "nothing".to_owned()),
        }
    }

    pub(crate) async fn http(&self, method: &str, path: &str, body: &str) -> String {
        // So that each call and publication tells where in a trace it stands, whatever becomes of it.
        let mut headers = vec![("traceparent", TRACEPARENT), ("tracestate", "foo=1")];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        show(
            &self
                .http
                .send(method, path, &headers, body.to_owned())
                .await,
        )
    }

    /// What arrives of attributes that are nobody's but ours: with a call, and with an event.
    async fn custom(&mut self) -> String {
        let own = || {
            let told = [("_traceparent", TRACEPARENT), ("_request_id", "r-1")];
            told.map(|(name, text)| (name.to_owned(), Value::from(text)))
        };
        let mut call = crate::client::call("com.example.ours.told", vec![]);
        call.options.extend(own());
        let called = show_result(self.ours.call(call).await.map(|result| result.payload));
        let mut publish = Publish::new(
            uri("com.example.ours.hear"),
            numbered(Value::I64(1)),
            PATIENCE,
        );
        publish.options.extend(own());
        let excluded = ("exclude_me".to_owned(), Value::Bool(false));
        publish.options.extend([excluded]);
        self.ours.publish(publish).await.unwrap();
        let event = self.events.next().await.expect("the subscription lasts");
        format!("{called}, heard: {}", show_payload(&told(&event.details)))
    }

    /// Calls a procedure of the callee, not through HTTP.
    async fn call(&self, name: &str, args: Vec<Value>, kwargs: Map) -> String {
        show_result(self.try_call(name, args, kwargs).await)
    }

    async fn try_call(
        &self,
        name: &str,
        args: Vec<Value>,
        kwargs: Map,
    ) -> Result<Payload, CallError> {
        let mut call = crate::client::call(&format!("com.example.test.{name}"), args);
        call.payload = Payload::new(call.payload.args().to_vec(), kwargs);
        call.timeout = crate::client::SOON;
        Ok(self.ours.call(call).await?.payload)
    }

    async fn megabyte(&self) -> String {
        let text = format!("{:?}", "x".repeat(1 << 20));
        let answer = self.http.json("POST", "/test/echo", &text).await;
        let args = answer.member("args");
        let same =
            matches!(&args, Value::List(args) if args[0] == Value::from(text.trim_matches('"')));
        format!(
            "{} {}",
            answer.status.as_u16(),
            if same { "the same" } else { "something else" }
        )
    }

    async fn bytes(&self) -> String {
        let answer = self.http.get("/test/binary").await;
        let status = answer.status.as_u16();
        match answer.value() {
            Value::Map(map) => format!("{status} a map of {} members", map.len()),
            text if text
                == Value::Bytes((0..=255).collect())
                    .to_string()
                    .trim_matches('"')
                    .into() =>
            {
                format!("{status} 256 bytes")
            }
            other => format!("{status} {other}"),
        }
    }

    async fn publish(&self) -> String {
        let published = self.http("POST", "/test/publish", r#"{"what": 1}"#).await;
        format!(
            "{published}, heard: {}",
            self.call("heard", vec![], Map::new()).await
        )
    }

    async fn publish_nothing(&self) -> String {
        let publish = Publish::new(uri("com.example.test.hear"), Payload::default(), PATIENCE);
        // The call first: whom the event costs its session, nobody writes to afterwards.
        let (heard, published) = tokio::join!(
            self.call("heard", vec![], Map::new()),
            self.ours.publish(publish)
        );
        published.unwrap();
        heard
    }

    async fn hear(&mut self) -> String {
        let announce = vec!["com.example.ours.hear".into(), Value::I64(1)];
        let announced = self.call("announce", announce, kwargs()).await;
        let event = self.events.next().await.expect("the subscription lasts");
        format!("{announced}, heard: {}", show_payload(&event.payload))
    }

    /// Lets the callee call us.
    async fn relayed(&self, procedure: &str) -> String {
        self.call(
            "relay",
            vec![procedure.into(), Value::I64(1), "two".into()],
            kwargs(),
        )
        .await
    }

    /// Lets the callee call us and cancel the call.
    async fn given_up(&self, mode: &str) -> String {
        let gave = self
            .call(
                "give_up",
                vec!["com.example.ours.slow".into(), mode.into()],
                Map::new(),
            )
            .await;
        let told = timeout(crate::client::SOON, self.interrupted.notified())
            .await
            .is_ok();
        format!(
            "{gave}, {}",
            if told {
                "interrupted"
            } else {
                "not interrupted"
            }
        )
    }

    /// Calls, and takes progressive results.
    async fn progress(&self) -> String {
        let call = crate::client::call("com.example.test.progress", vec![Value::I64(3)]);
        let mut steps = self
            .ours
            .call_progressive(call, ProgressLimits::default())
            .unwrap();
        let mut gave = Vec::new();
        while let Some(step) = steps.next().await {
            gave.push(match step {
                Ok(CallStep::Progress(part)) => format!("part {}", show_payload(&part.payload)),
                Ok(CallStep::Result(result)) => show_payload(&result.payload),
                Err(error) => show_result(Err(error)),
            });
        }
        gave.join(", ")
    }

    /// Ours, or the router's where it knows it: they run out together.
    async fn deadline(&self) -> String {
        self.http
            .get("/test/slow")
            .await
            .status
            .as_u16()
            .to_string()
    }

    /// Asks until the callee has been told of `count` interrupts, a bounded number of times.
    async fn interrupts(&self, count: i64) -> String {
        let mut gave = String::new();
        for _ in 0..50 {
            gave = self.call("seen_interrupts", vec![], Map::new()).await;
            if gave == format!("[{count}] {{}}") {
                break;
            }
        }
        gave
    }

    /// Sends a request and leaves when the callee has it.
    async fn leave(&mut self) -> String {
        // The one of the case before.
        self.started.next().await;
        tokio::select! {
            answer = self.http.get("/test/any/slow") => panic!("{}", answer.show()),
            _ = self.started.next() => {}
        }
        "gone".to_owned()
    }

    /// How many calls are given up whose end the router has not told.
    async fn unsettled(&self) -> String {
        let pool = self
            .app
            .gateway()
            .pools
            .get(self.realm)
            .expect("the realm is in use");
        let count = || {
            pool.status()
                .sessions
                .iter()
                .map(|session| session.tombstones)
                .sum()
        };
        self.settle(count).await.to_string()
    }

    async fn skip(&mut self) -> String {
        let mut call = crate::client::call("com.example.test.slow", vec![]);
        call.cancel = CancelMode::Skip;
        let before = self.ours.tombstones();
        tokio::select! {
            result = self.ours.call(call) => panic!("{result:?}"),
            _ = self.started.next() => {}
        }
        let unsettled = self
            .settle(|| self.ours.tombstones().saturating_sub(before))
            .await;
        format!("{unsettled} unsettled")
    }

    /// Gives the router the time of some calls to bring a number to 0.
    async fn settle(&self, count: impl Fn() -> usize) -> usize {
        for _ in 0..50 {
            self.http.json("POST", "/test/echo", "1").await;
            self.call("echo", vec![], Map::new()).await;
            if count() == 0 {
                break;
            }
        }
        count()
    }

    async fn die(&mut self) -> String {
        let answer = self.http("GET", "/test/die", "").await;
        self.callee.ended().await;
        answer
    }

    async fn succeed(&mut self) -> String {
        self.callee = Callee::of(
            self.library,
            &self.peers,
            &self.url,
            self.realm,
            self.serializer,
        )
        .await;
        self.http("POST", "/test/echo", "1").await
    }

    async fn state(&self) -> String {
        let status = self.app.gateway().pools.status();
        let of = |session: &wampgate::wamp::pool::SessionStatus| {
            format!(
                "{} reconnects, {} in flight, {} malformed",
                session.reconnects, session.in_flight, session.dropped.malformed
            )
        };
        status
            .iter()
            .flat_map(|pool| &pool.sessions)
            .map(of)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// What we offer to the callee as a caller.
async fn offer(client: &Client, interrupted: Arc<Notify>) -> Vec<Registration> {
    let ours = |name: &str| uri(&format!("com.example.ours.{name}"));
    let options = RegisterOptions::default();
    let echo = client
        .register(&ours("echo"), options, |invocation| async {
            Ok(invocation.payload)
        })
        .await;
    let fail = client
        .register(&ours("fail"), options, |invocation| async move {
            let (args, kwargs) = (
                invocation.payload.args().to_vec(),
                invocation.payload.kwargs().clone(),
            );
            Err(ApplicationError::new("com.example.error.no", args, kwargs))
        })
        .await;
    let slow = client
        .register(&ours("slow"), options, move |invocation| {
            let interrupted = interrupted.clone();
            async move {
                invocation.interrupted().await;
                interrupted.notify_one();
                Ok(Payload::default())
            }
        })
        .await;
    let progress = client
        .register(&ours("progress"), options, |invocation| async move {
            for number in 1..=3 {
                // A caller who takes none gets the end only.
                invocation.progress(numbered(Value::I64(number))).await.ok();
            }
            Ok(numbered("done".into()))
        })
        .await;
    let told = client
        .register(&ours("told"), options, |invocation| async move {
            Ok(told(&invocation.details))
        })
        .await;
    [echo, fail, slow, progress, told]
        .map(Result::unwrap)
        .into()
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What details have that is nobody's but ours.
fn told(details: &Map) -> Payload {
    let own = details.iter().filter(|(name, _)| name.starts_with('_'));
    let own: Map = own
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Payload::new(vec![own.into()], kwargs())
}

/// With a named argument, without which fox-wamp sends null, which autobahn in Python cannot bear.
fn numbered(value: Value) -> Payload {
    Payload::new(vec![value], kwargs())
}

fn kwargs() -> Map {
    Map::from([("named".to_owned(), true.into())])
}

fn bytes() -> Value {
    Value::Bytes(vec![0, 128, 255].into())
}

fn show_result(result: Result<Payload, CallError>) -> String {
    match result {
        Ok(payload) => show_payload(&payload),
        Err(CallError::Application(error)) => {
            format!("{} {}", error.uri, show_payload(&error.payload))
        }
        Err(error) => format!("{error}"),
    }
}

fn show_payload(payload: &Payload) -> String {
    let (args, kwargs) = (payload.args().to_vec(), payload.kwargs().clone());
    format!(
        "{} {}",
        sorted(Value::List(args)),
        sorted(Value::Map(kwargs))
    )
}

/// The status and the body; of a problem only its code.
pub(crate) fn show(answer: &Answer) -> String {
    if answer.header("content-type").contains("problem") {
        let code = answer.member("code");
        return format!(
            "{} {}",
            answer.status.as_u16(),
            code.to_string().trim_matches('"')
        );
    }
    match serde_json::from_slice(&answer.body) {
        Ok(body) => format!("{} {}", answer.status.as_u16(), sorted(body)),
        Err(_) => answer.show(),
    }
}

/// Some routers keep no order of members.
fn sorted(value: Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(sorted).collect()),
        Value::Map(mut map) => {
            map.sort_unstable_keys();
            Value::Map(
                map.into_iter()
                    .map(|(name, value)| (name, sorted(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

fn files(realm: &str) -> Files {
    let source = |name: &str, text: String| SourceText {
        name: name.to_owned(),
        text,
    };
    let spec = include_str!("protocol.json").replace("com.example.market", realm);
    Files::Fixed {
        specs: vec![source("protocol.json", spec)],
        realms: vec![source(realm, format!(r#"{{"uri": "{realm}"}}"#))],
    }
}
