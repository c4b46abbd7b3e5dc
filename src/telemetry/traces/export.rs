//! The way of spans to the collector, so that no request ever waits for it.
//!
//! A span that has ended is put into a bounded queue, or dropped and counted if the queue is full. One
//! task takes what has gathered there and sends it: a batch at a time, with a deadline, and again
//! after a wait where the collector says that this may help. A collector that is gone costs the
//! spans that find no place meanwhile, and a line in the log now and then.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::endpoint::Endpoint;
use super::span::Span;
use super::{Config, Header, otlp};

/// Spans that may wait; some megabytes of them.
const MAX_WAITING: usize = 4096;
/// Most spans of one request.
const MAX_BATCH: usize = 512;
/// How long spans may gather before they are sent, if they do not fill a batch.
const GATHER: Duration = Duration::from_secs(1);
/// Longest wait for the collector's answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a batch is sent before it is given up.
const ATTEMPTS: u32 = 5;
/// The longest wait before the second attempt; each later one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a collector can ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Time between two lines in the log about the same trouble.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// What is read of an answer: it has a number and a sentence.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What became of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The collector has them.
    pub exported: u64,
    /// Nobody has them: they found no place in the queue, or could not be sent.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system has no certificates to verify a collector by.
    #[error("cannot load the system's certificates for `telemetry.otlp_endpoint`")]
    Certificates(#[source] std::io::Error),
}

/// Where ended spans are put.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    spans: mpsc::Sender<Span>,
    counters: Arc<Counters>,
    /// There is a whole batch.
    filled: Arc<Notify>,
}

