//! Whole gateways in this process, which share a store: requests through their listeners, changes
//! through their admin APIs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, interval, timeout};
use wampgate::admin::token::Token;
use wampgate::app::{AdminPlan, App, Files, Plan, Settings};
use wampgate::config::{Config, Router};
use wampgate::devrouter::{self, DevRouterConfig};
use wampgate::listener;
use wampgate::store::Store;
use wampgate::store::nats::{Address, Nats};
use wampgate::uri::{Uri, UriCheck};
use wampgate::wamp::client::{Client, RegisterOptions, Registration};
use wampgate::wamp::config::RouterConfig;

use crate::gateways::PATIENCE;
use crate::http::{Answer, Http};

/// The realm of every API.
const REALM: &str = "com.test";

/// How often it is looked where nothing tells.
const LOOK: Duration = Duration::from_millis(10);

/// A router that all gateways reach, and behind it a callee that answers with what it is called
/// with.
pub(crate) struct Backend {
    sessions: RouterConfig,
    _callee: (Client, Registration),
}

/// A gateway.
pub(crate) struct Whole {
    app: App,
    store: Arc<Nats>,
    http: Http,
    admin: Http,
    token: String,
    folder: TempDir,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let uri = |text| Uri::parse(text, UriCheck::Strict).unwrap();
        let router = Arc::new(devrouter::Router::new(DevRouterConfig {
            realms: vec![uri(REALM).into()],
            ..DevRouterConfig::default()
        }));
        let sessions = RouterConfig {
            urls: vec![router.endpoint()],
            ..RouterConfig::default()
        };
        let callee = Client::connect(&uri(REALM), &sessions).await.unwrap();
        let procedure = uri("com.test.echo");
        let echo = callee.register(&procedure, RegisterOptions::default(), |call| {
            std::future::ready(Ok(call.payload))
        });
        let registration = echo.await.unwrap();
        Self {
            sessions,
            _callee: (callee, registration),
        }
    }

    /// Starts a gateway that has never been there.
    pub(crate) async fn gateway(&self, url: &str) -> Whole {
        self.gateway_in(url, tempfile::tempdir().unwrap()).await
    }

    /// Starts a gateway with what is on its disk.
    pub(crate) async fn gateway_in(&self, url: &str, folder: TempDir) -> Whole {
        let store = Arc::new(store(url, folder.path()).await);
        let token = Token::generate().unwrap();
        let text = token.reveal().to_owned();
        let listener = listener::Config {
            listen: vec!["127.0.0.1:0".to_owned()],
            ..listener::Config::default()
        };
        let plan = Plan {
            listener: listener.clone(),
            settings: Settings {
                files: Files::Fixed {
                    specs: Vec::new(),
                    realms: Vec::new(),
                },
                router: Router::Remote(self.sessions.clone()),
            },
            admin: Some(AdminPlan {
                listener,
                token,
                allow_remote: false,
                allow_calls: false,
            }),
            ..Plan::new(&Config::default(), store.clone())
        };
        let app = App::start(plan).await.unwrap();
        Whole {
            http: Http::to(app.local_addrs()[0]),
            admin: Http::to(app.admin_addr().unwrap()),
            app,
            store,
            token: text,
            folder,
        }
    }

    /// Starts three gateways, with the realm of every API.
    pub(crate) async fn three(&self, url: &str) -> [Whole; 3] {
        let gateways = [
            self.gateway(url).await,
            self.gateway(url).await,
            self.gateway(url).await,
        ];
        for gateway in &gateways {
            gateway.is_store("ready").await;
        }
        let realm = json!({ "uri": REALM });
        let made = gateways[0].change("POST", "/realms", &realm).await;
        assert_eq!(made.status, 201, "{}", made.show());
        for gateway in &gateways {
            gateway.until("GET", "/realms/com.test", 200).await;
        }
        gateways
    }
}

async fn store(url: &str, folder: &Path) -> Nats {
    let mut address: Address = url.parse().unwrap();
    folder.clone_into(&mut address.snapshot);
    Nats::open(address).await.unwrap()
}

/// An API that calls with its own text.
pub(crate) fn api(id: &str, text: &str) -> Value {
    json!({
        "id": id, "host": "_", "realm_uri": REALM,
        "versions": {"1": {"base_path": format!("/{id}"), "paths": {"/": {"get": {"action": {
            "type": "wamp_call", "procedure": "com.test.echo", "args": [text],
        }}}}}},
    })
}

