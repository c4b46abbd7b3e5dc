//! The admin API of a gateway, from the shell: where it is, who we are, one request and its answer.
//!
//! HTTP only, as the admin API has no TLS yet, straight to the address: no proxy of the environment is
//! asked, since what is sent holds the admin token. Every wait has a deadline.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::system::uname;

use super::answer::Answer;
use super::run::as_client;
use super::{Outcome, Outside, settings};
use crate::value::Value;

/// The variable that holds the admin token: what stands on a command line is seen by all.
const TOKEN: &str = "WAMPGATE_ADMIN_TOKEN";

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for a whole answer. A gateway answers a write within some ten seconds, also when its
/// store does not.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read.
const MAX_ANSWER: usize = 256 << 20;

/// Which gateway, and the way in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct Gateway {
    /// URL of its admin API [default: the configuration's `admin.listen`]
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<Base>,
    /// File with the admin token [default: the variable WAMPGATE_ADMIN_TOKEN, then the configuration's
    /// `admin.token_file`]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The configuration file, by which both are found [default: wampgate.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "WAMPGATE_CONFIG", global = true)]
    config: Option<PathBuf>,
}

/// Who makes a change.
#[derive(Debug, clap::Args)]
pub(super) struct Author {
    /// Who makes the change, as the list of revisions and the audit log tell it [default: you at this
    /// machine]
    #[arg(long, value_name = "NAME", value_parser = author)]
    from: Option<String>,
}

impl Author {
    /// Returns the header that tells it (RFC 9110, "From").
    pub(super) fn header(&self, outside: &Outside) -> Option<(HeaderName, HeaderValue)> {
        let name = match &self.from {
            Some(name) => Some(name.clone()),
            None => outside.variable("USER").map(|user| {
                let host = uname().nodename().to_string_lossy().into_owned();
                format!("{user}@{host}")
            }),
        };
        let value = name.and_then(|name| HeaderValue::try_from(name).ok());
        value.map(|value| (header::FROM, value))
    }
}

/// Reads who makes a change.
fn author(text: &str) -> Result<String, String> {
    let is_sane = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match text.trim() {
        name if !name.is_empty() && name.len() <= 254 && name.bytes().all(is_sane) => {
            Ok(name.to_owned())
        }
        _ => Err("expected up to 254 ASCII characters, as in ada@example.org".to_owned()),
    }
}

/// Whether what is asked needs the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Token,
    /// As the health checks are: also for a probe that may not read the token.
    Open,
}

/// Runs what asks a gateway's admin API.
pub(super) fn as_admin(
    gateway: &Gateway,
    access: Access,
    outside: &Outside,
    work: impl AsyncFnOnce(Remote) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    match gateway.resolve(access, outside)? {
        Some(remote) => as_client(outside, work(remote)),
        None => Ok(Outcome::Findings),
    }
}

/// The beginning of every URL of an admin API, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base(String);

impl Base {
    /// A gateway that listens on every address is reached by loopback.
    fn of_listener(address: &str) -> Self {
        let Ok(address) = address.parse::<SocketAddr>() else {
            return Base(format!("http://{address}"));
        };
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Base(format!("http://{}", SocketAddr::new(ip, address.port())))
    }

    fn is_loopback(&self) -> bool {
        let uri = Uri::from_str(&self.0).unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri = Uri::from_str(&whole).map_err(|error| error.to_string())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if uri.scheme_str() == Some("https") {
            return Err(
                "the admin API has no TLS yet: forward a port to it, as with `ssh -L`, and use `http://`"
                    .to_owned(),
            );
        }
        if uri.scheme_str() != Some("http") || authority.is_empty() {
            return Err("expected a URL as in http://127.0.0.1:18081".to_owned());
        }
        if authority.contains('@') || uri.query().is_some() {
            return Err("expected no more than http://HOST:PORT".to_owned());
        }
        Ok(Base(whole.trim_end_matches('/').to_owned()))
    }
}

/// The secret that opens the admin API.
struct Token {
    value: HeaderValue,
    /// Where it comes from, as errors say it.
    origin: String,
}

/// A gateway's admin API.
pub(super) struct Remote {
    base: Base,
    /// Where the address comes from, as errors say it.
    origin: &'static str,
    /// None where nothing is asked that needs it.
    token: Option<Token>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Gateway {
    /// Finds the gateway. Findings about the configuration that end it are reported, and give none.
    fn resolve(&self, access: Access, outside: &Outside) -> anyhow::Result<Option<Remote>> {
        if access == Access::Open {
            return match &self.admin {
                Some(base) => Ok(Some(Remote::new(base.clone(), "--admin", None))),
                None => self.configured(access, None, outside),
            };
        }
        let named = match (&self.token_file, outside.variable(TOKEN)) {
            (Some(file), _) => Some(Token::of_file(file, "--token-file")?),
            (None, Some(text)) => Some(Token::new(&text, TOKEN)?),
            (None, None) => None,
        };
        match (&self.admin, named) {
            (Some(base), Some(token)) => {
                Ok(Some(Remote::new(base.clone(), "--admin", Some(token))))
            }
            // The token of the gateway that is configured here is not for whoever listens elsewhere.
            (Some(base), None) if !base.is_loopback() => anyhow::bail!(
                "{} needs its admin token: --token-file, or the variable {TOKEN}",
                base.0
            ),
            (_, named) => self.configured(access, named, outside),
        }
    }

    /// Fills in what the flags do not say from the configuration.
    fn configured(
        &self,
        access: Access,
        named: Option<Token>,
        outside: &Outside,
    ) -> anyhow::Result<Option<Remote>> {
        let config = settings::load(self.config.as_deref(), Vec::new(), outside)?;
        let Some(config) = config else {
            return Ok(None);
        };
        let token = match (access, named) {
            (Access::Open, _) => None,
            (Access::Token, Some(token)) => Some(token),
            (Access::Token, None) => {
                let file = &config.admin.token_file;
                Some(Token::of_file(file, "`admin.token_file`")?)
            }
        };
        let (base, origin) = match &self.admin {
            Some(base) => (base.clone(), "--admin"),
            None => {
                let address = &config.admin.listen;
                anyhow::ensure!(
                    !address.ends_with(":0"),
                    "`admin.listen` leaves the port to the system: name the address with --admin"
                );
                (Base::of_listener(address), "`admin.listen`")
            }
        };
        Ok(Some(Remote::new(base, origin, token)))
    }
}

impl Token {
    fn new(text: &str, origin: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        anyhow::ensure!(!text.is_empty(), "{origin} holds no token");
        let value = HeaderValue::try_from(format!("Bearer {text}"));
        let mut value = value.with_context(|| format!("what {origin} holds is no token"))?;
        value.set_sensitive(true);
        Ok(Self {
            value,
            origin: origin.to_owned(),
        })
    }

