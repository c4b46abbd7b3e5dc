//! Where spans are sent.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// The URL of a collector that takes OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No URL with a scheme and a host.
    #[error("expected the URL of a collector, for example `http://127.0.0.1:4318`")]
    NoUrl,
    /// Neither `http` nor `https`.
    #[error(
        "expected `http://` or `https://`: spans are sent by OTLP over HTTP, usually port 4318"
    )]
    Scheme,
    /// A name or password in it.
    #[error("a name or password does not belong here: use `otlp_headers`")]
    Credentials,
    /// A query in it.
    #[error("a query does not belong here")]
    Query,
}

/// Where a collector takes spans.
const PATH: &str = "/v1/traces";

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads a base URL, to which `/v1/traces` is added, or one that has that already.
    ///
    /// Reference: OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP".
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::NoUrl)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(EndpointError::NoUrl);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(EndpointError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        let base = parts.path_and_query.as_ref();
        if base.is_some_and(|base| base.query().is_some()) {
            return Err(EndpointError::Query);
        }
        let base = base.map_or("", |base| base.path().trim_end_matches('/'));
        let base = base.strip_suffix(PATH).unwrap_or(base);
        Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(format!("{base}{PATH}"))
            .build()
            .map(Self)
            .map_err(|_| EndpointError::NoUrl)
    }
}

impl Endpoint {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_gets_the_path_of_traces() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            (
                "https://c.example/otlp/",
                "https://c.example/otlp/v1/traces",
            ),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), expected);
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for (text, error) in [
            ("collector:4318", EndpointError::NoUrl),
            ("/v1/traces", EndpointError::NoUrl),
            ("a b", EndpointError::NoUrl),
            ("grpc://collector:4317", EndpointError::Scheme),
            ("http://me:hush@collector", EndpointError::Credentials),
            ("http://collector?key=hush", EndpointError::Query),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
