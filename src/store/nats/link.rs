//! One connection to one server of NATS: requests with a deadline, and nothing that outlives it.
//!
//! Why not the client's own reconnecting: while it is away it keeps what it is given, and sends all
//! of it when it is back, a write too that was reported as failed long ago. So a client is used for
//! one connection only, and whoever needs the next makes the next.

use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use async_nats::{
    Auth, AuthError, Client, ConnectOptions, Event, HeaderMap, Message, RequestErrorKind,
    ServerAddr, Subscriber,
};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::address::{Address, Login};

/// Longest wait for a connection, TLS and login included.
const CONNECT: Duration = Duration::from_secs(2);

/// After how long a silence the server is asked whether it is there. Two unanswered: it is not.
const PING: Duration = Duration::from_secs(2);

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    server: String,
    lost: watch::Receiver<bool>,
}

/// Why a request has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody is there to do it, so it was not done: no leader at the moment, or nothing of that
    /// name.
    #[error("no server is responsible for it at the moment")]
    Nobody,
    /// The connection was not there any more, so it was not done.
    #[error("the connection is lost")]
    Lost,
    /// No answer came. It may be done, now or later.
    #[error("{0}")]
    Silent(&'static str),
    /// The server refuses.
    #[error("{text} (error {code} of NATS)")]
    Refused {
        /// Which refusal it is.
        code: u64,
        /// In words.
        text: String,
    },
    /// The answer is not understood.
    #[error("the answer is not understood: {0}")]
    Garbled(String),
}

impl Link {
    /// Connects to one of the address's servers.
    ///
    /// # Errors
    ///
    /// The reason, without secrets.
    pub(super) async fn connect(address: &Address, server: &str) -> Result<Self, String> {
        let target: ServerAddr = format!("nats://{server}")
            .parse()
            .map_err(|error| format!("{server}: {error}"))?;
        let (sender, lost) = watch::channel(false);
        let options = ConnectOptions::with_auth_callback(once(&address.login))
            .name(concat!("wampgate ", env!("CARGO_PKG_VERSION")))
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    sender.send_replace(true);
                }
                std::future::ready(())
            })
            .max_reconnects(1)
            .ignore_discovered_servers()
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            // Every request has a deadline of its own, see `request`.
            .request_timeout(None)
            .require_tls(address.tls);
        let options = match &address.ca {
            Some(file) => options.add_root_certificates(file.clone()),
            None => options,
        };
        match timeout(CONNECT, options.connect(target)).await {
            Ok(Ok(client)) => Ok(Self {
                client,
                server: server.to_owned(),
                lost,
            }),
            Ok(Err(error)) => Err(format!("{server}: {error}")),
            Err(_elapsed) => Err(format!("{server} does not answer")),
        }
    }

    /// Returns the server that it leads to, as the address has it.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Returns the largest message that the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits until it is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn lost(&self) {
        // An error: the client is gone.
        self.lost.clone().wait_for(|lost| *lost).await.ok();
    }

    /// Receives what is published on a subject from now on.
    ///
    /// # Errors
    ///
    /// [`Trouble::Lost`].
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, Trouble> {
        let subscription = self.client.subscribe(subject).await;
        subscription.map_err(|_| Trouble::Lost)
    }

    /// Asks, and waits for the answer until the deadline.
    ///
    /// # Errors
    ///
    /// See [`Trouble`]; only [`Trouble::Silent`] leaves open whether it was done.
    ///
    /// # Cancel safety
    ///
    /// When dropped, it may or may not be done.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Message, Trouble> {
        if *self.lost.borrow() {
            return Err(Trouble::Lost);
        }
        let answer = async {
            if headers.is_empty() {
                self.client.request(subject, payload).await
            } else {
                let client = &self.client;
                client.request_with_headers(subject, headers, payload).await
            }
        };
        let answer = tokio::select! {
            answer = timeout(deadline, answer) => answer,
            () = self.lost() => return Err(Trouble::Silent("the connection was lost meanwhile")),
        };
        match answer {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Trouble::Nobody,
                RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                    Trouble::Silent("the connection was lost meanwhile")
                }
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    Trouble::Garbled(error.to_string())
                }
            }),
            Err(_elapsed) => Err(Trouble::Silent("NATS does not answer in time")),
        }
    }
}

/// Proves us to the server of the first connection, and to nobody afterwards: the client tries to
/// come back by itself at least once, with all that it was given meanwhile.
fn once(
    login: &Login,
) -> impl Fn(Vec<u8>) -> std::future::Ready<Result<Auth, AuthError>> + Send + Sync + 'static {
    let mut auth = Auth::new();
    match login.clone() {
        Login::Nobody => {}
        Login::Password { user, password } => {
            auth.username = Some(user);
            auth.password = Some(password);
        }
        Login::Token(token) => auth.token = Some(token),
    }
    let is_used = AtomicBool::new(false);
    move |_nonce| {
        std::future::ready(if is_used.swap(true, Ordering::Relaxed) {
            Err(AuthError::new("each connection has a client of its own"))
        } else {
            Ok(auth.clone())
        })
    }
}
