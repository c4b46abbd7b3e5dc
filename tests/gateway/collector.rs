//! A small OTLP receiver: an HTTP server that decodes what it is sent with the published types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::PATIENCE;

/// A collector on port 0.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    /// Each answer takes one; without any, it waits.
    pub(crate) answers: Arc<Semaphore>,
    taken: mpsc::UnboundedReceiver<Taken>,
    _serving: JoinSet<()>,
}

/// What one request brought.
pub(crate) struct Taken {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) spans: Vec<Span>,
}

impl Collector {
    /// Starts one that answers at once, first with `statuses`, one after the other, then with 200.
    pub(crate) async fn start(statuses: &'static [u16]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answers = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (taking, taken) = mpsc::unbounded_channel();
        let (permits, left) = (answers.clone(), Arc::new(Semaphore::new(statuses.len())));
        let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (permits, left, taking) = (permits.clone(), left.clone(), taking.clone());
            async move {
                // A test that has ended asks for nothing any more.
                drop(taking.send(Taken::read(&uri, headers, &body)));
                permits.acquire().await.unwrap().forget();
                match left.try_acquire() {
                    Ok(permit) => {
                        permit.forget();
                        let status = statuses[statuses.len() - 1 - left.available_permits()];
                        let status = StatusCode::from_u16(status).unwrap();
                        (status, [("retry-after", "0")], "").into_response()
                    }
                    Err(_) => StatusCode::OK.into_response(),
                }
            }
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let service = Router::new().fallback(answer);
            axum::serve(socket, service).await.unwrap();
        });
        Self {
            address,
            answers,
            taken,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for the next request.
    pub(crate) async fn next(&mut self) -> Taken {
        let next = timeout(PATIENCE, self.taken.recv());
        next.await
            .expect("a request in time")
            .expect("the server lasts")
    }

    /// Returns what else has been taken by now.
    pub(crate) fn rest(&mut self) -> Vec<Taken> {
        std::iter::from_fn(|| self.taken.try_recv().ok()).collect()
    }

    /// Returns all spans that have been taken by now.
    pub(crate) fn spans(&mut self) -> Vec<Span> {
        self.rest()
            .into_iter()
            .flat_map(|taken| taken.spans)
            .collect()
    }
}

impl Taken {
    fn read(uri: &Uri, headers: HeaderMap, body: &Bytes) -> Self {
        let mut request = ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
        let mut of_resource = request.resource_spans.remove(0);
        let of_scope = of_resource.scope_spans.remove(0);
        Self {
            path: uri.path().to_owned(),
            headers,
            resource: attributes(&of_resource.resource.unwrap().attributes),
            spans: of_scope.spans,
        }
    }
}

/// Attributes as text, by name.
pub(crate) fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let show = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
        let text = match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{other:?}"),
        };
        (attribute.key.clone(), text)
    };
    attributes.iter().map(show).collect()
}

/// A span as lines: its name, kind, status and attributes.
pub(crate) fn show(span: &Span) -> String {
    let kind =
        ["?", "internal", "server", "client", "producer"][usize::try_from(span.kind).unwrap()];
    let status = match span.status.as_ref().map_or(0, |status| status.code) {
        2 => " error",
        _ => "",
    };
    let attributes = attributes(&span.attributes);
    let attributes = attributes
        .iter()
        .map(|(key, value)| format!("\n  {key}={value}"));
    format!(
        "{} ({kind}{status}){}",
        span.name,
        attributes.collect::<String>()
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
