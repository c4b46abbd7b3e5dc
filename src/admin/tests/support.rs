//! An admin API beside a store and what follows it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::admin::token::Token;
use crate::admin::{Admin, service};
use crate::catalog::SourceText;
use crate::catalog::installed::{Installed, Sources};
use crate::store::embedded::Embedded;
use crate::store::{
    Confirm, Contents, Gateway, Key, ReadError, Record, State, Store, Write, WriteError,
};
use crate::telemetry::health::Health;
use crate::value::Value;
use crate::value::json::from_json;
use crate::wamp::pool::Pools;

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The time of day in these tests.
pub(super) const NOW_MS: u64 = 1_700_000_000_000;

/// An admin API over an empty store in memory, a realm `com.file` and a spec `filed` in files.
pub(super) struct Api {
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    pub(super) store: Arc<Odd>,
    pub(super) installed: watch::Receiver<Arc<Installed>>,
    _following: JoinSet<()>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        from_json(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member of the answer, as JSON.
    pub(super) fn member(&self, name: &str) -> String {
        let json = self.json();
        let member = json.as_map().and_then(|map| map.get(name));
        member.map_or_else(|| "absent".to_owned(), Value::to_string)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem, which has all that a problem must have.
    pub(super) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        let body = body.as_map().unwrap();
        assert_eq!(body["status"].as_u64(), Some(u64::from(self.status)));
        let id = Some(self.header("x-request-id"));
        assert_eq!(body["instance"].as_text(), id);
        body["code"].as_text().unwrap().to_owned()
    }

    /// `[line:column pointer code message (hint)]` of a problem.
    pub(super) fn errors(&self) -> Vec<String> {
        let json = self.json();
        let errors = json.as_map().unwrap().get("errors");
        let errors = errors.and_then(Value::as_list).unwrap_or_default();
        let show = |error: &Value| {
            let map = error.as_map().unwrap();
            let text = |key: &str| map.get(key).map(|value| value.to_string());
            let part = |key: &str| text(key).unwrap_or_default().replace('"', "");
            format!(
                "{}:{} {} {} {}",
                part("line"),
                part("column"),
                part("pointer"),
                part("code"),
                part("message")
            )
        };
        errors.iter().map(show).collect()
    }
}

impl Api {
    pub(super) fn new() -> Self {
        Self::changed(|_| {})
    }

    pub(super) fn changed(change: impl FnOnce(&mut Admin)) -> Self {
        let store = Arc::new(Odd::default());
        let sources = Sources {
            spec_files: vec![file(
                "specs/filed.json",
                &spec("filed", "com.file", "/filed"),
            )],
            realm_files: vec![file("realms/file.json", r#"{"uri": "com.file"}"#)],
            time_ms: NOW_MS,
            ..Sources::default()
        };
        let first = Installed::compile(sources.clone(), None, &|_| None);
        let (publish, installed) = watch::channel(Arc::new(first));
        let mut contents = store.contents();
        let mut following = JoinSet::new();
        following.spawn(async move {
            while contents.changed().await.is_ok() {
                let stored = contents.borrow_and_update().clone();
                let before = publish.borrow().clone();
                let sources = Sources {
                    stored,
                    ..sources.clone()
                };
                let next = Installed::compile(sources, Some(&before), &|_| None);
                publish.send_replace(Arc::new(next));
            }
        });
        let mut admin = Admin {
            token: Token::fixed(TOKEN),
            allow_remote: false,
            allow_calls: false,
            store: store.clone(),
            installed: installed.clone(),
            now_ms: || NOW_MS,
            changing: Mutex::default(),
            pools: Pools::default(),
            health: Health::default(),
            metrics: Arc::default(),
        };
        change(&mut admin);
        Self {
            service: BoxCloneSyncService::new(service(admin)),
            store,
            installed,
            _following: following,
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let mut service = self.service.clone();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub(super) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask_with(method, path, headers, Vec::new()).await
    }

    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[]).await
    }

    pub(super) async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, &[]).await
    }

    pub(super) async fn post(&self, path: &str, json: &str) -> Reply {
        let headers = [("content-type", "application/json")];
        self.ask_with(Method::POST, path, &headers, json.into())
            .await
    }

    pub(super) async fn put(&self, path: &str, json: &str, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.ask_with(Method::PUT, path, &all, json.into()).await
    }

    /// The paths that are served.
    pub(super) fn paths(&self) -> Vec<String> {
        let routes = self.installed.borrow().catalog.routes();
        let mut paths: Vec<String> = routes.iter().map(|it| it.path.to_string()).collect();
        paths.sort();
        paths
    }
}

fn file(name: &str, text: &str) -> SourceText {
    SourceText {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// A spec with one path.
pub(super) fn spec(id: &str, realm: &str, path: &str) -> String {
    format!(
        r#"{{"id": {}, "host": "_", "realm_uri": "{realm}", "meta": {{"team": "a"}},
 "versions": {{"1.0": {{"base_path": "/", "paths": {{"{path}": {{
  "get": {{"action": {{"type": "static"}}}}}}}}}}}}}}"#,
        Value::from(id)
    )
}

/// A store in memory that fails when it is told to.
#[derive(Debug)]
pub(super) struct Odd {
    store: Embedded,
    /// Given instead of the next writes, from the back.
    pub(super) failures: std::sync::Mutex<Vec<WriteError>>,
    pub(super) state: watch::Sender<State>,
}

impl Default for Odd {
    fn default() -> Self {
        Self {
            store: Embedded::in_memory(),
            failures: std::sync::Mutex::default(),
            state: watch::Sender::new(State::Ready),
        }
    }
}

impl Odd {
    pub(super) fn fail(&self, error: WriteError) {
        self.failures.lock().unwrap().push(error);
    }
}

impl Store for Odd {
    fn contents(&self) -> watch::Receiver<Contents> {
        self.store.contents()
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Record, WriteError>> {
        match self.failures.lock().unwrap().pop() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.store.write(write),
        }
    }

    fn revisions<'s>(&'s self, key: &'s Key) -> BoxFuture<'s, Result<Vec<Record>, ReadError>> {
        self.store.revisions(key)
    }

    fn confirm(&self, choice: Confirm, author: String) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.confirm(choice, author)
    }

    fn announce(&self, gateway: Gateway) {
        self.store.announce(gateway);
    }

    fn gateways(&self) -> BoxFuture<'_, Result<Vec<Gateway>, ReadError>> {
        self.store.gateways()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