impl Queue {
    /// Puts a span in, or drops it.
    pub(super) fn push(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.spans.max_capacity() - self.spans.capacity() == MAX_BATCH {
            self.filled.notify_one();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            exported: self.counters.exported.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }
}

/// The task that sends spans. Dropped without [`Exporter::stop`], it loses what waits.
#[derive(Debug)]
pub struct Exporter {
    task: JoinSet<()>,
    stop: oneshot::Sender<Instant>,
}

impl Exporter {
    /// Sends what waits, for at most `within`; what ends later is lost.
    ///
    /// # Cancel safety
    ///
    /// When dropped, what waits is lost.
    pub async fn stop(mut self, within: Duration) {
        // If nobody hears it, the task has ended.
        self.stop.send(Instant::now() + within).ok();
        // The task keeps the time itself; this is for a batch that is being written just then.
        let ended = timeout(within + Duration::from_millis(100), self.task.join_next());
        drop(ended.await);
    }
}

/// Begins to export.
pub(super) fn start(endpoint: Endpoint, config: Config) -> Result<(Queue, Exporter), StartError> {
    let (spans, waiting) = mpsc::channel(MAX_WAITING);
    let (stop, stopped) = oneshot::channel();
    let queue = Queue {
        spans,
        counters: Arc::default(),
        filled: Arc::default(),
    };
    let mut resource = vec![
        ("service.name".to_owned(), config.service_name),
        (
            "service.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("telemetry.sdk.name".to_owned(), "wampgate".to_owned()),
        ("telemetry.sdk.language".to_owned(), "rust".to_owned()),
    ];
    for (key, value) in config.resource_attributes {
        match resource.iter_mut().find(|(known, _)| *known == key) {
            // Named for itself it has the last word.
            Some(_) if key == "service.name" => {}
            Some((_, known)) => *known = value,
            None => resource.push((key, value)),
        }
    }
    let sending = Sending {
        client: client(&endpoint)?,
        endpoint,
        headers: config.headers,
        headers_file: config.headers_file.map(Into::into),
        resource,
        waiting,
        batch: Vec::with_capacity(MAX_BATCH),
        filled: queue.filled.clone(),
        counters: queue.counters.clone(),
        trouble: None,
    };
    let mut task = JoinSet::new();
    task.spawn(sending.run(stopped));
    Ok((queue, Exporter { task, stop }))
}

type Connection = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client(endpoint: &Endpoint) -> Result<Connection, StartError> {
    let builder = HttpsConnectorBuilder::new();
    let builder = if endpoint.uri().scheme_str() == Some("https") {
        builder
            .with_provider_and_native_roots(crypto::ring::default_provider())
            .map_err(StartError::Certificates)?
    } else {
        // Never used, and so no reason to read the system's certificates.
        let no_roots = RootCertStore::empty();
        let provider = Arc::new(crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers of both versions")
            .with_root_certificates(no_roots)
            .with_no_client_auth();
        builder.with_tls_config(tls)
    };
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(1)
        .build(connector))
}

/// The state of the task.
struct Sending {
    client: Connection,
    endpoint: Endpoint,
    headers: Vec<Header>,
    headers_file: Option<Arc<Path>>,
    resource: Vec<(String, String)>,
    waiting: mpsc::Receiver<Span>,
    /// What is being sent.
    batch: Vec<Span>,
    filled: Arc<Notify>,
    counters: Arc<Counters>,
    trouble: Option<Trouble>,
}

/// What goes on to fail.
struct Trouble {
    /// When it was last told, once it was.
    told: Option<Instant>,
    /// How many spans had been dropped before it began.
    dropped_before: u64,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("no answer within {ANSWER:?}")]
    Timeout,
    #[error("cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the answer broke off")]
    BrokeOff(#[source] Box<dyn Error + Send + Sync>),
    #[error("answered {status}")]
    Refused {
        status: StatusCode,
        /// How long to wait, as the collector wants it.
        wait: Option<Duration>,
    },
    #[error("cannot read `telemetry.otlp_headers_file`")]
    Headers(#[source] std::io::Error),
    #[error("line {0} of `telemetry.otlp_headers_file` is not `name=value`")]
    BadHeader(usize),
    #[error("the program ends")]
    Stopped,
}

impl SendError {
    /// Returns whether it may go better the next time.
    ///
    /// Reference: OTLP, "Failures", "OTLP/HTTP Response".
    fn is_passing(&self) -> bool {
        match self {
            Self::Timeout | Self::Unreachable(_) | Self::BrokeOff(_) | Self::Headers(_) => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::BadHeader(_) | Self::Stopped => false,
        }
    }
}

impl Sending {
    async fn run(mut self, stopped: oneshot::Receiver<Instant>) {
        let deadline = tokio::select! {
            () = self.export() => return,
            deadline = stopped => deadline,
        };
        // The owner may be gone without a word; then nobody waits.
        let Ok(deadline) = deadline else { return };
        self.waiting.close();
        loop {
            self.fill();
            if self.batch.is_empty() {
                return;
            }
            let sent = tokio::select! {
                sent = self.attempt() => sent,
                () = sleep_until(deadline) => Err(SendError::Stopped),
            };
            let has_failed = sent.is_err();
            self.settle(sent);
            if has_failed {
                break;
            }
        }
        let rest = std::iter::from_fn(|| self.waiting.try_recv().ok()).count();
        self.counters.lose(rest);
    }

    /// Exports until there is nobody any more who could have spans.
    ///
    /// # Cancel safety
    ///
    /// What was taken from the queue and is not settled yet stays in `batch`.
    async fn export(&mut self) {
        loop {
            if self.waiting.recv_many(&mut self.batch, MAX_BATCH).await == 0 {
                return;
            }
            if self.batch.len() < MAX_BATCH {
                // Not by looking at each as it comes: that would wake this task for every request.
                tokio::select! {
                    () = sleep(GATHER) => {}
                    () = self.filled.notified() => {}
                }
                self.fill();
            }
            self.send().await;
        }
    }

    fn fill(&mut self) {
        while self.batch.len() < MAX_BATCH
            && let Ok(span) = self.waiting.try_recv()
        {
            self.batch.push(span);
        }
    }

    /// Sends the batch until it is taken or given up.
    async fn send(&mut self) {
        for number in 1.. {
            let sent = self.attempt().await;
            match &sent {
                Err(error) if error.is_passing() && number < ATTEMPTS => {
                    let wait = wait(number, error);
                    self.complain(error);
                    sleep(wait).await;
                }
                _ => return self.settle(sent),
            }
        }
    }

    /// Counts what became of a batch, and says it where it is news.
    fn settle(&mut self, sent: Result<u64, SendError>) {
        let count = self.batch.len();
        self.batch.clear();
        match sent {
            Ok(rejected) => {
                let rejected = usize::try_from(rejected).unwrap_or(count).min(count);
                let exported = (count - rejected) as u64;
                self.counters
                    .exported
                    .fetch_add(exported, Ordering::Relaxed);
                self.counters.lose(rejected);
                self.rejoice();
            }
            Err(error) => {
                self.counters.lose(count);
                self.complain(&error);
            }
        }
    }

    /// Says at most once in a while that spans cannot be exported. Never what was sent.
    fn complain(&mut self, error: &SendError) {
        let dropped = self.counters.dropped.load(Ordering::Relaxed);
        let trouble = self.trouble.get_or_insert(Trouble {
            told: None,
            dropped_before: dropped,
        });
        if trouble.told.is_some_and(|at| at.elapsed() < SAY_AGAIN) {
            return;
        }
        trouble.told = Some(Instant::now());
        let lost = dropped - trouble.dropped_before;
        tracing::warn!(
            traces.endpoint = %self.endpoint,
            traces.dropped = dropped,
            cause = chain(error),
            "traces cannot be exported; {lost} spans are lost since"
        );
    }

    fn rejoice(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let dropped = self.counters.dropped.load(Ordering::Relaxed);
            let lost = dropped - trouble.dropped_before;
            tracing::info!(
                traces.endpoint = %self.endpoint,
                traces.dropped = dropped,
                "traces are exported again; {lost} spans were lost"
            );
        }
    }

    /// Sends a batch once. Returns how many spans the collector did not take.
    async fn attempt(&self) -> Result<u64, SendError> {
        timeout(ANSWER, self.post())
            .await
            .unwrap_or(Err(SendError::Timeout))
    }

    async fn post(&self) -> Result<u64, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let agent = concat!("wampgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let from_file = match &self.headers_file {
            Some(file) => read_headers(file.clone()).await?,
            None => Vec::new(),
        };
        for header in self.headers.iter().chain(&from_file) {
            headers.insert(header.name.clone(), header.value.clone());
        }
        let mut request = Request::new(Full::from(otlp::request(&self.resource, &self.batch)));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.uri().clone();
        *request.headers_mut() = headers;
        let answer = self.client.request(request).await;
        let (parts, body) = answer.map_err(SendError::Unreachable)?.into_parts();
        // To the end, so that the connection can be used again.
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        if !parts.status.is_success() {
            let wait = parts.headers.get(RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(SendError::Refused {
                status: parts.status,
                wait: wait.map(Duration::from_secs),
            });
        }
        let body = body.map_err(SendError::BrokeOff)?.to_bytes();
        Ok(otlp::rejected(&body))
    }
}

impl Counters {
    fn lose(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Reads a file of headers: `name=value` a line; empty lines and those with `#` are skipped.
async fn read_headers(file: Arc<Path>) -> Result<Vec<Header>, SendError> {
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = read
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(SendError::Headers)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| Header::parse(line).ok_or(SendError::BadHeader(index + 1)))
        .collect()
}

/// Returns the wait before attempt `number + 1`: what the collector asks for, else random.
fn wait(number: u32, error: &SendError) -> Duration {
    if let SendError::Refused {
        wait: Some(wait), ..
    } = error
    {
        return (*wait).min(MAX_WAIT);
    }
    let ceiling = FIRST_WAIT * (1 << (number - 1));
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Returns an error with its causes, in one line.
fn chain(error: &SendError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("writing to a String cannot fail");
        cause = error.source();
    }
    text
}
