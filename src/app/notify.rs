//! What the service manager (systemd, or whoever speaks its protocol) is told: one datagram of
//! `NAME=VALUE` lines for each change, to the socket that `NOTIFY_SOCKET` names. Without that
//! variable nothing is sent.
//!
//! Why not a crate: those that there are read the environment for each message, where here it is
//! read once and handed in; they block on a manager that does not read, which would hang a thread
//! of the runtime; and they do not know abstract sockets, which containers use. What is left
//! without these is one `send`.
//!
//! Reference: sd_notify(3), sd_watchdog_enabled(3).

use std::io;
use std::os::unix::net::UnixDatagram;
#[cfg(any(target_os = "android", target_os = "linux"))]
use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// The variables of the protocol, which are about this process: no child is to get them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager, if there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
    /// How often it wants to hear that we are alive, at least.
    watchdog: Option<Duration>,
    /// Whether it was told that the end has begun.
    is_stopping: Arc<AtomicBool>,
}

impl ServiceManager {
    /// Finds the manager by the variables of the environment; `pid` is our own process, as a
    /// watchdog may be meant for another.
    ///
    /// A socket that cannot be had is logged, and the manager then counts as absent: it will end us
    /// when it does not hear that we are ready.
    pub fn find(variable: &dyn Fn(&str) -> Option<String>, pid: u32) -> Self {
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let socket = match connect(&path) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot reach the service manager at {path}");
                return Self::default();
            }
        };
        let is_ours = variable("WATCHDOG_PID").is_none_or(|other| other == pid.to_string());
        let micros = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
        Self {
            socket: Some(Arc::new(socket)),
            watchdog: micros
                .filter(|micros| is_ours && *micros > 0)
                .map(Duration::from_micros),
            is_stopping: Arc::default(),
        }
    }

    /// Says that what was begun, start or reload, is done, and how things are. Not said once the end
    /// has begun: it would take that back.
    pub fn ready(&self, status: &str) {
        if self.is_stopping.load(Relaxed) {
            return;
        }
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// Says that a reload has begun; [`ServiceManager::ready`] must follow, also when it failed. Not
    /// said once the end has begun.
    pub fn reloading(&self) {
        if self.is_stopping.load(Relaxed) {
            return;
        }
        // Tells this reload from one that was asked for since: required by `Type=notify-reload`.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// Says in one line, to people, how things are.
    pub fn status(&self, status: &str) {
        self.send(&status_line(status));
    }

    /// Says that the end has begun, and that it may take `longest`: a manager whose own limit is
    /// shorter extends it, so that a drain is not cut because two configurations differ.
    pub fn stopping(&self, longest: Duration) {
        self.is_stopping.store(true, Relaxed);
        let micros = longest.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\n"));
    }

    /// Returns what tells the manager that we are alive, twice in each of its periods, for as long
    /// as it is polled; none where nobody wants to know.
    ///
    /// To be spawned on the runtime that does the work: when that hangs, so does this, and the
    /// manager restarts us.
    pub fn watchdog(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let manager = self.clone();
        let period = self.watchdog? / 2;
        Some(async move {
            let mut ticks = interval_at(Instant::now(), period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                manager.send("WATCHDOG=1\n");
            }
        })
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        // A manager that reads no more is not waited for, and there is nobody else to tell.
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, message, "cannot tell the service manager");
        }
    }
}

/// A line break would begin another message.
fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.replace(['\n', '\r'], " "))
}

fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.strip_prefix('@') {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(path)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager's end of the socket, and the variables that lead to it.
    fn manager(watchdog: &[(&str, &str)]) -> (UnixDatagram, ServiceManager) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.to_owned()),
            _ => {
                let found = watchdog.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        (socket, ServiceManager::find(&variable, 7))
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn each_change_is_one_datagram() {
        let (socket, manager) = manager(&[]);
        manager.ready("3 routes\nREADY=0");
        assert_eq!(told(&socket), "READY=1\nSTATUS=3 routes READY=0\n");
        manager.reloading();
        let reloading = told(&socket);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let micros: u64 = micros.unwrap().trim_end().parse().unwrap();
        assert!(micros > 0);
        manager.status("degraded");
        assert_eq!(told(&socket), "STATUS=degraded\n");
        manager.stopping(Duration::from_millis(1500));
        assert_eq!(told(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\n");
        assert!(manager.watchdog().is_none());
        // A reload that comes to its end meanwhile does not take it back.
        let reload = manager.clone();
        reload.reloading();
        reload.ready("3 routes");
        manager.status("left");
        assert_eq!(told(&socket), "STATUS=left\n");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        for path in [None, Some(""), Some("/nowhere/at/all")] {
            let variable = |name: &str| {
                let path = path.filter(|_| name == "NOTIFY_SOCKET");
                path.map(str::to_owned)
            };
            let manager = ServiceManager::find(&variable, 7);
            assert!(manager.socket.is_none());
            manager.ready("");
        }
    }

    #[test]
    fn an_abstract_socket_is_found_by_its_name() {
        let name = format!("wampgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let variable = |asked: &str| (asked == "NOTIFY_SOCKET").then(|| format!("@{name}"));
        ServiceManager::find(&variable, 7).status("here");
        assert_eq!(told(&socket), "STATUS=here\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_twice_in_each_period() {
        let (socket, manager) = manager(&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "7")]);
        let begun = Instant::now();
        let beating = manager.watchdog().unwrap();
        let for_a_while = tokio::time::timeout(Duration::from_secs(19), beating);
        assert!(for_a_while.await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(19));
        for _ in [0, 5, 10, 15] {
            assert_eq!(told(&socket), "WATCHDOG=1\n");
        }
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 16]).is_err());
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        let (_socket, other) = manager(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")]);
        assert!(other.watchdog().is_none());
        let (_socket, none) = manager(&[("WATCHDOG_USEC", "soon")]);
        assert!(none.watchdog().is_none());
    }
}