impl Whole {
    /// Sends an admin request.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], "").await
    }

    /// Sends an admin request with a body.
    pub(crate) async fn change(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.change_if(method, path, &[], body).await
    }

    /// The same, on a condition.
    pub(crate) async fn change_if(
        &self,
        method: &str,
        path: &str,
        condition: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(condition);
        self.send(method, path, &headers, &body.to_string()).await
    }

    /// Loads an API.
    pub(crate) async fn load(&self, id: &str, text: &str) -> Answer {
        let path = format!("/api_specs/{id}");
        self.change("PUT", &path, &api(id, text)).await
    }

    async fn send(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(more);
        self.admin
            .send(method, path, &headers, body.to_owned())
            .await
    }

    /// Waits until an admin request has that status, and returns its answer.
    pub(crate) async fn until(&self, method: &str, path: &str, status: u16) -> Answer {
        until(&format!("{status} of {path}"), async || {
            let answer = self.ask(method, path).await;
            (answer.status == status).then_some(answer)
        })
        .await
    }

    /// Waits until the store is in that state, and returns what is said of it.
    pub(crate) async fn is_store(&self, state: &str) -> Value {
        until(&format!("a store that is {state}"), async || {
            let answer = json_of(&self.ask("GET", "/store").await);
            (answer["state"] == state).then_some(answer)
        })
        .await
    }

    /// Waits until requests to an API are answered with that text; none: until it is not there.
    /// Returns how long that took.
    pub(crate) async fn serves(&self, id: &str, text: Option<&str>) -> Duration {
        let begin = Instant::now();
        until(&format!("{id} with {text:?}"), async || {
            (self.get(id).await.as_deref() == text).then_some(())
        })
        .await;
        begin.elapsed()
    }

    /// Sends a request to an API, and returns the text that it is answered with.
    pub(crate) async fn get(&self, id: &str) -> Option<String> {
        let answer = self.http.get(&format!("/{id}/")).await;
        match answer.status.as_u16() {
            404 => None,
            200 => Some(json_of(&answer).as_str().unwrap().to_owned()),
            _ => panic!("{}", answer.show()),
        }
    }

    /// Asserts that the gateway should get requests, and that it says the store is so.
    pub(crate) async fn is_ready_though_store_is(&self, state: &str) {
        let ready = self.ask("GET", "/readyz").await;
        assert_eq!(ready.status, 204, "{}", ready.show());
        let told = json_of(&self.ask("GET", "/readyz?verbose=true").await);
        let checks = told["checks"].as_array().unwrap();
        let store = checks.iter().find(|it| it["check"] == "store").unwrap();
        assert_eq!(store["state"], "degraded", "{told}");
        let metrics = self.ask("GET", "/metrics").await;
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        for line in [
            "wampgate_store_connected 0".to_owned(),
            format!("wampgate_store_state{{state=\"{state}\"}} 1"),
        ] {
            assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
        }
    }

    /// Asserts that it takes no changes now, and returns what it says.
    pub(crate) async fn refuses(&self) -> Value {
        let refused = self.load("refused", "1").await;
        assert_eq!(refused.status, 503, "{}", refused.show());
        json_of(&refused)
    }

    /// The ids of the gateways that it knows of, if all of them are in this state.
    pub(crate) async fn cluster(&self, state: &str) -> Option<BTreeSet<String>> {
        let answer = self.ask("GET", "/cluster").await;
        if answer.status != 200 {
            return None;
        }
        let members = json_of(&answer);
        let members = members.as_array().unwrap();
        let revision = self.app.installed().borrow().store_revision;
        let members = members.iter().map(|it| {
            assert_eq!(it["version"], env!("CARGO_PKG_VERSION"));
            (it["state"] == state && it["revision"] == revision)
                .then(|| it["id"].as_str().unwrap().to_owned())
        });
        members.collect()
    }

    /// Waits until it knows of so many gateways, all in this state and with what it serves itself.
    pub(crate) async fn lists(&self, count: usize) -> BTreeSet<String> {
        until(&format!("{count} gateways"), async || {
            let found = self.cluster("ready").await;
            found.filter(|found| found.len() == count)
        })
        .await
    }

    /// Ends it, and returns what is on its disk.
    pub(crate) async fn stop(self) -> TempDir {
        self.app.stop().await;
        self.store.close().await;
        self.folder
    }
}

pub(crate) fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.show()))
}

/// Looks until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut tick = interval(LOOK);
    let found = timeout(PATIENCE, async {
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("no {what} in time"))
}
