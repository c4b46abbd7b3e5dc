//! A small HTTP client: one request, the whole answer, shown in one line.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use wampgate::value::Value;

/// Longest wait for an answer in a test: a bound, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Sends requests to one address.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            client,
            base: format!("http://{address}"),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Sends a JSON body.
    pub(crate) async fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(
            method,
            path,
            &[("content-type", "application/json")],
            body.to_owned(),
        )
        .await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = tokio::time::timeout(PATIENCE, async {
            let (parts, body) = self.client.request(request).await.unwrap().into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        });
        let (parts, body) = answer.await.expect("an answer in time");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

impl Answer {
    /// Returns the status and the body as text, as in `200 {"a":1}`; without a body the status.
    pub(crate) fn show(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {body}", self.status.as_u16())
            .trim_end()
            .to_owned()
    }

    /// Returns a header as text, empty where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the JSON body.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.show()))
    }

    /// Returns a member of the JSON body, null where it is absent.
    pub(crate) fn member(&self, name: &str) -> Value {
        self.value()
            .as_map()
            .and_then(|map| map.get(name).cloned())
            .unwrap_or_default()
    }
}
