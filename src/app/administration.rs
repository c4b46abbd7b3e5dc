//! The admin API as a part of the program: its listener, its token, and what it acts on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::admin::token::{Token, TokenError};
use crate::admin::{self, Admin};
use crate::catalog::installed::Installed;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::listener::{self, BindError, Listener, Serving};
use crate::store::Store;
use crate::telemetry::health::Health;

/// How the admin API is served.
#[derive(Debug)]
pub struct AdminPlan {
    /// Where and how it listens.
    pub listener: listener::Config,
    /// What a client has to know.
    pub token: Token,
    /// Whether others than this machine may be served.
    pub allow_remote: bool,
    /// Whether `/services/call` may be used.
    pub allow_calls: bool,
}

/// Longest wait for admin requests at the end: a change takes a few seconds at most.
pub(super) const DRAIN: Duration = Duration::from_secs(6);

impl AdminPlan {
    /// Plans what `config` says: the limits are those of the gateway's own listener. Reads the file
    /// of the token, or makes it.
    ///
    /// # Errors
    ///
    /// [`TokenError`] where there is no token to be had.
    pub fn new(config: &Config) -> Result<Self, TokenError> {
        let token = Token::at(&config.admin.token_file)?;
        Ok(Self::with_token(config, token))
    }

    /// Plans the same with a token that is in no file.
    pub fn with_token(config: &Config, token: Token) -> Self {
        Self {
            listener: listener::Config {
                listen: vec![config.admin.listen.clone()],
                min_drain: Duration::ZERO,
                drain_timeout: DRAIN,
                ..config.http.clone()
            },
            token,
            allow_remote: config.admin.allow_remote,
            allow_calls: config.admin.allow_calls,
        }
    }
}

/// An admin API that listens and does not serve yet.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Listener,
    plan: AdminPlan,
}

impl Bound {
    pub(super) async fn new(mut plan: AdminPlan) -> Result<Self, BindError> {
        let config = std::mem::take(&mut plan.listener);
        let address = config.listen.join(", ");
        let listener = Listener::bind(config).await?;
        let mut bound = listener.local_addrs().iter();
        // A name was believed for what it is; what it stands for is known only now.
        if !plan.allow_remote && !bound.all(|bound| bound.ip().to_canonical().is_loopback()) {
            let cause = io::Error::other(
                "it stands for an address beyond loopback, and the admin API is for this machine \
                 only; `admin.allow_remote = true` changes that",
            );
            return Err(BindError::Other { address, cause });
        }
        Ok(Self { listener, plan })
    }

    pub(super) fn serve(
        self,
        gateway: &Gateway,
        health: &Health,
        store: Arc<dyn Store>,
        installed: watch::Receiver<Arc<Installed>>,
    ) -> Serving {
        let admin = Admin {
            token: self.plan.token,
            allow_remote: self.plan.allow_remote,
            allow_calls: self.plan.allow_calls,
            store,
            installed,
            now_ms: super::clock::now_ms,
            changing: Mutex::default(),
            pools: gateway.pools.clone(),
            health: health.clone(),
            metrics: gateway.metrics.clone(),
        };
        let serving = self.listener.serve(&admin::service(admin));
        for address in serving.local_addrs() {
            tracing::info!(
                admin.address = %address,
                "serving the admin API at http://{address}"
            );
        }
        serving
    }
}

/// Returns the address of the admin API, if it is served.
pub(super) fn address(serving: Option<&Serving>) -> Option<SocketAddr> {
    serving?.local_addrs().first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_turns_out_to_be_beyond_loopback_is_given_up() {
        let bind = async |address: &str, allow_remote| {
            let plan = AdminPlan {
                listener: listener::Config {
                    listen: vec![address.to_owned()],
                    ..listener::Config::default()
                },
                token: Token::generate().unwrap(),
                allow_remote,
                allow_calls: false,
            };
            Bound::new(plan).await
        };
        let refused = bind("0.0.0.0:0", false).await.unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("admin.allow_remote"), "{refused}: {cause}");
        assert!(bind("0.0.0.0:0", true).await.is_ok());
        assert!(bind("127.0.0.1:0", false).await.is_ok());
    }
}
