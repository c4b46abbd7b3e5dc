//! Traces, from the client's header to the callee and to the collector.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wampgate::app::App;
use wampgate::telemetry::traces::{Config, Header, Traces};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{Invocation, SubscribeOptions};
use wampgate::wamp::config::PassOn;
use wampgate::wamp::message::Payload;

use crate::collector::{Collector, hex, show};
use crate::http::{Http, PATIENCE};
use crate::logs::Log;
use crate::support::{REALM, TestGateway, plan, result, sessions, uri};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

const PATHS: &str = r#"{
    "/call/:name": {"get": {"action": {"type": "wamp_call",
        "procedure": "com.test.{{request.bindings.name}}"}}},
    "/again": {"get": {"action": {"type": "wamp_call", "procedure": "com.test.nobody",
        "retries": 1, "retry_timeout": 5000}}},
    "/publish/:name": {"post": {"action": {"type": "wamp_publish",
        "topic": "com.test.on.{{request.bindings.name}}"}}}
}"#;

fn spec() -> String {
    format!(
        r#"{{"id": "test", "host": "_", "realm_uri": "{REALM}",
            "versions": {{"1": {{"base_path": "/", "paths": {PATHS}}}}}}}"#
    )
}

/// A gateway with a callee that keeps the details of each call.
struct Traced {
    gateway: TestGateway,
    told: Arc<Mutex<Vec<Map>>>,
}

impl Traced {
    /// Sends its spans to `url`, if anywhere; `change` has the last word.
    async fn start(url: Option<&str>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            endpoint: url.map(|url| url.parse().unwrap()),
            trust_incoming: true,
            ..Config::default()
        };
        change(&mut config);
        let traces = Traces::start(config).unwrap();
        let mut gateway = TestGateway::changed(&spec(), |plan| {
            plan.traces = traces;
            sessions(plan).pass_on.request_id = true;
        })
        .await;
        let told: Arc<Mutex<Vec<Map>>> = Arc::default();
        let tell = told.clone();
        let echo = move |invocation: Invocation| {
            tell.lock().unwrap().push(invocation.details);
            std::future::ready(Ok(Payload::default()))
        };
        gateway.callee.register("com.test.echo", echo).await;
        Self { gateway, told }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let answer = self.gateway.http.send("GET", path, headers, "").await;
        answer.status.as_u16()
    }

    /// What the callee was told of one call.
    fn told(&self) -> Map {
        self.told.lock().unwrap().remove(0)
    }
}

/// The parts of a text such as `00-trace-span-01`.
fn parts(parent: &Value) -> Vec<&str> {
    parent.as_text().expect("text").split('-').collect()
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name}: {spans:?}"))
}

