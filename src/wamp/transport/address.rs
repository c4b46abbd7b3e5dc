//! Where a router is reached: the URLs that a realm may name.
//!
//! Read by whoever checks a realm and by whoever connects, so that nothing passes the check that
//! cannot be connected to.

use std::net::IpAddr;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;

use super::tls;

/// A router's URL, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `ws://host[:port][/path]`, or `wss://` for TLS.
    WebSocket {
        /// The whole URL, which the handshake asks for.
        url: Uri,
        /// Whom to connect to.
        host: HostAddress,
    },
    /// `tcp://host:port`, or `tcps://` for TLS: RawSocket.
    Tcp(HostAddress),
    /// `unix:/path`: RawSocket over a Unix domain socket.
    Unix(PathBuf),
}

/// A host in the network, and what is spoken below WAMP's transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port, at least 1.
    pub port: u16,
    /// Whether the connection is TLS.
    pub is_secure: bool,
}

/// Why a text is not the URL of a router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing before a colon, or no colon.
    #[error("it has no scheme")]
    NoScheme,
    /// A scheme that is none of ours.
    #[error("unknown scheme `{0}`")]
    Scheme(String),
    /// A text that is no URL at all.
    #[error("{0}")]
    Syntax(String),
    /// A URL without a host.
    #[error("it has no host")]
    NoHost,
    /// A host that TLS cannot verify: neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Host(String),
    /// RawSocket has no port of its own.
    #[error("it has no port")]
    NoPort,
    /// A port that is no number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `user:password@`, which no transport of ours would send.
    #[error("it holds a user or password, which would not be used")]
    Credentials,
    /// A path or query on RawSocket, which has none.
    #[error("it has a path, but RawSocket knows none")]
    Path,
    /// A Unix socket's path that does not begin with a slash.
    #[error("the socket's path is not absolute")]
    RelativeSocket,
    /// A Unix socket's path that the system does not take: too long, or with a NUL.
    #[error(
        "the socket's path is {bytes} bytes long or holds a NUL, which the system does not take"
    )]
    Socket {
        /// How long it is.
        bytes: usize,
    },
}

impl UrlError {
    /// Returns what to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            UrlError::Scheme(scheme) => match scheme.as_str() {
                "http" => "a router's WebSocket is `ws://`, for example `ws://127.0.0.1:8080/ws`",
                "https" => "a router's WebSocket over TLS is `wss://`, for example `wss://host/ws`",
                "rs" => "RawSocket is `tcp://`, for example `tcp://127.0.0.1:8081`",
                "rss" | "tls" => "RawSocket over TLS is `tcps://`, for example `tcps://host:8082`",
                _ => "one of `ws`, `wss`, `tcp`, `tcps`, `unix`",
            },
            UrlError::Credentials => "who we are goes into `auth`",
            UrlError::NoPort | UrlError::Path => "for example `tcp://127.0.0.1:8081`",
            UrlError::RelativeSocket => "for example `unix:/run/router.sock`",
            UrlError::Socket { .. } => "most systems take about 100 bytes",
            UrlError::NoScheme
            | UrlError::Syntax(_)
            | UrlError::NoHost
            | UrlError::Host(_)
            | UrlError::Port => "for example `ws://127.0.0.1:8080/ws`",
        }
    }
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// See [`UrlError`]; it repeats no more of the text than a scheme or a host.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let scheme = match url.split_once(':') {
            Some((scheme, _)) if !scheme.is_empty() => scheme.to_ascii_lowercase(),
            _ => return Err(UrlError::NoScheme),
        };
        match scheme.as_str() {
            "ws" => websocket(url, false),
            "wss" => websocket(url, true),
            "tcp" => tcp(url, false),
            "tcps" => tcp(url, true),
            "unix" => unix(&url["unix:".len()..]),
            // `localhost:8080` has no scheme, whatever a URL's grammar says.
            _ if !url.contains("://") => Err(UrlError::NoScheme),
            _ => Err(UrlError::Scheme(scheme)),
        }
    }

    /// Returns whether the connection is TLS.
    pub fn is_secure(&self) -> bool {
        match self {
            Address::WebSocket { host, .. } | Address::Tcp(host) => host.is_secure,
            Address::Unix(_) => false,
        }
    }
}

fn websocket(text: &str, is_secure: bool) -> Result<Address, UrlError> {
    let url = uri(text)?;
    let default_port = if is_secure { 443 } else { 80 };
    let host = host(&url, Some(default_port), is_secure)?;
    Ok(Address::WebSocket { url, host })
}

fn tcp(text: &str, is_secure: bool) -> Result<Address, UrlError> {
    let url = uri(text)?;
    if url.query().is_some() || !matches!(url.path(), "" | "/") {
        return Err(UrlError::Path);
    }
    host(&url, None, is_secure).map(Address::Tcp)
}

