//! Where clients come in: a TCP port for both transports, or a Unix domain socket.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream};

use super::DevRouterConfig;
use crate::wamp::transport::{self, AcceptError, Transport};

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Removes the file, as the system does not.
impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Who removed it before us has done no harm.
        drop(fs::remove_file(&self.path));
    }
}

/// A client that has connected and said nothing yet.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) async fn bind(address: impl ToSocketAddrs) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let local_addr = listener.local_addr()?;
        Ok((Listener::Tcp(listener), local_addr))
    }

    pub(super) async fn bind_unix(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path).await => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Listener::Unix(UnixSocket {
            listener,
            path: path.to_owned(),
        }))
    }

    /// Waits for the next client. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Listener::Tcp(listener) => Socket::Tcp(listener.accept().await?.0),
            Listener::Unix(socket) => Socket::Unix(socket.listener.accept().await?.0),
        })
    }
}

/// Returns whether this is the socket of a process that ended without removing it: nobody answers
/// there. Any other file is none of ours.
async fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Socket {
    /// Serves the handshake.
    pub(super) async fn open(self, config: &DevRouterConfig) -> Result<Transport, AcceptError> {
        let serializers = &config.serializers;
        let (max, timeout) = (config.max_message_bytes, config.handshake_timeout);
        match self {
            Socket::Tcp(stream) => transport::accept(stream, serializers, max, timeout).await,
            Socket::Unix(stream) => transport::accept_unix(stream, serializers, max, timeout).await,
        }
    }
}
