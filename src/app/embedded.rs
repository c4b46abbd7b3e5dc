//! The embedded router as a part of the program: realms that name no router of their own are served
//! by it where the configuration names none either. It starts when the first such realm is there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::devrouter::{self, DevRouterConfig, RealmConfig};
use crate::realm::{self, Realm};
use crate::wamp::config::{Endpoint, RouterConfig};

/// The role of a realm's users at the embedded router; who may do what comes with security.
const USER_ROLE: &str = "user";

/// Why the embedded router does not start.
#[derive(Debug, thiserror::Error)]
#[error("the embedded router cannot listen on {listen}: set `router.urls` to use another router")]
pub struct EmbeddedError {
    listen: SocketAddr,
    #[source]
    source: io::Error,
}

/// The router, while there is one.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    router: Arc<devrouter::Router>,
    /// One and the same for all time: pools go by it.
    endpoint: Endpoint,
    listens: bool,
    /// The realms that it is to serve.
    wanted: Vec<RealmConfig>,
    /// Realms beside them that requests may still need, or sessions of ours that end.
    lingering: Vec<RealmConfig>,
}

impl Running {
    fn new(router: Arc<devrouter::Router>, listens: bool) -> Self {
        Self {
            endpoint: router.endpoint(),
            router,
            listens,
            wanted: Vec::new(),
            lingering: Vec::new(),
        }
    }

    fn set_realms(&mut self, realms: Vec<RealmConfig>) {
        let before = std::mem::replace(&mut self.wanted, realms);
        self.lingering.extend(before);
        let wanted = &self.wanted;
        self.lingering
            .retain(|before| wanted.iter().all(|realm| realm.uri != before.uri));
        self.router
            .set_realms(&[&self.wanted[..], &self.lingering[..]].concat());
    }
}

impl Embedded {
    /// One that somebody has started, and listens where it is to.
    pub(super) fn of(router: Arc<devrouter::Router>) -> Self {
        Self {
            running: Some(Running::new(router, true)),
        }
    }

    /// Has the router serve those of `realms` that have none of their own, and returns how our own
    /// sessions reach it. Those that it served before stay until [`Embedded::let_go`]: requests are
    /// still on their way there. Starts it if it is needed now: where each realm has its own, its port
    /// may well be that of a real one.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`] while it cannot listen. The realms are served all the same, for this process.
    pub(super) async fn provide(
        &mut self,
        realms: impl Iterator<Item = &Realm>,
        listen: SocketAddr,
        sessions: &RouterConfig,
    ) -> (RouterConfig, Result<(), EmbeddedError>) {
        let realms = embedded_realms(realms);
        let mut sessions = sessions.clone();
        if realms.is_empty() && self.running.is_none() {
            return (sessions, Ok(()));
        }
        let new = || {
            let router = devrouter::Router::new(DevRouterConfig::default());
            Running::new(Arc::new(router), false)
        };
        let running = self.running.get_or_insert_with(new);
        running.set_realms(realms);
        sessions.urls = vec![running.endpoint.clone()];
        let mut outcome = Ok(());
        if !running.listens {
            match running.router.listen(listen).await {
                Ok(_) => running.listens = true,
                Err(source) => outcome = Err(EmbeddedError { listen, source }),
            }
        }
        (sessions, outcome)
    }

    /// Ends the realms that are not wanted any more.
    pub(super) fn let_go(&mut self) {
        if let Some(running) = &mut self.running
            && !running.lingering.is_empty()
        {
            running.lingering.clear();
            running.router.set_realms(&running.wanted);
        }
    }

    /// Ends the router, if there is one; see [`devrouter::Router::shutdown`].
    pub(super) async fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.router.shutdown().await;
        }
    }
}

/// Returns those realms that have no router of their own, as the embedded router serves them.
pub fn embedded_realms<'r>(realms: impl Iterator<Item = &'r Realm>) -> Vec<RealmConfig> {
    let user = |user: &realm::User| devrouter::User {
        authid: user.username.clone(),
        role: USER_ROLE.to_owned(),
        secret: user.password.clone(),
        is_enabled: user.enabled,
    };
    let realms = realms.filter(|realm| realm.router.is_none());
    let realms = realms.map(|realm| RealmConfig {
        uri: realm.uri.clone(),
        users: realm.users.iter().map(user).collect(),
    });
    realms.collect()
}