/// Reads `/path` or `///path`.
fn unix(path: &str) -> Result<Address, UrlError> {
    let path = match path.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        // What stands there is a host.
        Some(_) => return Err(UrlError::RelativeSocket),
        None => path,
    };
    if !path.starts_with('/') {
        return Err(UrlError::RelativeSocket);
    }
    match SocketAddr::from_pathname(path) {
        Ok(_) => Ok(Address::Unix(PathBuf::from(path))),
        Err(_) => Err(UrlError::Socket { bytes: path.len() }),
    }
}

fn uri(text: &str) -> Result<Uri, UrlError> {
    // The library takes a bare `//` for a path.
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    if authority.is_empty() || authority.starts_with(['/', '?', '#', ':']) {
        return Err(UrlError::NoHost);
    }
    text.parse()
        .map_err(|error: http::uri::InvalidUri| UrlError::Syntax(error.to_string()))
}

fn host(url: &Uri, default_port: Option<u16>, is_secure: bool) -> Result<HostAddress, UrlError> {
    let authority = url.authority().ok_or(UrlError::NoHost)?;
    if authority.as_str().contains('@') {
        return Err(UrlError::Credentials);
    }
    let text = authority.host();
    let host = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let is_bracketed = host.len() < text.len();
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let is_misplaced = is_bracketed && !matches!(host.parse(), Ok(IpAddr::V6(_)));
    if is_misplaced || is_secure && !tls::is_server_name(host) {
        return Err(UrlError::Host(host.to_owned()));
    }
    let port = match authority.as_str()[text.len()..].strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(UrlError::Port)?,
        None => default_port.ok_or(UrlError::NoPort)?,
    };
    Ok(HostAddress {
        host: host.to_owned(),
        port,
        is_secure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> String {
        match Address::parse(url) {
            Ok(Address::WebSocket { host, .. }) => {
                format!("websocket {} {} {}", host.host, host.port, host.is_secure)
            }
            Ok(Address::Tcp(host)) => {
                format!("raw {} {} {}", host.host, host.port, host.is_secure)
            }
            Ok(Address::Unix(path)) => format!("unix {}", path.display()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_scheme_has_its_defaults() {
        for (url, expected) in [
            ("ws://router.example", "websocket router.example 80 false"),
            (
                "wss://router.example/ws?x=1",
                "websocket router.example 443 true",
            ),
            ("WS://127.0.0.1:8080/ws", "websocket 127.0.0.1 8080 false"),
            ("ws://[::1]:8080/ws", "websocket ::1 8080 false"),
            ("wss://[2001:db8::1]/ws", "websocket 2001:db8::1 443 true"),
            ("tcp://my_router:8081", "raw my_router 8081 false"),
            ("tcp://127.0.0.1:8081/", "raw 127.0.0.1 8081 false"),
            ("tcps://[::1]:8082", "raw ::1 8082 true"),
            (
                "tcps://my_router.example:8082",
                "raw my_router.example 8082 true",
            ),
            ("unix:/run/router.sock", "unix /run/router.sock"),
            ("unix:///run/router.sock", "unix /run/router.sock"),
        ] {
            assert_eq!(read(url), expected, "{url}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        let no_port = "it has no port";
        let bad_port = "its port is not a number from 1 to 65535";
        let relative = "the socket's path is not absolute";
        for (url, expected) in [
            ("", "it has no scheme"),
            ("localhost:80", "it has no scheme"),
            ("://host", "it has no scheme"),
            ("http://host/ws", "unknown scheme `http`"),
            ("rs://host:1", "unknown scheme `rs`"),
            ("ws:host", "it has no host"),
            ("ws://", "it has no host"),
            ("ws:///ws", "it has no host"),
            ("ws://:8080/ws", "it has no host"),
            ("ws://a b/", "invalid uri character"),
            ("ws://host:/ws", bad_port),
            ("ws://host:0/ws", bad_port),
            ("ws://host:99999/ws", bad_port),
            ("ws://[::1/ws", "invalid authority"),
            (
                "ws://[router]/ws",
                "`router` is neither a DNS name nor an IP address",
            ),
            (
                "ws://me:hush@host/ws",
                "it holds a user or password, which would not be used",
            ),
            (
                "wss://ro!ter/ws",
                "`ro!ter` is neither a DNS name nor an IP address",
            ),
            ("tcp://host", no_port),
            ("tcps://[::1]", no_port),
            (
                "tcp://host:8081/ws",
                "it has a path, but RawSocket knows none",
            ),
            (
                "tcp://host:8081?x",
                "it has a path, but RawSocket knows none",
            ),
            ("unix:", relative),
            ("unix:router.sock", relative),
            ("unix://router.sock", relative),
            ("unix://host/router.sock", relative),
        ] {
            assert_eq!(read(url), expected, "{url}");
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert!(read(&long).starts_with("the socket's path is 201 bytes long"));
    }
}
