//! A network between two ends on loopback, with weather.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What a connection meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Bytes pass as they come.
    Fair,
    /// Each piece waits so long.
    Slow(Duration),
    /// Nothing passes and nobody is told: half-open, seen from either end.
    Still,
    /// The connection is gone.
    Cut,
}

/// Takes connections and passes them on. Dropping it cuts them all.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    links: Links,
    _tasks: JoinSet<()>,
}

type Links = Arc<Mutex<Vec<watch::Sender<Weather>>>>;

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let links = Links::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, target, links.clone()));
        Self {
            address,
            links,
            _tasks: tasks,
        }
    }

    /// Changes the weather of each connection that is `chosen` by the weather it has.
    pub(crate) fn set(&self, weather: Weather, mut chosen: impl FnMut(Weather) -> bool) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.receiver_count() > 0);
        for link in links.iter() {
            link.send_if_modified(|now| {
                let is_chosen = chosen(*now) && *now != Weather::Cut;
                if is_chosen {
                    *now = weather;
                }
                is_chosen
            });
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, links: Links) {
    let mut pipes = JoinSet::new();
    loop {
        let (near, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            Some(_) = pipes.join_next() => continue,
        };
        let (sender, weather) = watch::channel(Weather::Fair);
        links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
        pipes.spawn(async move {
            // Refused: the router is away, and `near` is dropped.
            if let Ok(far) = TcpStream::connect(target).await {
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let (near_reader, near_writer) = near.into_split();
                let (far_reader, far_writer) = far.into_split();
                let other = weather.clone();
                tokio::select! {
                    () = pass(near_reader, far_writer, weather) => {}
                    () = pass(far_reader, near_writer, other) => {}
                }
            }
        });
    }
}

/// Passes bytes on until either end closes or the connection is cut; then both halves are dropped.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let now = *weather.borrow_and_update();
        let length = tokio::select! {
            biased;
            changed = weather.changed() => {
                // Without its sender the whole proxy is gone.
                if changed.is_err() || *weather.borrow() == Weather::Cut {
                    return;
                }
                continue;
            }
            read = from.read(&mut buffer), if now != Weather::Still => match read {
                Ok(length) if length > 0 => length,
                _ => return,
            },
        };
        // What was read is passed on, whatever the weather becomes: the network loses connections,
        // never bytes. And a router that is stopped takes nothing: only a cut ends that.
        let pass_on = async {
            if let Weather::Slow(delay) = now {
                sleep(delay).await;
            }
            to.write_all(&buffer[..length]).await
        };
        tokio::select! {
            written = pass_on => {
                if written.is_err() {
                    return;
                }
            }
            _ = weather.wait_for(|weather| *weather == Weather::Cut) => return,
        }
    }
}
