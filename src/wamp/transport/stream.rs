//! The bytes below a transport: TCP, TLS over it, or a Unix domain socket.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::address::HostAddress;
use super::{ConnectError, tls};
use crate::wamp::config::RouterConfig;

/// Unanswered probes after which the system gives a connection up, as many as a session's pings.
const PROBES: u32 = 2;

/// Any of them, behind one pointer: a transport reads and writes in batches, so what is called
/// through it does not show, and each transport is written once.
pub(super) type BoxStream = Box<dyn Stream>;

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Stream for T {}

/// Connects to a host, with TLS if the address says so; the caller sets the deadline.
pub(super) async fn dial(
    address: &HostAddress,
    config: &RouterConfig,
) -> Result<BoxStream, ConnectError> {
    // First, so that a file that is missing is not searched for in the router's log.
    let tls = match address.is_secure {
        true => Some(tls::Connector::read(&config.tls, &address.host).await?),
        false => None,
    };
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(ConnectError::Unreachable)?;
    prepare(&stream, config.heartbeat).map_err(ConnectError::Unreachable)?;
    match tls {
        Some(tls) => tls.connect(stream).await,
        None => Ok(Box::new(stream)),
    }
}

/// Connects to a Unix domain socket; the caller sets the deadline.
pub(super) async fn dial_unix(path: &Path) -> Result<BoxStream, ConnectError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(ConnectError::Unreachable)?;
    Ok(Box::new(stream))
}

/// Sets what every connection of ours has.
pub(super) fn prepare(stream: &TcpStream, heartbeat: Option<Duration>) -> io::Result<()> {
    // A batch is one write already; waiting for more would only delay a call.
    stream.set_nodelay(true)?;
    if let Some(period) = heartbeat
        && let Err(error) = watch(stream, period)
    {
        // Some systems know only a part of it; the connection is as good as without.
        tracing::debug!("TCP keepalive could not be set: {error}");
    }
    Ok(())
}

/// Lets the system notice that the other host is gone. RawSocket has nothing else, as its pings make
/// some routers close the connection; keepalive finds an idle connection dead, and the user timeout
/// one with data that nobody acknowledges.
fn watch(stream: &TcpStream, period: Duration) -> io::Result<()> {
    // The system counts in seconds.
    let period = period.max(Duration::from_secs(1));
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(period).with_interval(period);
    socket.set_tcp_keepalive(&probes.with_retries(PROBES))?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(period.saturating_mul(PROBES + 1)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_watched_as_often_as_it_beats() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (heartbeat, is_watched) in [(None, false), (Some(Duration::from_secs(15)), true)] {
            let stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            prepare(&stream, heartbeat).unwrap();
            assert!(stream.nodelay().unwrap());
            let socket = SockRef::from(&stream);
            assert_eq!(socket.keepalive().unwrap(), is_watched);
            if let Some(period) = heartbeat {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), period);
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), period);
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
            }
        }
    }
}
