//! A gateway on port 0 beside an embedded router, with a callee to register procedures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wampgate::app::{App, Files, Plan, Settings};
use wampgate::catalog::SourceText;
use wampgate::config::{self, Config};
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::document::Document;
use wampgate::listener;
use wampgate::spec::{self, Route};
use wampgate::store::embedded::Embedded;
use wampgate::uri::{Uri, UriCheck};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{Client, Invocation, RegisterOptions, Registration};
use wampgate::wamp::config::{Endpoint, Reconnect, RouterConfig};
use wampgate::wamp::error::ApplicationError;
use wampgate::wamp::message::Payload;

use crate::http::{Http, PATIENCE};

/// The realm of every test.
pub(crate) const REALM: &str = "com.test";

/// A gateway, its router, and a callee beside them.
pub(crate) struct TestGateway {
    pub(crate) http: Http,
    pub(crate) app: App,
    pub(crate) router: Arc<Router>,
    pub(crate) callee: Callee,
}

impl TestGateway {
    /// Starts a gateway with the paths of one version (base path `/`) of a spec.
    pub(crate) async fn with_paths(paths: &str) -> Self {
        Self::start(&format!(
            r#"{{"id": "test", "host": "_", "realm_uri": "{REALM}",
                "versions": {{"1": {{"base_path": "/", "paths": {paths}}}}}}}"#
        ))
        .await
    }

    /// Starts a gateway with one spec; its realm must be [`REALM`].
    pub(crate) async fn start(spec: &str) -> Self {
        Self::changed(spec, |_| {}).await
    }

    /// Starts a gateway with one spec, its plan changed.
    pub(crate) async fn changed(spec: &str, change: impl FnOnce(&mut Plan)) -> Self {
        let router = Arc::new(router());
        let endpoint = router.endpoint();
        let mut plan = plan(spec, endpoint.clone());
        change(&mut plan);
        let app = started(plan).await;
        ready(&app).await;
        let callee = Callee::join(endpoint).await;
        let http = Http::to(app.local_addrs()[0]);
        Self {
            http,
            app,
            router,
            callee,
        }
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) {
        self.app.stop().await;
        self.router.shutdown().await;
    }
}

/// Builds a router that serves [`REALM`].
pub(crate) fn router() -> Router {
    Router::new(DevRouterConfig {
        realms: vec![uri(REALM).into()],
        ..DevRouterConfig::default()
    })
}

/// Starts a gateway whose sessions go to `endpoint`, and waits until one is up.
pub(crate) async fn serve(spec: &str, endpoint: Endpoint) -> App {
    let app = start(spec, endpoint).await;
    ready(&app).await;
    app
}

/// Starts a gateway whose sessions go to `endpoint`, and does not wait for them.
pub(crate) async fn start(spec: &str, endpoint: Endpoint) -> App {
    started(plan(spec, endpoint)).await
}

/// Starts a gateway whose specs must have no errors.
pub(crate) async fn started(plan: Plan) -> App {
    let app = App::start(plan).await.expect("a free port");
    let installed = app.installed().borrow().clone();
    let findings = installed.findings();
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(|finding| finding.render(false))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    app
}

async fn ready(app: &App) {
    let pool = app.gateway().pools.get(REALM);
    let pool = pool.expect("the realm has a pool");
    pool.ready(PATIENCE).await.expect("a session");
}

/// A gateway whose sessions go to `endpoint`.
pub(crate) fn plan(spec: &str, endpoint: Endpoint) -> Plan {
    let source = |name: &str, text: &str| SourceText {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let realms = format!(r#"[{{"uri": "{REALM}"}}, {{"uri": "com.market.demo"}}]"#);
    Plan {
        listener: listener::Config {
            listen: vec!["127.0.0.1:0".to_owned()],
            ..listener::Config::default()
        },
        settings: Settings {
            files: Files::Fixed {
                specs: vec![source("test.json", spec)],
                realms: vec![source("realms.json", &realms)],
            },
            router: config::Router::Remote(session_config(endpoint)),
        },
        ..Plan::new(&Config::default(), Arc::new(Embedded::in_memory()))
    }
}

/// How the sessions of a plan are made.
pub(crate) fn sessions(plan: &mut Plan) -> &mut RouterConfig {
    match &mut plan.settings.router {
        config::Router::Embedded { sessions, .. } | config::Router::Remote(sessions) => sessions,
    }
}

/// Compiles a spec that must have no errors.
pub(crate) fn routes(spec: &str) -> Vec<Route> {
    let document = Document::parse_json(Some("test.json"), spec).expect("JSON");
    let realms = [uri(REALM), uri("com.market.demo")];
    let mut loaded = spec::load(vec![document], Some(&realms));
    let loaded = loaded.remove(0);
    let findings: Vec<String> = loaded.findings.iter().map(|it| it.render(false)).collect();
    assert!(!loaded.is_rejected(), "{}", findings.join("\n"));
    loaded.routes.to_vec()
}

/// Sessions that come back quickly, so that tests of recovery are short.
pub(crate) fn session_config(endpoint: Endpoint) -> RouterConfig {
    RouterConfig {
        urls: vec![endpoint],
        reconnect: Reconnect {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        },
        ..RouterConfig::default()
    }
}

/// A session that answers calls.
pub(crate) struct Callee {
    pub(crate) client: Client,
    registrations: Vec<Registration>,
}

impl Callee {
    pub(crate) async fn join(endpoint: Endpoint) -> Self {
        let client = Client::connect(&uri(REALM), &session_config(endpoint))
            .await
            .unwrap();
        Self {
            client,
            registrations: Vec::new(),
        }
    }

    /// Registers a procedure for as long as the callee lives.
    pub(crate) async fn register<F, R>(&mut self, procedure: &str, handler: F)
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
    {
        let registration = self
            .client
            .register(&uri(procedure), RegisterOptions::default(), handler)
            .await
            .unwrap();
        self.registrations.push(registration);
    }

    /// Registers a procedure that answers with the arguments it was called with.
    pub(crate) async fn register_echo(&mut self, procedure: &str) {
        self.register(procedure, |call| std::future::ready(Ok(call.payload)))
            .await;
    }
}

/// One positional result.
#[expect(clippy::result_large_err, reason = "what a handler must return")]
pub(crate) fn result(value: impl Into<Value>) -> Result<Payload, ApplicationError> {
    Ok(Payload::new(vec![value.into()], Map::new()))
}

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The URL of a router that listens there.
pub(crate) fn url(address: SocketAddr) -> Endpoint {
    Endpoint::from(format!("ws://{address}/ws").as_str())
}
