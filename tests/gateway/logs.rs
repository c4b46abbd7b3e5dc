//! What a request leaves in the log, and what it must not.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::subscriber::DefaultGuard;

use crate::http::PATIENCE;
use crate::support::{TestGateway, result};

/// Everything that this thread logs, at every level. A test has one thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("wampgate=trace")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (log, guard)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_queries_headers_and_bodies_is_logged_at_any_level() {
    let paths = r#"{
        "/call/:procedure": {"post": {
            "action": {"type": "wamp_call", "procedure": "com.test.{{request.bindings.procedure}}",
                "args": ["{{request.body}}", "{{request.headers}}", "{{request.query_params}}"]},
            "response": {"on_error": {"body": "{{action.error.kwargs}}"}}}},
        "/bad/header": {"post": {"action": {"type": "static", "body": 1},
            "response": {"on_result": {"headers": {"x": "a\n{{request.body.text}}"}}}}},
        "/bad/status": {"post": {"action": {"type": "static", "body": 1},
            "response": {"on_result": {"status_code": "{{request.body.text}}"}}}},
        "/bad/template": {"post": {
            "action": {"type": "wamp_call", "procedure": "com.test.echo", "args": ["{{request.body}}"]},
            "response": {"on_result": {"body": "{{action.result.args |> head |> integer}}"}}}},
        "/bad/uri": {"post": {
            "action": {"type": "wamp_call", "procedure": "com test {{request.body.text}}"}}},
        "/sign-in/:access_token": {"post": {
            "action": {"type": "static", "body": 1},
            "response": {"on_result": {"headers": {"set-cookie": "id=secret-set-cookie"}}}}}
    }"#;
    let (log, _guard) = Log::begin();
    let mut gateway = TestGateway::with_paths(paths).await;
    gateway.callee.register_echo("com.test.echo").await;
    for path in [
        "/call/echo",
        "/call/nobody",
        "/bad/header",
        "/bad/status",
        "/bad/template",
        "/bad/uri",
        "/sign-in/secret-token",
        "/nothing",
    ] {
        for body in [r#"{"text": "secret-body"}"#, r#"{"text": "secret-body}"#] {
            for authorization in ["Bearer secret-bearer", "Basic c2VjcmV0LWJhc2lj"] {
                let headers = [
                    ("content-type", "application/json"),
                    ("authorization", authorization),
                    ("proxy-authorization", authorization),
                    ("cookie", "session=secret-cookie"),
                    ("x-api-key", "secret-api-key"),
                    ("referer", "http://a/?token=secret-referer"),
                ];
                let path = format!("{path}?key=secret-query&access_token=secret-query");
                gateway.http.send("POST", &path, &headers, body).await;
            }
        }
    }
    gateway.http.get("/sign-in/secret-token").await;
    gateway.stop().await;
    let text = log.text();
    assert!(text.contains("POST /call/echo 204"), "{text}");
    assert!(text.contains("POST /sign-in/*** 200"), "{text}");
    assert!(text.contains("GET /sign-in/*** 405"), "{text}");
    assert!(text.contains("a template failed"), "{text}");
    assert_eq!(
        text.matches("a response template gave what cannot be sent")
            .count(),
        4,
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert!(!text.contains("c2VjcmV0"), "{text}");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_line() {
    let (log, _guard) = Log::begin();
    let paths = r#"{"/slow": {"get": {
        "action": {"type": "wamp_call", "procedure": "com.test.slow"}}}}"#;
    let mut gateway = TestGateway::with_paths(paths).await;
    let started = Arc::new(Notify::new());
    let start = started.clone();
    let slow = move |_| {
        start.notify_one();
        async {
            std::future::pending::<()>().await;
            result(0_i64)
        }
    };
    gateway.callee.register("com.test.slow", slow).await;
    let http = gateway.http.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { http.get("/slow").await });
    tokio::time::timeout(PATIENCE, started.notified())
        .await
        .expect("the call");
    request.shutdown().await;
    // What is in flight has ended when it has stopped.
    gateway.stop().await;
    let text = log.text();
    let line = text.lines().find(|line| line.contains("GET /slow 499"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("/slow"), "{line}");
}