#[tokio::test]
async fn a_request_a_call_and_a_callee_are_one_trace() {
    let mut collector = Collector::start(&[]).await;
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    let headers = [
        ("traceparent", PARENT),
        ("tracestate", "foo=1"),
        ("x-request-id", "r-1"),
        ("host", "api.example:8443"),
        ("authorization", "Bearer hush"),
    ];
    assert_eq!(traced.get("/call/echo?key=hush", &headers).await, 200);
    let told = traced.told();
    traced.gateway.stop().await;

    let taken = collector.rest();
    assert_eq!(taken[0].path, "/v1/traces");
    assert_eq!(taken[0].headers["content-type"], "application/x-protobuf");
    assert_eq!(taken[0].resource["service.name"], "wampgate");
    // On a machine that is busy these may be two batches.
    let spans: Vec<_> = taken.into_iter().flat_map(|taken| taken.spans).collect();
    let [client, server] = &*spans else {
        panic!("{spans:?}");
    };
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(span.trace_state, "foo=1");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!(client.parent_span_id, server.span_id);
    assert_ne!(client.span_id, server.span_id);

    let own = hex(&client.span_id);
    assert_eq!(parts(&told["_traceparent"]), ["00", TRACE, &own, "01"]);
    assert_eq!(told["_tracestate"], Value::from("foo=1"));
    assert_eq!(told["_request_id"], Value::from("r-1"));

    insta::assert_snapshot!(show(client), @r"
    com.test.{{request.bindings.name}} (client)
      rpc.method=com.test.{{request.bindings.name}}
      rpc.system.name=wamp
      wampgate.realm.uri=com.test
    ");
    insta::assert_snapshot!(show(server), @r"
    GET /call/:name (server)
      client.address=127.0.0.1
      http.request.method=GET
      http.response.status_code=200
      http.route=/call/:name
      network.protocol.version=1.1
      server.address=api.example
      server.port=8443
      url.path=/call/echo
      url.scheme=http
      wampgate.api.id=test
      wampgate.api.version=1
      wampgate.realm.uri=com.test
      wampgate.request.id=r-1
    ");
}

#[tokio::test]
async fn a_trace_that_begins_here_reaches_subscribers_too() {
    let mut collector = Collector::start(&[]).await;
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    let none = SubscribeOptions::default();
    let topic = uri("com.test.on.hat");
    let client = &traced.gateway.callee.client;
    let mut events = client.subscribe(&topic, none, 8).await.unwrap();
    let answer = traced
        .gateway
        .http
        .send("POST", "/publish/hat", &[], "")
        .await;
    assert!(answer.status.is_success(), "{}", answer.show());
    let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    let request_id = answer.header("x-request-id").to_owned();
    traced.gateway.stop().await;

    let spans = collector.spans();
    let producer = named(&spans, "publish com.test.on.{{request.bindings.name}}");
    let server = named(&spans, "POST /publish/:name");
    assert!(server.parent_span_id.is_empty());
    assert_eq!(producer.parent_span_id, server.span_id);
    assert_eq!(producer.trace_id, server.trace_id);
    let (trace, own) = (hex(&producer.trace_id), hex(&producer.span_id));
    let parent = &event.details["_traceparent"];
    assert_eq!(parts(parent), ["00", &trace, &own, "01"]);
    assert_eq!(event.details["_request_id"], Value::from(request_id));
    assert!(!event.details.contains_key("_tracestate"));
    insta::assert_snapshot!(show(producer), @r"
    publish com.test.on.{{request.bindings.name}} (producer)
      messaging.destination.name=com.test.on.hat
      messaging.destination.template=com.test.on.{{request.bindings.name}}
      messaging.operation.name=publish
      messaging.operation.type=send
      messaging.system=wamp
      wampgate.realm.uri=com.test
    ");
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own() {
    let mut collector = Collector::start(&[]).await;
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    assert_eq!(traced.get("/again", &[]).await, 501);
    traced.gateway.stop().await;
    let spans = collector.spans();
    let [first, second, server] = &*spans else {
        panic!("{spans:?}");
    };
    for attempt in [first, second] {
        assert_eq!(attempt.parent_span_id, server.span_id);
    }
    assert_ne!(first.span_id, second.span_id);
    insta::assert_snapshot!(show(second), @r"
    com.test.nobody (client error)
      error.type=wamp.error.no_such_procedure
      rpc.method=com.test.nobody
      rpc.response.status_code=wamp.error.no_such_procedure
      rpc.system.name=wamp
      wampgate.realm.uri=com.test
      wampgate.resend_count=1
    ");
    assert!(
        show(server).starts_with("GET /again (server error)"),
        "{}",
        show(server)
    );
}

#[tokio::test]
async fn who_asks_for_nothing_there_is_no_pattern_for() {
    let mut collector = Collector::start(&[]).await;
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    assert_eq!(traced.get("/made/up/17", &[]).await, 404);
    let answer = traced
        .gateway
        .http
        .send("BREW", "/call/echo", &[], "")
        .await;
    assert_eq!(answer.status.as_u16(), 405);
    traced.gateway.stop().await;
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(show).collect();
    assert!(names[0].starts_with("GET (server)\n"), "{names:?}");
    assert!(names[1].starts_with("HTTP (server)\n"), "{names:?}");
    assert!(names[1].contains("http.request.method=_OTHER\n  http.request.method_original=BREW"));
}

#[tokio::test]
async fn without_a_collector_the_context_goes_through_as_it_came_and_the_log_has_it() {
    let (log, _guard) = Log::begin();
    let traced = Traced::start(None, |_| {}).await;
    for (headers, expected) in [
        (
            &[("traceparent", PARENT), ("tracestate", "a=1,b=2")] as &[_],
            Some("a=1,b=2"),
        ),
        (&[("traceparent", PARENT)], None),
    ] {
        assert_eq!(traced.get("/call/echo", headers).await, 200);
        let told = traced.told();
        assert_eq!(told["_traceparent"], Value::from(PARENT));
        assert_eq!(told.get("_tracestate").and_then(Value::as_text), expected);
    }
    for headers in [
        &[] as &[_],
        &[("traceparent", "00-0-0-01")],
        &[("tracestate", "a=1")],
    ] {
        assert_eq!(traced.get("/call/echo", headers).await, 200);
        let told = traced.told();
        let names: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(names, ["_request_id"], "{headers:?}");
    }
    assert_eq!(
        traced.get("/call/nobody", &[("traceparent", PARENT)]).await,
        501
    );
    traced.gateway.stop().await;
    let text = log.text();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("wampgate::access"))
        .collect();
    let with = |line: &&&str| line.contains(&format!("trace_id={TRACE}"));
    assert_eq!(lines.iter().filter(with).count(), 3, "{text}");
    assert_eq!(lines.len(), 6, "{text}");
}

#[tokio::test]
async fn a_realm_says_what_its_router_is_told() {
    let traced = Traced::start(None, |_| {}).await;
    let nothing = PassOn {
        trace_context: false,
        request_id: false,
    };
    for (pass_on, expected) in [
        (nothing, &[] as &[&str]),
        (PassOn::default(), &["_traceparent"]),
    ] {
        let endpoint = traced.gateway.router.endpoint();
        let mut plan = plan(&spec(), endpoint);
        sessions(&mut plan).pass_on = pass_on;
        let app = App::start(plan).await.unwrap();
        let http = Http::to(app.local_addrs()[0]);
        let headers = [("traceparent", PARENT)];
        let answer = http.send("GET", "/call/echo", &headers, "").await;
        assert_eq!(answer.status.as_u16(), 200);
        let told = traced.told();
        let names: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(names, expected, "{pass_on:?}");
        app.stop().await;
    }
    traced.gateway.stop().await;
}

#[tokio::test]
async fn strangers_do_not_decide_what_is_recorded() {
    let mut collector = Collector::start(&[]).await;
    let traced = Traced::start(Some(&collector.url()), |config| {
        config.trust_incoming = false;
        config.sample_ratio = 0.0;
    })
    .await;
    assert_eq!(
        traced.get("/call/echo", &[("traceparent", PARENT)]).await,
        200
    );
    let told = traced.told();
    let parent = parts(&told["_traceparent"]);
    assert_eq!((parent[1], parent[3]), (TRACE, "00"));
    traced.gateway.stop().await;
    assert!(collector.rest().is_empty());
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    let (log, _guard) = Log::begin();
    // Nobody listens there once the socket is dropped.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let traced = Traced::start(Some(&format!("http://{address}")), |config| {
        config.headers = vec![Header::parse("x-key=hush").unwrap()];
    })
    .await;
    for _ in 0..20 {
        assert_eq!(traced.get("/call/echo", &[]).await, 200);
    }
    let tracer = traced.gateway.app.gateway().tracer.clone();
    traced.gateway.stop().await;
    let counts = tracer.counts().unwrap();
    assert_eq!((counts.exported, counts.dropped), (0, 40));
    let text = log.text();
    assert_eq!(
        text.matches("traces cannot be exported").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains(&address.to_string()) && !text.contains("hush"),
        "{text}"
    );
}

#[tokio::test]
async fn a_collector_that_is_slow_holds_nobody_up() {
    let mut collector = Collector::start(&[]).await;
    let answers = collector.answers.clone();
    answers.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    assert_eq!(traced.get("/call/echo", &[]).await, 200);
    let mut spans = collector.next().await.spans.len();
    // The collector has the first batch, and does not say so.
    for _ in 0..20 {
        assert_eq!(traced.get("/call/echo", &[]).await, 200);
    }
    let tracer = traced.gateway.app.gateway().tracer.clone();
    assert_eq!(tracer.counts().unwrap().exported, 0);
    answers.add_permits(1000);
    traced.gateway.stop().await;
    spans += collector.spans().len();
    let counts = tracer.counts().unwrap();
    assert_eq!((counts.exported, counts.dropped), (42, 0));
    assert!(spans >= 42, "{spans}");
}

#[tokio::test]
async fn the_end_waits_for_a_collector_only_so_long() {
    let mut collector = Collector::start(&[]).await;
    collector
        .answers
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let traced = Traced::start(Some(&collector.url()), |_| {}).await;
    assert_eq!(traced.get("/call/echo", &[]).await, 200);
    let tracer = traced.gateway.app.gateway().tracer.clone();
    timeout(PATIENCE, traced.gateway.stop())
        .await
        .expect("an end");
    assert_eq!(collector.next().await.spans.len(), 2);
    let counts = tracer.counts().unwrap();
    assert_eq!((counts.exported, counts.dropped), (0, 2));
}

#[tokio::test]
async fn what_a_collector_cannot_take_now_is_sent_again_and_what_it_refuses_is_not() {
    for (statuses, requests, expected) in [
        (&[503_u16, 429] as &[_], 3, (2, 0)),
        (&[400], 1, (0, 2)),
        (&[503, 503, 503, 503, 503], 5, (0, 2)),
    ] {
        let mut collector = Collector::start(statuses).await;
        let traced = Traced::start(Some(&collector.url()), |_| {}).await;
        assert_eq!(traced.get("/call/echo", &[]).await, 200);
        for _ in 0..requests {
            assert_eq!(collector.next().await.spans.len(), 2);
        }
        let tracer = traced.gateway.app.gateway().tracer.clone();
        traced.gateway.stop().await;
        let counts = tracer.counts().unwrap();
        assert_eq!((counts.exported, counts.dropped), expected, "{statuses:?}");
        assert!(collector.rest().is_empty(), "{statuses:?}");
    }
}

#[tokio::test]
async fn headers_come_from_the_configuration_and_from_a_file() {
    let mut collector = Collector::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "# ours\n\nauthorization=Bearer%20first\n").unwrap();
    let traced = Traced::start(Some(&collector.url()), |config| {
        config.headers = vec![Header::parse("x-team=a%2Cb").unwrap()];
        config.headers_file = Some(file.clone());
        config.service_name = "gate".to_owned();
        config.resource_attributes = vec![("place".to_owned(), "here".to_owned())];
    })
    .await;
    assert_eq!(traced.get("/call/echo", &[]).await, 200);
    let taken = collector.next().await;
    assert_eq!(taken.headers["authorization"], "Bearer first");
    assert_eq!(taken.headers["x-team"], "a,b");
    assert_eq!(taken.resource["service.name"], "gate");
    assert_eq!(taken.resource["place"], "here");
    // Keys are exchanged while programs run.
    std::fs::write(&file, "authorization=Bearer%20second").unwrap();
    assert_eq!(traced.get("/call/echo", &[]).await, 200);
    let taken = collector.next().await;
    assert_eq!(taken.headers["authorization"], "Bearer second");
    traced.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_both_spans() {
    let mut collector = Collector::start(&[]).await;
    let mut traced = Traced::start(Some(&collector.url()), |_| {}).await;
    let started = Arc::new(Notify::new());
    let start = started.clone();
    let slow = move |_| {
        start.notify_one();
        async {
            std::future::pending::<()>().await;
            result(0_i64)
        }
    };
    traced.gateway.callee.register("com.test.slow", slow).await;
    let http = traced.gateway.http.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { http.get("/call/slow").await });
    timeout(PATIENCE, started.notified())
        .await
        .expect("the call");
    request.shutdown().await;
    traced.gateway.stop().await;
    let spans = collector.spans();
    let shown: Vec<_> = spans.iter().map(show).collect();
    assert!(
        shown[0].contains("(client error)\n  error.type=canceled"),
        "{shown:?}"
    );
    assert!(
        shown[1].contains("http.response.status_code=499"),
        "{shown:?}"
    );
    assert!(shown[1].contains("(server)\n"), "{shown:?}");
}

#[tokio::test]
async fn a_collector_whose_certificate_nobody_knows_gets_nothing() {
    let (log, _guard) = Log::begin();
    let mut collector = Collector::start(&[]).await;
    // It does not speak TLS at all, and is not asked in clear text instead.
    let url = collector.url().replace("http:", "https:");
    let traced = Traced::start(Some(&url), |_| {}).await;
    assert_eq!(traced.get("/call/echo", &[]).await, 200);
    let tracer = traced.gateway.app.gateway().tracer.clone();
    timeout(PATIENCE, traced.gateway.stop())
        .await
        .expect("an end");
    assert_eq!(tracer.counts().unwrap().dropped, 2);
    assert!(collector.rest().is_empty());
    assert!(log.text().contains("traces cannot be exported"));
}