    fn of_file(file: &Path, key: &str) -> anyhow::Result<Self> {
        let origin = format!("{} ({key})", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| {
            anyhow::anyhow!(
                "cannot read the admin token {origin}: {error}; a gateway makes it at its first start, \
                 and --token-file or {TOKEN} give another"
            )
        })?;
        Self::new(&text, &origin)
    }
}

impl Remote {
    fn new(base: Base, origin: &'static str, token: Option<Token>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self {
            base,
            origin,
            token,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Sends a request and reads the whole answer. `path` begins with a slash, and what is not ours in
    /// it is [escaped](segment).
    ///
    /// # Errors
    ///
    /// Where there is no gateway, no answer in time, or the token is not taken. Every other status is an
    /// answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        body: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let is_read = method == Method::GET;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base.0));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.value.clone());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = Bytes::copy_from_slice(body.unwrap_or_default().as_bytes());
        let request = request.body(Full::new(body))?;
        let answer = match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_) if is_read => anyhow::bail!(
                "the gateway at {} did not answer within {TIMEOUT:?}",
                self.place()
            ),
            Err(_) => anyhow::bail!(
                "the gateway at {} did not answer within {TIMEOUT:?}: the change may be made, now or \
                 later; look before you try again",
                self.place()
            ),
        };
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(token) = &self.token
        {
            anyhow::bail!(
                "the gateway at {} does not take the token of {}",
                self.place(),
                token.origin
            );
        }
        Ok(answer)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let answer = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                let place = self.place();
                anyhow::anyhow!("no gateway answers at {place}: {}", cause(&error))
            } else {
                self.broken(&cause(&error))
            }
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.broken(&error.to_string()))?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    fn broken(&self, cause: &str) -> anyhow::Error {
        anyhow::anyhow!("the gateway at {} broke off: {cause}", self.place())
    }

    /// The address, and what names it.
    fn place(&self) -> String {
        format!("{} ({})", self.base.0, self.origin)
    }

    /// Reads something, which need not be there.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, None).await
    }

    /// Reads a list, all pages of it.
    pub(super) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut page = path.to_owned();
        loop {
            let answer = self.get(&page).await?.success()?;
            let Value::List(items) = answer.value()? else {
                anyhow::bail!("{} is no admin API: {path} is no list", self.place());
            };
            // A page without an item that names another would be an endless list.
            let is_last = items.is_empty();
            all.extend(items);
            match answer.next_query() {
                Some(query) if !is_last => page = format!("{path}?{query}"),
                _ => return Ok(all),
            }
        }
    }
}

/// What is behind an error: what is in between tells of layers that a person does not know.
fn cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().unwrap_or(error).to_string()
}

/// What is not escaped in a part of a path (RFC 3986, "unreserved").
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Escapes an id as a part of a path.
pub(super) fn segment(id: &str) -> String {
    utf8_percent_encode(id, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_a_host_and_port() {
        for (text, base) in [
            ("http://127.0.0.1:18081", "http://127.0.0.1:18081"),
            ("http://gateway/admin/", "http://gateway/admin"),
            ("localhost:18081", "http://localhost:18081"),
            ("[::1]:18081", "http://[::1]:18081"),
        ] {
            assert_eq!(text.parse(), Ok(Base(base.to_owned())), "{text}");
        }
        for (text, error) in [
            ("https://gateway:18081", "no TLS yet"),
            ("ws://gateway:18081", "expected a URL"),
            ("http://me:hush@gateway", "no more than"),
            ("http://gateway?token=hush", "no more than"),
            ("", "empty"),
        ] {
            let refused = text.parse::<Base>().unwrap_err();
            assert!(refused.contains(error), "{text}: {refused}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_reached_by_loopback() {
        for (listen, base) in [
            ("0.0.0.0:18081", "http://127.0.0.1:18081"),
            ("[::]:18081", "http://[::1]:18081"),
            ("10.0.0.7:18081", "http://10.0.0.7:18081"),
            ("localhost:18081", "http://localhost:18081"),
        ] {
            let base = Base(base.to_owned());
            assert_eq!(Base::of_listener(listen), base);
        }
        for (base, expected) in [
            ("http://127.0.0.2:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://10.0.0.7:1", false),
            ("http://localhost.example:1", false),
        ] {
            assert_eq!(Base(base.to_owned()).is_loopback(), expected, "{base}");
        }
    }

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(segment("com.a-b_c~"), "com.a-b_c~");
        assert_eq!(segment("a/b?c ü%"), "a%2Fb%3Fc%20%C3%BC%25");
    }
}
